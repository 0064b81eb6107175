//! What matters of a packet: who sent it, and where it goes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{EtherType, NetSlice, SlicedPacket, TransportSlice};

/// The address of a network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardware(pub [u8; 6]);

impl fmt::Display for Hardware {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// One packet.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// The card that sent it.
    pub from: Hardware,
    /// What is in it.
    pub content: Content<'a>,
}

/// What is in a packet.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// A question or an answer about who has an IPv4 address.
    Arp {
        /// The address that it is about.
        target: Ipv4Addr,
    },
    /// A packet of IPv4 or IPv6.
    Ip {
        /// Who sent it.
        source: IpAddr,
        /// Where it goes.
        destination: IpAddr,
        /// What it carries.
        payload: Payload<'a>,
    },
    /// Something else.
    Other {
        /// The Ethernet type.
        kind: u16,
    },
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// UDP.
    Udp {
        /// The sender's port.
        source: u16,
        /// The receiver's port.
        destination: u16,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// TCP.
    Tcp {
        /// The receiver's port.
        destination: u16,
        /// The bytes of this segment.
        bytes: &'a [u8],
    },
    /// ICMP for IPv6.
    Icmpv6 {
        /// The type, such as 133 for a question for routers.
        kind: u8,
        /// The whole message, type included.
        bytes: &'a [u8],
    },
    /// Something else, by its protocol number.
    Other(u8),
}

impl fmt::Display for Payload<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Udp {
                destination, bytes, ..
            } => write!(
                formatter,
                "{} bytes of UDP for port {destination}",
                bytes.len()
            ),
            Payload::Tcp { destination, .. } => write!(formatter, "TCP for port {destination}"),
            Payload::Icmpv6 { kind, .. } => write!(formatter, "ICMPv6 of type {kind}"),
            Payload::Other(protocol) => write!(formatter, "protocol {protocol}"),
        }
    }
}

impl<'a> Packet<'a> {
    /// Reads a packet from its Ethernet head on.
    pub fn read(bytes: &'a [u8]) -> Result<Packet<'a>, String> {
        let sliced = SlicedPacket::from_ethernet(bytes).map_err(|error| error.to_string())?;
        let (Some(from), Some(kind)) = (bytes.get(6..12), bytes.get(12..14)) else {
            return Err("it is shorter than an Ethernet head".into());
        };
        let from = Hardware([from[0], from[1], from[2], from[3], from[4], from[5]]);
        let content = match &sliced.net {
            Some(NetSlice::Arp(arp)) => match <[u8; 4]>::try_from(arp.target_protocol_addr()) {
                Ok(target) => Content::Arp {
                    target: target.into(),
                },
                Err(_) => {
                    return Err("it asks on the link for something that is no IPv4 address".into());
                }
            },
            Some(NetSlice::Ipv4(ip)) => Content::Ip {
                source: ip.header().source_addr().into(),
                destination: ip.header().destination_addr().into(),
                payload: payload(&sliced, ip.header().protocol().0),
            },
            Some(NetSlice::Ipv6(ip)) => Content::Ip {
                source: ip.header().source_addr().into(),
                destination: ip.header().destination_addr().into(),
                payload: payload(&sliced, ip.header().next_header().0),
            },
            None => Content::Other {
                kind: EtherType(u16::from_be_bytes([kind[0], kind[1]])).0,
            },
        };
        Ok(Packet { from, content })
    }
}

fn payload<'a>(sliced: &SlicedPacket<'a>, protocol: u8) -> Payload<'a> {
    match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => Payload::Udp {
            source: udp.source_port(),
            destination: udp.destination_port(),
            bytes: udp.payload(),
        },
        Some(TransportSlice::Tcp(tcp)) => Payload::Tcp {
            destination: tcp.destination_port(),
            bytes: tcp.payload(),
        },
        Some(TransportSlice::Icmpv6(icmp)) => Payload::Icmpv6 {
            kind: icmp.type_u8(),
            bytes: icmp.slice(),
        },
        _ => Payload::Other(protocol),
    }
}
