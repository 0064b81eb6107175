//! The disks that a power cut could leave behind.
//!
//! A disk promises only this: what was written before a completed flush stays. Of the writes after
//! the last flush any subset may have reached the disk, in any order where they do not overlap, and
//! the one that was under way may be torn between two sectors of 512 bytes. [`Cutter`] makes such
//! disks from a record of writes. It walks forward through the record, so instants must be asked for in
//! rising order; what is durable by then is kept in memory, block by block, and only that is copied
//! for each disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::log::{self, Entry, Log, Operation};

/// What a disk writes as a whole or not at all.
pub const SECTOR: u64 = 512;
const BLOCK: u64 = 4096;

/// What of the writes since the last flush reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// None: the cache was lost as a whole.
    Nothing,
    /// All of them, the last one torn.
    Everything,
    /// Each one or not, by chance, the last of them torn.
    Some,
}

/// One instant at which the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// How many entries of the record were made before it.
    pub entries: usize,
    /// What became of the writes that no flush had made durable.
    pub reached: Reached,
    /// Makes the same disk again.
    pub seed: u64,
}

/// `count` instants, in rising order: one at each of `acknowledgements` with everything unflushed
/// lost (there a missing flush shows most surely), as far as `count` goes, and the rest spread by
/// chance over `within`.
pub fn instants(
    within: Range<usize>,
    acknowledgements: &[usize],
    count: usize,
    seed: u64,
) -> Vec<Instant> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut instants: Vec<Instant> = Vec::with_capacity(count);
    let step = acknowledgements.len().div_ceil((count / 4).max(1)).max(1);
    for &entries in acknowledgements.iter().step_by(step) {
        instants.push(Instant {
            entries,
            reached: Reached::Nothing,
            seed: chance.u64(..),
        });
    }
    while instants.len() < count && !within.is_empty() {
        let reached = match chance.u8(..8) {
            0 => Reached::Nothing,
            1 => Reached::Everything,
            _ => Reached::Some,
        };
        let entries = chance.usize(within.start..=within.end);
        instants.push(Instant {
            entries,
            reached,
            seed: chance.u64(..),
        });
    }
    instants.sort_by_key(|instant| instant.entries);
    instants
}

/// Makes the disks of rising instants.
#[derive(Debug)]
pub struct Cutter<'a> {
    log: &'a Log,
    /// The part of the recorded disk that is made: the data partition, or the whole.
    window: Range<u64>,
    durable: Blocks,
    /// Everything before this entry is in `durable`.
    settled: usize,
}

impl<'a> Cutter<'a> {
    /// Begins with the disk as it was before the record, of which only `window` is kept.
    pub fn new(log: &'a Log, before: &Path, window: Range<u64>) -> io::Result<Cutter<'a>> {
        let durable = Blocks::read(&File::open(before)?, &window)?;
        Ok(Cutter {
            log,
            window,
            durable,
            settled: 0,
        })
    }

    /// Writes the disk of `instant` to `target` as a sparse file of the window's size.
    ///
    /// Panics when `instant` lies before one that was made earlier or past the record's end: a
    /// mistake of the caller.
    pub fn cut(&mut self, instant: Instant, target: &Path) -> Result<(), Error> {
        let entries = &self.log.entries()[..instant.entries];
        let flushed = entries.iter().rposition(|entry| entry.flush).unwrap_or(0);
        for entry in &entries[self.settled.min(flushed)..flushed] {
            write(self.log, &mut self.durable, &self.window, entry, None)?;
        }
        self.settled = self.settled.max(flushed);
        let pending = choose(&entries[self.settled..], instant);
        let mut disk = Overlay {
            below: &self.durable,
            above: Blocks::default(),
        };
        for (entry, sectors) in pending {
            write(self.log, &mut disk, &self.window, entry, sectors)?;
        }
        disk.save(target, self.window.end - self.window.start)?;
        Ok(())
    }
}

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The record could not be read.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The disk could not be written.
    #[error("writing the disk after a power cut: {0}")]
    Disk(#[from] io::Error),
}

/// Which of the unflushed entries reached the disk, and of the last one how many sectors.
fn choose(unflushed: &[Entry], instant: Instant) -> Vec<(&Entry, Option<u64>)> {
    let mut chance = fastrand::Rng::with_seed(instant.seed);
    // Some cuts lose nearly everything, others nearly nothing.
    let likely = chance.f64();
    let mut chosen: Vec<(&Entry, Option<u64>)> = unflushed
        .iter()
        .filter(|entry| {
            entry.force_unit_access
                || match instant.reached {
                    Reached::Nothing => false,
                    Reached::Everything => true,
                    Reached::Some => chance.f64() < likely,
                }
        })
        .map(|entry| (entry, None))
        .collect();
    // What was answered as durable is whole; only a write into the cache can be torn.
    if let Some((entry, sectors)) = chosen.last_mut()
        && !entry.force_unit_access
    {
        *sectors = Some(chance.u64(0..=entry.length / SECTOR));
    }
    chosen
}

/// Something that takes blocks of the window.
trait Store {
    fn block(&mut self, number: u64) -> &mut [u8];
}

/// Applies one entry, or its first sectors, as far as it lies in the window.
fn write(
    log: &Log,
    store: &mut impl Store,
    window: &Range<u64>,
    entry: &Entry,
    sectors: Option<u64>,
) -> Result<(), log::Error> {
    if !matches!(entry.operation, Operation::Write { .. }) {
        return Ok(());
    }
    let length = sectors.map_or(entry.length, |sectors| sectors * SECTOR);
    let from = entry.offset.max(window.start);
    let to = (entry.offset + length).min(window.end);
    if from >= to {
        return Ok(());
    }
    let data = log.data(entry)?;
    let mut position = from;
    while position < to {
        let inside = position - window.start;
        let room = BLOCK - inside % BLOCK;
        let bytes = room.min(to - position);
        let source = (position - entry.offset) as usize;
        let target = (inside % BLOCK) as usize;
        store.block(inside / BLOCK)[target..target + bytes as usize]
            .copy_from_slice(&data[source..source + bytes as usize]);
        position += bytes;
    }
    Ok(())
}

/// Blocks that are not all zeros, by number.
#[derive(Debug, Default)]
struct Blocks(BTreeMap<u64, Box<[u8; BLOCK as usize]>>);

impl Blocks {
    /// The window of a disk, holes skipped.
    fn read(disk: &File, window: &Range<u64>) -> io::Result<Blocks> {
        use rustix::fs::{SeekFrom, seek};
        let mut blocks = BTreeMap::new();
        let mut position = window.start;
        while position < window.end {
            match seek(disk.as_fd(), SeekFrom::Data(position)) {
                // Whole blocks, counted from the start of the window.
                Ok(data) => {
                    position = position.max(data - data.saturating_sub(window.start) % BLOCK)
                }
                Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            }
            if position >= window.end {
                break;
            }
            let mut block = Box::new([0; BLOCK as usize]);
            let length = BLOCK.min(window.end - position) as usize;
            read_up_to(disk, &mut block[..length], position)?;
            if block.iter().any(|byte| *byte != 0) {
                blocks.insert((position - window.start) / BLOCK, block);
            }
            position += BLOCK;
        }
        Ok(Blocks(blocks))
    }
}

/// Fills the buffer; what lies past the end of the file stays zero.
fn read_up_to(file: &File, mut buffer: &mut [u8], mut position: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = file.read_at(buffer, position)?;
        if read == 0 {
            break;
        }
        buffer = &mut buffer[read..];
        position += read as u64;
    }
    Ok(())
}

impl Store for Blocks {
    fn block(&mut self, number: u64) -> &mut [u8] {
        &mut self
            .0
            .entry(number)
            .or_insert_with(|| Box::new([0; BLOCK as usize]))[..]
    }
}

/// Blocks that one cut changes, above those that every later cut has too.
struct Overlay<'a> {
    below: &'a Blocks,
    above: Blocks,
}

impl Store for Overlay<'_> {
    fn block(&mut self, number: u64) -> &mut [u8] {
        let below = self.below;
        &mut self.above.0.entry(number).or_insert_with(|| {
            below
                .0
                .get(&number)
                .cloned()
                .unwrap_or_else(|| Box::new([0; BLOCK as usize]))
        })[..]
    }
}

impl Overlay<'_> {
    fn save(&self, target: &Path, size: u64) -> io::Result<()> {
        let file = File::create(target)?;
        file.set_len(size)?;
        for (number, block) in &self.below.0 {
            if !self.above.0.contains_key(number) {
                save_block(&file, *number, block, size)?;
            }
        }
        for (number, block) in &self.above.0 {
            save_block(&file, *number, block, size)?;
        }
        Ok(())
    }
}

/// One block; the window's last may be shorter.
fn save_block(file: &File, number: u64, block: &[u8; BLOCK as usize], size: u64) -> io::Result<()> {
    let position = number * BLOCK;
    let length = BLOCK.min(size.saturating_sub(position)) as usize;
    file.write_all_at(&block[..length], position)
}

#[cfg(test)]
mod tests {
    use super::super::log::sample;
    use super::*;
    use proptest::prelude::*;

    const FLUSH: u64 = 1;
    const FORCE: u64 = 2;

    struct Recorded {
        folder: tempfile::TempDir,
        log: Log,
    }

    /// A disk of 64 KiB of 0x11 and a record of what was written to it.
    fn recorded(entries: &[(u64, u64, Vec<u8>)]) -> Recorded {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("before"), vec![0x11; 65536]).unwrap();
        sample::record(&folder.path().join("log"), entries);
        let mut log = Log::open(&folder.path().join("log")).unwrap();
        log.advance().unwrap();
        Recorded { folder, log }
    }

    impl Recorded {
        fn cut(&self, instant: Instant) -> Vec<u8> {
            let mut cutter =
                Cutter::new(&self.log, &self.folder.path().join("before"), 0..65536).unwrap();
            let target = self.folder.path().join("after");
            cutter.cut(instant, &target).unwrap();
            std::fs::read(target).unwrap()
        }
    }

    #[test]
    fn what_was_flushed_is_there_and_what_was_not_can_be_lost() {
        let recorded = recorded(&[
            (8, 0, vec![2; 512]),
            (0, FLUSH, Vec::new()),
            (9, 0, vec![3; 512]),
        ]);
        let disk = recorded.cut(Instant {
            entries: 3,
            reached: Reached::Nothing,
            seed: 1,
        });
        assert_eq!(disk[8 * 512..9 * 512], [2; 512]);
        assert_eq!(disk[9 * 512..10 * 512], [0x11; 512]);
    }

    #[test]
    fn before_the_flush_nothing_is_sure_except_forced_writes() {
        let recorded = recorded(&[(8, 0, vec![2; 512]), (9, FORCE, vec![3; 512])]);
        let disk = recorded.cut(Instant {
            entries: 2,
            reached: Reached::Nothing,
            seed: 1,
        });
        assert_eq!(disk[8 * 512..9 * 512], [0x11; 512]);
        assert_eq!(disk[9 * 512..10 * 512], [3; 512]);
    }

    #[test]
    fn the_last_write_is_torn_between_sectors_only() {
        let recorded = recorded(&[(8, 0, vec![2; 4096])]);
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let disk = recorded.cut(Instant {
                entries: 1,
                reached: Reached::Everything,
                seed,
            });
            let written = disk.iter().filter(|byte| **byte == 2).count();
            assert_eq!(written % 512, 0);
            assert!(
                disk[8 * 512..8 * 512 + written]
                    .iter()
                    .all(|byte| *byte == 2)
            );
            lengths.insert(written);
        }
        assert!(
            lengths.len() > 4,
            "tears of many lengths, not only {lengths:?}"
        );
    }

    #[test]
    fn a_window_shows_its_own_part_of_the_disk() {
        let recorded = recorded(&[(7, 0, vec![2; 1024]), (0, FLUSH, Vec::new())]);
        let mut cutter = Cutter::new(
            &recorded.log,
            &recorded.folder.path().join("before"),
            4096..8192,
        )
        .unwrap();
        let target = recorded.folder.path().join("after");
        cutter
            .cut(
                Instant {
                    entries: 2,
                    reached: Reached::Nothing,
                    seed: 0,
                },
                &target,
            )
            .unwrap();
        let disk = std::fs::read(target).unwrap();
        assert_eq!(disk.len(), 4096);
        assert_eq!(disk[..512], [2; 512]);
        assert_eq!(disk[512..], [0x11; 3584]);
    }

    #[test]
    fn instants_rise_and_keep_to_the_record() {
        let instants = instants(10..100, &[20, 30, 40], 200, 7);
        assert_eq!(instants.len(), 200);
        assert!(instants.is_sorted_by_key(|instant| instant.entries));
        assert!(
            instants
                .iter()
                .all(|instant| (10..=100).contains(&instant.entries))
        );
        assert!([20, 30, 40].iter().all(|at| {
            instants
                .iter()
                .any(|i| i.entries == *at && i.reached == Reached::Nothing)
        }));
    }

    proptest! {
        /// Against a disk kept the simple way: every sector holds what some write that may have
        /// reached it left there, and never less than what was flushed.
        #[test]
        fn every_sector_is_from_the_last_flushed_write_or_a_later_one(
            writes in prop::collection::vec((0_u64..32, 1_u64..8, any::<bool>()), 1..40),
            seed in any::<u64>(),
        ) {
            let entries: Vec<_> = writes.iter().enumerate().flat_map(|(number, (sector, count, flush))| {
                let write = (*sector, 0, vec![number as u8 + 0x20; (*count * 512) as usize]);
                std::iter::once(write).chain(flush.then(|| (0, FLUSH, Vec::new())))
            }).collect();
            let recorded = recorded(&entries);
            let mut cutter = Cutter::new(&recorded.log, &recorded.folder.path().join("before"), 0..65536).unwrap();
            let target = recorded.folder.path().join("after");
            for instant in instants(0..entries.len(), &[], 12, seed) {
                cutter.cut(instant, &target).unwrap();
                let disk = std::fs::read(&target).unwrap();
                let mut allowed = vec![vec![0x11_u8]; 128];
                for (sector, flags, data) in &entries[..instant.entries] {
                    if flags & FLUSH != 0 {
                        for values in &mut allowed { values.drain(..values.len() - 1); }
                        // Everything so far is durable: only the last writer of a sector is left.
                    }
                    for number in *sector..*sector + data.len() as u64 / 512 {
                        allowed[number as usize].push(data[0]);
                    }
                }
                for (number, values) in allowed.iter().enumerate() {
                    let sector = &disk[number * 512..][..512];
                    prop_assert!(sector.iter().all(|byte| *byte == sector[0]), "sector {number} is torn");
                    prop_assert!(values.contains(&sector[0]), "sector {number}: {} not in {values:?}", sector[0]);
                }
            }
        }
    }
}
