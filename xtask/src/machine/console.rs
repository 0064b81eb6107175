//! The console of a running device: command lines of `hyper`, run there.
//!
//! Development images have a service that reads lines from a virtio port, runs each as a `hyper`
//! command line, prints what it prints, and ends with a line `[exit N]`. A question that was given up
//! may still be answered, to whoever is connected then: so a connection begins with a mark, and what is
//! read before the mark comes back is left.

use std::{
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};

use super::lines::Lines;

/// The name of the socket in a machine's folder.
pub const SOCKET: &str = "console.socket";

/// What a command line printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it printed.
    pub output: String,
    /// Its exit code; 0 when it did what it was asked.
    pub code: i32,
}

/// A way to a device's console. The connection is made when it is needed.
#[derive(Debug)]
pub struct Console {
    socket: PathBuf,
    lines: Option<Lines>,
}

impl Console {
    /// The console of the machine whose files are in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            socket: folder.join(SOCKET),
            lines: None,
        }
    }

    /// Runs `line` as a command line of `hyper`, and passes on each line that it prints.
    ///
    /// # Errors
    ///
    /// Fails when the device does not answer within `limit`.
    pub fn stream(
        &mut self,
        line: &str,
        limit: Duration,
        mut print: impl FnMut(&str),
    ) -> Result<i32> {
        let deadline = Instant::now() + limit;
        let late = || {
            anyhow!(
                "the device has not answered {line:?} within {} s",
                limit.as_secs()
            )
        };
        let mut lines = self.send(line, deadline)?.ok_or_else(late)?;
        loop {
            match lines.next(deadline)? {
                None => return Err(late()),
                Some(text) => match exit_code(&text) {
                    Some(code) => {
                        self.lines = Some(lines);
                        return Ok(code);
                    }
                    None => print(&text),
                },
            }
        }
    }

    /// Runs `line` as a command line of `hyper`.
    ///
    /// # Errors
    ///
    /// Fails when the device does not answer within `limit`.
    pub fn run(&mut self, line: &str, limit: Duration) -> Result<Answer> {
        let mut output = String::new();
        let code = self.stream(line, limit, |text| {
            output.push_str(text);
            output.push('\n');
        })?;
        Ok(Answer { output, code })
    }

    /// Runs `line`, which goes on, until it prints a line that `accept` is content with, and returns that. To leave
    /// the console ends it.
    ///
    /// # Errors
    ///
    /// Fails when the device has not printed such a line within `limit`, and when the command ends before.
    pub fn first(
        &mut self,
        line: &str,
        limit: Duration,
        accept: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + limit;
        let late = || {
            anyhow!(
                "{line:?} has not printed what was waited for within {} s",
                limit.as_secs()
            )
        };
        let mut lines = self.send(line, deadline)?.ok_or_else(late)?;
        while let Some(text) = lines.next(deadline)? {
            if let Some(code) = exit_code(&text) {
                bail!("{line:?} ended with {code} before it printed what was waited for");
            }
            if accept(&text) {
                return Ok(text);
            }
        }
        Err(late())
    }

    /// Sends `line`, and gives the connection on which its answer comes; none when the device is not reached by
    /// the deadline. The connection is put back only where both sides agree on what was answered.
    fn send(&mut self, line: &str, deadline: Instant) -> Result<Option<Lines>> {
        let lines = match self.lines.take() {
            Some(lines) => Some(lines),
            None => begin(&self.socket, deadline)?,
        };
        let Some(mut lines) = lines else {
            return Ok(None);
        };
        lines.send(line)?;
        Ok(Some(lines))
    }

    /// Lets others connect: QEMU serves one at a time.
    pub fn disconnect(&mut self) {
        self.lines = None;
    }
}

/// Connects, and reads up to the mark of this connection; none when that does not come by the deadline.
fn begin(socket: &Path, deadline: Instant) -> Result<Option<Lines>> {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let mark = format!("{}-{number}", process::id());
    let mut lines = Lines::connect(socket)?;
    lines.send(&format!("#{mark}"))?;
    let answer = format!("[mark {mark}]");
    while let Some(line) = lines.next(deadline)? {
        if line == answer {
            return Ok(Some(lines));
        }
    }
    Ok(None)
}

/// The number in `[exit N]`.
fn exit_code(line: &str) -> Option<i32> {
    line.strip_prefix("[exit ")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;

    #[test]
    fn an_answer_ends_with_its_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let device = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            // What somebody asked who left.
            write!(stream, "late\n[exit 0]\n[mark 1]\n").unwrap();
            while let Some(Ok(line)) = lines.next() {
                match line.strip_prefix('#') {
                    Some(mark) => writeln!(stream, "[mark {mark}]").unwrap(),
                    None => write!(stream, "you said {line}\r\n[exit soon]\n[exit 3]\n").unwrap(),
                }
            }
        });
        let mut console = Console::new(folder.path());
        for line in ["one", "two"] {
            let answer = console.run(line, Duration::from_secs(30)).unwrap();
            assert_eq!(
                answer,
                Answer {
                    output: format!("you said {line}\n[exit soon]\n"),
                    code: 3
                }
            );
        }
        let first = console.first("three", Duration::from_secs(30), |text| {
            text.contains("soon")
        });
        assert_eq!(first.unwrap(), "[exit soon]");
        assert!(console.lines.is_none());
        device.join().unwrap();
    }
}
