//! Who decides: from what the kernel says to what it is told.
//!
//! Each time that something happened, everything is looked at anew and brought to what it should
//! be. That is simpler than following each change, and it cannot get out of step.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr},
};

use bus::network::State;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use crate::{
    advertisement::{Advertisements, Offer},
    dhcp::{
        Lease,
        client::{self, Report},
    },
    kernel::{Kernel, Link, Medium, Snapshot},
    secret::Secret,
    status,
};

/// No more servers than this are remembered of routers' offers.
const MOST_OFFERS: usize = 16;

/// Whose the links are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Ours: a device.
    Manage,
    /// The host's: they are only watched.
    Observe,
}

/// What is kept of a link.
#[derive(Default)]
struct Managed {
    connected: bool,
    client: Option<JoinHandle<()>>,
}

impl Drop for Managed {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            client.abort();
        }
    }
}

/// The network of this device.
pub struct Manager {
    role: Role,
    /// What the IPv6 addresses are made with, beside their network.
    secret: Secret,
    kernel: Kernel,
    advertisements: Advertisements,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    enabled: watch::Receiver<bool>,
    links: BTreeMap<u32, Managed>,
    leases: BTreeMap<u32, Lease>,
    /// Offered servers for names, with the end of the offer.
    offers: BTreeMap<(u32, Ipv6Addr), Option<Instant>>,
    state: watch::Sender<State>,
}

impl Manager {
    /// Begins to listen. Nothing is changed before [`run`](Manager::run); and nothing but
    /// switching off while `enabled` says false.
    pub fn new(role: Role, secret: Secret, enabled: watch::Receiver<bool>) -> io::Result<Manager> {
        let nothing = State {
            links: vec![],
            name_servers: vec![],
            time_servers: vec![],
            online: false,
        };
        Ok(Manager {
            role,
            secret,
            // The servers for names first: the links that the kernel connection brings up are
            // where they come from.
            advertisements: Advertisements::open()?,
            kernel: Kernel::open()?,
            reports: mpsc::channel(8),
            enabled,
            links: BTreeMap::new(),
            leases: BTreeMap::new(),
            offers: BTreeMap::new(),
            state: watch::Sender::new(nothing),
        })
    }

    /// The state, now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Works until the kernel says no more.
    pub async fn run(mut self) -> anyhow::Result<()> {
        loop {
            self.reconcile().await?;
            let expiry = self.offers.values().flatten().min().copied();
            tokio::select! {
                more = self.kernel.changed() => {
                    anyhow::ensure!(more, "the kernel has closed the connection for changes");
                }
                offers = self.advertisements.next() => match offers {
                    Ok(offers) => offers.into_iter().for_each(|offer| self.offered(offer)),
                    // Some were missed; routers repeat themselves.
                    Err(error) => warn!("receiving router advertisements: {error}"),
                },
                Some(report) = self.reports.1.recv() => self.reported(report).await,
                Ok(()) = self.enabled.changed() => {}
                () = until(expiry) => {
                    let now = Instant::now();
                    self.offers.retain(|_, end| end.is_none_or(|end| end > now));
                }
            }
        }
    }

    /// Brings everything to what it should be, and tells how it is.
    async fn reconcile(&mut self) -> anyhow::Result<()> {
        let snapshot = self.kernel.snapshot().await?;
        if self.role == Role::Manage {
            let enabled = *self.enabled.borrow_and_update();
            let gone: Vec<u32> = self
                .links
                .keys()
                .filter(|&&index| snapshot.links.iter().all(|link| link.index != index))
                .copied()
                .collect();
            for index in gone {
                self.links.remove(&index);
                self.forget(index).await;
            }
            for link in &snapshot.links {
                match (link.medium, link.hardware) {
                    (Medium::Loopback, _) if !link.up => self.switch(link, true).await,
                    (Medium::Ethernet, Some(hardware)) if link.device => {
                        self.manage(link, hardware, enabled, &snapshot).await;
                    }
                    _ => {}
                }
            }
        }
        self.tell(&snapshot);
        Ok(())
    }

    async fn manage(&mut self, link: &Link, hardware: [u8; 6], enabled: bool, snapshot: &Snapshot) {
        let new = !self.links.contains_key(&link.index);
        let managed = self.links.entry(link.index).or_default();
        let connected = enabled && link.up && link.carrier;
        // Off and on again empties a link of what it had: of an earlier life of this service, or
        // of the network from which it was just unplugged. Off, the kernel says so, and it comes
        // back here to be switched on.
        let stale = link.up && (new || (managed.connected && !connected));
        managed.connected = connected && !stale;
        if new {
            // The addresses that it has now go when it is switched off, here below.
            if let Err(error) = self.kernel.hide_hardware(&link.name, &self.secret) {
                warn!(
                    "{}: its IPv6 addresses will show its hardware address: {error}",
                    link.name
                );
            }
            // IPv4 addresses, alone, stay while a link is off.
            for found in snapshot
                .addresses
                .iter()
                .filter(|found| found.index == link.index)
            {
                if let IpAddr::V4(address) = found.address {
                    self.kernel
                        .remove_address(link.index, address, found.prefix)
                        .await;
                }
            }
        }
        if !managed.connected {
            if let Some(client) = managed.client.take() {
                info!("{}: disconnected", link.name);
                client.abort();
            }
            self.forget(link.index).await;
            if stale || link.up != enabled {
                self.switch(link, enabled && !stale).await;
            }
        } else if managed.client.is_none() {
            info!("{}: connected", link.name);
            let client = client::run(
                link.index,
                link.name.clone(),
                hardware,
                self.reports.0.clone(),
            );
            managed.client = Some(tokio::spawn(client));
        }
    }

    async fn switch(&self, link: &Link, on: bool) {
        if let Err(error) = self.kernel.switch(link.index, on).await {
            let word = if on { "on" } else { "off" };
            warn!("switching {} {word}: {error}", link.name);
        }
    }

    /// Takes away what a link got from its network.
    async fn forget(&mut self, index: u32) {
        self.offers.retain(|(of, _), _| *of != index);
        if let Some(lease) = self.leases.remove(&index) {
            self.kernel.remove(index, &lease).await;
        }
    }

    async fn reported(&mut self, report: Report) {
        let index = report.index;
        // A report may have been on its way when its link was unplugged.
        if self
            .links
            .get(&index)
            .is_none_or(|managed| managed.client.is_none())
        {
            return;
        }
        let Some((lease, ago)) = report.lease else {
            if let Some(lease) = self.leases.remove(&index) {
                self.kernel.remove(index, &lease).await;
            }
            return;
        };
        if let Some(old) = self.leases.get(&index)
            && (old.address, old.prefix, old.router, &old.routes)
                != (lease.address, lease.prefix, lease.router, &lease.routes)
        {
            self.kernel.remove(index, old).await;
        }
        if let Err(error) = self.kernel.configure(index, &lease, ago).await {
            warn!("giving link {index} the address {}: {error}", lease.address);
        }
        self.leases.insert(index, lease);
    }

    fn offered(&mut self, offer: Offer) {
        let key = (offer.index, offer.server);
        match offer.lasts {
            Some(lasts) if lasts.is_zero() => drop(self.offers.remove(&key)),
            lasts => {
                if self.offers.contains_key(&key) || self.offers.len() < MOST_OFFERS {
                    self.offers
                        .insert(key, lasts.map(|lasts| Instant::now() + lasts));
                }
            }
        }
    }

    fn tell(&self, snapshot: &Snapshot) {
        let host: Vec<IpAddr> = match self.role {
            Role::Manage => Vec::new(),
            Role::Observe => std::fs::read_to_string("/etc/resolv.conf")
                .map(|text| status::host_servers(&text))
                .unwrap_or_default(),
        };
        let advertised: Vec<_> = self.offers.keys().copied().collect();
        let state = status::describe(snapshot, &self.leases, &advertised, &host);
        self.state.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        });
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
