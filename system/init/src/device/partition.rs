//! Finding a partition by its name in the partition table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::stick;
use super::uevent::{self, Received, UeventSocket};

/// A partition that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    name: String,
    /// Below `/dev`.
    node: PathBuf,
    /// The disk that it is on, as its folder of `/sys/devices`.
    disk: PathBuf,
}

/// Finds the node of the partition called `name`, waiting for its disk to appear. Where a `disk` is
/// named, as its folder of `/sys/devices`, only on that one: what somebody plugs in may have
/// partitions of any name.
///
/// # Errors
/// When there is no such partition by `deadline`; the error lists those that there are.
pub fn find(
    name: &str,
    disk: Option<&Path>,
    events: &UeventSocket,
    deadline: Instant,
) -> Result<PathBuf> {
    let mut look = true;
    loop {
        if look && let Some(node) = of(name, disk, present(Path::new("/sys/class/block"))?) {
            return Ok(node);
        }
        look = false;
        while let Some(received) = events.receive()? {
            match received {
                Received::Event(event) if event.get("PARTNAME") == Some(name) => {
                    let path = Path::new("/sys").join(event.path.trim_start_matches('/'));
                    if event.action != "remove"
                        && disk.is_none_or(|disk| path.parent() == Some(disk))
                        && let Some(node) = event.get("DEVNAME")
                    {
                        return Ok(Path::new("/dev").join(node));
                    }
                }
                Received::Event(_) | Received::Other => {}
                Received::Lost => look = true,
            }
        }
        if !look && !events.wait(deadline)? {
            let names = present(Path::new("/sys/class/block"))?;
            let names: Vec<_> = names.into_iter().map(|named| named.name).collect();
            match names.as_slice() {
                [] => bail!("no disk with named partitions appeared while waiting for `{name}`"),
                _ => bail!(
                    "no partition{} is called `{name}`; there are {}",
                    disk.map_or(String::new(), |disk| format!(
                        " of the disk {}",
                        disk.display()
                    )),
                    names.join(", ")
                ),
            }
        }
    }
}

/// The nodes of every partition called `name`, those of disks that are built in first.
///
/// # Errors
/// When the disks cannot be listed.
pub fn all(name: &str) -> Result<Vec<PathBuf>> {
    Ok(in_order(name, present(Path::new("/sys/class/block"))?))
}

/// The disks that have a partition of each of these names, as their folders of `/sys/devices`.
///
/// # Errors
/// When the disks cannot be listed.
pub fn disks_with(names: &[&str]) -> Result<Vec<PathBuf>> {
    Ok(with_all(names, &present(Path::new("/sys/class/block"))?))
}

fn with_all(names: &[&str], present: &[Named]) -> Vec<PathBuf> {
    let disks: BTreeSet<_> = present.iter().map(|one| &one.disk).collect();
    let has = |disk: &Path, name: &str| {
        let mut all = present.iter();
        all.any(|one| one.disk == disk && one.name == name)
    };
    disks
        .into_iter()
        .filter(|disk| names.iter().all(|name| has(disk, name)))
        .cloned()
        .collect()
}

fn in_order(name: &str, present: Vec<Named>) -> Vec<PathBuf> {
    let mut named: Vec<_> = present.into_iter().filter(|one| one.name == name).collect();
    named.sort_by_key(|one| stick::is_on_usb(&one.disk));
    named.into_iter().map(|one| one.node).collect()
}

/// The node of the one that is called so, on that disk if one is named.
fn of(name: &str, disk: Option<&Path>, present: Vec<Named>) -> Option<PathBuf> {
    let mut named = present.into_iter().filter(|named| named.name == name);
    let found = named.find(|named| disk.is_none_or(|disk| named.disk == disk))?;
    Some(found.node)
}

/// The named partitions that there are, in the order of names.
fn present(class: &Path) -> Result<Vec<Named>> {
    let mut partitions = Vec::new();
    let entries = std::fs::read_dir(class)
        .with_context(|| format!("listing the disks in {}", class.display()))?;
    for entry in entries.flatten() {
        // A device may go away between the listing and the reading.
        let Ok(text) = std::fs::read_to_string(entry.path().join("uevent")) else {
            continue;
        };
        let values = uevent::parse_file(&text);
        if let (Some(name), Some(node)) = (values.get("PARTNAME"), values.get("DEVNAME")) {
            let device = std::fs::canonicalize(entry.path()).unwrap_or_default();
            partitions.push(Named {
                name: name.clone(),
                node: Path::new("/dev").join(node),
                disk: device.parent().unwrap_or(&device).to_owned(),
            });
        }
    }
    partitions.sort();
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of block devices as in `/sys`, some of them partitions with a name.
    fn devices(folder: &Path, partitions: &[(&str, &str, &str)]) -> PathBuf {
        let class = folder.join("class/block");
        std::fs::create_dir_all(&class).unwrap();
        for (disk, partition, text) in partitions {
            let device = folder.join("devices").join(disk).join(partition);
            std::fs::create_dir_all(&device).unwrap();
            std::fs::write(device.join("uevent"), text).unwrap();
            let name = device.file_name().unwrap();
            std::os::unix::fs::symlink(&device, class.join(name)).unwrap();
        }
        class
    }

    #[test]
    fn partitions_are_listed_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let folder = std::fs::canonicalize(folder.path()).unwrap();
        let class = devices(
            &folder,
            &[
                ("vda", "", "MAJOR=254\nDEVNAME=vda\nDEVTYPE=disk\n"),
                ("vda", "vda2", "DEVNAME=vda2\nPARTNAME=root-a\n"),
                ("vda", "vda1", "DEVNAME=vda1\nPARTNAME=esp-a\n"),
            ],
        );
        let named = |name: &str, node: &str| Named {
            name: name.to_owned(),
            node: node.into(),
            disk: folder.join("devices/vda"),
        };
        assert_eq!(
            present(&class).unwrap(),
            [named("esp-a", "/dev/vda1"), named("root-a", "/dev/vda2")]
        );
    }

    #[test]
    fn what_is_plugged_in_is_not_taken_for_a_slot_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let folder = std::fs::canonicalize(folder.path()).unwrap();
        let class = devices(
            &folder,
            &[
                ("usb1/sda", "sda1", "DEVNAME=sda1\nPARTNAME=esp-b\n"),
                ("usb1/sda", "sda2", "DEVNAME=sda2\nPARTNAME=root-c\n"),
                ("virtio1/vda", "vda3", "DEVNAME=vda3\nPARTNAME=esp-b\n"),
            ],
        );
        let ours = folder.join("devices/virtio1/vda");
        let theirs = folder.join("devices/usb1/sda");
        let all = present(&class).unwrap();
        assert_eq!(with_all(&["esp-b"], &all), [theirs.clone(), ours.clone()]);
        assert_eq!(with_all(&["esp-b", "root-c"], &all), [theirs]);
        assert!(with_all(&["esp-b", "data"], &all).is_empty());
        let find = |name: &str, disk| of(name, disk, present(&class).unwrap());
        assert_eq!(find("esp-b", Some(&ours)), Some("/dev/vda3".into()));
        assert_eq!(find("root-c", Some(&ours)), None);
        assert_eq!(find("root-c", None), Some("/dev/sda2".into()));
        // Where nobody knows yet which disk is ours, what is built in is tried first.
        let in_order = in_order("esp-b", present(&class).unwrap());
        assert_eq!(in_order, [Path::new("/dev/vda3"), Path::new("/dev/sda1")]);
    }
}
