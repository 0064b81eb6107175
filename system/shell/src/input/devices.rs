//! All input devices of this machine: found, watched for, read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::code::{EV_SYN, SYN_DROPPED};
use super::device::{Abilities, Decoder};
use super::event::{self, Event};
use super::ioctl;
use super::{Input, Stamped};

/// Contacts of different devices are kept apart by this distance.
const CONTACTS: u32 = 256;

struct Device {
    file: File,
    name: String,
    decoder: Decoder,
    /// The last time stamp, for what has to be told when the device goes.
    at: Duration,
    number: u32,
}

/// The input devices of a folder.
pub struct Devices {
    folder: PathBuf,
    watch: OwnedFd,
    /// What is watched: the folder, or the one above while it does not exist.
    watching_folder: bool,
    devices: BTreeMap<PathBuf, Device>,
    count: u32,
}

impl Devices {
    /// Those of this machine.
    pub fn new() -> io::Result<Self> {
        Self::of(Path::new("/dev/input"))
    }

    /// Those of a folder, which may come into being later.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut devices = Self {
            folder: folder.into(),
            watch,
            watching_folder: false,
            devices: BTreeMap::new(),
            count: 0,
        };
        devices.watch()?;
        devices.look();
        Ok(devices)
    }

    fn watch(&mut self) -> io::Result<()> {
        // A node is made first and given to its group after, so its attributes matter as well.
        let changes = WatchFlags::CREATE | WatchFlags::ATTRIB | WatchFlags::MOVED_TO;
        match inotify::add_watch(&self.watch, &self.folder, changes) {
            Ok(_) => {
                self.watching_folder = true;
                Ok(())
            }
            Err(Errno::NOENT) => {
                let above = self.folder.parent().unwrap_or(Path::new("/"));
                inotify::add_watch(&self.watch, above, WatchFlags::CREATE)?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what is there and not open yet.
    fn look(&mut self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with("event")
                && !self.devices.contains_key(&entry.path())
            {
                self.open(entry.path());
            }
        }
    }

    fn open(&mut self, path: PathBuf) {
        let file = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(&path);
        let file = match file {
            Ok(file) => file,
            // Not given to us, or not yet.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return,
            Err(error) => {
                tracing::warn!(
                    "opening the input device {} failed: {error}",
                    path.display()
                );
                return;
            }
        };
        let name = ioctl::name(&file);
        let Some(decoder) = Decoder::new(&Abilities::of(&file)) else {
            tracing::debug!(
                "the input device {} ({name}) has nothing for a screen",
                path.display()
            );
            return;
        };
        if let Err(error) = ioctl::stamp_with_monotonic_clock(&file) {
            tracing::warn!(
                "the input device {} ({name}) keeps its own time: {error}",
                path.display()
            );
        }
        tracing::info!("input device {} ({name})", path.display());
        self.count += 1;
        self.devices.insert(
            path,
            Device {
                file,
                name,
                decoder,
                at: Duration::ZERO,
                number: self.count,
            },
        );
    }

    /// Readable when [`Devices::read`] has something to say.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.watch.as_fd())
            .chain(self.devices.values().map(|device| device.file.as_fd()))
    }

    /// Tells what people did since the last call; never waits.
    pub fn read(&mut self, mut tell: impl FnMut(Stamped)) {
        self.read_changes();
        let mut gone = Vec::new();
        for (path, device) in &mut self.devices {
            let offset = device.number * CONTACTS;
            let mut tell = |mut stamped: Stamped| {
                if let Input::Touch(touch) = &mut stamped.input {
                    touch.contact += offset;
                }
                tell(stamped);
            };
            if let Err(error) = read(device, &mut tell) {
                tracing::info!(
                    "input device {} ({}) is gone: {error}",
                    path.display(),
                    device.name
                );
                let last = Event {
                    at: device.at,
                    kind: EV_SYN,
                    code: SYN_DROPPED,
                    value: 0,
                };
                device.decoder.cancel(last, &mut tell);
                gone.push(path.clone());
            }
        }
        for path in gone {
            self.devices.remove(&path);
        }
    }

    fn read_changes(&mut self) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 2048];
        let mut reader = inotify::Reader::new(&self.watch, &mut buffer);
        let mut changed = false;
        while let Ok(event) = reader.next() {
            // The folder may have gone with all its devices.
            if event.events().contains(ReadFlags::IGNORED) {
                self.watching_folder = false;
            }
            changed = true;
        }
        if !changed {
            return;
        }
        if !self.watching_folder
            && let Err(error) = self.watch()
        {
            tracing::error!(
                "watching {} for input devices failed: {error}",
                self.folder.display()
            );
        }
        self.look();
    }
}

fn read(device: &mut Device, tell: &mut impl FnMut(Stamped)) -> io::Result<()> {
    let mut bytes = [0; event::SIZE * 64];
    loop {
        match rustix::io::read(&device.file, &mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                for event in event::parse(&bytes[..length]) {
                    device.at = event.at;
                    device.decoder.event(event, tell);
                }
                // Fewer than fit: there are no more, and asking again would only say so.
                if length < bytes.len() {
                    return Ok(());
                }
            }
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_comes_later_and_files_that_are_no_devices_do_no_harm() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("input");
        let mut devices = Devices::of(&folder).unwrap();
        assert!(!devices.watching_folder);
        std::fs::create_dir(&folder).unwrap();
        devices.read(|_| unreachable!());
        assert!(devices.watching_folder);
        std::fs::write(folder.join("event0"), "no device").unwrap();
        devices.read(|_| unreachable!());
        assert!(devices.devices.is_empty());
    }
}
