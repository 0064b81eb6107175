//! What holds of a log: the rules of DESIGN.md, "The family".
//!
//! A *strike* is an entry that makes others void:
//!
//! - a **removal** strikes every membership of the device that was not given after the removal
//!   had been seen, whatever key the device has rotated to;
//! - a **change of role** strikes those memberships of the device that gave more than the new
//!   role (so of two changes that did not see each other, the lesser role holds);
//! - a **new paper key** strikes the one before.
//!
//! A strike makes void each entry whose author used a struck authority and which the strike has
//! not seen, and everything whose chain of authority passes through such an entry. What merely
//! comes later in the log, written by others on their own authority, is not touched.
//!
//! Strikes can make each other void. Those that no other strike makes void hold; what they make
//! void does not; and so on. Where that leaves a circle (owners who remove each other), the strike
//! of the most senior author in it holds, and those that contradict it do not. The key on paper is
//! senior to the device that set it, and the one in the first entry to all.
//!
//! All of this is a function of the set of entries: no clock, and no order of arrival.

use std::collections::HashMap;

use super::{Action, AuthorityKind, Node, bits::Bits, entry::Entry, grant::Role, is_strike};
use crate::identity::DeviceId;

/// Whether that kind of authority suffices for the entry.
pub(super) fn permitted(kind: AuthorityKind, entry: &Entry) -> bool {
    match (kind, entry.action()) {
        (_, Action::Founded { .. }) => false,
        (AuthorityKind::Device(Role::Owner), _) => true,
        // What it takes to save a family, and nothing for every day.
        (AuthorityKind::Paper, action) => matches!(
            action,
            Action::Added { .. }
                | Action::RoleChanged { .. }
                | Action::Removed { .. }
                | Action::PaperKeySet { .. }
                | Action::SecretSet { .. }
        ),
        (AuthorityKind::Device(_), Action::KeyRotated { .. }) => true,
        (AuthorityKind::Device(_), Action::Removed { device, .. }) => *device == entry.author(),
        (AuthorityKind::Device(_), _) => false,
    }
}

/// What holds of a log.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The nodes of the strikes that hold.
    pub strikes: Vec<usize>,
    /// The nodes that are void.
    pub void: Bits,
    /// The keys that belong to one device, because it rotated from one to the other.
    pub devices: Devices,
}

/// Which keys belong to one device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Devices(HashMap<DeviceId, DeviceId>);

impl Devices {
    fn of(nodes: &[Node]) -> Self {
        let mut devices = Self::default();
        for node in nodes {
            if let Action::KeyRotated { new, .. } = node.entry.action() {
                let (one, other) = (devices.first(node.entry.author()), devices.first(*new));
                // The lesser key stands for both, so that the order of arrival does not matter.
                if one != other {
                    devices.0.insert(one.max(other), one.min(other));
                }
            }
        }
        devices
    }

    /// The key that stands for the device of this key.
    pub(crate) fn first(&self, mut key: DeviceId) -> DeviceId {
        while let Some(&other) = self.0.get(&key) {
            key = other;
        }
        key
    }
}

/// Whether the strike takes away what that authority gave to that key.
pub(crate) fn strikes(
    nodes: &[Node],
    devices: &Devices,
    strike: usize,
    authority: usize,
    key: DeviceId,
    kind: AuthorityKind,
) -> bool {
    let mark = nodes[strike].mark.expect("strikes concern membership");
    if strike == authority || nodes[authority].seen.has(mark) {
        return false;
    }
    let same = |device: &DeviceId| devices.first(*device) == devices.first(key);
    match (nodes[strike].entry.action(), kind) {
        (Action::Removed { device, .. }, AuthorityKind::Device(_)) => same(device),
        (Action::RoleChanged { device, role }, AuthorityKind::Device(had)) => {
            had > *role && same(device)
        }
        (Action::PaperKeySet { .. }, AuthorityKind::Paper) => true,
        _ => false,
    }
}

/// What this strike makes void if it holds.
fn voided(nodes: &[Node], devices: &Devices, strike: usize) -> Bits {
    let before = nodes[strike].before.as_ref().expect("it is a strike");
    let mut void = Bits::default();
    for (number, node) in nodes.iter().enumerate().skip(1) {
        let broken = number != strike
            && !before.has(number)
            && strikes(
                nodes,
                devices,
                strike,
                node.by,
                node.entry.author(),
                node.used.kind,
            );
        if broken || void.has(node.by) {
            void.put(number);
        }
    }
    void
}

/// What holds of these entries.
pub(super) fn held(nodes: &[Node]) -> Held {
    let devices = Devices::of(nodes);
    let strikes: Vec<usize> = (0..nodes.len())
        .filter(|&node| is_strike(nodes[node].entry.action()))
        .collect();
    let voids: Vec<Bits> = strikes
        .iter()
        .map(|&strike| voided(nodes, &devices, strike))
        .collect();
    let attacks = |one: usize, other: usize| voids[one].has(strikes[other]);
    let standing = resolve(strikes.len(), attacks, |one, other| {
        let place = |strike: usize| {
            let node = &nodes[strikes[strike]];
            (&node.used.rank, node.depth, node.entry.id())
        };
        place(one).cmp(&place(other))
    });
    let mut held = Held {
        devices,
        ..Held::default()
    };
    for number in standing {
        held.void.join(&voids[number]);
        held.strikes.push(strikes[number]);
    }
    held
}

/// Which of `count` strikes hold, when some attack others.
fn resolve(
    count: usize,
    attacks: impl Fn(usize, usize) -> bool,
    seniority: impl Fn(usize, usize) -> std::cmp::Ordering,
) -> Vec<usize> {
    let mut standing = Vec::new();
    let mut open: Vec<usize> = (0..count).collect();
    while !open.is_empty() {
        let mut decided: Vec<usize> = open
            .iter()
            .copied()
            .filter(|&one| !open.iter().any(|&other| attacks(other, one)))
            .collect();
        let circle = decided.is_empty();
        if circle {
            decided = seniors_of_circles(&open, &attacks, &seniority);
        }
        open.retain(|&one| {
            !decided.contains(&one)
                && !decided
                    .iter()
                    .any(|&holds| attacks(holds, one) || (circle && attacks(one, holds)))
        });
        standing.extend(decided);
    }
    standing
}

/// Of each circle of attacks that nothing outside of it attacks, the most senior.
fn seniors_of_circles(
    open: &[usize],
    attacks: &impl Fn(usize, usize) -> bool,
    seniority: &impl Fn(usize, usize) -> std::cmp::Ordering,
) -> Vec<usize> {
    // By place in `open`: whom one attacks, directly or through others.
    let mut reach: Vec<Bits> = open
        .iter()
        .map(|&one| {
            let mut row = Bits::default();
            for (place, &other) in open.iter().enumerate() {
                if attacks(one, other) {
                    row.put(place);
                }
            }
            row
        })
        .collect();
    for middle in 0..open.len() {
        let through = reach[middle].clone();
        for row in &mut reach {
            if row.has(middle) {
                row.join(&through);
            }
        }
    }
    (0..open.len())
        .filter(|&one| {
            (0..open.len()).all(|other| {
                let attacked = reach[other].has(one);
                // In a circle with it, and then junior; or no attacker at all.
                !attacked || (reach[one].has(other) && seniority(open[one], open[other]).is_le())
            })
        })
        .map(|place| open[place])
        .collect()
}
