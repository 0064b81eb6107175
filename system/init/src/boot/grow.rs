//! Growing `/data` to its disk.
//!
//! An image is as small as its system needs it, and is written to larger disks and sticks; what is behind it
//! belongs to `/data`. So process 1 looks at each start, in two steps that know nothing of each other:
//!
//! 1. before `/data` is mounted, its partition is made as large as the disk allows ([`partition`]);
//! 2. when it is mounted, its file system is made as large as its partition ([`begin`]), by the kernel, beside
//!    everything else: ext4 does so in its journal while it is used.
//!
//! # Promises
//!
//! - **A power cut costs nothing**: the table is the one from before or the new one
//!   ([`partitions::Table::write`]), the file system has grown as far as its journal says, and the next start
//!   goes on with what is missing.
//! - **It keeps no device from starting**: what does not work is said in the log, and that is all.
//! - **Only the disk that the system runs from is written**, and only where `/data` is its last partition.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use partitions::{SECTOR, Table};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

use super::superblock;
use crate::log::Level;
use crate::system::SharedLog;

/// The partition.
const NAME: &str = "data";

/// `BLKPG`, `_IO(0x12, 105)`.
const BLKPG: Opcode = opcode::none(0x12, 105);
/// Its operation that tells the kernel of another length, also while the partition is used.
const BLKPG_RESIZE_PARTITION: i32 = 3;
/// `EXT4_IOC_RESIZE_FS`, `_IOW('f', 16, __u64)`: how many blocks the file system is to have.
const EXT4_IOC_RESIZE_FS: Opcode = opcode::write::<u64>(b'f', 16);

/// `struct blkpg_partition` of linux/blkpg.h; both in bytes.
#[repr(C)]
struct KernelPartition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Change {
    operation: i32,
    flags: i32,
    length: i32,
    data: *mut KernelPartition,
}

/// Gives the partition of `/data`, with this node, the rest of its disk. Answers how large it is now, in
/// bytes, if it grew.
///
/// # Errors
/// When the disk cannot be read or written, or its table is not understood; the table is then the one that it was.
pub fn partition(node: &Path) -> Result<Option<u64>> {
    let name = node.file_name().context("a partition without a name")?;
    let device = Path::new("/sys/class/block").join(name);
    let device = device
        .canonicalize()
        .with_context(|| format!("following {}", device.display()))?;
    let folder = device.parent().context("a partition without a disk")?;
    let disk = Path::new("/dev").join(folder.file_name().context("a disk without a name")?);
    let number_in = |path: PathBuf| -> Result<u64> {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        text.trim()
            .parse()
            .with_context(|| format!("{} is {text:?}", path.display()))
    };
    // Of these no image was made, so this one has another history.
    if number_in(folder.join("queue/logical_block_size"))? != SECTOR {
        return Ok(None);
    }
    let mut file = File::open(&disk).with_context(|| format!("opening {}", disk.display()))?;
    let size = file
        .seek(SeekFrom::End(0))
        .with_context(|| format!("measuring {}", disk.display()))?;
    let mut table =
        Table::read(&file).with_context(|| format!("the partitions of {}", disk.display()))?;
    if table.grow(NAME, size / SECTOR) {
        file = File::options()
            .read(true)
            .write(true)
            .open(&disk)
            .with_context(|| format!("opening {} to write it", disk.display()))?;
        table
            .write(&mut file)
            .with_context(|| format!("giving /data the rest of {}", disk.display()))?;
    }
    let entry = table.partition(NAME).context("its table has no data")?;
    let (first, last) = entry.sectors.into_inner();
    // The kernel counts in these whatever the disk does.
    let (start, length) = (
        number_in(device.join("start"))?,
        number_in(device.join("size"))?,
    );
    let wanted = last + 1 - first;
    if length >= wanted {
        return Ok(None);
    }
    ensure!(
        start == first && number_in(device.join("partition"))? == u64::from(entry.number),
        "the kernel has another partition where {} has /data",
        disk.display()
    );
    tell_kernel(&file, entry.number, first * SECTOR, wanted * SECTOR)
        .with_context(|| format!("telling the kernel that {} is larger", node.display()))?;
    Ok(Some(wanted * SECTOR))
}

/// Has the kernel know a partition of a disk by its new length, both in bytes.
fn tell_kernel(disk: &File, number: u32, start: u64, length: u64) -> Result<()> {
    let mut partition = KernelPartition {
        start: i64::try_from(start)?,
        length: i64::try_from(length)?,
        number: i32::try_from(number)?,
        names: [0; 128],
    };
    let change = Change {
        operation: BLKPG_RESIZE_PARTITION,
        flags: 0,
        length: i32::try_from(size_of::<KernelPartition>())?,
        data: &raw mut partition,
    };
    // SAFETY: the kernel reads a `blkpg_ioctl_arg` and the `blkpg_partition` that it points to, which have the
    // layout of these two and outlive the call; it writes neither.
    unsafe { ioctl(disk.as_fd(), Setter::<BLKPG, _>::new(change)) }?;
    Ok(())
}

/// Has the file system of `/data`, mounted at `folder` from the partition `node`, grow to its partition, on a
/// thread of its own: that of a large disk takes seconds, for which no start should wait.
pub fn begin(node: &Path, folder: &Path, log: &SharedLog) {
    let wanted = match room(node) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return,
        Err(error) => return log.say(Level::Warning, format!("/data does not grow: {error:#}")),
    };
    let (folder, told) = (folder.to_owned(), log.clone());
    let grown = std::thread::Builder::new()
        .name("grow-data".to_owned())
        .spawn(move || match file_system(&folder, wanted.blocks) {
            Ok(()) => told.say(
                Level::Notice,
                format!("/data has grown to {} MiB", wanted.bytes() >> 20),
            ),
            Err(error) => told.say(Level::Warning, format!("/data does not grow: {error:#}")),
        });
    if let Err(error) = grown {
        log.say(Level::Warning, format!("/data does not grow: {error}"));
    }
}

/// What the file system on a partition could be, where that is more than it is.
fn room(node: &Path) -> Result<Option<superblock::Extent>> {
    let mut disk = File::open(node).with_context(|| format!("opening {}", node.display()))?;
    let size = disk
        .seek(SeekFrom::End(0))
        .with_context(|| format!("measuring {}", node.display()))?;
    let Some(now) = superblock::extent(&mut disk)
        .with_context(|| format!("asking {} for its size", node.display()))?
    else {
        return Ok(None);
    };
    let wanted = superblock::Extent {
        blocks: size / now.block,
        ..now
    };
    // Fewer blocks than a group has are not always taken, and nobody misses them.
    Ok((wanted.blocks >= now.blocks + now.blocks_in_group).then_some(wanted))
}

/// Makes a mounted file system so many blocks large.
fn file_system(folder: &Path, blocks: u64) -> Result<()> {
    let mounted = File::open(folder).with_context(|| format!("opening {}", folder.display()))?;
    // SAFETY: ext4 reads one 64-bit number, which is what is passed; any other file system knows no such call.
    unsafe {
        ioctl(
            mounted.as_fd(),
            Setter::<EXT4_IOC_RESIZE_FS, _>::new(blocks),
        )
    }
    .with_context(|| format!("growing the file system at {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_kernel_headers() {
        assert_eq!(BLKPG, 0x1269);
        assert_eq!(EXT4_IOC_RESIZE_FS, 0x4008_6610);
        assert_eq!(size_of::<KernelPartition>(), 152);
        assert_eq!(size_of::<Change>(), 24);
    }

    #[test]
    fn a_file_system_has_room_when_its_partition_has_another_group() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = |mebibytes: u64| file.as_file().set_len(mebibytes << 20).unwrap();
        set(200);
        let made = std::process::Command::new("/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096"])
            .arg(file.path())
            .status()
            .unwrap();
        assert!(made.success());
        for same in [200, 199, 327] {
            set(same);
            assert_eq!(room(file.path()).unwrap(), None, "{same}");
        }
        set(328);
        let wanted = room(file.path()).unwrap().unwrap();
        assert_eq!(wanted.bytes(), 328 << 20);
        // What is no file system of ours is none of this module's.
        std::fs::write(file.path(), [0x5a; 100_000]).unwrap();
        assert_eq!(room(file.path()).unwrap(), None);
    }
}
