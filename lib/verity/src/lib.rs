//! Builds the hash tree that lets the kernel's dm-verity refuse a block that was changed.
//!
//! A root slot holds a file system followed directly by this tree. Every block of the file system
//! is hashed; the hashes are packed into blocks, which are hashed in turn, until one block is
//! left: its hash is the *root hash*, which stands on the kernel's command line. Whoever knows the
//! root hash needs to trust nothing else that is on the disk.
//!
//! The format is the kernel's own, version 1, without a superblock: SHA-256, data and hash blocks
//! of 4096 bytes, the salt hashed before the block. `veritysetup verify --no-superblock` accepts
//! it, and the tests hold the two side by side. The same code runs where an image is built and on
//! the device, whose updater computes the tree of a new slot rather than downloading it.
//!
//! The tree is never held in memory as a whole beyond its hashes: 32 bytes for every 4096.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

/// The size of a data block and of a hash block, in bytes.
pub const BLOCK_SIZE: usize = 4096;

/// The size of a hash, in bytes.
pub const HASH_SIZE: usize = 32;

/// How many hashes one hash block holds.
const HASHES_PER_BLOCK: usize = BLOCK_SIZE / HASH_SIZE;

/// A SHA-256 hash.
pub type Hash = [u8; HASH_SIZE];

/// The hash tree over some data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The hash of the topmost block: what has to be trusted.
    pub root_hash: Hash,
    /// How many blocks of data the tree covers.
    pub data_blocks: u64,
    /// The hashes of each level, from the one over the data up to the one that fits one block.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Reads `data` to its end and hashes it.
    ///
    /// # Errors
    ///
    /// Fails when reading fails, when there is no data, or when its length is not a multiple of
    /// [`BLOCK_SIZE`]: a file system that ends within a block is not complete.
    pub fn build(mut data: impl Read, salt: &[u8]) -> io::Result<Self> {
        let prefix = Sha256::new_with_prefix(salt);
        let hash = |block: &[u8]| -> Hash { prefix.clone().chain_update(block).finalize().into() };

        let mut level = Vec::new();
        let mut block = [0; BLOCK_SIZE];
        while fill(&mut data, &mut block)? {
            level.push(hash(&block));
        }
        if level.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "there is no data to hash",
            ));
        }
        let data_blocks = level.len() as u64;

        let mut levels = Vec::new();
        while level.len() > 1 {
            let above = level
                .chunks(HASHES_PER_BLOCK)
                .map(|hashes| hash(&hash_block(hashes)))
                .collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        Ok(Self {
            root_hash: level[0],
            data_blocks,
            levels,
        })
    }

    /// How many blocks [`Tree::write`] writes.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.levels
            .iter()
            .map(|level| level.len().div_ceil(HASHES_PER_BLOCK) as u64)
            .sum()
    }

    /// Writes the tree in the order in which dm-verity expects it: the topmost level first.
    ///
    /// # Errors
    ///
    /// Fails when writing fails.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        for level in self.levels.iter().rev() {
            for hashes in level.chunks(HASHES_PER_BLOCK) {
                out.write_all(&hash_block(hashes))?;
            }
        }
        out.flush()
    }
}

/// The hash block that holds `hashes`, the rest of it zero.
fn hash_block(hashes: &[Hash]) -> [u8; BLOCK_SIZE] {
    let mut block = [0; BLOCK_SIZE];
    for (place, hash) in block.chunks_exact_mut(HASH_SIZE).zip(hashes) {
        place.copy_from_slice(hash);
    }
    block
}

/// Fills `block`; false when the data ended before it.
fn fill(data: &mut impl Read, block: &mut [u8; BLOCK_SIZE]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < BLOCK_SIZE {
        match data.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the data ends {filled} bytes into a block of {BLOCK_SIZE}"),
                ));
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Lower-case hexadecimal, as the kernel's command line and dm-verity's table want it.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
