//! On which disks of a machine without this system it could be installed.

use std::fs;
use std::path::{Path, PathBuf};

use init::device::{stick, uevent};
use partitions::SECTOR;

/// A disk that could be written over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its folder of `/sys/devices`.
    pub device: PathBuf,
    /// Its node.
    pub node: PathBuf,
    /// What its maker calls it, or the kernel.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// What its partitions are called, in their order.
    pub partitions: Vec<String>,
}

/// What came of looking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// The largest first.
    pub disks: Vec<Candidate>,
    /// Why others are none.
    pub reasons: Vec<String>,
}

/// Looks in `blocks`, such as `/sys/block`, for disks that are built in and have room for `needed` bytes.
/// Those in `sticks`, as folders of `/sys/devices`, hold what is to be installed, and are none.
///
/// What can be pulled out is none either, be it as large as it likes: on USB, or a card.
#[must_use]
pub fn candidates(blocks: &Path, sticks: &[PathBuf], needed: u64) -> Candidates {
    let mut found = Candidates::default();
    let entries = fs::read_dir(blocks).into_iter().flatten().flatten();
    for entry in entries {
        let Ok(device) = fs::canonicalize(entry.path()) else {
            continue;
        };
        if !is_built_in(&device) || sticks.contains(&device) {
            continue;
        }
        let disk = describe(device);
        let block = number(&disk.device, "queue/logical_block_size");
        if disk.size < needed {
            found.reasons.push(format!(
                "{} is too small: it has {}, and {} are needed",
                disk.name,
                size_text(disk.size),
                size_text(needed)
            ));
        } else if block != Some(SECTOR) {
            found.reasons.push(format!(
                "{} counts in larger blocks than {SECTOR} bytes, which is not supported",
                disk.name
            ));
        } else {
            found.disks.push(disk);
        }
    }
    found
        .disks
        .sort_by(|one, other| (other.size, &one.node).cmp(&(one.size, &other.node)));
    found.reasons.sort();
    found
}

/// Whether a block device is a disk that stays where it is, and can be written.
fn is_built_in(device: &Path) -> bool {
    let card = text(device, "device/type").is_some_and(|kind| kind == "SD");
    device.join("device").exists()
        && !stick::is_on_usb(device)
        && !card
        && number(device, "removable") == Some(0)
        && number(device, "ro") == Some(0)
        // A reader without a medium.
        && number(device, "size").is_some_and(|size| size > 0)
}

fn describe(device: PathBuf) -> Candidate {
    let kernel_name = device.file_name().unwrap_or_default().to_string_lossy();
    let node = Path::new("/dev").join(&*kernel_name);
    let name = ["device/model", "device/name"]
        .into_iter()
        .find_map(|file| text(&device, file).filter(|name| !name.is_empty()));
    let name = name.unwrap_or_else(|| kernel_name.clone().into_owned());
    Candidate {
        node,
        name,
        size: number(&device, "size").unwrap_or(0).saturating_mul(SECTOR),
        partitions: partitions_of(&device),
        device,
    }
}

fn partitions_of(device: &Path) -> Vec<String> {
    let mut partitions: Vec<(u64, String)> = Vec::new();
    for entry in fs::read_dir(device).into_iter().flatten().flatten() {
        let Some(number) = number(&entry.path(), "partition") else {
            continue;
        };
        let values = text(&entry.path(), "uevent").map(|text| uevent::parse_file(&text));
        let name = values.and_then(|values| values.get("PARTNAME").cloned());
        let kernel_name = || entry.file_name().to_string_lossy().into_owned();
        partitions.push((number, name.unwrap_or_else(kernel_name)));
    }
    partitions.sort();
    partitions.into_iter().map(|(_, name)| name).collect()
}

fn text(device: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(device.join(file)).ok()?;
    Some(text.trim().to_owned())
}

fn number(device: &Path, file: &str) -> Option<u64> {
    text(device, file)?.parse().ok()
}

/// A size as it stands on the box of a disk: in decimal units.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB")];
    let (factor, unit) = units
        .into_iter()
        .find(|(factor, _)| bytes >= *factor)
        .unwrap_or((1_000_000, "MB"));
    let tenths = bytes / (factor / 10);
    if tenths >= 100 || tenths.is_multiple_of(10) {
        format!("{} {unit}", (tenths + 5) / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: u64 = 1 << 30;

    /// A machine's disks, as `/sys` has them.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("block")).unwrap();
            Self(folder)
        }

        fn path(&self) -> PathBuf {
            fs::canonicalize(self.0.path()).unwrap()
        }

        /// A disk of so many bytes, with these files beside what every disk has.
        fn add(&self, place: &str, size: u64, files: &[(&str, &str)]) -> PathBuf {
            let device = self.path().join("devices").join(place);
            let sectors = (size / SECTOR).to_string();
            let usual = [
                ("removable", "0"),
                ("ro", "0"),
                ("size", sectors.as_str()),
                ("queue/logical_block_size", "512"),
                ("device/vendor", "0x1af4"),
            ];
            for (file, content) in usual.iter().chain(files) {
                let path = device.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("{content}\n")).unwrap();
            }
            let name = device.file_name().unwrap();
            std::os::unix::fs::symlink(&device, self.path().join("block").join(name)).unwrap();
            device
        }

        fn look(&self, sticks: &[PathBuf]) -> Candidates {
            candidates(&self.path().join("block"), sticks, NEEDED)
        }
    }

    #[test]
    fn disks_that_are_built_in_and_large_enough_are_offered_the_largest_first() {
        let machine = Machine::new();
        machine.add("pci0/virtio1/block/vda", 2 * NEEDED, &[]);
        let files = [
            ("device/model", "Samsung SSD 980 PRO 1TB                 "),
            ("nvme0n1p2/partition", "2"),
            (
                "nvme0n1p2/uevent",
                "DEVNAME=nvme0n1p2\nPARTNAME=Basic data partition",
            ),
            ("nvme0n1p1/partition", "1"),
            ("nvme0n1p1/uevent", "DEVNAME=nvme0n1p1"),
        ];
        machine.add("pci0/nvme/nvme0/nvme0n1", 1_000_204_886_016, &files);
        let found = machine.look(&[]);
        assert!(found.reasons.is_empty(), "{found:?}");
        let names: Vec<_> = found.disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["Samsung SSD 980 PRO 1TB", "vda"]);
        let first = &found.disks[0];
        assert_eq!(first.node, Path::new("/dev/nvme0n1"));
        assert_eq!(size_text(first.size), "1 TB");
        assert_eq!(first.partitions, ["nvme0n1p1", "Basic data partition"]);
        assert!(found.disks[1].partitions.is_empty());
    }

    #[test]
    fn what_is_plugged_in_or_holds_the_release_is_never_offered() {
        let machine = Machine::new();
        machine.add("pci0/usb1/1-1/host0/block/sda", 100 * NEEDED, &[]);
        machine.add(
            "pci0/mmc_host/mmc0/mmcblk0",
            100 * NEEDED,
            &[("device/type", "SD")],
        );
        machine.add("pci0/ata1/block/sr0", NEEDED, &[("removable", "1")]);
        machine.add("pci0/ata2/block/sdb", 3 * NEEDED, &[("ro", "1")]);
        machine.add("pci0/ata3/block/sdc", 0, &[]);
        let stick = machine.add("pci0/virtio2/block/vdb", 9 * NEEDED, &[]);
        // Without hardware behind it.
        let mapped = machine.add("virtual/block/loop0", 9 * NEEDED, &[]);
        fs::remove_dir_all(mapped.join("device")).unwrap();
        assert_eq!(
            machine.look(std::slice::from_ref(&stick)),
            Candidates::default()
        );
        let soldered = [("device/type", "MMC"), ("device/name", "DG4064")];
        machine.add("pci0/mmc_host/mmc1/mmcblk1", 60 * NEEDED, &soldered);
        let found = machine.look(&[stick]);
        assert_eq!(found.disks.len(), 1);
        assert_eq!(found.disks[0].name, "DG4064");
    }

    #[test]
    fn what_is_no_use_is_told_with_the_reason() {
        let machine = Machine::new();
        machine.add("pci0/virtio1/block/vda", NEEDED - 1, &[]);
        let blocks = [("queue/logical_block_size", "4096")];
        machine.add("pci0/nvme/nvme0/nvme0n1", 4 * NEEDED, &blocks);
        let found = machine.look(&[]);
        assert!(found.disks.is_empty());
        assert!(found.reasons[0].starts_with("nvme0n1 counts in larger blocks"));
        assert!(
            found.reasons[1].starts_with("vda is too small: it has 1 GB"),
            "{found:?}"
        );
    }

    #[test]
    fn sizes_are_those_of_the_box() {
        for (bytes, text) in [
            (512_110_190_592, "512 GB"),
            (2_000_398_934_016, "2 TB"),
            (1_536_000_000_000, "1.5 TB"),
            (8_589_934_592, "8.5 GB"),
            (500_000_000, "500 MB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }
}
