//! A journal: records that are added one by one, each durable when [`Journal::append`] answers.
//!
//! For state that grows by small pieces and would be dear to write whole each time. The owner of
//! a journal has in memory what the records say, and hands all of it over when the journal is to
//! be [rewritten](Journal::rewrite): to make it smaller, or after a failure.
//!
//! ```text
//! file   = "hyper-journal 1\n" record*
//! record = "Rec1" ‖ length (4 bytes, little endian) ‖ check (16 bytes) ‖ content
//! check  = the first half of SHA-256(length ‖ content)
//! ```
//!
//! The promises are those of the crate: what was acknowledged is there after any crash, whole and
//! in order. A record that was being added when the power failed may leave a torn end; it is
//! dropped at the next opening, without a word, for nobody was told that it was there. When
//! whole records follow behind a broken one, something else has damaged the file: then it is
//! set aside, and what stood before the damage is what is left.

use std::{
    io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{atomic, file_system::FileSystem, state::Error};

const HEAD: &[u8] = b"hyper-journal 1\n";
const MARK: &[u8; 4] = b"Rec1";
const CHECK: usize = 16;
const AROUND: usize = MARK.len() + 4 + CHECK;

/// A record has at most this many bytes.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// A file of records.
#[derive(Debug)]
pub struct Journal<F: FileSystem> {
    files: F,
    path: PathBuf,
    /// The file, at its end; none when it must be written anew before anything is added.
    file: Option<F::File>,
    bytes: u64,
}

/// A journal as it was found.
#[derive(Debug)]
pub struct OpenedJournal<F: FileSystem> {
    /// The journal.
    pub journal: Journal<F>,
    /// Its records, in the order in which they were added.
    pub records: Vec<Vec<u8>>,
    /// Sentences for the owner, such as that a damaged file was set aside.
    pub notices: Vec<String>,
}

impl<F: FileSystem> Journal<F> {
    /// Opens the journal in this file; an empty one when there is no such file.
    pub fn open(files: F, path: &Path) -> Result<OpenedJournal<F>, Error> {
        let mut journal = Self {
            files,
            path: path.to_owned(),
            file: None,
            bytes: 0,
        };
        let bytes = match journal.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(OpenedJournal {
                    journal,
                    records: Vec::new(),
                    notices: Vec::new(),
                });
            }
            Err(source) => {
                return Err(Error::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let (records, end) = read(&bytes);
        let mut notices = Vec::new();
        if end == bytes.len() && !bytes.is_empty() {
            // Only what ends well is added to.
            journal.file = journal.files.append(path).ok();
            journal.bytes = bytes.len() as u64;
        } else if end == 0 || holds_record(&bytes[end..]) {
            let what = format!(
                "{} is damaged: {} records could be read",
                path.display(),
                records.len()
            );
            notices.push(match atomic::set_aside(&journal.files, path) {
                Ok(copy) => format!("{what}; the file is kept as {}.", copy.display()),
                Err(error) => format!("{what}; the file could not be set aside ({error})."),
            });
        }
        Ok(OpenedJournal {
            journal,
            records,
            notices,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes the file has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether [`append`](Self::append) can be used. If not, [`rewrite`](Self::rewrite) is needed
    /// first: the journal is new, or adding to it has failed.
    pub fn can_append(&self) -> bool {
        self.file.is_some()
    }

    /// Adds records. When this answers `Ok`, they survive a power cut. When it fails, some of
    /// them may or may not; the owner goes on with `rewrite`.
    pub fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        for record in records {
            self.encode(record, &mut bytes)?;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        // Taken out, so that after a failure nothing is added behind half a record.
        let Some(mut file) = self.file.take() else {
            return Err(self.save(
                "adding to it",
                io::Error::other("it must be rewritten first"),
            ));
        };
        self.files
            .write(&mut file, &bytes)
            .map_err(|error| self.save("adding to it", error))?;
        self.files
            .sync(&file)
            .map_err(|error| self.save("syncing", error))?;
        self.bytes += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Puts a journal of these records in the place of the old one, all or nothing.
    pub fn rewrite<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Error> {
        let mut bytes = HEAD.to_vec();
        for record in records {
            self.encode(record, &mut bytes)?;
        }
        self.file = None;
        let file = atomic::put(&self.files, &self.path, &bytes)
            .map_err(|(step, source)| self.save(step, source))?;
        self.bytes = bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    fn encode(&self, record: &[u8], bytes: &mut Vec<u8>) -> Result<(), Error> {
        if record.len() > MAX_RECORD_BYTES {
            return Err(Error::Form {
                path: self.path.clone(),
                reason: format!("a record of {} bytes is too long", record.len()),
            });
        }
        let length = (record.len() as u32).to_le_bytes();
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&check(length, record));
        bytes.extend_from_slice(record);
        Ok(())
    }

    fn save(&self, step: &'static str, source: io::Error) -> Error {
        Error::Save {
            path: self.path.clone(),
            step,
            source,
        }
    }
}

fn check(length: [u8; 4], content: &[u8]) -> [u8; CHECK] {
    let hash = Sha256::new()
        .chain_update(length)
        .chain_update(content)
        .finalize();
    *hash.first_chunk().expect("a hash is longer")
}

/// The record at the beginning of these bytes.
fn record(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(MARK)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<CHECK>()?;
    let size = u32::from_le_bytes(*length) as usize;
    let content = rest.get(..size).filter(|_| size <= MAX_RECORD_BYTES)?;
    (check(*length, content) == *sum).then_some(content)
}

/// The whole records that the file begins with, and where they end. 0 when it is no journal.
fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut records = Vec::new();
    if !bytes.starts_with(HEAD) {
        return (records, 0);
    }
    let mut end = HEAD.len();
    while let Some(content) = record(&bytes[end..]) {
        end += AROUND + content.len();
        records.push(content.to_vec());
    }
    (records, end)
}

/// Whether there is a whole record anywhere in these bytes.
fn holds_record(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| bytes[at..].starts_with(MARK) && record(&bytes[at..]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        for record in records {
            let length = (record.len() as u32).to_le_bytes();
            bytes.extend([&MARK[..], &length, &check(length, record), record].concat());
        }
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let bytes = file(&records);
            prop_assert_eq!(read(&bytes), (records, bytes.len()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = read(&[HEAD, &bytes].concat());
            let _ = read(&[HEAD, MARK, &bytes].concat());
            let _ = holds_record(&bytes);
        }

        #[test]
        fn any_changed_byte_leaves_what_stands_before_it(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let mut bytes = file(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let (found, end) = read(&bytes);
            prop_assert!(end <= at);
            prop_assert!(found.len() < records.len());
            prop_assert_eq!(&found[..], &records[..found.len()]);
        }
    }
}
