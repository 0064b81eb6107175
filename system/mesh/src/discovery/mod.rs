//! Finding the devices of the family, and devices that somebody has opened, on every link.
//!
//! Devices say by multicast DNS that they are there, under [`label`]s that only their family can
//! recognise; [`message`] is what is said and [`sockets`] is where. No route and no server is needed:
//! each link has sockets of its own.
//!
//! # What it promises
//!
//! - **Nothing is said that need not be.** A device without a family, which nobody has opened and
//!   which looks for nobody, sends nothing and joins no multicast group.
//! - **Nothing that is said lasts.** A label is used for a quarter of an hour at most, and is new on
//!   each link and each time that a link comes up.
//! - **What is heard is a hint.** Anybody can say anything by multicast. What comes of it is an
//!   address to try; who is there, the connection proves.
//! - **Links come and go.** When one comes up, the device announces itself there at once and asks who
//!   else is there.

pub mod batches;
pub mod label;
pub mod message;
pub mod sockets;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use network::kernel::Kernel;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use label::{DeviceKey, DiscoveryKey, Label};
use message::Announcement;
pub use message::Purpose;
use sockets::{Multicast, Own, Packet, Place};

/// A label is not used for longer.
const ROTATION: Duration = Duration::from_secs(15 * 60);
/// An announcement is said again before its lifetime is over, after this and up to a quarter more.
const REFRESH: Duration = Duration::from_secs(60);
/// What was said may have been lost: it is said once more after this.
const REPETITION: Duration = Duration::from_secs(1);
/// An answer waits for so long at most, so that not all answer at once.
const ANSWER_SPREAD: Duration = Duration::from_millis(60);
/// Packets of one place that are read in a second; more are a flood.
const MOST_PACKETS: u32 = 200;
/// Candidates that are kept at once.
const MOST_CANDIDATES: usize = 64;
/// Addresses that are kept of one device.
const MOST_ADDRESSES: usize = 8;

/// Whom to look for, and as whom to be found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Interest {
    /// This device.
    pub own: DeviceKey,
    /// The keys of the family, the one to be found by first; none where there is no family.
    pub keys: Vec<DiscoveryKey>,
    /// The other devices of the family.
    pub members: Vec<DeviceKey>,
    /// What this device is open for.
    pub open: Option<Purpose>,
    /// Whether to look for devices that are.
    pub looking: bool,
    /// The ports at which this device takes connections, by IPv4 and by IPv6.
    pub ports: (Option<u16>, Option<u16>),
}

impl Interest {
    fn is_active(&self) -> bool {
        !self.keys.is_empty() || self.open.is_some() || self.looking
    }

    fn port(&self, place: &Place) -> Option<u16> {
        if place.six {
            self.ports.1
        } else {
            self.ports.0
        }
    }
}

/// What was heard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A device of the family says to be at one of these addresses, the newest first.
    Member(DeviceKey, Vec<SocketAddr>),
    /// It says that it goes, or has not been heard for longer than it said.
    MemberGone(DeviceKey),
    /// The devices that are open, with what for and where they say to be.
    Candidates(BTreeMap<DeviceKey, (Purpose, Vec<SocketAddr>)>),
    /// Links or their addresses have changed.
    LinksChanged {
        /// Whether all of them take batches of datagrams; none where there are none.
        batches: Option<bool>,
    },
}

/// Addresses of a device, with the time until which each holds, the newest first.
#[derive(Debug, Default)]
struct Known(Vec<(SocketAddr, Instant)>);

impl Known {
    fn note(&mut self, addresses: &[SocketAddr], until: Instant) {
        self.0.retain(|(known, _)| !addresses.contains(known));
        let new = addresses.iter().map(|address| (*address, until));
        self.0.splice(0..0, new);
        self.0.truncate(MOST_ADDRESSES);
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(address, _)| *address).collect()
    }
}

struct Spot {
    multicast: Multicast,
    own: Vec<Own>,
    label: Label,
    /// When the label is to be changed.
    rotates: Instant,
    /// When to announce, and whether to ask too.
    due: Vec<(Instant, bool)>,
    /// Packets read in the second that began then.
    read: (Instant, u32),
}

struct Discovery {
    kernel: Kernel,
    interest: watch::Receiver<Interest>,
    events: mpsc::Sender<Event>,
    spots: HashMap<Place, Spot>,
    packets: (mpsc::Sender<Packet>, mpsc::Receiver<Packet>),
    members: HashMap<DeviceKey, Known>,
    candidates: BTreeMap<DeviceKey, (Purpose, Known)>,
}

/// Announces this device and listens for others, until the receiver of the events is dropped.
///
/// # Errors
/// When the kernel does not tell about links.
pub async fn run(
    interest: watch::Receiver<Interest>,
    events: mpsc::Sender<Event>,
) -> std::io::Result<()> {
    let mut discovery = Discovery {
        kernel: Kernel::open()?,
        interest,
        events,
        spots: HashMap::new(),
        packets: mpsc::channel(64),
        members: HashMap::new(),
        candidates: BTreeMap::new(),
    };
    discovery.take_links().await;
    loop {
        let due = discovery.next_due();
        tokio::select! {
            changed = discovery.kernel.changed() => {
                if !changed {
                    return Err(std::io::Error::other("the kernel tells no more about links"));
                }
                discovery.take_links().await;
            }
            changed = discovery.interest.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                discovery.take_interest().await;
            }
            Some(packet) = discovery.packets.1.recv() => discovery.hear(packet).await,
            () = sleep_until(due) => {}
            () = discovery.events.closed() => return Ok(()),
        }
        discovery.say_what_is_due();
        discovery.forget_what_is_over().await;
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Discovery {
    /// Brings the sockets in line with the links.
    async fn take_links(&mut self) {
        let active = self.interest.borrow().is_active();
        let places = match self.kernel.snapshot().await {
            Ok(snapshot) => sockets::places(&snapshot),
            Err(error) => {
                tracing::warn!("asking the kernel for links: {error}");
                return;
            }
        };
        let mut changed = false;
        self.spots.retain(|place, spot| {
            let stays = active
                && places
                    .iter()
                    .any(|(there, own)| there == place && *own == spot.own);
            changed |= !stays;
            stays
        });
        if active {
            for (place, own) in places {
                if self.spots.contains_key(&place) {
                    continue;
                }
                match Multicast::open(place.clone(), self.packets.0.clone()) {
                    Ok(multicast) => {
                        let label = self.new_label();
                        let spot = Spot::new(multicast, own, label);
                        self.spots.insert(place, spot);
                        changed = true;
                    }
                    Err(error) => tracing::warn!(
                        "listening for devices on {} ({}): {error}",
                        place.link,
                        if place.six { "IPv6" } else { "IPv4" }
                    ),
                }
            }
        }
        if changed {
            // What was heard on the links that stay is in doubt too.
            for spot in self.spots.values_mut() {
                spot.due.push((Instant::now(), true));
            }
            let taken = self.spots.values().map(|spot| spot.multicast.batches);
            let batches = taken.reduce(|one, other| one && other);
            let _ = self.events.send(Event::LinksChanged { batches }).await;
        }
    }

    /// Takes in that other devices are looked for, or that this one is to be found otherwise.
    async fn take_interest(&mut self) {
        let interest = self.interest.borrow_and_update().clone();
        self.members
            .retain(|device, _| interest.members.contains(device));
        if !interest.looking {
            self.candidates.clear();
        }
        let label = std::iter::repeat_with(|| self.new_label())
            .take(self.spots.len())
            .collect::<Vec<_>>();
        for (spot, label) in self.spots.values_mut().zip(label) {
            spot.begin(label);
        }
        self.take_links().await;
    }

    fn new_label(&self) -> Label {
        let interest = self.interest.borrow();
        match interest.keys.first() {
            Some(key) => Label::of_member(key, &interest.own, random()),
            None => Label::random(random()),
        }
    }

    async fn hear(&mut self, packet: Packet) {
        let now = Instant::now();
        let Some(spot) = self.spots.get_mut(&packet.place) else {
            return;
        };
        if now - spot.read.0 >= Duration::from_secs(1) {
            spot.read = (now, 0);
        }
        spot.read.1 += 1;
        if spot.read.1 > MOST_PACKETS {
            return;
        }
        let Some(heard) = message::read(&packet.content) else {
            return;
        };
        if heard.asks {
            spot.answer(now);
        }
        let own = spot.label;
        for announcement in heard.announcements {
            if announcement.label != own {
                self.take_announcement(&packet, &announcement, now).await;
            }
        }
    }

    async fn take_announcement(
        &mut self,
        packet: &Packet,
        announcement: &Announcement,
        now: Instant,
    ) {
        let until = now + Duration::from_secs(announcement.lifetime.into());
        let said: Vec<IpAddr> = if packet.place.six {
            announcement
                .addresses
                .iter()
                .copied()
                .map(IpAddr::V6)
                .collect()
        } else {
            vec![packet.source]
        };
        // Nobody can have this device speak to an address that is not on the link.
        let Some(spot) = self.spots.get(&packet.place) else {
            return;
        };
        let addresses: Vec<SocketAddr> = said
            .into_iter()
            .filter(|address| spot.own.iter().any(|own| own.is_near(*address)))
            .map(|address| SocketAddr::new(address, announcement.port))
            .collect();
        if addresses.is_empty() {
            return;
        }
        let interest = self.interest.borrow().clone();
        if let Some(device) = announcement
            .label
            .recognise(&interest.keys, interest.members.iter())
        {
            let event = if announcement.lifetime == 0 {
                self.members.remove(&device);
                Event::MemberGone(device)
            } else {
                let known = self.members.entry(device).or_default();
                known.note(&addresses, until);
                Event::Member(device, known.addresses())
            };
            let _ = self.events.send(event).await;
        } else if let Some((device, purpose)) = announcement.candidate
            && interest.looking
            && device != interest.own
        {
            let before = self.candidates.len();
            let changed = if announcement.lifetime == 0 {
                self.candidates.remove(&device).is_some()
            } else if self.candidates.contains_key(&device) || before < MOST_CANDIDATES {
                let candidate = self.candidates.entry(device);
                let (said, known) = candidate.or_insert_with(|| (purpose, Known::default()));
                let before = (*said, known.addresses());
                known.note(&addresses, until);
                *said = purpose;
                (purpose, known.addresses()) != before
            } else {
                false
            };
            if changed {
                self.tell_candidates().await;
            }
        }
    }

    async fn tell_candidates(&self) {
        let candidates = self
            .candidates
            .iter()
            .map(|(device, (purpose, known))| (*device, (*purpose, known.addresses())))
            .collect();
        let _ = self.events.send(Event::Candidates(candidates)).await;
    }

    fn next_due(&self) -> Option<Instant> {
        let said = self
            .spots
            .values()
            .flat_map(|spot| spot.due.iter().map(|(at, _)| *at));
        let over = self
            .members
            .values()
            .chain(self.candidates.values().map(|(_, known)| known))
            .flat_map(|known| known.0.iter().map(|(_, until)| *until));
        said.chain(over).min()
    }

    fn say_what_is_due(&mut self) {
        let now = Instant::now();
        let interest = self.interest.borrow().clone();
        let new: Vec<_> = std::iter::repeat_with(|| self.new_label())
            .take(self.spots.len())
            .collect();
        for ((place, spot), new) in self.spots.iter_mut().zip(new) {
            if !spot.due.iter().any(|(at, _)| *at <= now) {
                continue;
            }
            let asks = spot.due.iter().any(|(at, asks)| *at <= now && *asks);
            spot.due.retain(|(at, _)| *at > now);
            if now >= spot.rotates {
                spot.label = new;
                spot.rotates = now + ROTATION;
            }
            let found = interest.open.is_some() || !interest.keys.is_empty();
            if let Some(port) = interest.port(place).filter(|_| found) {
                let candidate = interest.open.map(|purpose| (interest.own, purpose));
                spot.multicast.send(&message::announcement(&Announcement {
                    label: spot.label,
                    port,
                    addresses: spot.addresses(),
                    candidate,
                    lifetime: message::LIFETIME,
                }));
            }
            if asks {
                spot.multicast.send(&message::question());
            }
            if spot.due.is_empty() {
                let [random] = random();
                spot.due
                    .push((now + REFRESH + REFRESH / 4 * u32::from(random) / 256, false));
            }
        }
    }

    async fn forget_what_is_over(&mut self) {
        let now = Instant::now();
        let mut gone = Vec::new();
        self.members.retain(|device, known| {
            known.0.retain(|(_, until)| *until > now);
            if known.0.is_empty() {
                gone.push(*device);
            }
            !known.0.is_empty()
        });
        for device in gone {
            let _ = self.events.send(Event::MemberGone(device)).await;
        }
        let before = self.candidates.len();
        self.candidates.retain(|_, (_, known)| {
            known.0.retain(|(_, until)| *until > now);
            !known.0.is_empty()
        });
        if self.candidates.len() != before {
            self.tell_candidates().await;
        }
    }
}

impl Drop for Discovery {
    /// Takes back what was said, so that others need not wait until it is over.
    fn drop(&mut self) {
        let interest = self.interest.borrow().clone();
        for (place, spot) in &self.spots {
            if let Some(port) = interest.port(place) {
                spot.multicast.send(&message::announcement(&Announcement {
                    label: spot.label,
                    port,
                    addresses: spot.addresses(),
                    candidate: interest.open.map(|purpose| (interest.own, purpose)),
                    lifetime: 0,
                }));
            }
        }
    }
}

impl Spot {
    fn new(multicast: Multicast, own: Vec<Own>, label: Label) -> Self {
        let now = Instant::now();
        let mut spot = Self {
            multicast,
            own,
            label,
            rotates: now,
            due: Vec::new(),
            read: (now, 0),
        };
        spot.begin(label);
        spot
    }

    fn addresses(&self) -> Vec<Ipv6Addr> {
        let six = |own: &Own| match own.address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        };
        self.own.iter().filter_map(six).collect()
    }

    /// Announces the device anew and asks who is there, at once and once more.
    fn begin(&mut self, label: Label) {
        let now = Instant::now();
        self.label = label;
        self.rotates = now + ROTATION;
        self.due = vec![(now, true), (now + REPETITION, true)];
    }

    /// Announces the device soon, to whoever asked.
    fn answer(&mut self, now: Instant) {
        let [random] = random();
        let soon = now + ANSWER_SPREAD * u32::from(random) / 256;
        if !self.due.iter().any(|(at, _)| *at <= soon) {
            self.due.push((soon, false));
        }
    }
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let flags = rustix::rand::GetRandomFlags::empty();
    let mut filled = 0;
    while filled < N {
        // It is only ever interrupted; a kernel that has no random numbers cannot run this system.
        if let Ok(more) = rustix::rand::getrandom(&mut bytes[filled..], flags) {
            filled += more;
        }
    }
    bytes
}
