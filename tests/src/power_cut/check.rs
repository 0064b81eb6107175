//! Cutting the power many times and looking at each disk.
//!
//! What must be there is a [`Promise`]: given how many acknowledgements had come before the cut, it
//! looks at the disk and says what is wrong. The same promise is used for a few hundred cuts in CI
//! and for thousands in soak.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::crash::{Cutter, Instant, instants};
use super::filesystem;
use super::log::Log;

/// What the guest promised.
pub trait Promise {
    /// Looks at the disk after a cut, with a folder to do it in. `acknowledged` is how many
    /// acknowledgements the host had by then. Gives what is wrong.
    ///
    /// # Errors
    ///
    /// Fails when the disk cannot be looked at, and when its file system is damaged.
    fn look(
        &self,
        disk: &Path,
        folder: &Path,
        acknowledged: usize,
    ) -> Result<Result<(), String>, filesystem::Error>;
}

/// What the guest promised about its files.
pub trait FilePromise {
    /// The folder on the file system whose files matter, such as `/settings`.
    fn folder(&self) -> &str;

    /// Looks at the folder's copy after a cut. `acknowledged` is how many acknowledgements the host
    /// had by then; that many must be kept. Gives what is wrong.
    fn check(&self, copy: &Path, acknowledged: usize) -> Result<(), String>;
}

impl<P: FilePromise> Promise for P {
    fn look(
        &self,
        disk: &Path,
        folder: &Path,
        acknowledged: usize,
    ) -> Result<Result<(), String>, filesystem::Error> {
        filesystem::recover(disk)?;
        let copy = filesystem::copy_out(disk, self.folder(), folder)?;
        Ok(self.check(&copy, acknowledged))
    }
}

/// Judges a count of writes: those that were acknowledged must be `on_disk`, and at most one more,
/// the one that was being made.
pub fn compare(on_disk: u64, acknowledged: usize) -> Result<(), String> {
    let acknowledged = acknowledged as u64;
    if on_disk < acknowledged {
        return Err(format!(
            "write {acknowledged} was acknowledged and write {on_disk} is on the disk"
        ));
    }
    if on_disk > acknowledged + 1 {
        return Err(format!(
            "write {on_disk} is on the disk and nobody had asked for it yet"
        ));
    }
    Ok(())
}

/// A run to be cut.
pub struct Run<'a> {
    /// What the guest wrote.
    pub log: &'a Log,
    /// The disk as it was before the run.
    pub before: &'a Path,
    /// Where on the disk the file system lies, in bytes.
    pub window: Range<u64>,
    /// For each acknowledgement, how many entries the record had when it came, in rising order.
    pub acknowledgements: &'a [usize],
}

/// One cut after which a promise was broken, or the file system.
#[derive(Debug)]
pub struct Failure {
    /// Where the power failed; makes the same disk again.
    pub instant: Instant,
    /// How many acknowledgements had come by then.
    pub acknowledged: usize,
    /// What was wrong.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "power cut after {} writes and {} acknowledgements ({:?}, seed {}): {}",
            self.instant.entries,
            self.acknowledged,
            self.instant.reached,
            self.instant.seed,
            self.reason
        )
    }
}

/// What many cuts showed.
#[derive(Debug)]
pub struct Outcome {
    /// How many disks were made and looked at.
    pub cuts: usize,
    /// Every cut that broke something.
    pub failures: Vec<Failure>,
}

/// Cuts the run `count` times between its first acknowledgement and its end and checks the promise
/// after each. An `Err` means that the checking itself did not work.
pub fn cut(
    run: &Run<'_>,
    promise: &dyn Promise,
    count: usize,
    seed: u64,
) -> Result<Outcome, Box<dyn std::error::Error>> {
    let entries = run.log.entries().len();
    let first = run.acknowledgements.first().copied().unwrap_or(0);
    let mut cutter = Cutter::new(run.log, run.before, run.window.clone())?;
    let folder = tempfile::Builder::new()
        .prefix("power-cut-")
        .tempdir_in(quick_folder())?;
    let disk = folder.path().join("disk");
    let mut outcome = Outcome {
        cuts: 0,
        failures: Vec::new(),
    };
    for instant in instants(first..entries, run.acknowledgements, count, seed) {
        cutter.cut(instant, &disk)?;
        let acknowledged = run
            .acknowledgements
            .partition_point(|at| *at <= instant.entries);
        let copy = tempfile::tempdir_in(folder.path())?;
        let result = match promise.look(&disk, copy.path(), acknowledged) {
            Err(filesystem::Error::Damaged(reason)) => Err(reason),
            other => other?,
        };
        if let Err(reason) = result {
            outcome.failures.push(Failure {
                instant,
                acknowledged,
                reason,
            });
        }
        outcome.cuts += 1;
    }
    Ok(outcome)
}

/// Memory, where there is such a folder: thousands of disks need not reach a real one.
fn quick_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}
