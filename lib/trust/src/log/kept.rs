//! The log with the file that keeps it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use store::{FileSystem, Private, journal::Journal};

use super::{Action, Entry, EntryId, Log, Refusal, WriteError};
use crate::identity::{DeviceId, Identity};

/// Why the kept log could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file could not be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The rules of the family do not allow it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The file does not begin with the founding of a family.
    #[error(
        "{path} does not begin with the founding of a family ({why}); restore it, or remove it and pair this device again"
    )]
    NoFamily {
        /// The file.
        path: PathBuf,
        /// What is wrong with its first entry.
        why: Refusal,
    },
}

/// A log each of whose entries is durable before anybody hears that it was taken.
#[derive(Debug)]
pub struct KeptLog<F: FileSystem = Private> {
    log: Log,
    journal: Journal<F>,
}

impl KeptLog {
    /// The log in this file, or nothing when this device has no family yet. The strings are for
    /// the owner, such as that the file was damaged; what is missing then comes again from the
    /// other devices.
    pub fn open(path: &Path) -> Result<(Option<Self>, Vec<String>), KeptError> {
        Self::open_in(Private, path)
    }

    /// Keeps a log from here on, in the place of any that the file held.
    pub fn create(path: &Path, log: Log) -> Result<Self, KeptError> {
        Self::create_in(Private, path, log)
    }
}

impl<F: FileSystem> KeptLog<F> {
    /// As [`KeptLog::open`], in that file system.
    pub fn open_in(files: F, path: &Path) -> Result<(Option<Self>, Vec<String>), KeptError> {
        let mut opened = Journal::open(files, path)?;
        let Some((first, rest)) = opened.records.split_first() else {
            return Ok((None, opened.notices));
        };
        let mut log = Log::open(first).map_err(|why| KeptError::NoFamily {
            path: path.to_owned(),
            why,
        })?;
        let (_, refusals) = log.insert_all(rest.iter().map(Vec::as_slice));
        if let Some(refusal) = refusals.first() {
            opened.notices.push(format!(
                "{} entries in {} were not taken: {refusal}.",
                refusals.len(),
                path.display()
            ));
        }
        let kept = Self {
            log,
            journal: opened.journal,
        };
        Ok((Some(kept), opened.notices))
    }

    /// As [`KeptLog::create`], in that file system.
    pub fn create_in(files: F, path: &Path, log: Log) -> Result<Self, KeptError> {
        let mut journal = Journal::open(files, path)?.journal;
        journal.rewrite(log.entries().map(Entry::bytes))?;
        Ok(Self { log, journal })
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Takes entries in, in whatever order. Answers the new ones, and for each refused one why.
    pub fn insert_all<'a>(
        &mut self,
        entries: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<EntryId>, Vec<Refusal>), KeptError> {
        let mut changed = self.log.clone();
        let result = changed.insert_all(entries);
        self.keep(changed)?;
        Ok(result)
    }

    /// Writes an entry; see [`Log::write`].
    pub fn write(
        &mut self,
        author: &Identity,
        action: Action,
        time: u64,
    ) -> Result<EntryId, KeptError> {
        let mut changed = self.log.clone();
        let id = changed.write(author, action, time)?.id();
        self.keep(changed)?;
        Ok(id)
    }

    /// Writes an entry that has seen only these; see [`Log::write_on`].
    pub fn write_on(
        &mut self,
        author: &Identity,
        parents: BTreeSet<EntryId>,
        action: Action,
        time: u64,
    ) -> Result<EntryId, KeptError> {
        let mut changed = self.log.clone();
        let id = changed.write_on(author, parents, action, time)?.id();
        self.keep(changed)?;
        Ok(id)
    }

    /// Gives the members a new secret; see [`Log::renew_secret`].
    pub fn renew_secret(&mut self, author: &Identity, time: u64) -> Result<(), KeptError> {
        let mut changed = self.log.clone();
        changed.renew_secret(author, time)?;
        self.keep(changed)
    }

    /// Removes a device and renews the secret; see [`Log::remove`].
    pub fn remove(
        &mut self,
        author: &Identity,
        device: DeviceId,
        lost: bool,
        time: u64,
    ) -> Result<(), KeptError> {
        let mut changed = self.log.clone();
        changed.remove(author, device, lost, time)?;
        self.keep(changed)
    }

    /// Makes durable what the changed log has more, and only then goes over to it.
    fn keep(&mut self, changed: Log) -> Result<(), KeptError> {
        if changed.len() > self.log.len() {
            if self.journal.can_append() {
                let new = changed.entries().skip(self.log.len());
                self.journal.append(new.map(Entry::bytes))?;
            } else {
                self.journal.rewrite(changed.entries().map(Entry::bytes))?;
            }
        }
        self.log = changed;
        Ok(())
    }
}
