//! How long a device takes to restart into a new release, beside restarting into the one that it runs.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::bench::flips::{self, Flushes};
use xtask::bench::table::{Figure, median};
use xtask::machine::{LIMIT, Machine, Options};

use crate::mirror::Mirror;
use crate::phone::Phone;
use crate::releases::{self, Releases};

/// Restarts a phone by its firmware `rounds` times into what it runs, and as often into a new release, in
/// turns, with its files in `folder`: from its reset to what is on the screen in the end.
///
/// # Errors
///
/// Fails when the phone does not do this.
pub fn figure(folder: &Path, rounds: usize) -> Result<Figure> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let phone = Phone::new(folder)?;
    let releases = Releases::new(&phone, folder)?;
    let mirror = Mirror::start(releases.repository())?;
    let mut options = Options::new(&phone.image, &phone.disk, &folder.join("machine"))?;
    options
        .arguments
        .extend(flips::ARGUMENTS.map(str::to_owned));
    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    machine.hyper("settings set display.screen-off-after 0")?;
    releases::follow(&mut machine, &mirror)?;
    let (mut same, mut new) = (Vec::new(), Vec::new());
    for round in 0..rounds.max(1) {
        same.push(restart(&mut machine, "restart")?);
        let version = format!("0.{}.0", round + 2);
        releases.publish(&version, &[], |_, _| Ok(()))?;
        releases::install(&mut machine, &version)?;
        new.push(restart(&mut machine, "update restart")?);
        releases::wait_until_kept(&mut machine, &version)?;
    }
    let middle = |times: &[f64]| median(times).unwrap_or_default();
    Ok(Figure::measured(
        "restart to a new release on the screen, over an ordinary one",
        middle(&new) / middle(&same),
        "",
    )
    .at_most(1.2)
    .part("into a new release", format!("{:.2} s", middle(&new)))
    .part("into the same one", format!("{:.2} s", middle(&same))))
}

/// Seconds from the reset that a command of `hyper` brings about.
fn restart(machine: &mut Machine, command: &str) -> Result<f64> {
    releases::forget_resets(machine)?;
    let log = machine.options().folder.join("qemu.log");
    machine.hyper(command)?;
    let reset = moment(&releases::wait_for_reset(machine)?)?;
    let mut flushes = Flushes::follow(&log)?;
    flushes.forget()?;
    let shown = flips::watch(reset, &mut flushes, LIMIT, || machine.picture())?;
    Ok(shown.complete.as_secs_f64())
}

/// When QEMU says that something happened.
fn moment(event: &Value) -> Result<SystemTime> {
    let part = |name: &str| event["timestamp"][name].as_u64();
    let (Some(seconds), Some(microseconds)) = (part("seconds"), part("microseconds")) else {
        anyhow::bail!("QEMU does not say when it was: {event}");
    };
    Ok(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(microseconds))
}
