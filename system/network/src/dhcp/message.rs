//! DHCP messages: those that we send, and what we take from those that come back.
//!
//! What comes back is from anybody on the wire, so nothing in it is believed that cannot be: an
//! address that no host can have, a netmask with holes or a lease without an end is refused here,
//! and the machine never sees it.

use std::{net::Ipv4Addr, time::Duration};

use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode},
};

/// The shortest lease that is accepted; a shorter one would keep the device awake.
const SHORTEST_LEASE: u32 = 10;

/// More servers of a kind than this are not remembered.
const MOST_SERVERS: usize = 8;

/// More ways to networks than this are not remembered.
const MOST_ROUTES: usize = 32;

/// Options that dhcproto is not asked to read.
const CLASSLESS_ROUTES: u8 = 121;

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network's first address.
    pub network: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// By whom it is reached; on the link itself, if by none.
    pub gateway: Option<Ipv4Addr>,
}

/// What a server granted, or offers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address of this device.
    pub address: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// The way out, if there is one.
    pub router: Option<Ipv4Addr>,
    /// Ways to other networks than the rest of the world (RFC 3442).
    pub routes: Vec<Route>,
    /// Servers for names, the preferred one first.
    pub name_servers: Vec<Ipv4Addr>,
    /// Servers for the time, the preferred one first.
    pub time_servers: Vec<Ipv4Addr>,
    /// Who granted it.
    pub server: Ipv4Addr,
    /// How long it lasts; for ever if none.
    pub lasts: Option<Duration>,
    /// When to ask its server for more (T1), counted from when it was asked for.
    pub renew: Duration,
    /// When to ask any server for more (T2).
    pub rebind: Duration,
}

/// What a message from a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It would grant this.
    Offer(Lease),
    /// It grants this.
    Acknowledgement(Lease),
    /// It refuses what was asked for.
    Refusal {
        /// Who refuses.
        server: Option<Ipv4Addr>,
    },
}

/// Who asks: what stands in each of our messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The link's hardware address.
    pub hardware: [u8; 6],
    /// Which conversation this is.
    pub transaction: u32,
    /// How long the device has been without an address.
    pub seconds: u16,
}

/// What to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who grants addresses?
    Discover,
    /// I would like what you offered.
    Request {
        /// The address that was offered.
        address: Ipv4Addr,
        /// Who offered it.
        server: Ipv4Addr,
    },
    /// May I keep the address that I have?
    Extend {
        /// The address.
        address: Ipv4Addr,
    },
    /// Somebody else has the address that you granted.
    Decline {
        /// The address.
        address: Ipv4Addr,
        /// Who granted it.
        server: Ipv4Addr,
    },
}

/// The bytes of a message to a server.
pub fn encode(asker: &Asker, question: &Question) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message =
        Message::new_with_id(asker.transaction, none, none, none, none, &asker.hardware);
    message.set_secs(asker.seconds);
    let options = message.opts_mut();
    let kind = match question {
        Question::Discover => MessageType::Discover,
        Question::Request { .. } | Question::Extend { .. } => MessageType::Request,
        Question::Decline { .. } => MessageType::Decline,
    };
    options.insert(DhcpOption::MessageType(kind));
    // The hardware address, which is on every packet anyway. No host name: nobody needs it.
    let mut identifier = vec![1];
    identifier.extend(asker.hardware);
    options.insert(DhcpOption::ClientIdentifier(identifier));
    if let Question::Request { address, server } | Question::Decline { address, server } = question
    {
        options.insert(DhcpOption::RequestedIpAddress(*address));
        options.insert(DhcpOption::ServerIdentifier(*server));
    }
    if kind != MessageType::Decline {
        options.insert(DhcpOption::MaxMessageSize(1472));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            // Before the router, which it stands for where both are granted (RFC 3442).
            OptionCode::ClasslessStaticRoute,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::NtpServers,
            OptionCode::AddressLeaseTime,
            OptionCode::Renewal,
            OptionCode::Rebinding,
        ]));
    }
    if let Question::Extend { address } = question {
        message.set_ciaddr(*address);
    } else {
        // Without an address we can only hear a broadcast on an ordinary socket.
        message.set_flags(Flags::default().set_broadcast());
    }
    let mut bytes = Vec::with_capacity(300);
    message
        .encode(&mut Encoder::new(&mut bytes))
        .expect("a message of fixed options that all fit is written to memory");
    // Some relays drop what is shorter than BOOTP's messages were.
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

/// What those bytes say to that asker; none if they are not for it, or make no sense.
pub fn decode(bytes: &[u8], asker: &Asker) -> Option<Answer> {
    let parts = Parts::of(bytes)?;
    let message = Message::decode(&mut Decoder::new(&parts.plain())).ok()?;
    if message.opcode() != Opcode::BootReply
        || message.xid() != asker.transaction
        || message.hlen() != 6
        || message.chaddr() != asker.hardware
    {
        return None;
    }
    let lease = || {
        let mut lease = lease(&message)?;
        if let Some(routes) = parts.routes() {
            let (out, others): (Vec<Route>, _) =
                routes.into_iter().partition(|route| route.prefix == 0);
            lease.router = out.iter().find_map(|route| route.gateway);
            lease.routes = others;
        }
        Some(lease)
    };
    match message.opts().msg_type()? {
        MessageType::Offer => lease().map(Answer::Offer),
        MessageType::Ack => lease().map(Answer::Acknowledgement),
        MessageType::Nak => Some(Answer::Refusal {
            server: server(&message),
        }),
        _ => None,
    }
}

/// A message taken apart as far as its options go.
struct Parts<'a> {
    head: &'a [u8],
    /// Codes and values, in their order.
    options: Vec<(u8, &'a [u8])>,
}

impl<'a> Parts<'a> {
    const HEAD: usize = 236;
    const COOKIE: [u8; 4] = [99, 130, 83, 99];
    const PADDING: u8 = 0;
    const END: u8 = 255;

    /// None for what is no whole message: one that was cut is not for reading what is left of it.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(Self::HEAD)?;
        let mut rest = rest.strip_prefix(&Self::COOKIE)?;
        let mut options = Vec::new();
        loop {
            match *rest {
                [Self::END, ..] => return Some(Self { head, options }),
                [Self::PADDING, ref after @ ..] => rest = after,
                [code, length, ref after @ ..] => {
                    let (value, after) = after.split_at_checked(length.into())?;
                    options.push((code, value));
                    rest = after;
                }
                [] | [_] => return None,
            }
        }
    }

    /// The message with only those options that dhcproto reads here, each once and of a right
    /// length.
    ///
    /// dhcproto (0.15) panics at options of a wrong length, and puts repeated ones together; one
    /// packet of any host on the link must not end the service.
    fn plain(&self) -> Vec<u8> {
        let mut message = [self.head, &Self::COOKIE].concat();
        let mut seen = Vec::new();
        for &(code, value) in &self.options {
            let length = value.len();
            let right = match code {
                1 | 51 | 54 | 58 | 59 => length == 4,
                3 | 6 | 42 => length > 0 && length.is_multiple_of(4),
                53 => length == 1,
                _ => false,
            };
            if right && !seen.contains(&code) {
                seen.push(code);
                message.extend([code, length as u8]);
                message.extend(value);
            }
        }
        message.push(Self::END);
        message
    }

    /// The classless routes; none if there are none, or what is there makes no sense as a whole.
    /// A list that is longer than an option stands in several (RFC 3396).
    fn routes(&self) -> Option<Vec<Route>> {
        let all: Vec<u8> = self
            .options
            .iter()
            .filter(|(code, _)| *code == CLASSLESS_ROUTES)
            .flat_map(|(_, value)| value.iter().copied())
            .collect();
        let mut rest = &all[..];
        let mut routes = Vec::new();
        while let [prefix @ 0..=32, ref after @ ..] = *rest {
            // Only the bytes that the prefix reaches into are there.
            let (bytes, after) = after.split_at_checked(prefix.div_ceil(8).into())?;
            let mut network = [0; 4];
            network[..bytes.len()].copy_from_slice(bytes);
            let (gateway, after) = after.split_first_chunk::<4>()?;
            let gateway = Ipv4Addr::from(*gateway);
            let network = Ipv4Addr::from(network);
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let network = Ipv4Addr::from(u32::from(network) & mask);
            rest = after;
            // What no packet may go to, or through, is passed over.
            let reachable = prefix == 0 || is_host(network);
            if reachable && (gateway.is_unspecified() || is_host(gateway)) {
                routes.push(Route {
                    network,
                    prefix,
                    gateway: (!gateway.is_unspecified()).then_some(gateway),
                });
            }
        }
        routes.truncate(MOST_ROUTES);
        (rest.is_empty() && !all.is_empty()).then_some(routes)
    }
}

fn server(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier)? {
        DhcpOption::ServerIdentifier(server) if is_host(*server) => Some(*server),
        _ => None,
    }
}

/// Whether a host can have that address.
fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    // 0/8 is no host, 127/8 is this one, from 224 on they are groups and reserved.
    (1..224).contains(&first) && first != 127
}

fn lease(message: &Message) -> Option<Lease> {
    let options = message.opts();
    let address = message.yiaddr();
    let mask = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => u32::from(*mask),
        // Before masks had an option, the address said it.
        _ => match address.octets()[0] {
            0..128 => 0xff00_0000,
            128..192 => 0xffff_0000,
            _ => 0xffff_ff00,
        },
    };
    let prefix = mask.leading_ones() as u8;
    if !is_host(address) || prefix < 1 || mask.count_ones() != u32::from(prefix) {
        return None;
    }
    // The network's own address and its broadcast, where there is room for them.
    let host = u32::from(address) & !mask;
    if prefix < 31 && (host == 0 || host == !mask) {
        return None;
    }
    let seconds = match options.get(OptionCode::AddressLeaseTime)? {
        DhcpOption::AddressLeaseTime(seconds) if *seconds >= SHORTEST_LEASE => *seconds,
        _ => return None,
    };
    let lasts = (seconds != u32::MAX).then(|| Duration::from_secs(seconds.into()));
    let whole = lasts.unwrap_or(Duration::MAX);
    let time = |code| match options.get(code) {
        Some(DhcpOption::Renewal(time) | DhcpOption::Rebinding(time)) => {
            Some(Duration::from_secs((*time).into()))
        }
        _ => None,
    };
    // RFC 2131, 4.4.5. What the server says counts only where it makes sense.
    let rebind = time(OptionCode::Rebinding)
        .filter(|&rebind| rebind < whole)
        .unwrap_or_else(|| whole / 8 * 7);
    let renew = time(OptionCode::Renewal)
        .filter(|&renew| renew < rebind && renew >= Duration::from_secs(1))
        .unwrap_or_else(|| (whole / 2).min(rebind));
    Some(Lease {
        address,
        prefix,
        router: match options.get(OptionCode::Router) {
            Some(DhcpOption::Router(routers)) => routers
                .iter()
                .copied()
                .find(|&router| is_host(router) && router != address),
            _ => None,
        },
        routes: Vec::new(),
        name_servers: match options.get(OptionCode::DomainNameServer) {
            Some(DhcpOption::DomainNameServer(servers)) => hosts(servers),
            _ => Vec::new(),
        },
        time_servers: match options.get(OptionCode::NtpServers) {
            Some(DhcpOption::NtpServers(servers)) => hosts(servers),
            _ => Vec::new(),
        },
        server: server(message)?,
        lasts,
        renew,
        rebind,
    })
}

fn hosts(addresses: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    addresses
        .iter()
        .copied()
        .filter(|&address| is_host(address))
        .take(MOST_SERVERS)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// What a server would send to that asker.
    pub(crate) fn reply(asker: &Asker, kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(
            asker.transaction,
            none,
            Ipv4Addr::new(10, 0, 2, 15),
            none,
            none,
            &asker.hardware,
        );
        message.set_opcode(Opcode::BootReply);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        for option in options {
            message.opts_mut().insert(option.clone());
        }
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).unwrap();
        bytes
    }

    pub(crate) fn granted(seconds: u32) -> Vec<DhcpOption> {
        vec![
            DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 2, 2)),
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 2, 2)]),
            DhcpOption::DomainNameServer(vec![Ipv4Addr::new(10, 0, 2, 3)]),
            DhcpOption::NtpServers(vec![Ipv4Addr::new(10, 0, 2, 4)]),
            DhcpOption::AddressLeaseTime(seconds),
        ]
    }

    const ASKER: Asker = Asker {
        hardware: HARDWARE,
        transaction: 7,
        seconds: 0,
    };

    fn with(change: impl FnOnce(&mut Vec<DhcpOption>)) -> Option<Answer> {
        let mut options = granted(3600);
        change(&mut options);
        decode(&reply(&ASKER, MessageType::Ack, &options), &ASKER)
    }

    #[test]
    fn a_grant_is_read_whole() {
        let Some(Answer::Acknowledgement(lease)) = with(|_| ()) else {
            panic!("it is a grant")
        };
        assert_eq!(lease.address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(lease.prefix, 24);
        assert_eq!(lease.router, Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(lease.name_servers, [Ipv4Addr::new(10, 0, 2, 3)]);
        assert_eq!(lease.time_servers, [Ipv4Addr::new(10, 0, 2, 4)]);
        assert_eq!(lease.lasts, Some(Duration::from_secs(3600)));
        assert_eq!(lease.renew, Duration::from_secs(1800));
        assert_eq!(lease.rebind, Duration::from_secs(3150));
    }

    /// The answer when the server grants these bytes as classless routes.
    fn with_routes(parts: &[&[u8]]) -> Lease {
        let mut bytes = reply(&ASKER, MessageType::Ack, &granted(3600));
        bytes.pop(); // the end option
        for part in parts {
            bytes.extend([CLASSLESS_ROUTES, part.len() as u8]);
            bytes.extend(*part);
        }
        bytes.push(255);
        match decode(&bytes, &ASKER) {
            Some(Answer::Acknowledgement(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn classless_routes_stand_for_the_router() {
        let router = Some(Ipv4Addr::new(10, 0, 2, 2));
        let out: &[u8] = &[0, 10, 0, 2, 9];
        let lease = with_routes(&[
            &[24, 192, 0, 2, 10, 0, 2, 7],
            out,
            &[12, 172, 31, 0, 0, 0, 0],
        ]);
        assert_eq!(lease.router, Some(Ipv4Addr::new(10, 0, 2, 9)));
        assert_eq!(
            lease.routes,
            [
                Route {
                    network: Ipv4Addr::new(192, 0, 2, 0),
                    prefix: 24,
                    gateway: Some(Ipv4Addr::new(10, 0, 2, 7)),
                },
                // The bits beyond the prefix mean nothing.
                Route {
                    network: Ipv4Addr::new(172, 16, 0, 0),
                    prefix: 12,
                    gateway: None,
                },
            ]
        );
        // Without a way out among them there is none (RFC 3442).
        assert_eq!(with_routes(&[&[8, 10, 10, 0, 2, 7]]).router, None);
        // A list in two parts is one list.
        assert_eq!(with_routes(&[&out[..2], &out[2..]]).router, lease.router);
        // What makes no sense is as if it were not there.
        for nonsense in [&[33, 1, 2, 3, 4, 5, 6, 7, 8][..], &[24, 192, 0, 2, 10], &[]] {
            let lease = with_routes(&[nonsense]);
            assert_eq!(
                (lease.router, lease.routes),
                (router, vec![]),
                "{nonsense:?}"
            );
        }
        // Nor does a route to this host itself, or to groups.
        assert!(
            with_routes(&[out, &[8, 127, 10, 0, 2, 7, 4, 224, 10, 0, 2, 7]])
                .routes
                .is_empty()
        );
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(
            with(|o| o[0] = DhcpOption::ServerIdentifier(Ipv4Addr::BROADCAST)),
            None
        );
        assert_eq!(
            with(|o| o[1] = DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0))),
            None
        );
        assert_eq!(
            with(|o| o[1] = DhcpOption::SubnetMask(Ipv4Addr::UNSPECIFIED)),
            None
        );
        // 10.0.2.15 is the broadcast address of 10.0.2.0/28.
        assert_eq!(
            with(|o| o[1] = DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 240))),
            None
        );
        assert_eq!(with(|o| o[5] = DhcpOption::AddressLeaseTime(0)), None);
        assert_eq!(
            with(|o| {
                o.pop();
            }),
            None
        );
    }

    #[test]
    fn times_that_make_no_sense_are_replaced() {
        let Some(Answer::Acknowledgement(lease)) = with(|options| {
            options.push(DhcpOption::Renewal(9000));
            options.push(DhcpOption::Rebinding(8000));
        }) else {
            panic!("it is a grant")
        };
        assert!(lease.renew <= lease.rebind && lease.rebind < lease.lasts.unwrap());
    }

    #[test]
    fn what_is_for_others_is_ignored() {
        let bytes = reply(&ASKER, MessageType::Ack, &granted(3600));
        assert_eq!(
            decode(
                &bytes,
                &Asker {
                    transaction: 8,
                    ..ASKER
                }
            ),
            None
        );
        assert_eq!(
            decode(
                &bytes,
                &Asker {
                    hardware: [2, 0, 0, 0, 0, 2],
                    ..ASKER
                }
            ),
            None
        );
        let question = encode(&ASKER, &Question::Discover);
        assert_eq!(decode(&question, &ASKER), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode(&bytes, &ASKER);
        }

        #[test]
        fn no_change_of_a_good_message_makes_it_panic_or_grant_nonsense(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = reply(&ASKER, MessageType::Ack, &granted(3600));
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Some(Answer::Offer(lease) | Answer::Acknowledgement(lease)) =
                    decode(bytes, &ASKER)
                {
                    prop_assert!(is_host(lease.address) && is_host(lease.server));
                    prop_assert!((1..=32).contains(&lease.prefix));
                    prop_assert!(lease.renew <= lease.rebind);
                    prop_assert!(lease.lasts.is_none_or(|lasts| lease.rebind < lasts));
                    prop_assert!(lease.renew >= Duration::from_secs(1));
                }
            }
        }

        #[test]
        fn any_options_are_taken_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = reply(&ASKER, MessageType::Offer, &[]);
            bytes.pop(); // the end option
            bytes.extend(body);
            let _ = decode(&bytes, &ASKER);
        }
    }
}
