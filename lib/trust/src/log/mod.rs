//! The family log: signed statements of owner devices, each naming the ones it has seen.
//!
//! The entries form a graph without cycles, since an entry names its parents by hash. Devices
//! exchange entries whenever they meet; whoever has the same set of entries has the same family,
//! in whatever order they came. Three steps keep that true:
//!
//! 1. [`Entry::decode`] checks form and signature: a matter of the entry alone.
//! 2. [`Log::insert`] checks authority: whether what the entry *itself has seen* gave its author
//!    the right to say this. That is a matter of its ancestors alone, so every device decides the
//!    same, and an entry that fails is not kept at all.
//! 3. The rules decide what holds: which of the kept entries are void because a removal took away
//!    what they rest on, and what [`Family`] follows from the rest.
//!
//! An entry names the entry that gives its author authority ([`Entry::by`]), that one names its
//! own, and so on up to the first: a chain, as of certificates. An entry is void when a removal
//! that holds breaks a link of its chain. Removals can contradict each other; PROTOCOL.md (2.3)
//! has the rules in full, and `rules.rs` in code.

mod bits;
mod entry;
mod grant;
mod kept;
mod place;
mod rules;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    family::Family,
    identity::{DeviceId, Identity, RandomError, random},
};
use bits::Bits;
use entry::Draft;
use place::{Authority, is_membership, is_strike};

pub use entry::{
    Action, Entry, EntryError, EntryId, FamilyId, MAX_ENTRY_BYTES, MAX_NAME_BYTES, MAX_PARENTS,
    is_name, rotation_proof,
};
pub use grant::{Grant, Interfaces, Role, Until};
pub use kept::{KeptError, KeptLog};
pub(crate) use place::{AuthorityKind, Node};
pub(crate) use rules::{Held, strikes};

/// A log has at most this many entries.
pub const MAX_ENTRIES: usize = 16_384;
/// Of these, at most this many concern who is a member.
pub const MAX_MEMBERSHIP_ENTRIES: usize = 1_024;
/// One key writes at most this many entries.
pub const MAX_ENTRIES_OF_ONE: usize = 4_096;
/// Of these, at most this many that make somebody a member, or take it away.
pub const MAX_MEMBERSHIP_ENTRIES_OF_ONE: usize = 256;
/// A key that is no owner device's writes at most this many: rotations, and its leaving.
pub const MAX_ENTRIES_OF_NON_OWNER: usize = 16;
/// From the first entry to any other, authority passes through at most this many hands.
pub const MAX_CHAIN: u16 = 128;
/// Of entries that come together, the rest is not looked at after so many that are none.
pub const MAX_REFUSALS: usize = 64;
/// What is kept free for removals when a log is full, so that whoever filled it can be put out.
const RESERVE: usize = 256;

/// Why an entry was not taken into the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not an entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// It belongs to another family.
    #[error("it belongs to another family")]
    Foreign,
    /// It builds on entries that are not here. Ask the sender for what is missing, or drop it:
    /// an entry that this device refused stays missing for good.
    #[error("it builds on {} entries that are not here", .0.len())]
    Missing(Vec<EntryId>),
    /// The entry that it names as its authority gives its author none.
    #[error("the entry that it names gives its author no authority")]
    Authority,
    /// Its author has gone over to another key.
    #[error("its author has gone over to another key")]
    Retired,
    /// Its author's role does not allow it.
    #[error("its author may not do this")]
    Role,
    /// The log, or its author's part of it, is full.
    #[error("{0}; an owner device or the paper phrase can remove the device that filled it")]
    Full(&'static str),
}

/// What became of an entry that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is new here.
    New,
    /// It was here already.
    Known,
}

/// Why this device wrote no entry.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The key has no place in the family that would allow it.
    #[error("this device cannot change the family: {0}")]
    Refused(#[from] Refusal),
    /// The key is none of a member, nor the one on paper.
    #[error("this key is no member's, so it cannot change the family")]
    NoMember,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// The log of one family, as far as this device has it.
#[derive(Clone, Debug)]
pub struct Log {
    nodes: Vec<Node>,
    index: HashMap<EntryId, usize>,
    heads: BTreeSet<EntryId>,
    /// The nodes that concern membership, by their number.
    marks: Vec<usize>,
    /// By a key: the rotations that go over from it to another.
    rotations: HashMap<DeviceId, Vec<usize>>,
    /// How many entries, and how many of those concern membership, each key has written.
    written: HashMap<DeviceId, (usize, usize)>,
    family: Arc<Family>,
}

impl Log {
    /// Founds a family. `paper` is the public half of the paper phrase: set here, nothing
    /// outranks it for good, which no later entry can give. The log begins with two entries: the
    /// founding, and the first secret of the members.
    pub fn found(
        founder: &Identity,
        name: &str,
        paper: Option<DeviceId>,
        time: u64,
    ) -> Result<Self, WriteError> {
        let first = Entry::sign(
            founder,
            Draft {
                family: None,
                by: EntryId::NONE,
                parents: BTreeSet::new(),
                time,
                action: Action::Founded {
                    nonce: random()?,
                    name: name.to_owned(),
                    paper,
                },
            },
        )
        .map_err(Refusal::from)?;
        let mut log = Self::begin(first)?;
        log.renew_secret(founder, time)?;
        Ok(log)
    }

    /// The log that begins with this first entry.
    pub fn open(first: &[u8]) -> Result<Self, Refusal> {
        Self::begin(Entry::decode(first)?)
    }

    fn begin(first: Entry) -> Result<Self, Refusal> {
        if !matches!(first.action(), Action::Founded { paper, .. } if *paper != Some(first.author()))
        {
            return Err(Refusal::Entry(EntryError::Form("it begins no family")));
        }
        let used = Authority::of_the_founder(first.id());
        let mut log = Self {
            nodes: Vec::new(),
            index: HashMap::new(),
            heads: BTreeSet::new(),
            marks: Vec::new(),
            rotations: HashMap::new(),
            written: HashMap::new(),
            family: Arc::new(Family::default()),
        };
        log.place(first, Vec::new(), 0, used, Bits::default());
        log.evaluate();
        Ok(log)
    }

    /// The family.
    pub fn id(&self) -> FamilyId {
        self.nodes[0].entry.id().into()
    }

    /// What follows from the log, as of the last change.
    pub fn family(&self) -> Arc<Family> {
        self.family.clone()
    }

    /// How many entries there are.
    #[expect(clippy::len_without_is_empty, reason = "a log has its first entry")]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The entry of that hash.
    pub fn entry(&self, id: EntryId) -> Option<&Entry> {
        self.index.get(&id).map(|&node| &self.nodes[node].entry)
    }

    /// All entries, in an order in which [`insert`](Self::insert) takes them.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.nodes.iter().map(|node| &node.entry)
    }

    /// The entries that no other names as a parent.
    pub fn heads(&self) -> &BTreeSet<EntryId> {
        &self.heads
    }

    /// The heads as they were before this entry: those of all that neither is it nor has seen it.
    /// For [`write_on`](Self::write_on), to remove a device from an entry of it on.
    pub fn heads_before(&self, entry: EntryId) -> BTreeSet<EntryId> {
        let mut after = Bits::default();
        let mut heads = BTreeSet::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if node.entry.id() == entry || node.parents.iter().any(|&parent| after.has(parent)) {
                after.put(number);
                continue;
            }
            for parent in node.entry.parents() {
                heads.remove(parent);
            }
            heads.insert(node.entry.id());
        }
        heads
    }

    /// The paper keys that can save the family: what is in force, and that of the first entry, which
    /// no device can put out of force.
    pub(crate) fn paper_keys(&self) -> BTreeSet<DeviceId> {
        let first = match self.nodes[0].entry.action() {
            Action::Founded { paper, .. } => *paper,
            _ => None,
        };
        self.family.papers().chain(first).collect()
    }

    /// Whether this paper key can save the family.
    pub(crate) fn may_recover(&self, paper: DeviceId) -> bool {
        self.paper_keys().contains(&paper)
    }

    /// What somebody lacks who has these heads, in an order in which [`insert`](Self::insert)
    /// takes it. Heads that are not known here count for nothing.
    pub fn since(&self, heads: impl IntoIterator<Item = EntryId>) -> impl Iterator<Item = &Entry> {
        let mut known = Bits::default();
        let mut open: Vec<usize> = heads
            .into_iter()
            .filter_map(|head| self.index.get(&head).copied())
            .collect();
        while let Some(node) = open.pop() {
            if !known.has(node) {
                known.put(node);
                open.extend(&self.nodes[node].parents);
            }
        }
        self.nodes
            .iter()
            .enumerate()
            .filter(move |(node, _)| !known.has(*node))
            .map(|(_, node)| &node.entry)
    }

    /// Takes an entry in. The family is then evaluated anew; for many entries use
    /// [`insert_all`](Self::insert_all).
    pub fn insert(&mut self, bytes: &[u8]) -> Result<Inserted, Refusal> {
        let inserted = self.insert_entry(bytes)?;
        if inserted == Inserted::New {
            self.evaluate();
        }
        Ok(inserted)
    }

    /// Takes in as many of these entries as may be, in whatever order they are, and evaluates
    /// once. Answers the new ones, and for each refused one why. Nobody who sends many makes this
    /// slow: what is known is skipped, and each entry is looked at once for each of its parents.
    pub fn insert_all<'a>(
        &mut self,
        entries: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<EntryId>, Vec<Refusal>) {
        let mut new = Vec::new();
        let mut refused = Vec::new();
        let mut entries = entries.into_iter();
        // Those whose missing parent has come.
        let mut open: VecDeque<Entry> = VecDeque::new();
        // By a parent that is missing: the entries that wait for it.
        let mut waiting: HashMap<EntryId, Vec<Entry>> = HashMap::new();
        while refused.len() < MAX_REFUSALS {
            let entry = match open.pop_front() {
                Some(entry) => entry,
                None => {
                    let Some(bytes) = entries.next() else {
                        break;
                    };
                    // What is here was verified, and is not again: resending costs a peer more.
                    if self.index.contains_key(&Entry::id_of(bytes)) {
                        continue;
                    }
                    match Entry::decode(bytes) {
                        Ok(entry) => entry,
                        Err(error) => {
                            refused.push(error.into());
                            continue;
                        }
                    }
                }
            };
            if let Some(parent) = self.unknown(&entry).first() {
                waiting.entry(*parent).or_default().push(entry);
                continue;
            }
            let id = entry.id();
            match self.take(entry) {
                Ok(Inserted::New) => {
                    new.push(id);
                    open.extend(waiting.remove(&id).unwrap_or_default());
                }
                Ok(Inserted::Known) => {}
                Err(refusal) => refused.push(refusal),
            }
        }
        refused.extend(
            waiting
                .values()
                .flatten()
                .map(|entry| Refusal::Missing(self.unknown(entry))),
        );
        if !new.is_empty() {
            self.evaluate();
        }
        (new, refused)
    }

    fn insert_entry(&mut self, bytes: &[u8]) -> Result<Inserted, Refusal> {
        if self.index.contains_key(&Entry::id_of(bytes)) {
            return Ok(Inserted::Known);
        }
        self.take(Entry::decode(bytes)?)
    }

    fn unknown(&self, entry: &Entry) -> Vec<EntryId> {
        entry
            .parents()
            .iter()
            .filter(|parent| !self.index.contains_key(parent))
            .copied()
            .collect()
    }

    /// Checks the authority of an entry and puts it in its place.
    fn take(&mut self, entry: Entry) -> Result<Inserted, Refusal> {
        if self.index.contains_key(&entry.id()) {
            return Ok(Inserted::Known);
        }
        if entry.family() != self.id() {
            return Err(Refusal::Foreign);
        }
        let missing = self.unknown(&entry);
        if !missing.is_empty() {
            return Err(Refusal::Missing(missing));
        }
        let parents: Vec<usize> = entry.parents().iter().map(|id| self.index[id]).collect();
        let mut seen = Bits::default();
        for &parent in &parents {
            seen.join(&self.nodes[parent].seen);
            if let Some(mark) = self.nodes[parent].mark {
                seen.put(mark);
            }
        }
        // The authority must have been seen, so it is a matter of the ancestors alone.
        let by = *self.index.get(&entry.by()).ok_or(Refusal::Authority)?;
        let used = self.nodes[by]
            .mark
            .filter(|&mark| seen.has(mark))
            .and_then(|_| self.nodes[by].gives(entry.author()))
            .filter(|used| used.chain <= MAX_CHAIN)
            .ok_or(Refusal::Authority)?;
        // Unless somebody gave the key a place anew, knowing that it was retired.
        let given = &self.nodes[by].seen;
        let rotations = self.rotations.get(&entry.author());
        if rotations
            .into_iter()
            .flatten()
            .filter_map(|&node| self.nodes[node].mark)
            .any(|mark| seen.has(mark) && !given.has(mark))
        {
            return Err(Refusal::Retired);
        }
        if !rules::permitted(used.kind, &entry) {
            return Err(Refusal::Role);
        }
        self.has_room(&entry, used.kind)?;
        self.place(entry, parents, by, used, seen);
        Ok(Inserted::New)
    }

    fn has_room(&self, entry: &Entry, kind: AuthorityKind) -> Result<(), Refusal> {
        let reserve = match entry.action() {
            Action::Removed { .. } | Action::SecretSet { .. } => 0,
            _ => RESERVE,
        };
        if self.nodes.len() + reserve >= MAX_ENTRIES {
            return Err(Refusal::Full("the family's log is full"));
        }
        let (written, membership) = self
            .written
            .get(&entry.author())
            .copied()
            .unwrap_or_default();
        let mine = match kind {
            AuthorityKind::Device(Role::Owner) | AuthorityKind::Paper => MAX_ENTRIES_OF_ONE,
            AuthorityKind::Device(_) => MAX_ENTRIES_OF_NON_OWNER,
        };
        if written >= mine {
            return Err(Refusal::Full("its author has written as much as one may"));
        }
        if is_membership(entry.action())
            && (self.marks.len() + reserve >= MAX_MEMBERSHIP_ENTRIES
                || membership >= MAX_MEMBERSHIP_ENTRIES_OF_ONE)
        {
            return Err(Refusal::Full("there were too many changes of members"));
        }
        Ok(())
    }

    fn place(&mut self, entry: Entry, parents: Vec<usize>, by: usize, used: Authority, seen: Bits) {
        let node = self.nodes.len();
        let id = entry.id();
        let depth = parents
            .iter()
            .map(|&parent| self.nodes[parent].depth + 1)
            .max()
            .unwrap_or(0);
        let mark = is_membership(entry.action()).then(|| {
            self.marks.push(node);
            self.marks.len() - 1
        });
        let before = is_strike(entry.action()).then(|| self.ancestors(&parents));
        let written = self.written.entry(entry.author()).or_default();
        written.0 += 1;
        written.1 += usize::from(mark.is_some());
        if let Action::KeyRotated { .. } = entry.action() {
            self.rotations.entry(entry.author()).or_default().push(node);
        }
        for parent in entry.parents() {
            self.heads.remove(parent);
        }
        self.heads.insert(id);
        self.index.insert(id, node);
        self.nodes.push(Node {
            entry,
            parents,
            by,
            used,
            depth,
            mark,
            seen,
            before,
        });
    }

    fn ancestors(&self, parents: &[usize]) -> Bits {
        let mut found = Bits::default();
        let mut open = parents.to_vec();
        while let Some(node) = open.pop() {
            if !found.has(node) {
                found.put(node);
                open.extend(&self.nodes[node].parents);
            }
        }
        found
    }

    fn evaluate(&mut self) {
        let held = rules::held(&self.nodes);
        self.family = Arc::new(Family::of(&self.nodes, &held));
    }

    /// Writes an entry on top of all that is here, with the newest authority that the key has.
    pub fn write(
        &mut self,
        author: &Identity,
        action: Action,
        time: u64,
    ) -> Result<&Entry, WriteError> {
        let parents = self.heads.iter().rev().take(MAX_PARENTS).copied().collect();
        self.write_on(author, parents, action, time)
    }

    /// Writes an entry that has seen only these entries and what is below them. For a removal
    /// this says from where on the removed device's own entries are void: whoever knows when a
    /// device was lost names the heads of before.
    pub fn write_on(
        &mut self,
        author: &Identity,
        parents: BTreeSet<EntryId>,
        action: Action,
        time: u64,
    ) -> Result<&Entry, WriteError> {
        let nodes: Option<Vec<usize>> = parents
            .iter()
            .map(|id| self.index.get(id).copied())
            .collect();
        let below = self.ancestors(&nodes.ok_or(WriteError::NoMember)?);
        // The newest and most that the key was given: the family says what still holds.
        let by = self
            .marks
            .iter()
            .filter(|&&node| below.has(node))
            .filter_map(|&node| {
                let gives = self.nodes[node].gives(author.id())?;
                let holds = self.family.holds(self.nodes[node].entry.id(), author.id());
                let role = match gives.kind {
                    AuthorityKind::Device(role) => role,
                    AuthorityKind::Paper => Role::Owner,
                };
                Some((holds, role, std::cmp::Reverse(gives.rank), node))
            })
            .max_by(|one, other| (one.0, one.1, &one.2).cmp(&(other.0, other.1, &other.2)))
            .map(|(.., node)| self.nodes[node].entry.id())
            .ok_or(WriteError::NoMember)?;
        let entry = Entry::sign(
            author,
            Draft {
                family: Some(self.id()),
                by,
                parents,
                time,
                action,
            },
        )
        .map_err(Refusal::from)?;
        let id = entry.id();
        self.take(entry)?;
        self.evaluate();
        Ok(&self.nodes[self.index[&id]].entry)
    }

    /// Gives the members a new secret. To be called after a removal, and whenever
    /// [`Family::secret_is_stale`] says so.
    pub fn renew_secret(&mut self, author: &Identity, time: u64) -> Result<&Entry, WriteError> {
        let secret = random()?;
        self.write(author, Action::SecretSet { secret }, time)
    }

    /// Removes a device and renews the members' secret, in two entries.
    pub fn remove(
        &mut self,
        author: &Identity,
        device: DeviceId,
        lost: bool,
        time: u64,
    ) -> Result<(), WriteError> {
        self.write(author, Action::Removed { device, lost }, time)?;
        self.renew_secret(author, time)?;
        Ok(())
    }
}
