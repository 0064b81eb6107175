//! One attempt to bring a delivery to the other device.
//!
//! It says what there is, asks what is there already, sends the rest, and asks for the end. Whatever
//! goes wrong ends the attempt; the next one finds out anew how far things are.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::pin::Pin;
use std::time::Duration;

use bus::arrivals::{Batch, Closing, Error, Opening, Piece, Standing, Summary, Whole};
use bus::transfer::{Phase, Problem};
use bus::{Client, Reason};
use bytes::BytesMut;
use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::arriving::digest_of;
use super::book::Book;
use super::scan::{self, Found, Scan};

/// A piece of a file.
const PIECE: usize = 256 * 1024;
/// After so many pieces a file is looked at again.
const LOOK_AFTER: u32 = 64;
/// Calls that wait for their answers at once.
const AT_ONCE: usize = 8;
/// Files up to this size are sent whole, many at a time.
const SMALL: u64 = 128 * 1024;
/// Bytes and files that are sent at once.
const BATCH_BYTES: usize = 384 * 1024;
const BATCH_FILES: usize = 128;
/// How much the other device reads back for one question.
const HELD_BYTES: u64 = 256 * 1024 * 1024;
/// How long reading back, and making durable, may take on a slow disk.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long any other answer may take: a disk that is busy holds it up.
const ANSWER: Duration = Duration::from_secs(60);

/// Why an attempt ended before everything had arrived.
#[derive(Debug)]
pub enum Stop {
    /// The way to the other device broke. Another attempt goes on.
    Broken(String),
    /// The other device knows nothing of it any more. Another attempt begins anew.
    Forgotten,
    /// A file is not what it was when the attempt began. Another attempt begins with what it is.
    Changed(String),
    /// What arrived was not what was sent.
    Damaged(String),
    /// No attempt would do better.
    Failed(Problem),
    /// The person on the other side took it back.
    Cancelled,
}

type Calling = Pin<Box<dyn Future<Output = Result<u64, Stop>> + Send>>;

/// What one attempt needs.
pub struct Attempt<'a> {
    /// The other device.
    pub client: &'a Client,
    /// What the delivery is called between the two devices.
    pub delivery: &'a str,
    /// Where the person sees how far it is.
    pub book: &'a Book,
    /// As the book numbers it.
    pub id: u64,
}

/// What an answer means for the attempt.
fn stopped<T>(answer: Result<Result<T, Error>, bus::Error>) -> Result<T, Stop> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error {
            Error::Full => Stop::Failed(Problem::Full),
            Error::Refused(reason) => Stop::Failed(Problem::Refused(reason)),
            Error::Unsaved(reason) => Stop::Failed(Problem::Unsaved(reason)),
            Error::Unknown => Stop::Forgotten,
            Error::Damaged(reason) => Stop::Damaged(reason),
            Error::Cancelled => Stop::Cancelled,
        }),
        Err(error) => Err(match &error.reason {
            Reason::DeviceRefused { .. } | Reason::UnknownDevice(_) => {
                Stop::Failed(Problem::Refused(error.reason.to_string()))
            }
            _ => Stop::Broken(error.to_string()),
        }),
    }
}

fn unreadable(found: &Found, error: &std::io::Error) -> Stop {
    match error.kind() {
        // It was there when the attempt began.
        std::io::ErrorKind::NotFound => Stop::Changed(found.path.clone()),
        _ => Stop::Failed(Problem::Unreadable(format!("{}: {error}", found.path))),
    }
}

/// Opens a file that was found, and sees that it is still the same.
fn open(found: &Found) -> Result<File, Stop> {
    let file = OpenOptions::new()
        .read(true)
        // What became a link or a pipe meanwhile is neither followed nor waited for.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(&found.place)
        .map_err(|error| unreadable(found, &error))?;
    unchanged(found, &file)?;
    Ok(file)
}

fn unchanged(found: &Found, file: &File) -> Result<(), Stop> {
    let metadata = file.metadata().map_err(|error| unreadable(found, &error))?;
    let is_same = metadata.is_file()
        && metadata.len() == found.size
        && scan::modified(&metadata) == found.modified;
    if is_same {
        Ok(())
    } else {
        Err(Stop::Changed(found.path.clone()))
    }
}

/// Reads until a buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The beginning of a file that the other device has: its length and digest.
type Part = (u64, Vec<u8>);

impl Attempt<'_> {
    /// Sends what is missing of a scan, until all of it has arrived.
    pub async fn run(&self, scan: &Scan) -> Result<(), Stop> {
        let summary = Summary {
            names: scan.names.clone(),
            files: scan.files.len().try_into().unwrap_or(u32::MAX),
            folders: scan.folders.len().try_into().unwrap_or(u32::MAX),
            bytes: scan.bytes,
            contents: scan.contents().into(),
        };
        self.book.change(self.id, |delivery| {
            delivery.files = summary.files;
            delivery.skipped = scan.skipped;
            delivery.bytes = scan.bytes;
            (delivery.done, delivery.resumed) = (0, 0);
        });
        let client = self.client.with_deadline(ANSWER);
        let begun = bus::arrivals::begin(&client, self.delivery, &summary).await;
        let held = match stopped(begun)? {
            Standing::Finished => return Ok(()),
            Standing::Fresh => HashMap::new(),
            Standing::Resuming => self.held(scan).await?,
        };
        self.book
            .change(self.id, |delivery| delivery.phase = Phase::Running);
        let mut sending = Sending {
            attempt: self,
            client,
            calls: FuturesUnordered::new(),
            batch: Batch {
                delivery: self.delivery.to_owned(),
                folders: Vec::new(),
                files: Vec::new(),
            },
            batch_bytes: 0,
        };
        match sending.everything(scan, &held).await {
            Err(Stop::Forgotten) => return Err(sending.why_forgotten().await),
            sent => sent?,
        }
        let client = self.client.with_deadline(PATIENCE);
        stopped(bus::arrivals::finish(&client, self.delivery).await)
    }

    /// Asks what the other device has.
    async fn held(&self, scan: &Scan) -> Result<HashMap<String, Part>, Stop> {
        let client = self.client.with_deadline(PATIENCE);
        let mut held = HashMap::new();
        let mut left: VecDeque<&Found> = scan.files.iter().collect();
        while !left.is_empty() {
            let (mut paths, mut bytes) = (Vec::new(), 0);
            while paths.len() < BATCH_FILES
                && (paths.is_empty() || bytes < HELD_BYTES)
                && let Some(found) = left.pop_front()
            {
                bytes += found.size;
                paths.push(found.path.clone());
            }
            let parts = stopped(bus::arrivals::held(&client, self.delivery, &paths).await)?;
            let there = paths.into_iter().zip(parts);
            held.extend(there.filter_map(|(path, part)| {
                let part = part?;
                Some((path, (part.length, part.digest.to_vec())))
            }));
        }
        Ok(held)
    }

    fn progress(&self, done: u64) {
        self.book.change(self.id, |delivery| delivery.done += done);
    }
}

/// What is under way.
struct Sending<'a, 'b> {
    attempt: &'a Attempt<'b>,
    client: Client,
    /// Each answers how many bytes have arrived.
    calls: FuturesUnordered<Calling>,
    batch: Batch,
    batch_bytes: usize,
}

impl Sending<'_, '_> {
    async fn everything(&mut self, scan: &Scan, held: &HashMap<String, Part>) -> Result<(), Stop> {
        for folder in &scan.folders {
            self.folder(folder).await?;
        }
        for found in &scan.files {
            self.file(found, held.get(&found.path)).await?;
        }
        self.flush().await?;
        self.wait_for_fewer_than(1).await
    }

    /// Why the other device knows nothing of the delivery any more: it said so to the call at which
    /// it ended, whose answer may come after those of the calls behind it.
    async fn why_forgotten(&mut self) -> Stop {
        while let Some(answer) = self.calls.next().await {
            match answer {
                Ok(_) | Err(Stop::Forgotten) => {}
                Err(stop) => return stop,
            }
        }
        Stop::Forgotten
    }

    /// Makes a call at once, so that calls are made in this order, and waits for none.
    fn call(&mut self, carried: u64, mut calling: Calling) -> Result<(), Stop> {
        self.attempt
            .book
            .change(self.attempt.id, |delivery| delivery.carried += carried);
        match (&mut calling).now_or_never() {
            Some(answer) => self.attempt.progress(answer?),
            None => self.calls.push(calling),
        }
        Ok(())
    }

    async fn wait_for_fewer_than(&mut self, most: usize) -> Result<(), Stop> {
        while self.calls.len() >= most
            && let Some(answer) = self.calls.next().await
        {
            self.attempt.progress(answer?);
        }
        Ok(())
    }

    async fn folder(&mut self, path: &str) -> Result<(), Stop> {
        self.batch.folders.push(path.to_owned());
        self.flush_if_full().await
    }

    async fn file(&mut self, found: &Found, held: Option<&Part>) -> Result<(), Stop> {
        let mut file = open(found)?;
        let mut digest = Sha256::new();
        let mut offset = 0;
        if let Some((length, theirs)) = held
            && *length <= found.size
        {
            // The beginning of a long file takes long to read.
            let length = *length;
            let (mut read, digested) = tokio::task::spawn_blocking(move || {
                let digested = digest_of(&mut file, length);
                (file, digested)
            })
            .await
            .map_err(|error| Stop::Broken(error.to_string()))?;
            let (ours, count) = digested.map_err(|error| unreadable(found, &error))?;
            if count == length && ours.clone().finalize()[..] == **theirs {
                self.attempt
                    .book
                    .change(self.attempt.id, |delivery| delivery.resumed += length);
                self.attempt.progress(length);
                if length == found.size {
                    return unchanged(found, &read);
                }
                (digest, offset) = (ours, length);
            }
            read.seek(SeekFrom::Start(offset))
                .map_err(|error| unreadable(found, &error))?;
            file = read;
        }
        if found.size <= SMALL && offset == 0 {
            return self.small(found, file).await;
        }
        self.large(found, file, digest, offset).await
    }

    async fn small(&mut self, found: &Found, mut file: File) -> Result<(), Stop> {
        // One more, to see that it has not grown.
        let mut data = vec![0; found.size as usize + 1];
        let length = fill(&mut file, &mut data).map_err(|error| unreadable(found, &error))?;
        if length as u64 != found.size {
            return Err(Stop::Changed(found.path.clone()));
        }
        data.truncate(length);
        unchanged(found, &file)?;
        self.batch_bytes += data.len();
        self.batch.files.push(Whole {
            path: found.path.clone(),
            modified: found.modified,
            digest: Sha256::digest(&data).to_vec().into(),
            data: data.into(),
        });
        self.flush_if_full().await
    }

    async fn flush_if_full(&mut self) -> Result<(), Stop> {
        let entries = self.batch.files.len() + self.batch.folders.len();
        if self.batch_bytes >= BATCH_BYTES || entries >= BATCH_FILES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.files.is_empty() && self.batch.folders.is_empty() {
            return Ok(());
        }
        self.wait_for_fewer_than(AT_ONCE).await?;
        let next = Batch {
            delivery: self.batch.delivery.clone(),
            folders: Vec::new(),
            files: Vec::new(),
        };
        let batch = std::mem::replace(&mut self.batch, next);
        let carried = std::mem::take(&mut self.batch_bytes) as u64;
        let client = self.client.clone();
        let calling = async move {
            stopped(bus::arrivals::put(&client, &batch).await)?;
            Ok(carried)
        };
        self.call(carried, Box::pin(calling))
    }

    async fn large(
        &mut self,
        found: &Found,
        mut file: File,
        mut digest: Sha256,
        mut offset: u64,
    ) -> Result<(), Stop> {
        // The other device reads one file at a time.
        self.wait_for_fewer_than(1).await?;
        let delivery = self.attempt.delivery;
        let opening = Opening {
            delivery: delivery.to_owned(),
            path: found.path.clone(),
            size: found.size,
            offset,
        };
        let patient = self.client.with_deadline(PATIENCE);
        stopped(bus::arrivals::open(&patient, &opening).await)?;
        let mut pieces = 0;
        while offset < found.size {
            let most = PIECE.min((found.size - offset).try_into().unwrap_or(usize::MAX));
            let mut data = BytesMut::zeroed(most);
            let length = fill(&mut file, &mut data).map_err(|error| unreadable(found, &error))?;
            if length != most {
                return Err(Stop::Changed(found.path.clone()));
            }
            digest.update(&data);
            let piece = Piece {
                delivery: delivery.to_owned(),
                offset,
                data: data.freeze(),
            };
            let (client, carried) = (self.client.clone(), length as u64);
            let calling = async move {
                stopped(bus::arrivals::write(&client, &piece).await)?;
                Ok(carried)
            };
            self.call(carried, Box::pin(calling))?;
            offset += carried;
            pieces += 1;
            if pieces % LOOK_AFTER == 0 {
                // What changes on the way is not sent to its end in vain.
                unchanged(found, &file)?;
            }
            self.wait_for_fewer_than(AT_ONCE).await?;
        }
        self.wait_for_fewer_than(1).await?;
        unchanged(found, &file)?;
        let closing = Closing {
            delivery: delivery.to_owned(),
            modified: found.modified,
            digest: digest.finalize().to_vec().into(),
        };
        stopped(bus::arrivals::close(&self.client, &closing).await)
    }
}
