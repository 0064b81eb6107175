//! Partitions, conflicting edits and malice against a simple model: the rules of the family once
//! more, with sets and recursion in the place of indexes and bits.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::{first, key, log_of, rest};
use proptest::prelude::*;
use trust::{
    identity::DeviceId,
    log::{Action, Entry, EntryId, Grant, Log, Role, Until, rotation_proof},
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Device(Role),
    Paper,
}

/// Depth and hash of the addition that the seniority comes from, then paper before device, then
/// the age of the paper.
type Rank = (usize, EntryId, bool, usize, EntryId);

struct Model<'a> {
    entries: BTreeMap<EntryId, &'a Entry>,
    ancestors: BTreeMap<EntryId, BTreeSet<EntryId>>,
    depth: BTreeMap<EntryId, usize>,
}

impl<'a> Model<'a> {
    fn of(log: &'a Log) -> Self {
        let mut model = Self {
            entries: BTreeMap::new(),
            ancestors: BTreeMap::new(),
            depth: BTreeMap::new(),
        };
        for entry in log.entries() {
            let mut ancestors = BTreeSet::new();
            let mut depth = 0;
            for parent in entry.parents() {
                ancestors.insert(*parent);
                ancestors.extend(&model.ancestors[parent]);
                depth = depth.max(model.depth[parent] + 1);
            }
            model.entries.insert(entry.id(), entry);
            model.ancestors.insert(entry.id(), ancestors);
            model.depth.insert(entry.id(), depth);
        }
        model
    }

    fn saw(&self, entry: EntryId, other: EntryId) -> bool {
        self.ancestors[&entry].contains(&other)
    }

    /// What the entry gives to the key, and with what seniority.
    fn gives(&self, id: EntryId, to: DeviceId) -> Option<(Kind, Rank)> {
        let entry = self.entries[&id];
        let depth = self.depth[&id];
        let zero = EntryId::from_bytes([0; 32]);
        let own = (depth, id, true, 0, zero);
        let paper = |by: Rank| (Kind::Paper, (by.0, by.1, false, depth, id));
        match entry.action() {
            Action::Founded { .. } if to == entry.author() => {
                Some((Kind::Device(Role::Owner), own))
            }
            Action::Founded {
                paper: Some(key), ..
            } if to == *key => Some(paper(own)),
            Action::Added { device, role, .. } | Action::RoleChanged { device, role }
                if to == *device =>
            {
                Some((Kind::Device(*role), own))
            }
            Action::KeyRotated { new, .. } if to == *new => Some(self.used(id)),
            Action::PaperKeySet { key } if to == *key => Some(paper(self.used(id).1)),
            _ => None,
        }
    }

    /// The authority that an entry's author used.
    fn used(&self, id: EntryId) -> (Kind, Rank) {
        let entry = self.entries[&id];
        let by = match entry.action() {
            Action::Founded { .. } => id,
            _ => entry.by(),
        };
        self.gives(by, entry.author())
            .expect("the log took it, so it had authority")
    }

    /// All keys of the device of this key.
    fn keys(&self, key: DeviceId) -> BTreeSet<DeviceId> {
        let mut keys = BTreeSet::from([key]);
        loop {
            let before = keys.len();
            for entry in self.entries.values() {
                if let Action::KeyRotated { new, .. } = entry.action()
                    && (keys.contains(new) || keys.contains(&entry.author()))
                {
                    keys.extend([*new, entry.author()]);
                }
            }
            if keys.len() == before {
                return keys;
            }
        }
    }

    fn strikes(&self) -> Vec<EntryId> {
        let is = |entry: &&&Entry| {
            matches!(
                entry.action(),
                Action::Removed { .. } | Action::RoleChanged { .. } | Action::PaperKeySet { .. }
            )
        };
        self.entries
            .values()
            .filter(is)
            .map(|entry| entry.id())
            .collect()
    }

    /// Whether the strike takes away what that entry gave to that key.
    fn takes(&self, strike: EntryId, given: EntryId, to: DeviceId) -> bool {
        let Some((kind, _)) = self.gives(given, to) else {
            return false;
        };
        if strike == given || self.saw(given, strike) {
            return false;
        }
        match (self.entries[&strike].action(), kind) {
            (Action::Removed { device, .. }, Kind::Device(_)) => self.keys(*device).contains(&to),
            (Action::RoleChanged { device, role }, Kind::Device(had)) => {
                had > *role && self.keys(*device).contains(&to)
            }
            (Action::PaperKeySet { .. }, Kind::Paper) => true,
            _ => false,
        }
    }

    /// Whether the entry is void if the strike holds: a link of its chain is broken.
    fn voids(&self, strike: EntryId, id: EntryId) -> bool {
        let entry = self.entries[&id];
        if matches!(entry.action(), Action::Founded { .. }) {
            return false;
        }
        let broken =
            id != strike && !self.saw(strike, id) && self.takes(strike, entry.by(), entry.author());
        broken || self.voids(strike, entry.by())
    }

    fn holding(&self) -> BTreeSet<EntryId> {
        let mut open: BTreeSet<EntryId> = self.strikes().into_iter().collect();
        let attacks: HashMap<EntryId, BTreeSet<EntryId>> = open
            .iter()
            .map(|&one| {
                (
                    one,
                    open.iter()
                        .copied()
                        .filter(|&other| self.voids(one, other))
                        .collect(),
                )
            })
            .collect();
        let mut holding = BTreeSet::new();
        while !open.is_empty() {
            let free = open
                .iter()
                .copied()
                .find(|one| !open.iter().any(|other| attacks[other].contains(one)));
            let (one, circle) = match free {
                Some(one) => (one, false),
                None => (self.senior_of_a_circle(&open, &attacks), true),
            };
            open.retain(|other| {
                *other != one
                    && !attacks[&one].contains(other)
                    && !(circle && attacks[other].contains(&one))
            });
            holding.insert(one);
        }
        holding
    }

    fn senior_of_a_circle(
        &self,
        open: &BTreeSet<EntryId>,
        attacks: &HashMap<EntryId, BTreeSet<EntryId>>,
    ) -> EntryId {
        let reached = |from: EntryId| {
            let mut found = BTreeSet::new();
            let mut next = vec![from];
            while let Some(one) = next.pop() {
                for &other in attacks[&one].intersection(open) {
                    if found.insert(other) {
                        next.push(other);
                    }
                }
            }
            found
        };
        let circles: Vec<EntryId> = open
            .iter()
            .copied()
            .filter(|&one| {
                let out = reached(one);
                open.iter()
                    .all(|&other| !reached(other).contains(&one) || out.contains(&other))
            })
            .collect();
        // Any such circle will do; this one is named by its least member.
        let one = circles[0];
        let circle = reached(one);
        circles
            .into_iter()
            .filter(|other| circle.contains(other))
            .min_by_key(|other| (self.used(*other).1, self.depth[other], *other))
            .expect("it is in its own circle")
    }

    fn evaluate(&self) -> State {
        let holding = self.holding();
        let valid: Vec<EntryId> = self
            .entries
            .keys()
            .copied()
            .filter(|&id| !holding.iter().any(|&strike| self.voids(strike, id)))
            .collect();
        let mut state = State::default();
        let given: BTreeSet<DeviceId> = (0..KEYS).map(|number| key(number).id()).collect();
        for &id in &valid {
            let retired = |to: DeviceId| {
                valid.iter().any(|&other| {
                    let entry = self.entries[&other];
                    matches!(entry.action(), Action::KeyRotated { .. })
                        && entry.author() == to
                        && !self.saw(id, other)
                })
            };
            for &to in &given {
                let Some((kind, _)) = self.gives(id, to) else {
                    continue;
                };
                if retired(to) || holding.iter().any(|&strike| self.takes(strike, id, to)) {
                    continue;
                }
                match kind {
                    Kind::Paper => {
                        state.paper.insert(to);
                    }
                    Kind::Device(role) => {
                        let was = state.roles.entry(to).or_insert(role);
                        *was = role.max(*was);
                    }
                }
            }
        }
        for &id in &valid {
            let Action::GrantGiven(grant) = self.entries[&id].action() else {
                continue;
            };
            let revoked = valid.iter().any(|other| {
                matches!(self.entries[other].action(), Action::GrantRevoked { grant } if *grant == id)
            });
            let gone = |device: DeviceId| {
                !self.keys(device).iter().any(|key| state.roles.contains_key(key))
                    || holding.iter().any(|&strike| {
                        matches!(self.entries[&strike].action(), Action::Removed { device: removed, .. }
                            if self.keys(*removed).contains(&device))
                            && !self.saw(id, strike)
                    })
            };
            if !revoked && !gone(grant.from) && !grant.to.is_some_and(gone) {
                state.grants.insert(id);
            }
        }
        state
    }
}

#[derive(Debug, Default, PartialEq)]
struct State {
    roles: BTreeMap<DeviceId, Role>,
    paper: BTreeSet<DeviceId>,
    grants: BTreeSet<EntryId>,
}

impl State {
    fn of(log: &Log) -> Self {
        let family = log.family();
        Self {
            roles: family
                .members()
                .map(|member| (member.device, member.role))
                .collect(),
            paper: (0..KEYS)
                .map(|number| key(number).id())
                .filter(|key| family.is_paper(*key))
                .collect(),
            grants: family.grants().iter().map(|given| given.entry).collect(),
        }
    }
}

const KEYS: u8 = 9;
const PAPER: u8 = 6;
const REPLICAS: usize = 4;

/// One thing that happens somewhere.
#[derive(Clone, Debug)]
struct Event {
    replica: usize,
    author: u8,
    kind: u8,
    target: u8,
    role: u8,
    /// How many of the newest entries its author pretends not to have seen.
    backdated: usize,
}

fn event() -> impl Strategy<Value = Event> {
    let backdated = prop_oneof![3 => Just(0_usize), 1 => 1..12_usize];
    // Owners who remove each other are what this is about: keys are few, removals many.
    (0..REPLICAS, 0..KEYS, 0..16_u8, 0..KEYS, 0..3_u8, backdated).prop_map(
        |(replica, author, kind, target, role, backdated)| Event {
            replica,
            author,
            kind,
            target,
            role,
            backdated,
        },
    )
}

fn happen(replicas: &mut [Log], event: &Event) {
    let log = &mut replicas[event.replica];
    let role = [Role::Guest, Role::Shared, Role::Owner][event.role as usize];
    let (author, target) = (key(event.author), key(event.target));
    let device = target.id();
    let last_grant = log
        .entries()
        .filter(|entry| matches!(entry.action(), Action::GrantGiven(_)))
        .map(|entry| entry.id())
        .last();
    let action = match event.kind {
        0..=4 => Action::Added {
            device,
            role: if event.kind < 4 { Role::Owner } else { role },
            name: String::new(),
        },
        5..=8 => Action::Removed {
            device,
            lost: event.role == 0,
        },
        9 | 10 => Action::RoleChanged { device, role },
        11 => Action::KeyRotated {
            new: device,
            proof: rotation_proof(&target, log.id(), author.id()),
        },
        12 => Action::PaperKeySet {
            key: key(PAPER + event.role % 2).id(),
        },
        13 => Action::GrantRevoked {
            grant: match last_grant {
                Some(grant) => grant,
                None => return,
            },
        },
        14 => Action::GrantGiven(Grant {
            from: device,
            to: (event.role > 0).then(|| key(event.role).id()),
            interfaces: "*".parse().unwrap(),
            until: Until::Always,
        }),
        _ => {
            // Another replica hears of what this one has.
            let heard = rest(log);
            let count = replicas.len();
            let other = &mut replicas[event.target as usize % count];
            other.insert_all(heard.iter().map(Vec::as_slice));
            return;
        }
    };
    let count = log.len() - event.backdated.min(log.len() - 1);
    let parents = heads_of_the_first(log, count);
    // Whoever has no authority is refused, and that is all.
    let _ = log.write_on(&author, parents, action, 0);
}

/// The heads of the first entries of the log.
fn heads_of_the_first(log: &Log, count: usize) -> BTreeSet<EntryId> {
    let mut heads = BTreeSet::new();
    for entry in log.entries().take(count) {
        for parent in entry.parents() {
            heads.remove(parent);
        }
        heads.insert(entry.id());
    }
    heads
        .into_iter()
        .rev()
        .take(trust::log::MAX_PARENTS)
        .collect()
}

fn found() -> Log {
    let mut log = Log::found(&key(0), "0", Some(key(PAPER).id()), 0).unwrap();
    for number in 1..4 {
        let added = Action::Added {
            device: key(number).id(),
            role: Role::Owner,
            name: number.to_string(),
        };
        log.write(&key(0), added, 0).unwrap();
    }
    log
}

/// What all replicas know together, in the order of the replicas.
fn all(replicas: &[Log]) -> Log {
    let mut union = replicas[0].clone();
    for replica in replicas {
        union.insert_all(rest(replica).iter().map(Vec::as_slice));
    }
    union
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_order_gives_the_family_of_the_model(
        events in prop::collection::vec(event(), 0..40),
        orders in prop::collection::vec(any::<u64>(), 2),
    ) {
        let mut replicas = vec![found(); REPLICAS];
        for event in &events {
            happen(&mut replicas, event);
        }
        for log in &replicas {
            prop_assert_eq!(State::of(log), Model::of(log).evaluate());
        }
        let union = all(&replicas);
        prop_assert_eq!(State::of(&union), Model::of(&union).evaluate());
        for seed in orders {
            let mut entries = rest(&union);
            shuffle(&mut entries, seed);
            let other = log_of(&first(&union), entries.iter().map(Vec::as_slice));
            prop_assert_eq!(other.heads(), union.heads());
            prop_assert_eq!(other.family(), union.family());
        }
    }

    /// Whoever was removed by somebody senior, or by the paper key, can write what it likes, into
    /// whatever past it likes, with whatever accomplices it makes: the family stays what it is.
    #[test]
    fn a_removed_device_changes_nothing(
        before in prop::collection::vec(event(), 0..12),
        after in prop::collection::vec(event(), 1..25),
        by_paper in any::<bool>(),
    ) {
        let mut replicas = vec![found(); REPLICAS];
        for event in &before {
            // The removed device is 3; what happens before leaves it and its judges alone.
            if event.author != 3 && ![0, 3, PAPER].contains(&event.target)
                && (event.author != PAPER + 1) && event.kind != 12 && event.kind != 11 {
                happen(&mut replicas, event);
            }
        }
        let mut log = all(&replicas);
        prop_assume!(log.family().role(key(0).id()).is_some());
        prop_assume!(log.family().role(key(3).id()).is_some());
        let judge = key(if by_paper { PAPER } else { 0 });
        log.remove(&judge, key(3).id(), true, 0).unwrap();
        let then = log.family();
        prop_assert_eq!(then.role(key(3).id()), None);

        // 3 goes on, on old heads, and takes strangers' keys (4, 5, 8) for accomplices; none of
        // them was ever anything to anybody else.
        let strangers = [4, 5, 8];
        prop_assume!(strangers.iter().all(|&number| {
            !log.entries().any(|entry| format!("{:?}", entry.action()).contains(&key(number).id().short()))
        }));
        let mut malice = vec![log];
        for event in &after {
            let accomplices = [3, 4, 5, 8];
            let mut event = event.clone();
            event.replica = 0;
            event.author = accomplices[event.author as usize % 4];
            event.backdated = event.backdated.max(3);
            if event.kind == 11 {
                event.target = strangers[event.target as usize % 3];
            }
            happen(&mut malice, &event);
        }
        let now = malice[0].family();
        let members = |family: &trust::family::Family| family.members().cloned().collect::<Vec<_>>();
        prop_assert_eq!(members(&then), members(&now));
        prop_assert_eq!(then.grants(), now.grants());
        prop_assert_eq!(then.discovery_keys(), now.discovery_keys());
        prop_assert_eq!(then.is_paper(key(PAPER).id()), now.is_paper(key(PAPER).id()));
        prop_assert_eq!(then.is_paper(key(PAPER + 1).id()), now.is_paper(key(PAPER + 1).id()));
    }
}

fn shuffle(entries: &mut [Vec<u8>], mut seed: u64) {
    for at in (1..entries.len()).rev() {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        entries.swap(at, (seed >> 33) as usize % (at + 1));
    }
}
