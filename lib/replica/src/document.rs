//! A document: entries, each with the stamp of the edit that made it so, and what is known of
//! whose edits.
//!
//! An edit has a *replica*, which made it, a *number* among the edits of that replica, counted from
//! 1, and a *clock*, greater than that of every edit that its author had seen. Of two edits of one
//! entry the one with the greater clock stands, then the one of the greater replica: so an edit
//! stands over all that its author had seen, and where neither author had seen the other's, all
//! copies choose the same.
//!
//! What an entry was before is not kept. It need not be: whoever lacks an edit that was overwritten
//! lacks the one that overwrote it as well, or has one that stands over both. So there is no
//! history that grows, and a copy that was away for years gets what has changed, and nothing else.
//! That an entry was deleted is kept, like a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A key has at most this many bytes, and no control characters.
pub const MAX_KEY_BYTES: usize = 256;
/// A value has at most this many bytes.
pub const MAX_VALUE_BYTES: usize = 4 * 1024;
/// A document has at most this many entries, those that were deleted among them.
pub const MAX_ENTRIES: usize = 8 * 1024;
/// This device adds no more entries when there are this many: well below, so that what devices
/// add apart still fits when they meet.
pub const MAX_ENTRIES_HERE: usize = 2 * 1024;
/// The keys and values of a document have at most this many bytes, and so has what is sent of it.
pub const MAX_BYTES: usize = 512 * 1024;
/// This device adds nothing when they have this many.
pub(crate) const MAX_BYTES_HERE: usize = 128 * 1024;
/// At most this many replicas have changed a document.
pub const MAX_REPLICAS: usize = 4 * 1024;
/// A document holds at most this many versions of its shape.
const MAX_VERSIONS: u32 = 64;
/// Clocks end here. No honest copy comes near: it is a million edits a second for 146,000 years.
const MAX_CLOCK: u64 = 1 << 62;
/// What an entry takes beside its key and value, about.
const AROUND: usize = 24;

/// The entries of one version, as they are read.
pub(crate) type Entries = BTreeMap<String, Value>;
/// The entries of all versions.
pub(crate) type Forms = BTreeMap<u32, Entries>;

/// What an entry says. There will be no other kinds: a release that has more to say puts it into
/// bytes, and so older releases can keep it and pass it on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    fn bytes(&self) -> usize {
        match self {
            Self::Flag(_) | Self::Number(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Why a peer's update, or a change, was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More bytes than an update, or the document, may have.
    #[error("{0} bytes are more than a document may have; delete something first")]
    Bytes(usize),
    /// More entries than a document may have.
    #[error("{0} entries are more than a document may have")]
    Entries(usize),
    /// More replicas than a document may have.
    #[error("{0} replicas are more than a document may have")]
    Replicas(usize),
    /// A key or value that is none.
    #[error("the key or the value of `{0}` is not one that a document may hold")]
    Entry(String),
    /// Bytes that are no update.
    #[error("these bytes are no update: {0}")]
    Malformed(String),
    /// It leaves out what is not here: the peer should be sent this copy's version.
    #[error("it builds on what is not here")]
    Incomplete,
}

/// What stands in an entry, and since which edit. Ordered: the greater stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Stamped {
    pub clock: u64,
    pub replica: u64,
    pub number: u32,
    /// Nothing where the entry was deleted. In the order because a replica that lies may give two
    /// values the same stamp, and copies must agree all the same.
    pub value: Option<Value>,
}

/// How many edits of each replica are known, in the order of replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known(Vec<(u64, u32)>);

impl Known {
    pub(crate) fn count(&self, replica: u64) -> u32 {
        let found = self
            .0
            .binary_search_by_key(&replica, |(replica, _)| *replica);
        found.map_or(0, |at| self.0[at].1)
    }

    pub(crate) fn includes(&self, other: &Self) -> bool {
        let mut others = other.0.iter();
        others.all(|(replica, count)| self.count(*replica) >= *count)
    }

    pub(crate) fn raise(&mut self, replica: u64, count: u32) {
        match self
            .0
            .binary_search_by_key(&replica, |(replica, _)| *replica)
        {
            Ok(at) => self.0[at].1 = self.0[at].1.max(count),
            Err(at) => self.0.insert(at, (replica, count)),
        }
    }

    /// What both know.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let both = self.0.iter().map(|(replica, count)| {
            let count = other.count(*replica).min(*count);
            (*replica, count)
        });
        Self(both.filter(|(_, count)| *count > 0).collect())
    }

    /// Whether it could be that of a copy.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        if self.0.len() > MAX_REPLICAS {
            return Err(Refused::Replicas(self.0.len()));
        }
        let ordered = self.0.is_sorted_by(|one, other| one.0 < other.0);
        if ordered && self.0.iter().all(|(_, count)| *count > 0) {
            return Ok(());
        }
        Err(Refused::Malformed("a version that cannot be".to_owned()))
    }
}

/// What one copy tells another: for whoever knows `since`, all that is new in `known`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Update {
    pub since: Known,
    pub known: Known,
    pub entries: Vec<(u32, String, Stamped)>,
}

impl Update {
    /// Whether some copy could have made it.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        self.since.check()?;
        self.known.check()?;
        if self.entries.len() > MAX_ENTRIES {
            return Err(Refused::Entries(self.entries.len()));
        }
        for (version, key, stamped) in &self.entries {
            check_entry(key, stamped.value.as_ref())?;
            let counted = (1..=self.known.count(stamped.replica)).contains(&stamped.number);
            let timed = (1..=MAX_CLOCK).contains(&stamped.clock);
            if !counted || !timed || !(1..=MAX_VERSIONS).contains(version) {
                return Err(Refused::Malformed("an edit that cannot be".to_owned()));
            }
        }
        Ok(())
    }
}

/// A document in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Document {
    entries: BTreeMap<(u32, String), Stamped>,
    known: Known,
    clock: u64,
}

impl Document {
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// The document with an update in it.
    pub(crate) fn with(&self, update: &Update) -> Result<Self, Refused> {
        update.check()?;
        if !self.known.includes(&update.since) {
            return Err(Refused::Incomplete);
        }
        let mut merged = self.clone();
        for (version, key, stamped) in &update.entries {
            merged.clock = merged.clock.max(stamped.clock);
            merged.put((*version, key.clone()), stamped.clone());
        }
        for (replica, count) in &update.known.0 {
            merged.known.raise(*replica, *count);
        }
        merged.known.check()?;
        if merged.entries.len() > MAX_ENTRIES {
            return Err(Refused::Entries(merged.entries.len()));
        }
        match merged.bytes() {
            bytes if bytes > MAX_BYTES => Err(Refused::Bytes(bytes)),
            _ => Ok(merged),
        }
    }

    /// Edits of a replica, as an update of this document.
    pub(crate) fn edited(
        &self,
        replica: u64,
        edits: impl IntoIterator<Item = (u32, String, Option<Value>)>,
    ) -> Result<Update, Refused> {
        let full = || Refused::Malformed("its clock has come to its end".to_owned());
        let mut number = self.known.count(replica);
        // One for all of a change: so of two changes the same one stands in each version of an entry.
        let clock = Some(self.clock + 1)
            .filter(|clock| *clock <= MAX_CLOCK)
            .ok_or_else(full)?;
        let mut update = Update {
            since: self.known.clone(),
            known: self.known.clone(),
            entries: Vec::new(),
        };
        for (version, key, value) in edits {
            let deleted = |stamped: Option<&Stamped>| stamped.is_none_or(|one| one.value.is_none());
            let key = (version, key);
            if value.is_none() && deleted(self.entries.get(&key)) {
                continue;
            }
            number = number.checked_add(1).ok_or_else(full)?;
            let stamped = Stamped {
                clock,
                replica,
                number,
                value,
            };
            update.entries.push((key.0, key.1, stamped));
        }
        if number > 0 {
            update.known.raise(replica, number);
        }
        Ok(update)
    }

    /// The document with what one replica has said said by another.
    pub(crate) fn renamed(mut self, old: u64, new: u64) -> Self {
        let said = self.entries.values_mut();
        let mut said: Vec<_> = said.filter(|stamped| stamped.replica == old).collect();
        said.sort_by_key(|stamped| stamped.number);
        for (number, stamped) in (1..).zip(said) {
            (stamped.replica, stamped.number) = (new, number);
            self.known.raise(new, number);
        }
        self
    }

    /// What whoever knows this much lacks.
    pub(crate) fn since(&self, known: &Known) -> Update {
        let lacking = self
            .entries
            .iter()
            .filter(|(_, stamped)| stamped.number > known.count(stamped.replica));
        Update {
            since: self.known.common(known),
            known: self.known.clone(),
            entries: lacking
                .map(|((version, key), stamped)| (*version, key.clone(), stamped.clone()))
                .collect(),
        }
    }

    /// What the entries say, by version.
    pub(crate) fn forms(&self) -> Forms {
        let mut forms = Forms::new();
        for ((version, key), stamped) in &self.entries {
            if let Some(value) = &stamped.value {
                let entries = forms.entry(*version).or_default();
                entries.insert(key.clone(), value.clone());
            }
        }
        forms
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        let bytes = |((_, key), stamped): (&(u32, String), &Stamped)| {
            AROUND + key.len() + stamped.value.as_ref().map_or(0, Value::bytes)
        };
        self.entries.iter().map(bytes).sum()
    }

    fn put(&mut self, key: (u32, String), stamped: Stamped) {
        let there = self.entries.entry(key).or_insert_with(|| stamped.clone());
        if *there < stamped {
            *there = stamped;
        }
    }
}

/// Whether a document may hold such an entry; refused, with its key, if not.
pub(crate) fn check_entry(key: &str, value: Option<&Value>) -> Result<(), Refused> {
    let is_key =
        !key.is_empty() && key.len() <= MAX_KEY_BYTES && !key.chars().any(char::is_control);
    if is_key && value.is_none_or(|value| value.bytes() <= MAX_VALUE_BYTES) {
        return Ok(());
    }
    Err(Refused::Entry(key.chars().take(80).collect()))
}

/// The bytes of something of this copy's own.
pub(crate) fn encode<T: Serialize>(what: &T) -> Vec<u8> {
    postcard::to_stdvec(what).expect("a list of plain values has a form")
}

/// What bytes say that came from elsewhere: all of them, and no more of them than may be.
pub(crate) fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, Refused> {
    // Whatever it is, what stands around keys and values is not more than they may be.
    if bytes.len() > 2 * MAX_BYTES {
        return Err(Refused::Bytes(bytes.len()));
    }
    match postcard::take_from_bytes(bytes) {
        Ok((what, [])) => Ok(what),
        Ok(_) => Err(Refused::Malformed(
            "something stands behind its end".to_owned(),
        )),
        Err(error) => Err(Refused::Malformed(error.to_string())),
    }
}
