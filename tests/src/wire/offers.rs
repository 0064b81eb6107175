//! What the network offered: the addresses in DHCP answers and in routers' advertisements.
//!
//! An offer counts from when it was made. What was sent before, by chance to the right address, is a
//! violation all the same, for then the address was built in.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packet::{Content, Packet, Payload};

/// The addresses offered so far.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    offered: BTreeMap<IpAddr, String>,
    own: Vec<IpAddr>,
}

impl Offers {
    /// What was offered under this address, in words.
    pub fn address(&self, address: IpAddr) -> Option<&str> {
        self.offered.get(&address).map(String::as_str)
    }

    /// Whether the network gave this address to the guest.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// Takes up what a packet to the guest offers.
    pub fn learn(&mut self, packet: &Packet<'_>) {
        let Content::Ip {
            source, payload, ..
        } = &packet.content
        else {
            return;
        };
        match payload {
            Payload::Udp {
                source: 67, bytes, ..
            } => self.learn_dhcp(bytes),
            Payload::Icmpv6 { kind: 134, bytes } => self.learn_router(*source, bytes),
            _ => {}
        }
    }

    fn offer(&mut self, address: IpAddr, what: &str) {
        let words = self.offered.entry(address).or_default();
        if !words.split(", ").any(|word| word == what) {
            if !words.is_empty() {
                words.push_str(", ");
            }
            words.push_str(what);
        }
    }

    /// RFC 2131: 236 bytes, four that say that options follow, then the options.
    fn learn_dhcp(&mut self, bytes: &[u8]) {
        let (Some(own), Some([99, 130, 83, 99])) = (bytes.get(16..20), bytes.get(236..240)) else {
            return;
        };
        let own = Ipv4Addr::new(own[0], own[1], own[2], own[3]);
        if !own.is_unspecified() && !self.is_own(own.into()) {
            self.own.push(own.into());
        }
        let mut options = &bytes[240..];
        while let [code, rest @ ..] = options {
            let [length, rest @ ..] = rest else { return };
            match code {
                0 => {
                    options = &options[1..];
                    continue;
                }
                255 => return,
                _ => {}
            }
            let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else {
                return;
            };
            let what = match code {
                3 => "router, by DHCP",
                6 => "name server, by DHCP",
                42 => "time server, by DHCP",
                54 => "DHCP server",
                _ => "",
            };
            if !what.is_empty() {
                for address in value.chunks_exact(4) {
                    self.offer(
                        Ipv4Addr::new(address[0], address[1], address[2], address[3]).into(),
                        what,
                    );
                }
            }
            options = rest;
        }
    }

    /// RFC 4861 and RFC 8106: 16 bytes, then options whose length counts eights of bytes.
    fn learn_router(&mut self, router: IpAddr, bytes: &[u8]) {
        self.offer(router, "router, by its advertisement");
        let mut options = bytes.get(16..).unwrap_or_default();
        while let [code, length, ..] = options {
            let length = usize::from(*length) * 8;
            let Some((option, rest)) = options.split_at_checked(length).filter(|_| length > 0)
            else {
                return;
            };
            if *code == 25 {
                for address in option[8..].chunks_exact(16) {
                    // Chunks are exact, so this always converts.
                    if let Ok(octets) = <[u8; 16]>::try_from(address) {
                        self.offer(
                            Ipv6Addr::from(octets).into(),
                            "name server, by a router's advertisement",
                        );
                    }
                }
            }
            options = rest;
        }
    }
}
