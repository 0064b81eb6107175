//! The lines on disk: a few files of bounded size, the oldest of which gives way.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::line::{Level, Line};

/// So many files: `0` is written to, the highest number is the oldest.
pub const FILES: u32 = 4;
/// A file that has grown so far is put aside.
pub const FILE_SIZE: u64 = 512 << 10;
/// Lines that wait for a slow disk, at most; beyond, they are only in memory.
const WAITING: usize = 4096;
/// How old a line may get before it is made to survive a power cut: so much of the log can be lost
/// with the power. Warnings and errors, which is what one looks for after a cut, do not wait.
const SYNC_AFTER: Duration = Duration::from_secs(10);

/// Whether a line is worth waking the disk for: a phone's flash has only so many writes in it.
fn is_urgent(level: Level) -> bool {
    matches!(level, Level::Error | Level::Warning)
}

/// A thread that writes lines to files.
#[derive(Debug)]
pub struct DiskLog {
    lines: SyncSender<Line>,
    writer: JoinHandle<()>,
}

impl DiskLog {
    /// Opens the log in `folder` and answers what was there before, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be made, its newest file not be opened or the thread not be made.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<Line>)> {
        std::fs::create_dir_all(folder)?;
        let before = (0..FILES)
            .rev()
            .flat_map(|number| read(&file(folder, number)))
            .collect();
        let mut files = Files::open(folder)?;
        let (lines, receiver) = sync_channel(WAITING);
        let writer = std::thread::Builder::new()
            .name("log".into())
            .stack_size(128 << 10)
            .spawn(move || files.write_all(&receiver))?;
        Ok((Self { lines, writer }, before))
    }

    /// Has a line written when the disk is ready for it; never waits.
    pub fn write(&self, line: Line) {
        // A full queue means a disk that does not keep up. The line is in memory.
        let _ = self.lines.try_send(line);
    }

    /// Writes all that waits, makes it durable and closes the files.
    pub fn close(self) {
        drop(self.lines);
        let _ = self.writer.join();
    }
}

fn file(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number}.log"))
}

/// The lines of a file, without those that a power cut tore.
fn read(file: &Path) -> Vec<Line> {
    let Ok(file) = File::open(file) else {
        return Vec::new();
    };
    BufReader::new(file)
        .split(b'\n')
        .map_while(Result::ok)
        .filter_map(|line| Line::parse(std::str::from_utf8(&line).ok()?))
        .collect()
}

struct Files {
    folder: PathBuf,
    current: File,
    size: u64,
}

impl Files {
    fn open(folder: &Path) -> io::Result<Self> {
        let mut current = OpenOptions::new()
            .append(true)
            .create(true)
            .open(file(folder, 0))?;
        let size = current.seek(SeekFrom::End(0))?;
        let mut files = Self {
            folder: folder.to_owned(),
            current,
            size,
        };
        // The last line may be torn: the next one begins a line of its own.
        files.append(b"\n")?;
        Ok(files)
    }

    fn write_all(&mut self, lines: &Receiver<Line>) {
        let mut unsynced: Option<Instant> = None;
        let mut text = Vec::new();
        loop {
            let next = match unsynced {
                None => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => lines.recv_timeout(SYNC_AFTER.saturating_sub(since.elapsed())),
            };
            let mut urgent = false;
            match next {
                Ok(first) => {
                    text.clear();
                    // Everything that waits goes in one write.
                    for line in std::iter::once(first).chain(lines.try_iter().take(256)) {
                        urgent |= is_urgent(line.level);
                        let _ = writeln!(text, "{line}");
                    }
                    // A full or broken disk loses lines on disk, not in memory; there is nobody
                    // to tell but the log itself.
                    let _ = self.append(&text);
                    unsynced.get_or_insert_with(Instant::now);
                }
                Err(RecvTimeoutError::Timeout) => urgent = true,
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.current.sync_data();
                    return;
                }
            }
            if urgent || unsynced.is_some_and(|since| since.elapsed() >= SYNC_AFTER) {
                let _ = self.current.sync_data();
                unsynced = None;
            }
        }
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + text.len() as u64 > FILE_SIZE {
            self.rotate()?;
        }
        self.current.write_all(text)?;
        self.size += text.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let _ = self.current.sync_data();
        for number in (0..FILES - 1).rev() {
            match std::fs::rename(file(&self.folder, number), file(&self.folder, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let newest = file(&self.folder, 0);
        self.current = OpenOptions::new().append(true).create(true).open(newest)?;
        self.size = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time: u64) -> Line {
        Line {
            time,
            service: "x".into(),
            level: Level::Notice,
            text: "text ".repeat(40),
        }
    }

    #[test]
    fn the_files_stay_within_their_bound_and_keep_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::open(folder.path()).unwrap();
        for time in 0..20_000 {
            files
                .append(format!("{}\n", line(time)).as_bytes())
                .unwrap();
        }
        drop(files);
        let sizes: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert!(sizes.len() as u32 <= FILES, "{sizes:?}");
        assert!(sizes.iter().all(|&size| size <= FILE_SIZE), "{sizes:?}");
        let (disk, before) = DiskLog::open(folder.path()).unwrap();
        disk.close();
        assert_eq!(before.last().map(|line| line.time), Some(19_999));
        assert!(
            before
                .windows(2)
                .all(|pair| pair[0].time + 1 == pair[1].time)
        );
    }

    #[test]
    fn a_torn_line_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(file(folder.path(), 0), "5 4 x whole\n6 4 x to").unwrap();
        std::fs::write(file(folder.path(), 1), b"1 4 x first\n\xff\xfe\n12 junk\n").unwrap();
        let (disk, _) = DiskLog::open(folder.path()).unwrap();
        disk.write(line(7));
        disk.close();
        let (disk, before) = DiskLog::open(folder.path()).unwrap();
        disk.close();
        let times: Vec<_> = before.iter().map(|line| line.time).collect();
        assert_eq!(times, [1, 5, 6, 7]);
    }
}
