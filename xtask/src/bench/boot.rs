//! How long it takes from the start of the machine to what the person sees.
//!
//! Four machines are compared, each started the same way, in turns, so that whatever slows this
//! computer for a while slows all of them: our system, the same kernel with an init that only waits for
//! the display, and the peer with either kernel. Ours is also started by firmware, which is how
//! a device starts; that figure stands by itself.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};

use super::{
    flips::{self, Flushes},
    peer::{self, Peer, PeerKernel},
    table::{Figure, median},
};
use crate::{
    image::{Image, initramfs},
    machine::{Accelerator, Boot, Disk, Machine, Options},
    progress::Progress,
};

/// A start by firmware is only reported, and takes long.
const FIRMWARE_ROUNDS: usize = 3;

/// How long one start may take, the slowest of all on a busy computer included.
const LIMIT: Duration = Duration::from_secs(300);

/// The machines' clock starts just after a full minute, so that no clock on a display changes while
/// it is watched.
const CLOCK: [&str; 2] = ["-rtc", "base=2026-01-01T12:00:03"];

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Our system, up to the lock screen.
    Ours,
    /// The same, started by firmware as a device is.
    Firmware,
    /// Our kernel and an init that only waits for the display.
    DisplayOnly,
    /// The peer, up to its shell.
    Peer(PeerKernel),
}

impl Subject {
    fn words(self) -> &'static str {
        match self {
            Self::Ours => "our system",
            Self::Firmware => "our system, started by firmware",
            Self::DisplayOnly => "an init that only waits for the display",
            Self::Peer(PeerKernel::Ours) => "the peer with our kernel",
            Self::Peer(PeerKernel::Debian) => "the peer with Debian's kernel",
        }
    }
}

/// Starts machines for the bench.
#[derive(Debug)]
pub struct Starter<'a> {
    image: &'a Image,
    disk: PathBuf,
    peer: Option<&'a Peer>,
    folder: &'a Path,
    accelerator: Accelerator,
}

impl<'a> Starter<'a> {
    /// Writes our disk into `folder`, where the machines' logs go too.
    ///
    /// # Errors
    ///
    /// Fails when the disk cannot be written or QEMU not be started.
    pub fn new(image: &'a Image, peer: Option<&'a Peer>, folder: &'a Path) -> Result<Self> {
        let disk = folder.join("disk.img");
        image.write_disk(&disk)?;
        Ok(Self {
            image,
            disk,
            peer,
            folder,
            accelerator: Accelerator::probe()?,
        })
    }

    /// How processors are emulated.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// What can be started here.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let mut subjects = vec![Subject::Ours, Subject::DisplayOnly, Subject::Firmware];
        if self.peer.is_some() {
            subjects.extend([PeerKernel::Ours, PeerKernel::Debian].map(Subject::Peer));
        }
        subjects
    }

    /// Starts a machine from a disk as it was made; `extra` is added to the kernel's command line,
    /// except by firmware, which takes that from the disk.
    ///
    /// # Errors
    ///
    /// Fails when there is no peer to be started, or QEMU does not start.
    pub fn start(&self, subject: Subject, extra: &str) -> Result<Machine> {
        let mut options = Options::new(self.image, &self.disk, &self.folder.join("machine"))?;
        if subject != Subject::Firmware {
            options = options.direct(self.image);
        }
        options.disk = Disk::Forgetful(self.disk.clone());
        options.accelerator = Some(self.accelerator);
        options
            .arguments
            .extend(flips::ARGUMENTS.into_iter().chain(CLOCK).map(str::to_owned));
        let mut line = match &options.boot {
            Boot::Direct { command_line, .. } => command_line.clone(),
            Boot::Firmware | Boot::SecureBoot(_) => String::new(),
        };
        match subject {
            Subject::Ours | Subject::Firmware => {}
            Subject::DisplayOnly => line += " hyper.bench=display-only",
            Subject::Peer(kernel) => {
                let peer = self.peer.context("the peer was left out")?;
                let (kernel, initramfs) = peer.kernel(kernel);
                options.disk = Disk::Forgetful(peer.disk());
                let initramfs = match initramfs {
                    Some(initramfs) => initramfs,
                    None => self.nothing()?,
                };
                options.boot = Boot::Direct {
                    kernel,
                    initramfs,
                    command_line: String::new(),
                };
                line = peer::COMMAND_LINE.to_owned();
            }
        }
        if let Boot::Direct { command_line, .. } = &mut options.boot {
            *command_line = format!("{line} {extra}").trim_end().to_owned();
        }
        Machine::start(options)
    }

    /// An initramfs with nothing in it, so that the kernel mounts the root itself.
    fn nothing(&self) -> Result<PathBuf> {
        let path = self.folder.join("nothing.cpio");
        if !path.exists() {
            let archive = initramfs::Archive::new(Vec::new())
                .finish()
                .context("making an empty initramfs")?;
            fs::write(&path, archive).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(path)
    }

    /// Starts the subject once; seconds until it has what it is measured by.
    fn time(&self, subject: Subject) -> Result<f64> {
        let mut machine = self.start(subject, "")?;
        let time = if subject == Subject::DisplayOnly {
            until_display_ready(&mut machine)?
        } else {
            let mut flushes = Flushes::follow(&machine.options().folder.join("qemu.log"))?;
            // QEMU's time stamps are of the clock on the wall.
            let started = SystemTime::now() - machine.started().elapsed();
            let shown = flips::watch(started, &mut flushes, LIMIT, || machine.picture())?;
            let name = subject.words().replace(['\'', ' '], "-");
            shown
                .picture
                .save(&self.folder.join(format!("{name}.png")))?;
            shown.complete
        };
        machine.cut_power()?;
        Ok(time.as_secs_f64())
    }
}

fn until_display_ready(machine: &mut Machine) -> Result<Duration> {
    loop {
        if machine.serial_log().contains("display ready") {
            return Ok(machine.started().elapsed());
        }
        if !machine.is_running()? || machine.started().elapsed() > LIMIT {
            bail!("the machine that only waits for the display does not say that it is there");
        }
        thread::sleep(Duration::from_millis(4));
    }
}

/// Starts every subject `rounds` times, in turns.
///
/// A subject that cannot be measured does not keep the others from it: it gets an error with the
/// reason.
pub fn times(
    starter: &Starter<'_>,
    rounds: usize,
    progress: &Progress,
) -> BTreeMap<Subject, Result<Vec<f64>>> {
    let round_of = |subject: Subject| match subject {
        Subject::Firmware => rounds.min(FIRMWARE_ROUNDS),
        _ => rounds,
    };
    let mut times: BTreeMap<Subject, Result<Vec<f64>>> = starter
        .subjects()
        .into_iter()
        .map(|subject| (subject, Ok(Vec::new())))
        .collect();
    for round in 1..=rounds {
        for (subject, times) in &mut times {
            let Ok(list) = times else { continue };
            if round > round_of(*subject) {
                continue;
            }
            let what = format!("start {round} of {rounds}: {}", subject.words());
            match progress.step(&what, || starter.time(*subject)) {
                Ok(time) => {
                    progress.note(&format!("{}: {time:.2} s", subject.words()));
                    list.push(time);
                }
                Err(error) => {
                    progress.note(&format!("{}: {error:#}", subject.words()));
                    *times = Err(error.context(subject.words()));
                }
            }
        }
    }
    times
}

/// The lines of the table.
#[must_use]
pub fn figures(times: &BTreeMap<Subject, Result<Vec<f64>>>) -> Vec<Figure> {
    let ours = value(times, Subject::Ours);
    let seconds = Figure::measured("QEMU start to lock screen", 0.0, "s");
    let seconds = match &ours {
        Ok(ours) => Figure {
            value: Some(*ours),
            ..seconds
        },
        Err(reason) => Figure::missing(&seconds.name, "s", reason),
    };
    let seconds = times
        .iter()
        .fold(seconds, |figure, (subject, times)| match times {
            Ok(times) => figure.part(subject.words(), spread(times)),
            Err(error) => figure.part(subject.words(), format!("failed: {error:#}")),
        });
    let ratio = |name: &str, other: Subject, limit: f64| match (&ours, value(times, other)) {
        (Ok(ours), Ok(other)) => Figure::measured(name, ours / other, "").at_most(limit),
        (Err(reason), _) => Figure::missing(name, "", reason).at_most(limit),
        (_, Err(reason)) => Figure::missing(name, "", &reason).at_most(limit),
    };
    let firmware = "start by firmware to lock screen";
    let firmware = match value(times, Subject::Firmware) {
        Ok(time) => Figure::measured(firmware, time, "s"),
        Err(reason) => Figure::missing(firmware, "s", &reason),
    };
    vec![
        seconds,
        firmware,
        ratio(
            "… over an init that only waits for the display",
            Subject::DisplayOnly,
            1.3,
        ),
        ratio(
            "… over the peer with our kernel",
            Subject::Peer(PeerKernel::Ours),
            1.0 / 8.0,
        ),
        ratio(
            "… over the peer with Debian's kernel",
            Subject::Peer(PeerKernel::Debian),
            1.0 / 3.0,
        ),
    ]
}

fn value(times: &BTreeMap<Subject, Result<Vec<f64>>>, subject: Subject) -> Result<f64, String> {
    match times.get(&subject) {
        None => Err("it was left out".to_owned()),
        Some(Err(error)) => Err(format!("{error:#}")),
        Some(Ok(times)) => median(times).ok_or_else(|| "it was never started".to_owned()),
    }
}

fn spread(times: &[f64]) -> String {
    let middle = median(times).unwrap_or_default();
    let (least, most) = times
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), time| {
            (least.min(*time), most.max(*time))
        });
    format!(
        "median {middle:.2} s of {} ({least:.2}–{most:.2})",
        times.len()
    )
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn ratios_are_of_medians_and_a_failure_is_told() {
        let times = BTreeMap::from([
            (Subject::Ours, Ok(vec![2.0, 9.0, 3.0])),
            (Subject::DisplayOnly, Ok(vec![2.0])),
            (Subject::Peer(PeerKernel::Ours), Err(anyhow!("no screen"))),
        ]);
        let figures = figures(&times);
        assert_eq!(figures[0].value, Some(3.0));
        assert_eq!(figures[1].value, None);
        assert_eq!((figures[2].value, figures[2].met), (Some(1.5), Some(false)));
        assert_eq!(figures[3].met, None);
        assert!(figures[3].note.as_ref().unwrap().contains("no screen"));
        assert!(figures[4].note.as_ref().unwrap().contains("left out"));
    }
}
