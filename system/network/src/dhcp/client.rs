//! Does what the [machine](super::machine) says: one task a link.
//!
//! An ordinary UDP socket, bound to the link, is enough: as long as it has no address the client
//! asks for broadcast answers. So there is no raw socket, and no right to one.

use std::{future::Future, io, net::Ipv4Addr, pin::Pin, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use super::{Action, Destination, Lease, Machine, State, conflict};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

/// The pause before a socket that failed is made anew.
const SOCKET_PAUSE: Duration = Duration::from_secs(5);

/// The lease of a link has changed.
#[derive(Debug)]
pub struct Report {
    /// The link.
    pub index: u32,
    /// What it has now, and how long ago that was asked for.
    pub lease: Option<(Lease, Duration)>,
}

/// Keeps a lease for a link until it is dropped.
pub async fn run(index: u32, name: String, hardware: [u8; 6], reports: mpsc::Sender<Report>) {
    let mut machine = Machine::new(hardware, seed());
    let epoch = Instant::now();
    let mut actions = machine.start(epoch.elapsed());
    let mut checking: Option<Checking> = None;
    loop {
        let socket = match open(&name) {
            Ok(socket) => socket,
            Err(error) => {
                warn!("{name}: opening a socket for DHCP: {error}");
                tokio::time::sleep(SOCKET_PAUSE).await;
                continue;
            }
        };
        let error = loop {
            for action in actions.drain(..) {
                let lease = match action {
                    Action::Configure(lease, ago) => Some((lease, ago)),
                    Action::Remove => None,
                    Action::Check(address) => {
                        checking = Some(Box::pin(check(index, name.clone(), hardware, address)));
                        continue;
                    }
                    Action::Send(bytes, destination) => {
                        let to = match destination {
                            Destination::Broadcast => Ipv4Addr::BROADCAST,
                            Destination::Server(server) => server,
                        };
                        debug!("{name}: {} to {to}", named(machine.state()));
                        // The link may just be going down; the machine asks again.
                        if let Err(error) = socket.send_to(&bytes, (to, SERVER_PORT)).await {
                            debug!("{name}: sending to {to}: {error}");
                        }
                        continue;
                    }
                };
                match &lease {
                    Some((lease, _)) => {
                        info!(
                            "{name}: {}/{} by {}",
                            lease.address, lease.prefix, lease.server
                        );
                    }
                    None => info!("{name}: the lease is gone"),
                }
                if reports.send(Report { index, lease }).await.is_err() {
                    return;
                }
            }
            let deadline = machine.deadline().map(|deadline| epoch + deadline);
            let mut bytes = [0; 2048];
            tokio::select! {
                received = socket.recv_from(&mut bytes) => match received {
                    Ok((length, from)) if from.port() == SERVER_PORT => {
                        actions = machine.received(&bytes[..length], epoch.elapsed());
                    }
                    Ok(_) => {}
                    Err(error) => break error,
                },
                (address, taken) = said(&mut checking) => {
                    checking = None;
                    actions = machine.checked(address, taken, epoch.elapsed());
                }
                () = until(deadline) => actions = machine.timeout(epoch.elapsed()),
            }
        };
        warn!("{name}: receiving DHCP: {error}");
        tokio::time::sleep(SOCKET_PAUSE).await;
    }
}

/// Finds out whether an address is taken.
type Checking = Pin<Box<dyn Future<Output = (Ipv4Addr, bool)> + Send>>;

async fn said(checking: &mut Option<Checking>) -> (Ipv4Addr, bool) {
    match checking {
        Some(checking) => checking.await,
        None => std::future::pending().await,
    }
}

async fn check(index: u32, name: String, hardware: [u8; 6], address: Ipv4Addr) -> (Ipv4Addr, bool) {
    match conflict::owner(index, &name, address).await {
        // Our own question came back to us, as some access points and bridges do.
        Ok(Some(owner)) if owner[..] == hardware => (address, false),
        Ok(Some(owner)) => {
            let owner: Vec<_> = owner.iter().map(|byte| format!("{byte:02x}")).collect();
            warn!("{name}: {address} is that of {} already", owner.join(":"));
            (address, true)
        }
        Ok(None) => (address, false),
        Err(error) => {
            warn!("{name}: finding out whether {address} is free: {error}");
            (address, false)
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn named(state: &State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Selecting => "selecting",
        State::Requesting(_) => "requesting",
        State::Checking(_) => "checking",
        State::Bound(_) => "bound",
        State::Renewing(_) => "renewing",
        State::Rebinding(_) => "rebinding",
    }
}

fn open(link: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Each link has a socket of its own on the same port.
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(link.as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).into())?;
    UdpSocket::from_std(socket.into())
}

fn seed() -> u64 {
    let mut seed = [0; 8];
    // Cannot fail for so few bytes, and if it did, zeros would still be a working seed.
    let _ = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(seed)
}
