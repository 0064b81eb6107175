//! Whether another host on the link has an address (RFC 5227).
//!
//! The kernel asks, as it does whenever it looks for a neighbour: a link that has no address yet
//! sends its questions from 0.0.0.0, and that is what the RFC calls a probe. So there is no raw
//! socket, and no right to one. (A device that is connected by two links may name the address of
//! the other one in the question; and what the kernel does not tell is that another host probes
//! for the same address in the same moment.)

use std::{io, net::Ipv4Addr, path::PathBuf};

use futures::StreamExt as _;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};
use rtnetlink::MulticastGroup;

/// From one question to the next while an address is checked; there are three. A second, which is
/// the kernel's pause otherwise, would make every connection wait for three.
const PAUSE: &str = "200";

/// The hardware address of the host that has `address`, if one answers.
///
/// # Errors
/// When the kernel cannot be asked.
pub async fn owner(index: u32, link: &str, address: Ipv4Addr) -> io::Result<Option<Vec<u8>>> {
    let (connection, handle, mut changes) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Neigh])?;
    let connection = tokio::spawn(connection);
    let _quicker = Pause::shorten(link);
    let neighbours = handle.neighbours();
    // What is known from before is no answer to this question.
    let _ = neighbours.del(entry(index, address)).execute().await;
    let ask = neighbours
        .add(index, address.into())
        .state(NeighbourState::None)
        .flags(NeighbourFlags::Use);
    ask.execute().await.map_err(io::Error::other)?;
    let mut owner = None;
    while let Some((message, _)) = changes.next().await {
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) =
            message.payload
        else {
            continue;
        };
        if message.header.ifindex != index || addressed(&message) != Some(address) {
            continue;
        }
        match message.header.state {
            NeighbourState::Failed => break,
            NeighbourState::Reachable | NeighbourState::Stale => {
                owner = hardware(&message);
                break;
            }
            _ => {}
        }
    }
    let _ = neighbours.del(entry(index, address)).execute().await;
    connection.abort();
    Ok(owner)
}

fn entry(index: u32, address: Ipv4Addr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index;
    message
        .attributes
        .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(
            address,
        )));
    message
}

fn addressed(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
            _ => None,
        })
}

fn hardware(message: &NeighbourMessage) -> Option<Vec<u8>> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(hardware) => Some(hardware.clone()),
            _ => None,
        })
}

/// The pause between two questions for a neighbour of a link, shorter until this is dropped.
struct Pause {
    file: PathBuf,
    before: String,
}

impl Pause {
    /// None where the kernel does not let us: the answer then takes longer.
    fn shorten(link: &str) -> Option<Self> {
        let file = PathBuf::from(format!("/proc/sys/net/ipv4/neigh/{link}/retrans_time_ms"));
        let before = std::fs::read_to_string(&file).ok()?;
        std::fs::write(&file, PAUSE).ok()?;
        Some(Self { file, before })
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.file, self.before.trim());
    }
}
