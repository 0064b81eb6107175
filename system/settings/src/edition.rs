//! What an edition of the system says about settings.

use std::{collections::BTreeMap, io, path::Path};

use serde::Deserialize;

/// The part of an edition's file that settings are about. Others read other parts.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Edition {
    /// Such as `global`.
    pub name: String,
    /// The languages that are offered, the default first. Empty: those of the table.
    #[serde(default)]
    pub languages: Vec<String>,
    /// Defaults that take the place of the table's.
    #[serde(default)]
    pub defaults: BTreeMap<String, toml::Value>,
}

impl Edition {
    /// The edition in that text; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Edition, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// The edition in that file. Without the file there is no edition, and the table's defaults
    /// stand; an unusable file is said in the sentence beside.
    pub fn read(path: &Path) -> (Edition, Option<String>) {
        let unusable = |reason: String| {
            (
                Edition::default(),
                Some(format!("{} cannot be used: {reason}", path.display())),
            )
        };
        match std::fs::read_to_string(path) {
            Ok(text) => match Edition::parse(&text) {
                Ok(edition) => (edition, None),
                Err(reason) => unusable(reason),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Edition::default(), None),
            Err(error) => unusable(error.to_string()),
        }
    }
}
