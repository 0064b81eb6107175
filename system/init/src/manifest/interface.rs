//! The name of an interface, as WIT writes it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An interface with its version, such as `hyper:settings/settings@1.0.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface(String);

impl Interface {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where its socket is below the bus's folder: the package is a folder of its own.
    pub fn socket(&self, bus: &Path) -> PathBuf {
        bus.join(&self.0)
    }

    /// The name of the socket on which it is served to other devices.
    pub fn shared(&self) -> String {
        format!("{}{}", bus::carry::SHARED, self.0)
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = || {
            let (namespace, rest) = text.split_once(':')?;
            let (package, rest) = rest.split_once('/')?;
            let (interface, version) = rest.split_once('@')?;
            let version: Vec<_> = version.split('.').collect();
            let numbers = version.len() == 3
                && version.iter().all(|part| {
                    (1..=5).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
                });
            (numbers && [namespace, package, interface].into_iter().all(is_label)).then_some(())
        };
        match parts() {
            // A socket's path has at most 107 bytes, the bus's folder included.
            Some(()) if text.len() <= 80 => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "`{text}` is not an interface with its version, such as `hyper:settings/settings@1.0.0`"
            )),
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Words of lower-case letters and digits, joined by single hyphens.
pub(super) fn is_label(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.split('-').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}
