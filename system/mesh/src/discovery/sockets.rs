//! A socket for multicast on each link, for each of IPv4 and IPv6.
//!
//! Each is bound to its link, so that what is sent goes out there and nowhere else whatever the
//! routes are, and what is received came in there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use network::kernel::{Medium, Snapshot};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{batches, message};

const PORT: u16 = 5353;
const GROUP_4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Where multicast is sent and heard: a link, with one of the two families of addresses.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Place {
    /// The kernel's number of the link.
    pub index: u32,
    /// The kernel's name of the link.
    pub link: String,
    /// IPv6, or else IPv4.
    pub six: bool,
}

/// An address of this device on a link, with the network that it is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Own {
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: u8,
}

impl Own {
    /// Whether another address is of the same network, and so on the same link.
    pub fn is_near(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

/// The places that a device has now, with its addresses there, so that a change of addresses is a
/// change of place.
///
/// IPv6 addresses that hold for one link only do not count: the transport cannot connect to them, for
/// it loses the link on the way.
pub fn places(snapshot: &Snapshot) -> Vec<(Place, Vec<Own>)> {
    let mut places = Vec::new();
    for link in &snapshot.links {
        if !link.carrier || link.medium == Medium::Loopback {
            continue;
        }
        for six in [false, true] {
            let own: Vec<_> = snapshot
                .addresses
                .iter()
                .filter(|address| address.index == link.index)
                .filter(|address| match address.address {
                    IpAddr::V4(_) => !six,
                    IpAddr::V6(address) => six && !address.is_unicast_link_local(),
                })
                .map(|address| Own {
                    address: address.address,
                    prefix: address.prefix,
                })
                .collect();
            if !own.is_empty() {
                let place = Place {
                    index: link.index,
                    link: link.name.clone(),
                    six,
                };
                places.push((place, own));
            }
        }
    }
    places
}

/// A packet that came in.
#[derive(Debug)]
pub struct Packet {
    /// Where.
    pub place: Place,
    /// From whom.
    pub source: IpAddr,
    /// Its content.
    pub content: Vec<u8>,
}

/// The socket of one place, and the task that listens on it.
#[derive(Debug)]
pub struct Multicast {
    socket: std::sync::Arc<UdpSocket>,
    group: SocketAddr,
    listener: AbortHandle,
    /// Whether batches of datagrams can be sent there.
    pub batches: bool,
}

impl Multicast {
    /// Opens the socket of a place; what comes in goes to `packets`, or is dropped while that is full.
    pub fn open(place: Place, packets: mpsc::Sender<Packet>) -> io::Result<Self> {
        let domain = if place.six {
            Domain::IPV6
        } else {
            Domain::IPV4
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        // Others on this host may speak mDNS too.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(place.link.as_bytes()))?;
        let group = if place.six {
            socket.set_only_v6(true)?;
            socket.set_multicast_if_v6(place.index)?;
            socket.set_multicast_hops_v6(255)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into())?;
            socket.join_multicast_v6(&GROUP_6, place.index)?;
            SocketAddr::V6(SocketAddrV6::new(GROUP_6, PORT, 0, place.index))
        } else {
            socket.set_multicast_ttl_v4(255)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
            let link = InterfaceIndexOrAddress::Index(place.index);
            socket.join_multicast_v4_n(&GROUP_4, &link)?;
            SocketAddr::from((GROUP_4, PORT))
        };
        let batches = batches::are_taken(&place);
        let socket = std::sync::Arc::new(UdpSocket::from_std(socket.into())?);
        let listener = tokio::spawn(listen(socket.clone(), place, packets)).abort_handle();
        Ok(Self {
            socket,
            group,
            listener,
            batches,
        })
    }

    /// Sends a packet to whoever listens there. One that is lost is said again sooner or later.
    pub fn send(&self, packet: &[u8]) {
        if let Err(error) = self.socket.try_send_to(packet, self.group) {
            tracing::debug!("announcing to {}: {error}", self.group);
        }
    }
}

impl Drop for Multicast {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(socket: std::sync::Arc<UdpSocket>, place: Place, packets: mpsc::Sender<Packet>) {
    let mut buffer = [0; message::LONGEST];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, source)) => {
                // Whoever floods is heard less, and costs no memory.
                let _ = packets.try_send(Packet {
                    place: place.clone(),
                    source: source.ip(),
                    content: buffer[..length].to_vec(),
                });
            }
            Err(error) => {
                tracing::debug!("listening on {}: {error}", place.link);
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_another_network_is_not_near() {
        let own = |address: &str, prefix| Own {
            address: address.parse().unwrap(),
            prefix,
        };
        let near = |own: Own, other: &str| own.is_near(other.parse().unwrap());
        assert!(near(own("10.1.2.3", 24), "10.1.2.250"));
        assert!(!near(own("10.1.2.3", 24), "10.1.3.3"));
        assert!(near(own("10.1.2.3", 0), "192.0.2.1"));
        assert!(near(own("fd00:1::1", 64), "fd00:1::ffff:1"));
        assert!(!near(own("fd00:1::1", 64), "2001:db8::1"));
        assert!(!near(own("fd00:1::1", 0), "10.1.2.3"));
    }
}
