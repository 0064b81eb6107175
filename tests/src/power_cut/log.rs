//! The record of a disk's writes, in the format of Linux's `dm-log-writes`, which QEMU's
//! `blklogwrites` writes too.
//!
//! The file is made of sectors of one size. The first holds the superblock; then comes, for each
//! request in the order in which it was made, one sector with the entry and after it the data that was
//! written. All integers are little-endian:
//!
//! | superblock | bytes | entry | bytes |
//! |---|---|---|---|
//! | magic `0x6a736677736872` | 0–7 | first sector on the disk | 0–7 |
//! | version, 1 | 8–15 | number of sectors | 8–15 |
//! | number of entries | 16–23 | flags | 16–23 |
//! | bytes in a sector | 24–27 | bytes of data within the entry's own sector | 24–31 |
//!
//! The number of entries in the superblock lags behind while the machine runs, so [`Log::advance`]
//! goes by the entries themselves: an entry of zeros, or data beyond the end of the file, is not
//! written yet. That is how the position of an acknowledgement in the record is known: it is the
//! number of entries that were complete when it arrived.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const ENTRY_BYTES: usize = 32;

const FLUSH: u64 = 1 << 0;
const FORCE_UNIT_ACCESS: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;
const METADATA: u64 = 1 << 4;
const KNOWN_FLAGS: u64 = FLUSH | FORCE_UNIT_ACCESS | DISCARD | MARK | METADATA;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("reading the record of writes {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no such record.
    #[error("{path} is not a record of writes: {reason}")]
    NotARecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry makes no sense.
    #[error("entry {number} of the record of writes, at byte {position}: {reason}")]
    BadEntry {
        /// Counted from 0.
        number: usize,
        /// Where the entry starts in the file.
        position: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a request asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bytes to be written; they stand in the record from this position on.
    Write {
        /// Where the data starts in the file of the record.
        data: u64,
    },
    /// The content is not needed any more. What a read gives afterwards is open, so a crash keeps it.
    Discard,
    /// No bytes: only a flush, or a note that someone left.
    Nothing,
}

/// One request, in the order in which the guest made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where on the disk, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// What was asked.
    pub operation: Operation,
    /// Everything before this entry was to be durable before it.
    pub flush: bool,
    /// The entry itself was to be durable when it was answered.
    pub force_unit_access: bool,
}

/// A record of writes, read as far as it is written.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    sector: u64,
    next: u64,
    entries: Vec<Entry>,
}

impl Log {
    /// Opens a record. A file that is still empty is an error: QEMU writes the superblock with the
    /// first flush, so wait for the guest's first one.
    pub fn open(path: &Path) -> Result<Log, Error> {
        let file = File::open(path).map_err(|source| Error::Read {
            path: path.into(),
            source,
        })?;
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0)
            .map_err(|source| Error::Read {
                path: path.into(),
                source,
            })?;
        let sector = superblock(&head).map_err(|reason| Error::NotARecord {
            path: path.into(),
            reason,
        })?;
        Ok(Log {
            path: path.into(),
            file,
            sector,
            next: sector,
            entries: Vec::new(),
        })
    }

    /// Every entry that was read so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Reads what was written since the last time. Gives the number of entries known now.
    pub fn advance(&mut self) -> Result<usize, Error> {
        let size = self
            .file
            .metadata()
            .map_err(|source| self.unreadable(source))?
            .len();
        let mut raw = [0; ENTRY_BYTES];
        while let Some(end) = self
            .next
            .checked_add(self.sector)
            .filter(|end| *end <= size)
        {
            self.file
                .read_exact_at(&mut raw, self.next)
                .map_err(|source| self.unreadable(source))?;
            if raw == [0; ENTRY_BYTES] {
                break;
            }
            let (entry, bytes) =
                entry(&raw, self.sector, end).map_err(|reason| Error::BadEntry {
                    number: self.entries.len(),
                    position: self.next,
                    reason,
                })?;
            if bytes > size - end {
                break;
            }
            self.entries.push(entry);
            self.next = end + bytes;
        }
        Ok(self.entries.len())
    }

    /// What an entry wrote; empty for entries that write nothing.
    pub fn data(&self, entry: &Entry) -> Result<Vec<u8>, Error> {
        let Operation::Write { data } = entry.operation else {
            return Ok(Vec::new());
        };
        // `advance` has checked that so many bytes are there.
        let mut bytes = vec![0; entry.length as usize];
        self.file
            .read_exact_at(&mut bytes, data)
            .map_err(|source| self.unreadable(source))?;
        Ok(bytes)
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Read {
            path: self.path.clone(),
            source,
        }
    }
}

/// The size of a sector, from the first bytes of the file.
fn superblock(head: &[u8; 28]) -> Result<u64, String> {
    if word(head, 0) != MAGIC {
        return Err("it does not begin with the magic number; nothing was flushed yet, or it is something else".into());
    }
    if word(head, 8) != VERSION {
        return Err(format!(
            "its version is {}, only {VERSION} is known",
            word(head, 8)
        ));
    }
    let sector = u64::from(u32::from_le_bytes([head[24], head[25], head[26], head[27]]));
    if !sector.is_power_of_two() || !(512..=65536).contains(&sector) {
        return Err(format!(
            "its sectors have {sector} bytes; a power of two from 512 to 65536 was expected"
        ));
    }
    Ok(sector)
}

/// One entry, whose data would start at `data`, and how many bytes of data follow it.
fn entry(raw: &[u8; ENTRY_BYTES], sector: u64, data: u64) -> Result<(Entry, u64), String> {
    let (first, count, flags, inside) = (word(raw, 0), word(raw, 8), word(raw, 16), word(raw, 24));
    if flags & !KNOWN_FLAGS != 0 {
        return Err(format!(
            "its flags {flags:#x} have bits that nobody defined"
        ));
    }
    let offset = first
        .checked_mul(sector)
        .ok_or("its place on the disk is past every disk")?;
    let length = count
        .checked_mul(sector)
        .ok_or("its length is more than any disk holds")?;
    offset
        .checked_add(length)
        .ok_or("it ends past every disk")?;
    let (operation, bytes) = if flags & MARK != 0 {
        if inside > sector - ENTRY_BYTES as u64 {
            return Err(format!(
                "its note of {inside} bytes does not fit its sector"
            ));
        }
        (Operation::Nothing, 0)
    } else if flags & DISCARD != 0 {
        (Operation::Discard, 0)
    } else if count == 0 {
        (Operation::Nothing, 0)
    } else {
        // A request is far smaller than this; more would only exhaust memory.
        if length > 1 << 30 {
            return Err(format!("it writes {length} bytes at once"));
        }
        (Operation::Write { data }, length)
    };
    let entry = Entry {
        offset,
        length: if matches!(operation, Operation::Nothing) {
            0
        } else {
            length
        },
        operation,
        flush: flags & FLUSH != 0,
        force_unit_access: flags & FORCE_UNIT_ACCESS != 0,
    };
    Ok((entry, bytes))
}

/// Eight bytes at `position`; callers pass positions inside their own arrays.
fn word(bytes: &[u8], position: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[position..position + 8]);
    u64::from_le_bytes(word)
}

/// Records made in memory, for tests here and beside.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use std::io::Write;

    /// Writes a record file in sectors of 512 bytes: superblock, then `(sector, flags, data)` each.
    pub(crate) fn record(path: &Path, entries: &[(u64, u64, Vec<u8>)]) {
        let mut bytes = vec![0; 512];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[24..28].copy_from_slice(&512_u32.to_le_bytes());
        for (sector, flags, data) in entries {
            assert_eq!(data.len() % 512, 0);
            let mut head = [0; 512];
            head[..8].copy_from_slice(&sector.to_le_bytes());
            head[8..16].copy_from_slice(&(data.len() as u64 / 512).to_le_bytes());
            head[16..24].copy_from_slice(&flags.to_le_bytes());
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(data);
        }
        File::create(path).unwrap().write_all(&bytes).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open_bytes(bytes: &[u8]) -> Result<Vec<Entry>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut log = Log::open(file.path())?;
        log.advance()?;
        for entry in log.entries() {
            log.data(entry)?;
        }
        Ok(log.entries().to_vec())
    }

    #[test]
    fn entries_come_back_as_they_were_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        sample::record(
            file.path(),
            &[
                (8, 0, vec![7; 1024]),
                (0, FLUSH, Vec::new()),
                (3, FORCE_UNIT_ACCESS, vec![9; 512]),
            ],
        );
        let mut log = Log::open(file.path()).unwrap();
        assert_eq!(log.advance().unwrap(), 3);
        let [write, flush, forced] = log.entries() else {
            panic!("three entries")
        };
        assert_eq!(
            (write.offset, write.length, write.flush),
            (4096, 1024, false)
        );
        assert_eq!(log.data(write).unwrap(), vec![7; 1024]);
        assert_eq!((flush.operation, flush.flush), (Operation::Nothing, true));
        assert!(forced.force_unit_access);
    }

    #[test]
    fn an_entry_whose_data_is_not_written_yet_waits() {
        let file = tempfile::NamedTempFile::new().unwrap();
        sample::record(file.path(), &[(8, 0, vec![7; 1024]), (9, 0, vec![8; 1024])]);
        let whole = std::fs::read(file.path()).unwrap();
        std::fs::write(file.path(), &whole[..whole.len() - 1]).unwrap();
        let mut log = Log::open(file.path()).unwrap();
        assert_eq!(log.advance().unwrap(), 1);
        std::fs::write(file.path(), &whole).unwrap();
        assert_eq!(log.advance().unwrap(), 2);
    }

    #[test]
    fn something_else_is_refused_with_its_reason() {
        let error = open_bytes(&[0; 4096]).unwrap_err();
        assert!(error.to_string().contains("magic"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_after_a_superblock_are_read_or_refused(tail in prop::collection::vec(any::<u8>(), 0..8192), sector in any::<u32>()) {
            let mut bytes = vec![0; 512];
            bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[8..16].copy_from_slice(&VERSION.to_le_bytes());
            bytes[24..28].copy_from_slice(&sector.to_le_bytes());
            bytes.extend_from_slice(&tail);
            let _ = open_bytes(&bytes);
        }

        #[test]
        fn plausible_entries_never_read_past_the_end(
            entries in prop::collection::vec((0_u64..1 << 20, 0_u64..64, 0_u64..32, any::<u64>()), 0..16),
            size in 512_usize..65536,
        ) {
            let mut bytes = vec![0; 512];
            bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[8..16].copy_from_slice(&VERSION.to_le_bytes());
            bytes[24..28].copy_from_slice(&512_u32.to_le_bytes());
            for (sector, count, flags, inside) in entries {
                for value in [sector, count, flags, inside] {
                    bytes.extend_from_slice(&value.to_le_bytes());
                }
                bytes.resize(bytes.len() + 480 + count as usize * 512, 0xa5);
            }
            bytes.resize(size, 0);
            if let Ok(entries) = open_bytes(&bytes) {
                for entry in entries {
                    if let Operation::Write { data } = entry.operation {
                        prop_assert!(data + entry.length <= size as u64);
                    }
                }
            }
        }
    }
}
