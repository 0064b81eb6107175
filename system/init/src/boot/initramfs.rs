//! The first stage, in the initramfs: find the root, have it verified, and go there.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::mount::MountFlags;

use super::mount::{mount, mount_basics};
use super::{ahead, verity};
use crate::command_line::CommandLine;
use crate::device::uevent::UeventSocket;
use crate::device::{display, module, partition};
use crate::fatal;
use crate::slots::watchdog;

/// How long a disk may take to appear. Slow readers of cards and sticks take seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const NEW_ROOT: &str = "/root";

/// Whether this process runs in an initramfs: its root is in memory.
///
/// # Errors
/// When the kernel does not say what the root is.
pub fn is_here() -> Result<bool> {
    // linux/magic.h
    const RAMFS: i64 = 0x8584_58f6;
    const TMPFS: i64 = 0x0102_1994;
    let root = rustix::fs::statfs("/").context("asking the kernel what the root is")?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the field's type differs between processors"
    )]
    Ok(matches!(root.f_type as i64, RAMFS | TMPFS))
}

/// Does all that there is to do in the initramfs and goes to the root.
///
/// This program goes on as process 1 there. To run a copy of it from the root would be to read,
/// verify, load and (under emulation) translate once more what is here already, and what firmware
/// has verified.
///
/// # Errors
/// When the root cannot be found, verified or mounted: the device cannot start from this slot.
pub fn run() -> Result<()> {
    mount_basics()?;
    let events = UeventSocket::open()?;
    let text =
        std::fs::read_to_string("/proc/cmdline").context("reading the kernel command line")?;
    let command_line = CommandLine::parse(&text).context("reading the kernel command line")?;
    watchdog::arm(command_line.watchdog.unwrap_or(watchdog::STANDARD));
    module::load_in_order(Path::new("/modules"))?;
    if command_line.display_only {
        display::wait(&events)?;
        fatal::say("display ready");
        loop {
            std::thread::park();
        }
    }

    let slot = command_line.slot.as_deref().unwrap_or("a");
    let root = partition::find(
        &format!("root-{slot}"),
        None,
        &events,
        Instant::now() + LONGEST_WAIT,
    )
    .context("looking for the root of the system")?;
    let root = match &command_line.verity {
        Some(verity) => verity::open("root", &root, verity)?,
        None => {
            fatal::say("the kernel command line names no root hash: the root is NOT verified");
            root
        }
    };
    std::fs::create_dir_all(NEW_ROOT).context("making the folder for the root")?;
    mount(
        &root,
        Path::new(NEW_ROOT),
        "erofs",
        MountFlags::RDONLY | MountFlags::NODEV,
        "",
    )?;
    switch_root()?;
    ahead::begin();
    Ok(())
}

/// Makes the mounted root the root of everything, and frees the memory of the initramfs.
fn switch_root() -> Result<()> {
    for folder in ["/proc", "/sys", "/dev"] {
        let target = format!("{NEW_ROOT}{folder}");
        rustix::mount::mount_move(folder, target.as_str())
            .with_context(|| format!("moving {folder} to {target}"))?;
    }
    // Files of the initramfs are memory for as long as they have names.
    let _ = std::fs::remove_dir_all("/modules");
    let _ = std::fs::remove_file("/init");
    rustix::process::chdir(NEW_ROOT).context("going to the root")?;
    rustix::mount::mount_move(".", "/").context("moving the root over the initramfs")?;
    rustix::process::chroot(".").context("making the root the root of process 1")?;
    rustix::process::chdir("/").context("going to /")
}
