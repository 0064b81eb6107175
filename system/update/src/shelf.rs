//! Where on this device the chunks of releases are, and which are on their way here: what the others of
//! the family are answered.
//!
//! Nothing is copied for them: a chunk is read from the slot that runs, from the other one, also while
//! a release is written to it, or from what [`crate::archive`] keeps, and it is given to nobody before
//! its hash was compared.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::pieces::Whereabouts;
use release::{Chunk, Hash, chunk};
use tokio::sync::watch;

use crate::esp;

/// Something that holds chunks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Store {
    /// A file or a partition.
    File(PathBuf),
    /// The boot file of this boot partition.
    BootFile(PathBuf),
    /// The recovery of this boot partition.
    Recovery(PathBuf),
}

/// Of a chunk, where it begins and how long it is.
type Place = (u64, u32);

#[derive(Debug, Default)]
struct Inner {
    stores: Vec<(Store, HashMap<Hash, Place>)>,
    wanted: HashSet<Hash>,
    fetching: HashSet<Hash>,
    /// Who has asked for something since that was last looked at.
    asked: BTreeSet<String>,
}

/// What is known of chunks on this device.
#[derive(Debug)]
pub struct Shelf {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Shelf {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // It is whole between any two of its lines.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    /// A store has these: hash, beginning and length.
    pub fn add(&self, store: &Store, chunks: impl IntoIterator<Item = (Hash, u64, u64)>) {
        let mut inner = self.inner();
        let at = inner.stores.iter().position(|(known, _)| known == store);
        let at = at.unwrap_or_else(|| {
            inner.stores.push((store.clone(), HashMap::new()));
            inner.stores.len() - 1
        });
        for (hash, offset, length) in chunks {
            if let Ok(length) = u32::try_from(length) {
                inner.stores[at].1.insert(hash, (offset, length));
            }
        }
        drop(inner);
        self.changed();
    }

    /// A store has these, one behind the other.
    pub fn add_all(&self, store: &Store, chunks: &[Chunk]) {
        let mut offset = 0;
        let placed = chunks.iter().map(|chunk| {
            let (begin, length) = (offset, u64::from(chunk.length));
            offset += length;
            (chunk.hash, begin, length)
        });
        self.add(store, placed);
    }

    /// A store is written over, or is gone.
    pub fn forget(&self, store: &Store) {
        self.inner().stores.retain(|(known, _)| known != store);
    }

    /// Where a chunk is.
    #[must_use]
    pub fn whereabouts(&self, hash: &Hash) -> Whereabouts {
        let inner = self.inner();
        if inner.stores.iter().any(|(_, has)| has.contains_key(hash)) {
            Whereabouts::Here
        } else if inner.fetching.contains(hash) {
            Whereabouts::Fetching
        } else if inner.wanted.contains(hash) {
            Whereabouts::Wanted
        } else {
            Whereabouts::Missing
        }
    }

    /// The same, once it is here or is not going to be, and after so long at the latest.
    pub async fn wait(&self, hash: &Hash, patience: Duration) -> Whereabouts {
        let mut changes = self.changes.subscribe();
        let settled = async {
            loop {
                changes.borrow_and_update();
                let now = self.whereabouts(hash);
                if matches!(now, Whereabouts::Here | Whereabouts::Missing) {
                    return;
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, settled).await;
        self.whereabouts(hash)
    }

    /// A chunk, if it is here and what its hash names. This blocks.
    #[must_use]
    pub fn read(&self, hash: &Hash) -> Option<Vec<u8>> {
        loop {
            let (store, place) = self.inner().stores.iter().find_map(|(store, has)| {
                let place = has.get(hash)?;
                Some((store.clone(), *place))
            })?;
            if let Some(data) = read(&store, place, hash) {
                return Some(data);
            }
            // It was written over, or the disk does not give it back.
            let mut inner = self.inner();
            if let Some((_, has)) = inner.stores.iter_mut().find(|(known, _)| *known == store)
                && has.get(hash) == Some(&place)
            {
                has.remove(hash);
            }
        }
    }

    /// Somebody has asked.
    pub fn note_asker(&self, device: &str) {
        let mut inner = self.inner();
        // Members of a family are not so many.
        if inner.asked.len() < 256 {
            inner.asked.insert(device.to_owned());
        }
    }

    /// Who has asked since this was last looked at.
    #[must_use]
    pub fn take_askers(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.inner().asked)
    }

    /// From now on these are wanted, until they are here or the claim is dropped. There is one claim at
    /// a time.
    #[must_use]
    pub fn claim(self: &Arc<Self>, wanted: HashSet<Hash>) -> Claim {
        self.inner().wanted = wanted;
        self.changed();
        Claim(Arc::clone(self))
    }
}

fn read(store: &Store, (offset, length): Place, hash: &Hash) -> Option<Vec<u8>> {
    // What is longer is no chunk, and is not handed out as one.
    if length as usize > chunk::LARGEST {
        return None;
    }
    let mut bytes = vec![0; length as usize];
    match store {
        Store::File(path) => {
            let mut file = File::open(path).ok()?;
            file.seek(SeekFrom::Start(offset)).ok()?;
            file.read_exact(&mut bytes).ok()?;
        }
        Store::BootFile(path) | Store::Recovery(path) => {
            let name = match store {
                Store::Recovery(_) => esp::RECOVERY,
                _ => esp::BOOT_FILE,
            };
            let mut disk = File::open(path).ok()?;
            let read = esp::with_file(&mut disk, name, |file| {
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut bytes)
            });
            read.ok()?.ok()?;
        }
    }
    (chunk::hash(&bytes) == *hash).then_some(bytes)
}

/// What this device is getting.
#[derive(Debug)]
pub struct Claim(Arc<Shelf>);

impl Claim {
    /// These are fetched from outside now, and nothing else.
    pub fn fetching(&self, hashes: impl IntoIterator<Item = Hash>) {
        self.0.inner().fetching = hashes.into_iter().collect();
        self.0.changed();
    }

    /// Nothing is fetched from outside by this device: who waits for it waits in vain.
    pub fn leave_to_others(&self) {
        let mut inner = self.0.inner();
        inner.wanted.clear();
        inner.fetching.clear();
        drop(inner);
        self.0.changed();
    }

    /// A chunk is in its place.
    pub fn placed(&self, hash: Hash, store: &Store, offset: u64, length: u64) {
        let mut inner = self.0.inner();
        inner.wanted.remove(&hash);
        inner.fetching.remove(&hash);
        drop(inner);
        self.0.add(store, [(hash, offset, length)]);
    }

    /// What is known of this device's chunks.
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.leave_to_others();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_disk(folder: &std::path::Path, name: &str, data: &[u8]) -> Store {
        let path = folder.join(name);
        std::fs::write(&path, data).unwrap();
        Store::File(path)
    }

    #[test]
    fn a_chunk_is_read_from_wherever_it_still_is() {
        let folder = tempfile::tempdir().unwrap();
        let (chunk_one, chunk_two) = (vec![1; 9000], vec![2; 9000]);
        let both = [chunk_one.as_slice(), &chunk_two].concat();
        let shelf = Shelf::default();
        let hash = |data: &[u8]| chunk::hash(data);
        let slot = on_disk(folder.path(), "slot", &both);
        let entry = |data: &[u8]| Chunk {
            hash: hash(data),
            length: 9000,
            pack: 0,
            offset: 0,
            stored: 1,
        };
        shelf.add_all(&slot, &[entry(&chunk_one), entry(&chunk_two)]);
        assert_eq!(shelf.read(&hash(&chunk_two)).unwrap(), chunk_two);
        let other = on_disk(folder.path(), "other", &chunk_two);
        shelf.add(&other, [(hash(&chunk_two), 0, 9000)]);
        // The slot is written over: the other one has it still.
        on_disk(folder.path(), "slot", &[3; 18_000]);
        assert_eq!(shelf.read(&hash(&chunk_two)).unwrap(), chunk_two);
        assert_eq!(shelf.read(&hash(&chunk_one)), None);
        assert_eq!(shelf.whereabouts(&hash(&chunk_one)), Whereabouts::Missing);
        shelf.forget(&other);
        assert_eq!(shelf.read(&hash(&chunk_two)), None);
    }

    #[test]
    fn chunks_of_a_boot_partition_are_read_out_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("esp");
        let mut chance = fastrand::Rng::with_seed(1);
        let boot: Vec<u8> = (0..500_000).map(|_| chance.u8(..)).collect();
        let mut disk = std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        disk.set_len(40 << 20).unwrap();
        let recovery: Vec<u8> = (0..300_000).map(|_| chance.u8(..)).collect();
        let mut files: [(&str, &mut dyn std::io::Read); 2] = [
            (esp::BOOT_FILE, &mut boot.as_slice()),
            (esp::RECOVERY, &mut recovery.as_slice()),
        ];
        esp::make(&mut disk, 40 << 20, &mut files).unwrap();
        let stores = [
            (Store::BootFile(path.clone()), boot),
            (Store::Recovery(path), recovery),
        ];
        for (store, content) in stores {
            let shelf = Shelf::default();
            let cuts: Vec<_> = chunk::cut(content.as_slice()).map(Result::unwrap).collect();
            for cut in &cuts {
                shelf.add(&store, [(cut.hash, cut.offset, cut.data.len() as u64)]);
            }
            for cut in cuts.iter().rev() {
                assert_eq!(shelf.read(&cut.hash).unwrap(), cut.data);
            }
        }
    }

    #[tokio::test]
    async fn what_is_claimed_is_waited_for_until_it_is_here_or_given_up() {
        let long = Duration::from_secs(180);
        let folder = tempfile::tempdir().unwrap();
        let store = on_disk(folder.path(), "slot", &[1; 100]);
        let (one, two) = (chunk::hash(&[1; 100]), chunk::hash(b"two"));
        let shelf = Arc::new(Shelf::default());
        assert_eq!(shelf.wait(&one, long).await, Whereabouts::Missing);
        let claim = shelf.claim([one, two].into());
        assert_eq!(shelf.wait(&one, Duration::ZERO).await, Whereabouts::Wanted);
        claim.fetching([one]);
        assert_eq!(shelf.whereabouts(&one), Whereabouts::Fetching);
        let (seen, ()) = tokio::join!(shelf.wait(&one, long), async {
            claim.placed(one, &store, 0, 100);
        });
        assert_eq!(seen, Whereabouts::Here);
        let (seen, ()) = tokio::join!(shelf.wait(&two, long), async { drop(claim) });
        assert_eq!(seen, Whereabouts::Missing, "nobody gets it any more");
        assert_eq!(shelf.whereabouts(&one), Whereabouts::Here);
    }
}
