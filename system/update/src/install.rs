//! Writing a release to the slot that does not run.
//!
//! In this order, and a break at any point leaves a device that starts as before:
//!
//! 1. the boot partition of the slot is taken away, so that nothing is started from it;
//! 2. the boot file and the recovery are put together in files, the root in its partition: each chunk is
//!    left where it is already, or taken from the slot that runs, or fetched;
//! 3. all are made durable, read back from the disk, and hashed. The root has to come to the root
//!    hash of the manifest, and the command line in the boot file has to name that hash and this
//!    slot; then the hash tree is written behind the root;
//! 4. the boot partition is made, with the boot file and the recovery, and read back;
//! 5. nothing else: who called this has the slot tried.
//!
//! What was written before a break is found by its hash when the installation is begun again, so
//! there is no record of how far it had come that could be wrong.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use release::{Chunk, Hash, Manifest, boot_file, chunk, hexadecimal};
use thiserror::Error;
use verity::Tree;

use crate::esp;
use crate::place::{self, Readable, Stock, Storage};
use crate::shelf;
use crate::supply::Supply;

/// Where an installation reads and writes.
#[derive(Clone, Debug)]
pub struct Disks {
    /// The root that runs, verified as it is read.
    pub root: PathBuf,
    /// The boot partition of the slot that runs.
    pub esp: PathBuf,
    /// The root partition of the other slot.
    pub other_root: PathBuf,
    /// The boot partition of the other slot.
    pub other_esp: PathBuf,
    /// A file for the boot file while it is put together; that for the recovery stands beside it.
    pub boot_file: PathBuf,
}

impl Disks {
    fn recovery(&self) -> PathBuf {
        self.boot_file.with_extension("recovery")
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking for what is on this device already.
    Comparing,
    /// Putting the release together.
    Writing,
    /// Reading it back.
    Verifying,
    /// Making the boot partition.
    Finishing,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Bytes that are in their place.
    pub done: u64,
    /// Of so many.
    pub total: u64,
    /// Bytes that were fetched.
    pub downloaded: u64,
}

/// Why a release was not installed. The release that runs is not touched by any of it.
#[derive(Debug, Error)]
pub enum Error {
    /// Reading or writing one of the disks failed.
    #[error("{doing}: {source}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The release does not fit.
    #[error(
        "{what} of the release takes {needed} bytes and this device has {room} for it: it was made for a larger disk"
    )]
    Room {
        /// What part of it.
        what: &'static str,
        /// How much it takes.
        needed: u64,
        /// How much there is.
        room: u64,
    },
    /// No source had what was missing.
    #[error("fetching the release: {0}")]
    Supply(String),
    /// What the disk gives back is not what was written to it.
    #[error(
        "what was written to {0} is not what is read back: the storage of this device may be failing"
    )]
    ReadBack(&'static str),
    /// The boot file does not go with the root.
    #[error(transparent)]
    BootFile(#[from] boot_file::Error),
    /// It was asked to end.
    #[error("the installation was cancelled")]
    Cancelled,
}

trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Disk { doing, source })
    }
}

/// One installation.
pub struct Installation<'a> {
    /// What is installed.
    pub manifest: &'a Manifest,
    /// Into which slot, `a` or `b`: the one that does not run.
    pub slot: &'a str,
    /// Where it reads and writes.
    pub disks: &'a Disks,
    /// Where missing chunks come from.
    pub supply: &'a mut Supply,
    /// Who wants to know how far it is.
    pub observe: &'a mut dyn FnMut(Progress),
    /// Set when it is to end.
    pub cancelled: &'a AtomicBool,
}

impl Installation<'_> {
    /// Installs the release. When this returns, the other slot holds it durably and as it should be.
    ///
    /// # Errors
    ///
    /// Fails as the error type of this module says. What was written stays for the next try.
    pub async fn run(mut self) -> Result<(), Error> {
        let boot = self
            .manifest
            .boot
            .of(self.slot)
            .unwrap_or_default()
            .to_vec();
        let recovery = &self.manifest.recovery;
        let (boot_size, recovery_size) = (length(&boot), length(recovery));
        let root = &self.manifest.root;
        let mut other_root = open(&self.disks.other_root).doing("opening the other slot")?;
        let mut other_esp =
            open(&self.disks.other_esp).doing("opening the other slot's boot partition")?;
        let esp_size = size(&mut other_esp).doing("measuring the other boot partition")?;
        room(
            "the root",
            tree_end(root.blocks),
            size(&mut other_root).doing("measuring the other slot")?,
        )?;
        let beside = boot_size + recovery_size;
        room("the boot file", beside + esp::OVERHEAD, esp_size)?;

        let total = root.size() + beside;
        let mut progress = Progress {
            step: Step::Comparing,
            done: 0,
            total,
            downloaded: 0,
        };
        (self.observe)(progress);
        let wanted: HashSet<Hash> = self
            .manifest
            .chunks_of(self.slot)
            .map(|chunk| chunk.hash)
            .collect();
        let mut old_root = File::open(&self.disks.root).doing("opening the root that runs")?;
        let mut old_root =
            Stock::look(&mut old_root, &wanted).doing("reading the root that runs")?;
        // Where the running boot partition cannot be read there is just more to fetch.
        let old_boot_path = self.disks.boot_file.with_extension("old");
        if let Err(error) = self.copy_old_files(&old_boot_path) {
            tracing::warn!("the boot partition that runs is not used: {error}");
        }
        let mut old_boot = File::open(&old_boot_path).doing("opening a copy of the boot file")?;
        // It has no name any more, and is gone when this ends.
        let _ = std::fs::remove_file(&old_boot_path);
        let mut old_boot =
            Stock::look(&mut old_boot, &wanted).doing("reading the boot file that runs")?;

        let boot_store = shelf::Store::File(self.disks.boot_file.clone());
        let root_store = shelf::Store::File(self.disks.other_root.clone());
        let esp_store = shelf::Store::BootFile(self.disks.other_esp.clone());
        let recovery_path = self.disks.recovery();
        let recovery_store = shelf::Store::File(recovery_path.clone());
        let esp_recovery_store = shelf::Store::Recovery(self.disks.other_esp.clone());
        self.supply.forget(&[
            boot_store.clone(),
            recovery_store.clone(),
            root_store.clone(),
            esp_store.clone(),
            esp_recovery_store.clone(),
        ]);
        esp::take_away(&mut other_esp)
            .and_then(|()| other_esp.sync_all())
            .doing("taking the other slot's boot partition away")?;

        progress.step = Step::Writing;
        let mut boot_file = file(&self.disks.boot_file).doing("making a file for the boot file")?;
        let mut recovery_file = file(&recovery_path).doing("making a file for the recovery")?;
        self.assemble(
            &boot,
            (&mut boot_file, &boot_store),
            &mut [&mut old_boot, &mut old_root],
            &mut progress,
        )
        .await?;
        // Much of the kernel stands in both.
        let mut assembled =
            File::open(&self.disks.boot_file).doing("opening the file for the boot file")?;
        let mut new_boot = Stock::of(&mut assembled, &boot);
        self.assemble(
            recovery,
            (&mut recovery_file, &recovery_store),
            &mut [&mut new_boot, &mut old_boot, &mut old_root],
            &mut progress,
        )
        .await?;
        for (file, size) in [(&boot_file, boot_size), (&recovery_file, recovery_size)] {
            file.set_len(size)
                .doing("writing the boot file and the recovery")?;
        }
        let chunks = &self.manifest.root.chunks;
        self.assemble(
            chunks,
            (&mut other_root, &root_store),
            &mut [&mut old_root, &mut old_boot],
            &mut progress,
        )
        .await?;
        for file in [&boot_file, &recovery_file] {
            file.sync_all()
                .doing("making the boot file and the recovery durable")?;
        }
        make_root_durable(&other_root).doing("making the root durable")?;

        progress.step = Step::Verifying;
        (self.observe)(progress);
        self.verify_root(&mut other_root)?;
        self.verify_boot_file(&boot, &mut boot_file)?;
        forget_cache(&recovery_file);
        if !is_made_of(&mut recovery_file, recovery) {
            return Err(Error::ReadBack("the recovery"));
        }

        progress.step = Step::Finishing;
        (self.observe)(progress);
        self.check_cancelled()?;
        for file in [&mut boot_file, &mut recovery_file] {
            file.seek(SeekFrom::Start(0))
                .doing("reading the boot file and the recovery")?;
        }
        let (mut boot_reader, mut recovery_reader) =
            (BufReader::new(boot_file), BufReader::new(recovery_file));
        let mut files: Vec<(&str, &mut dyn Read)> = vec![(esp::BOOT_FILE, &mut boot_reader)];
        if !recovery.is_empty() {
            files.push((esp::RECOVERY, &mut recovery_reader));
        }
        esp::make(&mut other_esp, esp_size, &mut files)
            .doing("making the other slot's boot partition")?;
        other_esp
            .sync_all()
            .doing("making the boot partition durable")?;
        forget_cache(&other_esp);
        for (path, chunks) in [(esp::BOOT_FILE, &boot), (esp::RECOVERY, recovery)] {
            let found = esp::with_file(&mut other_esp, path, |file| is_made_of(file, chunks));
            if !chunks.is_empty() && !matches!(found, Ok(true)) {
                return Err(Error::ReadBack("the boot partition"));
            }
        }
        self.supply.moved(&boot, &boot_store, &esp_store);
        self.supply
            .moved(recovery, &recovery_store, &esp_recovery_store);
        let _ = std::fs::remove_file(&self.disks.boot_file);
        let _ = std::fs::remove_file(&recovery_path);
        Ok(())
    }

    /// A copy of the boot file and the recovery of the slot that runs, one behind the other, empty when
    /// these cannot be read: in a FAT file system going from place to place is slow, and memory is short.
    fn copy_old_files(&self, to: &Path) -> io::Result<()> {
        let mut copy = File::create(to)?;
        let mut disk = File::open(&self.disks.esp)?;
        esp::with_file(&mut disk, esp::BOOT_FILE, |file| io::copy(file, &mut copy))??;
        if self.manifest.recovery.is_empty() {
            return Ok(());
        }
        match esp::with_file(&mut disk, esp::RECOVERY, |file| io::copy(file, &mut copy)) {
            Ok(copied) => copied.map(drop),
            // What was installed before there was one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts chunks into their places, one behind the other.
    async fn assemble(
        &mut self,
        chunks: &[Chunk],
        (storage, store): (&mut dyn Storage, &shelf::Store),
        stocks: &mut [&mut Stock<'_>],
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let mut offset = 0;
        // Chunks that were fetched together with the one that was needed first.
        let mut ahead: HashMap<Hash, Vec<u8>> = HashMap::new();
        // Where chunks of this release are by now: some are in it more than once.
        let mut placed: HashMap<Hash, u64> = HashMap::new();
        for (number, chunk) in chunks.iter().enumerate() {
            self.check_cancelled()?;
            if place::read_chunk(storage, offset, chunk).is_none() {
                let data = match ahead.remove(&chunk.hash) {
                    Some(data) => data,
                    None => match at_hand(chunk, storage, stocks, &placed) {
                        Some(data) => data,
                        None => {
                            let missing =
                                missing(&chunks[number..], storage, offset, stocks, &placed);
                            let fetched = self.supply.get(self.manifest, &missing).await;
                            self.check_cancelled()?;
                            let fetched = fetched.map_err(Error::Supply)?;
                            ahead = missing
                                .iter()
                                .map(|chunk| chunk.hash)
                                .zip(fetched)
                                .collect();
                            ahead
                                .remove(&chunk.hash)
                                .ok_or_else(|| Error::Supply("nothing came".to_owned()))?
                        }
                    },
                };
                place::write_chunk(storage, offset, &data).doing("writing the release")?;
            }
            placed.insert(chunk.hash, offset);
            self.supply.placed(chunk, store, offset);
            offset += u64::from(chunk.length);
            progress.done += u64::from(chunk.length);
            progress.downloaded = self.supply.downloaded;
            (self.observe)(*progress);
        }
        Ok(())
    }

    /// Reads the root back, compares its root hash, and writes the hash tree behind it.
    fn verify_root(&self, disk: &mut File) -> Result<(), Error> {
        let root = &self.manifest.root;
        forget_cache(disk);
        disk.seek(SeekFrom::Start(0))
            .doing("reading the root back")?;
        let data = BufReader::with_capacity(1 << 17, (&mut *disk).take(root.size()));
        let tree =
            Tree::build(Interruptible(data, self.cancelled), &root.salt()).map_err(|source| {
                match self.check_cancelled() {
                    Err(cancelled) => cancelled,
                    Ok(()) => Error::Disk {
                        doing: "reading the root back",
                        source,
                    },
                }
            })?;
        if tree.root_hash != root.hash() || tree.data_blocks != root.blocks {
            tracing::error!(
                "the root came to {} and not to {}",
                hexadecimal(&tree.root_hash),
                root.hash
            );
            return Err(Error::ReadBack("the root"));
        }
        disk.seek(SeekFrom::Start(root.size()))
            .and_then(|_| tree.write(BufWriter::new(&mut *disk)))
            .and_then(|()| make_root_durable(disk))
            .doing("writing the hash tree")?;
        forget_cache(disk);
        disk.seek(SeekFrom::Start(root.size()))
            .doing("reading the hash tree back")?;
        let mut compared = Comparing {
            with: BufReader::new(disk),
            same: true,
        };
        tree.write(&mut compared)
            .doing("reading the hash tree back")?;
        if compared.same {
            Ok(())
        } else {
            Err(Error::ReadBack("the hash tree"))
        }
    }

    /// Reads the boot file back, and sees whether it starts this root from this slot.
    fn verify_boot_file(&self, chunks: &[Chunk], file: &mut File) -> Result<(), Error> {
        let root = &self.manifest.root;
        forget_cache(file);
        if !is_made_of(file, chunks) {
            return Err(Error::ReadBack("the boot file"));
        }
        boot_file::Expected {
            slot: self.slot,
            hash: root.hash(),
            salt: &root.salt,
            blocks: root.blocks,
        }
        .check(&boot_file::command_line(file)?)?;
        Ok(())
    }

    fn check_cancelled(&self) -> Result<(), Error> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}

/// A chunk that is somewhere on this device.
fn at_hand(
    chunk: &Chunk,
    storage: &mut dyn Storage,
    stocks: &mut [&mut Stock<'_>],
    placed: &HashMap<Hash, u64>,
) -> Option<Vec<u8>> {
    if let Some(&offset) = placed.get(&chunk.hash)
        && let Some(data) = place::read_chunk(storage, offset, chunk)
    {
        return Some(data);
    }
    stocks.iter_mut().find_map(|stock| stock.take(chunk))
}

/// The first of `chunks`, which is missing, and those behind it that are missing too: they may come
/// with one question.
fn missing(
    chunks: &[Chunk],
    storage: &mut dyn Storage,
    mut offset: u64,
    stocks: &mut [&mut Stock<'_>],
    placed: &HashMap<Hash, u64>,
) -> Vec<Chunk> {
    /// More do not come at once.
    const MOST: usize = 64;
    let mut missing: Vec<Chunk> = Vec::new();
    for chunk in chunks.iter().take(MOST) {
        let known = !missing.is_empty()
            && (missing.iter().any(|other| other.hash == chunk.hash)
                || at_hand(chunk, storage, stocks, placed).is_some()
                || place::read_chunk(storage, offset, chunk).is_some());
        if known {
            break;
        }
        missing.push(*chunk);
        offset += u64::from(chunk.length);
    }
    missing
}

/// Whether a file consists of these chunks and nothing else. It is read from its beginning to its end,
/// for in a FAT file system going elsewhere is slow.
fn is_made_of(file: &mut (impl Readable + ?Sized), chunks: &[Chunk]) -> bool {
    let mut same = || -> io::Result<bool> {
        file.seek(SeekFrom::Start(0))?;
        for chunk in chunks {
            let mut bytes = vec![0; chunk.length as usize];
            file.read_exact(&mut bytes)?;
            if chunk::hash(&bytes) != chunk.hash {
                return Ok(false);
            }
        }
        Ok(file.read(&mut [0])? == 0)
    };
    same().unwrap_or(false)
}

/// How many bytes these are together.
fn length(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
}

/// A file that is written, with what was left in it before a break.
fn file(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Where the hash tree behind so many blocks ends.
fn tree_end(blocks: u64) -> u64 {
    const PER_BLOCK: u64 = (verity::BLOCK_SIZE / verity::HASH_SIZE) as u64;
    let (mut level, mut tree) = (blocks, 0);
    while level > 1 {
        level = level.div_ceil(PER_BLOCK);
        tree += level;
    }
    (blocks + tree) * verity::BLOCK_SIZE as u64
}

fn room(what: &'static str, needed: u64, room: u64) -> Result<(), Error> {
    if needed > room {
        return Err(Error::Room { what, needed, room });
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// A partition has no length of its own, but an end.
fn size(disk: &mut File) -> io::Result<u64> {
    disk.seek(SeekFrom::End(0))
}

fn make_root_durable(disk: &File) -> io::Result<()> {
    if cfg!(feature = "fault-no-root-sync") {
        return Ok(());
    }
    disk.sync_all()
}

/// What is read next comes from the disk, not from memory.
fn forget_cache(file: &File) {
    // Linux begins to write out what it is to forget, which would hide the missing sync.
    if cfg!(feature = "fault-no-root-sync") {
        return;
    }
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// Stops reading when it is asked to.
struct Interruptible<'a, R>(R, &'a AtomicBool);

impl<R: Read> Read for Interruptible<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.1.load(Ordering::Relaxed) {
            return Err(io::Error::other("cancelled"));
        }
        self.0.read(to)
    }
}

/// Compares what is written to it.
struct Comparing<R> {
    with: R,
    same: bool,
}

impl<R: Read> io::Write for Comparing<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut there = vec![0; bytes.len()];
        self.with.read_exact(&mut there)?;
        self.same &= there == bytes;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
