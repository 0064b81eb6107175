//! Connections to the other devices of the family: which are kept, how they come about and end.
//!
//! # Which are kept
//!
//! The devices that are present stand in a ring, in the order of their keys. Each keeps a connection to
//! its two neighbours and, where their number is even, to the one across: three at most, and word of a
//! change is everywhere after few hops. Any other connection is made when a call needs it and ends when
//! nothing has used it for a while.
//!
//! # Who connects
//!
//! Of two devices the one with the lesser key does, so that there are not two connections; the other
//! one does too when that has not happened after 400 ms. Where there are two all the same, the newer
//! one is used, and the older one ends when what is under way on it had time to.
//!
//! What fails is tried again after pauses that grow, and at once when the device announces itself: it
//! has come back then, or the cable has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use iroh::endpoint::{Connection, Incoming, IncomingAddr, RecvStream, SendStream};
use tokio::sync::{Semaphore, mpsc};
use trust::identity::DeviceId;

use crate::bucket::Bucket;
use crate::discovery::Event;
use crate::node::{Node, Peer, Reach, now};
use crate::pairing::Pairing;
use crate::recovery::Recovery;
use crate::transport::{self, Closing};
use crate::wire::{self, Kind};
use crate::{afar, asking, calls, logs, removal, settling};

/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(5);
/// When the device with the greater key connects too.
const SECOND: Duration = Duration::from_millis(400);
/// An attempt that takes longer than this may have lost its packets, as when it began before the other
/// end of a cable was up. It is given up for another one when its device is heard, once: a packet is
/// sent again after a second only.
const STALLED: Duration = Duration::from_millis(200);
/// A connection that nobody keeps ends when it was not used for so long.
const UNUSED: Duration = Duration::from_secs(60);
/// What is under way on a connection that was replaced has so much time left.
const REPLACED: Duration = Duration::from_secs(30);
/// Handshakes under way at once.
const MAX_HANDSHAKES: usize = 16;
/// Handshakes of one address: so many at once, and so many a second after that.
const HANDSHAKE_BURST: u32 = 16;
const HANDSHAKES_A_SECOND: u32 = 4;
/// Addresses that are counted at once; beyond, everybody is a stranger in a crowd.
const MAX_SOURCES: usize = 1024;
/// Streams of one connection: so many at once, and so many a second after that.
const STREAM_BURST: u32 = 256;
const STREAMS_A_SECOND: u32 = 128;
/// How long a stream may take to say what it is for.
const OPENING: Duration = Duration::from_secs(10);

/// A connection to a device of the family.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub connection: Connection,
    /// Whom it is to.
    pub device: DeviceId,
    /// Whether links of this device have changed since, so that it may be dead.
    suspect: AtomicBool,
    streams: AtomicUsize,
    used: Mutex<Instant>,
}

/// A stream of a link, which counts as long as it is there.
#[derive(Debug)]
pub struct Use(Arc<Link>);

impl Link {
    /// Notes that something uses it, until what is answered is dropped.
    pub fn begin_use(self: &Arc<Self>) -> Use {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Use(Arc::clone(self))
    }

    /// Whether it may be used for what is new.
    pub fn is_sound(&self) -> bool {
        self.connection.close_reason().is_none() && !self.suspect.load(Ordering::Relaxed)
    }

    fn unused_for(&self) -> Option<Duration> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        (self.streams.load(Ordering::Relaxed) == 0).then(|| used.elapsed())
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes what discovery has heard, and keeps the connections that are to be kept.
pub async fn keep(node: Arc<Node>, mut events: mpsc::Receiver<Event>) {
    let mut changes = node.watch();
    loop {
        let links = node.state().peers.values().any(|peer| peer.link.is_some());
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => take(&node, event).await,
                None => return,
            },
            Ok(()) = changes.changed() => {
                for (device, addresses) in node.removed_just_now() {
                    removal::begin_telling(&node, device, addresses);
                }
            }
            () = tokio::time::sleep(UNUSED / 2), if links => end_unused(&node),
        }
        for device in wanted(&node) {
            begin_connecting(&node, device);
        }
    }
}

async fn take(node: &Arc<Node>, event: Event) {
    match event {
        Event::Member(device, addresses) => {
            let Ok(device) = DeviceId::from_bytes(&device) else {
                return;
            };
            if node.is_removed(device) {
                return removal::begin_telling(node, device, addresses);
            }
            if node.note_addresses(device, addresses) {
                // It is where it was not before: perhaps it began anew and knows of no connection.
                suspect(node, device);
            }
            let suspected = {
                let state = node.state();
                let peer = state.peers.get(&device);
                peer.and_then(|peer| peer.link.as_ref())
                    .is_some_and(|link| link.suspect.load(Ordering::Relaxed))
            };
            if suspected {
                begin_connecting(node, device);
            }
            heard(node, device);
        }
        Event::MemberGone(device) => {
            if let Ok(device) = DeviceId::from_bytes(&device) {
                node.note_gone(device);
            }
        }
        Event::Candidates(candidates) => {
            node.state().candidates = candidates
                .into_iter()
                .filter_map(|(device, said)| Some((DeviceId::from_bytes(&device).ok()?, said)))
                .collect();
            node.changed();
        }
        Event::LinksChanged { batches } => {
            if let Some(batches) = batches {
                take_batches(node, batches).await;
            }
            let devices: Vec<DeviceId> = node.state().peers.keys().copied().collect();
            for device in devices {
                suspect(node, device);
            }
            afar::note_networks_changed(node);
            node.endpoint().network_change().await;
        }
    }
}

/// Sends batches of datagrams as long as every network card takes them. To send them again is not worth ending what
/// is open.
async fn take_batches(node: &Arc<Node>, batches: bool) {
    let is_open = |peer: &Peer| peer.link.as_ref().is_some_and(|link| link.is_sound());
    if batches && node.state().peers.values().any(is_open) {
        return;
    }
    if let Err(error) = node.rebind(|binding| binding.batches = batches).await {
        tracing::error!("sending datagrams otherwise: {error:#}");
    }
}

/// Notes that the connection to a device may be dead, so that what is new goes over another one, and
/// asks whether it is: a device that began anew may have made it just before it was heard of.
pub fn suspect(node: &Arc<Node>, device: DeviceId) {
    let link = {
        let state = node.state();
        state.peers.get(&device).and_then(|peer| peer.link.clone())
    };
    if let Some(link) = link {
        link.suspect.store(true, Ordering::Relaxed);
        tokio::spawn(probe(Arc::clone(node), link));
    }
}

/// Asks on a connection whether the other end is there. One that answers is not dead.
async fn probe(node: Arc<Node>, link: Arc<Link>) {
    let asked = async {
        let (mut send, mut receive) = link.connection.open_bi().await?;
        wire::begin(&mut send, Kind::Probe).await?;
        send.finish()?;
        let mut answer = [0];
        receive.read_exact(&mut answer).await?;
        anyhow::Ok(())
    };
    if let Ok(Ok(())) = tokio::time::timeout(CONNECTING, asked).await {
        link.suspect.store(false, Ordering::Relaxed);
        node.changed();
    }
}

/// The devices to which a connection is to be kept.
fn wanted(node: &Node) -> Vec<DeviceId> {
    let own = node.id();
    let present: Vec<DeviceId> = {
        let state = node.state();
        let present = state.peers.iter().filter(|(_, peer)| peer.is_there());
        present.map(|(device, _)| *device).collect()
    };
    neighbours(own, present)
}

/// Those with whom a device keeps a connection, among those that are present.
fn neighbours(own: DeviceId, mut ring: Vec<DeviceId>) -> Vec<DeviceId> {
    ring.push(own);
    ring.sort();
    ring.dedup();
    let count = ring.len();
    let at = ring.binary_search(&own).unwrap_or_default();
    let mut wanted = vec![ring[(at + 1) % count], ring[(at + count - 1) % count]];
    if count.is_multiple_of(2) {
        wanted.push(ring[(at + count / 2) % count]);
    }
    wanted.sort();
    wanted.dedup();
    wanted.retain(|device| *device != own);
    wanted
}

/// Connects to a device, unless there is a sound connection or somebody is at it.
fn begin_connecting(node: &Arc<Node>, device: DeviceId) {
    let Some(dialling) = mark_dialling(node, device) else {
        return;
    };
    let Some(heard) = node
        .state()
        .peers
        .get(&device)
        .map(|peer| Arc::clone(&peer.heard))
    else {
        return;
    };
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let first = if node.id() < device {
            Duration::ZERO
        } else {
            SECOND
        };
        let mut delay = first;
        let mut may_give_up = true;
        loop {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = heard.notified(), if delay > first => {
                    delay = first;
                    tokio::time::sleep(first).await;
                }
            }
            if is_sound(&node, device) || !may_come(&node, device) {
                break;
            }
            let given_up = async {
                tokio::time::sleep(STALLED).await;
                heard.notified().await;
            };
            tokio::select! {
                dialled = dial(&node, device) => match dialled {
                    Ok(_) => break,
                    Err(error) => tracing::debug!("connecting to {}: {error:#}", node.name(device)),
                },
                () = given_up, if may_give_up => {
                    may_give_up = false;
                    delay = first;
                    continue;
                }
            }
            delay = (delay * 2).clamp(Duration::from_secs(1), Duration::from_secs(30));
        }
        drop(dialling);
    });
}

/// Tells whoever connects to a device that it was heard just now.
fn heard(node: &Node, device: DeviceId) {
    if let Some(peer) = node.state().peers.get(&device) {
        peer.heard.notify_waiters();
    }
}

/// Somebody is connecting to a device, as long as this is there.
struct Dialling {
    node: Arc<Node>,
    device: DeviceId,
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if let Some(peer) = self.node.state().peers.get_mut(&self.device) {
            peer.dialling = false;
        }
        self.node.changed();
    }
}

fn mark_dialling(node: &Arc<Node>, device: DeviceId) -> Option<Dialling> {
    let mut state = node.state();
    let peer = state.peers.get_mut(&device)?;
    let sound = peer.link.as_ref().is_some_and(|link| link.is_sound());
    let begun = !sound && !std::mem::replace(&mut peer.dialling, true);
    begun.then(|| Dialling {
        node: Arc::clone(node),
        device,
    })
}

fn is_sound(node: &Node, device: DeviceId) -> bool {
    let state = node.state();
    let link = state.peers.get(&device).and_then(|peer| peer.link.as_ref());
    link.is_some_and(|link| link.is_sound())
}

fn may_come(node: &Node, device: DeviceId) -> bool {
    node.state()
        .peers
        .get(&device)
        .is_some_and(|peer| peer.present || peer.afar)
}

async fn dial(node: &Arc<Node>, device: DeviceId) -> Result<Arc<Link>> {
    let dialled = try_to_dial(node, device).await;
    if dialled.is_err() {
        afar::note_unreached(node, device);
    }
    dialled
}

async fn try_to_dial(node: &Arc<Node>, device: DeviceId) -> Result<Arc<Link>> {
    let addresses = {
        let state = node.state();
        let peer = state
            .peers
            .get(&device)
            .context("it is not of the family")?;
        peer.addresses.clone()
    };
    let Reach { endpoint, binding } = node.watch_reach().borrow().clone();
    let relay = binding.relay;
    if addresses.is_empty() && relay.is_none() {
        bail!("it has not been heard on any network of this device");
    }
    // By both: a connection that can go by the relay too goes on when one of the two leaves the network.
    let address = transport::address(device, addresses, relay)?;
    let connecting = endpoint.connect(address, wire::ALPN);
    let connection = tokio::time::timeout(CONNECTING, connecting)
        .await
        .context("it does not answer")??;
    if !node.is_member(device) {
        transport::close(&connection, Closing::Stranger);
        bail!("it was removed from the family");
    }
    Ok(adopt(node, connection, device, true))
}

/// A connection to a device: the one there is, or a new one.
pub async fn connect(node: &Arc<Node>, device: DeviceId) -> Result<Arc<Link>> {
    let deadline = Instant::now() + CONNECTING;
    let mut changes = node.watch();
    loop {
        changes.borrow_and_update();
        let (link, dialling) = {
            let state = node.state();
            let peer = state
                .peers
                .get(&device)
                .context("it is not of the family")?;
            (peer.link.clone(), peer.dialling)
        };
        if let Some(link) = link.filter(|link| link.is_sound()) {
            return Ok(link);
        }
        if !dialling && let Some(_dialling) = mark_dialling(node, device) {
            return dial(node, device).await;
        }
        let waited = tokio::time::timeout_at(deadline.into(), changes.changed()).await;
        waited.context("it does not answer")??;
    }
}

/// Takes a connection to a device into use.
fn adopt(node: &Arc<Node>, connection: Connection, device: DeviceId, dialled: bool) -> Arc<Link> {
    let link = Arc::new(Link {
        connection,
        device,
        suspect: AtomicBool::new(false),
        streams: AtomicUsize::new(0),
        used: Mutex::new(Instant::now()),
    });
    let relay = node.relay();
    let replaced = {
        let mut state = node.state();
        match state.peers.get_mut(&device) {
            Some(peer) => {
                peer.last_seen = Some(now());
                afar::note_reached(peer, relay.as_ref());
                peer.link.replace(Arc::clone(&link))
            }
            None => None,
        }
    };
    if let Some(old) = replaced {
        tokio::spawn(async move {
            tokio::time::sleep(REPLACED).await;
            transport::close(&old.connection, Closing::Replaced);
        });
    }
    tracing::info!("connected to {}", node.name(device));
    node.changed();
    tokio::spawn(serve(Arc::clone(node), Arc::clone(&link), dialled));
    link
}

/// Serves a link until it ends.
async fn serve(node: Arc<Node>, link: Arc<Link>, dialled: bool) {
    let exchange = tokio::spawn(logs::follow(Arc::clone(&node), Arc::clone(&link), dialled));
    let mut bucket = Bucket::new(STREAM_BURST, STREAMS_A_SECOND);
    while let Ok((send, receive)) = link.connection.accept_bi().await {
        // Whoever opens streams faster than that waits, and its own streams with it.
        bucket.take(1).await;
        let using = link.begin_use();
        let (node, link) = (Arc::clone(&node), Arc::clone(&link));
        tokio::spawn(async move {
            let _using = using;
            if let Err(error) = serve_stream(&node, &link, send, receive).await {
                tracing::debug!("a stream of {}: {error:#}", node.name(link.device));
            }
        });
    }
    exchange.abort();
    let relay = node.relay();
    {
        let mut state = node.state();
        if let Some(peer) = state.peers.get_mut(&link.device)
            && peer
                .link
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, &link))
        {
            peer.link = None;
            peer.last_seen = Some(now());
            afar::note_ended(&node, peer, &link, relay.as_ref());
            // Whoever says that it has no use for us will say so again: until it announces itself
            // anew, or the log changes, there is nothing to try.
            if transport::was_closed_for(&link.connection, Closing::Stranger) {
                peer.present = false;
            }
        }
    }
    tracing::info!("no longer connected to {}", node.name(link.device));
    node.changed();
}

async fn serve_stream(
    node: &Arc<Node>,
    link: &Arc<Link>,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<()> {
    let kind = tokio::time::timeout(OPENING, wire::read_kind(&mut receive))
        .await
        .context("it does not say what it is for")??;
    match kind {
        Kind::Call => calls::serve(node, link, send, receive).await,
        Kind::Log => logs::answer(node, send, receive).await,
        Kind::Question => asking::serve(node, link, send, receive).await,
        Kind::Used => settling::serve(node, link, send, receive).await,
        Kind::Removed => removal::serve(node, link, send, receive).await,
        Kind::Probe => {
            send.write_all(&[Kind::Probe as u8]).await?;
            send.finish()?;
            Ok(())
        }
    }
}

fn end_unused(node: &Node) {
    let wanted = wanted(node);
    for (device, peer) in &node.state().peers {
        if let Some(link) = &peer.link
            && !wanted.contains(device)
            && link.unused_for().is_some_and(|unused| unused >= UNUSED)
        {
            transport::close(&link.connection, Closing::Done);
        }
    }
}

/// Takes connections of others, for as long as there is an endpoint.
pub async fn accept(node: Arc<Node>, pairing: Arc<Pairing>, recovery: Arc<Recovery>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let mut sources: HashMap<Option<IpAddr>, Bucket> = HashMap::new();
    let mut reaches = node.watch_reach();
    loop {
        let endpoint = reaches.borrow_and_update().endpoint.clone();
        let incoming = tokio::select! {
            Some(incoming) = endpoint.accept() => incoming,
            changed = reaches.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let source = match incoming.remote_addr() {
            IncomingAddr::Ip(address) => Some(address.ip()),
            _ => None,
        };
        if sources.len() >= MAX_SOURCES {
            sources.retain(|_, bucket| !bucket.is_full());
        }
        let source = (sources.len() < MAX_SOURCES || sources.contains_key(&source))
            .then_some(source)
            .flatten();
        let bucket = sources
            .entry(source)
            .or_insert_with(|| Bucket::new(HANDSHAKE_BURST, HANDSHAKES_A_SECOND));
        let permit = Arc::clone(&handshakes).try_acquire_owned();
        let (true, Ok(permit)) = (bucket.try_take(1), permit) else {
            // Who floods gets no packet back, least of all at an address that is not its own.
            incoming.ignore();
            continue;
        };
        let (node, pairing) = (Arc::clone(&node), Arc::clone(&pairing));
        let recovery = Arc::clone(&recovery);
        tokio::spawn(async move {
            let taken = tokio::time::timeout(CONNECTING, take_connection(incoming)).await;
            drop(permit);
            match taken {
                Ok(Ok((connection, device))) => {
                    if connection.alpn() == wire::PAIRING_ALPN {
                        pairing.accepted(connection, device).await;
                    } else if connection.alpn() == wire::RECOVERY_ALPN {
                        recovery.accepted(connection, device).await;
                    } else if node.is_member(device) {
                        adopt(&node, connection, device, false);
                    } else if node.is_removed(device) {
                        removal::tell_over(&node, connection, device);
                    } else {
                        tracing::debug!("{} is not of this family", device.short());
                        transport::close(&connection, Closing::Stranger);
                    }
                }
                Ok(Err(error)) => tracing::debug!("a connection from {source:?}: {error:#}"),
                Err(_) => tracing::debug!("a connection from {source:?} was not completed"),
            }
        });
    }
}

async fn take_connection(incoming: Incoming) -> Result<(Connection, DeviceId)> {
    let connection = incoming.accept()?.await?;
    let device = transport::peer(&connection)?;
    Ok((connection, device))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use trust::identity::Identity;

    use super::*;

    fn devices(count: usize) -> Vec<DeviceId> {
        (1..=count)
            .map(|number| Identity::from_secret(&[number as u8; 32]).unwrap().id())
            .collect()
    }

    #[test]
    fn no_device_keeps_more_than_three_and_both_ends_want_the_same() {
        for count in 1..=33 {
            let all = devices(count);
            let wanted: BTreeMap<_, _> = all
                .iter()
                .map(|own| (*own, neighbours(*own, all.clone())))
                .collect();
            for (own, theirs) in &wanted {
                assert!(theirs.len() <= 3, "{count} devices: {}", theirs.len());
                for other in theirs {
                    assert!(wanted[other].contains(own), "{count} devices: one-sided");
                }
            }
            // And word gets from any one to all.
            let mut reached = BTreeSet::from([all[0]]);
            let mut open = vec![all[0]];
            while let Some(device) = open.pop() {
                for next in &wanted[&device] {
                    if reached.insert(*next) {
                        open.push(*next);
                    }
                }
            }
            assert_eq!(reached.len(), count);
        }
    }
}
