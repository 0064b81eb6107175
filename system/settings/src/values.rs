//! The shapes that the file of settings has had.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use store::{Beginning, Version};

/// The first shape: what the person changed, by key. Keys that this release does not know are
/// among them, and stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(pub BTreeMap<String, toml::Value>);

impl Version for Values {
    const NUMBER: u32 = 1;
    type Previous = Beginning;

    fn up(previous: Beginning, _before: Option<Self>) -> Self {
        match previous {}
    }

    fn down(&self) -> Option<Beginning> {
        None
    }
}
