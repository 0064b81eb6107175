//! The firmware's variables, through the kernel's efivarfs.
//!
//! A variable is a file: four bytes of attributes, then its value. It is read with one read and
//! written with one write, which the firmware carries out as a whole or not at all.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::IFlags;
use rustix::mount::MountFlags;

use crate::boot::mount::{KERNEL_FILES, mount_kernel};

/// Where efivarfs is mounted.
pub const FOLDER: &str = "/sys/firmware/efi/efivars";

/// `EFI_GLOBAL_VARIABLE`, in which the specification keeps what decides a start.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Kept without power, and seen both by the firmware's own programs and by the system.
const ATTRIBUTES: u32 = 1 | 2 | 4;

/// The variables of one vendor: those of the specification, or another's.
#[derive(Clone, Debug)]
pub struct Variables {
    folder: PathBuf,
    vendor: &'static str,
}

/// The global variables of the firmware, mounted at [`FOLDER`] if they are not yet: that asks the firmware for the names
/// of all, and takes time.
///
/// # Errors
/// When the kernel has none: the firmware is no UEFI, or did not start this system.
pub fn mounted() -> Result<Variables> {
    let flags = KERNEL_FILES | MountFlags::NODEV;
    mount_kernel(FOLDER, "efivarfs", flags, "").context("mounting the firmware's variables")?;
    Ok(Variables::new(Path::new(FOLDER)))
}

impl Variables {
    /// The global ones of the firmware, or of a folder that looks like them.
    pub fn new(folder: &Path) -> Self {
        Self::of_vendor(folder, GLOBAL)
    }

    /// Those of another vendor, by its GUID in small letters.
    pub fn of_vendor(folder: &Path, vendor: &'static str) -> Self {
        Self {
            folder: folder.to_owned(),
            vendor,
        }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-{}", self.vendor))
    }

    /// A variable's value; none when there is no such variable.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match std::fs::read(self.path(name)) {
            Ok(bytes) => match bytes.get(4..) {
                Some(value) => Ok(Some(value.to_vec())),
                None => bail!("the firmware's variable {name} has no value"),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading the firmware's {name}")),
        }
    }

    /// Whether the firmware starts only what is signed. Where it does not say, it does not.
    pub fn secure_boot(&self) -> bool {
        matches!(self.read("SecureBoot"), Ok(Some(value)) if value == [1])
    }

    /// Gives a variable a value. Where it has that value already nothing is written: the memory
    /// of some firmware wears out.
    ///
    /// # Errors
    /// When the firmware refuses.
    pub fn write(&self, name: &str, value: &[u8]) -> Result<()> {
        if self.read(name)?.as_deref() == Some(value) {
            return Ok(());
        }
        let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
        bytes.extend_from_slice(value);
        self.write_file(name, &bytes)
    }

    /// Gives a variable a value that somebody has signed for the firmware, with attributes and signature
    /// before it, as `sbvarsign --include-attrs` writes it.
    ///
    /// # Errors
    /// When the firmware refuses.
    pub fn write_signed(&self, name: &str, signed: &[u8]) -> Result<()> {
        // The kernel keeps variables that it does not know from being changed by mistake.
        if let Ok(file) = std::fs::File::open(self.path(name))
            && let Ok(flags) = rustix::fs::ioctl_getflags(&file)
        {
            rustix::fs::ioctl_setflags(&file, flags - IFlags::IMMUTABLE)
                .with_context(|| format!("making the firmware's {name} one that can be written"))?;
        }
        self.write_file(name, signed)
    }

    /// One write, which the firmware carries out as a whole or not at all.
    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path(name))
            .and_then(|mut file| file.write_all(bytes))
            .with_context(|| format!("writing the firmware's {name}"))
    }

    /// Takes a variable away.
    ///
    /// # Errors
    /// When the firmware refuses.
    pub fn remove(&self, name: &str) -> Result<()> {
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing the firmware's {name}"))
            }
            _ => Ok(()),
        }
    }

    /// The numbers of every `Boot####`, in rising order.
    ///
    /// # Errors
    /// When the variables cannot be listed.
    pub fn boot_numbers(&self) -> Result<Vec<u16>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder)
            .with_context(|| format!("listing {}", self.folder.display()))?
        {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let digits = name
                .strip_suffix(GLOBAL)
                .and_then(|name| name.strip_suffix('-')?.strip_prefix("Boot"));
            if let Some(digits) = digits
                && digits.len() == 4
                && let Ok(number) = u16::from_str_radix(digits, 16)
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// What the variable of a boot entry is called.
pub fn boot_name(number: u16) -> String {
    format!("Boot{number:04X}")
}

/// A list of entries, as `BootOrder` and `BootNext` have it.
pub fn numbers(value: &[u8]) -> Vec<u16> {
    value
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

/// The value of such a list.
pub fn value(numbers: &[u16]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_attributes_and_value() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::new(folder.path());
        assert_eq!(variables.read("BootNext").unwrap(), None);
        variables.write("BootNext", &value(&[3])).unwrap();
        let file = folder.path().join(format!("BootNext-{GLOBAL}"));
        assert_eq!(std::fs::read(&file).unwrap(), [7, 0, 0, 0, 3, 0]);
        assert_eq!(numbers(&variables.read("BootNext").unwrap().unwrap()), [3]);
        variables.remove("BootNext").unwrap();
        variables.remove("BootNext").unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn boot_entries_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::new(folder.path());
        for name in ["Boot00A1", "Boot0002", "BootOrder", "BootXYZW", "Timeout"] {
            variables.write(name, &[0]).unwrap();
        }
        assert_eq!(variables.boot_numbers().unwrap(), [2, 0xa1]);
    }
}
