//! What is said by multicast: DNS messages as mDNS (RFC 6762) and DNS-SD (RFC 6763) have them.
//!
//! An announcement is a PTR record of the service to the label, an SRV record with the port, and for
//! a device that is open for somebody a TXT record with its public key, and for what. By IPv6 there are AAAA records
//! too, for such packets come from an address that holds for the link only; by IPv4 the address is
//! where the packet came from.

use std::net::Ipv6Addr;
use std::str::FromStr as _;
use std::sync::LazyLock;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{AAAA, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::label::{DeviceKey, Label, from_hexadecimal};

/// How many seconds an announcement holds.
pub const LIFETIME: u32 = 120;
/// Longer ones are not looked at.
pub const LONGEST: usize = 4096;
/// So many announcements of one packet are looked at.
const MOST: usize = 16;
/// So many addresses of one announcement are said, and looked at.
pub const MOST_ADDRESSES: usize = 4;

static SERVICE: LazyLock<Name> = LazyLock::new(|| name("_hyperos._udp.local."));

/// Where a device is and under which name it says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announcement {
    /// The name.
    pub label: Label,
    /// The port at which it takes connections.
    pub port: u16,
    /// Its addresses by IPv6.
    pub addresses: Vec<Ipv6Addr>,
    /// Its public key, when it is open, and for what.
    pub candidate: Option<(DeviceKey, Purpose)>,
    /// Seconds for which this holds; 0 takes an earlier one back.
    pub lifetime: u32,
}

/// What a device can be open for. It is found by its key as long as it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Purpose {
    /// To be taken into a family.
    Pairing,
    /// To have its family restored.
    Recovery,
}

impl Purpose {
    /// How the text of a record begins that has the key of such a device.
    fn prefix(self) -> &'static str {
        match self {
            Self::Pairing => "key=",
            Self::Recovery => "restores=",
        }
    }

    fn read(text: &str) -> Option<(DeviceKey, Self)> {
        let mut all = [Self::Pairing, Self::Recovery].into_iter();
        all.find_map(|purpose| {
            let key = text.strip_prefix(purpose.prefix())?;
            Some((from_hexadecimal(key)?, purpose))
        })
    }
}

/// What a packet says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Heard {
    /// Whether it asks who is there.
    pub asks: bool,
    /// Who says to be there.
    pub announcements: Vec<Announcement>,
}

/// Asks who is there.
pub fn question() -> Vec<u8> {
    // mDNS has no use for the number of a message: zero.
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(SERVICE.clone(), RecordType::PTR));
    encode(&message)
}

/// Says who is there.
pub fn announcement(announcement: &Announcement) -> Vec<u8> {
    let label = announcement.label.to_string();
    let lifetime = announcement.lifetime;
    let instance = name(&format!("{label}.{}", *SERVICE));
    let host = name(&format!("{label}.local."));
    let mut message = Message::response(0, OpCode::Query);
    message.metadata.authoritative = true;
    message.add_answer(Record::from_rdata(
        SERVICE.clone(),
        lifetime,
        RData::PTR(PTR(instance.clone())),
    ));
    message.add_answer(Record::from_rdata(
        instance.clone(),
        lifetime,
        RData::SRV(SRV::new(0, 0, announcement.port, host.clone())),
    ));
    for address in announcement.addresses.iter().take(MOST_ADDRESSES) {
        message.add_additional(Record::from_rdata(
            host.clone(),
            lifetime,
            RData::AAAA(AAAA(*address)),
        ));
    }
    let text = announcement
        .candidate
        .map_or(String::new(), |(key, purpose)| {
            let prefix = purpose.prefix().to_owned();
            key.iter()
                .fold(prefix, |text, byte| text + &format!("{byte:02x}"))
        });
    // DNS-SD wants a TXT record of at least one string, which may be empty.
    message.add_answer(Record::from_rdata(
        instance,
        lifetime,
        RData::TXT(TXT::new(vec![text])),
    ));
    encode(&message)
}

/// Reads a packet of whoever sent it; `None` where it is not for us.
pub fn read(packet: &[u8]) -> Option<Heard> {
    if packet.len() > LONGEST {
        return None;
    }
    let message = Message::from_vec(packet).ok()?;
    if message.metadata.op_code != OpCode::Query {
        return None;
    }
    if message.metadata.message_type == MessageType::Query {
        let asks = message.queries.iter().any(|query| {
            *query.name() == *SERVICE
                && matches!(query.query_type(), RecordType::PTR | RecordType::ANY)
        });
        return asks.then(|| Heard {
            asks,
            ..Heard::default()
        });
    }
    let records = || message.answers.iter().chain(&message.additionals);
    let announcements: Vec<_> = records()
        .filter(|record| record.name == *SERVICE)
        .filter_map(|record| match &record.data {
            RData::PTR(PTR(instance)) => Some((instance, record.ttl.min(LIFETIME))),
            _ => None,
        })
        .take(MOST)
        .filter_map(|(instance, lifetime)| {
            let label = instance.iter().next()?;
            let label = Label::parse(std::str::from_utf8(label).ok()?)?;
            let of_instance = || records().filter(|record| record.name == *instance);
            let (port, host) = of_instance().find_map(|record| match &record.data {
                RData::SRV(srv) => Some((srv.port, &srv.target)),
                _ => None,
            })?;
            let addresses = records()
                .filter(|record| record.name == *host)
                .filter_map(|record| match &record.data {
                    RData::AAAA(address) => Some(address.0),
                    _ => None,
                })
                .take(MOST_ADDRESSES)
                .collect();
            let candidate = of_instance().find_map(|record| match &record.data {
                RData::TXT(text) => {
                    let mut texts = text.txt_data.iter();
                    texts.find_map(|text| Purpose::read(std::str::from_utf8(text).ok()?))
                }
                _ => None,
            });
            Some(Announcement {
                label,
                port,
                addresses,
                candidate,
                lifetime,
            })
        })
        .collect();
    (!announcements.is_empty()).then_some(Heard {
        asks: false,
        announcements,
    })
}

fn name(text: &str) -> Name {
    Name::from_str(text).expect("a name of our own making")
}

fn encode(message: &Message) -> Vec<u8> {
    message
        .to_vec()
        .expect("a message of a few short records can be written")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_is_heard_as_one() {
        let heard = read(&question()).unwrap();
        assert!(heard.asks && heard.announcements.is_empty());
    }

    #[test]
    fn what_others_say_of_other_services_is_nothing_to_us() {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name("_ipp._tcp.local."), RecordType::PTR));
        assert_eq!(read(&encode(&message)), None);
    }

    proptest! {
        #[test]
        fn an_announcement_is_read_as_it_was_written(label: [u8; 26], port: u16, addresses in proptest::collection::vec(any::<Ipv6Addr>(), 0..=MOST_ADDRESSES), key: Option<[u8; 32]>, recovery: bool, lifetime in 0..=LIFETIME) {
            let purpose = if recovery { Purpose::Recovery } else { Purpose::Pairing };
            let candidate = key.map(|key| (key, purpose));
            let said = Announcement { label: Label::random(label), port, addresses, candidate, lifetime };
            let packet = announcement(&said);
            prop_assert!(packet.len() < 512, "it fits into any packet");
            prop_assert_eq!(read(&packet).unwrap().announcements, vec![said]);
        }

        #[test]
        fn a_strangers_packet_is_read_or_left(mut packet in proptest::collection::vec(any::<u8>(), 0..600), at in 0usize..300, real: bool) {
            if real {
                // Damage a real one in one place: far more of it is then understood.
                let said = Announcement { label: Label::random([7; 26]), port: 1, addresses: vec![Ipv6Addr::LOCALHOST], candidate: Some(([9; 32], Purpose::Recovery)), lifetime: 120 };
                let mut whole = announcement(&said);
                let at = at % whole.len();
                whole[at] = packet.first().copied().unwrap_or(0xc0);
                packet = whole;
            }
            let _ = read(&packet);
        }
    }
}
