//! Finding a partition by its name in the partition table.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::uevent::{self, Received, UeventSocket};

/// Finds the node of the partition called `name`, waiting for its disk to appear.
///
/// # Errors
/// When there is no such partition by `deadline`; the error lists those that there are.
pub fn find(name: &str, events: &UeventSocket, deadline: Instant) -> Result<PathBuf> {
    let mut look = true;
    loop {
        if look
            && let Some(node) = present(Path::new("/sys/class/block"))?
                .into_iter()
                .find_map(|(partition, node)| (partition == name).then_some(node))
        {
            return Ok(node);
        }
        look = false;
        while let Some(received) = events.receive()? {
            match received {
                Received::Event(event) if event.get("PARTNAME") == Some(name) => {
                    if event.action != "remove"
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
            let names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
            match names.as_slice() {
                [] => bail!("no disk with named partitions appeared while waiting for `{name}`"),
                _ => bail!(
                    "no partition is called `{name}`; there are {}",
                    names.join(", ")
                ),
            }
        }
    }
}

/// The named partitions that there are, with their nodes, in the order of names.
fn present(class: &Path) -> Result<Vec<(String, PathBuf)>> {
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
            partitions.push((name.clone(), Path::new("/dev").join(node)));
        }
    }
    partitions.sort();
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_listed_by_name() {
        let class = tempfile::tempdir().unwrap();
        for (disk, text) in [
            ("vda", "MAJOR=254\nDEVNAME=vda\nDEVTYPE=disk\n"),
            ("vda2", "DEVNAME=vda2\nDEVTYPE=partition\nPARTNAME=root-a\n"),
            ("vda1", "DEVNAME=vda1\nDEVTYPE=partition\nPARTNAME=esp-a\n"),
        ] {
            std::fs::create_dir(class.path().join(disk)).unwrap();
            std::fs::write(class.path().join(disk).join("uevent"), text).unwrap();
        }
        assert_eq!(
            present(class.path()).unwrap(),
            [
                ("esp-a".to_owned(), PathBuf::from("/dev/vda1")),
                ("root-a".to_owned(), PathBuf::from("/dev/vda2")),
            ]
        );
    }
}
