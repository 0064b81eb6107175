//! One-time grants that were used. Noted durably before the call that uses one is passed on, so that
//! no loss of power lets one be used twice.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use store::Store;
use trust::log::EntryId;

/// So many are kept; the log's own limit on entries keeps them far below.
const MOST: usize = 16_384;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Kept {
    #[serde(default)]
    grants: BTreeSet<String>,
}

store::first_version!(Kept);

/// The grants that were used, with the file that keeps them.
#[derive(Debug)]
pub struct Spent(Store<Kept>);

impl Spent {
    /// Those in this file. The strings are for the owner.
    pub fn open(file: &Path) -> Result<(Self, Vec<String>)> {
        let opened = store::open::<Kept>(file).context("reading which grants were used")?;
        Ok((Self(opened.store), opened.notices))
    }

    /// Whether a grant was used.
    pub fn has(&self, grant: EntryId) -> bool {
        self.0.value().grants.contains(&grant.to_string())
    }

    /// Notes a grant as used. Whether it was not before: who gets `false` may not use it.
    pub fn note(&mut self, grant: EntryId) -> Result<bool> {
        if self.has(grant) || self.0.value().grants.len() >= MOST {
            return Ok(false);
        }
        self.0
            .update(|kept| {
                kept.grants.insert(grant.to_string());
            })
            .context("noting that a grant was used")?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_used_once_whatever_happens_between() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spent");
        let grant = EntryId::from_bytes([7; 32]);
        assert!(Spent::open(&file).unwrap().0.note(grant).unwrap());
        let (mut again, _) = Spent::open(&file).unwrap();
        assert!(again.has(grant));
        assert!(!again.note(grant).unwrap());
    }
}
