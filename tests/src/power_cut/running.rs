//! Cutting the power of a running phone while it updates, and starting it again.
//!
//! What [`super::check`] makes of a record is every disk that a cut could leave. What no record has is
//! here: the firmware, with the memory in which it keeps what to start, and the starts that follow, each
//! from what the cut before has left. QEMU is killed, so that what had reached the disk's cache stays.

use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use xtask::machine::{Machine, Options};

use super::installation::SETTING;
use crate::mirror::Mirror;
use crate::phone::Phone;
use crate::releases::{self, Releases};

/// One cut, and what the phone was after it.
#[derive(Debug)]
pub struct Cut {
    /// How long after the phone was told to install.
    pub after: Duration,
    /// What it was installing.
    pub version: String,
    /// What it says of its releases since it was started again.
    pub status: String,
}

/// Updates the phone once without a cut, to see how long that takes, and then `count` times more, each time
/// with one cut. The cuts are spread over that time, from the wish to install to the confirmation,
/// each by chance within its share.
///
/// # Errors
///
/// Fails when the phone does not come up again, runs something else than the release before or the one
/// that was being installed, or has lost what the owner set.
pub fn run(
    folder: &Path,
    phone: &Phone,
    releases: &Releases<'_>,
    count: u32,
    seed: u64,
) -> Result<Vec<Cut>> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mirror = Mirror::start(releases.repository())?;
    let options = Options::new(&phone.image, &phone.disk, &folder.join("machine"))?;
    let mut machine = Machine::start(options.clone())?;
    machine.wait_for_page("lock")?;
    machine.hyper(&format!("settings set {} {}", SETTING.0, SETTING.1))?;
    releases::follow(&mut machine, &mirror)?;
    let mut runs = "0.2.0".to_owned();
    releases.publish(&runs, &[], |_, _| Ok(()))?;
    let begun = Instant::now();
    update(&mut machine, &runs)?;
    let whole = begun.elapsed();
    println!("without a cut: {:.1} s", whole.as_secs_f64());
    let mut cuts = Vec::new();
    for number in 0..count {
        let version = format!("0.{}.0", number + 3);
        releases.publish(&version, &[], |_, _| Ok(()))?;
        let after = whole.mul_f64((f64::from(number) + chance.f64()) / f64::from(count));
        let fuse = Fuse::light(&machine, after)?;
        let updated = update(&mut machine, &version);
        // It may be quicker than it was; then the cut comes right behind the confirmation.
        if !fuse.put_out()? {
            updated?;
        }
        machine.cut_power()?;

        machine = Machine::start(options.clone())?;
        machine.wait_for_page("lock")?;
        // The start into it, or into the one before, ends a trial.
        let status = machine.wait_for_answer("update", |status| {
            status.contains("runs in slot") && !status.contains("is being tried")
        })?;
        let before = [&runs, &version]
            .into_iter()
            .find(|release| status.contains(&format!("{release} runs in slot")))
            .with_context(|| {
                machine.evidence(&format!(
                    "a cut {after:?} into the installation of {version} over {runs}: {status}"
                ))
            })?;
        runs = before.clone();
        let value = machine.hyper(&format!("settings get {}", SETTING.0))?;
        ensure!(
            value.contains(SETTING.1),
            machine.evidence(&format!("{} is {value} after a cut", SETTING.0))
        );
        let cut = Cut {
            after,
            version,
            status,
        };
        println!(
            "cut {:.1} s into the installation of {}: {}",
            cut.after.as_secs_f64(),
            cut.version,
            cut.status.trim().replace('\n', "; ")
        );
        cuts.push(cut);
    }
    Ok(cuts)
}

/// Installs a release, restarts into it, and waits until it is kept.
fn update(machine: &mut Machine, version: &str) -> Result<()> {
    releases::install(machine, version)?;
    releases::restart(machine)?;
    releases::wait_until_kept(machine, version)
}

/// Ends QEMU after a while, whatever the test is doing with it meanwhile.
struct Fuse {
    put_out: mpsc::Sender<()>,
    thread: JoinHandle<Result<bool>>,
}

impl Fuse {
    fn light(machine: &Machine, after: Duration) -> Result<Self> {
        let process = i32::try_from(machine.process())
            .ok()
            .and_then(Pid::from_raw)
            .context("the process of QEMU has no number")?;
        // Not by number: another process may have it by then.
        let process = pidfd_open(process, PidfdFlags::empty()).context("looking for QEMU")?;
        let (put_out, waits) = mpsc::channel();
        let thread = thread::spawn(move || match waits.recv_timeout(after) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                pidfd_send_signal(&process, Signal::KILL).context("ending QEMU")?;
                Ok(true)
            }
            _ => Ok(false),
        });
        Ok(Self { put_out, thread })
    }

    /// Ends the waiting. Whether the power was cut before.
    fn put_out(self) -> Result<bool> {
        // It is gone where it has cut the power.
        let _ = self.put_out.send(());
        match self.thread.join() {
            Ok(cut) => cut,
            Err(_) => bail!("the thread that cuts the power has panicked"),
        }
    }
}
