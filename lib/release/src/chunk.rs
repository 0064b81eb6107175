//! Cutting data into chunks where its content says so.
//!
//! The sizes are part of the format: a device cuts the root that it runs in the same way as the maker
//! cut the new one, which is how it finds what they have in common.

use std::io::{self, Read};

use fastcdc::v2020::StreamCDC;
use sha2::{Digest as _, Sha256};

use crate::Hash;

/// No chunk is smaller, but for the last.
pub const SMALLEST: usize = 8 << 10;
/// What chunks come to on average.
pub const AVERAGE: usize = 32 << 10;
/// No chunk is larger.
pub const LARGEST: usize = 128 << 10;

/// A chunk of some data.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Where it begins.
    pub offset: u64,
    /// The SHA-256 of its content.
    pub hash: Hash,
    /// Its content.
    pub data: Vec<u8>,
}

/// The chunks of all that `data` has, one after the other.
pub fn cut(data: impl Read) -> impl Iterator<Item = io::Result<Cut>> {
    StreamCDC::new(data, SMALLEST, AVERAGE, LARGEST).map(|chunk| {
        let chunk = chunk.map_err(io::Error::from)?;
        Ok(Cut {
            offset: chunk.offset,
            hash: hash(&chunk.data),
            data: chunk.data,
        })
    })
}

/// The hash that names a chunk.
#[must_use]
pub fn hash(data: &[u8]) -> Hash {
    Sha256::digest(data).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut chance = fastrand::Rng::with_seed(seed);
        (0..length).map(|_| chance.u8(..)).collect()
    }

    fn hashes(data: &[u8]) -> Vec<Hash> {
        cut(data).map(|cut| cut.unwrap().hash).collect()
    }

    #[test]
    fn chunks_are_all_of_the_data_in_order() {
        let data = noise(1 << 20, 1);
        let cuts: Vec<_> = cut(data.as_slice()).map(Result::unwrap).collect();
        let mut joined = Vec::new();
        for chunk in &cuts {
            assert_eq!(chunk.offset, joined.len() as u64);
            assert!(chunk.data.len() <= LARGEST);
            joined.extend_from_slice(&chunk.data);
        }
        assert_eq!(joined, data);
    }

    #[test]
    fn an_insertion_changes_only_the_chunks_around_it() {
        let before = noise(2 << 20, 2);
        let mut after = before.clone();
        after.splice(1_000_000..1_000_000, *b"something new");
        let (before, after) = (hashes(&before), hashes(&after));
        let new = after.iter().filter(|hash| !before.contains(hash)).count();
        assert!(
            new <= 3,
            "{new} of {} chunks are new after an insertion",
            after.len()
        );
    }
}
