//! A table as it stands on a disk.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;

use thiserror::Error;

use crate::{ALIGNMENT, ENTRIES, ENTRY_SECTORS, ENTRY_SIZE, Guid, SECTOR, TABLE_SECTORS, crc32};

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// How much of a header says something.
const HEADER: usize = 92;
/// Where the first header is.
const FIRST: u64 = 1;
/// Where the entries of the first copy may stand: either is used while the other is written.
const PLACES: [u64; 2] = [2, 2 + ENTRY_SECTORS];

type Sector = [u8; SECTOR as usize];

/// What a table is read from and written to.
pub trait Disk {
    /// Fills `to` with what begins at a byte.
    ///
    /// # Errors
    /// When the disk does not give it.
    fn read(&self, to: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes to where a byte is.
    ///
    /// # Errors
    /// When the disk does not take it.
    fn write(&mut self, from: &[u8], at: u64) -> io::Result<()>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// When the disk says that it is not.
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn read(&self, to: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(to, at)
    }

    fn write(&mut self, from: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(from, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Why a table was not read or written.
#[derive(Debug, Error)]
pub enum Error {
    /// The disk did not do what it was asked for.
    #[error("{doing}: {source}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is none, or one that this crate does not write.
    #[error("its partition table is not one of this system: {0}")]
    Other(&'static str),
}

/// A partition, as a table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its first sector and its last.
    pub sectors: RangeInclusive<u64>,
}

/// The table of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    disk: Guid,
    /// The sectors that the disk has, as the table knows it.
    size: u64,
    /// The first sector that a partition may have.
    first_usable: u64,
    /// Where the entries of the first copy stand on the disk; none of a table that is only being made.
    place: Option<u64>,
    entries: Vec<u8>,
}

impl Table {
    /// One without partitions, of a disk with so many sectors.
    #[must_use]
    pub fn empty(disk: Guid, size: u64) -> Self {
        Self {
            disk,
            size,
            first_usable: 1 + TABLE_SECTORS,
            place: None,
            entries: vec![0; ENTRIES * ENTRY_SIZE],
        }
    }

    /// Adds a partition.
    ///
    /// # Panics
    ///
    /// Panics when the table is full, or the name is longer than 36 characters.
    pub fn add(&mut self, name: &str, kind: Guid, identifier: Guid, sectors: RangeInclusive<u64>) {
        let entry = self
            .entries
            .chunks_exact_mut(ENTRY_SIZE)
            .find(|entry| entry[..16] == [0; 16])
            .expect("a table of 128 partitions");
        entry[..16].copy_from_slice(&kind);
        entry[16..32].copy_from_slice(&identifier);
        entry[32..40].copy_from_slice(&sectors.start().to_le_bytes());
        entry[40..48].copy_from_slice(&sectors.end().to_le_bytes());
        write_name(entry, name);
    }

    /// Reads the first copy of the table of a disk, which is the one that the kernel goes by.
    ///
    /// # Errors
    /// When the disk cannot be read, or has no whole table of this geometry.
    pub fn read(disk: &impl Disk) -> Result<Self, Error> {
        let doing = |source| Error::Disk {
            doing: "reading the partition table",
            source,
        };
        let mut header: Sector = [0; SECTOR as usize];
        disk.read(&mut header, FIRST * SECTOR).map_err(doing)?;
        if &header[..8] != SIGNATURE || u32_at(&header, 12) as usize != HEADER {
            return Err(Error::Other("it is no GPT"));
        }
        let sum = u32_at(&header, 16);
        header[16..20].fill(0);
        if sum != crc32(&header[..HEADER]) || u64_at(&header, 24) != FIRST {
            return Err(Error::Other("its header is damaged"));
        }
        if u32_at(&header, 80) as usize != ENTRIES || u32_at(&header, 84) as usize != ENTRY_SIZE {
            return Err(Error::Other("it has another number of entries"));
        }
        let place = u64_at(&header, 72);
        let at = place.checked_mul(SECTOR);
        let at = at.ok_or(Error::Other("its entries lie outside of the disk"))?;
        let mut entries = vec![0; ENTRIES * ENTRY_SIZE];
        disk.read(&mut entries, at).map_err(doing)?;
        if crc32(&entries) != u32_at(&header, 88) {
            return Err(Error::Other("its entries are damaged"));
        }
        let size = u64_at(&header, 32).checked_add(1);
        let mut identifier = Guid::default();
        identifier.copy_from_slice(&header[56..72]);
        Ok(Self {
            disk: identifier,
            size: size.ok_or(Error::Other("it has no second copy"))?,
            first_usable: u64_at(&header, 40),
            place: Some(place),
            entries,
        })
    }

    /// The partitions, by their numbers.
    #[must_use]
    pub fn partitions(&self) -> Vec<Entry> {
        (1..)
            .zip(self.entries.chunks_exact(ENTRY_SIZE))
            .filter(|(_, entry)| entry[..16] != [0; 16])
            .map(|(number, entry)| Entry {
                number,
                name: name_of(entry),
                sectors: u64_at(entry, 32)..=u64_at(entry, 40),
            })
            .collect()
    }

    /// The only partition of that name.
    #[must_use]
    pub fn partition(&self, name: &str) -> Option<Entry> {
        let mut named = self.partitions().into_iter().filter(|one| one.name == name);
        let one = named.next()?;
        named.next().is_none().then_some(one)
    }

    /// Gives the partition `name`, which has to be the last on the disk, all that there is behind it on a disk
    /// of `size` sectors. True when it is larger now; a disk that is no larger, or smaller, changes nothing.
    pub fn grow(&mut self, name: &str, size: u64) -> bool {
        let (partitions, Some(grown)) = (self.partitions(), self.partition(name)) else {
            return false;
        };
        let others = partitions.iter().filter(|one| one.number != grown.number);
        let end = *grown.sectors.end();
        if others
            .map(|one| *one.sectors.end())
            .any(|other| other >= end)
        {
            return false;
        }
        let aligned = ALIGNMENT / SECTOR;
        let room = size.saturating_sub(TABLE_SECTORS) / aligned * aligned;
        if size < self.size || room <= end + 1 {
            return false;
        }
        self.size = size;
        let at = (grown.number as usize - 1) * ENTRY_SIZE;
        self.entries[at + 40..at + 48].copy_from_slice(&(room - 1).to_le_bytes());
        true
    }

    /// Calls the partition `from` by another name. False where there is none.
    ///
    /// # Panics
    ///
    /// Panics when the name is longer than 36 characters.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(partition) = self.partition(from) else {
            return false;
        };
        let at = (partition.number as usize - 1) * ENTRY_SIZE;
        write_name(&mut self.entries[at..at + ENTRY_SIZE], to);
        true
    }

    /// Writes the table to its disk, in such an order that there is a whole one at every moment:
    ///
    /// 1. the second copy, to the end of the disk: nothing else is there, and the first copy does not need it;
    /// 2. the entries of the first copy, to where those that count do *not* stand;
    /// 3. its header, one sector, which says where the entries are and what they sum up to: from here on the new
    ///    table counts;
    /// 4. the protective record, which says how large the disk is to programs that know no GPT.
    ///
    /// The kernel reads the first copy alone, and firmware mends a second one that does not agree with it.
    ///
    /// # Errors
    /// When the disk fails, or has a partition where the table has to be.
    pub fn write(&mut self, disk: &mut impl Disk) -> Result<(), Error> {
        let doing = |source| Error::Disk {
            doing: "writing the partition table",
            source,
        };
        let place = match self.place {
            Some(place) if place == PLACES[0] => PLACES[1],
            _ => PLACES[0],
        };
        let begin = place + ENTRY_SECTORS;
        let partitions = self.partitions();
        if partitions.iter().any(|one| *one.sectors.start() < begin) {
            return Err(Error::Other("a partition begins where it has to be"));
        }
        self.first_usable = self.first_usable.max(begin);
        let last = self.size - 1;
        let second = last - ENTRY_SECTORS;
        let mut copy = self.entries.clone();
        copy.extend(self.header(last, FIRST, second));
        disk.write(&copy, second * SECTOR)
            .and_then(|()| disk.sync())
            .and_then(|()| disk.write(&self.entries, place * SECTOR))
            .and_then(|()| disk.sync())
            .and_then(|()| disk.write(&self.header(FIRST, last, place), FIRST * SECTOR))
            .and_then(|()| disk.sync())
            .map_err(doing)?;
        self.place = Some(place);
        disk.write(&protective_record(last), 0)
            .and_then(|()| disk.sync())
            .map_err(doing)
    }

    fn header(&self, here: u64, other: u64, entries_at: u64) -> Sector {
        let last = here.max(other);
        let mut header: Sector = [0; SECTOR as usize];
        header[..8].copy_from_slice(SIGNATURE);
        header[8..12].copy_from_slice(&[0, 0, 1, 0]);
        header[12..16].copy_from_slice(&(HEADER as u32).to_le_bytes());
        header[24..32].copy_from_slice(&here.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[40..48].copy_from_slice(&self.first_usable.to_le_bytes());
        header[48..56].copy_from_slice(&(last - TABLE_SECTORS).to_le_bytes());
        header[56..72].copy_from_slice(&self.disk);
        header[72..80].copy_from_slice(&entries_at.to_le_bytes());
        header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
        header[84..88].copy_from_slice(&(ENTRY_SIZE as u32).to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&self.entries).to_le_bytes());
        let checksum = crc32(&header[..HEADER]);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header
    }
}

fn write_name(entry: &mut [u8], name: &str) {
    let units: Vec<u16> = name.encode_utf16().collect();
    assert!(units.len() <= (ENTRY_SIZE - 56) / 2, "{name} is too long");
    entry[56..].fill(0);
    for (place, unit) in entry[56..].chunks_exact_mut(2).zip(units) {
        place.copy_from_slice(&unit.to_le_bytes());
    }
}

fn name_of(entry: &[u8]) -> String {
    let units = entry[56..]
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// The first sector, which tells programs that know no GPT that the disk is in use.
fn protective_record(last_sector: u64) -> Sector {
    let mut record: Sector = [0; SECTOR as usize];
    record[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    record[454..458].copy_from_slice(&1_u32.to_le_bytes());
    record[458..462].copy_from_slice(&u32::try_from(last_sector).unwrap_or(u32::MAX).to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    record
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Layout, Sizes};

    const MIB: u64 = 1 << 20;

    fn layout() -> Layout {
        Layout::new(Sizes {
            boot_slot: MIB,
            root_slot: MIB,
            data: 2 * MIB,
        })
    }

    /// Every identifier is the first letters of what it is of.
    fn table() -> Table {
        layout().table(|name| {
            let mut guid = Guid::default();
            guid[..name.len()].copy_from_slice(name.as_bytes());
            guid
        })
    }

    /// A disk in memory that notes what was written since it was last made durable.
    #[derive(Clone)]
    struct Memory {
        bytes: Vec<u8>,
        durable: Vec<u8>,
        /// Sectors, by their place in bytes.
        pending: Vec<(usize, Sector)>,
        /// What the disk may hold after a power cut, as far as `chance` says.
        after_cuts: Vec<Vec<u8>>,
        chance: Vec<bool>,
    }

    impl Memory {
        fn new(size: u64) -> Self {
            let bytes = vec![0; size as usize];
            Self {
                durable: bytes.clone(),
                bytes,
                pending: Vec::new(),
                after_cuts: Vec::new(),
                chance: Vec::new(),
            }
        }

        fn resize(&mut self, size: u64) {
            self.bytes.resize(size as usize, 0);
            self.durable.resize(size as usize, 0);
        }

        fn sectors(&self) -> u64 {
            self.bytes.len() as u64 / SECTOR
        }

        /// Of what is not durable any part may be there.
        fn cut(&mut self) {
            let mut torn = self.durable.clone();
            for (number, (at, sector)) in self.pending.iter().enumerate() {
                let chance = self.chance.get(number % self.chance.len().max(1));
                if chance.copied().unwrap_or_default() {
                    torn[*at..at + sector.len()].copy_from_slice(sector);
                }
            }
            self.after_cuts.push(torn);
        }
    }

    impl Disk for Memory {
        fn read(&self, to: &mut [u8], at: u64) -> io::Result<()> {
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let end = at.checked_add(to.len());
            let from = end.and_then(|end| self.bytes.get(at..end));
            to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn write(&mut self, from: &[u8], at: u64) -> io::Result<()> {
            let at = at as usize;
            self.bytes[at..at + from.len()].copy_from_slice(from);
            for (number, sector) in from.as_chunks().0.iter().enumerate() {
                self.pending.push((at + number * sector.len(), *sector));
            }
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            self.cut();
            self.pending.clear();
            self.durable.clone_from(&self.bytes);
            Ok(())
        }
    }

    fn written() -> Memory {
        let mut disk = Memory::new(layout().size());
        table().write(&mut disk).unwrap();
        disk
    }

    #[test]
    fn what_was_written_is_read() {
        let disk = written();
        let read = Table::read(&disk).unwrap();
        let layout = layout();
        assert_eq!(read.partitions().len(), 5);
        for (entry, partition) in read.partitions().iter().zip(&layout.partitions) {
            assert_eq!(entry.name, partition.name);
            let first = partition.offset / SECTOR;
            let last = first + partition.size / SECTOR - 1;
            assert_eq!(entry.sectors, first..=last);
        }
        assert_eq!(read.partition("data").unwrap().number, 5);
        assert_eq!(read.partition("other"), None);
    }

    #[test]
    fn data_grows_to_the_end_of_a_larger_disk_and_only_then() {
        let mut disk = written();
        let mut table = Table::read(&disk).unwrap();
        let before = table.clone();
        let data = |table: &Table| table.partition("data").unwrap().sectors;
        // As large as it was made, smaller, and larger by less than the second copy and a partition's step take.
        let size = disk.sectors();
        for size in [size, size - 1, 0, size + 32] {
            assert!(!table.grow("data", size), "{size}");
            assert_eq!(table, before);
        }
        // What is not the last would grow into another.
        assert!(!table.grow("root-b", size + 100_000));
        assert!(!table.grow("nothing", size + 100_000));
        disk.resize(100 * MIB + 1024);
        assert!(table.grow("data", disk.sectors()));
        assert_eq!(data(&table).start(), data(&before).start());
        assert_eq!(data(&table).end() + 1, 99 * MIB / SECTOR);
        table.write(&mut disk).unwrap();
        let mut read = Table::read(&disk).unwrap();
        assert_eq!(read, table);
        assert!(!read.grow("data", disk.sectors()));
        // And once more: the entries go back to where they were first.
        disk.resize(200 * MIB);
        assert!(read.grow("data", disk.sectors()));
        read.write(&mut disk).unwrap();
        assert_eq!(
            *data(&Table::read(&disk).unwrap()).end() + 1,
            199 * MIB / SECTOR
        );
    }

    #[test]
    fn a_partition_gets_another_name() {
        let mut table = table();
        assert!(table.rename("data", "something else"));
        assert!(!table.rename("data", "else"));
        assert_eq!(table.partition("data"), None);
        assert!(table.rename("something else", "data"));
        assert_eq!(table, self::table());
    }

    #[test]
    fn nothing_is_written_over_a_partition() {
        let mut disk = written();
        let mut table = Table::empty([1; 16], disk.sectors());
        table.add("early", crate::LINUX, [2; 16], 34..=60);
        table.write(&mut disk).unwrap();
        // There is no second place for the entries.
        let mut table = Table::read(&disk).unwrap();
        let before = disk.bytes.clone();
        table.write(&mut disk).unwrap_err();
        assert!(disk.bytes == before);
    }

    #[test]
    fn sfdisk_takes_the_table_and_what_became_of_it() {
        let sfdisk = |argument: &str, disk: &std::path::Path| {
            let output = std::process::Command::new("/sbin/sfdisk")
                .arg(argument)
                .arg(disk)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let disk = tempfile::NamedTempFile::new().unwrap();
        let mut file = disk.reopen().unwrap();
        file.set_len(layout().size()).unwrap();
        table().write(&mut file).unwrap();
        for size in [layout().size(), 3 << 30, 5 << 40] {
            file.set_len(size).unwrap();
            let mut table = Table::read(&file).unwrap();
            assert_eq!(table.grow("data", size / SECTOR), size > layout().size());
            table.write(&mut file).unwrap();
            let verdict = sfdisk("--verify", disk.path());
            assert!(verdict.contains("No errors detected"), "{verdict}");
            let dump = sfdisk("--dump", disk.path());
            for entry in table.partitions() {
                let (first, last) = entry.sectors.into_inner();
                let line = format!("start={first:12}, size={:12}", last - first + 1);
                assert!(dump.contains(&line), "{dump}");
                assert!(dump.contains(&format!("name=\"{}\"", entry.name)), "{dump}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Wherever the power fails, the disk has the table from before or the new one, and growing is
        /// begun anew with the same end.
        #[test]
        fn a_power_cut_leaves_the_one_table_or_the_other(
            chance in proptest::collection::vec(any::<bool>(), 1..80),
            more in 1..4u64,
            grown_before in any::<bool>(),
        ) {
            let mut disk = written();
            if grown_before {
                disk.resize(layout().size() + MIB);
                let mut table = Table::read(&disk).unwrap();
                prop_assert!(table.grow("data", disk.sectors()));
                table.write(&mut disk).unwrap();
            }
            let old = Table::read(&disk).unwrap().partitions();
            disk.resize(disk.bytes.len() as u64 + more * MIB);
            disk.after_cuts.clear();
            disk.chance = chance;
            let mut table = Table::read(&disk).unwrap();
            prop_assert!(table.grow("data", disk.sectors()));
            table.write(&mut disk).unwrap();
            let new = table.partitions();
            for bytes in &disk.after_cuts {
                let mut cut = Memory { bytes: bytes.clone(), durable: bytes.clone(), ..Memory::new(0) };
                let mut read = Table::read(&cut).unwrap();
                let partitions = read.partitions();
                prop_assert!(partitions == old || partitions == new);
                prop_assert_eq!(read.grow("data", cut.sectors()), partitions == old);
                read.write(&mut cut).unwrap();
                prop_assert_eq!(Table::read(&cut).unwrap().partitions(), new.clone());
            }
            prop_assert!(disk.after_cuts.len() >= 4);
        }

        /// Whatever stands on a disk is a table or an error.
        #[test]
        fn any_damage_is_an_error(at in 0..16_896usize, bit in 0..8u32) {
            let mut disk = written();
            disk.bytes[512 + at] ^= 1 << bit;
            // Beyond what is summed up, a header says nothing.
            prop_assert_eq!(Table::read(&disk).is_ok(), (HEADER..512).contains(&at));
        }
    }
}
