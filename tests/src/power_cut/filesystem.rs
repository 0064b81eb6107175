//! Looking into the file system that a power cut left behind, without mounting it and without root.
//!
//! `init`'s own code puts a torn superblock together, `e2fsck` replays ext4's journal exactly as the
//! kernel does at the next mount, and complains about whatever the journal could not make good; then
//! `debugfs` copies the files out.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use init::boot::superblock;
use xtask::image::partitions::Partition;

/// Why a disk could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool is missing or could not be started.
    #[error(
        "starting {tool} to look at the disk after a power cut: {source} (Debian package e2fsprogs)"
    )]
    Start {
        /// The tool.
        tool: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file system is damaged beyond what its journal restores: a finding, not a mishap.
    #[error("the file system is damaged after the power cut; e2fsck says:\n{0}")]
    Damaged(String),
    /// A copy could not be made or read.
    #[error("making or reading the copy {path}: {source}")]
    Copy {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Copies a partition of a disk into a file of its own, holes as holes: `e2fsck` loses a file system
/// that lies inside of a file when it opens it again.
///
/// # Errors
///
/// Fails when it cannot be read or written.
pub fn take_out(disk: &Path, partition: &Partition, target: &Path) -> Result<(), Error> {
    use rustix::fs::{SeekFrom, seek};
    let copy = || -> io::Result<()> {
        let from = File::open(disk)?;
        let to = File::create(target)?;
        to.set_len(partition.size)?;
        let end = partition.offset + partition.size;
        let mut position = partition.offset;
        while position < end {
            let data = match seek(&from, SeekFrom::Data(position)) {
                Ok(data) if data < end => data,
                Ok(_) | Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            position = seek(&from, SeekFrom::Hole(data))?.min(end);
            seek(&from, SeekFrom::Start(data))?;
            seek(&to, SeekFrom::Start(data - partition.offset))?;
            io::copy(&mut (&from).take(position - data), &mut &to)?;
        }
        Ok(())
    };
    copy().map_err(|source| Error::Copy {
        path: target.into(),
        source,
    })
}

/// Recovers the ext4 file system in the file `disk`, as the next start of a device would.
pub fn recover(disk: &Path) -> Result<(), Error> {
    superblock::mend(disk).map_err(|error| Error::Damaged(format!("{error:#}")))?;
    // 0: clean. 1: put in order, which counters always need after a cut, as they are not journalled.
    let first = run("e2fsck", Command::new("/sbin/e2fsck").arg("-fp").arg(disk))?;
    match first.status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(Error::Damaged(text(&first))),
    }
}

/// Copies `folder` (such as `/settings`) out of a recovered file system into `target`, which must be
/// an existing, empty folder. Gives where the copy is; nothing is there if the folder did not exist.
pub fn copy_out(disk: &Path, folder: &str, target: &Path) -> Result<PathBuf, Error> {
    let request = format!("rdump {folder} {}", target.display());
    run(
        "debugfs",
        Command::new("/sbin/debugfs")
            .args(["-R", &request])
            .arg(disk),
    )?;
    Ok(target.join(folder.trim_start_matches('/')))
}

/// The content of a file in a copy; `None` where there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Copy {
            path: path.into(),
            source,
        }),
    }
}

fn run(tool: &'static str, command: &mut Command) -> Result<Output, Error> {
    command
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .output()
        .map_err(|source| Error::Start { tool, source })
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
