//! The family, as far as documents have to do with it.

use std::collections::BTreeSet;

use bus::family::{Device, Role};

/// The family as mesh told it last.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its id.
    pub id: String,
    /// Whether it began with this device.
    pub begun_here: bool,
    /// Its devices, this one among them.
    pub devices: Vec<Device>,
}

impl Family {
    /// This device.
    pub fn here(&self) -> Option<&Device> {
        self.devices.iter().find(|device| device.here)
    }

    /// What a device is in it.
    pub fn role(&self, id: &str) -> Option<Role> {
        self.device(id).map(|device| device.role)
    }

    /// A device of it.
    pub fn device(&self, id: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.id == id)
    }

    /// The ids of the owner's devices, in their order.
    pub fn owners(&self) -> BTreeSet<&str> {
        let owners = self.devices.iter();
        owners
            .filter(|device| device.role == Role::Owner)
            .map(|device| &*device.id)
            .collect()
    }

    /// The devices with which this one keeps its copies equal.
    ///
    /// The owner's devices that are online stand in a ring in the order of their ids, and each has
    /// to do with its two neighbours and, where their number is even, with the one across: the same
    /// devices with which mesh keeps connections in a family of the owner's devices alone. Any other
    /// device has to do with the two between which it would stand.
    pub fn neighbours(&self) -> BTreeSet<String> {
        let Some(here) = self.here() else {
            return BTreeSet::new();
        };
        let ring: Vec<&str> = {
            let online = self.devices.iter().filter(|device| device.online);
            let owners = online.filter(|device| device.role == Role::Owner);
            owners.map(|device| &*device.id).collect::<BTreeSet<_>>()
        }
        .into_iter()
        .collect();
        let mut wanted: BTreeSet<&str> = beside(&ring, &here.id).into_iter().collect();
        if here.role == Role::Owner {
            let others = self.devices.iter();
            let others = others.filter(|device| device.online && device.role != Role::Owner);
            wanted.extend(
                others
                    .map(|device| &*device.id)
                    .filter(|id| beside(&ring, id).contains(&&*here.id)),
            );
        }
        wanted.remove(&*here.id);
        wanted.into_iter().map(str::to_owned).collect()
    }
}

/// Those of a ring with whom a device has to do, whether it stands in it or not.
fn beside<'a>(ring: &[&'a str], id: &str) -> Vec<&'a str> {
    let count = ring.len();
    if count == 0 {
        return Vec::new();
    }
    match ring.binary_search(&id) {
        Ok(at) => {
            let mut wanted = vec![ring[(at + 1) % count], ring[(at + count - 1) % count]];
            if count.is_multiple_of(2) {
                wanted.push(ring[(at + count / 2) % count]);
            }
            wanted
        }
        Err(at) => vec![ring[at % count], ring[(at + count - 1) % count]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn family(here: usize, roles: &[Role]) -> Family {
        let device = |(at, role): (usize, &Role)| Device {
            id: format!("{at:02}"),
            name: String::new(),
            role: *role,
            here: at == here,
            online: true,
            last_seen: None,
        };
        Family {
            id: String::new(),
            begun_here: false,
            devices: roles.iter().enumerate().map(device).collect(),
        }
    }

    fn any_role() -> impl Strategy<Value = Role> {
        prop_oneof![Just(Role::Owner), Just(Role::Shared), Just(Role::Guest)]
    }

    proptest! {
        /// Each pair agrees that it is one, no two that may not tell each other anything are one,
        /// and word of any owner's device gets to all.
        #[test]
        fn word_goes_round(mut roles in prop::collection::vec(any_role(), 1..20)) {
            roles[0] = Role::Owner;
            let all: Vec<BTreeSet<String>> =
                (0..roles.len()).map(|here| family(here, &roles).neighbours()).collect();
            for (here, neighbours) in all.iter().enumerate() {
                let name = format!("{here:02}");
                for there in neighbours {
                    let at: usize = there.parse().unwrap();
                    prop_assert!(all[at].contains(&name));
                    prop_assert!(roles[here] == Role::Owner || roles[at] == Role::Owner);
                }
            }
            let mut told = BTreeSet::from([0]);
            let mut tell = vec![0];
            while let Some(at) = tell.pop() {
                for there in &all[at] {
                    let there: usize = there.parse().unwrap();
                    if told.insert(there) && roles[there] == Role::Owner {
                        tell.push(there);
                    }
                }
            }
            prop_assert_eq!(told.len(), roles.len());
        }
    }

    #[test]
    fn a_device_of_many_has_few_neighbours() {
        for here in 0..32 {
            let neighbours = family(here, &[Role::Owner; 32]).neighbours();
            assert_eq!(neighbours.len(), 3, "{neighbours:?}");
        }
    }
}
