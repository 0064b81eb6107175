//! The group addresses that a host must use before it knows anybody: what for, and with what.
//!
//! The list is short on purpose. A group that looks for services or neighbours (mDNS, SSDP, LLMNR)
//! is not on it: nothing here asks for these yet.

use std::net::{IpAddr, Ipv6Addr};

use super::packet::Payload;

/// What a packet to this group is needed for; `None` where it is no such packet.
pub fn needed(destination: IpAddr, payload: &Payload<'_>) -> Option<&'static str> {
    match (destination, payload) {
        (
            IpAddr::V4(address),
            Payload::Udp {
                source: 68,
                destination: 67,
                ..
            },
        ) if address.is_broadcast() => Some("everyone: who gives addresses here (DHCP)?"),
        (
            IpAddr::V6(address),
            Payload::Udp {
                source: 546,
                destination: 547,
                ..
            },
        ) if address == ALL_DHCP => Some("DHCP servers: who knows names and time here (DHCPv6)?"),
        (IpAddr::V6(address), Payload::Icmpv6 { kind, .. }) => match kind {
            133 if address == ALL_ROUTERS => Some("all routers: who routes here?"),
            // The kernel's own report on which groups it listens to; no router leads it further
            // than the link.
            143 if address == ALL_LISTENER_REPORTS => {
                Some("routers: which groups this host listens to")
            }
            131 | 132 if is_link_group(address) => {
                Some("the link: which groups this host listens to")
            }
            135 if is_solicited_node(address) => Some("the link: who has this address?"),
            136 if address == ALL_NODES => Some("the link: this host has this address"),
            _ => None,
        },
        _ => None,
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ALL_LISTENER_REPORTS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
const ALL_DHCP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Never leaves the link, whatever group it is.
fn is_link_group(address: Ipv6Addr) -> bool {
    address.segments()[0] == 0xff02
}

/// The group of all hosts whose addresses end in the same 24 bits.
fn is_solicited_node(address: Ipv6Addr) -> bool {
    address.octets()[..13] == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff]
}
