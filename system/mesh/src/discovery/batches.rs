//! Whether a network card can cut a batch of datagrams into them.
//!
//! A batch is handed to the kernel whole, which is what makes it quick: where the card cannot compute checksums, Linux
//! before 6.11 refuses it, and says so to nobody but who sends one. iroh 1.4.1 asks once a connection whether batches
//! can be sent, and goes on sending them when one was refused: whatever is larger than a datagram is then lost, again and
//! again, until the connection is given up. So each card is asked before.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use noq_udp::{Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::sockets::Place;

/// What is sent ends on this device: by IPv4 it has no time to live, and by IPv6 its address is this node's own. The
/// kernel drops it, after it has asked the card.
const GROUP_4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const GROUP_6: Ipv6Addr = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1);
/// To the port that discards what comes.
const PORT: u16 = 9;
/// The bytes of one datagram: what any link must carry whole by IPv6, without its headers.
const DATAGRAM: usize = 1200;

/// Whether batches can be sent there. Where that cannot be found out, they cannot.
pub fn are_taken(place: &Place) -> bool {
    match send_one(place) {
        Ok(()) => true,
        Err(error) => {
            tracing::info!("no batches of datagrams on {}: {error}", place.link);
            false
        }
    }
}

fn send_one(place: &Place) -> io::Result<()> {
    let domain = if place.six {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(place.link.as_bytes()))?;
    let destination = if place.six {
        SocketAddr::V6(SocketAddrV6::new(GROUP_6, PORT, 0, place.index))
    } else {
        socket.set_multicast_ttl_v4(0)?;
        socket.set_multicast_loop_v4(false)?;
        SocketAddr::from((GROUP_4, PORT))
    };
    let state = UdpSocketState::new((&socket).into())?;
    let batch = Transmit {
        destination,
        ecn: None,
        contents: &[0; 2 * DATAGRAM],
        segment_size: Some(DATAGRAM),
        src_ip: None,
    };
    state.try_send((&socket).into(), &batch)
}
