//! This device's copies, and what they say.
//!
//! Everything that the parts of this service share stands here, behind one lock that is never held
//! while waiting. Each change, of a copy or of the family, is told by [`Home::watch`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use bus::family::Role;
use bus::home::{Facts, Profile};
use replica::{Replica, Schema, Value};
use tokio::sync::{Notify, watch};

use crate::document::Document;
use crate::family::Family;

/// A name or a room has at most this many bytes, as names in the family's log have.
const LONGEST: usize = 64;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No device has that name or id.
    #[error("the family has no device `{0}`")]
    UnknownDevice(String),
    /// There is no family.
    #[error("this device has no family yet")]
    NoFamily,
    /// It is not possible or not allowed.
    #[error("{0}")]
    Refused(String),
    /// It could not be made durable.
    #[error("not saved: {0}")]
    NotSaved(String),
}

impl From<replica::Error> for Refusal {
    fn from(error: replica::Error) -> Self {
        match error {
            replica::Error::Refused(refused) => Self::Refused(refused.to_string()),
            error => Self::NotSaved(error.to_string()),
        }
    }
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct State {
    family: Option<Family>,
    /// What this device is, where it has no family.
    alone: Option<bus::family::Device>,
    pub(crate) copies: BTreeMap<Document, Replica>,
    /// By device: what its copies were last known to know.
    pub(crate) theirs: HashMap<String, BTreeMap<Document, Vec<u8>>>,
    /// What this device says about itself.
    facts: Option<Facts>,
    /// Whether what another owner's device has was taken since this service began.
    met: bool,
}

/// This device's part in what the family shares.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// Somebody looks at what this device says about itself.
    pub looked: Notify,
    /// Sentences for the owner.
    notices: Mutex<Vec<String>>,
}

impl Home {
    /// The copies in a folder. They are opened when the family is known.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            looked: Notify::new(),
            notices: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Whole at every point where its holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of each change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes the sentences for the owner.
    pub fn take_notices(&self) -> Vec<String> {
        let notices = self.notices.lock();
        std::mem::take(&mut *notices.unwrap_or_else(PoisonError::into_inner))
    }

    /// The family, as mesh says: with its id where there is one, and this device alone where not.
    pub fn take_family(
        &self,
        id: Option<String>,
        begun_here: bool,
        devices: Vec<bus::family::Device>,
    ) -> Result<()> {
        {
            let mut state = self.state();
            let before = state.family.take();
            state.alone = devices.iter().find(|device| device.here).cloned();
            let Some(id) = id else {
                state.copies.clear();
                state.theirs.clear();
                drop(state);
                self.changed();
                return Ok(());
            };
            let family = Family {
                id,
                begun_here,
                devices,
            };
            if before.as_ref().map(|before| &before.id) != Some(&family.id) {
                state.copies.clear();
                state.met = false;
            }
            self.open_copies(&mut state, &family)?;
            // What a device knows is asked anew when it comes again.
            state.theirs.retain(|id, _| {
                family
                    .device(id)
                    .is_some_and(|device| device.online && !device.here)
            });
            let left: Vec<String> = before
                .filter(|before| before.id == family.id)
                .into_iter()
                .flat_map(|before| before.devices)
                .map(|device| device.id)
                .filter(|id| family.device(id).is_none())
                .collect();
            state.family = Some(family);
            if state.own_role() == Some(Role::Owner) {
                forget(&mut state, &left)?;
            }
        }
        self.publish()?;
        self.changed();
        Ok(())
    }

    /// Opens the copies of what this device may read, and deletes those of what it may not.
    fn open_copies(&self, state: &mut State, family: &Family) -> Result<()> {
        let Some(here) = family.here() else {
            return Ok(());
        };
        let devices = family.devices.iter().map(|device| device.id.clone());
        let wanted: BTreeSet<Document> = devices
            .map(Document::Device)
            .chain([Document::Family, Document::Person])
            .filter(|document| document.is_read_by(here.role, &here.id))
            .collect();
        let (first, _) = family
            .id
            .split_at_checked(16)
            .context("the family's id is too short")?;
        let folder = self.folder.join(first);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        state.copies.retain(|document, _| wanted.contains(document));
        for document in &wanted {
            if state.copies.contains_key(document) {
                continue;
            }
            let opened = Replica::open(&folder.join(document.file()), Schema::FIRST)
                .with_context(|| format!("opening the copy of {document}"))?;
            for notice in opened.notices {
                tracing::warn!("{notice}");
                let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
                notices.push(notice);
            }
            state.copies.insert(document.clone(), opened.replica);
        }
        // Documents of another family, of devices that have left, and of what is not this device's
        // to read any more.
        let kept: BTreeSet<String> = wanted.iter().map(Document::file).collect();
        remove_others(&folder, |name| {
            // A file that was set aside stays for the owner.
            let ours = name.starts_with("device-") || name == "person" || name == "family";
            !ours || name.contains(".damaged-") || kept.contains(name)
        })?;
        remove_others(&self.folder, |name| {
            name == first || name.len() != 16 || !name.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    /// Whether the family began with this device.
    pub fn is_founder(&self) -> bool {
        let state = self.state();
        state
            .family
            .as_ref()
            .is_some_and(|family| family.begun_here)
    }

    /// Notes that what another owner's device has was taken.
    pub fn note_met(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.met, true) {
            drop(state);
            self.changed();
        }
    }

    /// Whether what another owner's device has was taken since this service began.
    pub fn has_met(&self) -> bool {
        self.state().met
    }

    /// The id of the family, and what this device is in it.
    pub fn membership(&self) -> Option<(String, Role)> {
        let state = self.state();
        let family = state.family.as_ref()?;
        Some((family.id.clone(), state.own_role()?))
    }

    /// The devices with which copies are kept equal.
    pub fn neighbours(&self) -> BTreeSet<String> {
        let state = self.state();
        state
            .family
            .as_ref()
            .map_or(BTreeSet::new(), Family::neighbours)
    }

    /// What a device is in the family.
    pub fn role(&self, device: &str) -> Option<Role> {
        self.state().family.as_ref()?.role(device)
    }

    /// What the devices are called otherwise than when they were paired, by their ids.
    pub fn names(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let Some(family) = &state.family else {
            return BTreeMap::new();
        };
        let ids = family.devices.iter().map(|device| &device.id);
        ids.filter_map(|id| Some((id.clone(), state.text(&name_key(id))?)))
            .collect()
    }

    /// What is known of the devices, this one first.
    pub fn profiles(&self) -> Vec<Profile> {
        let state = self.state();
        let devices = match &state.family {
            Some(family) => &family.devices[..],
            None => state.alone.as_slice(),
        };
        let mut profiles: Vec<(bool, Profile)> = devices
            .iter()
            .map(|device| {
                let profile = Profile {
                    id: device.id.clone(),
                    name: state
                        .text(&name_key(&device.id))
                        .unwrap_or_else(|| device.name.clone()),
                    room: state.text(&room_key(&device.id)),
                    facts: match device.here {
                        true => state.facts.clone(),
                        false => state.facts_of(&device.id),
                    },
                };
                (!device.here, profile)
            })
            .collect();
        profiles.sort_by(|(one_away, one), (other_away, other)| {
            (one_away, &one.name, &one.id).cmp(&(other_away, &other.name, &other.id))
        });
        profiles.into_iter().map(|(_, profile)| profile).collect()
    }

    /// Calls a device something else.
    pub fn rename(&self, device: &str, name: &str) -> Result<(), Refusal> {
        let name = words(name)?;
        if name.is_empty() {
            return Err(Refusal::Refused("a name must not be empty".into()));
        }
        let id = self.find(device)?;
        let mut profiles = self.profiles().into_iter();
        if let Some(other) = profiles.find(|profile| profile.id != id && profile.name == name) {
            let taken = format!("another device is called {} already", other.name);
            return Err(Refusal::Refused(taken));
        }
        self.say(&Document::Family, &name_key(&id), Some(name.into()))
    }

    /// Says in which room a device stands.
    pub fn set_room(&self, device: &str, room: Option<&str>) -> Result<(), Refusal> {
        let room = words(room.unwrap_or_default())?;
        let id = self.find(device)?;
        let room = (!room.is_empty()).then(|| room.into());
        self.say(&Document::Family, &room_key(&id), room)
    }

    /// The id of the one device of that name or id.
    fn find(&self, device: &str) -> Result<String, Refusal> {
        if self.state().family.is_none() {
            return Err(Refusal::NoFamily);
        }
        let profiles = self.profiles();
        if let Some(found) = profiles.iter().find(|profile| profile.id == device) {
            return Ok(found.id.clone());
        }
        let mut named = profiles.iter().filter(|profile| profile.name == device);
        match (named.next(), named.next()) {
            (Some(found), None) => Ok(found.id.clone()),
            (Some(_), Some(_)) => Err(Refusal::Refused(format!(
                "more than one device is called {device}: give its id"
            ))),
            _ => Err(Refusal::UnknownDevice(device.to_owned())),
        }
    }

    /// Changes an entry, by the word of this device.
    pub fn say(&self, document: &Document, key: &str, value: Option<Value>) -> Result<(), Refusal> {
        let mut state = self.state();
        let (Some(role), Some(here)) = (state.own_role(), state.own_id()) else {
            return Err(Refusal::NoFamily);
        };
        if !document.is_written_by(role, &here) {
            return Err(Refusal::Refused(
                "only the owner's devices say that: do it on one of them".into(),
            ));
        }
        let copy = state.copies.get_mut(document).ok_or(Refusal::NoFamily)?;
        if copy.change([(key, value)])? {
            drop(state);
            self.changed();
        }
        Ok(())
    }

    /// What an entry says.
    pub fn get(&self, document: &Document, key: &str) -> Option<Value> {
        self.state().copies.get(document)?.get(key).cloned()
    }

    /// This device says this about itself.
    pub fn take_facts(&self, facts: Facts) -> Result<()> {
        {
            let mut state = self.state();
            if state.facts.as_ref() == Some(&facts) {
                return Ok(());
            }
            state.facts = Some(facts);
        }
        self.publish()?;
        self.changed();
        Ok(())
    }

    /// Writes what this device says about itself where the others read it.
    fn publish(&self) -> Result<()> {
        let mut state = self.state();
        let (Some(here), Some(facts)) = (state.own_id(), state.facts.clone()) else {
            return Ok(());
        };
        let document = Document::Device(here);
        let Some(copy) = state.copies.get_mut(&document) else {
            return Ok(());
        };
        let number = |bytes: u64| Value::Number(i64::try_from(bytes).unwrap_or(i64::MAX));
        let entries = [
            ("product", facts.product.as_str().into()),
            ("model", facts.model.as_str().into()),
            ("release", facts.release.as_str().into()),
            ("edition", facts.edition.as_str().into()),
            ("storage/size", number(facts.storage_size)),
            ("storage/available", number(facts.storage_available)),
        ];
        let entries = entries.map(|(key, value)| (key, Some(value)));
        copy.change(entries).context("noting what this device is")?;
        Ok(())
    }
}

impl State {
    pub(crate) fn own_id(&self) -> Option<String> {
        Some(self.family.as_ref()?.here()?.id.clone())
    }

    pub(crate) fn own_role(&self) -> Option<Role> {
        Some(self.family.as_ref()?.here()?.role)
    }

    pub(crate) fn role(&self, device: &str) -> Option<Role> {
        self.family.as_ref()?.role(device)
    }

    fn text(&self, key: &str) -> Option<String> {
        match self.copies.get(&Document::Family)?.get(key)? {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn facts_of(&self, id: &str) -> Option<Facts> {
        let copy = self.copies.get(&Document::Device(id.to_owned()))?;
        let text = |key: &str| match copy.get(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let number = |key: &str| match copy.get(key) {
            Some(Value::Number(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        Some(Facts {
            product: text("product")?,
            model: text("model").unwrap_or_default(),
            release: text("release").unwrap_or_default(),
            edition: text("edition").unwrap_or_default(),
            storage_size: number("storage/size").unwrap_or(0),
            storage_available: number("storage/available").unwrap_or(0),
        })
    }
}

/// Deletes what the family knew of devices that have left.
fn forget(state: &mut State, left: &[String]) -> Result<()> {
    let Some(copy) = state.copies.get_mut(&Document::Family) else {
        return Ok(());
    };
    let keys: Vec<String> = left
        .iter()
        .flat_map(|id| [name_key(id), room_key(id)])
        .collect();
    copy.change(keys.iter().map(|key| (&**key, None)))
        .context("forgetting devices that have left")?;
    Ok(())
}

fn remove_others(folder: &Path, keep: impl Fn(&str) -> bool) -> Result<()> {
    let reading = || format!("looking through {}", folder.display());
    for entry in fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name();
        if name.to_str().is_none_or(&keep) {
            continue;
        }
        let path = entry.path();
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.with_context(|| format!("deleting {}", path.display()))?;
    }
    Ok(())
}

fn name_key(id: &str) -> String {
    format!("device/{id}/name")
}

fn room_key(id: &str) -> String {
    format!("device/{id}/room")
}

fn words(text: &str) -> Result<&str, Refusal> {
    let text = text.trim();
    let fits = text.len() <= LONGEST && !text.chars().any(char::is_control);
    fits.then_some(text).ok_or_else(|| {
        Refusal::Refused(format!(
            "a name has at most {LONGEST} bytes and no control characters"
        ))
    })
}
