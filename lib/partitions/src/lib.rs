//! The partition table of a device's disk: GPT with `esp-a esp-b root-a root-b data`.
//!
//! 1. [`Layout`] says where the partitions of a new disk lie. Images and installations are made by it.
//! 2. [`Table`] is a table as it stands on a disk, and how it is changed there: `data` grows with the disk.
//! 3. [`sparse`] is how the empty file system of `data` travels.
//!
//! # Promises
//!
//! - **A table that was whole stays whole**: a change is there or not, wherever the power fails, as long
//!   as a sector of 512 bytes is written whole or not at all. See [`Table::write`].
//! - **What is not understood is not written**: a table with another geometry than ours is an error.
//!
//! Disks whose blocks are larger than 512 bytes are not for this crate.

mod layout;
pub mod sparse;
mod table;

pub use layout::{Layout, NAMES, Partition, Sizes};
pub use table::{Disk, Entry, Error, Table};

/// What GPT counts in, in bytes.
pub const SECTOR: u64 = 512;

/// Partitions begin at multiples of this, in bytes.
pub const ALIGNMENT: u64 = 1 << 20;

/// How many entries the table has room for, and how large each is.
const ENTRIES: usize = 128;
const ENTRY_SIZE: usize = 128;

/// Sectors that the entries take.
const ENTRY_SECTORS: u64 = (ENTRIES * ENTRY_SIZE) as u64 / SECTOR;

/// Sectors that the table takes at either end: a header, and the entries.
const TABLE_SECTORS: u64 = 1 + ENTRY_SECTORS;

/// An identifier, as GPT writes it.
pub type Guid = [u8; 16];

/// The kind of an EFI system partition, `c12a7328-f81f-11d2-ba4b-00a0c93ec93b`.
pub const EFI_SYSTEM: Guid = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// The kind of Linux file system data, `0fc63daf-8483-4772-8e79-3d69d8477de4`.
pub const LINUX: Guid = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// Makes 16 bytes an identifier of the kind that comes from chance: version 4, variant 1.
#[must_use]
pub fn identifier(bytes: [u8; 16]) -> Guid {
    let mut guid = bytes;
    // GPT writes the first three fields little-endian, so the version is in byte 7.
    guid[7] = (guid[7] & 0x0f) | 0x40;
    guid[8] = (guid[8] & 0x3f) | 0x80;
    guid
}

/// The checksum of GPT: CRC-32 as in Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |mut checksum, &byte| {
        checksum ^= u32::from(byte);
        for _ in 0..8 {
            checksum = (checksum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(checksum & 1));
        }
        checksum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
