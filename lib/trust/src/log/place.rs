//! Where an entry stands in the log: what it has seen, on whose authority it was written, and what
//! authority it gives.

use super::{
    bits::Bits,
    entry::{Action, Entry, EntryId},
    grant::Role,
};
use crate::identity::DeviceId;

/// What kind of authority a key has, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub kind: AuthorityKind,
    pub rank: Rank,
    /// How many hands it passed through.
    pub chain: u16,
}

impl Authority {
    /// That of whoever founds a family, which nobody gave.
    pub(super) fn of_the_founder(first: EntryId) -> Self {
        Self {
            kind: AuthorityKind::Device(Role::Owner),
            rank: Rank::of_a_device(0, first),
            chain: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthorityKind {
    Device(Role),
    Paper,
}

/// Seniority: the lesser is the more senior.
///
/// A device's is the depth at which it was added in its role, so it is always below that of who
/// added it, however the parents are chosen. A key on paper stands just above the device that set
/// it; the one in the first entry stands above all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    depth: u32,
    entry: EntryId,
    device: bool,
    paper_depth: u32,
    paper_entry: EntryId,
}

impl Rank {
    fn of_a_device(depth: u32, entry: EntryId) -> Self {
        Self {
            depth,
            entry,
            device: true,
            paper_depth: 0,
            paper_entry: EntryId::NONE,
        }
    }
}

/// An entry in its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub entry: Entry,
    pub parents: Vec<usize>,
    /// The node of [`Entry::by`]; its own for the first.
    pub by: usize,
    /// The authority that the author used.
    pub used: Authority,
    /// The longest way to the first entry.
    pub depth: u32,
    /// Its number among the entries that concern membership.
    pub mark: Option<usize>,
    /// Which of those it has seen.
    pub seen: Bits,
    /// For an entry that can make others void: which entries it has seen.
    pub before: Option<Bits>,
}

impl Node {
    /// The authority that this entry gives to a key.
    pub(crate) fn gives(&self, key: DeviceId) -> Option<Authority> {
        let chain = self.used.chain + 1;
        let id = self.entry.id();
        let device = |role| Authority {
            kind: AuthorityKind::Device(role),
            rank: Rank::of_a_device(self.depth, id),
            chain,
        };
        match self.entry.action() {
            Action::Founded { .. } if key == self.entry.author() => Some(device(Role::Owner)),
            Action::Founded { paper, .. } if *paper == Some(key) => Some(Authority {
                kind: AuthorityKind::Paper,
                rank: self.paper_rank(),
                chain,
            }),
            Action::Added {
                device: key_, role, ..
            }
            | Action::RoleChanged { device: key_, role }
                if *key_ == key =>
            {
                Some(device(*role))
            }
            Action::KeyRotated { new, .. } if *new == key => Some(Authority {
                chain,
                ..self.used.clone()
            }),
            Action::PaperKeySet { key: key_ } if *key_ == key => Some(Authority {
                kind: AuthorityKind::Paper,
                rank: self.paper_rank(),
                chain,
            }),
            _ => None,
        }
    }

    fn paper_rank(&self) -> Rank {
        Rank {
            device: false,
            paper_depth: self.depth,
            paper_entry: self.entry.id(),
            ..self.used.rank.clone()
        }
    }
}

/// Whether an entry concerns who is a member.
pub(super) fn is_membership(action: &Action) -> bool {
    matches!(
        action,
        Action::Founded { .. }
            | Action::Added { .. }
            | Action::RoleChanged { .. }
            | Action::Removed { .. }
            | Action::KeyRotated { .. }
            | Action::PaperKeySet { .. }
    )
}

/// Whether an entry can make others void.
pub(super) fn is_strike(action: &Action) -> bool {
    matches!(
        action,
        Action::Removed { .. } | Action::RoleChanged { .. } | Action::PaperKeySet { .. }
    )
}
