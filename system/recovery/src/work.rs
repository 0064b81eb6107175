//! What recovery does, one thing after the other, on a thread of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use init::fatal;
use init::slots::Slot;
use release::Version;
use rustix::system::RebootCommand;
use update::install::{Installation, Progress, Step};
use update::source::Source;
use update::supply::Supply;

use crate::candidate::{Candidate, candidates, size_text};
use crate::device::{Target, must_own_disk, own_disk};
use crate::new_disk::{self, Plan};
use crate::offer::{self, Found, Wanted};

/// For how long new partitions may still be announced when an installation has failed.
const ANNOUNCED: Duration = Duration::from_secs(1);

/// For how long the last sentence can be read.
const LAST_WORD: Duration = Duration::from_secs(3);

/// What the person asks for, or what was plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// To look what is plugged in.
    Look,
    /// To install what was found.
    Install,
    /// To take the disk of this number, from 0, for the system: asked once more before it is done.
    Choose(usize),
    /// To erase the disk that was chosen, and install on it.
    Erase,
    /// To start the system as if nothing had been wrong.
    StartAgain,
    /// To turn the device off.
    PowerOff,
}

/// What there is to be seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// It looks at what is plugged in.
    Looking,
    /// There is nothing that could be installed, for these reasons, if anything was plugged in.
    Nothing(Vec<String>),
    /// There is a release.
    Found {
        /// Its version.
        version: String,
        /// Where it is.
        source: String,
        /// It is older than this recovery.
        older: bool,
        /// What was wrong with other sticks.
        problems: Vec<String>,
    },
    /// There is a release, no disk of this system, and disks that could be one.
    Disks {
        /// Its version.
        version: String,
        /// The disks, with their sizes.
        disks: Vec<String>,
        /// What was wrong with others, and with other sticks.
        problems: Vec<String>,
    },
    /// A disk was chosen.
    Chosen {
        /// The version of the release.
        version: String,
        /// The disk, with its size.
        disk: String,
        /// What its partitions are called.
        partitions: Vec<String>,
    },
    /// It is being written, or what was written is being read back.
    Installing {
        /// Its version.
        version: String,
        /// Whether it is read back.
        checking: bool,
        /// How far it is, from 0 to 100.
        percent: u8,
    },
    /// It was not installed.
    Failed {
        /// Its version.
        version: String,
        /// Why.
        reason: String,
    },
    /// It is installed, and started now.
    Done {
        /// Its version.
        version: String,
    },
}

/// Who does it.
pub struct Worker {
    /// The version of this recovery.
    pub version: Version,
    /// What a release has to be for.
    pub wanted: Wanted,
    /// The keys that are believed; none in an image that was made without.
    pub keys: Result<Vec<u8>>,
    /// For names of what is plugged in, and for the boot file while it is put together.
    pub folder: PathBuf,
    /// Who wants to know.
    pub show: Box<dyn FnMut(Shown) + Send>,
    /// What was found last.
    pub found: Option<Found>,
    /// What a new disk becomes; none in an image that was made without.
    pub plan: Result<Plan>,
    /// The disks that could be taken.
    pub disks: Vec<Candidate>,
    /// The one that was chosen.
    pub chosen: Option<Candidate>,
}

impl Worker {
    /// Does what it is told until nobody tells any more.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn run(mut self, commands: &Receiver<Command>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("making the loop of recovery")?;
        let mut next = None;
        loop {
            let Some(command) = next.take().or_else(|| commands.recv().ok()) else {
                return Ok(());
            };
            match command {
                Command::Look => {
                    // A stick is announced several times: itself, and each of its partitions.
                    next = commands.try_iter().find(|other| *other != Command::Look);
                    runtime.block_on(self.look());
                }
                Command::Install => runtime.block_on(self.install(None)),
                Command::Choose(number) => self.choose(number),
                Command::Erase => {
                    let chosen = self.chosen.take();
                    runtime.block_on(self.install(chosen));
                    // The new partitions were announced too; what was said of them is to be read.
                    while commands.recv_timeout(ANNOUNCED).is_ok() {}
                }
                Command::StartAgain => self.start_again(),
                Command::PowerOff => turn_off(),
            }
        }
    }

    async fn look(&mut self) {
        (self.show)(Shown::Looking);
        self.found = None;
        self.chosen = None;
        let shown = match self.look_at_sticks().await {
            Ok(shown) => shown,
            Err(error) => Shown::Nothing(vec![format!("{error:#}")]),
        };
        (self.show)(shown);
    }

    async fn look_at_sticks(&mut self) -> Result<Shown> {
        let own = own_disk()?;
        let sticks = offer::plugged_in(&self.folder.join("sticks"), own.as_deref())?;
        let disks_of_sticks: Vec<_> = sticks.iter().filter_map(offer::disk_of).collect();
        let keys = match &self.keys {
            Ok(keys) => keys,
            Err(error) => return Ok(Shown::Nothing(vec![format!("{error:#}")])),
        };
        let looked = offer::look(sticks, keys, &self.wanted).await;
        let Some(found) = looked.found else {
            return Ok(Shown::Nothing(looked.problems));
        };
        if own.is_none() {
            let version = found.manifest.version.to_string();
            self.found = Some(found);
            return self.look_at_disks(version, &disks_of_sticks, looked.problems);
        }
        let shown = Shown::Found {
            version: found.manifest.version.to_string(),
            source: found.stick.to_string(),
            older: found.manifest.version < self.version,
            problems: looked.problems,
        };
        self.found = Some(found);
        Ok(shown)
    }

    /// A machine without this system: where it could be installed.
    fn look_at_disks(
        &mut self,
        version: String,
        sticks: &[PathBuf],
        mut problems: Vec<String>,
    ) -> Result<Shown> {
        let plan = self.plan.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        let found = candidates(Path::new("/sys/block"), sticks, plan.layout.size());
        problems.extend(found.reasons);
        self.disks = found.disks;
        if self.disks.is_empty() {
            problems.insert(0, "no disk of this machine can be installed on".to_owned());
            return Ok(Shown::Nothing(problems));
        }
        Ok(Shown::Disks {
            version,
            disks: self.disks.iter().map(name).collect(),
            problems,
        })
    }

    fn choose(&mut self, number: usize) {
        let (Some(disk), Some(found)) = (self.disks.get(number), &self.found) else {
            return;
        };
        (self.show)(Shown::Chosen {
            version: found.manifest.version.to_string(),
            disk: name(disk),
            partitions: disk.partitions.clone(),
        });
        self.chosen = Some(disk.clone());
    }

    /// Installs what was found: on a disk that is erased for it, or on that of this device.
    async fn install(&mut self, new: Option<Candidate>) {
        let Some(found) = self.found.clone() else {
            return self.look().await;
        };
        let version = found.manifest.version.to_string();
        match self.write(&found, new.as_ref()).await {
            Ok(slot) => {
                (self.show)(Shown::Done { version });
                tokio::time::sleep(LAST_WORD).await;
                fatal::restart(format_args!("recovery: starting slot {slot}"));
            }
            Err(error) => {
                let reason = format!("{error:#}");
                (self.show)(Shown::Failed { version, reason });
            }
        }
    }

    /// Writes it, and has the firmware start it.
    async fn write(&mut self, found: &Found, new: Option<&Candidate>) -> Result<Slot> {
        let version = found.manifest.version.to_string();
        let target = match (new, &self.plan) {
            (None, _) => Target::find(&self.folder)?,
            (Some(disk), Ok(plan)) => {
                (self.show)(Shown::Installing {
                    version: version.clone(),
                    checking: false,
                    percent: 0,
                });
                plan.begin(disk, &self.folder)?
            }
            (Some(_), Err(error)) => bail!("{error:#}"),
        };
        let mut last = None;
        let show = &mut self.show;
        let mut observe = |progress: Progress| {
            let shown = installing(&version, progress);
            if last.as_ref() != Some(&shown) {
                last = Some(shown.clone());
                show(shown);
            }
        };
        let mut supply = Supply::new(vec![Source::Stick(found.stick.clone())]);
        Installation {
            manifest: &found.manifest,
            slot: &target.slot.to_string(),
            disks: &target.disks,
            supply: &mut supply,
            observe: &mut observe,
            cancelled: &AtomicBool::new(false),
        }
        .run()
        .await?;
        if let Some(disk) = new {
            new_disk::finish(disk)?;
        }
        target
            .firmware
            .prepare(target.slot)
            .and_then(|()| target.firmware.keep(target.slot))
            .context("telling the firmware to start what was installed")?;
        Ok(target.slot)
    }

    /// Has the firmware start what it started before any of it failed.
    fn start_again(&mut self) {
        let start = || -> Result<()> {
            let firmware = init::slots::firmware_of(&must_own_disk()?)?;
            let slot = firmware.first()?.unwrap_or(Slot::A);
            firmware.prepare(slot)?;
            firmware.keep(slot)
        };
        match start() {
            Ok(()) => fatal::restart("recovery: starting the system again"),
            Err(error) => {
                let reason = format!("the firmware cannot be told to start the system: {error:#}");
                (self.show)(Shown::Nothing(vec![reason]));
            }
        }
    }
}

fn name(disk: &Candidate) -> String {
    format!("{}, {}", disk.name, size_text(disk.size))
}

fn installing(version: &str, progress: Progress) -> Shown {
    let percent = progress.done.saturating_mul(100) / progress.total.max(1);
    Shown::Installing {
        version: version.to_owned(),
        checking: matches!(progress.step, Step::Verifying | Step::Finishing),
        percent: u8::try_from(percent).unwrap_or(100),
    }
}

fn turn_off() {
    fatal::say("recovery: turning off");
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        fatal::say(format_args!(
            "recovery: the kernel refused to turn the device off: {error}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_shown_by_the_percent() {
        let shown = |step, done| {
            let progress = Progress {
                step,
                done,
                total: 1000,
                downloaded: 0,
            };
            installing("0.2.0", progress)
        };
        let expected = |checking, percent| Shown::Installing {
            version: "0.2.0".into(),
            checking,
            percent,
        };
        assert_eq!(shown(Step::Comparing, 0), expected(false, 0));
        assert_eq!(shown(Step::Writing, 119), expected(false, 11));
        assert_eq!(shown(Step::Verifying, 1000), expected(true, 100));
        assert_eq!(shown(Step::Finishing, 1000), expected(true, 100));
    }
}
