//! A file system in memory that crashes.
//!
//! It keeps two truths, as a machine does: what programs see (the page cache) and what the disk
//! has. Only a sync carries the one to the other for certain. At a [`crash`](Simulation::crash),
//! each unsynced thing has happened or not, decided by the seed: a file's content may be what it
//! was at its last sync, a part of what was written since (cut at any sector, the rest zeros, as
//! delayed allocation leaves it), or all of it; of the changes to names, any subset may have
//! reached the disk. That is harsher than ext4, which keeps names in order, on purpose: a
//! program that is safe here does not depend on a file system's kindness.
//!
//! For the tests of whoever keeps state. It is no feature of this crate: one that only tests asked for
//! would have everything above it compiled twice.
//!
//! A step can be made to fail, or to be the last before the power is cut, and a kind of sync can
//! be taken out, so that a test can show that it would notice.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use crate::file_system::FileSystem;

/// The unit in which a write may be torn.
const SECTOR: usize = 512;

/// What becomes of a certain step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers that the disk is full. A write has then written half of its bytes.
    Full,
    /// It answers with an input/output error.
    Broken,
    /// The power is cut in the middle of it: nothing answers any more until
    /// [`Simulation::crash`].
    PowerCut,
}

/// A sync that does nothing and answers that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// [`FileSystem::sync`].
    Sync,
    /// [`FileSystem::sync_folder`].
    SyncFolder,
}

#[derive(Clone, Debug, Default)]
struct Node {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

/// A change of names that the disk may not have yet: each name with what it then stands for.
type Naming = Vec<(PathBuf, Option<usize>)>;

#[derive(Debug, Default)]
struct Inner {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending: Vec<Naming>,
    steps: usize,
    fault: Option<(usize, Fault)>,
    missing: Option<Missing>,
    off: bool,
}

/// The simulated file system. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Simulation(Rc<RefCell<Inner>>);

/// A file that is being written in a [`Simulation`].
#[derive(Debug)]
pub struct SimulatedFile(usize);

impl Simulation {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of steps so far; every call that changes or syncs something is one.
    pub fn steps(&self) -> usize {
        self.0.borrow().steps
    }

    /// What is to become of the step of this number, counted from 0.
    pub fn plan(&self, step: usize, fault: Fault) {
        self.0.borrow_mut().fault = Some((step, fault));
    }

    /// Takes a kind of sync out.
    pub fn take_out(&self, missing: Missing) {
        self.0.borrow_mut().missing = Some(missing);
    }

    /// Changes bytes on the disk and in the cache, as dying storage does.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.0.borrow_mut();
        if let Some(&node) = inner.names.get(path) {
            let node = &mut inner.nodes[node];
            change(&mut node.cached);
            node.durable = node.cached.clone();
        }
    }

    /// The names that programs see.
    pub fn names(&self) -> Vec<PathBuf> {
        self.0.borrow().names.keys().cloned().collect()
    }

    /// Cuts the power and gives it back. What was not synced is there or not, as `seed` decides.
    pub fn crash(&self, seed: u64) {
        let mut inner = self.0.borrow_mut();
        let mut dice = Dice(seed);
        for naming in std::mem::take(&mut inner.pending) {
            if dice.roll(2) == 1 {
                continue;
            }
            for (name, node) in naming {
                match node {
                    Some(node) => inner.durable_names.insert(name, node),
                    None => inner.durable_names.remove(&name),
                };
            }
        }
        inner.names = inner.durable_names.clone();
        for node in &mut inner.nodes {
            if node.cached != node.durable {
                // What was only added to keeps what it had: sectors are written whole.
                let kept = if node.cached.starts_with(&node.durable) {
                    node.durable.len()
                } else {
                    0
                };
                node.durable = match dice.roll(4) {
                    0 => node.durable.clone(),
                    1 => node.cached.clone(),
                    2 => {
                        let sectors = dice.roll(node.cached.len() / SECTOR + 1);
                        torn(&node.cached, kept.max(sectors * SECTOR))
                    }
                    // The length reached the disk, the content did not.
                    _ => torn(&node.cached, kept),
                };
            }
            node.cached = node.durable.clone();
        }
        inner.off = false;
        inner.fault = None;
    }

    /// Counts a step and says what becomes of it.
    fn step(inner: &mut Inner) -> io::Result<Option<Fault>> {
        if inner.off {
            return Err(io::Error::other("the power is off"));
        }
        let step = inner.steps;
        inner.steps += 1;
        Ok(match inner.fault {
            Some((planned, fault)) if planned == step => {
                inner.off = fault == Fault::PowerCut;
                Some(fault)
            }
            _ => None,
        })
    }

    fn error(fault: Fault) -> io::Error {
        match fault {
            Fault::Full => io::ErrorKind::StorageFull.into(),
            Fault::Broken => io::Error::other("input/output error"),
            Fault::PowerCut => io::Error::other("the power is off"),
        }
    }

    /// A step that changes names: a fault before it, or a power cut after it was cached.
    fn rename_step(&self, change: impl FnOnce(&mut Inner) -> io::Result<Naming>) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        let fault = Self::step(&mut inner)?;
        if let Some(fault @ (Fault::Full | Fault::Broken)) = fault {
            return Err(Self::error(fault));
        }
        let naming = change(&mut inner)?;
        for (name, node) in &naming {
            match node {
                Some(node) => inner.names.insert(name.clone(), *node),
                None => inner.names.remove(name),
            };
        }
        inner.pending.push(naming);
        fault.map_or(Ok(()), |fault| Err(Self::error(fault)))
    }
}

/// The first bytes of the content, then zeros.
fn torn(content: &[u8], bytes: usize) -> Vec<u8> {
    let mut torn = content.to_vec();
    let end = bytes.min(torn.len());
    torn[end..].fill(0);
    torn
}

impl FileSystem for Simulation {
    type File = SimulatedFile;

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inner = self.0.borrow();
        if inner.off {
            return Err(Self::error(Fault::PowerCut));
        }
        match inner.names.get(path) {
            Some(&node) => Ok(inner.nodes[node].cached.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<SimulatedFile> {
        let mut made = 0;
        self.rename_step(|inner| {
            // Truncating an old file of that name is the same as a new one in its place, but for
            // what the disk may bring back.
            made = match inner.names.get(path) {
                Some(&node) => {
                    inner.nodes[node].cached.clear();
                    node
                }
                None => {
                    inner.nodes.push(Node::default());
                    inner.nodes.len() - 1
                }
            };
            Ok(vec![(path.to_owned(), Some(made))])
        })?;
        Ok(SimulatedFile(made))
    }

    fn append(&self, path: &Path) -> io::Result<SimulatedFile> {
        let inner = self.0.borrow();
        match inner.names.get(path) {
            Some(&node) if !inner.off => Ok(SimulatedFile(node)),
            Some(_) => Err(Self::error(Fault::PowerCut)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&self, file: &mut SimulatedFile, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        let fault = Self::step(&mut inner)?;
        let written = if fault.is_some() {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        inner.nodes[file.0]
            .cached
            .extend_from_slice(&bytes[..written]);
        fault.map_or(Ok(()), |fault| Err(Self::error(fault)))
    }

    fn sync(&self, file: &SimulatedFile) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        if let Some(fault) = Self::step(&mut inner)? {
            return Err(Self::error(fault));
        }
        if inner.missing != Some(Missing::Sync) {
            let node = &mut inner.nodes[file.0];
            node.durable = node.cached.clone();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_step(|inner| match inner.names.get(from) {
            Some(&node) => Ok(vec![(from.to_owned(), None), (to.to_owned(), Some(node))]),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.rename_step(|inner| match inner.names.get(path) {
            Some(_) => Ok(vec![(path.to_owned(), None)]),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        if let Some(fault) = Self::step(&mut inner)? {
            return Err(Self::error(fault));
        }
        if inner.missing != Some(Missing::SyncFolder) {
            inner.pending.clear();
            inner.durable_names = inner.names.clone();
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.borrow().names.contains_key(path))
    }
}

/// splitmix64: every seed gives its own, repeatable crash.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides.max(1) as u64) as usize
    }
}
