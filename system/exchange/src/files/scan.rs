//! What there is to send.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::arriving::{MAX_ENTRIES, MAX_NAMES};
use super::names;

/// A file that is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Where it is on this device.
    pub place: PathBuf,
    /// What the other device is told.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Milliseconds since 1970.
    pub modified: u64,
}

/// All that is to be sent, in an order that is the same each time.
#[derive(Debug, Default, PartialEq)]
pub struct Scan {
    /// What the person named, without what is in it.
    pub names: Vec<String>,
    /// Every file.
    pub files: Vec<Found>,
    /// The path of every folder.
    pub folders: Vec<String>,
    /// What is no file and no folder.
    pub skipped: u32,
    /// Of all files together.
    pub bytes: u64,
}

/// When a file was last changed, in milliseconds since 1970.
pub fn modified(metadata: &Metadata) -> u64 {
    metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

/// Looks at one thing that the person named, without what may be in it.
pub fn look(place: &Path) -> Result<Metadata, String> {
    let metadata = fs::symlink_metadata(place)
        .map_err(|error| format!("reading {}: {error}", place.display()))?;
    if metadata.is_symlink() {
        let place = place.display();
        return Err(format!("{place} is a symbolic link: name what it leads to"));
    }
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(format!("{} is no file and no folder", place.display()));
    }
    Ok(metadata)
}

/// Looks at all of it. The error says what cannot be read, or why it cannot be sent.
pub fn scan(places: &[PathBuf]) -> Result<Scan, String> {
    let mut scan = Scan::default();
    if places.is_empty() || places.len() > MAX_NAMES {
        return Err(format!(
            "one to {MAX_NAMES} files and folders are sent at once"
        ));
    }
    let mut seen = BTreeSet::new();
    for place in places {
        let metadata = look(place)?;
        let Some(name) = place.file_name() else {
            return Err(format!("{} has no name of its own", place.display()));
        };
        let name = names::as_text(name.as_bytes());
        scan.take(place, &name, &metadata, &mut seen)?;
        scan.names.push(name);
    }
    Ok(scan)
}

impl Scan {
    /// The digest of all paths.
    pub fn contents(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        for file in &self.files {
            digest.update(&file.path);
            digest.update([0]);
        }
        // A folder is not a file of its name.
        for folder in &self.folders {
            digest.update(folder);
            digest.update(b"/\0");
        }
        digest.finalize().to_vec()
    }

    fn take(
        &mut self,
        place: &Path,
        path: &str,
        metadata: &Metadata,
        seen: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        if !metadata.is_file() && !metadata.is_dir() {
            self.skipped += 1;
            return Ok(());
        }
        if !seen.insert(path.to_owned()) {
            return Err(format!("two things would arrive as {path:?}"));
        }
        // The other device would refuse it, after it has taken what comes before.
        names::clean_path(path)?;
        if seen.len() as u64 > MAX_ENTRIES {
            return Err(format!(
                "more than {MAX_ENTRIES} files and folders at once: send a part of them"
            ));
        }
        if metadata.is_file() {
            self.bytes = self.bytes.saturating_add(metadata.len());
            self.files.push(Found {
                place: place.to_owned(),
                path: path.to_owned(),
                size: metadata.len(),
                modified: modified(metadata),
            });
            return Ok(());
        }
        self.folders.push(path.to_owned());
        let failed = |error: io::Error| format!("reading {}: {error}", place.display());
        let mut entries: Vec<_> = fs::read_dir(place)
            .map_err(failed)?
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = format!("{path}/{}", names::as_text(entry.file_name().as_bytes()));
            let metadata = entry.metadata().map_err(failed)?;
            self.take(&entry.path(), &path, &metadata, seen)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_looked_through_and_links_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("trip");
        fs::create_dir_all(root.join("day 1/empty")).unwrap();
        fs::write(root.join("day 1/b.txt"), "bb").unwrap();
        fs::write(root.join("a.txt"), "a").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
        let found = scan(std::slice::from_ref(&root)).unwrap();
        let paths: Vec<_> = found.files.iter().map(|file| &*file.path).collect();
        assert_eq!(paths, ["trip/a.txt", "trip/day 1/b.txt"]);
        assert_eq!(found.folders, ["trip", "trip/day 1", "trip/day 1/empty"]);
        assert_eq!((found.skipped, found.bytes), (1, 3));
        assert_eq!(found.names, ["trip"]);
        assert_eq!(scan(std::slice::from_ref(&root)).unwrap(), found);

        let folder_of = |scan: &Scan| Scan {
            files: scan.files[..1].to_vec(),
            folders: vec![scan.files[1].path.clone()],
            ..Scan::default()
        };
        let files = Scan {
            files: found.files.clone(),
            ..Scan::default()
        };
        assert_ne!(files.contents(), folder_of(&found).contents());

        let deep = root.join("x/".repeat(40));
        fs::create_dir_all(&deep).unwrap();
        let error = scan(std::slice::from_ref(&root)).unwrap_err();
        assert!(error.contains("too deep"), "{error}");

        let link = scan(&[root.join("link")]).unwrap_err();
        assert!(link.contains("symbolic link"), "{link}");
        let missing = scan(&[root.join("missing")]).unwrap_err();
        assert!(missing.contains("missing"), "{missing}");
        assert!(scan(&[]).is_err());
        assert!(scan(&[root.join("a.txt"), root.join("a.txt")]).is_err());
        assert!(scan(&[PathBuf::from("/")]).is_err());
    }
}
