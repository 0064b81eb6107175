//! Settings that follow the person, and what this device is called.
//!
//! There are two places: this device's settings, and the document that other devices have too. For
//! each setting it is kept (durably) what the two last were when they were the same, or were made
//! so. What differs from that in the settings was chosen here and goes into the document; what
//! differs in the document was chosen elsewhere and goes into the settings. Chosen in both, which
//! takes this service not to run, is chosen here.
//!
//! A device that comes into the family takes the person's settings, all of them, and has nothing to
//! say before it has met another of the owner's devices. The device with which a family begins
//! gives its own.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use bus::Client;
use bus::family::Role;
use bus::following::{Chosen, Error, Followed, Moment, Owner};
use futures::StreamExt as _;
use replica::Value;
use serde::{Deserialize, Serialize};
use store::Store;

use crate::document::Document;
use crate::home::{Home, Refusal};

/// What was the same in both places.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Agreed {
    /// The family that this is about.
    #[serde(default)]
    family: String,
    /// Whether the person's settings were taken or given.
    #[serde(default)]
    begun: bool,
    /// By key.
    #[serde(default)]
    settings: BTreeMap<String, Both>,
}

store::first_version!(Agreed);

/// A setting in both places; nothing where it is left at its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Both {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    here: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    there: Option<Value>,
}

/// What is to be done about one setting.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Nothing.
    Stay,
    /// It goes into the document.
    Give,
    /// It comes out of the document.
    Take,
}

/// What to do about a setting, by how it is in both places and how it was when they agreed.
fn step(agreed: Option<&Both>, here: &Option<Value>, there: &Option<Value>) -> Step {
    match agreed {
        _ if here == there => Step::Stay,
        // Never agreed: the person's other devices had it before.
        None => Step::Take,
        Some(agreed) if agreed.here != *here => Step::Give,
        Some(agreed) if agreed.there != *there => Step::Take,
        // Neither has changed: it could not be made the same, such as by an older release.
        Some(_) => Step::Stay,
    }
}

/// The bridge between the two places.
pub struct Following {
    agreed: Store<Agreed>,
}

impl Following {
    /// With what was agreed before, in a folder. The strings are for the owner.
    pub fn open(folder: &Path) -> Result<(Self, Vec<String>)> {
        let opened = store::open::<Agreed>(&folder.join("agreed"))
            .context("reading which settings were agreed")?;
        let agreed = opened.store;
        Ok((Self { agreed }, opened.notices))
    }

    /// Keeps both places the same until one of the two services ends.
    pub async fn keep(&mut self, home: &Home, client: &Client) -> Result<()> {
        let mut moments = bus::following::watch(client)
            .await
            .context("watching the settings that follow")?;
        let mut settings: Option<Moment> = None;
        let mut changes = home.watch();
        loop {
            changes.borrow_and_update();
            if let Some(settings) = &mut settings {
                self.bring_together(home, client, settings).await?;
            }
            tokio::select! {
                moment = moments.next() => {
                    let moment = moment.context("the settings end")??;
                    // What was taken since is not in what was on its way meanwhile.
                    if settings.as_ref().is_none_or(|last| moment.revision >= last.revision) {
                        settings = Some(moment);
                    }
                }
                changed = changes.changed() => changed.context("this service ends")?,
            }
        }
    }

    async fn bring_together(
        &mut self,
        home: &Home,
        client: &Client,
        moment: &mut Moment,
    ) -> Result<()> {
        let Some((family, role)) = home.membership() else {
            return Ok(());
        };
        if self.agreed.value().family != family {
            self.agreed.replace(Agreed {
                family,
                ..Agreed::default()
            })?;
        }
        self.bring_all(home, client, role, moment, Owner::Device, true)
            .await?;
        if role != Role::Owner {
            return Ok(());
        }
        let begun = self.agreed.value().begun;
        let founds = !begun && home.is_founder();
        if !begun && !founds && !home.has_met() {
            return Ok(());
        }
        self.bring_all(home, client, role, moment, Owner::Person, founds)
            .await?;
        if !begun {
            self.agreed.update(|agreed| agreed.begun = true)?;
        }
        Ok(())
    }

    /// Brings all settings of somebody together.
    async fn bring_all(
        &mut self,
        home: &Home,
        client: &Client,
        role: Role,
        moment: &mut Moment,
        owner: Owner,
        gives_first: bool,
    ) -> Result<()> {
        let settings = moment.settings.iter_mut();
        for setting in settings.filter(|setting| setting.owner == owner) {
            let taken = self
                .bring_one(home, client, role, setting, gives_first)
                .await?;
            moment.revision = moment.revision.max(taken.unwrap_or(0));
        }
        Ok(())
    }

    /// Brings one setting together. `gives_first`: where the two never agreed, what was chosen here
    /// is given. Answers the revision of the settings from which on what was taken stands.
    async fn bring_one(
        &mut self,
        home: &Home,
        client: &Client,
        role: Role,
        setting: &mut Followed,
        gives_first: bool,
    ) -> Result<Option<u64>> {
        let here = setting.value.as_ref().and_then(to_document);
        let there = place(setting).read(home);
        let agreed = self.agreed.value().settings.get(&setting.key);
        let step = match (agreed, &here) {
            (None, Some(_)) if gives_first && here != there => Step::Give,
            _ => step(agreed, &here, &there),
        };
        let mut taken = None;
        let both = match step {
            Step::Stay if agreed.is_some_and(|both| both.here == here && both.there == there) => {
                return Ok(None);
            }
            Step::Stay => Both { here, there },
            Step::Give if setting.owner == Owner::Device && role != Role::Owner => {
                // Only the owner's devices name devices; the family calls it otherwise meanwhile.
                Both { here, there }
            }
            Step::Give => {
                match place(setting).write(home, here.clone()) {
                    Ok(()) => {}
                    Err(Refusal::NotSaved(reason)) => {
                        anyhow::bail!("giving {} to the other devices: {reason}", setting.key)
                    }
                    Err(refusal) => {
                        tracing::warn!("{} stays on this device: {refusal}", setting.key);
                    }
                }
                let there = place(setting).read(home);
                Both { here, there }
            }
            Step::Take => {
                let value = there.clone().and_then(to_setting);
                match bus::following::take(client, &setting.key, value.as_ref()).await? {
                    Ok(revision) => {
                        taken = Some(revision);
                        setting.value = value;
                        Both {
                            here: there.clone(),
                            there,
                        }
                    }
                    Err(Error::NotSaved(reason)) => {
                        anyhow::bail!("taking {} from the other devices: {reason}", setting.key)
                    }
                    // A newer release chose what this one does not know. It stays there.
                    Err(Error::Unfit(reason) | Error::UnknownKey(reason)) => {
                        tracing::info!("{} is not taken: {reason}", setting.key);
                        Both { here, there }
                    }
                }
            }
        };
        let key = setting.key.clone();
        self.agreed.update(|agreed| {
            agreed.settings.insert(key, both);
        })?;
        Ok(taken)
    }
}

/// Where a setting is in the documents.
enum Place {
    Person(String),
    OwnName,
}

fn place(setting: &Followed) -> Place {
    match setting.owner {
        Owner::Person => Place::Person(format!("setting/{}", setting.key)),
        Owner::Device => Place::OwnName,
    }
}

impl Place {
    fn read(&self, home: &Home) -> Option<Value> {
        match self {
            Self::Person(key) => home.get(&Document::Person, key),
            // This device comes first.
            Self::OwnName => home
                .profiles()
                .first()
                .map(|profile| profile.name.as_str().into()),
        }
    }

    fn write(&self, home: &Home, value: Option<Value>) -> Result<(), Refusal> {
        match (self, value) {
            (Self::Person(key), value) => home.say(&Document::Person, key, value),
            (Self::OwnName, Some(Value::Text(name))) => {
                let id = home.profiles().first().map(|profile| profile.id.clone());
                home.rename(&id.unwrap_or_default(), &name)
            }
            // Back to the default: the family keeps calling it as it did.
            (Self::OwnName, _) => Ok(()),
        }
    }
}

fn to_document(value: &Chosen) -> Option<Value> {
    Some(match value {
        Chosen::Boolean(value) => Value::Flag(*value),
        Chosen::Integer(value) => Value::Number(*value),
        Chosen::Text(value) => Value::Text(value.clone()),
        // There is no such setting that follows; the registry's test says so.
        Chosen::Texts(_) => return None,
    })
}

fn to_setting(value: Value) -> Option<Chosen> {
    Some(match value {
        Value::Flag(value) => Chosen::Boolean(value),
        Value::Number(value) => Chosen::Integer(value),
        Value::Text(value) => Chosen::Text(value),
        Value::Bytes(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_goes_where_it_did_not() {
        let [old, new, other] = ["old", "new", "other"].map(|text| Some(Value::from(text)));
        let agreed = Both {
            here: old.clone(),
            there: old.clone(),
        };
        let decide = |here: &Option<Value>, there: &Option<Value>| step(Some(&agreed), here, there);
        assert_eq!(decide(&old, &old), Step::Stay);
        assert_eq!(decide(&new, &old), Step::Give);
        assert_eq!(
            decide(&None, &old),
            Step::Give,
            "back to the default is a choice"
        );
        assert_eq!(decide(&old, &new), Step::Take);
        assert_eq!(decide(&old, &None), Step::Take);
        assert_eq!(decide(&new, &other), Step::Give);
        assert_eq!(decide(&new, &new), Step::Stay);
        assert_eq!(step(None, &new, &None), Step::Take);
        // What this release could not take is not given back for that.
        let stuck = Both {
            here: old.clone(),
            there: new.clone(),
        };
        assert_eq!(step(Some(&stuck), &old, &new), Step::Stay);
        assert_eq!(step(Some(&stuck), &old, &other), Step::Take);
        assert_eq!(step(Some(&stuck), &other, &new), Step::Give);
    }
}
