//! The smallest machine that keeps a promise: a program that is process 1 of a guest and does nothing
//! but replace one value of `lib/store` when it is told to, and say so when that is done.
//!
//! It shows the promise of `lib/store` on the real kernel, file system and disk without waiting for a
//! whole system to start, and it can break it on purpose: [`Syncs`] takes one of the two syncs out,
//! to prove that the test would see it.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use store::{Disk, FileSystem};

use super::check::{self, FilePromise};

/// The file in the root of the file system that holds the value.
pub const FILE: &str = "value";

/// What is written: a number, and a text that follows from it and so shows a tear, of a length that
/// needs from one block to several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// Counts the writes.
    pub number: u64,
    /// `Value::text` of the number.
    pub text: String,
}

store::first_version!(Value);

impl Value {
    /// The value of that number.
    pub fn of(number: u64) -> Value {
        Value {
            number,
            text: Value::text(number),
        }
    }

    fn text(number: u64) -> String {
        format!("{number} ").repeat(1 + (number as usize * 7919) % 6000)
    }
}

/// Which syncs are left in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// Both: the product.
    All,
    /// The content of a file is not synced before the file takes its place.
    NoFile,
    /// The folder is not synced after that.
    NoFolder,
}

impl Syncs {
    /// The word for it on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Syncs::All => "all-syncs",
            Syncs::NoFile => "no-file-sync",
            Syncs::NoFolder => "no-folder-sync",
        }
    }

    /// What the word stands for.
    pub fn from_word(word: &str) -> Option<Syncs> {
        [Syncs::All, Syncs::NoFile, Syncs::NoFolder]
            .into_iter()
            .find(|syncs| syncs.word() == word)
    }
}

impl FileSystem for Syncs {
    type File = File;

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Disk.read(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        Disk.create(path)
    }

    fn append(&self, path: &Path) -> io::Result<File> {
        Disk.append(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        Disk.write(file, bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if *self == Syncs::NoFile {
            Ok(())
        } else {
            Disk.sync(file)
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if *self == Syncs::NoFolder {
            Ok(())
        } else {
            Disk.sync_folder(folder)
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Disk.exists(path)
    }
}

/// After `n` acknowledgements the value has at least the number `n`, and at most one more: the one
/// that was being written.
#[derive(Clone, Copy, Debug)]
pub struct Kept;

impl FilePromise for Kept {
    fn folder(&self) -> &str {
        "/"
    }

    fn check(&self, copy: &Path, acknowledged: usize) -> Result<(), String> {
        let path = copy.join(FILE);
        let opened = store::open::<Value>(&path).map_err(|error| error.to_string())?;
        if let Some(notice) = opened.notices.first() {
            return Err(format!("the value is torn: {notice}"));
        }
        let value = opened.store.value();
        let number = value.number;
        // The default value, which is there before the first write, has no text.
        if number > 0 && *value != Value::of(number) {
            return Err(format!("the value {number} has a text that is not its own"));
        }
        check::compare(number, acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store::open::<Value>(&folder.path().join(FILE))
            .unwrap()
            .store;
        if number > 0 {
            store.replace(Value::of(number)).unwrap();
        }
        folder
    }

    #[test]
    fn what_was_acknowledged_or_was_being_written_is_accepted() {
        assert_eq!(Kept.check(written(0).path(), 0), Ok(()));
        assert_eq!(Kept.check(written(5).path(), 5), Ok(()));
        assert_eq!(Kept.check(written(6).path(), 5), Ok(()));
    }

    #[test]
    fn less_than_was_acknowledged_is_refused() {
        assert!(
            Kept.check(written(0).path(), 1)
                .unwrap_err()
                .contains("1 was acknowledged")
        );
        assert!(
            Kept.check(written(4).path(), 5)
                .unwrap_err()
                .contains("5 was acknowledged")
        );
    }

    #[test]
    fn a_torn_or_empty_file_is_refused() {
        let folder = written(5);
        let path = folder.path().join(FILE);
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(
                Kept.check(folder.path(), 5).unwrap_err().contains("torn"),
                "length {length}"
            );
        }
    }
}
