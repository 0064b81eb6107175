//! Chunks as they are kept and sent: each one compressed by itself, so that any range of a pack that
//! begins and ends with chunks can be fetched alone.
//!
//! A chunk is a Zstandard frame, or its own bytes where those are not longer.

use std::io::Read as _;

use ruzstd::decoding::StreamingDecoder;
use thiserror::Error;

use crate::{Chunk, chunk};

/// Why the bytes of a pack are not the chunk that the manifest names.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// Fewer or more bytes than the manifest says.
    #[error("{found} bytes came where the manifest says {expected}")]
    Length {
        /// What the manifest says.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The bytes cannot be unpacked.
    #[error("the chunk cannot be unpacked: {0}")]
    Broken(String),
    /// They can, but are something else.
    #[error("the chunk is not the one that its hash names")]
    Hash,
}

/// The chunk in `stored`, once it has been found to be the one that the manifest names.
///
/// # Errors
///
/// Fails for any other bytes.
pub fn unpack(entry: &Chunk, stored: &[u8]) -> Result<Vec<u8>, Error> {
    if stored.len() as u64 != u64::from(entry.stored) {
        return Err(Error::Length {
            expected: u64::from(entry.stored),
            found: stored.len() as u64,
        });
    }
    let length = entry.length as usize;
    let data = if entry.stored == entry.length {
        stored.to_vec()
    } else {
        let broken = |error: String| Error::Broken(error);
        let decoder = StreamingDecoder::new(stored).map_err(|error| broken(error.to_string()))?;
        let mut data = Vec::with_capacity(length + 1);
        // One byte more than there should be is enough to see that there is too much.
        decoder
            .take(length as u64 + 1)
            .read_to_end(&mut data)
            .map_err(|error| broken(error.to_string()))?;
        data
    };
    if data.len() != length {
        return Err(Error::Length {
            expected: u64::from(entry.length),
            found: data.len() as u64,
        });
    }
    if chunk::hash(&data) != entry.hash {
        return Err(Error::Hash);
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(data: &[u8], stored: &[u8]) -> Chunk {
        Chunk {
            hash: chunk::hash(data),
            length: data.len() as u32,
            pack: 0,
            offset: 0,
            stored: stored.len() as u32,
        }
    }

    fn compressed(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 3).unwrap()
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for data in [&b"abcabcabc".repeat(5000)[..], b"x", &[7; 128 << 10]] {
            for stored in [compressed(data), data.to_vec()] {
                assert_eq!(unpack(&entry(data, &stored), &stored).unwrap(), data);
            }
        }
    }

    #[test]
    fn another_chunk_is_refused() {
        let (one, other) = (vec![1; 9000], vec![2; 9000]);
        let stored = compressed(&other);
        assert_eq!(unpack(&entry(&one, &stored), &stored), Err(Error::Hash));
    }

    #[test]
    fn a_bomb_is_not_unpacked_beyond_the_length_that_was_promised() {
        let bomb = compressed(&vec![0; 64 << 20]);
        let mut entry = entry(&[0; 1000], &bomb);
        entry.length = 100_000;
        assert!(matches!(unpack(&entry, &bomb), Err(Error::Length { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_end_the_unpacking(stored in proptest::collection::vec(any::<u8>(), 0..512), length in 1_u32..1000) {
            let entry = Chunk { hash: [0; 32], length, pack: 0, offset: 0, stored: stored.len() as u32 };
            prop_assert!(unpack(&entry, &stored).is_err());
        }

        #[test]
        fn a_changed_byte_is_refused(at in 0_usize..1000, bit in 0_u8..8) {
            let data: Vec<u8> = (0..20_000_u32).map(|number| ((number * number) >> 7) as u8).collect();
            let mut stored = compressed(&data);
            let entry = entry(&data, &stored);
            let at = at % stored.len();
            stored[at] ^= 1 << bit;
            // A byte that Zstandard does not look at may change; the content may not.
            if let Ok(unpacked) = unpack(&entry, &stored) {
                prop_assert_eq!(unpacked, data);
            }
        }
    }
}
