//! This device's copy of a document, with the file that keeps it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};
use store::{FileSystem, Private, journal::Journal};

use crate::{
    document::{
        Document, Entries, Known, MAX_BYTES_HERE, MAX_ENTRIES_HERE, Refused, Update, Value,
        check_entry, decode, encode,
    },
    schema::Schema,
};

/// The file is written anew when it has grown by this much beyond twice what it needs.
const SLACK: u64 = 16 * 1024;

/// What went wrong with a copy; it is then what it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The update or change was not taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There are no random numbers.
    #[error("getting random numbers: {0}")]
    Random(getrandom::Error),
}

/// A copy, and what the owner should know about it.
#[derive(Debug)]
pub struct Opened<F: FileSystem = Private> {
    /// The copy.
    pub replica: Replica<F>,
    /// Sentences for the owner, such as that the file was damaged; what is missing then comes
    /// again from the other devices.
    pub notices: Vec<String>,
}

/// This device's copy of one document.
#[derive(Debug)]
pub struct Replica<F: FileSystem = Private> {
    document: Document,
    /// Whose edits this copy's are.
    name: u64,
    schema: Schema,
    entries: Entries,
    journal: Journal<F>,
    /// The size of the file when it was last written whole.
    whole: u64,
}

/// What the file is made of.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Whose edits the copy's are from here on.
    name: u64,
    update: Update,
}

impl Replica {
    /// The copy in this file; an empty document when there is none yet.
    pub fn open(path: &Path, schema: Schema) -> Result<Opened, Error> {
        Self::open_in(Private, path, schema)
    }
}

impl<F: FileSystem> Replica<F> {
    /// As [`Replica::open`], in that file system.
    pub fn open_in(files: F, path: &Path, schema: Schema) -> Result<Opened<F>, Error> {
        let opened = Journal::open(files, path)?;
        let mut notices = opened.notices;
        let mut document = Document::default();
        let mut name = None;
        for (number, record) in opened.records.iter().enumerate() {
            let read = decode::<Record>(record)
                .and_then(|record| Ok((record.name, document.with(&record.update)?)));
            match read {
                Ok((whose, merged)) => {
                    document = merged;
                    name = Some(whose);
                }
                // The file is checked, so this is a mistake of some release. What loads is kept.
                Err(refused) => notices.push(format!(
                    "{}: record {number} was left out: {refused}.",
                    path.display()
                )),
            }
        }
        // What was lost may have been sent: its numbers are never given again.
        let name = match name.filter(|_| notices.is_empty()) {
            Some(name) => name,
            None => random()?,
        };
        let whole = opened.journal.bytes();
        let replica = Self {
            entries: schema.read(&document.forms()),
            document,
            name,
            schema,
            journal: opened.journal,
            whole,
        };
        Ok(Opened { replica, notices })
    }

    /// What an entry says.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// The entries whose keys begin so, in the order of their keys; all with an empty beginning.
    pub fn entries<'a>(&'a self, beginning: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.entries
            .range(beginning.to_owned()..)
            .take_while(move |(key, _)| key.starts_with(beginning))
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Changes entries, all or none: a value to put in the place of what was there, or nothing to
    /// delete it. What is as it was is not written. Whether something was.
    pub fn change<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (&'a str, Option<Value>)>,
    ) -> Result<bool, Error> {
        let changes: BTreeMap<&str, Option<Value>> = changes
            .into_iter()
            .filter(|(key, value)| self.entries.get(*key) != value.as_ref())
            .collect();
        if changes.is_empty() {
            return Ok(false);
        }
        for (key, value) in &changes {
            check_entry(key, value.as_ref())?;
        }
        let adds = changes.values().any(Option::is_some);
        let schema = self.schema;
        let edits = changes
            .into_iter()
            .flat_map(|(key, value)| schema.forms(key, value.as_ref()));
        let update = self.document.edited(self.name, edits)?;
        if update.entries.is_empty() {
            return Ok(false);
        }
        let document = self.document.with(&update)?;
        if adds && document.len() > self.document.len() && document.len() > MAX_ENTRIES_HERE {
            return Err(Refused::Entries(document.len()).into());
        }
        let bytes = document.bytes();
        if adds && bytes > self.document.bytes() && bytes > MAX_BYTES_HERE {
            return Err(Refused::Bytes(bytes).into());
        }
        self.keep(document, Some(update))?;
        Ok(true)
    }

    /// What this copy knows of, to be sent to a peer.
    pub fn version(&self) -> Vec<u8> {
        encode(self.document.known())
    }

    /// What a peer of that version lacks; nothing if it lacks nothing.
    pub fn missing(&self, version: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let theirs = read_version(version)?;
        if theirs.includes(self.document.known()) {
            return Ok(None);
        }
        Ok(Some(encode(&self.document.since(&theirs))))
    }

    /// Whether a peer of that version knows something that is not here, so that it is worth
    /// asking.
    pub fn lacks(&self, version: &[u8]) -> Result<bool, Refused> {
        Ok(!self.document.known().includes(&read_version(version)?))
    }

    /// Takes a peer's update. Answers the keys whose entries are not what they were.
    pub fn receive(&mut self, update: &[u8]) -> Result<BTreeSet<String>, Error> {
        let update: Update = decode(update)?;
        let document = self.document.with(&update)?;
        if document == self.document {
            return Ok(BTreeSet::new());
        }
        let before = (std::mem::take(&mut self.entries), self.name);
        let kept = if document.known().count(self.name) > self.document.known().count(self.name) {
            // Somebody speaks of edits of this copy that it has not made. Whether it lost them or is
            // lied about: whoever believes that would not take what this copy said, nor what it says
            // from here on.
            random().and_then(|name| {
                let document = document.renamed(self.name, name);
                self.name = name;
                self.keep(document, None)
            })
        } else {
            self.keep(document, Some(update))
        };
        if let Err(error) = kept {
            (self.entries, self.name) = before;
            return Err(error);
        }
        let (before, after) = (before.0, &self.entries);
        let changed = after.keys().chain(before.keys());
        Ok(changed
            .filter(|key| after.get(*key) != before.get(*key))
            .cloned()
            .collect())
    }

    /// Makes the document durable, and only then goes over to it. The update is what makes it of the
    /// one before; without one it is written whole.
    fn keep(&mut self, document: Document, update: Option<Update>) -> Result<(), Error> {
        let record = |update| {
            encode(&Record {
                name: self.name,
                update,
            })
        };
        let room = self.journal.can_append() && self.journal.bytes() < 2 * self.whole + SLACK;
        match update.filter(|_| room) {
            Some(update) => self.journal.append([&record(update)[..]])?,
            None => {
                let whole = record(document.since(&Known::default()));
                self.journal.rewrite([&whole[..]])?;
                self.whole = self.journal.bytes();
            }
        }
        self.entries = self.schema.read(&document.forms());
        self.document = document;
        Ok(())
    }
}

/// The version of a copy that knows nothing.
pub fn nothing() -> Vec<u8> {
    encode(&Known::default())
}

fn read_version(bytes: &[u8]) -> Result<Known, Refused> {
    let known: Known = decode(bytes)?;
    known.check()?;
    Ok(known)
}

fn random() -> Result<u64, Error> {
    getrandom::u64().map_err(Error::Random)
}
