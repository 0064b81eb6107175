//! The lights behind displays: no device nodes, but folders of `/sys` in which one writes.
//!
//! A service that is given the group sees the folder of each at `/dev/backlight/NAME`, and may write
//! `brightness` there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::{CWD, Gid};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags};

use super::node::class;
use super::uevent::Uevent;
use crate::manifest::DeviceGroup;

/// Where services see them, below `/dev`.
const FOLDER: &str = "backlight";

/// The light behind a display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlight {
    name: String,
    /// Its folder in `/sys/devices`.
    folder: PathBuf,
}

impl Backlight {
    /// The one whose folder this is.
    pub fn at(folder: &Path) -> Option<Self> {
        // What classes list are links to it.
        let folder = folder.canonicalize().ok()?;
        Some(Self {
            name: folder.file_name()?.to_str()?.to_owned(),
            folder,
        })
    }

    /// The one that an event says has come.
    pub fn of_event(event: &Uevent) -> Option<Self> {
        let comes =
            event.action == "add" && event.get("SUBSYSTEM") == Some(class(DeviceGroup::Backlight));
        if !comes {
            return None;
        }
        Self::at(&Path::new("/sys").join(event.path.trim_start_matches('/')))
    }

    /// Those that there are, by name.
    pub fn present(classes: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(classes.join(class(DeviceGroup::Backlight)));
        let mut all: Vec<_> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Self::at(&entry.path()))
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets its group set the brightness.
    fn grant(&self) -> Result<()> {
        let file = self.folder.join("brightness");
        let group = Some(Gid::from_raw(DeviceGroup::Backlight.id()));
        rustix::fs::chown(&file, None, group)
            .map_err(std::io::Error::from)
            .and_then(|()| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)))
            .with_context(|| format!("letting services write {}", file.display()))
    }

    /// Shows it below a `/dev`, in the mount namespace that `enter` goes to, if it is another one.
    ///
    /// # Errors
    /// When it cannot be shown there.
    pub fn show(&self, dev: &Path, enter: impl FnOnce() -> Result<()>) -> Result<()> {
        self.grant()?;
        let doing = || format!("showing the backlight {}", self.name);
        let tree = rustix::mount::open_tree(
            CWD,
            &self.folder,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .with_context(doing)?;
        enter()?;
        let target = dev.join(FOLDER).join(&self.name);
        std::fs::create_dir_all(&target).with_context(doing)?;
        let here = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&tree, "", CWD, &target, here).with_context(doing)?;
        let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount_remount(&target, flags, "").with_context(doing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_behind_the_links_of_their_class() {
        let sys = tempfile::tempdir().unwrap();
        let device = sys.path().join("devices/pci/backlight/panel0");
        let class = sys.path().join("class/backlight");
        std::fs::create_dir_all(&device).unwrap();
        std::fs::create_dir_all(&class).unwrap();
        let link = "../../devices/pci/backlight/panel0";
        std::os::unix::fs::symlink(link, class.join("panel0")).unwrap();
        let all = Backlight::present(&sys.path().join("class"));
        let device = device.canonicalize().unwrap();
        assert_eq!(
            all.iter().map(Backlight::folder).collect::<Vec<_>>(),
            [device.as_path()]
        );
        assert!(Backlight::present(&sys.path().join("none")).is_empty());
    }
}
