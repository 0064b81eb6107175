//! Which disk is this device's, and which of its slots is written.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use init::device::uevent::UeventSocket;
use init::device::{partition, stick};
use init::slots::firmware::Firmware;
use init::slots::{self, Slot};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use update::install::Disks;

/// What the image of this recovery says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct About {
    /// The release that this recovery came with.
    pub version: release::Version,
    /// The edition of the device.
    pub edition: String,
    /// Whether it was built for development.
    #[serde(default)]
    pub development: bool,
    /// When, in seconds since 1970.
    pub built: u64,
}

/// What the product's file says, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct Product {
    /// Such as `qemu-phone`.
    pub name: String,
    /// Such as `Phone in QEMU`.
    pub model: String,
}

/// What the edition's file says, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct Edition {
    /// Tags of languages; the first is the default.
    pub languages: Vec<String>,
}

/// Reads a file of the system.
///
/// # Errors
/// When it is missing or says something else.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("reading {}", file.display()))
}

/// The disk of this device, as its folder of `/sys/devices`; none where no disk is one of this system.
///
/// # Errors
/// When nobody can say which it is.
pub fn own_disk() -> Result<Option<PathBuf>> {
    let disks = partition::disks_with(&partitions::NAMES)?;
    Ok(choose(&disks)?.map(Path::to_owned))
}

/// The disk of this device, where there has to be one.
///
/// # Errors
/// When there is none, or nobody can say which it is.
pub fn must_own_disk() -> Result<PathBuf> {
    own_disk()?.with_context(|| {
        format!(
            "no disk of this device has the partitions {}: its storage is damaged or missing",
            partitions::NAMES.join(", ")
        )
    })
}

/// The one that is built in, of the disks that look like a device's.
fn choose(disks: &[PathBuf]) -> Result<Option<&Path>> {
    let mut built_in = disks.iter().filter(|disk| !stick::is_on_usb(disk));
    match (built_in.next(), built_in.next(), disks) {
        (Some(one), None, _) | (None, _, [one]) => Ok(Some(one)),
        (None, _, []) => Ok(None),
        _ => bail!(
            "more than one disk looks like this device's, so none is written: take out what does not belong to it"
        ),
    }
}

/// The slot that is written: not the one whose boot partition has the recovery that runs, and where
/// nobody knows which that is, not the one that the firmware starts first.
#[must_use]
pub fn slot_to_write(recovery_of: Option<Slot>, first: Option<Slot>) -> Slot {
    recovery_of.or(first).unwrap_or(Slot::B).other()
}

/// What is written, and how the firmware is told of it.
#[derive(Debug)]
pub struct Target {
    /// Into which slot.
    pub slot: Slot,
    /// Its partitions.
    pub disks: Disks,
    /// The firmware, which starts it.
    pub firmware: Firmware,
}

impl Target {
    /// Where a release goes on this device; the boot file is put together in `folder`.
    ///
    /// # Errors
    /// When the disk or the firmware cannot be asked.
    pub fn find(folder: &Path) -> Result<Self> {
        let disk = must_own_disk()?;
        let firmware = slots::firmware_of(&disk)?;
        let slot = slot_to_write(firmware.recovery_that_runs()?, firmware.first()?);
        let events = UeventSocket::open()?;
        let node = |name: &str| {
            partition::find(
                &format!("{name}-{slot}"),
                Some(&disk),
                &events,
                Instant::now(),
            )
        };
        let disks = Disks {
            // Nothing runs whose chunks could be used; what is in its place already is left there.
            root: "/dev/null".into(),
            esp: "/dev/null".into(),
            other_root: node("root")?,
            other_esp: node("esp")?,
            boot_file: folder.join("boot-file"),
        };
        Ok(Self {
            slot,
            disks,
            firmware,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn disk(usb: bool, number: usize) -> PathBuf {
        let bus = if usb { "usb1/1-1" } else { "0000:00:03.0" };
        format!("/sys/devices/pci0/{bus}/block/disk{number}").into()
    }

    proptest! {
        /// Of disks that look alike, what is plugged in is never written while one is built in, and
        /// nothing is guessed.
        #[test]
        fn only_what_is_certain_is_written(plugged in proptest::collection::vec(any::<bool>(), 0..4)) {
            let disks: Vec<_> = plugged.iter().enumerate().map(|(n, &usb)| disk(usb, n)).collect();
            let built_in = plugged.iter().filter(|&&usb| !usb).count();
            match choose(&disks) {
                Ok(None) => prop_assert!(disks.is_empty()),
                Ok(Some(chosen)) => {
                    prop_assert!(built_in == 1 || (built_in == 0 && disks.len() == 1));
                    prop_assert_eq!(stick::is_on_usb(chosen), built_in == 0);
                }
                Err(error) => {
                    prop_assert!(built_in > 1 || (built_in == 0 && disks.len() > 1), "{}", error);
                }
            }
        }
    }

    #[test]
    fn the_recovery_that_runs_stays() {
        for slot in [Slot::A, Slot::B] {
            for first in [None, Some(Slot::A), Some(Slot::B)] {
                assert_eq!(slot_to_write(Some(slot), first), slot.other());
            }
            assert_eq!(slot_to_write(None, Some(slot)), slot.other());
        }
        assert_eq!(slot_to_write(None, None), Slot::A);
    }
}
