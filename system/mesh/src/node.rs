//! This device among the others: its key, its family's log, and who is where.
//!
//! Everything that the parts of this service share stands here, behind one lock that is never held
//! while waiting. Whoever changes something that can be seen says so by [`Node::changed`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bus::{Address, Client};
use iroh::address_lookup::MemoryLookup;
use iroh::{Endpoint, RelayUrl};
use service::notices;
use tokio::sync::{Notify, watch};
use trust::family::{Family, Member, Policy};
use trust::identity::{DeviceId, Identity, KeptIdentity};
use trust::log::{Action, Entry, EntryId, Grant, KeptLog, Log, Role, Until};

use crate::asking::Askers;
use crate::discovery::label::DiscoveryKey;
use crate::discovery::{Interest, Purpose};
use crate::links::Link;
use crate::names;
use crate::questions::Questions;
use crate::removal::OwnRemoval;
use crate::spent::Spent;
use crate::transport::{self, Binding};

/// Why a device that is lost begins nothing.
pub const LOST: &str = "this device is lost, and waits for its family";

/// A device of the family, as far as it has to do with reaching it.
#[derive(Debug, Default)]
pub struct Peer {
    /// The connection that is used for what is new.
    pub link: Option<Arc<Link>>,
    /// Where it said to be, the newest first.
    pub addresses: Vec<SocketAddr>,
    /// Whether it said so and has not taken it back.
    pub present: bool,
    /// Whether it has answered by the relay, and nothing says that it is gone from there.
    pub afar: bool,
    /// When it was last reached, in milliseconds since 1970.
    pub last_seen: Option<u64>,
    /// Whether somebody is connecting to it.
    pub dialling: bool,
    /// Tells whoever is that something was heard that makes it worth trying again at once.
    pub heard: Arc<Notify>,
}

impl Peer {
    /// Whether it can be reached, as far as is known.
    pub fn is_there(&self) -> bool {
        self.present || self.afar || self.link.is_some()
    }
}

/// How other devices are reached, and this one by them.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Connections to others.
    pub endpoint: Endpoint,
    /// What it was made with.
    pub binding: Binding,
}

/// What changes.
#[derive(Debug)]
pub struct State {
    log: Option<KeptLog>,
    /// What devices are called otherwise than when they were added.
    names: HashMap<DeviceId, String>,
    /// Whether this device was removed.
    removal: OwnRemoval,
    /// Removed devices that somebody is telling so.
    telling: BTreeSet<DeviceId>,
    /// Removed devices that know it.
    told: BTreeSet<DeviceId>,
    /// Removed devices that were reached just now, with where.
    to_tell: Vec<(DeviceId, Vec<SocketAddr>)>,
    /// One-time grants that were used.
    pub spent: Spent,
    /// Those of them whose call is under way.
    pub running: BTreeSet<EntryId>,
    /// The other devices of the family.
    pub peers: HashMap<DeviceId, Peer>,
    /// Devices that are open, with what for and where they say to be.
    pub candidates: BTreeMap<DeviceId, (Purpose, Vec<SocketAddr>)>,
}

impl State {
    /// What a member is called.
    pub fn called<'a>(&'a self, member: &'a Member) -> &'a str {
        self.names.get(&member.device).unwrap_or(&member.name)
    }

    /// Notes durably that this device was removed, by the entry that says so.
    fn note_removal(&mut self, entry: Entry) -> Result<()> {
        let family = self.log.as_ref().map(|log| log.log().family());
        let author = family
            .as_ref()
            .and_then(|family| family.member(entry.author()));
        let by = author.map_or_else(String::new, |author| self.called(author).to_owned());
        self.removal.note(entry, by)
    }
}

/// This device.
#[derive(Debug)]
pub struct Node {
    /// Its key.
    pub identity: Identity,
    /// What it is called while nobody has called it anything else.
    pub model: String,
    /// The folder of the sockets of this device.
    pub bus: PathBuf,
    /// What waits for the owner's word on this device's screen.
    pub questions: Arc<Questions>,
    /// The devices for whose calls of this device the owner is being asked.
    pub askers: Arc<Askers>,
    /// Says that a connection has ended which nobody had ended.
    pub link_lost: Notify,
    reach: watch::Sender<Reach>,
    /// Held by whoever makes another endpoint.
    rebinding: tokio::sync::Mutex<()>,
    lookup: MemoryLookup,
    log_file: PathBuf,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    log_changes: watch::Sender<u64>,
    interest: watch::Sender<Interest>,
}

/// The one call that a grant allows, as long as it is under way.
#[derive(Debug)]
pub struct OneCall {
    node: Arc<Node>,
    grant: EntryId,
}

impl Drop for OneCall {
    fn drop(&mut self) {
        self.node.state().running.remove(&self.grant);
        self.node.changed();
    }
}

/// What one needs to be allowed what, where the log says nothing.
///
/// The owner's devices may call what is shared at all, but for what would let a thief of one of them
/// reach further; the devices that many people use may ask what the others are, tell the owner what
/// stands on them, and have pieces of releases, which are no secret. `own` is what the device that
/// serves is itself.
pub fn policy(own: Role) -> Policy {
    let interfaces = |names: &[&str]| {
        names
            .iter()
            .map(|name| name.parse().expect("the name of an interface"))
            .collect()
    };
    Policy {
        // Many people use a shared device, and its screen is for everybody; an owner's is for who holds it.
        sensitive: interfaces(match own {
            Role::Owner => &[
                "hyper:services/services",
                "hyper:screen/view",
                "hyper:input/input",
            ],
            Role::Shared | Role::Guest => &["hyper:services/services"],
        }),
        shared: interfaces(&[
            "hyper:device/device",
            "hyper:state/replica",
            "hyper:notify/notices",
            "hyper:pieces/pieces",
        ]),
        // It says there what it is; it reads nothing else there.
        guest: interfaces(&["hyper:state/replica"]),
    }
}

impl Node {
    /// Reads what is kept in a folder, or begins it, and opens the endpoint. The strings are for the
    /// owner.
    pub async fn open(
        data: &Path,
        bus: PathBuf,
        model: String,
    ) -> Result<(Arc<Self>, Vec<String>)> {
        let (kept, mut notices) =
            KeptIdentity::open(&data.join("identity")).context("reading this device's key")?;
        let identity = kept.current().clone();
        let log_file = data.join("family");
        let (log, more) = KeptLog::open(&log_file).context("reading the family's log")?;
        notices.extend(more);
        let (mut spent, more) = Spent::open(&data.join("spent"))?;
        if !more.is_empty() {
            // Which of them were used is lost: then none of them is good any more.
            let family = log.as_ref().map(|log| log.log().family());
            for given in family.iter().flat_map(|family| family.grants()) {
                let key = |to| family.as_ref()?.current_key(to);
                let to = given.grant.to.and_then(key);
                let here = given.grant.to.is_none() || to == Some(identity.id());
                if here && given.grant.until == Until::Once {
                    spent.note(given.entry)?;
                }
            }
        }
        notices.extend(more);
        let (mut removal, more) = OwnRemoval::open(&data.join("loss"))?;
        notices.extend(more);
        // Taken in again, and then the power failed.
        let taken_in = log
            .as_ref()
            .map(KeptLog::log)
            .is_some_and(|log| log.family().role(identity.id()).is_some() && removal.is_over(log));
        if taken_in {
            removal.clear()?;
        }
        let lookup = MemoryLookup::new();
        let names = names::resolver(bus.clone());
        // Cards that take no batches are heard of as links come.
        let binding = Binding {
            relay: None,
            batches: true,
        };
        let endpoint = transport::bind(&identity, lookup.clone(), &binding, names).await?;
        let node = Arc::new(Self {
            identity,
            model,
            bus,
            questions: Questions::new(),
            askers: Arc::default(),
            link_lost: Notify::new(),
            reach: watch::Sender::new(Reach { endpoint, binding }),
            rebinding: tokio::sync::Mutex::new(()),
            lookup,
            log_file,
            state: Mutex::new(State {
                log,
                names: HashMap::new(),
                removal,
                telling: BTreeSet::new(),
                told: BTreeSet::new(),
                to_tell: Vec::new(),
                spent,
                running: BTreeSet::new(),
                peers: HashMap::new(),
                candidates: BTreeMap::new(),
            }),
            changes: watch::Sender::new(0),
            log_changes: watch::Sender::new(0),
            interest: watch::Sender::new(Interest::default()),
        });
        node.take_family();
        Ok((node, notices))
    }

    /// The key of this device.
    pub fn id(&self) -> DeviceId {
        self.identity.id()
    }

    /// What connects it to others, for now: see [`Node::rebind`].
    pub fn endpoint(&self) -> Endpoint {
        self.reach.borrow().endpoint.clone()
    }

    /// The relay that is used.
    pub fn relay(&self) -> Option<RelayUrl> {
        self.reach.borrow().binding.relay.clone()
    }

    /// Hears of each change of both.
    pub fn watch_reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// Reaches others from now on by an endpoint that is made otherwise, unless that is no change. What is open ends
    /// and comes about anew.
    pub async fn rebind(&self, change: impl FnOnce(&mut Binding)) -> Result<()> {
        let _alone = self.rebinding.lock().await;
        let mut binding = self.reach.borrow().binding.clone();
        change(&mut binding);
        if self.reach.borrow().binding == binding {
            return Ok(());
        }
        let names = names::resolver(self.bus.clone());
        let endpoint =
            transport::bind(&self.identity, self.lookup.clone(), &binding, names).await?;
        let before = self.reach.send_replace(Reach { endpoint, binding });
        for peer in self.state().peers.values_mut() {
            peer.afar = false;
        }
        // The others are told at which ports.
        self.take_family();
        self.changed();
        // That the others hear of it takes a moment.
        tokio::spawn(async move { before.endpoint.close().await });
        Ok(())
    }

    /// What changes, for a moment.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // Whole at every point where its holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever watches that devices, their presence or candidates have changed.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Hears of each such change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Hears of each change of the log.
    pub fn watch_log(&self) -> watch::Receiver<u64> {
        self.log_changes.subscribe()
    }

    /// Where a device says to be that is open for this.
    pub fn candidate(&self, device: DeviceId, purpose: Purpose) -> Option<Vec<SocketAddr>> {
        let state = self.state();
        let (open_for, addresses) = state.candidates.get(&device)?;
        (*open_for == purpose).then(|| addresses.clone())
    }

    /// What discovery is to look for.
    pub fn interest(&self) -> watch::Receiver<Interest> {
        self.interest.subscribe()
    }

    /// Changes what discovery is to look for.
    pub fn look(&self, change: impl FnOnce(&mut Interest)) {
        self.interest.send_if_modified(|interest| {
            let before = interest.clone();
            change(interest);
            *interest != before
        });
    }

    /// The family; none where this device has none, or was removed from it.
    pub fn family(&self) -> Option<Arc<Family>> {
        let state = self.state();
        if state.removal.is_noted() {
            return None;
        }
        let family = state.log.as_ref()?.log().family();
        drop(state);
        family.role(self.id()).is_some().then_some(family)
    }

    /// What a device is in this device's family.
    pub fn role(&self, device: DeviceId) -> Option<Role> {
        self.family()?.role(device)
    }

    /// The other devices that are there, or connected.
    pub fn reachable(&self) -> Vec<DeviceId> {
        let state = self.state();
        let there = state.peers.iter().filter(|(_, peer)| peer.is_there());
        there.map(|(device, _)| *device).collect()
    }

    /// Whether a device is of this device's family.
    pub fn is_member(&self, device: DeviceId) -> bool {
        self.role(device).is_some()
    }

    /// A device by its name or its id.
    pub fn find(&self, device: &str) -> Option<DeviceId> {
        let family = self.family()?;
        if let Ok(id) = device.parse() {
            return family.member(id).map(|member| member.device);
        }
        let state = self.state();
        let mut named = family
            .members()
            .filter(|member| state.called(member) == device);
        let found = named.next()?;
        // Two of one name are told apart by their ids alone.
        named.next().is_none().then_some(found.device)
    }

    /// What a device is called.
    pub fn name(&self, device: DeviceId) -> String {
        self.family()
            .and_then(|family| Some(self.state().called(family.member(device)?).to_owned()))
            .unwrap_or_else(|| device.short())
    }

    /// Takes what devices are called otherwise than when they were added. Which device is meant is
    /// said by keys wherever it matters; names are for people.
    pub fn call_devices(&self, names: HashMap<DeviceId, String>) {
        let before = std::mem::replace(&mut self.state().names, names.clone());
        if before != names {
            self.changed();
        }
    }

    /// The log as far as it is here, for reading.
    pub fn with_log<T>(&self, read: impl FnOnce(&Log) -> T) -> Option<T> {
        self.state().log.as_ref().map(|log| read(log.log()))
    }

    /// Takes entries of another device in. Whether there was something new.
    pub fn take_entries(&self, entries: &[Vec<u8>]) -> Result<bool> {
        let new = {
            let mut state = self.state();
            let Some(log) = state.log.as_mut() else {
                return Ok(false);
            };
            let (new, refused) = log
                .insert_all(entries.iter().map(Vec::as_slice))
                .context("keeping the family's log")?;
            for refusal in refused {
                tracing::debug!("an entry was refused: {refusal}");
            }
            !new.is_empty()
        };
        if new {
            self.log_changed();
        }
        Ok(new)
    }

    /// Takes in what a device has written by the paper key, if it is an owner device by that.
    pub fn take_recovery(&self, entries: &[Vec<u8>], device: DeviceId) -> Result<bool> {
        let is_owner = self.with_log(|log| {
            let mut tried = log.clone();
            tried.insert_all(entries.iter().map(Vec::as_slice));
            tried.family().role(device) == Some(Role::Owner)
        });
        Ok(is_owner == Some(true) && {
            self.take_entries(entries)?;
            self.role(device) == Some(Role::Owner)
        })
    }

    /// Whether this device may be taken into the family of this log.
    pub fn may_join(&self, log: &Log) -> bool {
        self.state().removal.lets_in(log)
    }

    /// Begins a family with this device as its first.
    pub fn found(&self) -> Result<()> {
        if self.family().is_some() {
            return Ok(());
        }
        {
            let mut state = self.state();
            ensure!(!state.removal.is_lost(), "{LOST}");
            let log = Log::found(&self.identity, &self.model, None, now() / 1000)
                .context("founding a family")?;
            state.log =
                Some(KeptLog::create(&self.log_file, log).context("keeping the family's log")?);
            state.removal.clear()?;
        }
        self.log_changed();
        Ok(())
    }

    /// Keeps the log of the family that this device has joined.
    pub fn join(&self, log: Log) -> Result<()> {
        {
            let mut state = self.state();
            ensure!(
                state.removal.lets_in(&log),
                "this device is lost: nobody takes it in but the family that it is of"
            );
            let log = KeptLog::create(&self.log_file, log).context("keeping the family's log")?;
            state.log = Some(log);
            state.removal.clear()?;
        }
        self.log_changed();
        Ok(())
    }

    /// Adds a device.
    pub fn add(&self, device: DeviceId, role: Role, name: String) -> Result<()> {
        self.write(|log, identity, time| {
            let action = Action::Added { device, role, name };
            log.write(identity, action, time).map(|_| ())
        })
    }

    /// Takes a device out.
    pub fn remove(&self, device: DeviceId, lost: bool) -> Result<()> {
        self.write(|log, identity, time| log.remove(identity, device, lost, time))
    }

    /// Whether this device is lost: on which device that was said, and when, in milliseconds since 1970.
    pub fn lost(&self) -> Option<(String, u64)> {
        let state = self.state();
        let (by, at) = state.removal.told().filter(|_| state.removal.is_lost())?;
        Some((by.to_owned(), at))
    }

    /// Notes that this device was removed, as another one shows it.
    pub fn note_removal(&self, entry: &[u8], shower: DeviceId) -> Result<()> {
        let own = self.id();
        let mut state = self.state();
        let log = state.log.as_ref().context("this device has no family")?;
        let entry = log.log().believe_removal(own, entry, shower)?;
        // No longer of the family, it hears nothing more of it; but what was shown before may be under way.
        if !state.removal.is_lost() {
            state.note_removal(entry)?;
        }
        drop(state);
        self.tell_of_removal();
        Ok(())
    }

    /// Tells the owner that this device was removed. A lost one has a screen for that.
    fn tell_of_removal(&self) {
        let state = self.state();
        if state.removal.is_lost() {
            return tracing::warn!("the owner has marked this device as lost");
        }
        let Some((by, _)) = state.removal.told() else {
            return;
        };
        let by = if by.is_empty() { "Another device" } else { by };
        let notice = format!(
            "{by} has removed this device from the family. What is on it stays, and a family can take it in."
        );
        drop(state);
        self.tell_owner(vec![notice]);
    }

    /// Logs notices, and posts them to the shade.
    pub fn tell_owner(&self, notices: Vec<String>) {
        let client = Client::new(Address::Here(self.bus.clone()));
        tokio::spawn(async move { notices::tell_owner(&client, "Devices", notices).await });
    }

    /// Ends what a device has to do with its family that was removed from it, and says so.
    pub fn leave(&self) {
        self.log_changed();
    }

    /// Notes that this device was removed where its own log says so, which came before it was shown.
    fn note_own_removal(&self) {
        let mut state = self.state();
        if state.removal.is_noted() {
            return;
        }
        let Some(log) = &state.log else { return };
        let Some(entry) = log.log().removal_of(self.id()).cloned() else {
            return;
        };
        let by_itself = entry.author() == self.id();
        if let Err(error) = state.note_removal(entry) {
            return tracing::error!("{error:#}");
        }
        drop(state);
        if !by_itself {
            self.tell_of_removal();
        }
    }

    /// Whether a device was removed from the family.
    pub fn is_removed(&self, device: DeviceId) -> bool {
        self.family()
            .is_some_and(|family| family.removed(device).is_some())
    }

    /// The removed devices that were reached when they were removed, with where.
    pub fn removed_just_now(&self) -> Vec<(DeviceId, Vec<SocketAddr>)> {
        std::mem::take(&mut self.state().to_tell)
    }

    /// Whether a device is one that was removed and is to be told so now: then nobody else does until
    /// [`Node::end_telling`].
    pub fn begin_telling(&self, device: DeviceId) -> bool {
        let is_removed = self.is_removed(device);
        let mut state = self.state();
        is_removed && !state.told.contains(&device) && state.telling.insert(device)
    }

    /// It was tried.
    pub fn end_telling(&self, device: DeviceId, told: bool) {
        let mut state = self.state();
        state.telling.remove(&device);
        if told {
            state.told.insert(device);
        }
    }

    /// Gives a grant, or a refusal for good.
    pub fn grant(&self, grant: Grant) -> Result<EntryId> {
        self.write(|log, identity, time| log.write(identity, Action::GrantGiven(grant), time))
    }

    /// Ends a grant.
    pub fn revoke(&self, grant: EntryId) -> Result<()> {
        self.write(|log, identity, time| {
            log.write(identity, Action::GrantRevoked { grant }, time)
                .map(|_| ())
        })
    }

    /// Changes the log as this device.
    pub fn write<T>(
        &self,
        write: impl FnOnce(&mut KeptLog, &Identity, u64) -> Result<T, trust::log::KeptError>,
    ) -> Result<T> {
        let written = {
            let mut state = self.state();
            let log = state
                .log
                .as_mut()
                .context("this device has no family yet")?;
            write(log, &self.identity, now() / 1000).context("changing the family")?
        };
        self.log_changed();
        Ok(written)
    }

    /// Notes durably that a one-time grant is used; what is answered stands for its call. None where it
    /// was used before.
    pub fn spend(self: &Arc<Self>, grant: EntryId) -> Result<Option<OneCall>> {
        {
            let mut state = self.state();
            if !state.spent.note(grant)? {
                return Ok(None);
            }
            state.running.insert(grant);
        }
        self.changed();
        Ok(Some(OneCall {
            node: Arc::clone(self),
            grant,
        }))
    }

    fn log_changed(&self) {
        self.take_family();
        self.renew_stale_secret();
        self.log_changes.send_modify(|count| *count += 1);
        self.changed();
    }

    /// After a removal somebody has to give the others a secret that the removed device does not know.
    /// Any owner device does; two that do it at once do no harm.
    fn renew_stale_secret(&self) {
        let stale = self.family().is_some_and(|family| {
            family.secret_is_stale() && family.role(self.id()) == Some(Role::Owner)
        });
        if stale {
            let mut state = self.state();
            if let Some(log) = state.log.as_mut()
                && let Err(error) = log.renew_secret(&self.identity, now() / 1000)
            {
                tracing::warn!("renewing the family's secret: {error}");
            }
            drop(state);
            self.take_family();
        }
    }

    /// Brings peers and discovery in line with the log.
    fn take_family(&self) {
        self.note_own_removal();
        let family = self.family();
        let own = self.id();
        let members: Vec<DeviceId> = family
            .iter()
            .flat_map(|family| family.members())
            .map(|member| member.device)
            .filter(|device| *device != own)
            .collect();
        let removed: BTreeSet<DeviceId> = family
            .iter()
            .flat_map(|family| family.all_removed())
            .map(|(device, _)| device)
            .collect();
        {
            let mut state = self.state();
            state.told.retain(|device| removed.contains(device));
            let reached = state
                .peers
                .iter()
                .filter(|(device, _)| removed.contains(*device));
            let reached: Vec<_> = reached
                .map(|(device, peer)| (*device, peer.addresses.clone()))
                .collect();
            state.to_tell.extend(reached);
            state.peers.retain(|device, peer| {
                let stays = members.contains(device);
                if !stays && let Some(link) = &peer.link {
                    transport::close(&link.connection, transport::Closing::Stranger);
                }
                stays
            });
            for member in &members {
                state.peers.entry(*member).or_default();
            }
        }
        self.askers.keep(|device| members.contains(&device));
        let keys = family.map_or(Vec::new(), |family| {
            family
                .discovery_keys()
                .into_iter()
                .map(DiscoveryKey)
                .collect()
        });
        let ports = transport::ports(&self.endpoint());
        self.look(|interest| {
            interest.own = *own.as_bytes();
            interest.keys = keys;
            // Who was removed is to be told so when it is heard.
            let known = members.iter().chain(&removed);
            interest.members = known.map(|device| *device.as_bytes()).collect();
            interest.ports = ports;
        });
    }

    /// Notes where a device says to be. Whether it was known elsewhere, and there not at all.
    pub fn note_addresses(&self, device: DeviceId, addresses: Vec<SocketAddr>) -> bool {
        if let Ok(address) = transport::address(device, addresses.iter().copied(), None) {
            self.lookup.set_endpoint_info(address);
        }
        let mut state = self.state();
        let Some(peer) = state.peers.get_mut(&device) else {
            return false;
        };
        let moved = !peer.addresses.is_empty()
            && addresses
                .first()
                .is_some_and(|newest| !peer.addresses.contains(newest));
        peer.addresses = addresses;
        let was = std::mem::replace(&mut peer.present, true);
        drop(state);
        if !was {
            self.changed();
        }
        moved
    }

    /// Notes that a device has said that it goes.
    pub fn note_gone(&self, device: DeviceId) {
        let mut state = self.state();
        if let Some(peer) = state.peers.get_mut(&device) {
            peer.present = false;
            drop(state);
            self.changed();
        }
    }
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
