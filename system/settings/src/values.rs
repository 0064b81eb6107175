//! The shapes that the file of settings has had.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The first shape: what the person changed, by key. Keys that this release does not know are
/// among them, and stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(pub BTreeMap<String, toml::Value>);

store::first_version!(Values);
