//! What this device keeps of the repository that it believed last, for others that ask for it: the signed
//! files as they came, the manifests of the releases that it has, and chunks that belong to such a
//! release and stand nowhere else on this device.
//!
//! It is a repository without packs, in `/data/update/repository`. Files are replaced whole, the
//! timestamp last, so that after a power cut it leads to files that are there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use release::repository::Files;
use release::{Hash, Manifest, chunk, hexadecimal, parse_hash};

use crate::shelf::{Shelf, Store};

/// The file that the others follow from.
pub const TIMESTAMP: &str = "metadata/timestamp.json";

const METADATA: &str = "metadata";
const TARGETS: &str = "targets";
const CHUNKS: &str = "chunks";

/// The folder of what is kept.
#[derive(Clone, Debug)]
pub struct Archive(PathBuf);

impl Archive {
    /// Of a folder, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        for part in [METADATA, TARGETS, CHUNKS] {
            let part = folder.join(part);
            fs::create_dir_all(&part)?;
            // What a power cut left of a file that was not in its place yet.
            for file in files(&part) {
                if !is_plain(&file) || file.ends_with(".new") {
                    let _ = fs::remove_file(part.join(file));
                }
            }
        }
        Ok(Self(folder.to_owned()))
    }

    /// A file, by its path in a repository; none for any other path.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(path)?.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The same, to be read bit by bit. It stays what it is when another one takes its place.
    #[must_use]
    pub fn open_file(&self, path: &str) -> Option<File> {
        let (folder, name) = path.split_once('/')?;
        let known = folder == METADATA || folder == TARGETS;
        (known && is_plain(name)).then(|| File::open(self.0.join(folder).join(name)).ok())?
    }

    /// The number of the timestamp that is kept; 0 where there is none.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.read(TIMESTAMP)
            .and_then(|bytes| version(&bytes))
            .unwrap_or_default()
    }

    /// Keeps the metadata that makes up one state of a repository, which was believed, by the paths of
    /// its files. What is older than what is kept changes nothing.
    ///
    /// # Errors
    ///
    /// Fails when the disk does.
    pub fn keep(&self, metadata: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
        let Some(timestamp) = metadata.get(TIMESTAMP) else {
            return Ok(());
        };
        if version(timestamp).is_none_or(|version| version < self.timestamp()) {
            return Ok(());
        }
        let metadata = metadata
            .iter()
            .filter_map(|(path, bytes)| Some((path.strip_prefix("metadata/")?, bytes)));
        let metadata: BTreeMap<&str, &Vec<u8>> =
            metadata.filter(|(name, _)| is_plain(name)).collect();
        let folder = self.0.join(METADATA);
        for (name, bytes) in &metadata {
            if format!("{METADATA}/{name}") != TIMESTAMP {
                put(&folder.join(name), bytes)?;
            }
        }
        put(&self.0.join(TIMESTAMP), timestamp)?;
        for name in files(&folder) {
            // Roots lead from the one in an older image to the newest.
            if !metadata.contains_key(name.as_str()) && !name.ends_with(".root.json") {
                fs::remove_file(folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Keeps a root, such as the one in the image.
    ///
    /// # Errors
    ///
    /// Fails when the disk does.
    pub fn keep_root(&self, root: &[u8]) -> io::Result<()> {
        match version(root) {
            Some(number) => put(
                &self.0.join(METADATA).join(format!("{number}.root.json")),
                root,
            ),
            None => Ok(()),
        }
    }

    /// Keeps a manifest, by its path in the repository, which names its hash.
    ///
    /// # Errors
    ///
    /// Fails when the disk does.
    pub fn keep_manifest(&self, path: &str, bytes: &[u8], shelf: &Shelf) -> io::Result<()> {
        let Some((hash, name)) = manifest_name(path) else {
            return Ok(());
        };
        let file = self.0.join(TARGETS).join(name);
        put(&file, bytes)?;
        shelf.add(&Store::File(file), [(hash, 0, bytes.len() as u64)]);
        Ok(())
    }

    /// The manifests that are kept, with where they are.
    #[must_use]
    pub fn manifests(&self) -> Vec<(PathBuf, Manifest)> {
        let folder = self.0.join(TARGETS);
        let read = |name: String| {
            let path = folder.join(name);
            let manifest = Manifest::parse(&fs::read(&path).ok()?).ok()?;
            Some((path, manifest))
        };
        files(&folder).into_iter().filter_map(read).collect()
    }

    /// Keeps a chunk that is nowhere else on this device.
    ///
    /// # Errors
    ///
    /// Fails when the disk does.
    pub fn keep_chunk(&self, data: &[u8], shelf: &Shelf) -> io::Result<()> {
        let hash = chunk::hash(data);
        let file = self.0.join(CHUNKS).join(hexadecimal(&hash));
        put(&file, data)?;
        shelf.add(&Store::File(file), [(hash, 0, data.len() as u64)]);
        Ok(())
    }

    /// Forgets manifests, and chunks of boot files, that are of no release which is `wanted`.
    ///
    /// # Errors
    ///
    /// Fails when the disk does.
    pub fn tidy(&self, wanted: impl Fn(&Manifest) -> bool, shelf: &Shelf) -> io::Result<()> {
        let (stay, go): (Vec<_>, Vec<_>) = self
            .manifests()
            .into_iter()
            .partition(|(_, manifest)| wanted(manifest));
        for (path, _) in go {
            fs::remove_file(&path)?;
            shelf.forget(&Store::File(path));
        }
        let boot = |hash: &Hash| {
            stay.iter().any(|(_, manifest)| {
                let mut chunks = manifest.beside_the_root();
                chunks.any(|chunk| chunk.hash == *hash)
            })
        };
        for (path, hash, _) in self.chunks() {
            if !boot(&hash) {
                fs::remove_file(&path)?;
                shelf.forget(&Store::File(path));
            }
        }
        Ok(())
    }

    fn chunks(&self) -> Vec<(PathBuf, Hash, u64)> {
        let folder = self.0.join(CHUNKS);
        let read = |name: String| {
            let path = folder.join(&name);
            let length = fs::metadata(&path).ok()?.len();
            Some((path, parse_hash(&name)?, length))
        };
        files(&folder).into_iter().filter_map(read).collect()
    }

    /// Tells the shelf what is kept here.
    pub fn stock(&self, shelf: &Shelf) {
        for (path, hash, length) in self.chunks() {
            shelf.add(&Store::File(path), [(hash, 0, length)]);
        }
        let folder = self.0.join(TARGETS);
        for name in files(&folder) {
            let path = folder.join(&name);
            if let Some((hash, _)) = manifest_name(&format!("{TARGETS}/{name}"))
                && let Ok(about) = fs::metadata(&path)
            {
                shelf.add(&Store::File(path), [(hash, 0, about.len())]);
            }
        }
    }
}

/// The hash that the path of a manifest names, and its name, if it is the path of one.
#[must_use]
pub fn manifest_name(path: &str) -> Option<(Hash, &str)> {
    let name = path.strip_prefix("targets/")?;
    let hash = parse_hash(name.split('.').next()?)?;
    is_plain(name).then_some((hash, name))
}

/// The number of signed metadata, which nobody has looked at closer.
#[must_use]
pub fn version(metadata: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        signed: Signed,
    }
    #[derive(serde::Deserialize)]
    struct Signed {
        version: u64,
    }
    let metadata: Metadata = serde_json::from_slice(metadata).ok()?;
    Some(metadata.signed.version)
}

/// Names of a repository's files: plain words, none of them hidden.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.')
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_+%".contains(&byte))
}

/// The names in a folder.
fn files(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Writes a file, unless it is there as it should be.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    store::put(path, bytes)
}

/// Files of a repository, noted as they are read.
#[derive(Debug)]
pub struct Noted {
    files: Arc<dyn Files>,
    taken: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Noted {
    /// Of these.
    #[must_use]
    pub fn new(files: Arc<dyn Files>) -> Self {
        Self {
            files,
            taken: Mutex::default(),
        }
    }

    /// What was read, by its path.
    #[must_use]
    pub fn take(&self) -> BTreeMap<String, Vec<u8>> {
        std::mem::take(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait::async_trait]
impl Files for Noted {
    async fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let bytes = self.files.read(path, most).await?;
        if let Some(bytes) = &bytes
            && path.starts_with("metadata/")
        {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.insert(path.to_owned(), bytes.clone());
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(version: u64, names: &[&str]) -> BTreeMap<String, Vec<u8>> {
        names
            .iter()
            .map(|name| {
                let text = format!("{{\"signed\":{{\"version\":{version}}},\"name\":{name:?}}}");
                (format!("metadata/{name}"), text.into_bytes())
            })
            .collect()
    }

    #[test]
    fn the_newest_state_is_kept_with_all_roots() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(folder.path()).unwrap();
        assert_eq!(archive.timestamp(), 0);
        let two = metadata(2, &["2.root.json", "timestamp.json", "2.snapshot.json"]);
        archive.keep(&two).unwrap();
        let three = metadata(3, &["timestamp.json", "3.snapshot.json", "3.root.json"]);
        archive.keep(&three).unwrap();
        archive.keep(&two).unwrap();
        archive.keep(&metadata(9, &["9.snapshot.json"])).unwrap();
        assert_eq!(archive.timestamp(), 3, "what is older changes nothing");
        let mut names = files(&folder.path().join(METADATA));
        names.sort();
        assert_eq!(
            names,
            [
                "2.root.json",
                "3.root.json",
                "3.snapshot.json",
                "timestamp.json"
            ]
        );
        for (path, bytes) in &three {
            assert_eq!(archive.read(path).as_ref(), Some(bytes), "{path}");
        }
        fs::write(folder.path().join("metadata/timestamp.json.new"), "torn").unwrap();
        let archive = Archive::open(folder.path()).unwrap();
        assert_eq!(archive.read("metadata/timestamp.json.new"), None);
        assert_eq!(archive.timestamp(), 3);
    }

    #[test]
    fn nothing_but_what_is_kept_is_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        let archive = Archive::open(&folder.path().join("repository")).unwrap();
        fs::write(folder.path().join("repository/metadata/.hidden"), "x").unwrap();
        for path in [
            "metadata/../../secret",
            "../secret",
            "metadata/.hidden",
            "metadata/..",
            "metadata/",
            "chunks/00",
            "secret",
            "",
            "metadata/a/b",
        ] {
            assert_eq!(archive.read(path), None, "{path}");
        }
    }
}
