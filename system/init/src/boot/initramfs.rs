//! The first stage, in the initramfs: find the root, have it verified, and go there.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::mount::MountFlags;

use super::choice::{Failed, first_that_opens};
use super::mount::{mount, mount_basics};
use super::{ahead, verity};
use crate::command_line::{CommandLine, Verity};
use crate::device::uevent::UeventSocket;
use crate::device::{display, module, partition};
use crate::fatal;
use crate::slots::{firmware, security_version, watchdog};

/// What the verified device is called, by which the disk below it is found later.
const VERIFIED: &str = "root";
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
/// When the root cannot be found, verified or mounted, and the firmware has nothing else to start.
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
    std::fs::create_dir_all(NEW_ROOT).context("making the folder for the root")?;
    let mounted = security_version::check(command_line.security_version)
        .map_err(Failed::Refused)
        .and_then(|()| mount_root(slot, command_line.verity.as_ref(), &events));
    match mounted {
        Ok(()) => {}
        Err(Failed::Missing(error)) => return Err(error.context("looking for the root")),
        Err(Failed::Refused(error)) => {
            // Starting it again would come to the same: the firmware is to start something else.
            match firmware::give_way() {
                Ok(true) => fatal::restart(format_args!(
                    "{error:#}; the firmware starts what else it has of HyperOS"
                )),
                Ok(false) => return Err(error),
                Err(other) => {
                    fatal::say(format_args!(
                        "asking the firmware for another start: {other:#}"
                    ));
                    return Err(error);
                }
            }
        }
    }
    switch_root()?;
    ahead::begin();
    Ok(())
}

/// Mounts the root of a slot, whichever disk it is on.
fn mount_root(slot: &str, tree: Option<&Verity>, events: &UeventSocket) -> Result<(), Failed> {
    if tree.is_none() {
        fatal::say("the kernel command line names no root hash: the root is NOT verified");
    }
    let name = format!("root-{slot}");
    let open = |node: &Path| -> Result<()> {
        let mount = |device: &Path| {
            let flags = MountFlags::RDONLY | MountFlags::NODEV;
            mount(device, Path::new(NEW_ROOT), "erofs", flags, "")
        };
        let Some(tree) = tree else {
            return mount(node);
        };
        let device = verity::open(VERIFIED, node, tree)?;
        // The file system's first block is the first that is verified.
        let mounted = mount(&device).with_context(|| format!("verifying {}", node.display()));
        if mounted.is_err() {
            verity::close(VERIFIED)?;
        }
        mounted
    };
    let changed = |until: Instant| -> Result<bool> {
        let more = events.wait(until)?;
        while events.receive()?.is_some() {}
        Ok(more)
    };
    first_that_opens(&name, || partition::all(&name), open, changed)
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
