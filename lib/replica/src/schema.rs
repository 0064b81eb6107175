//! Versions of a document's shape, which go both ways.
//!
//! Devices of a family are not updated in the same minute, and an update can be taken back. So a
//! document holds the entries in the shape of every version that somebody may still read: a
//! release of version 3 writes each change as version 3, and as 2 and 1 would have it, in one
//! step. A release of version 2 reads and writes 2 and 1 and leaves what is of 3 alone.
//!
//! A newer release sees that an older one has changed something by this: the older shape is no
//! longer what the newer one, taken [`down`](Step::down), would be. Then the older shape is the
//! truth, and [`up`](Step::up) makes of it, and of what the newer one was before, the newer
//! again. Nothing is written for that: reading an entry twice gives the same.

use std::collections::BTreeMap;

use crate::document::{Entries, Value};

/// From one version to the next: a pair of ways, each a function of one entry.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The key that an older key has in the newer version; nothing if the newer has no such
    /// entry.
    pub newer_key: fn(&str) -> Option<String>,
    /// The key that a newer key has in the older version; nothing if the older cannot say it.
    pub older_key: fn(&str) -> Option<String>,
    /// The newer value of the entry of this (newer) key, from the older value, and from what it
    /// was before the older release changed it.
    pub up: fn(&str, &Value, Option<&Value>) -> Value,
    /// The older value of the entry of this (newer) key.
    pub down: fn(&str, &Value) -> Value,
}

impl Step {
    /// A step on which entries stay as they are; for building one that changes a few.
    pub const SAME: Self = Self {
        newer_key: |key| Some(key.to_owned()),
        older_key: |key| Some(key.to_owned()),
        up: |_, older, _| older.clone(),
        down: |_, newer| newer.clone(),
    };

    fn older(&self, key: &str, value: &Value) -> Option<(String, Value)> {
        Some(((self.older_key)(key)?, (self.down)(key, value)))
    }
}

/// All versions of a document up to the one that this program speaks.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    steps: &'static [Step],
}

impl Schema {
    /// A document that has only ever had one shape.
    pub const FIRST: Self = Self { steps: &[] };

    /// A document whose shape has changed so often.
    pub const fn new(steps: &'static [Step]) -> Self {
        Self { steps }
    }

    /// The version that this program speaks, counted from 1.
    pub fn number(&self) -> u32 {
        self.steps.len() as u32 + 1
    }

    /// An entry in all versions, from this program's down to the first that can say it. A change
    /// writes them in this order, always: so of two changes the same one wins in each version.
    pub(crate) fn forms(
        &self,
        key: &str,
        value: Option<&Value>,
    ) -> Vec<(u32, String, Option<Value>)> {
        let mut forms = vec![(self.number(), key.to_owned(), value.cloned())];
        for (at, step) in self.steps.iter().enumerate().rev() {
            let number = at as u32 + 1;
            let (_, key, value) = forms.last().expect("the first was put there");
            let older = match value {
                Some(value) => step
                    .older(key, value)
                    .map(|(key, value)| (number, key, Some(value))),
                None => (step.older_key)(key).map(|key| (number, key, None)),
            };
            match older {
                Some(form) => forms.push(form),
                None => break,
            }
        }
        forms
    }

    /// What the document says in this program's version.
    pub(crate) fn read(&self, forms: &BTreeMap<u32, Entries>) -> Entries {
        let form = |number: u32| forms.get(&number).cloned().unwrap_or_default();
        let mut read = form(1);
        for (step, number) in self.steps.iter().zip(2..) {
            read = lift(step, read, form(number));
        }
        read
    }
}

/// The newer entries, where the older say the same; and what the older say, where they differ.
fn lift(step: &Step, older: Entries, newer: Entries) -> Entries {
    let mut lifted = Entries::new();
    for (older_key, older_value) in &older {
        let Some(key) = (step.newer_key)(older_key) else {
            continue;
        };
        let before = newer.get(&key);
        let same = before
            .and_then(|before| step.older(&key, before))
            .is_some_and(|form| form == (older_key.clone(), older_value.clone()));
        let value = match before {
            Some(before) if same => before.clone(),
            _ => (step.up)(&key, older_value, before),
        };
        lifted.insert(key, value);
    }
    for (key, value) in newer {
        match (step.older_key)(&key) {
            // The older version cannot say it, so it has nothing to say about it.
            None => lifted.insert(key, value),
            // It could, and does: it was handled above. Or it does not: an older release has
            // deleted it.
            Some(_) => None,
        };
    }
    lifted
}
