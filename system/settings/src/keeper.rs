//! Who reads, checks, saves and tells.

use std::path::Path;

use store::{Disk, FileSystem, Store};
use tokio::sync::{broadcast, watch};

use crate::{
    registry::{Definition, Follows, Registry, Value},
    values::Values,
};

/// How many changes a watcher may be behind before it is dropped.
pub const WATCHED: usize = 256;

/// A setting that was changed, with what it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The setting.
    pub key: String,
    /// What it is now.
    pub value: Value,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such setting.
    #[error("there is no setting `{0}`")]
    UnknownKey(String),
    /// The value does not fit.
    #[error("{0}")]
    Unfit(String),
    /// The value could not be made durable, and was not changed.
    #[error("not saved: {0}")]
    NotSaved(String),
}

/// The settings of a device.
pub struct Keeper<F: FileSystem = Disk> {
    registry: Registry,
    store: Store<Values, F>,
    notices: Vec<String>,
    changes: broadcast::Sender<Change>,
    /// Counts what was saved.
    revision: watch::Sender<u64>,
}

impl<F: FileSystem> Keeper<F> {
    /// The settings in that file.
    pub fn open(files: F, file: &Path, registry: Registry) -> Result<Self, store::Error> {
        let opened = store::open_in(files, file)?;
        let mut notices = opened.notices;
        let values: &Values = opened.store.value();
        for (key, value) in &values.0 {
            // An unknown key is a newer release's, and none of our business.
            if let Some(definition) = registry.find(key)
                && let Err(reason) = usable(definition, value)
            {
                notices.push(format!("The default of `{key}` is in use: {reason}."));
            }
        }
        let (changes, _) = broadcast::channel(WATCHED);
        Ok(Keeper {
            registry,
            store: opened.store,
            notices,
            changes,
            revision: watch::Sender::new(0),
        })
    }

    /// What the owner should know; empty when all is well.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Adds a sentence to the notices.
    pub fn note(&mut self, notice: String) {
        self.notices.push(notice);
    }

    /// The value of a setting.
    pub fn get(&self, key: &str) -> Result<Value, Refusal> {
        self.find(key).map(|definition| self.value(definition))
    }

    /// Every setting with its value, in the order of keys.
    pub fn all(&self) -> impl Iterator<Item = (&Definition, Value)> {
        self.registry
            .all()
            .map(|definition| (definition, self.value(definition)))
    }

    /// Changes a setting. When this answers `Ok`, the change survives a power cut, and the
    /// watchers have been told.
    pub fn set(&mut self, key: &str, value: Value) -> Result<(), Refusal> {
        self.find(key)?.check(&value).map_err(Refusal::Unfit)?;
        // The value is written even when it is the default: the person chose it, and keeps it
        // when the default changes.
        self.save(key, Some(value.to_toml()))
    }

    /// Back to the default.
    pub fn reset(&mut self, key: &str) -> Result<(), Refusal> {
        self.find(key)?;
        self.save(key, None)
    }

    /// The settings that other devices know too, with what was chosen; nothing where a setting was
    /// left at its default.
    pub fn following(&self) -> impl Iterator<Item = (&Definition, Option<Value>)> {
        self.registry
            .all()
            .filter(|definition| definition.follows != Follows::Nobody)
            .map(|definition| (definition, self.chosen(definition)))
    }

    /// As [`Keeper::set`] or, without a value, [`Keeper::reset`], of a setting that other devices
    /// know too.
    pub fn take(&mut self, key: &str, value: Option<Value>) -> Result<(), Refusal> {
        if self.find(key)?.follows == Follows::Nobody {
            return Err(Refusal::UnknownKey(key.to_owned()));
        }
        match value {
            Some(value) => self.set(key, value),
            None => self.reset(key),
        }
    }

    /// How often something was saved, and hears of each time.
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Every change from now on.
    pub fn watch(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn find(&self, key: &str) -> Result<&Definition, Refusal> {
        self.registry
            .find(key)
            .ok_or_else(|| Refusal::UnknownKey(key.to_owned()))
    }

    fn value(&self, definition: &Definition) -> Value {
        self.chosen(definition)
            .unwrap_or_else(|| definition.default.clone())
    }

    fn chosen(&self, definition: &Definition) -> Option<Value> {
        let value = self.store.value().0.get(definition.key)?;
        usable(definition, value).ok()
    }

    fn save(&mut self, key: &str, value: Option<toml::Value>) -> Result<(), Refusal> {
        if self.store.value().0.get(key) == value.as_ref() {
            return Ok(());
        }
        let before = self.get(key)?;
        self.store
            .update(|values| {
                match value {
                    Some(value) => values.0.insert(key.to_owned(), value),
                    None => values.0.remove(key),
                };
            })
            .map_err(|error| Refusal::NotSaved(error.to_string()))?;
        self.revision.send_modify(|count| *count += 1);
        let now = self.get(key)?;
        if now != before {
            // Nobody watching is no error.
            let _ = self.changes.send(Change {
                key: key.to_owned(),
                value: now,
            });
        }
        Ok(())
    }
}

/// The value in a file, if this release can use it.
fn usable(definition: &Definition, value: &toml::Value) -> Result<Value, String> {
    let value = Value::from_toml(value)
        .ok_or_else(|| format!("`{}` is saved as no kind of setting", definition.key))?;
    definition.check(&value)?;
    Ok(value)
}
