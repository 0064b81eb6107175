//! Putting a whole file in the place of another.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use crate::file_system::FileSystem;

/// How many damaged copies are kept beside a file; more would fill the disk of a device whose
/// storage is dying.
const COPIES: u32 = 8;

/// Writes a new file, syncs it, renames it over the old, syncs the folder. Answers the new file,
/// to which more can be written; or which step failed.
pub(crate) fn put<F: FileSystem>(
    files: &F,
    path: &Path,
    bytes: &[u8],
) -> Result<F::File, (&'static str, io::Error)> {
    let new = beside(path, ".new");
    let content = || {
        let mut file = files
            .create(&new)
            .map_err(|error| ("making a new file", error))?;
        files
            .write(&mut file, bytes)
            .map_err(|error| ("writing", error))?;
        files.sync(&file).map_err(|error| ("syncing", error))?;
        files
            .rename(&new, path)
            .map_err(|error| ("putting it in place", error))?;
        Ok(file)
    };
    let file = content().inspect_err(|_| {
        // Best effort: a full disk should not stay full of what could not be used.
        let _ = files.remove(&new);
    })?;
    files
        .sync_folder(folder(path))
        .map_err(|error| ("syncing the folder", error))?;
    Ok(file)
}

/// Gives a damaged file a name under which nothing overwrites it.
pub(crate) fn set_aside<F: FileSystem>(files: &F, path: &Path) -> io::Result<PathBuf> {
    for number in 1..=COPIES {
        let copy = beside(path, &format!(".damaged-{number}"));
        // The last name is reused: the newest damage is worth more than the eighth.
        if number == COPIES || !files.exists(&copy)? {
            files.rename(path, &copy)?;
            // When this fails, a power cut may bring the damaged file back: no loss.
            let _ = files.sync_folder(folder(path));
            return Ok(copy);
        }
    }
    unreachable!("the last number returns")
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// A name beside a file: the same with an ending added.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}
