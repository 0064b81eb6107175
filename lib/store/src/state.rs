//! The store itself: one value in one file.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    atomic,
    envelope::{self, Content},
    file_system::{Disk, FileSystem},
    version::{Chain, Forms, Version},
};

/// What went wrong with a state file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file exists and could not be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The state file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The value could not be made durable; the one before it still is.
    #[error("saving {path}: {step}: {source}{}", advice(.source))]
    Save {
        /// The state file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The value has no form in a file: a mistake of the program.
    #[error("saving {path}: the value cannot be written down: {reason}")]
    Form {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, then try again"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the storage has become read-only, which a restart may repair"
        }
        _ => "",
    }
}

/// A state with the file that holds it.
#[derive(Debug)]
pub struct Store<V, F = Disk> {
    files: F,
    path: PathBuf,
    value: V,
    /// Forms of versions newer than this program, kept word for word.
    newer: Forms,
    /// A damaged file that is still in the way.
    damaged: bool,
}

/// A store, and what the owner should know about it.
#[derive(Debug)]
pub struct Opened<V, F = Disk> {
    /// The store.
    pub store: Store<V, F>,
    /// Sentences for the owner, such as that a damaged file was set aside. Empty when all is
    /// well.
    pub notices: Vec<String>,
}

/// Opens the state in a file on the disk; the default value when there is no such file.
pub fn open<V: Version>(path: &Path) -> Result<Opened<V>, Error> {
    open_in(Disk, path)
}

/// Opens the state in a file of that file system.
///
/// Fails only when the file is there and cannot be read, for then its content may be well. A
/// damaged file does not fail it: see the promises of the crate.
pub fn open_in<V: Version, F: FileSystem>(files: F, path: &Path) -> Result<Opened<V, F>, Error> {
    let mut store = Store {
        files,
        path: path.to_owned(),
        value: V::default(),
        newer: Forms::default(),
        damaged: false,
    };
    let bytes = match store.files.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Opened {
                store,
                notices: Vec::new(),
            });
        }
        Err(source) => {
            return Err(Error::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let damage = match envelope::decode(&bytes) {
        Ok(content) => match V::from_forms(&content.forms, content.written) {
            Ok(value) => {
                store.value = value;
                store.newer.0 = content
                    .forms
                    .0
                    .into_iter()
                    .filter(|(number, _)| *number > V::NUMBER)
                    .collect();
                return Ok(Opened {
                    store,
                    notices: Vec::new(),
                });
            }
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    store.damaged = true;
    let what = format!(
        "{} cannot be used: {damage}. Defaults are in use",
        path.display()
    );
    let notice = match store.set_aside() {
        Ok(copy) => format!("{what}; the file is kept as {}.", copy.display()),
        Err(error) => format!("{what}; the file could not be set aside ({error})."),
    };
    Ok(Opened {
        store,
        notices: vec![notice],
    })
}

impl<V: Version, F: FileSystem> Store<V, F> {
    /// The value as it stands, in memory and on the disk.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// The file that holds the value.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts another value in place. When this answers `Ok`, it survives a power cut; when it
    /// fails, the old value stands.
    pub fn replace(&mut self, value: V) -> Result<(), Error> {
        let form = |reason| Error::Form {
            path: self.path.clone(),
            reason,
        };
        let mut forms = self.newer.clone();
        value
            .to_forms(&mut forms)
            .map_err(|error| form(error.to_string()))?;
        let bytes = envelope::encode(&Content {
            written: V::NUMBER,
            forms,
        })
        .map_err(form)?;
        if self.damaged {
            self.set_aside().map_err(|source| Error::Save {
                path: self.path.clone(),
                step: "setting the damaged file aside",
                source,
            })?;
        }
        atomic::put(&self.files, &self.path, &bytes).map_err(|(step, source)| Error::Save {
            path: self.path.clone(),
            step,
            source,
        })?;
        self.value = value;
        Ok(())
    }

    /// Changes a copy of the value and puts it in place.
    pub fn update(&mut self, change: impl FnOnce(&mut V)) -> Result<(), Error> {
        let mut value = self.value.clone();
        change(&mut value);
        self.replace(value)
    }

    fn set_aside(&mut self) -> io::Result<PathBuf> {
        let copy = atomic::set_aside(&self.files, &self.path)?;
        self.damaged = false;
        Ok(copy)
    }
}
