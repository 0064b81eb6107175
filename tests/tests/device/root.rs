//! What happens to a root that was changed.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::machine::{LIMIT, Machine};

use crate::shared::Shared;

/// Where EROFS has its superblock, which is the first thing that is read.
pub const SUPERBLOCK: u64 = 1024;

pub fn flipped_data_is_refused(phone: &mut Shared) -> Result<()> {
    let (options, disk) = phone.own("flipped-data")?;
    let root = phone.phone()?.image.layout.partition("root-a").offset;
    // A byte of the superblock that means nothing to the file system: only the hash tells.
    flip(&disk, root + SUPERBLOCK + 48)?;
    is_refused(Machine::start(options)?)
}

pub fn flipped_tree_is_refused(phone: &mut Shared) -> Result<()> {
    let (options, disk) = phone.own("flipped-tree")?;
    let image = &phone.phone()?.image;
    // The topmost block of the tree: its hash is on the command line.
    flip(
        &disk,
        image.layout.partition("root-a").offset + image.root.blocks * verity::BLOCK_SIZE as u64,
    )?;
    is_refused(Machine::start(options)?)
}

/// Changes one bit of the byte at `offset`.
pub fn flip(disk: &Path, offset: u64) -> Result<()> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(disk)
        .with_context(|| format!("opening {}", disk.display()))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 1;
    file.write_all_at(&byte, offset)?;
    Ok(())
}

/// The device says that it cannot start, and ends; nothing of the changed root ran.
fn is_refused(mut machine: Machine) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while machine.is_running()? {
        if Instant::now() > deadline {
            bail!(machine.evidence("the device did not give up: was the changed root started?"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = machine.serial_log();
    ensure!(
        log.contains("HyperOS cannot start"),
        "the device ended without saying why: {log}"
    );
    Ok(())
}
