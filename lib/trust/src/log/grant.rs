//! What the log gives: roles, and leave to call interfaces.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::entry::EntryError;
use crate::identity::DeviceId;

/// What a device is in its family. Ordered: the later may do all that the earlier may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Somebody else's device: reads nothing of the family, and may do what it has a grant for.
    Guest,
    /// A device that stands in a room and that many people use, such as a TV.
    Shared,
    /// The owner's own device, which speaks for the owner: the only kind that writes the log.
    Owner,
}

/// Until when a grant holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Until {
    /// For one call. The serving device remembers that it was used.
    Once,
    /// Up to and including this second since 1970, by the clock of the serving device.
    Time(u64),
    /// Until it is revoked.
    Always,
    /// The opposite of a grant: refused without asking, until this is revoked.
    Never,
}

/// The interfaces that a grant is about: one, a package, or all. Versions are left out: a grant
/// for an interface is one for each version of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interfaces(String);

impl Interfaces {
    /// All interfaces.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Whether this interface, named with or without its version, is among them.
    pub fn contain(&self, interface: &str) -> bool {
        let asked = without_version(interface);
        // Only what could be an interface at all: `*` must not match garbage.
        if !is_interface(asked) {
            return false;
        }
        match self.0.strip_suffix('*') {
            Some(package) => asked.starts_with(package),
            None => asked == self.0,
        }
    }

    /// As it is written: `*`, `hyper:notify/*`, `hyper:notify/notify`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn without_version(interface: &str) -> &str {
    interface
        .split_once('@')
        .map_or(interface, |(name, _)| name)
}

/// `namespace:package/interface`, each in the lower-case kebab words of WIT.
fn is_interface(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word.starts_with(|c: char| c.is_ascii_lowercase())
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    text.len() <= 128
        && text.split_once(':').is_some_and(|(namespace, rest)| {
            word(namespace)
                && rest
                    .split_once('/')
                    .is_some_and(|(package, interface)| word(package) && word(interface))
        })
}

impl FromStr for Interfaces {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        let text = without_version(text);
        let sound = text == "*"
            || is_interface(text)
            || text.strip_suffix('*').is_some_and(|package| {
                is_interface(&format!("{package}x")) && package.ends_with('/')
            });
        if !sound {
            return Err(EntryError::Form(
                "interfaces are `*`, `namespace:package/*` or `namespace:package/interface`",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Interfaces {
    type Error = EntryError;

    fn try_from(text: String) -> Result<Self, EntryError> {
        text.parse()
    }
}

impl From<Interfaces> for String {
    fn from(interfaces: Interfaces) -> Self {
        interfaces.0
    }
}

/// Leave for a device to call interfaces of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The device that calls.
    pub from: DeviceId,
    /// The device that serves, or every one of the family.
    pub to: Option<DeviceId>,
    /// What it may call.
    pub interfaces: Interfaces,
    /// For how long.
    pub until: Until,
}
