//! The manifest of a release: a JSON document that names every byte of it by hash.

use std::collections::HashMap;

use semver::Version;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Hash, chunk, hexadecimal, parse_hash};

/// The format that this program writes, and the newest that it reads. The first had no recovery.
pub const FORMAT: u32 = 2;

/// No recovery is larger: it is on the boot partition of each slot, beside the boot file.
pub const LARGEST_RECOVERY: u64 = 32 << 20;

/// No manifest is longer: that of a root of 2 GiB fits.
pub const LONGEST: u64 = 8 << 20;

/// A block of the root, as dm-verity counts them.
const BLOCK: u64 = verity::BLOCK_SIZE as u64;

/// No root is larger: its size is added up from what the manifest says.
const MOST_BLOCKS: u64 = (64 << 30) / BLOCK;

/// A chunk of the root or of a boot file, and where it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Row", try_from = "Row")]
pub struct Chunk {
    /// The SHA-256 of its content.
    pub hash: Hash,
    /// How long its content is.
    pub length: u32,
    /// The pack that holds it, a place in [`Manifest::packs`].
    pub pack: u32,
    /// Where in the pack.
    pub offset: u64,
    /// How many bytes it takes there; as many as its content has when it is not compressed.
    pub stored: u32,
}

/// A chunk as it is written: an array, for there are hundreds.
#[derive(Serialize, Deserialize)]
struct Row(String, u32, u32, u64, u32);

impl From<Chunk> for Row {
    fn from(chunk: Chunk) -> Self {
        Self(
            hexadecimal(&chunk.hash),
            chunk.length,
            chunk.pack,
            chunk.offset,
            chunk.stored,
        )
    }
}

impl TryFrom<Row> for Chunk {
    type Error = String;

    fn try_from(Row(hash, length, pack, offset, stored): Row) -> Result<Self, String> {
        Ok(Self {
            hash: parse_hash(&hash).ok_or_else(|| format!("{hash:?} is not a hash"))?,
            length,
            pack,
            offset,
            stored,
        })
    }
}

/// A file of chunks, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// The SHA-256 of the whole file, which is also its name: see [`Pack::path`].
    pub hash: String,
    /// How long it is.
    pub size: u64,
}

impl Pack {
    /// Where it lies in a repository.
    #[must_use]
    pub fn path(&self) -> String {
        format!("packs/{}.pack", self.hash)
    }
}

/// The root file system, without its hash tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// The root hash of the tree, which whoever writes the root has to arrive at.
    pub hash: String,
    /// The salt of the tree, in hexadecimal, or `-` for none.
    pub salt: String,
    /// How many blocks of 4096 bytes it has.
    pub blocks: u64,
    /// Its content.
    pub chunks: Vec<Chunk>,
}

impl Root {
    /// The root hash as bytes.
    ///
    /// # Panics
    ///
    /// Never on a manifest that was parsed, where it was checked.
    #[must_use]
    pub fn hash(&self) -> Hash {
        parse_hash(&self.hash).expect("a manifest's root hash was checked when it was parsed")
    }

    /// The salt as bytes.
    #[must_use]
    pub fn salt(&self) -> Vec<u8> {
        self.salt
            .as_bytes()
            .chunks(2)
            .map_while(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
            .collect()
    }

    /// How long it is in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blocks * BLOCK
    }
}

/// The boot file for each slot. They differ in their command lines only, so nearly all their chunks
/// are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// For slot a.
    pub a: Vec<Chunk>,
    /// For slot b.
    pub b: Vec<Chunk>,
}

impl Boot {
    /// The one for a slot, `a` or `b`.
    #[must_use]
    pub fn of(&self, slot: &str) -> Option<&[Chunk]> {
        match slot {
            "a" => Some(&self.a),
            "b" => Some(&self.b),
            _ => None,
        }
    }
}

/// A release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The product that it is for, such as `qemu-phone`.
    pub product: String,
    /// Such as `global`.
    pub edition: String,
    /// Such as `0.2.0`.
    pub version: Version,
    /// When it was built, in seconds since 1970.
    pub built: u64,
    /// Whether it was built for development: its console is open to anyone.
    pub development: bool,
    /// What is new, for the owner.
    pub notes: String,
    /// The root.
    pub root: Root,
    /// The boot files.
    pub boot: Boot,
    /// The recovery that stands beside the boot file of either slot; empty in a release without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery: Vec<Chunk>,
    /// The packs that hold the chunks.
    pub packs: Vec<Pack>,
}

/// Why a manifest is refused.
#[derive(Debug, Error)]
pub enum Error {
    /// It is no manifest.
    #[error("the manifest is not of the form that is expected: {0}")]
    Form(#[from] serde_json::Error),
    /// It is one of a later format.
    #[error(
        "the manifest is of format {0}, which this release does not know: a release in between has to be installed first"
    )]
    Later(u32),
    /// It contradicts itself.
    #[error("the manifest contradicts itself: {0}")]
    Contradiction(String),
}

/// Read first, for a later format may look different in everything else.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Manifest {
    /// Reads a manifest and checks that all its parts fit together.
    ///
    /// # Errors
    ///
    /// Fails for what is no whole manifest of a format that is known.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Format { format } = serde_json::from_slice(bytes)?;
        if !(1..=FORMAT).contains(&format) {
            return Err(Error::Later(format));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check().map_err(Error::Contradiction)?;
        Ok(manifest)
    }

    /// The document.
    ///
    /// # Errors
    ///
    /// Fails when it contradicts itself: what would be refused is not written.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        self.check().map_err(Error::Contradiction)?;
        Ok(serde_json::to_vec(self)?)
    }

    fn check(&self) -> Result<(), String> {
        for (what, word) in [("product", &self.product), ("edition", &self.edition)] {
            if !is_label(word) {
                return Err(format!("{word:?} is no name of a {what}"));
            }
        }
        if parse_hash(&self.root.hash).is_none() {
            return Err(format!("{:?} is no root hash", self.root.hash));
        }
        let salt = &self.root.salt;
        if salt != "-"
            && (salt.len() > 512
                || !salt.len().is_multiple_of(2)
                || !salt.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(format!("{salt:?} is no salt"));
        }
        if self.root.blocks == 0 || self.root.blocks > MOST_BLOCKS {
            return Err(format!(
                "{} is no possible number of blocks",
                self.root.blocks
            ));
        }
        for pack in &self.packs {
            if parse_hash(&pack.hash).is_none() {
                return Err(format!("{:?} is no name of a pack", pack.hash));
            }
        }
        let root = self.check_chunks("the root", &self.root.chunks)?;
        if root != self.root.size() {
            return Err(format!(
                "the chunks of the root are {root} bytes, its blocks {}",
                self.root.size()
            ));
        }
        for (slot, chunks) in [("a", &self.boot.a), ("b", &self.boot.b)] {
            if self.check_chunks(&format!("boot file {slot}"), chunks)? == 0 {
                return Err(format!("boot file {slot} is empty"));
            }
        }
        let recovery = self.check_chunks("the recovery", &self.recovery)?;
        if recovery > LARGEST_RECOVERY {
            return Err(format!("the recovery is {recovery} bytes"));
        }
        Ok(())
    }

    /// The length of the chunks together.
    fn check_chunks(&self, what: &str, chunks: &[Chunk]) -> Result<u64, String> {
        let mut total = 0;
        for chunk in chunks {
            let pack = self
                .packs
                .get(chunk.pack as usize)
                .ok_or_else(|| format!("a chunk of {what} is in a pack that is not listed"))?;
            if chunk.length == 0
                || chunk.length as usize > chunk::LARGEST
                || chunk.stored == 0
                || chunk.stored > chunk.length
            {
                return Err(format!("a chunk of {what} has an impossible length"));
            }
            let end = chunk.offset.checked_add(u64::from(chunk.stored));
            if end.is_none_or(|end| end > pack.size) {
                return Err(format!("a chunk of {what} lies outside of its pack"));
            }
            total += u64::from(chunk.length);
        }
        Ok(total)
    }

    /// All chunks that a slot needs, in the order in which they are written.
    pub fn chunks_of<'a>(&'a self, slot: &str) -> impl Iterator<Item = &'a Chunk> + use<'a> {
        self.root
            .chunks
            .iter()
            .chain(self.boot.of(slot).unwrap_or_default())
            .chain(&self.recovery)
    }

    /// All chunks of the boot files and the recovery: what a device keeps beside a root.
    pub fn beside_the_root(&self) -> impl Iterator<Item = &Chunk> {
        self.boot.a.iter().chain(&self.boot.b).chain(&self.recovery)
    }

    /// How many bytes a device without anything would fetch for a slot.
    #[must_use]
    pub fn download_size(&self, slot: &str) -> u64 {
        let distinct: HashMap<_, _> = self
            .chunks_of(slot)
            .map(|chunk| (chunk.hash, u64::from(chunk.stored)))
            .collect();
        distinct.values().sum()
    }
}

/// Lower-case letters, digits and hyphens: what products and editions are called.
#[must_use]
pub fn is_label(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 64
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        let chunk = |length: u32, offset: u64| Chunk {
            hash: [length as u8; 32],
            length,
            pack: 0,
            offset,
            stored: length / 2,
        };
        Manifest {
            format: FORMAT,
            product: "qemu-phone".into(),
            edition: "global".into(),
            version: Version::new(0, 2, 0),
            built: 1_767_225_600,
            development: true,
            notes: "New.".into(),
            root: Root {
                hash: "ab".repeat(32),
                salt: "cdef".into(),
                blocks: 2,
                chunks: vec![chunk(4096, 0), chunk(4096, 0)],
            },
            boot: Boot {
                a: vec![chunk(100, 2048)],
                b: vec![chunk(200, 2098)],
            },
            recovery: vec![chunk(100, 2048)],
            packs: vec![Pack {
                hash: "01".repeat(32),
                size: 2198,
            }],
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let json = manifest().to_json().unwrap();
        assert_eq!(Manifest::parse(&json).unwrap(), manifest());
        assert_eq!(
            manifest().download_size("a"),
            2048 + 50,
            "a chunk twice is one"
        );
        assert_eq!(manifest().root.salt(), [0xcd, 0xef]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let refuse = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            let json = serde_json::to_vec(&manifest).unwrap();
            assert!(
                matches!(Manifest::parse(&json), Err(Error::Contradiction(_))),
                "{manifest:?}"
            );
        };
        refuse(|manifest| manifest.root.blocks = 3);
        refuse(|manifest| manifest.root.blocks = u64::MAX);
        refuse(|manifest| manifest.root.chunks[0].pack = 1);
        refuse(|manifest| manifest.root.chunks[0].offset = u64::MAX);
        refuse(|manifest| manifest.root.chunks[0].stored = 0);
        refuse(|manifest| manifest.root.chunks[0].length = 1 << 30);
        refuse(|manifest| manifest.boot.b.clear());
        refuse(|manifest| manifest.recovery[0].pack = 7);
        refuse(|manifest| {
            let mut chunk = manifest.recovery[0];
            chunk.length = 128 << 10;
            manifest.recovery = vec![chunk; 257];
        });
        refuse(|manifest| manifest.packs[0].hash = "../../etc".into());
        refuse(|manifest| manifest.product = "a/b".into());
        refuse(|manifest| manifest.root.salt = "xyz".into());
    }

    #[test]
    fn a_later_format_is_named_whatever_else_it_has() {
        let error = Manifest::parse(br#"{"format":3,"new":true}"#).unwrap_err();
        assert!(matches!(error, Error::Later(3)), "{error}");
    }

    #[test]
    fn one_of_the_first_format_has_no_recovery() {
        let mut first = manifest();
        first.format = 1;
        first.recovery.clear();
        let json = first.to_json().unwrap();
        assert!(!String::from_utf8_lossy(&json).contains("recovery"));
        assert_eq!(Manifest::parse(&json).unwrap(), first);
    }

    proptest! {
        #[test]
        fn no_bytes_end_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Manifest::parse(&bytes);
        }

        #[test]
        fn no_change_of_a_manifest_ends_the_parser(at: prop::sample::Index, byte: u8) {
            let mut json = manifest().to_json().unwrap();
            let at = at.index(json.len());
            json[at] = byte;
            let _ = Manifest::parse(&json);
        }
    }
}
