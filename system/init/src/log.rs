//! The log of the device: what services and the kernel say, in memory and on disk.
//!
//! Lines are kept in memory up to a bound and written to `/data/log` by a thread of its own, so
//! that a slow disk never holds up process 1. What was on disk before the start is read back, so
//! the lines before a crash can be read after it.

mod disk;
pub mod kernel;
mod line;
mod ring;
pub mod trace;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

pub use disk::{DiskLog, FILE_SIZE, FILES};
pub use line::{Level, Line, read_prefix};
use ring::Ring;

/// Followers that fall behind by so many lines are dropped.
const FOLLOWER_ROOM: usize = 1024;

/// The whole log.
#[derive(Debug, Default)]
pub struct Log {
    ring: Ring,
    disk: Option<DiskLog>,
    followers: Vec<mpsc::Sender<Line>>,
    /// Repeats every line on standard error, for whoever runs this on a desktop.
    echo: bool,
}

impl Log {
    /// A log in memory, repeated on standard error when `echo` is set.
    pub fn new(echo: bool) -> Self {
        Self {
            echo,
            ..Self::default()
        }
    }

    /// Reads back what `folder` holds and from now on writes there too, with everything that was
    /// written before.
    ///
    /// # Errors
    /// When the folder cannot be made or its newest file not be opened.
    pub fn keep_in(&mut self, folder: &Path) -> std::io::Result<()> {
        let (disk, before) = DiskLog::open(folder)?;
        for line in self.ring.newest(None, usize::MAX) {
            disk.write(line);
        }
        self.ring.put_before(before);
        self.disk = Some(disk);
        Ok(())
    }

    /// Writes a line, now.
    pub fn write(&mut self, service: &str, level: Level, text: impl Into<String>) {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.push(Line {
            time: time.as_millis().try_into().unwrap_or(u64::MAX),
            service: service.into(),
            level,
            text: line::clean(text.into()),
        });
    }

    fn push(&mut self, line: Line) {
        if self.echo {
            eprintln!("{line}");
        }
        self.followers
            .retain(|follower| follower.try_send(line.clone()).is_ok());
        if let Some(disk) = &self.disk {
            disk.write(line.clone());
        }
        self.ring.push(line);
    }

    /// The newest lines, oldest first: of one service or of all.
    pub fn newest(&self, service: Option<&str>, lines: usize) -> Vec<Line> {
        self.ring.newest(service, lines)
    }

    /// Every line from now on. A follower that does not read is dropped after
    /// 1024 lines.
    pub fn follow(&mut self) -> mpsc::Receiver<Line> {
        let (sender, receiver) = mpsc::channel(FOLLOWER_ROOM);
        self.followers.push(sender);
        receiver
    }

    /// Has everything written to disk, and lets go of it, so that it can be unmounted.
    pub fn close(&mut self) {
        if let Some(disk) = self.disk.take() {
            disk.close();
        }
    }
}
