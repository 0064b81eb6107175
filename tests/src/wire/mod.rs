//! The wire: nothing is contacted but what the network itself offered.
//!
//! QEMU writes every packet of the guest's network card to a file from power-on ([`arguments`]).
//! [`examine`] reads it afterwards and judges each packet that the guest sent: it may go to an
//! address that the network offered before, by DHCP or by a router's advertisement ([`offers`]), or
//! to one of the few group addresses without which a host cannot ask for these ([`groups`]). All else
//! is a [`Violation`]. The names that were asked for are listed too, for the eyes of the reader: a
//! name server that was offered may be asked, but not on behalf of a company.
//!
//! The file comes from outside this program: any bytes give a report or an error, never a panic.

pub mod capture;
pub mod groups;
pub mod names;
pub mod offers;
pub mod packet;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use capture::Capture;
use offers::Offers;
use packet::{Content, Hardware, Packet};

/// QEMU's arguments that write what passes the network device with the identifier `network` to
/// `file` in the machine's folder, from power-on, whole packets.
pub fn arguments(network: &str, file: &str) -> [String; 2] {
    [
        "-object".to_owned(),
        format!("filter-dump,id=wire,netdev={network},maxlen=65536,file={file}"),
    ]
}

/// A packet that should not have been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which packet of the capture, counted from 1 as other tools do.
    pub number: usize,
    /// How long after the first packet.
    pub after: Duration,
    /// Where it went, and why that is not allowed.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "packet {} after {:.3} s: {}",
            self.number,
            self.after.as_secs_f64(),
            self.what
        )
    }
}

/// What the guest sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many packets the guest sent.
    pub sent: usize,
    /// How many packets came to it.
    pub received: usize,
    /// How many packets went where, in words such as `10.0.2.3 (name server, by DHCP)`.
    pub destinations: BTreeMap<String, usize>,
    /// Names that were asked for.
    pub names: BTreeSet<String>,
    /// Packets that should not have been sent.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} packets sent, {} received",
            self.sent, self.received
        )?;
        for (destination, count) in &self.destinations {
            writeln!(formatter, "{count:>7}  {destination}")?;
        }
        if self.names.is_empty() {
            writeln!(formatter, "no name was asked for")?;
        } else {
            writeln!(
                formatter,
                "names asked for: {}",
                self.names.iter().cloned().collect::<Vec<_>>().join(", ")
            )?;
        }
        for violation in &self.violations {
            writeln!(formatter, "NOT OFFERED: {violation}")?;
        }
        Ok(())
    }
}

/// Judges a capture. `guest` is the hardware address of the guest's network card.
pub fn examine(capture: &[u8], guest: Hardware) -> Result<Report, capture::Error> {
    let mut report = Report::default();
    let mut offers = Offers::default();
    let mut first = None;
    for (index, frame) in Capture::new(capture)?.enumerate() {
        let frame = frame?;
        let after = frame.time.saturating_sub(*first.get_or_insert(frame.time));
        let judged = match Packet::read(frame.bytes) {
            Ok(packet) if packet.from == guest => {
                report.sent += 1;
                if let Content::Ip { payload, .. } = &packet.content {
                    report.names.extend(names::asked(payload));
                }
                judge(&packet, guest, &mut offers)
            }
            Ok(packet) => {
                report.received += 1;
                offers.learn(&packet);
                continue;
            }
            // Nobody else is on the wire but QEMU, whose packets are well-formed.
            Err(reason) => {
                report.sent += 1;
                Err(format!("a packet that cannot be read: {reason}"))
            }
        };
        match judged {
            Ok(destination) => *report.destinations.entry(destination).or_default() += 1,
            Err(what) => report.violations.push(Violation {
                number: index + 1,
                after,
                what,
            }),
        }
    }
    Ok(report)
}

/// Where a packet of the guest goes, in words, or why it should not.
fn judge(packet: &Packet<'_>, guest: Hardware, offers: &mut Offers) -> Result<String, String> {
    match &packet.content {
        Content::Arp { target } => match offers.address((*target).into()) {
            Some(what) => Ok(format!("question for {target} on the link ({what})")),
            None if offers.is_own((*target).into()) => Ok(format!(
                "question for {target} on the link (is the own address free?)"
            )),
            None => Err(format!(
                "it asks on the link for {target}, which nobody offered"
            )),
        },
        Content::Ip {
            source,
            destination,
            payload,
        } => {
            if let Some(what) = groups::needed(*destination, payload) {
                return Ok(format!("{destination} ({what})"));
            }
            if let Some(what) = offers.address(*destination) {
                return Ok(format!("{destination} ({what})"));
            }
            Err(format!(
                "{source} sends {payload} to {destination}, which nobody offered"
            ))
        }
        Content::Other { kind } => Err(format!(
            "it is neither IPv4 nor IPv6 nor ARP but of type {kind:#06x}, from {guest}"
        )),
    }
}

#[cfg(test)]
mod tests;
