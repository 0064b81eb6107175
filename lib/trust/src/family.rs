//! What follows from the log: who is in the family, as what, and who may call what.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use crate::{
    identity::DeviceId,
    log::{
        Action, AuthorityKind, EntryId, FamilyId, Grant, Held, Interfaces, Node, Role, Until,
        strikes,
    },
};

/// How many of the members' secrets are offered for recognising each other.
pub const MAX_DISCOVERY_KEYS: usize = 8;

/// A device of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The key that it has now.
    pub device: DeviceId,
    /// What it is.
    pub role: Role,
    /// The name under which it was added.
    pub name: String,
    /// The entry that made it a member.
    pub entry: EntryId,
    /// When that was, as its author says, in seconds since 1970.
    pub added: u64,
    /// Two different keys follow on one of its former keys: somebody else has had that key. The
    /// owner should remove the device and pair it anew.
    pub forked: bool,
}

/// How a device left the family, the last time that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The entry that removed it; where several did, one that says that it is lost.
    pub entry: EntryId,
    /// Whether it is in unknown hands, and locks itself.
    pub lost: bool,
}

/// A grant in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenGrant {
    /// The entry that gave it, by which it is revoked.
    pub entry: EntryId,
    /// The owner device that gave it.
    pub author: DeviceId,
    /// When that was, as its author says, in seconds since 1970.
    pub time: u64,
    /// The grant.
    pub grant: Grant,
}

/// Whom a document of the family's state is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// Every device that stands in the home: names, rooms, what is playing.
    Family,
    /// The owner's own devices: settings that follow the person, notifications.
    Person,
    /// One device, and the owner's.
    Device(DeviceId),
}

/// A call that a device asks for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who calls: the key that the connection proved.
    pub caller: DeviceId,
    /// Who serves: this device.
    pub callee: DeviceId,
    /// The interface, as `namespace:package/interface` with or without a version.
    pub interface: &'a str,
    /// Seconds since 1970 by the clock of the serving device.
    pub now: u64,
}

/// What a role may do without a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What even an owner device needs a grant for.
    pub sensitive: Vec<Interfaces>,
    /// What a shared device may call.
    pub shared: Vec<Interfaces>,
    /// What a guest may call.
    pub guest: Vec<Interfaces>,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be made: by the caller's role, or by this grant.
    Allowed(Option<EntryId>),
    /// It may be made once, by this grant. The serving device notes durably that the grant is
    /// spent before it passes the call on.
    Once(EntryId),
    /// Nobody has said anything about it: ask the owner.
    Ask,
    /// It may not be made.
    Refused(NotAllowed),
}

/// Why a call may not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The caller is not of the family, and never was.
    #[error("the device is not of this family")]
    Stranger,
    /// The caller was removed.
    #[error("the device was removed from this family")]
    Removed,
    /// The owner said no, and not to ask again.
    #[error("the owner refused it for good; Settings can take that back")]
    Never,
    /// What was named is no interface.
    #[error("that is not the name of an interface")]
    Name,
}

/// The family, as of one state of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    id: Option<FamilyId>,
    members: BTreeMap<DeviceId, Member>,
    /// The current key of the device that has, or had, this key.
    current: HashMap<DeviceId, DeviceId>,
    removed: BTreeMap<DeviceId, Removal>,
    paper: BTreeSet<DeviceId>,
    grants: Vec<GivenGrant>,
    secrets: Vec<[u8; 32]>,
    stale: bool,
    holding: HashSet<(EntryId, DeviceId)>,
}

impl Family {
    pub(crate) fn of(nodes: &[Node], held: &Held) -> Self {
        let mut family = Self {
            id: Some(nodes[0].entry.id().into()),
            ..Self::default()
        };
        let mut order: Vec<usize> = (0..nodes.len()).filter(|&n| !held.void.has(n)).collect();
        // Whatever is listed is in this order, not in that of arrival.
        order.sort_by_key(|&node| (nodes[node].depth, nodes[node].entry.id()));
        family.admit(nodes, held, &order);
        family.list_removed(nodes, held, &order);
        family.list_grants(nodes, held, &order);
        family.list_secrets(nodes, held, &order);
        family
    }

    fn admit(&mut self, nodes: &[Node], held: &Held, order: &[usize]) {
        // By key: the rotations away from it that hold.
        let mut rotations: HashMap<DeviceId, Vec<usize>> = HashMap::new();
        for &node in order {
            let entry = &nodes[node].entry;
            if let Action::KeyRotated { .. } = entry.action() {
                rotations.entry(entry.author()).or_default().push(node);
            }
        }
        let saw = |node: usize, other: usize| {
            nodes[other]
                .mark
                .is_some_and(|mark| nodes[node].seen.has(mark))
        };
        let in_force = |node: usize, key: DeviceId| {
            // A retired key has what it was given by somebody who knew that it was retired.
            let retired = rotations
                .get(&key)
                .into_iter()
                .flatten()
                .any(|&rotation| !saw(node, rotation));
            nodes[node].gives(key).filter(|authority| {
                !retired
                    && !held.strikes.iter().any(|&strike| {
                        strikes(nodes, &held.devices, strike, node, key, authority.kind)
                    })
            })
        };
        // By device: the name and entry with which it came last.
        let mut came: HashMap<DeviceId, (&str, EntryId, u64)> = HashMap::new();
        for &node in order {
            let entry = &nodes[node].entry;
            let (device, name) = match entry.action() {
                Action::Founded { name, .. } => (entry.author(), name),
                Action::Added { device, name, .. } => (*device, name),
                _ => continue,
            };
            came.insert(held.devices.first(device), (name, entry.id(), entry.time()));
        }
        let forked: HashSet<DeviceId> = rotations
            .iter()
            .filter(|(_, away)| {
                away.iter().any(|&one| {
                    away.iter()
                        .any(|&other| one != other && !saw(one, other) && !saw(other, one))
                })
            })
            .map(|(&key, _)| held.devices.first(key))
            .collect();
        for &node in order {
            let entry = &nodes[node].entry;
            let keys = match entry.action() {
                Action::Founded { paper, .. } => [Some(entry.author()), *paper],
                Action::Added { device, .. } | Action::RoleChanged { device, .. } => {
                    [Some(*device), None]
                }
                Action::KeyRotated { new, .. } => [Some(*new), None],
                Action::PaperKeySet { key } => [Some(*key), None],
                _ => continue,
            };
            for key in keys.into_iter().flatten() {
                let Some(authority) = in_force(node, key) else {
                    continue;
                };
                self.holding.insert((entry.id(), key));
                let AuthorityKind::Device(role) = authority.kind else {
                    self.paper.insert(key);
                    continue;
                };
                let device = held.devices.first(key);
                let (name, came_by, added) =
                    came.get(&device)
                        .copied()
                        .unwrap_or(("", entry.id(), entry.time()));
                let role = self.role(key).map_or(role, |was| was.max(role));
                self.members.insert(
                    key,
                    Member {
                        device: key,
                        role,
                        name: name.to_owned(),
                        entry: came_by,
                        added,
                        forked: false,
                    },
                );
                self.current.insert(device, key);
            }
        }
        for member in self.members.values_mut() {
            member.forked = forked.contains(&held.devices.first(member.device));
        }
    }

    fn list_removed(&mut self, nodes: &[Node], held: &Held, order: &[usize]) {
        let keys: BTreeSet<DeviceId> = nodes
            .iter()
            .flat_map(|node| match node.entry.action() {
                Action::Founded { .. } => Some(node.entry.author()),
                Action::Added { device, .. }
                | Action::RoleChanged { device, .. }
                | Action::Removed { device, .. }
                | Action::KeyRotated { new: device, .. } => Some(*device),
                _ => None,
            })
            .collect();
        // What came before it was taken in again is over.
        let is_over = |removal: usize, of: DeviceId| {
            let saw = |node: usize| {
                let mark = nodes[removal].mark;
                mark.is_some_and(|mark| nodes[node].seen.has(mark))
            };
            order.iter().any(|&node| {
                matches!(
                    nodes[node].entry.action(),
                    Action::Added { device, .. } if held.devices.first(*device) == of
                ) && saw(node)
            })
        };
        let mut by_device: HashMap<DeviceId, Removal> = HashMap::new();
        for &node in order {
            let Some((device, lost)) = nodes[node].entry.removes() else {
                continue;
            };
            let device = held.devices.first(device);
            if held.strikes.contains(&node) && !is_over(node, device) {
                let entry = nodes[node].entry.id();
                let removal = Removal { entry, lost };
                by_device
                    .entry(device)
                    .and_modify(|was| {
                        if lost && !was.lost {
                            *was = removal;
                        }
                    })
                    .or_insert(removal);
            }
        }
        for key in keys {
            let device = held.devices.first(key);
            if let (Some(removal), false) =
                (by_device.get(&device), self.current.contains_key(&device))
            {
                self.removed.insert(key, *removal);
            }
            if let Some(&current) = self.current.get(&device) {
                self.current.insert(key, current);
            }
        }
    }

    fn list_grants(&mut self, nodes: &[Node], held: &Held, order: &[usize]) {
        let revoked: HashSet<EntryId> = order
            .iter()
            .filter_map(|&node| match nodes[node].entry.action() {
                Action::GrantRevoked { grant } => Some(*grant),
                _ => None,
            })
            .collect();
        for &node in order {
            let entry = &nodes[node].entry;
            let Action::GrantGiven(grant) = entry.action() else {
                continue;
            };
            // Whoever was removed comes back, if ever, with nothing of what it had.
            let ended = |device: DeviceId| {
                held.strikes.iter().any(|&strike| {
                    matches!(nodes[strike].entry.action(), Action::Removed { device: removed, .. }
                        if held.devices.first(*removed) == held.devices.first(device))
                        && !nodes[node]
                            .seen
                            .has(nodes[strike].mark.expect("strikes concern membership"))
                })
            };
            if revoked.contains(&entry.id())
                || !self.current.contains_key(&grant.from)
                || ended(grant.from)
                || grant
                    .to
                    .is_some_and(|to| !self.current.contains_key(&to) || ended(to))
            {
                continue;
            }
            self.grants.push(GivenGrant {
                entry: entry.id(),
                author: entry.author(),
                time: entry.time(),
                grant: grant.clone(),
            });
        }
    }

    fn list_secrets(&mut self, nodes: &[Node], held: &Held, order: &[usize]) {
        let mut newest = None;
        for &node in order.iter().rev() {
            if let Action::SecretSet { secret } = nodes[node].entry.action() {
                newest.get_or_insert(node);
                if self.secrets.len() < MAX_DISCOVERY_KEYS {
                    self.secrets.push(*secret);
                }
            }
        }
        self.stale = held.strikes.iter().any(|&strike| {
            matches!(nodes[strike].entry.action(), Action::Removed { .. })
                && newest.is_none_or(|node| {
                    !nodes[node]
                        .seen
                        .has(nodes[strike].mark.expect("strikes concern membership"))
                })
        });
    }

    pub(crate) fn holds(&self, entry: EntryId, key: DeviceId) -> bool {
        self.holding.contains(&(entry, key))
    }

    /// The name of the family on the wire and in files.
    pub fn id(&self) -> Option<FamilyId> {
        self.id
    }

    /// The devices of the family, in the order of their keys.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// The device of this very key. A key that its device has rotated away from is no member's.
    pub fn member(&self, key: DeviceId) -> Option<&Member> {
        self.members.get(&key)
    }

    /// What the device of this key is; nothing for whoever is not of the family.
    pub fn role(&self, key: DeviceId) -> Option<Role> {
        self.members.get(&key).map(|member| member.role)
    }

    /// The key that the device of this key has now, while it is a member.
    pub fn current_key(&self, key: DeviceId) -> Option<DeviceId> {
        self.current.get(&key).copied()
    }

    /// How the device of this key left.
    pub fn removed(&self, key: DeviceId) -> Option<Removal> {
        self.removed.get(&key).copied()
    }

    /// The devices that left, with how.
    pub fn all_removed(&self) -> impl Iterator<Item = (DeviceId, Removal)> {
        self.removed.iter().map(|(key, removal)| (*key, *removal))
    }

    /// Whether this is the key on paper.
    pub fn is_paper(&self, key: DeviceId) -> bool {
        self.paper.contains(&key)
    }

    /// The keys on paper that are in force: more than one where owner devices set one apart.
    pub(crate) fn papers(&self) -> impl Iterator<Item = DeviceId> {
        self.paper.iter().copied()
    }

    /// Whether there is a paper phrase for this family.
    pub fn has_paper(&self) -> bool {
        !self.paper.is_empty()
    }

    /// The grants in force, refusals for good among them; those with an end may be past it.
    pub fn grants(&self) -> &[GivenGrant] {
        &self.grants
    }

    /// Whether a device may make a call. `spent` says which one-time grants the serving device
    /// has noted as used.
    pub fn may_call(
        &self,
        call: &Call<'_>,
        policy: &Policy,
        spent: impl Fn(EntryId) -> bool,
    ) -> Verdict {
        let Some(role) = self.role(call.caller) else {
            return Verdict::Refused(match self.removed(call.caller) {
                Some(_) => NotAllowed::Removed,
                None => NotAllowed::Stranger,
            });
        };
        if !Interfaces::all().contain(call.interface) {
            return Verdict::Refused(NotAllowed::Name);
        }
        let among = |list: &[Interfaces]| list.iter().any(|some| some.contain(call.interface));
        let now = |key: DeviceId| self.current_key(key);
        let mut about = self.grants.iter().filter(|given| {
            now(given.grant.from) == now(call.caller)
                && given.grant.to.is_none_or(|to| now(to) == now(call.callee))
                && given.grant.interfaces.contain(call.interface)
        });
        if about.clone().any(|given| given.grant.until == Until::Never) {
            return Verdict::Refused(NotAllowed::Never);
        }
        let by_role = match role {
            Role::Owner => !among(&policy.sensitive),
            Role::Shared => among(&policy.shared),
            Role::Guest => among(&policy.guest),
        };
        if by_role {
            return Verdict::Allowed(None);
        }
        let lasting = about.clone().find(|given| match given.grant.until {
            Until::Always => true,
            Until::Time(end) => call.now <= end,
            Until::Once | Until::Never => false,
        });
        if let Some(given) = lasting {
            return Verdict::Allowed(Some(given.entry));
        }
        match about.find(|given| given.grant.until == Until::Once && !spent(given.entry)) {
            Some(given) => Verdict::Once(given.entry),
            None => Verdict::Ask,
        }
    }

    /// Whether a device may read, and so change, the documents of that audience.
    pub fn may_read(&self, key: DeviceId, audience: Audience) -> bool {
        match (self.role(key), audience) {
            (None, _) => false,
            (Some(Role::Owner), _) => true,
            (Some(_), Audience::Device(device)) => self.current_key(device) == Some(key),
            (Some(Role::Shared), Audience::Family) => true,
            (Some(_), _) => false,
        }
    }

    /// Keys by which members recognise each other's announcements, the newest first: announce
    /// under the first, recognise all. A removed device does not learn those of after.
    pub fn discovery_keys(&self) -> Vec<[u8; 32]> {
        self.derived(b"HyperOS discovery key 1\0")
    }

    /// Keys for another purpose, derived from the same secrets. Each purpose has its own label.
    pub fn derived(&self, label: &[u8]) -> Vec<[u8; 32]> {
        self.secrets
            .iter()
            .map(|secret| {
                let family = self.id.map_or([0; 32], |id| *id.as_bytes());
                // A secret of fixed length first, and a label that no other begins with.
                Sha256::new()
                    .chain_update(secret)
                    .chain_update(family)
                    .chain_update(label)
                    .finalize()
                    .into()
            })
            .collect()
    }

    /// Whether somebody was removed who still knows the newest secret: any owner device that
    /// sees this should call [`Log::renew_secret`](crate::log::Log::renew_secret).
    pub fn secret_is_stale(&self) -> bool {
        self.stale
    }
}
