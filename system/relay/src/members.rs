//! Who may use the relay: the members of the family, as this machine's mesh knows them.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::family::Device;
use bus::{Address, Client};
use data_encoding::HEXLOWER_PERMISSIVE;
use futures::StreamExt as _;
use iroh_base::EndpointId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId, RelayService};
use tokio::time::Instant;

/// Connections that one device may have at once: one is used, another may be about to take its
/// place, and what was lost without a word is noticed later.
const MOST_CONNECTIONS: usize = 4;
/// How long who was let in stays where there is no mesh to ask any more.
const WITHOUT_MESH: Duration = Duration::from_secs(60);
/// The pause before a mesh that does not answer is asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often those who are in are compared with those who may be: one may have been let in just
/// before it was removed, and not yet have been there to be sent away.
const SWEEP: Duration = Duration::from_secs(2);

/// The public half of a device's key.
type Key = [u8; 32];

#[derive(Debug, Default)]
struct State {
    /// Who may use the relay; none where nobody is there to ask.
    members: Option<HashSet<Key>>,
    /// Connections of those who were let in.
    inside: HashMap<Key, usize>,
}

/// Who may use the relay, and who does.
#[derive(Debug, Default)]
pub struct Members(Mutex<State>);

impl Members {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whole at every point where its holder could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, members: Option<HashSet<Key>>) {
        self.state().members = members;
    }

    /// Lets a device in, or says why not.
    fn let_in(&self, device: Key) -> Result<(), &'static str> {
        let mut state = self.state();
        let Some(members) = &state.members else {
            return Err(
                "this relay cannot ask who belongs to its family: its machine's mesh does not run",
            );
        };
        if !members.contains(&device) {
            return Err(
                "this relay is for the devices of another family, or this one was removed from it",
            );
        }
        let connections = state.inside.entry(device).or_default();
        if *connections >= MOST_CONNECTIONS {
            return Err("this device has too many connections to this relay");
        }
        *connections += 1;
        Ok(())
    }

    fn has_left(&self, device: Key) {
        let mut state = self.state();
        if let Some(connections) = state.inside.get_mut(&device) {
            *connections -= 1;
            if *connections == 0 {
                state.inside.remove(&device);
            }
        }
    }

    /// Those who are in and may not be.
    fn to_send_away(&self) -> Vec<Key> {
        let state = self.state();
        let may_stay = |device: &Key| {
            let members = state.members.as_ref();
            members.is_some_and(|members| members.contains(device))
        };
        let inside = state.inside.keys();
        inside.filter(|device| !may_stay(device)).copied().collect()
    }
}

impl AccessControl for Members {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let device = request.endpoint_id();
        match self.let_in(*device.as_bytes()) {
            Ok(()) => {
                tracing::debug!("{} is in", device.fmt_short());
                Access::Allow
            }
            Err(reason) => {
                tracing::info!("{} is refused: {reason}", device.fmt_short());
                Access::Deny {
                    reason: Some(reason.to_owned()),
                }
            }
        }
    }

    fn on_disconnect(&self, device: EndpointId, _: ConnectionId) {
        self.has_left(*device.as_bytes());
    }
}

/// Keeps to what the mesh of this machine says, as long as it is polled.
pub async fn follow(bus: PathBuf, members: Arc<Members>, service: RelayService) {
    let client = Client::new(Address::Here(bus.clone()));
    let mut pause = FIRST_PAUSE;
    let mut silent_since = Instant::now();
    let mut said = false;
    loop {
        match bus::family::watch(&client).await {
            Ok(mut lists) => {
                let mut sweep = tokio::time::interval(SWEEP);
                loop {
                    tokio::select! {
                        list = lists.next() => match list {
                            Some(Ok(devices)) => {
                                if members.state().members.is_none() {
                                    tracing::info!("the family has {} devices", devices.len());
                                }
                                members.know(Some(keys(&devices)));
                                send_away(&members, &service);
                                (pause, said) = (FIRST_PAUSE, false);
                            }
                            _ => break,
                        },
                        _ = sweep.tick() => send_away(&members, &service),
                    }
                }
                if members.state().members.is_some() {
                    silent_since = Instant::now();
                }
            }
            Err(error) if !said => {
                tracing::warn!(
                    "asking who belongs to the family, of the mesh with its sockets in {}: {error}; \
                     until it answers, nobody is let in",
                    bus.display()
                );
                said = true;
            }
            Err(_) => {}
        }
        members.know(None);
        if silent_since.elapsed() >= WITHOUT_MESH {
            send_away(&members, &service);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn keys(devices: &[Device]) -> HashSet<Key> {
    devices
        .iter()
        .filter_map(|device| key(&device.id))
        .collect()
}

/// The bytes of an id.
fn key(id: &str) -> Option<Key> {
    let bytes = HEXLOWER_PERMISSIVE.decode(id.as_bytes()).ok()?;
    bytes.try_into().ok()
}

fn send_away(members: &Members, service: &RelayService) {
    for device in members.to_send_away() {
        let Ok(id) = EndpointId::from_bytes(&device) else {
            continue;
        };
        if service.clients().disconnect(id, None) {
            tracing::info!("{} is of the family no more", id.fmt_short());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: Key = [1; 32];
    const TV: Key = [2; 32];

    #[test]
    fn nobody_is_let_in_but_members_and_nobody_at_all_without_a_mesh() {
        let members = Members::default();
        assert!(members.let_in(PHONE).is_err(), "nobody was asked yet");
        members.know(Some(HashSet::from([PHONE])));
        members.let_in(PHONE).unwrap();
        assert!(members.let_in(TV).is_err());
        assert!(members.to_send_away().is_empty());
        members.know(Some(HashSet::from([TV])));
        assert!(members.let_in(PHONE).is_err(), "it was removed");
        assert_eq!(members.to_send_away(), [PHONE]);
        members.has_left(PHONE);
        assert!(members.to_send_away().is_empty());
        members.know(None);
        assert!(members.let_in(TV).is_err(), "the mesh is gone");
    }

    #[test]
    fn a_device_has_only_so_many_connections() {
        let members = Members::default();
        members.know(Some(HashSet::from([PHONE, TV])));
        for _ in 0..MOST_CONNECTIONS {
            members.let_in(PHONE).unwrap();
        }
        assert!(members.let_in(PHONE).is_err());
        members.let_in(TV).unwrap();
        members.has_left(PHONE);
        members.let_in(PHONE).unwrap();
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let mut expected = Key::default();
        (expected[0], expected[31]) = (0xa0, 0x0f);
        assert_eq!(key(&format!("a0{}0f", "0".repeat(60))), Some(expected));
        for wrong in ["", "a0", &"g".repeat(64), &"é".repeat(32), &"+1".repeat(32)] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }
}
