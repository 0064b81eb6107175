//! Which deliveries of other devices are settled: they have arrived, or were taken back here.
//!
//! A sender whose answer was lost asks again, after a restart too. What has arrived does not arrive
//! twice, and what the person did not want does not come back.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use store::Store;

/// How many that have arrived are remembered.
const MAX_ARRIVED: usize = 256;
/// How many that were taken back are.
const MAX_CANCELLED: usize = 64;

/// The device that sends, and what it calls the delivery.
pub type Key = (String, String);

/// What is kept: the newest last.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Kept {
    #[serde(default)]
    arrived: VecDeque<Key>,
    #[serde(default)]
    cancelled: VecDeque<Key>,
}
store::first_version!(Kept);

/// Adds one; of too many the oldest goes.
fn add(keys: &mut VecDeque<Key>, key: &Key, most: usize) {
    if keys.contains(key) {
        return;
    }
    keys.push_back(key.clone());
    while keys.len() > most {
        keys.pop_front();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The settled deliveries.
#[derive(Debug)]
pub struct Settled {
    /// What is so, which is known at once.
    known: Mutex<Kept>,
    /// What is on the disk, which takes a while.
    file: Mutex<Store<Kept>>,
}

impl Settled {
    /// Reads them. The strings are for the owner.
    pub fn open(file: &Path) -> Result<(Arc<Self>, Vec<String>)> {
        let opened = store::open::<Kept>(file).context("reading what has arrived")?;
        let settled = Self {
            known: Mutex::new(opened.store.value().clone()),
            file: Mutex::new(opened.store),
        };
        Ok((Arc::new(settled), opened.notices))
    }

    /// Whether a delivery is under its names.
    pub fn has_arrived(&self, key: &Key) -> bool {
        lock(&self.known).arrived.contains(key)
    }

    /// Whether a delivery was taken back here.
    pub fn is_cancelled(&self, key: &Key) -> bool {
        lock(&self.known).cancelled.contains(key)
    }

    /// Notes that a delivery is under its names. Blocks until that is durable, or cannot be.
    pub fn note_arrived(&self, key: &Key) {
        add(&mut lock(&self.known).arrived, key, MAX_ARRIVED);
        self.save();
    }

    /// Notes that a delivery was taken back. Blocks until that is durable, or cannot be.
    pub fn note_cancelled(&self, key: &Key) {
        add(&mut lock(&self.known).cancelled, key, MAX_CANCELLED);
        self.save();
    }

    fn save(&self) {
        let mut file = lock(&self.file);
        // Read with the file in hand, so that nobody saves what is older.
        let known = lock(&self.known).clone();
        if let Err(error) = file.replace(known) {
            // It is so all the same; at worst the sender sends it once more after a restart.
            tracing::error!("noting which deliveries are settled: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_stays_so_after_a_restart_and_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settled");
        let key = |number: usize| ("ab".to_owned(), number.to_string());
        let (settled, notices) = Settled::open(&file).unwrap();
        assert!(notices.is_empty());
        settled.note_arrived(&key(0));
        settled.note_arrived(&key(0));
        settled.note_cancelled(&key(1));
        drop(settled);
        let (settled, _) = Settled::open(&file).unwrap();
        assert!(settled.has_arrived(&key(0)) && !settled.has_arrived(&key(1)));
        assert!(settled.is_cancelled(&key(1)) && !settled.is_cancelled(&key(0)));
        for number in 0..MAX_CANCELLED {
            settled.note_cancelled(&key(number + 2));
        }
        assert!(!settled.is_cancelled(&key(1)), "the oldest goes");
        assert_eq!(lock(&settled.known).cancelled.len(), MAX_CANCELLED);
        assert_eq!(lock(&settled.known).arrived.len(), 1);
    }
}
