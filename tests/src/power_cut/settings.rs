//! A whole phone whose settings are changed while its disk is recorded.
//!
//! Each change is acknowledged by the settings service over the bus; the promise is in the words of
//! `hyper:settings`: "When this answers, the change survives a power cut."

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use xtask::machine::{Disk, Machine};

use super::check::{self, FilePromise};
use super::recorder::Recording;
use crate::phone::Phone;

/// A whole number that takes many values and changes nothing that this test would notice.
const KEY: &str = "display.screen-off-after";

/// The first value; far from the default, so that the default is never mistaken for a change.
const FIRST: i64 = 1000;

/// What a run left.
#[derive(Debug)]
pub struct Written {
    /// The disk as it was before.
    pub before: PathBuf,
    /// What was written, and when what was acknowledged.
    pub recording: Recording,
}

/// Starts the phone, changes a setting `count` times, and cuts its power.
pub fn run(folder: &Path, phone: &Phone, count: usize) -> Result<Written> {
    let before = folder.join("before.img");
    fs::copy(&phone.disk, &before)?;
    let mut recording = Recording::create(&folder.join("record"))?;
    let mut options = phone.options()?;
    options.disk = Disk::Node("disk".to_owned());
    for argument in recording.arguments(&phone.disk, "disk") {
        options
            .arguments
            .push(argument.to_string_lossy().into_owned());
    }
    let mut machine = Machine::start(options)?;
    machine.wait_for_answer(&format!("settings get {KEY}"), |_| true)?;
    for number in 0..count {
        machine.hyper(&format!("settings set {KEY} {}", FIRST + number as i64))?;
        recording.acknowledge()?;
    }
    machine.cut_power()?;
    Ok(Written { before, recording })
}

/// After `n` acknowledgements the setting has the value of the last of them or of the one after it.
#[derive(Clone, Copy, Debug)]
pub struct Kept;

/// The file of the settings, as lib/store and the settings service document it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Values(BTreeMap<String, toml::Value>);

store::first_version!(Values);

impl FilePromise for Kept {
    fn folder(&self) -> &str {
        "/settings"
    }

    fn check(&self, copy: &Path, acknowledged: usize) -> Result<(), String> {
        let opened =
            store::open::<Values>(&copy.join("settings")).map_err(|error| error.to_string())?;
        if let Some(notice) = opened.notices.first() {
            return Err(format!("the settings are torn: {notice}"));
        }
        let changes = match opened.store.value().0.get(KEY) {
            None => 0,
            Some(toml::Value::Integer(value)) => u64::try_from(value - FIRST + 1)
                .map_err(|_| format!("{KEY} is {value}, which nobody asked for"))?,
            Some(other) => return Err(format!("{KEY} is {other}")),
        };
        check::compare(changes, acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: Option<i64>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store::open::<Values>(&folder.path().join("settings"))
            .unwrap()
            .store;
        let values = value.map(|value| (KEY.to_owned(), toml::Value::Integer(value)));
        store.replace(Values(values.into_iter().collect())).unwrap();
        folder
    }

    #[test]
    fn the_last_acknowledged_change_or_the_next_is_accepted_and_nothing_else() {
        assert_eq!(Kept.check(with(None).path(), 0), Ok(()));
        assert_eq!(Kept.check(with(Some(1004)).path(), 5), Ok(()));
        assert_eq!(Kept.check(with(Some(1005)).path(), 5), Ok(()));
        assert!(Kept.check(with(Some(1003)).path(), 5).is_err());
        assert!(Kept.check(with(Some(1006)).path(), 5).is_err());
        assert!(Kept.check(with(None).path(), 1).is_err());
        assert!(Kept.check(with(Some(3)).path(), 0).is_err());
    }
}
