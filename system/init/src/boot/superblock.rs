//! The superblock of `/data`, when a power cut tore it.
//!
//! ext4 writes its superblock in place, beside its journal: when it is mounted and unmounted, and now
//! and then. Its 1024 bytes are two sectors, so the power can fail between them, and then the checksum
//! fits neither half and the kernel does not mount what is otherwise whole.
//!
//! Both halves are good, one of them older: what differs between two writes (counts, times, whether
//! there is a journal to replay) stands by itself, and what must not differ can be compared with the
//! copy that ext4 keeps in its second block group and never writes again. So a superblock whose
//! checksum does not fit, and which agrees with that copy, gets a checksum that fits. Anything else is
//! damage, and is left as it is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Where it begins, and how long it is.
const START: u64 = 1024;
const SIZE: usize = 1024;

const MAGIC: (usize, [u8; 2]) = (0x38, [0x53, 0xef]);
const LOG_BLOCK_SIZE: usize = 0x18;
const FIRST_BLOCK: usize = 0x14;
const BLOCKS_PER_GROUP: usize = 0x20;
/// Features without which a file system must not be mounted. One of them comes and goes: that there is
/// a journal to replay.
const INCOMPATIBLE: usize = 0x60;
const HAS_TO_RECOVER: u32 = 0x4;
/// Features without which it must not be written; metadata with checksums is one.
const READ_ONLY: usize = 0x64;
const HAS_CHECKSUMS: u32 = 0x400;
const CHECKSUM: usize = 0x3fc;

/// What never changes as long as a file system is not made anew: its geometry, its identifiers, its
/// journal.
const FIXED: [Range<usize>; 9] = [
    // Counts of inodes and blocks.
    0x00..0x08,
    // First block, sizes of blocks and clusters, blocks, clusters and inodes of a group.
    0x14..0x2c,
    MAGIC.0..0x3a,
    // Revision; the first inode and the size of an inode.
    0x4c..0x50,
    0x54..0x5a,
    // Identifier.
    0x68..0x78,
    // The journal's inode and its identifier.
    0xd0..0xe8,
    // Hash seed, size of group descriptors.
    0xec..0x100,
    // The upper half of the count of blocks.
    0x150..0x154,
];

type Superblock = [u8; SIZE];

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A superblock as it should be, or one without a checksum.
    Whole,
    /// It was torn, and is put together again.
    Mended,
    /// Neither: not for this module.
    Other,
}

/// Puts the superblock of the file system on `disk` together if a power cut tore it.
///
/// # Errors
/// When the disk cannot be read or written.
pub fn mend(disk: &Path) -> Result<Found> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(disk)
        .with_context(|| format!("opening {}", disk.display()))?;
    let mut mended = || {
        let found = mend_in(&mut file)?;
        if found == Found::Mended {
            file.sync_all()?;
        }
        io::Result::Ok(found)
    };
    mended().with_context(|| format!("mending the superblock of {}", disk.display()))
}

fn mend_in(disk: &mut (impl Read + Write + Seek)) -> io::Result<Found> {
    let mut superblock = read(disk, START)?;
    if !is_ours(&superblock) {
        return Ok(Found::Other);
    }
    if number(&superblock, CHECKSUM) == checksum(&superblock) {
        return Ok(Found::Whole);
    }
    let Some(place) = copy_of(&superblock) else {
        return Ok(Found::Other);
    };
    let copy = match read(disk, place) {
        // Smaller than one group: there is no copy.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Found::Other),
        copy => copy?,
    };
    let is_whole = is_ours(&copy) && number(&copy, CHECKSUM) == checksum(&copy);
    if !is_whole || !agree(&superblock, &copy) {
        return Ok(Found::Other);
    }
    let sum = checksum(&superblock);
    superblock[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    disk.seek(SeekFrom::Start(START))?;
    disk.write_all(&superblock)?;
    Ok(Found::Mended)
}

fn read(disk: &mut (impl Read + Seek), at: u64) -> io::Result<Superblock> {
    let mut superblock = [0; SIZE];
    disk.seek(SeekFrom::Start(at))?;
    disk.read_exact(&mut superblock)?;
    Ok(superblock)
}

/// Whether it says that it is one of ext4 with checksums.
fn is_ours(superblock: &Superblock) -> bool {
    superblock[MAGIC.0..].starts_with(&MAGIC.1)
        && number(superblock, READ_ONLY) & HAS_CHECKSUMS != 0
}

/// Where the copy in the second block group is.
fn copy_of(superblock: &Superblock) -> Option<u64> {
    let block_size = 1024u64.checked_shl(number(superblock, LOG_BLOCK_SIZE))?;
    let block = u64::from(number(superblock, FIRST_BLOCK))
        + u64::from(number(superblock, BLOCKS_PER_GROUP));
    // ext4 knows no larger blocks.
    (block_size <= 1 << 16).then_some(block * block_size)
}

fn agree(one: &Superblock, other: &Superblock) -> bool {
    let features = |of| number(of, INCOMPATIBLE) & !HAS_TO_RECOVER;
    features(one) == features(other)
        && FIXED
            .iter()
            .all(|range| one[range.clone()] == other[range.clone()])
}

fn number(superblock: &Superblock, at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&superblock[at..at + 4]);
    u32::from_le_bytes(bytes)
}

/// CRC-32C of all before it, as ext4 takes it: begun with ones and not inverted. A kilobyte at a start
/// needs no table.
fn checksum(superblock: &Superblock) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    superblock[..CHECKSUM].iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(sum & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;
    use std::process::Command;

    const FREE_BLOCKS: usize = 0x0c;
    const MOUNTED: usize = 0x2c;
    /// In the second sector: the first error that was seen.
    const ERROR_TIME: usize = 0x1cc;

    /// A file system of two groups, made by the usual tool.
    fn disk() -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(160 << 20).unwrap();
        let made = Command::new("/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096"])
            .arg(file.path())
            .status()
            .unwrap();
        assert!(made.success());
        std::fs::read(file.path()).unwrap()
    }

    /// The next superblock that the kernel writes.
    fn next(superblock: &Superblock) -> Superblock {
        let mut next = *superblock;
        next[FREE_BLOCKS] ^= 0x55;
        next[MOUNTED] ^= 3;
        next[INCOMPATIBLE] |= 4;
        next[ERROR_TIME + 0x40] ^= 0x77;
        let sum = checksum(&next);
        next[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
        next
    }

    fn torn(one: &Superblock, other: &Superblock) -> Superblock {
        let mut torn = *one;
        torn[512..].copy_from_slice(&other[512..]);
        torn
    }

    fn mended(disk: &mut [u8]) -> Found {
        mend_in(&mut Cursor::new(disk)).unwrap()
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        let mut disk = disk();
        let before = disk.clone();
        assert_eq!(mended(&mut disk), Found::Whole);
        assert!(disk == before);
    }

    #[test]
    fn a_tear_is_mended_whichever_half_is_the_older() {
        let fresh = disk();
        let old = read(&mut Cursor::new(&fresh), START).unwrap();
        let new = next(&old);
        for halves in [torn(&old, &new), torn(&new, &old)] {
            let mut disk = fresh.clone();
            disk[1024..2048].copy_from_slice(&halves);
            assert_eq!(mended(&mut disk), Found::Mended);
            assert_eq!(mended(&mut disk), Found::Whole);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &disk).unwrap();
            let dumped = Command::new("/sbin/dumpe2fs")
                .arg("-h")
                .arg(file.path())
                .output()
                .unwrap();
            assert!(dumped.status.success(), "{dumped:?}");
        }
    }

    #[test]
    fn another_geometry_or_another_file_system_is_damage() {
        let fresh = disk();
        for at in [0x04, 0x18, 0x20, 0x60, 0x68, 0xe0, 0xfe] {
            let mut disk = fresh.clone();
            disk[1024 + at] ^= 1;
            let before = disk.clone();
            assert_eq!(mended(&mut disk), Found::Other, "{at:#x}");
            assert!(disk == before, "{at:#x}");
        }
        // Without a copy that is whole there is nothing to compare with.
        let mut disk = fresh;
        disk[1024 + FREE_BLOCKS] ^= 1;
        disk[(128 << 20) + 0x68] ^= 1;
        assert_eq!(mended(&mut disk), Found::Other);
    }

    #[test]
    fn a_file_system_without_a_second_group_is_left_alone() {
        let mut disk = disk();
        disk.truncate(100 << 20);
        disk[1024 + FREE_BLOCKS] ^= 1;
        assert_eq!(mended(&mut disk), Found::Other);
    }

    proptest! {
        #[test]
        fn any_bytes_are_left_alone(bytes in proptest::collection::vec(any::<u8>(), 2048..4096)) {
            let mut disk = bytes.clone();
            prop_assert_eq!(mended(&mut disk), Found::Other);
            prop_assert_eq!(disk, bytes);
        }
    }
}
