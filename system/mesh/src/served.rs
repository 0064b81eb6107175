//! `hyper:family` on the bus; `hyper:grants` is in [`grants`](crate::grants).

use std::sync::Arc;
use std::time::Duration;

use bus::family::{Device, Error, Loss, Role};
use bus::pairing::{Candidate, Membership, Method, Secrets, Stage};
use bus::{Caller, Outgoing};
use futures::stream;
use tokio::sync::watch;
use trust::identity::DeviceId;

use crate::discovery::Purpose;
use crate::node::{Node, Peer};
use crate::pairing::Pairing;

/// Answers for the family.
pub struct Family(pub Arc<Node>);

impl Family {
    fn devices(&self) -> Vec<Device> {
        let own = self.0.id();
        let Some(family) = self.0.family() else {
            return vec![Device {
                id: own.to_string(),
                name: self.0.model.clone(),
                role: Role::Owner,
                here: true,
                online: true,
                last_seen: None,
            }];
        };
        let state = self.0.state();
        let mut devices: Vec<_> = family
            .members()
            .map(|member| {
                let here = member.device == own;
                let peer = state.peers.get(&member.device);
                Device {
                    id: member.device.to_string(),
                    name: state.called(member).to_owned(),
                    role: role(member.role),
                    here,
                    online: here || peer.is_some_and(Peer::is_there),
                    last_seen: peer.and_then(|peer| peer.last_seen),
                }
            })
            .collect();
        devices.sort_by(|one, other| {
            (!one.here, &one.name, &one.id).cmp(&(!other.here, &other.name, &other.id))
        });
        devices
    }

    fn remove(&self, caller: &Caller, device: &str, lost: bool) -> Result<(), Error> {
        if self.0.family().is_none() {
            return Err(Error::NoFamily);
        }
        let Some(found) = self.0.find(device) else {
            return Err(Error::UnknownDevice(device.to_owned()));
        };
        if lost && found == self.0.id() {
            let reason = "this device is here: mark it as lost on another one";
            return Err(Error::Refused(reason.into()));
        }
        tracing::info!("{} removes {}", caller.name(), self.0.name(found));
        self.0
            .remove(found, lost)
            .map_err(|error| match is_not_kept(&error) {
                true => Error::NotSaved(format!("{error:#}")),
                false => Error::Refused(format!("{error:#}")),
            })
    }
}

/// Whether something was not done because it could not be made durable.
pub(crate) fn is_not_kept(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(trust::log::KeptError::Store(_)))
}

pub(crate) fn role(role: trust::log::Role) -> Role {
    match role {
        trust::log::Role::Owner => Role::Owner,
        trust::log::Role::Shared => Role::Shared,
        trust::log::Role::Guest => Role::Guest,
    }
}

/// What somebody answers now, and again each time that something has changed and the answer with it.
pub(crate) fn each<T, A>(
    this: T,
    changes: tokio::sync::watch::Receiver<u64>,
    answer: impl Fn(&T) -> A + Send + 'static,
) -> Outgoing<A>
where
    T: Send + 'static,
    A: Clone + PartialEq + Send + 'static,
{
    each_in_time(this, changes, move |this| (answer(this), None))
}

/// As [`each`], where time alone changes the answer too: it says beside it when to look again.
pub(crate) fn each_in_time<T, A>(
    this: T,
    changes: tokio::sync::watch::Receiver<u64>,
    answer: impl Fn(&T) -> (A, Option<Duration>) + Send + 'static,
) -> Outgoing<A>
where
    T: Send + 'static,
    A: Clone + PartialEq + Send + 'static,
{
    Box::pin(stream::unfold(
        (this, changes, None, answer),
        async |(this, mut changes, last, answer)| {
            loop {
                changes.borrow_and_update();
                let (now, again) = answer(&this);
                if last.as_ref() != Some(&now) {
                    return Some((now.clone(), (this, changes, Some(now), answer)));
                }
                let later = async {
                    match again {
                        Some(again) => tokio::time::sleep(again).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = changes.changed() => changed.ok()?,
                    () = later => {}
                }
            }
        },
    ))
}

impl bus::naming::Handler for Family {
    async fn call_devices(&self, _: Caller, names: Vec<(String, String)>) {
        let name = |(id, name): (String, String)| {
            // As in the log.
            let fits = (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
            Some((id.parse().ok()?, fits.then_some(name)?))
        };
        self.0
            .call_devices(names.into_iter().filter_map(name).collect());
    }
}

impl bus::family::Handler for Family {
    async fn id(&self, _: Caller) -> Option<String> {
        Some(self.0.family()?.id()?.to_string())
    }

    async fn is_founder(&self, _: Caller) -> bool {
        self.0.family().is_some_and(|family| {
            // What made its founder a member is the entry that began the family, and gave it its id.
            let entry = family
                .member(self.0.id())
                .map(|member| *member.entry.as_bytes());
            entry.is_some() && entry == family.id().map(|id| *id.as_bytes())
        })
    }

    async fn devices(&self, _: Caller) -> Vec<Device> {
        self.devices()
    }

    async fn watch(&self, _: Caller) -> Outgoing<Vec<Device>> {
        let this = Self(Arc::clone(&self.0));
        each(this, self.0.watch(), Self::devices)
    }

    async fn remove(&self, caller: Caller, device: String) -> Result<(), Error> {
        self.remove(&caller, &device, false)
    }

    async fn mark_lost(&self, caller: Caller, device: String) -> Result<(), Error> {
        self.remove(&caller, &device, true)
    }

    async fn lost(&self, _: Caller) -> Option<Loss> {
        loss(&self.0)
    }

    async fn watch_lost(&self, _: Caller) -> Outgoing<Option<Loss>> {
        each(Arc::clone(&self.0), self.0.watch(), loss)
    }
}

fn loss(node: &Arc<Node>) -> Option<Loss> {
    let (by, at) = node.lost()?;
    Some(Loss { by, at })
}

/// Answers for pairing.
pub struct Pairings {
    /// This device.
    pub node: Arc<Node>,
    /// What is under way.
    pub pairing: Arc<Pairing>,
}

/// The devices nearby that are open for this.
pub(crate) fn candidates(node: &Arc<Node>, purpose: Purpose) -> Vec<Candidate> {
    let candidate = |device: &DeviceId| Candidate {
        id: device.to_string(),
    };
    let state = node.state();
    let all = state.candidates.iter();
    let open = all.filter(|(_, (open_for, _))| *open_for == purpose);
    open.map(|(device, _)| candidate(device)).collect()
}

/// How something stands now, and each time that it changes.
pub(crate) fn stages<T: Clone + Send + Sync + 'static>(stages: watch::Receiver<T>) -> Outgoing<T> {
    let begun = (stages, true);
    Box::pin(stream::unfold(begun, async |(mut stages, first)| {
        if !first {
            stages.changed().await.ok()?;
        }
        let stage = stages.borrow_and_update().clone();
        Some((stage, (stages, false)))
    }))
}

impl bus::pairing::Handler for Pairings {
    async fn open(&self, caller: Caller) -> Result<Secrets, String> {
        tracing::info!("{} opens this device for pairing", caller.name());
        self.pairing.open().map_err(|error| format!("{error:#}"))
    }

    async fn close(&self, _: Caller) {
        self.pairing.close();
    }

    async fn candidates(&self, _: Caller) -> Vec<Candidate> {
        self.pairing.look_for_a_while();
        candidates(&self.node, Purpose::Pairing)
    }

    async fn watch_candidates(&self, _: Caller) -> Outgoing<Vec<Candidate>> {
        let looking = self.pairing.look();
        let this = (Arc::clone(&self.node), looking);
        each(this, self.node.watch(), |(node, _)| {
            candidates(node, Purpose::Pairing)
        })
    }

    async fn begin(
        &self,
        caller: Caller,
        candidate: String,
        method: Method,
        secret: String,
        name: String,
        membership: Membership,
    ) -> Result<(), String> {
        tracing::info!("{} asks {candidate} into the family", caller.name());
        self.pairing
            .begin(&candidate, method, &secret, &name, membership)
            .await
            .map_err(|error| format!("{error:#}"))
    }

    async fn confirm(&self, _: Caller) -> Result<(), String> {
        self.pairing.confirm().map_err(|error| format!("{error:#}"))
    }

    async fn refuse(&self, _: Caller) {
        self.pairing.refuse();
    }

    async fn watch(&self, _: Caller) -> Outgoing<Stage> {
        stages(self.pairing.watch())
    }
}
