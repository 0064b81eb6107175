//! A disk that gets this system for the first time.
//!
//! In this order, and a break at any point leaves a machine on which the stick begins again:
//!
//! 1. the table is written: from here on what was on the disk is lost. Its last partition is called
//!    [`UNFINISHED`] and not `data`, so that the disk is none of this system's yet;
//! 2. the boot partitions become ones from which nothing is started, whatever was in their places;
//! 3. the partition of the data is emptied and gets its file system;
//! 4. the release is written to slot a, as it is by any update;
//! 5. the last partition is called `data`: one sector makes it a disk of this system;
//! 6. the firmware is told. A power cut before leaves a disk from which firmware starts of itself, as from
//!    any disk with a boot file, and the system makes its entries then.
//!
//! Every disk gets identifiers from chance, by which firmware tells it from all others.

use std::fs::{self, File};
use std::io::{self, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use init::device::partition;
use init::device::uevent::UeventSocket;
use init::slots::{self, Slot};
use partitions::{Layout, NAMES, SECTOR, Sizes, Table, identifier, sparse};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, ioctl, opcode};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Deserialize;
use update::esp;
use update::install::Disks;

use crate::candidate::Candidate;
use crate::device::{Target, read};

/// What the last partition is called until the system is installed.
pub const UNFINISHED: &str = "unfinished";

/// The names of partitions, of which the last is `data`.
const DATA: &str = NAMES[4];

/// How long the kernel may take to show the partitions of a new table.
const PATIENCE: Duration = Duration::from_secs(30);

/// So much is emptied at a time.
const STEP: u64 = 64 << 20;

/// `BLKRRPART`, `_IO(0x12, 95)`.
const BLKRRPART: Opcode = opcode::none(0x12, 95);

/// What the image of this recovery has for new disks: a folder.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the partitions lie.
    pub layout: Layout,
    /// The file system of the data, as [`sparse`] has it.
    data: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SizesFile {
    boot_slot: u64,
    root_slot: u64,
    data: u64,
}

impl Plan {
    /// Reads the folder.
    ///
    /// # Errors
    /// When the image was made without.
    pub fn read(folder: &Path) -> Result<Self> {
        let sizes: SizesFile = read(&folder.join("sizes.toml"))?;
        Ok(Self {
            layout: Layout::new(Sizes {
                boot_slot: sizes.boot_slot,
                root_slot: sizes.root_slot,
                data: sizes.data,
            }),
            data: folder.join("data"),
        })
    }

    /// The table of a disk of `size` bytes, of which the data get all that is left. The disk and each of its
    /// partitions have one of the identifiers.
    fn table(&self, size: u64, identifiers: [[u8; 16]; NAMES.len() + 1]) -> Table {
        let mut table = self.layout.table(|name| {
            let partition = NAMES.iter().position(|other| *other == name);
            identifier(identifiers[partition.unwrap_or(NAMES.len())])
        });
        table.grow(DATA, size / SECTOR);
        table.rename(DATA, UNFINISHED);
        table
    }

    /// Takes a disk for this system, up to the release: everything on it is lost. The boot file is put together
    /// in `folder`.
    ///
    /// # Errors
    /// When the disk fails, or the kernel does not take its new table; what is on it then is lost as well.
    pub fn begin(&self, disk: &Candidate, folder: &Path) -> Result<Target> {
        let events = UeventSocket::open()?;
        let mut file = open(&disk.node)?;
        let mut chance = [[0; 16]; NAMES.len() + 1];
        for bytes in &mut chance {
            // So few bytes always come whole.
            getrandom(bytes, GetRandomFlags::empty()).context("asking the kernel for chance")?;
        }
        let mut table = self.table(disk.size, chance);
        // What else knew this disk by its first sectors.
        empty(&mut file, 0..partitions::ALIGNMENT)
            .with_context(|| format!("emptying the beginning of {}", disk.node.display()))?;
        table
            .write(&mut file)
            .with_context(|| format!("the partitions of {}", disk.node.display()))?;
        // SAFETY: this call takes no argument; it has the kernel read the table again.
        unsafe { ioctl(file.as_fd(), NoArg::<BLKRRPART>::new()) }.with_context(|| {
            format!(
                "having the kernel read the partitions of {}",
                disk.node.display()
            )
        })?;
        drop(file);
        let until = Instant::now() + PATIENCE;
        let node = |name: &str| partition::find(name, Some(&disk.device), &events, until);
        for name in ["esp-a", "esp-b"] {
            let node = node(name)?;
            let mut file = open(&node)?;
            esp::take_away(&mut file)
                .and_then(|()| file.sync_all())
                .with_context(|| format!("emptying {}", node.display()))?;
        }
        let data = node(UNFINISHED)?;
        self.fill_data(&mut open(&data)?)
            .with_context(|| format!("making the file system of the data on {}", data.display()))?;
        Ok(Target {
            slot: Slot::A,
            disks: Disks {
                // Nothing runs whose chunks could be used.
                root: "/dev/null".into(),
                esp: "/dev/null".into(),
                other_root: node("root-a")?,
                other_esp: node("esp-a")?,
                boot_file: folder.join("boot-file"),
            },
            firmware: slots::firmware_of(&disk.device)?,
        })
    }

    /// Makes the file system of the data. It grows to its partition when it is mounted for the first time.
    fn fill_data(&self, data: &mut File) -> io::Result<()> {
        let size = self.layout.partition(DATA).size;
        empty(data, 0..size)?;
        let mut packed = BufReader::new(File::open(&self.data)?);
        sparse::unpack(&mut packed, data, size)?;
        data.sync_all()
    }
}

/// Makes a disk that has the release one of this system's.
///
/// # Errors
/// When the disk fails.
pub fn finish(disk: &Candidate) -> Result<()> {
    let mut file = open(&disk.node)?;
    let doing = || format!("the partitions of {}", disk.node.display());
    let mut table = Table::read(&file).with_context(doing)?;
    table.rename(UNFINISHED, DATA);
    table.write(&mut file).with_context(doing)
}

fn open(node: &Path) -> Result<File> {
    fs::File::options()
        .read(true)
        .write(true)
        .open(node)
        .with_context(|| format!("opening {}", node.display()))
}

/// Makes bytes of a disk zeros, by the disk itself where it can.
fn empty(file: &mut File, range: std::ops::Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let length = STEP.min(range.end - at);
        match rustix::fs::fallocate(&*file, FallocateFlags::ZERO_RANGE, at, length) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::INVAL) => write_zeros(file, at, length)?,
            Err(error) => return Err(error.into()),
        }
        at += length;
    }
    Ok(())
}

fn write_zeros(file: &mut File, at: u64, length: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    let zeros = vec![0; 1 << 20];
    let mut left = length;
    while left > 0 {
        let piece = left.min(zeros.len() as u64);
        file.write_all(&zeros[..piece as usize])?;
        left -= piece;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const MIB: u64 = 1 << 20;
    const DATA_SIZE: u64 = 256 * MIB;

    /// What the image's builder makes of a file system.
    fn plan(folder: &Path) -> Plan {
        let whole = folder.join("whole");
        File::create(&whole).unwrap().set_len(DATA_SIZE).unwrap();
        let made = Command::new("/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096"])
            .args(["-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"])
            .arg(&whole)
            .status()
            .unwrap();
        assert!(made.success());
        let mut packed = File::create(folder.join("data")).unwrap();
        sparse::pack(&mut File::open(&whole).unwrap(), &mut packed).unwrap();
        assert!(packed.metadata().unwrap().len() < MIB);
        let sizes = format!(
            "boot-slot = {}\nroot-slot = {}\ndata = {DATA_SIZE}\n",
            3 * MIB,
            5 * MIB
        );
        fs::write(folder.join("sizes.toml"), sizes).unwrap();
        Plan::read(folder).unwrap()
    }

    #[test]
    fn the_data_are_as_the_image_has_them_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path());
        let disk = folder.path().join("disk");
        // Larger than the file system, as the partition of a larger disk is.
        fs::write(&disk, vec![0x5a; (DATA_SIZE + MIB) as usize]).unwrap();
        plan.fill_data(&mut open(&disk).unwrap()).unwrap();
        let found = fs::read(&disk).unwrap();
        let (data, behind) = found.split_at(DATA_SIZE as usize);
        assert!(data == fs::read(folder.path().join("whole")).unwrap());
        assert!(behind.iter().all(|&byte| byte == 0x5a));
        let checked = Command::new("/sbin/e2fsck")
            .arg("-fn")
            .arg(&disk)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }

    #[test]
    fn a_disk_is_none_of_this_system_before_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path());
        let node = folder.path().join("disk");
        let size = 3 << 30;
        File::create(&node).unwrap().set_len(size).unwrap();
        let mut table = plan.table(size, [1, 2, 3, 4, 5, 6].map(|number| [number; 16]));
        table.write(&mut open(&node).unwrap()).unwrap();
        let names = || -> Vec<String> {
            let table = Table::read(&open(&node).unwrap()).unwrap();
            table.partitions().into_iter().map(|one| one.name).collect()
        };
        assert_eq!(names(), ["esp-a", "esp-b", "root-a", "root-b", UNFINISHED]);
        let candidate = Candidate {
            device: PathBuf::new(),
            node: node.clone(),
            name: "a disk".into(),
            size,
            partitions: Vec::new(),
        };
        finish(&candidate).unwrap();
        assert_eq!(names(), NAMES);
        // All that the image's layout leaves of the disk.
        let data = Table::read(&open(&node).unwrap()).unwrap();
        let data = data.partition(DATA).unwrap();
        assert!((data.sectors.end() + 1) * SECTOR > size - 2 * MIB);
        // Begun twice, it ends the same way.
        finish(&candidate).unwrap();
        assert_eq!(names(), NAMES);
    }

    #[test]
    fn the_request_is_that_of_the_kernel_headers() {
        assert_eq!(BLKRRPART, 0x125f);
    }
}
