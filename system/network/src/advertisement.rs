//! Servers for names in router advertisements (RFC 8106).
//!
//! The kernel makes addresses and routes of an advertisement and passes on what it does not use
//! itself, as a netlink message of a kind that no crate reads yet. It is small, so it is read
//! here; its inside is from anybody on the wire.

use std::{io, net::Ipv6Addr, time::Duration};

use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

const RTM_NEWNDUSEROPT: u16 = 68;
const RTNLGRP_ND_USEROPT: u32 = 20;
const ROUTER_ADVERTISEMENT: u8 = 134;
const RDNSS: u8 = 25;

/// A server for names that a router offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The link on which it was offered.
    pub index: u32,
    /// The server.
    pub server: Ipv6Addr,
    /// For how long: zero takes the offer back, none is for ever.
    pub lasts: Option<Duration>,
}

/// Where the kernel passes advertisements on.
pub struct Advertisements(TokioSocket);

impl Advertisements {
    /// Listens from now on.
    pub fn open() -> io::Result<Advertisements> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket
            .socket_mut()
            .bind(&SocketAddr::new(0, 1 << (RTNLGRP_ND_USEROPT - 1)))?;
        Ok(Advertisements(socket))
    }

    /// The offers of the next message; often none.
    pub async fn next(&mut self) -> io::Result<Vec<Offer>> {
        let (bytes, from) = self.0.recv_from_full().await?;
        // Anybody may send to a netlink socket; the kernel has port 0.
        Ok(if from.port_number() == 0 {
            parse(&bytes)
        } else {
            Vec::new()
        })
    }
}

/// The offers in what came from the kernel. What makes no sense is passed over.
pub fn parse(mut bytes: &[u8]) -> Vec<Offer> {
    let mut offers = Vec::new();
    while let Some((message, rest)) = message(bytes) {
        if let Some((index, options)) = message {
            offers.extend(servers(index, options));
        }
        bytes = rest;
    }
    offers
}

/// Splits the first netlink message off: its link and options, if it is of our kind.
#[allow(clippy::type_complexity)]
fn message(bytes: &[u8]) -> Option<(Option<(u32, &[u8])>, &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    if length < 16 || length > bytes.len() {
        return None;
    }
    // Messages begin at multiples of four.
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
    Some((
        (kind == RTM_NEWNDUSEROPT)
            .then(|| options(&bytes[16..length]))
            .flatten(),
        rest,
    ))
}

/// The inside of a message (`struct nduseroptmsg`): link and options.
fn options(body: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = body.split_at_checked(16)?;
    let length = u16::from_ne_bytes([head[2], head[3]]);
    let index = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
    (head[8] == ROUTER_ADVERTISEMENT).then_some((index, rest.get(..length.into())?))
}

/// The servers in the options of an advertisement.
fn servers(index: u32, mut options: &[u8]) -> Vec<Offer> {
    let mut offers = Vec::new();
    // A kind, a length in units of eight bytes, and the rest.
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        if length == 0 || length > options.len() {
            break;
        }
        let (option, rest) = options.split_at(length);
        options = rest;
        if kind != RDNSS {
            continue;
        }
        let seconds = u32::from_be_bytes([option[4], option[5], option[6], option[7]]);
        let lasts = (seconds != u32::MAX).then(|| Duration::from_secs(seconds.into()));
        for address in option[8..].chunks_exact(16) {
            let server = Ipv6Addr::from(<[u8; 16]>::try_from(address).expect("it is 16 bytes"));
            if !(server.is_unspecified() || server.is_loopback() || server.is_multicast()) {
                offers.push(Offer {
                    index,
                    server,
                    lasts,
                });
            }
        }
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn advertisement(options: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(((32 + options.len()) as u32).to_ne_bytes());
        bytes.extend(RTM_NEWNDUSEROPT.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([10, 0]);
        bytes.extend((options.len() as u16).to_ne_bytes());
        bytes.extend(3_u32.to_ne_bytes());
        bytes.extend([ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(options);
        bytes
    }

    fn rdnss(seconds: u32, servers: &[Ipv6Addr]) -> Vec<u8> {
        let mut option = vec![RDNSS, 1 + 2 * servers.len() as u8, 0, 0];
        option.extend(seconds.to_be_bytes());
        servers
            .iter()
            .for_each(|server| option.extend(server.octets()));
        option
    }

    #[test]
    fn servers_are_read_with_their_lifetime() {
        let server: Ipv6Addr = "fec0::3".parse().unwrap();
        let mut bytes = advertisement(&rdnss(600, &[server]));
        bytes.extend(advertisement(&rdnss(
            u32::MAX,
            &[server, Ipv6Addr::UNSPECIFIED],
        )));
        let lasts = Some(Duration::from_secs(600));
        assert_eq!(
            parse(&bytes),
            [
                Offer {
                    index: 3,
                    server,
                    lasts
                },
                Offer {
                    index: 3,
                    server,
                    lasts: None
                }
            ]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
        }

        #[test]
        fn no_options_make_it_panic(options in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&advertisement(&options));
        }

        #[test]
        fn no_change_of_a_good_message_makes_it_panic(
            at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>()
        ) {
            let mut bytes = advertisement(&rdnss(600, &[Ipv6Addr::LOCALHOST; 3]));
            let at = at.index(bytes.len());
            bytes[at] = value;
            parse(&bytes);
            parse(&bytes[..cut.index(bytes.len())]);
        }
    }
}
