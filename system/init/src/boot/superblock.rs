//! The superblock of `/data`, when a power cut tore it.
//!
//! ext4 writes its superblock in place, beside its journal: when it is mounted and unmounted, and now
//! and then. Its 1024 bytes are two sectors, so the power can fail between them, and then the checksum
//! fits neither half and the kernel does not mount what is otherwise whole.
//!
//! Both halves are good, one of them older: what differs between two writes (counts, times, whether
//! there is a journal to replay) stands by itself, and what must not differ can be compared with the
//! copy that ext4 keeps in its second block group and writes again only when it has grown. So a superblock whose
//! checksum does not fit, and which agrees with that copy, gets a checksum that fits. Anything else is
//! damage, and is left as it is.
//!
//! A file system that grows has its new size before that copy has it: it may be the larger one, as far as
//! its partition reaches. All that says how large it is stands in the first sector.

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
const INODES: usize = 0x00;
const BLOCKS: usize = 0x04;
const BLOCKS_HIGH: usize = 0x150;
const BLOCKS_PER_GROUP: usize = 0x20;
const INODES_PER_GROUP: usize = 0x28;
/// Features without which a file system must not be mounted. One of them comes and goes: that there is
/// a journal to replay.
const INCOMPATIBLE: usize = 0x60;
const HAS_TO_RECOVER: u32 = 0x4;
/// And one comes when it grows beyond what was reserved for that: descriptors of groups beside their groups.
const META_GROUPS: u32 = 0x10;
/// Counts of blocks have an upper half.
const WIDE: u32 = 0x80;
/// Features without which it must not be written; metadata with checksums is one.
const READ_ONLY: usize = 0x64;
const HAS_CHECKSUMS: u32 = 0x400;
const CHECKSUM: usize = 0x3fc;

/// What never changes as long as a file system is not made anew: its geometry but for its size, its
/// identifiers, its journal.
const FIXED: [Range<usize>; 7] = [
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
];

type Superblock = [u8; SIZE];

/// How large a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its blocks.
    pub blocks: u64,
    /// The size of one, in bytes.
    pub block: u64,
    /// How many of them a group has.
    pub blocks_in_group: u64,
}

impl Extent {
    /// Its size in bytes.
    pub fn bytes(self) -> u64 {
        self.blocks.saturating_mul(self.block)
    }

    /// What a superblock says of it, if that can be.
    fn of(superblock: &Superblock) -> Option<Self> {
        let block = 1024u64.checked_shl(number(superblock, LOG_BLOCK_SIZE))?;
        let high = match number(superblock, INCOMPATIBLE) & WIDE {
            0 => 0,
            _ => u64::from(number(superblock, BLOCKS_HIGH)),
        };
        let extent = Self {
            blocks: high << 32 | u64::from(number(superblock, BLOCKS)),
            block,
            blocks_in_group: u64::from(number(superblock, BLOCKS_PER_GROUP)),
        };
        // ext4 knows no others.
        ((1024..=1 << 16).contains(&block) && extent.blocks_in_group > 0).then_some(extent)
    }
}

/// How large the file system on `disk` is; none where it is not ours, or its superblock is not whole.
///
/// # Errors
/// When the disk cannot be read.
pub fn extent(disk: &mut (impl Read + Seek)) -> io::Result<Option<Extent>> {
    let superblock = read(disk, START)?;
    let whole = is_ours(&superblock) && number(&superblock, CHECKSUM) == checksum(&superblock);
    Ok(whole.then(|| Extent::of(&superblock)).flatten())
}

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
    let room = disk.seek(SeekFrom::End(0))?;
    if !is_whole || !agree(&superblock, &copy, room) {
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
    let extent = Extent::of(superblock)?;
    let block = u64::from(number(superblock, FIRST_BLOCK)) + extent.blocks_in_group;
    Some(block * extent.block)
}

/// Whether a superblock and its copy are of one file system, on a disk of so many bytes.
fn agree(one: &Superblock, copy: &Superblock, room: u64) -> bool {
    let features = |of| number(of, INCOMPATIBLE) & !(HAS_TO_RECOVER | META_GROUPS);
    features(one) == features(copy)
        && FIXED
            .iter()
            .all(|range| one[range.clone()] == copy[range.clone()])
        && is_grown(one, copy, room)
}

/// Whether a superblock has the size of its copy, or one that it may have grown to.
fn is_grown(one: &Superblock, copy: &Superblock, room: u64) -> bool {
    let (Some(extent), Some(before)) = (Extent::of(one), Extent::of(copy)) else {
        return false;
    };
    let first = u64::from(number(one, FIRST_BLOCK));
    let groups = extent
        .blocks
        .saturating_sub(first)
        .div_ceil(extent.blocks_in_group);
    let inodes = groups.checked_mul(u64::from(number(one, INODES_PER_GROUP)));
    before.blocks <= extent.blocks
        && extent.bytes() <= room
        && inodes == Some(u64::from(number(one, INODES)))
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
    fn a_tear_while_it_grows_is_mended_too() {
        let fresh = disk();
        let old = read(&mut Cursor::new(&fresh), START).unwrap();
        // From 160 to 400 MiB, which are four groups.
        let mut new = next(&old);
        new[BLOCKS..BLOCKS + 4].copy_from_slice(&102_400u32.to_le_bytes());
        let inodes = number(&old, INODES_PER_GROUP) * 4;
        new[INODES..INODES + 4].copy_from_slice(&inodes.to_le_bytes());
        let sum = checksum(&new);
        new[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
        for halves in [torn(&old, &new), torn(&new, &old)] {
            let mut disk = fresh.clone();
            disk.resize(400 << 20, 0);
            disk[1024..2048].copy_from_slice(&halves);
            assert_eq!(mended(&mut disk), Found::Mended);
        }
        // It does not reach beyond its partition, nor is it smaller than it was, nor has it other inodes.
        let wrong = |at: usize, value: u32, size: usize| {
            let mut disk = fresh.clone();
            disk.resize(size, 0);
            let mut superblock = new;
            superblock[at..at + 4].copy_from_slice(&value.to_le_bytes());
            disk[1024..2048].copy_from_slice(&superblock);
            mended(&mut disk)
        };
        assert_eq!(wrong(ERROR_TIME, 1, 400 << 20), Found::Mended);
        assert_eq!(wrong(ERROR_TIME, 1, (400 << 20) - 4096), Found::Other);
        assert_eq!(wrong(BLOCKS, 40_000, 400 << 20), Found::Other);
        assert_eq!(wrong(INODES, inodes + 1, 400 << 20), Found::Other);
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
