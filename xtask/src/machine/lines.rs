//! Lines from a Unix socket, with deadlines.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A connection that is read line by line. What was read of a line stays when a deadline passes.
#[derive(Debug)]
pub(super) struct Lines {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Lines {
    /// Connects to the socket at `path`.
    ///
    /// The path of a socket must not be longer than 107 bytes, which a checkout deep in someone's
    /// home exceeds: so the folder is opened and the socket named through it.
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let context = || format!("connecting to {}", path.display());
        let folder = File::open(path.parent().unwrap_or(Path::new("."))).with_context(context)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
            .with_context(context)?;
        Ok(Self {
            stream,
            unread: Vec::new(),
        })
    }

    /// Sends `line` with its end.
    pub(super) fn send(&mut self, line: &str) -> Result<()> {
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("sending {line:?}"))
    }

    /// The next line, without its end; none when there is none by the deadline.
    pub(super) fn next(&mut self, deadline: Instant) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(Some(
                    String::from_utf8_lossy(&line)
                        .trim_end_matches(['\r', '\n'])
                        .to_owned(),
                ));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the other side closed the connection"),
                Ok(count) => self.unread.extend(&buffer[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error).context("reading from the machine"),
            }
        }
    }
}
