//! What a release is.
//!
//! A release is a *manifest* and *packs*. The manifest ([`Manifest`]) says for which product and
//! edition it is, and of which chunks, by hash, the root and the two boot files consist; a pack holds
//! those chunks, compressed, one behind the other. A device that wants the release reads the
//! manifest, takes every chunk that its present root has too from there, and fetches ranges of packs
//! for the rest.
//!
//! Chunks end where their content says so (FastCDC, [`chunk`]), so that what was inserted somewhere
//! changes the chunks around it and no others. The hash tree of the root is not part of a release:
//! whoever writes a root computes it, and compares its root hash with the one on the command line in
//! the boot file ([`boot_file`]).
//!
//! # What it promises
//!
//! - **Nothing counts before its hash was compared.** A chunk that is handed out ([`pack::unpack`]) is
//!   the one that the manifest names.
//! - **A manifest is whole or refused** ([`Manifest::parse`]): sums of lengths, places in packs and
//!   limits are checked before anybody relies on them. Any bytes are refused with a reason, none
//!   with a panic.
//! - **Memory is bounded** by one chunk and the list of chunks.
//!
//! Who may say what is a release, and which one a device is offered: [`repository`], [`wave`].

pub mod boot_file;
pub mod chunk;
pub mod manifest;
pub mod pack;
pub mod repository;
pub mod wave;

pub use manifest::{Boot, Chunk, Manifest, Pack, Root};
pub use semver::Version;
pub use verity::{Hash, hexadecimal};

/// Reads a hash from 64 hexadecimal digits.
#[must_use]
pub fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    // `from_str_radix` takes a sign too.
    (hexadecimal(&hash) == text.to_ascii_lowercase()).then_some(hash)
}
