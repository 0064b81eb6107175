//! The two slots of a device, and the trial of a new release.
//!
//! A release is written to the slot that does not run (by `system/update`, which knows nothing of
//! firmware). Process 1 has the firmware start that slot once (`BootNext`); process 1 of the new
//! release then decides whether it is kept:
//!
//! | state of a trial | how it is left |
//! |---|---|
//! | *asked for*: noted, `BootNext` set, the old release runs | a restart; or it is taken back |
//! | *trying*: the new release runs, and `BootOrder` still says the old one | all checks of the product have held for [`STEADY`]: `BootOrder` is changed, **kept**; their time is over: the reason is noted and the device restarted, **fell back**; it hangs: the watchdog or `panic=` restarts it, and the old release, finding itself running, notes **fell back** |
//!
//! What decides is the firmware's `BootOrder` alone, written by one call. The note of the trial
//! (`/data/slots/trial`) only tells the owner.
//!
//! # Promises
//!
//! - Nothing but a confirmed boot, and a root that cannot be opened, changes what the firmware starts by
//!   default.
//! - A partition counts as a slot's only on the disk that the system was started from, whatever those on
//!   a stick are called.
//! - A device whose firmware did not start this disk is told so instead of being updated.
//! - None of this stands in the way of a start: the firmware is first asked when the services run.

mod confirm;
mod disk;
pub mod firmware;
pub mod load_option;
pub mod security_version;
pub mod variables;
pub mod watchdog;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use store::Store;
use tokio::sync::OnceCell;

pub use confirm::{Check, Checks};
use firmware::Firmware;

use crate::command_line::CommandLine;
use crate::device::uevent::UeventSocket;
use crate::device::{partition, stick};
use crate::log::Level;
use crate::sandbox::Place;
use crate::system::SharedLog;

/// For how long the checks have to hold.
pub const STEADY: Duration = Duration::from_secs(10);

/// The partitions are those of the disk that runs: they are there.
const PARTITION_WAIT: Duration = Duration::from_secs(2);

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// `esp-a` and `root-a`.
    A,
    /// `esp-b` and `root-b`.
    B,
}

impl Slot {
    /// Reads `a` or `b`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }

    /// The one that is not this one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// How a trial came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing is decided.
    Trying,
    /// The release held.
    Kept,
    /// It did not, for this reason.
    FellBack(String),
}

/// A try of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The slot that is tried.
    pub slot: Slot,
    /// The release in it.
    pub version: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What is kept in `/data/slots/trial`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Note {
    trial: Option<Trial>,
}

store::first_version!(Note);

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The slot that runs.
    pub running: Option<Slot>,
    /// Why the firmware cannot be told which slot to start.
    pub problem: Option<String>,
    /// The slot that the firmware starts when nobody says otherwise.
    pub first: Option<Slot>,
    /// What still has to hold before this release is kept.
    pub awaited: Vec<String>,
    /// The last try.
    pub trial: Option<Trial>,
}

/// The slots, shared by process 1's interface and by the task that confirms.
#[derive(Clone, Debug)]
pub struct Slots {
    running: Option<Slot>,
    security_version: Option<u32>,
    data: PathBuf,
    log: SharedLog,
    state: Arc<OnceCell<Mutex<State>>>,
}

#[derive(Debug)]
struct State {
    firmware: Result<Firmware, String>,
    note: Option<Store<Note>>,
    awaited: Vec<String>,
}

impl Slots {
    /// Nothing is asked of anybody yet. What runs is what the command line says.
    pub fn new(place: &Place, line: &CommandLine, log: SharedLog) -> Self {
        let running = line.slot.as_deref().and_then(Slot::parse);
        Self {
            running: running.filter(|_| !place.layer),
            security_version: line.security_version,
            data: place.data.join("slots"),
            log,
            state: Arc::default(),
        }
    }

    /// How things stand.
    pub async fn status(&self) -> Status {
        let state = self.state().await;
        Status {
            running: self.running,
            problem: state.firmware.as_ref().err().cloned(),
            first: state
                .firmware
                .as_ref()
                .ok()
                .and_then(|firmware| firmware.first().ok().flatten()),
            awaited: state.awaited.clone(),
            trial: state
                .note
                .as_ref()
                .and_then(|note| note.value().trial.clone()),
        }
    }

    /// Has the other slot started once.
    ///
    /// # Errors
    /// When there is none, when this release itself is still on trial, and when the firmware
    /// refuses.
    pub async fn try_other(&self, version: String) -> Result<()> {
        let running = self.running.context("this system has no slots")?;
        let mut state = self.state().await;
        ensure!(
            state.awaited.is_empty(),
            "the release that runs is itself on trial: wait until it is confirmed"
        );
        let firmware = state.firmware.clone().map_err(|problem| anyhow!(problem))?;
        state.note(Trial {
            slot: running.other(),
            version,
            outcome: Outcome::Trying,
        })?;
        firmware.try_next(running.other())
    }

    /// Takes that back.
    ///
    /// # Errors
    /// When the firmware refuses.
    pub async fn forget(&self) -> Result<()> {
        let mut state = self.state().await;
        let firmware = state.firmware.clone().map_err(|problem| anyhow!(problem))?;
        firmware.forget_next()?;
        match &mut state.note {
            Some(note) => Ok(note.update(|note| note.trial = None)?),
            None => Ok(()),
        }
    }

    /// The state, opened by whoever asks first.
    async fn state(&self) -> MutexGuard<'_, State> {
        let state = self
            .state
            .get_or_init(async || {
                let (running, data, log) = (self.running, self.data.clone(), self.log.clone());
                let opened = tokio::task::spawn_blocking(move || State::open(running, &data, &log));
                Mutex::new(opened.await.unwrap_or_else(|error| State {
                    firmware: Err(format!("asking the firmware failed: {error}")),
                    note: None,
                    awaited: Vec::new(),
                }))
            })
            .await;
        // The state is whole between any two of its lines.
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(running: Option<Slot>, data: &Path, log: &SharedLog) -> Self {
        let firmware = match running {
            Some(running) => open_firmware(running).map_err(|error| format!("{error:#}")),
            None => Err("this system runs as a layer, without slots of its own".to_owned()),
        };
        if let (Err(problem), Some(_)) = (&firmware, running) {
            log.say(Level::Notice, format!("there are no updates: {problem}"));
        }
        if let (Ok(firmware), Some(running)) = (&firmware, running)
            && firmware.gave_way(running.other()).unwrap_or_default()
        {
            let other = running.other();
            log.say(
                Level::Warning,
                format!("slot {other} could not be started: its root is damaged, or its release older than this device starts; the next release is written to it"),
            );
        }
        let note = std::fs::create_dir_all(data)
            .with_context(|| format!("making the folder {}", data.display()))
            .and_then(|()| Ok(store::open::<Note>(&data.join("trial"))?.store));
        let note = match note {
            Ok(note) => Some(note),
            Err(error) => {
                log.say(Level::Error, format!("trials are not noted: {error:#}"));
                None
            }
        };
        let mut state = Self {
            firmware,
            note,
            awaited: Vec::new(),
        };
        if let Some(running) = running {
            state.settle(running, log);
        }
        state
    }

    /// A trial of the other slot that ended without a word ended badly.
    fn settle(&mut self, running: Slot, log: &SharedLog) {
        let trial = self
            .note
            .as_ref()
            .and_then(|note| note.value().trial.clone());
        if let Some(trial) = trial
            && trial.outcome == Outcome::Trying
            && trial.slot != running
        {
            let reason = "it did not come up: its boot file was refused, it is older than \
                          this device starts, it hung until the watchdog reset the device, it panicked, or the power failed";
            log.say(
                Level::Warning,
                format!("release {} fell back: {reason}", trial.version),
            );
            let outcome = Outcome::FellBack(reason.to_owned());
            if let Err(error) = self.note(Trial { outcome, ..trial }) {
                log.say(Level::Error, format!("{error:#}"));
            }
        }
    }

    fn note(&mut self, trial: Trial) -> Result<()> {
        let note = self
            .note
            .as_mut()
            .context("the trial cannot be noted: /data is not in order")?;
        note.replace(Note { trial: Some(trial) })
            .context("noting the trial")
    }
}

/// The firmware, with our entries in it.
fn open_firmware(running: Slot) -> Result<Firmware> {
    ensure!(
        Path::new("/sys/firmware/efi").is_dir(),
        "the firmware did not start this disk (an emulator or a boot loader did), so it cannot be told to start another release"
    );
    let disk = stick::system_disk()
        .context("the root that runs is on no disk that has slots: it was not verified")?;
    let firmware = firmware_of(disk)?;
    firmware
        .prepare(running)
        .context("making the firmware's entries for the slots and recovery")?;
    Ok(firmware)
}

/// The firmware, as far as it decides between the slots of a disk, which is its folder of `/sys/devices`.
///
/// # Errors
/// When the firmware's variables cannot be mounted, or the disk has no two boot partitions.
pub fn firmware_of(disk: &Path) -> Result<Firmware> {
    let variables = variables::mounted()?;
    let events = UeventSocket::open()?;
    let esp = |slot: Slot| {
        let deadline = Instant::now() + PARTITION_WAIT;
        let node = partition::find(&format!("esp-{slot}"), Some(disk), &events, deadline)?;
        disk::partition(&node)
    };
    Ok(Firmware::new(variables, esp(Slot::A)?, esp(Slot::B)?))
}
