//! The file that QEMU writes packets to: the classical pcap format, of Ethernet.
//!
//! A head of 24 bytes, then for each packet a head of 16 bytes (seconds, microseconds, bytes that are
//! here, bytes that it had) and the bytes. A file that stops within a packet, because the machine
//! was ended just then, simply ends before it.

use std::time::Duration;

const MAGIC: u32 = 0xa1b2_c3d4;
const ETHERNET: u32 = 1;
const HEAD: usize = 24;
const PACKET_HEAD: usize = 16;

/// Why a capture cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is something else.
    #[error("this is not a capture of packets in pcap format: {0}")]
    NotACapture(String),
    /// A packet was cut when it was captured, so nobody can say what was in it.
    #[error("packet {number} of the capture has {had} bytes and only {kept} were kept")]
    Cut {
        /// Counted from 1.
        number: usize,
        /// The bytes it had.
        had: u32,
        /// The bytes that are here.
        kept: u32,
    },
}

/// One packet as it was on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Since whatever the writer counts from.
    pub time: Duration,
    /// From the Ethernet head on.
    pub bytes: &'a [u8],
}

/// The packets of a capture, in order.
#[derive(Clone, Debug)]
pub struct Capture<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Capture<'a> {
    /// Reads the head.
    pub fn new(bytes: &'a [u8]) -> Result<Capture<'a>, Error> {
        let wrong = |reason: &str| Error::NotACapture(reason.into());
        let magic = word(bytes, 0).ok_or_else(|| wrong("it is too short"))?;
        if magic != MAGIC {
            return Err(wrong("its first bytes are others"));
        }
        let link = word(bytes, 20).ok_or_else(|| wrong("it is too short"))?;
        if link != ETHERNET {
            return Err(Error::NotACapture(format!(
                "its packets are of link type {link}, not Ethernet"
            )));
        }
        Ok(Capture {
            rest: &bytes[HEAD..],
            number: 0,
        })
    }
}

impl<'a> Iterator for Capture<'a> {
    type Item = Result<Frame<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (seconds, micros) = (word(self.rest, 0)?, word(self.rest, 4)?);
        let (kept, had) = (word(self.rest, 8)?, word(self.rest, 12)?);
        let end = PACKET_HEAD.checked_add(kept as usize)?;
        let bytes = self.rest.get(PACKET_HEAD..end)?;
        self.rest = &self.rest[end..];
        self.number += 1;
        if kept < had {
            return Some(Err(Error::Cut {
                number: self.number,
                had,
                kept,
            }));
        }
        let time = Duration::from_secs(seconds.into()) + Duration::from_micros(micros.into());
        Some(Ok(Frame { time, bytes }))
    }
}

fn word(bytes: &[u8], position: usize) -> Option<u32> {
    let bytes = bytes.get(position..position.checked_add(4)?)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}
