//! The files that a service sees: a root of its own that begins empty.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::{FileType, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use super::Place;
use crate::boot::mount::{KERNEL_FILES, mount};
use crate::device::backlight::Backlight;
use crate::device::node;
use crate::manifest::{DeviceGroup, Manifest};

/// The root of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Files {
    /// An empty folder on which it is built; each service's is its own, in its mount namespace.
    pub scratch: PathBuf,
    /// What it may read, programs included.
    pub read: Vec<PathBuf>,
    /// Where it may write.
    pub write: Vec<PathBuf>,
    /// The sockets that it may call, and who may call what; for the service that carries calls
    /// between devices, also the folder of the sockets that are for those.
    pub bus: Vec<PathBuf>,
    /// Whether `/proc` holds the kernel's settings too, of which those of the network can be
    /// written with the capability for it.
    pub kernel_settings: bool,
}

impl Files {
    pub(super) fn new(
        manifest: &Manifest,
        place: &Place,
        program: &Path,
        data: &Path,
        run: &Path,
    ) -> Self {
        let mut read = vec![program.to_owned()];
        read.extend(
            ["product.toml", "edition.toml", "release.toml"].map(|file| place.system.join(file)),
        );
        read.extend(manifest.access.read.iter().map(|path| place.resolve(path)));
        let bus = place.bus();
        let mut sockets = vec![bus.join("grants.toml")];
        sockets.extend(
            manifest
                .calls
                .iter()
                .map(|interface| interface.socket(&bus)),
        );
        if manifest.carries {
            // The folder, so that it holds for services that come later too.
            sockets.push(bus.join(bus::carry::SHARED));
        }
        Self {
            scratch: place.run.join("sandbox"),
            read,
            write: vec![data.to_owned(), run.to_owned()],
            bus: sockets,
            kernel_settings: manifest.access.network,
        }
    }

    /// Makes this the root of the calling process, which must be in a mount namespace of its own.
    ///
    /// # Errors
    /// When something that the service was promised cannot be given to it. What it may read but
    /// does not exist is left out: its lack is then the service's to tell.
    pub fn enter(&self, devices: impl Iterator<Item = DeviceGroup>) -> Result<()> {
        let root = self.scratch.as_path();
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .context("keeping the service's mounts to itself")?;
        let plain = MountFlags::NOSUID | MountFlags::NODEV;
        mount(
            Path::new("tmpfs"),
            root,
            "tmpfs",
            plain,
            "mode=0755,size=1m",
        )?;
        for path in &self.read {
            if path.exists() {
                bind(root, path, plain | MountFlags::RDONLY)?;
            }
        }
        for path in &self.write {
            bind(root, path, plain | MountFlags::NOEXEC)?;
        }
        for path in &self.bus {
            // An interface that no service of this product serves has no socket.
            if path.exists() {
                bind(root, path, plain | MountFlags::NOEXEC | MountFlags::RDONLY)?;
            }
        }
        make_devices(&root.join("dev"), devices)?;
        let process = if self.kernel_settings {
            "hidepid=invisible"
        } else {
            "hidepid=invisible,subset=pid"
        };
        let folder = root.join("proc");
        make_folder(&folder)?;
        mount(Path::new("proc"), &folder, "proc", KERNEL_FILES, process)?;

        // Both roots stand at one place for a moment; the old one, on top, is then taken off.
        rustix::process::chdir(root).context("going to the service's root")?;
        rustix::process::pivot_root(".", ".").context("making it the service's root")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)
            .context("taking off the system's root")?;
        rustix::process::chdir("/").context("going to the service's /")?;
        let closed = MountFlags::BIND | MountFlags::RDONLY | plain;
        rustix::mount::mount_remount("/", closed, "").context("closing the service's root")
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("making the folder {}", folder.display()))
}

/// Shows a file or folder of the system at the same path below `root`.
fn bind(root: &Path, path: &Path, flags: MountFlags) -> Result<()> {
    let target = root.join(path.strip_prefix("/").unwrap_or(path));
    let doing = || format!("giving {} to the service", path.display());
    if path.is_dir() {
        make_folder(&target)?;
    } else {
        make_folder(target.parent().unwrap_or(root))?;
        std::fs::File::create(&target).with_context(doing)?;
    }
    rustix::mount::mount_bind(path, &target).with_context(doing)?;
    rustix::mount::mount_remount(&target, MountFlags::BIND | flags, "").with_context(doing)
}

/// A `/dev` with the nodes that every program expects and those of some groups. It is in memory, so
/// that process 1 can add and take away nodes as devices come and go.
fn make_devices(folder: &Path, groups: impl Iterator<Item = DeviceGroup>) -> Result<()> {
    make_folder(folder)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount(
        Path::new("tmpfs"),
        folder,
        "tmpfs",
        flags,
        "mode=0755,size=64k",
    )?;
    for (name, minor) in [
        ("null", 3),
        ("zero", 5),
        ("full", 7),
        ("random", 8),
        ("urandom", 9),
    ] {
        let file = folder.join(name);
        let device = rustix::fs::makedev(1, minor);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &file,
            FileType::CharacterDevice,
            Mode::from(0o666),
            device,
        )
        .and_then(|()| rustix::fs::chmod(&file, Mode::from(0o666)))
        .with_context(|| format!("making the device node {name}"))?;
    }
    for group in groups {
        if group == DeviceGroup::Backlight {
            for backlight in Backlight::present(Path::new("/sys/class")) {
                // Process 1 takes it into the log as a warning: a screen that stays as bright as it
                // is must not be no screen.
                if let Err(error) = backlight.show(folder, || Ok(())) {
                    eprintln!("<4>{error:#}");
                }
            }
        }
        for name in node::folders(group) {
            make_folder(&folder.join(name))?;
        }
        for node in node::present(Path::new("/sys/class"), group) {
            node.make(folder)?;
        }
    }
    Ok(())
}
