//! A whole phone that installs a release, and starts it, while its disk is recorded.
//!
//! Whatever the instant: the slot that ran is as it was, what the owner wrote is there, and a slot
//! whose boot file is whole has the root that this boot file starts. Which slot the firmware takes is
//! said in its own memory, not on this disk, and is changed only after the acknowledgement that the
//! other slot holds the release.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use release::{Manifest, boot_file, chunk};
use serde::{Deserialize, Serialize};
use update::esp;
use verity::Tree;
use xtask::image::partitions::{Layout, Partition};
use xtask::machine::{Disk, Machine, Options};

use super::check::Promise;
use super::filesystem;
use super::log::{Log, Operation};
use super::recorder::Recording;
use crate::mirror::Mirror;
use crate::phone::Phone;
use crate::releases::{self, Releases};

/// What the owner set before, in a file of the settings.
pub(super) const SETTING: (&str, &str) = ("appearance.accent", "moss");

/// Which acknowledgement says what, counted as they come.
const BEGUN: usize = 1;
const READY: usize = 2;
const KEPT: usize = 3;

/// What a run left.
#[derive(Debug)]
pub struct Written {
    /// The disk as it was before.
    pub before: PathBuf,
    /// What was written, and when what was acknowledged.
    pub recording: Recording,
}

/// Starts the phone by its firmware, installs the release `version` of `releases`, restarts into it,
/// waits until it is kept, and cuts the power.
///
/// # Errors
///
/// Fails when the phone does not do all this.
pub fn run(
    folder: &Path,
    phone: &Phone,
    releases: &Releases<'_>,
    version: &str,
) -> Result<Written> {
    let before = folder.join("before.img");
    fs::copy(&phone.disk, &before)?;
    let mut recording = Recording::create(&folder.join("record"))?;
    let mut options = Options::new(&phone.image, &phone.disk, &folder.join("machine"))?;
    options.disk = Disk::Node("disk".to_owned());
    for argument in recording.arguments(&phone.disk, "disk") {
        options
            .arguments
            .push(argument.to_string_lossy().into_owned());
    }
    let mirror = Mirror::start(releases.repository())?;
    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    machine.hyper(&format!("settings set {} {}", SETTING.0, SETTING.1))?;
    releases::follow(&mut machine, &mirror)?;
    let mut acknowledge = |expected: usize| -> Result<()> {
        let number = recording.acknowledge()? + 1;
        ensure!(number == expected, "acknowledgement {number} is {expected}");
        Ok(())
    };
    acknowledge(BEGUN)?;
    releases::install(&mut machine, version)?;
    acknowledge(READY)?;
    releases::restart(&mut machine)?;
    releases::wait_until_kept(&mut machine, version)?;
    acknowledge(KEPT)?;
    machine.cut_power()?;
    Ok(Written { before, recording })
}

/// What was written to the slot that ran while it ran: there must be nothing. Gives where on the disk.
#[must_use]
pub fn writes_to_the_running_slot(log: &Log, layout: &Layout, ready: usize) -> Vec<u64> {
    let slot = ["esp-a", "root-a"].map(|name| layout.partition(name));
    log.entries()[..ready]
        .iter()
        .filter(|entry| matches!(entry.operation, Operation::Write { .. }))
        .filter(|entry| {
            slot.iter().any(|partition| {
                entry.offset < partition.offset + partition.size
                    && entry.offset + entry.length > partition.offset
            })
        })
        .map(|entry| entry.offset)
        .collect()
}

/// A device that can be started after every cut.
#[derive(Debug)]
pub struct Startable {
    /// Where its partitions are.
    pub layout: Layout,
    /// What is installed into slot b.
    pub release: Manifest,
}

/// What the settings and the updates keep, as lib/store documents it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Values(BTreeMap<String, toml::Value>);

store::first_version!(Values);

impl Promise for Startable {
    fn look(
        &self,
        disk: &Path,
        folder: &Path,
        acknowledged: usize,
    ) -> Result<Result<(), String>, filesystem::Error> {
        let data = folder.join("data");
        filesystem::take_out(disk, self.layout.partition("data"), &data)?;
        filesystem::recover(&data)?;
        for kept in ["/settings", "/update"] {
            filesystem::copy_out(&data, kept, folder)?;
        }
        Ok(self.check(disk, folder, acknowledged))
    }
}

impl Startable {
    fn check(&self, disk: &Path, data: &Path, acknowledged: usize) -> Result<(), String> {
        let settings = kept(&data.join("settings/settings"), "the settings")?;
        let set = settings.0.get(SETTING.0).and_then(toml::Value::as_str);
        if set != Some(SETTING.1) {
            return Err(format!("{} is {set:?}", SETTING.0));
        }
        let update = kept(&data.join("update/state"), "the state of updates")?;
        let boot_file_is_whole = self.boot_file_is_whole(disk)?;
        if boot_file_is_whole {
            self.root_is_whole(disk)
                .map_err(|error| format!("the boot file of slot b is whole and {error}"))?;
        } else if acknowledged >= READY {
            return Err("slot b was said to be ready and its boot file is not whole".into());
        } else if update.0.contains_key("ready") {
            return Err("slot b is noted as ready and its boot file is not whole".into());
        }
        Ok(())
    }

    /// Whether slot b has the boot file of the release.
    fn boot_file_is_whole(&self, disk: &Path) -> Result<bool, String> {
        let mut esp = Window::open(disk, self.layout.partition("esp-b"))?;
        let chunks = self.release.boot.of("b").unwrap_or_default();
        let found = esp::with_file(
            &mut esp,
            esp::BOOT_FILE,
            |file| -> io::Result<Option<Vec<u8>>> {
                let mut content = Vec::new();
                file.read_to_end(&mut content)?;
                let mut rest = content.as_slice();
                for wanted in chunks {
                    let Some((head, tail)) = rest.split_at_checked(wanted.length as usize) else {
                        return Ok(None);
                    };
                    if chunk::hash(head) != wanted.hash {
                        return Ok(None);
                    }
                    rest = tail;
                }
                Ok(rest.is_empty().then_some(content))
            },
        );
        // What is no file system, or a torn one, is started by nobody.
        let Ok(Ok(Some(content))) = found else {
            return Ok(false);
        };
        let root = &self.release.root;
        let line =
            boot_file::command_line(io::Cursor::new(content)).map_err(|error| error.to_string())?;
        boot_file::Expected {
            slot: "b",
            hash: root.hash(),
            salt: &root.salt,
            blocks: root.blocks,
        }
        .check(&line)
        .map_err(|error| error.to_string())?;
        Ok(true)
    }

    /// Whether slot b has the root of the release, with its hash tree.
    fn root_is_whole(&self, disk: &Path) -> Result<(), String> {
        let root = &self.release.root;
        let failed = |error: io::Error| format!("its root cannot be read: {error}");
        let mut window = Window::open(disk, self.layout.partition("root-b"))?;
        let tree = Tree::build((&mut window).take(root.size()), &root.salt()).map_err(failed)?;
        if tree.root_hash != root.hash() {
            return Err("its root is not the one that was signed".into());
        }
        let mut expected = Vec::new();
        tree.write(&mut expected).map_err(failed)?;
        let mut found = vec![0; expected.len()];
        window
            .seek(SeekFrom::Start(root.size()))
            .and_then(|_| window.read_exact(&mut found))
            .map_err(failed)?;
        if found != expected {
            return Err("its hash tree is not that of its root".into());
        }
        Ok(())
    }
}

fn kept(path: &Path, what: &str) -> Result<Values, String> {
    let opened = store::open::<Values>(path).map_err(|error| error.to_string())?;
    match opened.notices.first() {
        Some(notice) => Err(format!("{what} are torn: {notice}")),
        None => Ok(opened.store.value().clone()),
    }
}

/// A partition of a disk in a file.
struct Window {
    disk: File,
    start: u64,
    size: u64,
    position: u64,
}

impl Window {
    fn open(disk: &Path, partition: &Partition) -> Result<Self, String> {
        let file =
            File::open(disk).map_err(|error| format!("opening {}: {error}", disk.display()))?;
        Ok(Self {
            disk: file,
            start: partition.offset,
            size: partition.size,
            position: 0,
        })
    }
}

impl Read for Window {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.position);
        let length = to.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self
            .disk
            .read_at(&mut to[..length], self.start + self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
