//! The kernel's `struct input_event`, from bytes.

use std::ffi::c_long;
use std::time::Duration;

/// One change of one axis, key or state of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// By the clock that the device was told to stamp with.
    pub at: Duration,
    /// `EV_…`.
    pub kind: u16,
    /// Which key or axis.
    pub code: u16,
    /// Its state now.
    pub value: i32,
}

const WORD: usize = size_of::<c_long>();

/// Bytes of an event: two words of time, then kind, code and value.
pub const SIZE: usize = 2 * WORD + 8;

/// The events in what was read from a device. The kernel only gives whole ones; half of one at the
/// end is left out.
pub fn parse(bytes: &[u8]) -> impl Iterator<Item = Event> + '_ {
    bytes.chunks_exact(SIZE).map(|event| {
        let word = |at: usize| {
            let mut word = [0; WORD];
            word.copy_from_slice(&event[at..at + WORD]);
            c_long::from_ne_bytes(word)
        };
        let half = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
        let rest = 2 * WORD;
        // A time that cannot be is taken as the start of the clock rather than refused.
        let seconds = u64::try_from(word(0)).unwrap_or(0);
        let microseconds = u32::try_from(word(WORD)).unwrap_or(0).min(999_999);
        Event {
            at: Duration::new(seconds, microseconds * 1000),
            kind: half(rest),
            code: half(rest + 2),
            value: i32::from_ne_bytes([
                event[rest + 4],
                event[rest + 5],
                event[rest + 6],
                event[rest + 7],
            ]),
        }
    })
}

#[cfg(test)]
pub(super) fn bytes(event: Event) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SIZE);
    bytes.extend((event.at.as_secs() as c_long).to_ne_bytes());
    bytes.extend(c_long::from(event.at.subsec_micros() as i32).to_ne_bytes());
    bytes.extend(event.kind.to_ne_bytes());
    bytes.extend(event.code.to_ne_bytes());
    bytes.extend(event.value.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_complaint(foreign in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(parse(&foreign).count(), foreign.len() / SIZE);
        }

        #[test]
        fn an_event_is_read_as_it_was_written(seconds in 0u32..i32::MAX as u32, microseconds in 0u32..1_000_000, kind: u16, code: u16, value: i32) {
            let event = Event { at: Duration::new(seconds.into(), microseconds * 1000), kind, code, value };
            prop_assert_eq!(parse(&bytes(event)).collect::<Vec<_>>(), [event]);
        }
    }
}
