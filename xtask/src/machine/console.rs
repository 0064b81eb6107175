//! The console of a running device: command lines of `hyper`, run there.
//!
//! Development images have a service that reads lines from a virtio port, runs each as a `hyper`
//! command line, prints what it prints, and ends with a line `[exit N]`.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

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
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => Lines::connect(&self.socket)?,
        };
        lines.send(line)?;
        let deadline = Instant::now() + limit;
        // The connection is kept only while both sides agree on what was answered.
        loop {
            match lines.next(deadline)? {
                None => bail!(
                    "the device has not answered {line:?} within {} s",
                    limit.as_secs()
                ),
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

    /// Lets others connect: QEMU serves one at a time.
    pub fn disconnect(&mut self) {
        self.lines = None;
    }
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
            while let Some(Ok(line)) = lines.next() {
                write!(stream, "you said {line}\r\n[exit soon]\n[exit 3]\n").unwrap();
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
        drop(console);
        device.join().unwrap();
    }
}
