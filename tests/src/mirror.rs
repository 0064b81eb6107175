//! A mirror of releases as a device sees one: a static web server with ranges, that can be told to
//! misbehave.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// What a mirror does to packs. Metadata it serves as it is: a lie there is found by its signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Serves what it has.
    #[default]
    Honest,
    /// Changes a byte of each answer.
    Lying,
    /// Ends each answer early.
    Truncating,
    /// Sends half of each answer, and then nothing, without ending it.
    Stalling,
    /// Has nothing.
    Empty,
}

/// A running mirror. It goes on until the process ends.
#[derive(Clone, Debug)]
pub struct Mirror {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    manner: Mutex<Manner>,
    sent: AtomicU64,
    sent_in_all: AtomicU64,
}

impl Mirror {
    /// Serves a folder on the loopback.
    ///
    /// # Errors
    ///
    /// Fails when there is no port to listen on.
    pub fn start(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("listening for a mirror")?;
        Self::listening(folder, listener)
    }

    /// Serves a folder wherever somebody listens already, such as in a network namespace.
    ///
    /// # Errors
    ///
    /// Fails when nobody knows where that is.
    pub fn listening(folder: &Path, listener: TcpListener) -> Result<Self> {
        let mirror = Self {
            port: listener.local_addr()?.port(),
            shared: Arc::new(Shared {
                folder: folder.to_owned(),
                manner: Mutex::default(),
                sent: AtomicU64::new(0),
                sent_in_all: AtomicU64::new(0),
            }),
        };
        let shared = Arc::clone(&mirror.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A peer that goes away in the middle is no failure of the mirror.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Ok(mirror)
    }

    /// Its address as a machine in QEMU's own network reaches it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://10.0.2.2:{}", self.port)
    }

    /// Changes its manner.
    pub fn behave(&self, manner: Manner) {
        *self
            .shared
            .manner
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many bytes of any files it has sent since it was last asked.
    pub fn take_sent_in_all(&self) -> u64 {
        self.shared.sent_in_all.swap(0, Ordering::Relaxed)
    }

    /// How many bytes of packs it has sent since it was last asked.
    pub fn take_sent(&self) -> u64 {
        self.shared.sent.swap(0, Ordering::Relaxed)
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let mut range = None;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("range: bytes=")
                && let Some((from, to)) = value.split_once('-')
            {
                range = Some((from.parse::<u64>()?, to.parse::<u64>()?));
            }
        }
        let manner = *shared.manner.lock().unwrap_or_else(PoisonError::into_inner);
        let is_pack = path.starts_with("/packs/");
        let hidden = path.contains("..") || (is_pack && manner == Manner::Empty);
        let file = (!hidden).then(|| File::open(shared.folder.join(path.trim_start_matches('/'))));
        let Some(Ok(mut file)) = file else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let size = file.metadata()?.len();
        let (from, to) = range.unwrap_or((0, u64::MAX));
        let to = to.min(size.saturating_sub(1));
        let mut body = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.take((to + 1).saturating_sub(from))
            .read_to_end(&mut body)?;
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{to}/{size}\r\n\r\n",
            body.len()
        )?;
        let length = body.len() as u64;
        shared.sent_in_all.fetch_add(length, Ordering::Relaxed);
        if is_pack {
            shared.sent.fetch_add(length, Ordering::Relaxed);
            match manner {
                Manner::Lying => {
                    let middle = body.len() / 2;
                    body[middle] ^= 1;
                }
                Manner::Truncating => {
                    stream.write_all(&body[..body.len() / 2])?;
                    return Ok(());
                }
                Manner::Stalling => {
                    stream.write_all(&body[..body.len() / 2])?;
                    // Until the other end has lost its patience.
                    let _ = reader.read(&mut [0]);
                    return Ok(());
                }
                Manner::Honest | Manner::Empty => {}
            }
        }
        stream.write_all(&body)?;
    }
}
