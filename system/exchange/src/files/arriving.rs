//! One delivery that arrives: its files, below a hidden folder of its own until all are there.
//!
//! What is in that folder is all that is known about how far a delivery is: there is no list beside
//! it that could say otherwise after a loss of power. What a file's beginning is worth is found out
//! by reading it back and comparing digests.
//!
//! Everything here blocks on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bus::arrivals::{Error, Summary};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::Store;

use super::names;
use super::space::{free_space, weigh};

/// Files and folders of one delivery together.
pub const MAX_ENTRIES: u64 = 100_000;
/// Names that one delivery puts down.
pub const MAX_NAMES: usize = 256;
/// After so many bytes free space is looked at again: deliveries and other services share it.
const LOOK_AFTER: u64 = 16 * 1024 * 1024;
/// What one more file or folder counts for in that.
const ENTRY_BYTES: u64 = 4096;
/// The length of a digest.
const DIGEST: usize = 32;
/// The files of a delivery, below its folder.
const FILES: &str = "files";
/// What it is, below its folder.
const ABOUT: &str = "about";

/// The beginning of a file that is here: its length and digest.
pub type Beginning = (u64, Vec<u8>);

/// What is kept about a delivery.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct About {
    /// The device that sends, and what it was called.
    pub device: String,
    /// For the person.
    pub device_name: String,
    /// What it calls the delivery.
    pub delivery: String,
    /// What the person sends.
    pub names: Vec<String>,
    /// How many files there are in all of it.
    pub files: u64,
    /// How many folders.
    pub folders: u64,
    /// Of all files together.
    pub bytes: u64,
    /// The digest of all paths.
    pub contents: Vec<u8>,
    /// Everything is here and durable, and is being put under its names.
    #[serde(default)]
    pub placing: bool,
}
store::first_version!(About);

/// A file that is being written.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    size: u64,
    length: u64,
    digest: Sha256,
}

/// A delivery that arrives.
#[derive(Debug)]
pub struct Arriving {
    /// The hidden folder.
    folder: PathBuf,
    about: Store<About>,
    /// The folder of files. It is open all the time, so that whatever could not be written since it
    /// was opened is heard of when all is made durable.
    files: File,
    open: Option<Open>,
    /// Bytes and entries that are in the folder.
    used: u64,
    entries: u64,
    /// How many bytes there may be: what the sender said, and what is there of an attempt before,
    /// which may be of files that are shorter now.
    allowed: u64,
    /// Bytes since free space was looked at.
    unwatched: u64,
}

/// What a failure to write comes to, for the one who sends.
fn unsaved(what: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full,
        _ => Error::Unsaved(format!("{what}: {error}")),
    }
}

/// What a failure of the state file comes to.
fn not_kept(error: &store::Error) -> Error {
    match error {
        store::Error::Save { source, .. } => unsaved(&error.to_string(), source),
        _ => Error::Unsaved(error.to_string()),
    }
}

/// The digest of the first bytes of a file, and how many there were.
pub fn digest_of(file: &mut File, length: u64) -> io::Result<(Sha256, u64)> {
    let (mut digest, mut read) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    while read < length {
        let most = buffer
            .len()
            .min((length - read).try_into().unwrap_or(usize::MAX));
        match file.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(count) => {
                digest.update(&buffer[..count]);
                read += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((digest, read))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Arriving {
    /// Begins a delivery in a folder of its own, or goes on with what is there. Whether something is.
    pub fn begin(folder: PathBuf, about: About) -> Result<(Self, bool), Error> {
        let entries = about.files.saturating_add(about.folders);
        if entries == 0 {
            return Err(Error::Refused("it holds nothing".into()));
        }
        if entries > MAX_ENTRIES {
            let reason = format!("{entries} files and folders at once; {MAX_ENTRIES} are taken");
            return Err(Error::Refused(reason));
        }
        let files = folder.join(FILES);
        let make = |files: &Path| {
            fs::create_dir_all(files).map_err(|error| unsaved("making a folder for it", &error))
        };
        let mut resuming = files.is_dir();
        make(&files)?;
        let mut arriving = Self::open(folder.clone())?;
        if arriving.about().placing {
            return Ok((arriving, true));
        }
        if resuming && arriving.about().contents != about.contents {
            drop(arriving);
            fs::remove_dir_all(&folder)
                .map_err(|error| unsaved("deleting what it was before", &error))?;
            make(&files)?;
            arriving = Self::open(folder)?;
            resuming = false;
        }
        let free = free_space(&files).map_err(|error| unsaved("asking for free space", &error))?;
        if about.bytes.saturating_sub(arriving.used) > free {
            return Err(Error::Full);
        }
        arriving.allowed = about.bytes.saturating_add(arriving.used);
        if *arriving.about.value() != about {
            let kept = arriving.about.replace(about);
            kept.map_err(|error| not_kept(&error))?;
        }
        // When somebody last went on with it. It is no matter if that fails.
        let _ = File::open(arriving.folder.join(ABOUT))
            .and_then(|file| file.set_modified(SystemTime::now()));
        Ok((arriving, resuming))
    }

    /// When somebody last began it, or went on with it.
    pub fn begun(&self) -> io::Result<SystemTime> {
        fs::metadata(self.folder.join(ABOUT))?.modified()
    }

    /// Takes up what a folder holds.
    pub fn open(folder: PathBuf) -> Result<Self, Error> {
        let about = store::open::<About>(&folder.join(ABOUT)).map_err(|error| not_kept(&error))?;
        let failed = |error: io::Error| unsaved("reading what is there", &error);
        let files = File::open(folder.join(FILES)).map_err(failed)?;
        let (used, entries) = weigh(&folder.join(FILES), u64::MAX).map_err(failed)?;
        Ok(Self {
            folder,
            allowed: about.store.value().bytes.saturating_add(used),
            about: about.store,
            files,
            open: None,
            used,
            entries,
            unwatched: 0,
        })
    }

    /// What it is.
    pub fn about(&self) -> &About {
        self.about.value()
    }

    /// Bytes that are here.
    pub fn used(&self) -> u64 {
        self.used
    }

    fn place(&self, path: &str) -> Result<PathBuf, Error> {
        let clean = names::clean_path(path).map_err(Error::Refused)?;
        Ok(self.folder.join(FILES).join(clean))
    }

    /// Makes the folders above a place, one by one, so that each is counted.
    fn make_folder(&mut self, path: &Path) -> Result<(), Error> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(above) = path.parent() {
            self.make_folder(above)?;
        }
        self.count_entry()?;
        fs::create_dir(path).map_err(|error| unsaved("making a folder", &error))
    }

    fn count_entry(&mut self) -> Result<(), Error> {
        let about = self.about();
        // The folders that the sender counts, and those above its files, which it may not have.
        let most = about.files.saturating_add(about.folders).saturating_add(32);
        if self.entries >= most {
            return Err(Error::Refused("more files than it said".into()));
        }
        self.entries += 1;
        self.watch_space(ENTRY_BYTES)
    }

    fn count_bytes(&mut self, bytes: u64) -> Result<(), Error> {
        if self.used.saturating_add(bytes) > self.allowed {
            return Err(Error::Refused("more bytes than it said".into()));
        }
        self.used += bytes;
        self.watch_space(bytes)
    }

    /// Stops before the disk is full: others need it too.
    fn watch_space(&mut self, bytes: u64) -> Result<(), Error> {
        self.unwatched += bytes;
        if self.unwatched < LOOK_AFTER {
            return Ok(());
        }
        self.unwatched = 0;
        match free_space(&self.folder) {
            Ok(0) => Err(Error::Full),
            Ok(_) => Ok(()),
            Err(error) => Err(unsaved("asking for free space", &error)),
        }
    }

    /// Opens the file at a place to be written from `offset` on, which is where it ends then.
    fn file(&mut self, path: &Path, offset: u64) -> Result<File, Error> {
        if let Some(above) = path.parent() {
            self.make_folder(above)?;
        }
        let failed = |error: io::Error| unsaved("writing a file", &error);
        let there = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => Some(metadata.len()),
            Ok(_) => return Err(Error::Refused("a folder and a file of one name".into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if there.is_none() {
            self.count_entry()?;
        }
        let length = there.unwrap_or(0);
        if offset > length {
            return Err(Error::Damaged("it goes on behind what is here".into()));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(failed)?;
        file.set_len(offset).map_err(failed)?;
        self.used = self.used.saturating_sub(length - offset);
        Ok(file)
    }

    /// The beginnings of files that are here.
    pub fn held(&self, paths: &[String]) -> Result<Vec<Option<Beginning>>, Error> {
        let part = |path: &String| {
            let place = self.place(path)?;
            let length = match fs::symlink_metadata(&place) {
                Ok(metadata) if metadata.is_file() => metadata.len(),
                _ => return Ok(None),
            };
            let read = File::open(place).and_then(|mut file| digest_of(&mut file, length));
            // What cannot be read back is sent again.
            Ok(read
                .ok()
                .map(|(digest, length)| (length, digest.finalize().to_vec())))
        };
        paths.iter().map(part).collect()
    }

    /// Makes a folder.
    pub fn put_folder(&mut self, path: &str) -> Result<(), Error> {
        let place = self.place(path)?;
        self.make_folder(&place)
    }

    /// Takes a whole file.
    pub fn put(
        &mut self,
        path: &str,
        modified: u64,
        data: &[u8],
        digest: &[u8],
    ) -> Result<(), Error> {
        if Sha256::digest(data)[..] != *digest {
            return Err(Error::Damaged(format!("{path:?} has another digest")));
        }
        let place = self.place(path)?;
        let mut file = self.file(&place, 0)?;
        self.count_bytes(data.len() as u64)?;
        file.write_all(data)
            .map_err(|error| unsaved("writing a file", &error))?;
        set_modified(&file, modified);
        Ok(())
    }

    /// Opens a file that comes piece by piece. What is before `offset` is read back.
    pub fn open_file(&mut self, path: &str, size: u64, offset: u64) -> Result<(), Error> {
        self.open = None;
        let place = self.place(path)?;
        let mut file = self.file(&place, offset)?;
        let failed = |error: io::Error| unsaved("reading back what is here", &error);
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let (digest, length) = digest_of(&mut file, offset).map_err(failed)?;
        if length != offset || size < offset {
            return Err(Error::Damaged("it goes on behind what is here".into()));
        }
        self.open = Some(Open {
            path: place,
            file,
            size,
            length,
            digest,
        });
        Ok(())
    }

    /// Writes the next piece of the open file.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let Some(open) = &self.open else {
            return Err(Error::Damaged("no file is open".into()));
        };
        if offset != open.length || data.len() as u64 > open.size - open.length {
            return Err(Error::Damaged(
                "a piece that does not follow the last".into(),
            ));
        }
        self.count_bytes(data.len() as u64)?;
        let Some(open) = &mut self.open else {
            return Err(Error::Damaged("no file is open".into()));
        };
        if let Err(error) = open.file.write_all(data) {
            self.open = None;
            return Err(unsaved("writing a file", &error));
        }
        open.digest.update(data);
        open.length += data.len() as u64;
        Ok(())
    }

    /// Ends the open file, if it is what it should be. Otherwise it goes.
    pub fn close(&mut self, modified: u64, digest: &[u8]) -> Result<(), Error> {
        let Some(open) = self.open.take() else {
            return Err(Error::Damaged("no file is open".into()));
        };
        if open.length != open.size || open.digest.finalize()[..] != *digest {
            let _ = fs::remove_file(&open.path);
            self.used = self.used.saturating_sub(open.length);
            self.entries = self.entries.saturating_sub(1);
            return Err(Error::Damaged("a file that is not what was sent".into()));
        }
        set_modified(&open.file, modified);
        Ok(())
    }

    /// Makes what is here durable and puts it under its names in a folder, of which this one is below.
    /// After that there is nothing of it here.
    pub fn finish(&mut self, received: &Path) -> Result<Vec<String>, Error> {
        self.open = None;
        let files = self.folder.join(FILES);
        let about = self.about();
        if !about.placing {
            if self.used != about.bytes {
                let reason = format!("{} of {} bytes are here", self.used, about.bytes);
                return Err(Error::Damaged(reason));
            }
            // Empty files and folders have no bytes that could be missing.
            let entries = about.files.saturating_add(about.folders);
            if self.entries < entries {
                let reason = format!("{} of {entries} files and folders are here", self.entries);
                return Err(Error::Damaged(reason));
            }
            // One for all files: a thousand small ones would each take a turn of the disk.
            rustix::fs::syncfs(&self.files)
                .map_err(|error| unsaved("making it durable", &error.into()))?;
            let noted = self.about.update(|about| about.placing = true);
            noted.map_err(|error| not_kept(&error))?;
        }
        let failed = |error: io::Error| unsaved("putting it under its name", &error);
        let mut roots: Vec<String> = Vec::new();
        for entry in fs::read_dir(&files).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().into_string();
            roots.extend(name);
        }
        roots.sort();
        let mut placed = Vec::new();
        for root in roots {
            placed.push(place(&files.join(&root), received, &root).map_err(failed)?);
        }
        sync_folder(received).map_err(failed)?;
        Ok(placed)
    }

    /// Deletes what is here.
    pub fn delete(self) -> io::Result<()> {
        drop(self.open);
        fs::remove_dir_all(&self.folder)
    }
}

/// Puts a file or folder under its name in a folder, or the first that is free.
fn place(from: &Path, received: &Path, name: &str) -> io::Result<String> {
    for candidate in names::candidates(name) {
        let to = received.join(&candidate);
        match renameat_with(CWD, from, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(format!(
        "every name like {name:?} is taken"
    )))
}

/// When a file was last changed, on the device from which it comes. It is no matter if that fails.
fn set_modified(file: &File, modified: u64) {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(modified));
    if let Some(time) = time {
        let _ = file.set_modified(time);
    }
}

/// What is kept about a delivery that a device wants to begin.
pub fn about(device: &bus::Device, delivery: &str, summary: &Summary) -> Result<About, Error> {
    if summary.names.is_empty() || summary.names.len() > MAX_NAMES {
        return Err(Error::Refused("it names nothing, or too much".into()));
    }
    if summary.contents.len() != DIGEST {
        return Err(Error::Refused("no digest of its paths".into()));
    }
    let clean = |name: &String| {
        if name.contains('/') {
            return Err(Error::Refused("it names something within a folder".into()));
        }
        names::clean_path(name).map_err(Error::Refused)
    };
    Ok(About {
        device: device.id.to_string(),
        device_name: device.name.to_string(),
        delivery: delivery.to_owned(),
        names: summary.names.iter().map(clean).collect::<Result<_, _>>()?,
        files: summary.files.into(),
        folders: summary.folders.into(),
        bytes: summary.bytes,
        contents: summary.contents.to_vec(),
        placing: false,
    })
}

#[cfg(test)]
#[path = "arriving_tests.rs"]
mod tests;
