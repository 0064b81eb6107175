//! What folders hold, and what is free for more.

use std::fs;
use std::io;
use std::path::Path;

/// What is left free on the disk: this, or a sixteenth of it where that is less.
const RESERVE: u64 = 64 * 1024 * 1024;

/// Bytes and entries below a folder.
pub fn weigh(folder: &Path, most: u64) -> io::Result<(u64, u64)> {
    let (mut bytes, mut entries) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            entries += 1;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += metadata.len();
            }
            if entries >= most {
                return Ok((bytes, entries));
            }
        }
    }
    Ok((bytes, entries))
}

/// Bytes that may be written below a folder, so that some are left.
pub fn free_space(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    // A file system without a number of files that it can hold says 0.
    if space.f_favail < space.f_files / 16 {
        return Ok(0);
    }
    let reserve = RESERVE.min(space.f_blocks * space.f_frsize / 16);
    Ok((space.f_bavail * space.f_frsize).saturating_sub(reserve))
}
