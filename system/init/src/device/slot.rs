//! The disks of the two slots under names that do not depend on the disk or on the slot that runs.
//!
//! | node | what |
//! |---|---|
//! | `slots/root` | the root that runs, as the kernel verified it; read only |
//! | `slots/esp` | the boot partition of the slot that runs; read only |
//! | `slots/other-root` | the root partition of the other slot |
//! | `slots/other-esp` | its boot partition |
//!
//! Only partitions of the disk that the system was started from are meant: a stick may have partitions
//! of the same names. Neither the partition of the root that runs nor `/data` is among them, so that no mistake of
//! whoever is given these nodes can reach them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::uevent;
use crate::command_line::CommandLine;
use crate::slots::Slot;

/// The slot that runs; none where nothing says.
pub fn running() -> Option<Slot> {
    static RUNNING: OnceLock<Option<Slot>> = OnceLock::new();
    *RUNNING.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/cmdline").ok()?;
        Slot::parse(&CommandLine::parse(&text).ok()?.slot?)
    })
}

/// What a block device is called here, when `running` runs from the disk `system`, which is its folder
/// of `/sys/devices`; none for any other device.
pub fn name(device: &Path, running: Option<Slot>, system: Option<&Path>) -> Option<PathBuf> {
    let running = running?;
    if let Ok(mapped) = std::fs::read_to_string(device.join("dm/name")) {
        return (mapped.trim() == "root").then(|| "slots/root".into());
    }
    let text = std::fs::read_to_string(device.join("uevent")).ok()?;
    let values = uevent::parse_file(&text);
    let other = running.other();
    let place = std::fs::canonicalize(device).ok()?;
    if place.parent() != Some(system?) {
        return None;
    }
    let name = match values.get("PARTNAME")?.as_str() {
        name if name == format!("esp-{running}") => "slots/esp",
        name if name == format!("esp-{other}") => "slots/other-esp",
        name if name == format!("root-{other}") => "slots/other-root",
        _ => return None,
    };
    Some(name.into())
}

/// Whether what is called so may be written.
pub fn may_be_written(name: &Path) -> bool {
    name == Path::new("slots/other-root") || name == Path::new("slots/other-esp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_other_slot_of_the_own_disk_may_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = std::fs::canonicalize(folder.path()).unwrap();
        let (system, stick) = (folder.join("virtio1/vda"), folder.join("usb1/sda"));
        let device = |disk: &Path, partition: &str| {
            let device = disk.join(partition);
            std::fs::create_dir_all(&device).unwrap();
            std::fs::write(device.join("uevent"), format!("PARTNAME={partition}\n")).unwrap();
            device
        };
        let named = |partition: &str, running: Slot| {
            // A stick with partitions that are called as ours are is none of ours.
            let plugged = device(&stick, partition);
            assert_eq!(name(&plugged, Some(running), Some(&system)), None);
            let name = name(&device(&system, partition), Some(running), Some(&system))?;
            let writable = may_be_written(&name);
            Some((name.to_string_lossy().into_owned(), writable))
        };
        for (running, other) in [(Slot::A, Slot::B), (Slot::B, Slot::A)] {
            assert_eq!(named(&format!("root-{running}"), running), None);
            assert_eq!(named("data", running), None);
            let node = |name: &str, writable| Some((name.to_owned(), writable));
            assert_eq!(
                named(&format!("esp-{running}"), running),
                node("slots/esp", false)
            );
            assert_eq!(
                named(&format!("esp-{other}"), running),
                node("slots/other-esp", true)
            );
            assert_eq!(
                named(&format!("root-{other}"), running),
                node("slots/other-root", true)
            );
        }
        let root = device(&system, "root-b");
        assert_eq!(
            name(&root, None, Some(&system)),
            None,
            "nobody knows which slot runs"
        );
        assert_eq!(
            name(&root, Some(Slot::A), None),
            None,
            "nobody knows which disk runs"
        );
        let mapped = folder.join("dm-0");
        std::fs::create_dir_all(mapped.join("dm")).unwrap();
        std::fs::write(mapped.join("dm/name"), "root\n").unwrap();
        let found = name(&mapped, Some(Slot::A), Some(&system));
        assert_eq!(found, Some("slots/root".into()));
    }
}
