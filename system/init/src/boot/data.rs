//! `/data`, the one place that is written.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::mount::MountFlags;

use super::mount::{KERNEL_FILES, mount};
use super::{
    grow,
    superblock::{self, Found},
};
use crate::device::uevent::UeventSocket;
use crate::device::{partition, stick};
use crate::fatal;
use crate::log::Level;
use crate::system::SharedLog;

/// The disk is there already, for the root came from it: this is for a `/data` on another one.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Where it is mounted.
pub const FOLDER: &str = "/data";

/// Mounts `/data`.
///
/// ext4 replays its journal while it is mounted, which is what makes it whole after a power cut;
/// `errors=remount-ro` keeps a damaged one from getting worse. When it cannot be mounted, memory
/// takes its place, so that the device can say so on its screen instead of staying dark; the
/// answer is then the reason. What the journal does not cover is put in order before: see
/// [`superblock`]. It is given what its disk has room for: see [`grow`].
///
/// # Errors
/// When not even memory can be mounted there.
pub fn mount_data(events: &UeventSocket, log: &SharedLog) -> Result<Option<String>> {
    // That of the disk which the system was started from, whatever is plugged in.
    let own = stick::system_disk()
        .and_then(|disk| partition::find("data", Some(disk), events, Instant::now()).ok());
    let own = own.inspect(|node| match grow::partition(node) {
        Ok(Some(size)) => log.say(
            Level::Notice,
            format!("the partition of /data has {} MiB now", size >> 20),
        ),
        Ok(None) => {}
        Err(error) => log.say(Level::Warning, format!("/data does not grow: {error:#}")),
    });
    let found = match own.clone() {
        Some(node) => Ok(node),
        None => partition::find("data", None, events, Instant::now() + LONGEST_WAIT),
    };
    let mounted = found.and_then(|node| {
        match superblock::mend(&node) {
            Ok(Found::Mended) => fatal::say("the superblock of /data was torn, and is mended"),
            Ok(Found::Whole | Found::Other) => {}
            Err(error) => fatal::say(format_args!("{error:#}")),
        }
        let flags = KERNEL_FILES | MountFlags::NOATIME;
        mount(&node, Path::new(FOLDER), "ext4", flags, "errors=remount-ro")
    });
    let Err(error) = mounted else {
        if let Some(node) = own {
            grow::begin(&node, Path::new(FOLDER), log);
        }
        return Ok(None);
    };
    let options = "mode=0755,size=25%";
    mount(
        Path::new("tmpfs"),
        Path::new(FOLDER),
        "tmpfs",
        KERNEL_FILES,
        options,
    )?;
    Ok(Some(format!("{error:#}")))
}
