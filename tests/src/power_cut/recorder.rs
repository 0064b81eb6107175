//! Running a machine on a disk whose writes are recorded.
//!
//! [`Recording`] gives the arguments for QEMU and afterwards keeps account of what was acknowledged
//! when. The guest must not start its next write before the host has noted the last acknowledgement,
//! or the position noted would be too late and the test weaker; so the guest waits to be told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::log::{Error, Log};

/// What a machine writes to one of its disks.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    log: Option<Log>,
    acknowledged: Vec<usize>,
}

impl Recording {
    /// Makes the file for the record, empty. A record is of one run: an older file is replaced.
    pub fn create(path: &Path) -> std::io::Result<Recording> {
        std::fs::write(path, [])?;
        Ok(Recording {
            path: path.into(),
            log: None,
            acknowledged: Vec::new(),
        })
    }

    /// QEMU's arguments for a raw disk image with this record beside it: a block node called `name`
    /// that a `virtio-blk-pci,drive=name` can use. The image is changed by the run; keep a copy as
    /// it was before.
    pub fn arguments(&self, image: &Path, name: &str) -> Vec<OsString> {
        // Zeros are written as they came, and each write is recorded before it is answered.
        let mut driver = OsString::from(format!(
            "driver=blklogwrites,node-name={name},log-super-update-interval=1,"
        ));
        driver.push("file.driver=raw,file.file.driver=file,file.file.locking=off,detect-zeroes=off,file.file.filename=");
        driver.push(image);
        driver.push(",log.driver=raw,log.file.driver=file,log.file.locking=off,log.file.filename=");
        driver.push(&self.path);
        vec!["-blockdev".into(), driver]
    }

    /// Notes that everything the guest acknowledged so far is in the record by now. Gives the
    /// number of the acknowledgement, counted from 0.
    pub fn acknowledge(&mut self) -> Result<usize, Error> {
        let entries = self.advance()?;
        self.acknowledged.push(entries);
        Ok(self.acknowledged.len() - 1)
    }

    /// How many entries the record has now.
    pub fn advance(&mut self) -> Result<usize, Error> {
        let log = match &mut self.log {
            Some(log) => log,
            none => none.insert(open_when_written(&self.path)?),
        };
        log.advance()
    }

    /// The finished record and, for each acknowledgement, how many entries it had then.
    pub fn finish(mut self) -> Result<(Log, Vec<usize>), Error> {
        self.advance()?;
        let log = match self.log {
            Some(log) => log,
            None => Log::open(&self.path)?,
        };
        Ok((log, self.acknowledged))
    }
}

/// The superblock comes with the first write; a guest that has acknowledged anything has made one, so
/// this waits only for QEMU's own order of things.
fn open_when_written(path: &Path) -> Result<Log, Error> {
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        match Log::open(path) {
            Err(_) if Instant::now() < limit => std::thread::sleep(Duration::from_millis(10)),
            result => return result,
        }
    }
}
