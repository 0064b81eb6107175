//! The partition table: GPT with `esp-a esp-b root-a root-b data`.
//!
//! Written here so that it is the same bytes every time: identifiers come from hashing names, not
//! from chance. The device gives its disk identifiers of its own when it takes possession of it.

use sha2::{Digest as _, Sha256};

use crate::product::Disk;

/// The size of a sector.
pub const SECTOR: u64 = 512;

/// Partitions begin at multiples of this.
const ALIGNMENT: u64 = 1 << 20;

/// How many entries the table has room for, and how large each is.
const ENTRIES: usize = 128;
const ENTRY_SIZE: usize = 128;

/// Sectors that the table takes at either end: a header, and the entries.
const TABLE_SECTORS: u64 = 1 + (ENTRIES * ENTRY_SIZE) as u64 / SECTOR;

/// A partition's kind, as GPT writes it.
type Guid = [u8; 16];

/// EFI system partition, `c12a7328-f81f-11d2-ba4b-00a0c93ec93b`.
const EFI_SYSTEM: Guid = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// Linux file system data, `0fc63daf-8483-4772-8e79-3d69d8477de4`.
const LINUX: Guid = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// Where a partition is. Both in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name, by which the device finds it.
    pub name: &'static str,
    /// Where it begins.
    pub offset: u64,
    /// How large it is.
    pub size: u64,
    kind: Guid,
}

/// The partitions of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    product: String,
    /// In the order in which they lie.
    pub partitions: Vec<Partition>,
}

impl Layout {
    /// The layout that a product asks for.
    #[must_use]
    pub fn new(product: &str, disk: Disk) -> Self {
        let mut offset = ALIGNMENT;
        let partitions = [
            ("esp-a", disk.boot_slot, EFI_SYSTEM),
            ("esp-b", disk.boot_slot, EFI_SYSTEM),
            ("root-a", disk.root_slot, LINUX),
            ("root-b", disk.root_slot, LINUX),
            ("data", disk.data, LINUX),
        ]
        .map(|(name, size, kind)| {
            let size = size.0.next_multiple_of(ALIGNMENT);
            let partition = Partition {
                name,
                offset,
                size,
                kind,
            };
            offset += size;
            partition
        });
        Self {
            product: product.to_owned(),
            partitions: partitions.to_vec(),
        }
    }

    /// The partition `name`.
    ///
    /// # Panics
    ///
    /// Panics when there is none of that name: the names are ours and fixed.
    #[must_use]
    pub fn partition(&self, name: &str) -> &Partition {
        self.partitions
            .iter()
            .find(|partition| partition.name == name)
            .expect("a partition of the layout")
    }

    /// The size of the whole disk.
    #[must_use]
    pub fn size(&self) -> u64 {
        let end = self
            .partitions
            .last()
            .map_or(0, |partition| partition.offset + partition.size);
        // The second copy of the table lies behind the last partition.
        (end + TABLE_SECTORS * SECTOR).next_multiple_of(ALIGNMENT)
    }

    /// What stands at the beginning of the disk, and what at its end with the offset.
    #[must_use]
    pub fn tables(&self) -> (Vec<u8>, (u64, Vec<u8>)) {
        let entries = self.entries();
        let last = self.size() / SECTOR - 1;
        let second_entries = last - TABLE_SECTORS + 1;

        let mut first = protective_record(last);
        first.extend(self.header(1, last, 2, &entries));
        first.extend(&entries);
        let mut second = entries.clone();
        second.extend(self.header(last, 1, second_entries, &entries));
        (first, (second_entries * SECTOR, second))
    }

    fn entries(&self) -> Vec<u8> {
        let mut table = vec![0; ENTRIES * ENTRY_SIZE];
        for (entry, partition) in table.chunks_exact_mut(ENTRY_SIZE).zip(&self.partitions) {
            entry[..16].copy_from_slice(&partition.kind);
            entry[16..32].copy_from_slice(&identifier(&self.product, partition.name));
            entry[32..40].copy_from_slice(&(partition.offset / SECTOR).to_le_bytes());
            entry[40..48]
                .copy_from_slice(&((partition.offset + partition.size) / SECTOR - 1).to_le_bytes());
            for (place, unit) in entry[56..]
                .chunks_exact_mut(2)
                .zip(partition.name.encode_utf16())
            {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        table
    }

    fn header(
        &self,
        here: u64,
        other: u64,
        entries_at: u64,
        entries: &[u8],
    ) -> [u8; SECTOR as usize] {
        let last = here.max(other);
        let mut header = [0; SECTOR as usize];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&[0, 0, 1, 0]);
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        header[24..32].copy_from_slice(&here.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[40..48].copy_from_slice(&(1 + TABLE_SECTORS).to_le_bytes());
        header[48..56].copy_from_slice(&(last - TABLE_SECTORS).to_le_bytes());
        header[56..72].copy_from_slice(&identifier(&self.product, "disk"));
        header[72..80].copy_from_slice(&entries_at.to_le_bytes());
        header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
        header[84..88].copy_from_slice(&(ENTRY_SIZE as u32).to_le_bytes());
        header[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
        let checksum = crc32(&header[..92]);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header
    }
}

/// An identifier in the form of a random UUID, from what it identifies.
#[must_use]
pub fn identifier(product: &str, what: &str) -> Guid {
    let hash = Sha256::digest(format!("HyperOS {product} {what}"));
    let mut guid: Guid = [0; 16];
    guid.copy_from_slice(&hash[..16]);
    // Version 4, variant 1. GPT writes the first three fields little-endian, so the version is in byte 7.
    guid[7] = (guid[7] & 0x0f) | 0x40;
    guid[8] = (guid[8] & 0x3f) | 0x80;
    guid
}

/// An identifier as text, for tools that ask for it so.
#[must_use]
pub fn identifier_text(guid: &Guid) -> String {
    let field = |range: std::ops::Range<usize>, reversed: bool| {
        let mut bytes = guid[range].to_vec();
        if reversed {
            bytes.reverse();
        }
        verity::hexadecimal(&bytes)
    };
    [
        field(0..4, true),
        field(4..6, true),
        field(6..8, true),
        field(8..10, false),
        field(10..16, false),
    ]
    .join("-")
}

/// The first sector, which tells programs that know no GPT that the disk is in use.
fn protective_record(last_sector: u64) -> Vec<u8> {
    let mut record = vec![0; SECTOR as usize];
    record[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    record[454..458].copy_from_slice(&1_u32.to_le_bytes());
    record[458..462].copy_from_slice(&u32::try_from(last_sector).unwrap_or(u32::MAX).to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    record
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
    use std::{fs::File, os::unix::fs::FileExt as _};

    use super::*;
    use crate::{process, size::Size};

    fn layout() -> Layout {
        let mebibyte = |count: u64| Size(count << 20);
        Layout::new(
            "test",
            Disk {
                boot_slot: mebibyte(3),
                root_slot: mebibyte(5),
                data: mebibyte(7),
            },
        )
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn partitions_do_not_overlap_and_are_aligned() {
        let layout = layout();
        for pair in layout.partitions.windows(2) {
            assert_eq!(pair[0].offset + pair[0].size, pair[1].offset);
            assert_eq!(pair[1].offset % ALIGNMENT, 0);
        }
        assert_eq!(layout.partition("data").size, 7 << 20);
    }

    #[test]
    fn sfdisk_accepts_the_table_and_reads_it_as_meant() {
        let layout = layout();
        let disk = tempfile::NamedTempFile::new().unwrap();
        let file = File::options().write(true).open(disk.path()).unwrap();
        file.set_len(layout.size()).unwrap();
        let (first, (offset, second)) = layout.tables();
        file.write_all_at(&first, 0).unwrap();
        file.write_all_at(&second, offset).unwrap();

        let verdict =
            process::output(process::tool("sfdisk").arg("--verify").arg(disk.path())).unwrap();
        assert!(verdict.contains("No errors detected"), "{verdict}");
        let dump = process::output(process::tool("sfdisk").arg("--dump").arg(disk.path())).unwrap();
        for partition in &layout.partitions {
            assert!(
                dump.contains(&format!("name=\"{}\"", partition.name)),
                "{dump}"
            );
            assert!(
                dump.contains(&format!(
                    "start={:12}, size={:12}",
                    partition.offset / SECTOR,
                    partition.size / SECTOR
                )),
                "{dump}"
            );
        }
        assert!(
            dump.to_lowercase()
                .contains(&identifier_text(&identifier("test", "root-a"))),
            "{dump}"
        );
    }
}
