//! A repository of releases on a stick: in the folder `hyperos` of a FAT file system, or in its root.
//!
//! The stick is not mounted. It is read here, in a sandbox that has nothing to lose to it, and in
//! bounds: a file system that leads in circles is an error and not a hang. What is read is trusted no
//! more than what a mirror sends.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fatfs::{FileSystem, FsOptions};

use crate::place::Readable;
use crate::source::Trouble;

/// The folder of a stick in which a repository is looked for first.
pub const FOLDER: &str = "hyperos";

/// What a repository has for certain, whatever is in it.
const MARK: &str = "metadata/timestamp.json";

/// So much of a stick is read to find a file and its places on it. A table of a large FAT file system
/// is some MB.
const MOST: u64 = 256 << 20;

/// A folder of a stick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stick {
    node: PathBuf,
    folder: &'static str,
}

impl fmt::Display for Stick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.node.file_name().unwrap_or_default();
        write!(f, "stick {}", name.display())
    }
}

/// The repositories on the sticks whose nodes are in a folder.
#[must_use]
pub fn plugged_in(nodes: &Path) -> Vec<Stick> {
    let mut nodes: Vec<_> = std::fs::read_dir(nodes)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    nodes.sort();
    nodes.into_iter().filter_map(Stick::find).collect()
}

impl Stick {
    /// The repository on a stick or a partition of one, if it has any.
    #[must_use]
    pub fn find(node: PathBuf) -> Option<Self> {
        [FOLDER, ""].into_iter().find_map(|folder| {
            let stick = Self {
                node: node.clone(),
                folder,
            };
            match stick.read(MARK, 0, 1) {
                Ok(_) => Some(stick),
                Err(trouble) => {
                    tracing::debug!("{stick}: {MARK}: {trouble}");
                    None
                }
            }
        })
    }

    /// Its node, as it was named.
    #[must_use]
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// Bytes of a file from `offset` on, `length` of them or up to its end.
    ///
    /// # Errors
    ///
    /// Fails when there is no such file, or when the stick cannot be read.
    pub fn read(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, Trouble> {
        let path = match self.folder {
            "" => path.to_owned(),
            folder => format!("{folder}/{path}"),
        };
        let read = || -> io::Result<Vec<u8>> {
            let mut disk = File::open(&self.node)?;
            read(&mut disk, &path, offset, length)
        };
        read().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Trouble::Missing,
            _ => Trouble::Failed(format!("reading {path}: {error}")),
        })
    }
}

/// Bytes of a file of a FAT file system.
fn read(disk: &mut dyn Readable, path: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    // A file system begins where the disk stands.
    disk.seek(SeekFrom::Start(0))?;
    let disk = ReadOnly::new(disk, MOST.saturating_add(length));
    let system = FileSystem::new(disk, FsOptions::new())?;
    let mut file = system.root_dir().open_file(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A disk that is only read, and not without end; the file system asks for one that could be written.
pub(crate) struct ReadOnly<'a> {
    disk: &'a mut dyn Readable,
    /// How many bytes may still be read.
    left: u64,
}

impl<'a> ReadOnly<'a> {
    /// Of this disk at most so many bytes are read.
    pub(crate) fn new(disk: &'a mut dyn Readable, most: u64) -> Self {
        Self { disk, left: most }
    }
}

impl Read for ReadOnly<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.disk.read(to)?;
        self.left = self
            .left
            .checked_sub(read.max(1) as u64)
            .ok_or_else(|| io::Error::other("its file system leads in circles"))?;
        Ok(read)
    }
}

impl Seek for ReadOnly<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}

impl Write for ReadOnly<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use fatfs::FormatVolumeOptions;
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 2 << 20;

    /// A file system with these files.
    fn formatted(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut disk = Cursor::new(vec![0; SIZE]);
        fatfs::format_volume(&mut disk, FormatVolumeOptions::new()).unwrap();
        disk.set_position(0);
        let system = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
        for (path, content) in files {
            let mut folder = system.root_dir();
            let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
            for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
                folder = folder.create_dir(parent).unwrap();
            }
            folder
                .create_file(name)
                .unwrap()
                .write_all(content)
                .unwrap();
        }
        system.unmount().unwrap();
        disk.into_inner()
    }

    fn on_disk(folder: &Path, name: &str, disk: &[u8]) -> PathBuf {
        let node = folder.join(name);
        std::fs::write(&node, disk).unwrap();
        node
    }

    #[test]
    fn a_repository_is_found_in_its_folder_or_in_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let pack: Vec<u8> = (0..100_000u32).map(|number| number as u8).collect();
        let files: [(&str, &[u8]); 2] = [
            ("hyperos/metadata/timestamp.json", b"{}"),
            (
                "hyperos/packs/a-long-name-of-a-pack.0123456789abcdef",
                &pack,
            ),
        ];
        on_disk(folder.path(), "sda1", &formatted(&files));
        on_disk(
            folder.path(),
            "sdb",
            &formatted(&[("metadata/timestamp.json", b"{}")]),
        );
        on_disk(folder.path(), "sdc", &formatted(&[("photo.jpg", b"...")]));
        on_disk(folder.path(), "sda", &vec![0; 4096]);
        let found = plugged_in(folder.path());
        let names: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["stick sda1", "stick sdb"]);
        let path = "packs/a-long-name-of-a-pack.0123456789abcdef";
        assert_eq!(found[0].read(path, 0, u64::MAX >> 1).unwrap(), pack);
        assert_eq!(
            found[0].read(path, 70_001, 50).unwrap(),
            pack[70_001..70_051]
        );
        assert_eq!(found[0].read(path, 99_990, 50).unwrap(), pack[99_990..]);
        assert_eq!(found[1].read(path, 0, 1), Err(Trouble::Missing));
        // Nothing leads out of the file system, for there is nothing else.
        found[0].read("../../etc/passwd", 0, 1).unwrap_err();
        // It was pulled out.
        std::fs::remove_file(folder.path().join("sdb")).unwrap();
        found[1].read(MARK, 0, 1).unwrap_err();
        assert!(plugged_in(&folder.path().join("nothing")).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        /// What a damaged or an evil stick says ends in bytes or in an error.
        #[test]
        fn no_stick_ends_or_holds_the_reader(
            damage in proptest::collection::vec((0..40_000usize, any::<u8>()), 0..40),
            head in proptest::collection::vec((0..90usize, any::<u8>()), 0..4),
        ) {
            let mut disk = formatted(&[("hyperos/metadata/timestamp.json", &[7; 9000])]);
            let mut whole = Cursor::new(disk.clone());
            let content = read(&mut whole, "hyperos/metadata/timestamp.json", 100, 10_000);
            prop_assert_eq!(content.unwrap(), [7; 8900]);
            for (place, byte) in damage.into_iter().chain(head) {
                disk[place] = byte;
            }
            let mut disk = Cursor::new(disk);
            let _ = read(&mut disk, "hyperos/metadata/timestamp.json", 100, 10_000);
            let _ = read(&mut disk, "hyperos/metadata/nothing", 0, 1);
        }
    }
}
