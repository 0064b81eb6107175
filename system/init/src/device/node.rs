//! Device nodes: which group a device belongs to, and making its node.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::uevent::{self, Uevent};
use crate::manifest::DeviceGroup;

/// The node of a device of some group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The group whose services may open it.
    pub group: DeviceGroup,
    /// Its path below `/dev`.
    pub path: PathBuf,
    /// Its device numbers.
    pub number: (u32, u32),
    /// Whether the group may write it.
    pub writable: bool,
}

/// The folder of `/sys/class` in which a group's devices are, which is also their subsystem.
pub fn class(group: DeviceGroup) -> &'static str {
    match group {
        DeviceGroup::Dri => "drm",
        DeviceGroup::Input => "input",
        DeviceGroup::Framebuffer => "graphics",
        DeviceGroup::Backlight => "backlight",
        DeviceGroup::Console => "virtio-ports",
        DeviceGroup::Rtc => "rtc",
        DeviceGroup::Watchdog => "watchdog",
        DeviceGroup::Slots | DeviceGroup::Sticks => "block",
    }
}

/// The folders of `/dev` in which a group's nodes appear, which services may watch.
pub fn folders(group: DeviceGroup) -> &'static [&'static str] {
    match group {
        DeviceGroup::Dri => &["dri"],
        DeviceGroup::Input => &["input"],
        DeviceGroup::Console => &["virtio-ports"],
        DeviceGroup::Slots => &["slots"],
        DeviceGroup::Sticks => &["sticks"],
        _ => &[],
    }
}

impl Node {
    /// The node that an event is about, if it is one of a group's.
    pub fn of_event(event: &Uevent) -> Option<Self> {
        let subsystem = event.get("SUBSYSTEM")?;
        let device = Path::new("/sys").join(event.path.trim_start_matches('/'));
        let mut groups = DeviceGroup::ALL
            .into_iter()
            .filter(|&group| class(group) == subsystem);
        groups.find_map(|group| {
            let name = event.get("DEVNAME")?;
            let (major, minor) = (event.get("MAJOR")?, event.get("MINOR")?);
            if group == DeviceGroup::Sticks && event.action == "remove" {
                // Of a stick that is gone the kernel tells no more than its name.
                let number = (major.parse().ok()?, minor.parse().ok()?);
                return Self::numbered(group, super::stick::path(name), number);
            }
            Self::new(group, name, major, minor, &device)
        })
    }

    fn new(
        group: DeviceGroup,
        name: &str,
        major: &str,
        minor: &str,
        device: &Path,
    ) -> Option<Self> {
        let path = match group {
            // Of an input device's nodes, the one that carries all that it says.
            DeviceGroup::Input if !name.starts_with("input/event") => return None,
            DeviceGroup::Console => {
                // The host gives the port a name, which is what its reader looks for.
                let port = std::fs::read_to_string(device.join("name")).ok()?;
                let port = port.trim();
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if port.is_empty() || port.starts_with('.') || !port.chars().all(plain) {
                    return None;
                }
                Path::new("virtio-ports").join(port)
            }
            DeviceGroup::Slots => {
                let (slot, disk) = (super::slot::running(), super::stick::system_disk());
                super::slot::name(device, slot, disk)?
            }
            DeviceGroup::Sticks if super::stick::is_one(device, super::stick::system_disk()) => {
                super::stick::path(name)
            }
            DeviceGroup::Sticks => return None,
            _ => PathBuf::from(name),
        };
        Self::numbered(group, path, (major.parse().ok()?, minor.parse().ok()?))
    }

    /// The node of that path, unless that leads elsewhere.
    fn numbered(group: DeviceGroup, path: PathBuf, number: (u32, u32)) -> Option<Self> {
        let plain = path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        plain.then_some(Self {
            group,
            writable: match group {
                DeviceGroup::Slots => super::slot::may_be_written(&path),
                DeviceGroup::Sticks => false,
                _ => true,
            },
            path,
            number,
        })
    }

    /// Makes the node below `folder`, for its group to open. One that is there already gets the
    /// right owner.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self, folder: &Path) -> Result<()> {
        let file = folder.join(&self.path);
        let doing = || format!("making the device node {}", file.display());
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).with_context(doing)?;
        }
        let mode = Mode::from(if self.writable { 0o660 } else { 0o440 });
        let kind = match self.group {
            DeviceGroup::Slots | DeviceGroup::Sticks => FileType::BlockDevice,
            _ => FileType::CharacterDevice,
        };
        let device = rustix::fs::makedev(self.number.0, self.number.1);
        match rustix::fs::mknodat(rustix::fs::CWD, &file, kind, mode, device) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).with_context(doing),
        }
        let group = Some(Gid::from_raw(self.group.id()));
        rustix::fs::chownat(
            rustix::fs::CWD,
            &file,
            Some(Uid::ROOT),
            group,
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .and_then(|()| rustix::fs::chmod(&file, mode))
        .with_context(doing)
    }

    /// Takes the node away.
    pub fn remove(&self, folder: &Path) {
        let _ = std::fs::remove_file(folder.join(&self.path));
    }
}

/// The nodes of a group's devices that there are.
pub fn present(classes: &Path, group: DeviceGroup) -> Vec<Node> {
    let entries = std::fs::read_dir(classes.join(class(group)));
    let mut nodes: Vec<_> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let device = entry.path();
            let text = std::fs::read_to_string(device.join("uevent")).ok()?;
            let values = uevent::parse_file(&text);
            let value = |key| values.get(key).map(String::as_str);
            Node::new(
                group,
                value("DEVNAME")?,
                value("MAJOR")?,
                value("MINOR")?,
                &device,
            )
        })
        .collect();
    nodes.sort_by(|one, other| one.path.cmp(&other.path));
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(classes: &Path, class: &str, name: &str, uevent: &str) -> PathBuf {
        let folder = classes.join(class).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("uevent"), uevent).unwrap();
        folder
    }

    #[test]
    fn nodes_are_found_by_group() {
        let classes = tempfile::tempdir().unwrap();
        device(
            classes.path(),
            "input",
            "event1",
            "MAJOR=13\nMINOR=65\nDEVNAME=input/event1\n",
        );
        device(
            classes.path(),
            "input",
            "mouse0",
            "MAJOR=13\nMINOR=32\nDEVNAME=input/mouse0\n",
        );
        device(classes.path(), "input", "input1", "PRODUCT=6/627/1/1\n");
        let port = device(
            classes.path(),
            "virtio-ports",
            "vport1p1",
            "MAJOR=240\nMINOR=1\nDEVNAME=vport1p1\n",
        );
        std::fs::write(port.join("name"), "org.hyperos.console\n").unwrap();
        let other = device(
            classes.path(),
            "virtio-ports",
            "vport1p2",
            "MAJOR=240\nMINOR=2\nDEVNAME=vport1p2\n",
        );
        std::fs::write(other.join("name"), "../../etc\n").unwrap();
        let paths = |group| -> Vec<_> {
            present(classes.path(), group)
                .into_iter()
                .map(|node| node.path)
                .collect()
        };
        assert_eq!(paths(DeviceGroup::Input), [Path::new("input/event1")]);
        assert_eq!(
            paths(DeviceGroup::Console),
            [Path::new("virtio-ports/org.hyperos.console")]
        );
        assert!(paths(DeviceGroup::Dri).is_empty());
    }

    #[test]
    fn an_event_names_its_node() {
        let event = Uevent::parse(
            b"add@/devices/x/drm/card0\0SUBSYSTEM=drm\0DEVNAME=dri/card0\0MAJOR=226\0MINOR=0\0",
        );
        let node = Node::of_event(&event.unwrap()).unwrap();
        assert_eq!((node.group, node.number), (DeviceGroup::Dri, (226, 0)));
        let event = Uevent::parse(b"add@/x\0SUBSYSTEM=drm\0DEVNAME=../../x\0MAJOR=1\0MINOR=1\0");
        assert_eq!(Node::of_event(&event.unwrap()), None);
    }
}
