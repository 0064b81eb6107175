//! Disks that somebody plugged in, under `/dev/sticks`, each with its partitions: to be read by a service
//! that knows what to look for on them. Nothing of them is mounted: the kernel's file systems trust a
//! disk more than a stick from the street deserves.
//!
//! One is what can be plugged in while the device runs: on USB, in a slot for cards, or as a disk of a
//! virtual machine. The disk that this system itself runs from is none, wherever it is plugged in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What a stick or its partition is called here.
pub fn path(name: &str) -> PathBuf {
    Path::new("sticks").join(name)
}

/// The disk that holds the root that runs, as its folder of `/sys/devices`; none where the root is on no
/// disk, as of a system that runs as a layer.
pub fn system_disk() -> Option<&'static Path> {
    static DISK: OnceLock<Option<PathBuf>> = OnceLock::new();
    DISK.get_or_init(|| disk_of_root(Path::new("/sys/block")))
        .as_deref()
}

/// The disk below the device that the kernel verifies the root on.
fn disk_of_root(blocks: &Path) -> Option<PathBuf> {
    let root = fs::read_dir(blocks).ok()?.flatten().find(|entry| {
        fs::read_to_string(entry.path().join("dm/name")).is_ok_and(|name| name.trim() == "root")
    })?;
    let below = fs::read_dir(root.path().join("slaves")).ok()?;
    let partition = below.flatten().next()?;
    disk(&fs::canonicalize(partition.path()).ok()?)
}

/// The disk of a block device, as its folder of `/sys/devices`: itself, or the one that it is a partition of.
pub fn disk(device: &Path) -> Option<PathBuf> {
    if device.join("partition").exists() {
        device.parent().map(Path::to_owned)
    } else {
        Some(device.to_owned())
    }
}

/// Whether a device, as its folder of `/sys/devices`, is on USB.
pub fn is_on_usb(device: &Path) -> bool {
    let is_usb =
        |part: std::path::Component<'_>| part.as_os_str().to_string_lossy().starts_with("usb");
    device.components().any(is_usb)
}

/// Whether a block device is a stick or a partition of one, when the system runs from the disk `system`.
pub fn is_one(device: &Path, system: Option<&Path>) -> bool {
    let (Ok(device), Some(system)) = (fs::canonicalize(device), system) else {
        return false;
    };
    let plugged = device.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part.starts_with("usb") || part.starts_with("mmc") || part.starts_with("virtio")
    });
    plugged && disk(&device).is_some_and(|disk| disk != system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(folder: &Path, path: &str, partition: bool) -> PathBuf {
        let device = folder.join(path);
        fs::create_dir_all(&device).unwrap();
        if partition {
            fs::write(device.join("partition"), "1\n").unwrap();
        }
        device
    }

    #[test]
    fn what_can_be_plugged_in_is_a_stick_but_never_the_disk_that_runs() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &fs::canonicalize(folder.path()).unwrap();
        let stick = make(folder, "devices/pci0/usb1/1-1/host0/block/sda", false);
        let part = make(folder, "devices/pci0/usb1/1-1/host0/block/sda/sda1", true);
        let system = make(folder, "devices/pci0/virtio1/block/vda", false);
        let root = make(folder, "devices/pci0/virtio1/block/vda/vda3", true);
        let inside = make(folder, "devices/pci0/ata1/host1/block/sdb", false);
        let loop_device = make(folder, "devices/virtual/block/loop0", false);
        assert!(is_one(&stick, Some(&system)) && is_one(&part, Some(&system)));
        for other in [&system, &root, &inside, &loop_device] {
            assert!(!is_one(other, Some(&system)), "{}", other.display());
        }
        // A system that runs from a stick takes no release from itself.
        assert!(!is_one(&part, Some(&stick)));
        assert!(is_one(&root, Some(&stick)));
        assert!(!is_one(&stick, None));
    }

    #[test]
    fn the_disk_that_runs_is_found_below_its_verified_root() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &fs::canonicalize(folder.path()).unwrap();
        let disk = make(folder, "devices/virtio1/block/vda", false);
        let root = make(folder, "devices/virtio1/block/vda/vda3", true);
        let blocks = make(folder, "block", false);
        make(folder, "block/loop0", false);
        assert_eq!(disk_of_root(&blocks), None);
        make(folder, "block/dm-0/dm", false);
        fs::write(blocks.join("dm-0/dm/name"), "root\n").unwrap();
        make(folder, "block/dm-0/slaves", false);
        std::os::unix::fs::symlink(&root, blocks.join("dm-0/slaves/vda3")).unwrap();
        assert_eq!(disk_of_root(&blocks), Some(disk));
    }
}
