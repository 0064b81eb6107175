//! The security version: which releases a device no longer starts, though they are signed.
//!
//! What was signed once stays signed, also a release with a hole that later ones have closed. So each release has a
//! number, `hyper.security-version` on the command line of its boot file, which the maker raises when a
//! release closes such a hole. Once a release is what the firmware starts by default, the firmware's variable
//! `SecurityVersion` is raised to its number. Process 1 of a release with a lesser one does not go to its root,
//! and the firmware starts what else there is.
//!
//! Only the holder of the key of the boot files can change the variable: a release brings its new value, signed
//! (`/system/security-version`), and the firmware takes no value that is signed otherwise, or was signed
//! earlier than the one it has. All of this is for firmware with secure boot, which starts nothing else than such
//! boot files; elsewhere, who has the device in hand starts what they like.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::variables::{self, Variables};
use crate::fatal;

/// What the variable is called, and whose it is: ours, as `xtask/src/image/security_version.rs` signs it.
const NAME: &str = "SecurityVersion";
const VENDOR: &str = "9d363b29-1ee2-4649-a862-1bcd419ad09e";

/// The signed value that a release brings, in the folder of its system; none where it is not signed.
pub const FILE: &str = "security-version";

/// Whether a release with the security version `ours` may be started on this device. It is asked in the
/// initramfs, and only where the boot file has a security version: to ask the firmware takes time.
///
/// # Errors
/// When a later release was kept before, which has raised the security version.
pub fn check(ours: Option<u32>) -> Result<()> {
    let Some(ours) = ours else { return Ok(()) };
    if !Path::new("/sys/firmware/efi").is_dir() {
        return Ok(());
    }
    let variables = match variables::mounted() {
        Ok(variables) => variables,
        Err(error) => {
            // A device that cannot be asked is one that could not have been told.
            fatal::say(format_args!("asking for the security version: {error:#}"));
            return Ok(());
        }
    };
    is_allowed(variables.folder(), ours)
}

fn is_allowed(folder: &Path, ours: u32) -> Result<()> {
    if !Variables::new(folder).secure_boot() {
        return Ok(());
    }
    let least = least(folder)?;
    ensure!(
        ours >= least,
        "the security version of this release is {ours}, and this device starts none below {least}"
    );
    Ok(())
}

/// The least security version that the device starts.
fn least(folder: &Path) -> Result<u32> {
    let value = Variables::of_vendor(folder, VENDOR).read(NAME)?;
    let Some(value) = value else { return Ok(0) };
    let value = value
        .try_into()
        .ok()
        .context("the firmware's security version is no number of four bytes")?;
    Ok(u32::from_le_bytes(value))
}

/// Raises the security version of the device to that of the release that runs from the folder `system`,
/// if that is more. Whether it was.
///
/// # Errors
/// When the release brings no signed value, or the firmware refuses it.
pub fn raise(folder: &Path, system: &Path, ours: u32) -> Result<bool> {
    if !Variables::new(folder).secure_boot() || least(folder)? >= ours {
        return Ok(false);
    }
    let path = system.join(FILE);
    let signed = match std::fs::read(&path) {
        // Signed boot files have the number, and the root beside them the value.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        read => read.with_context(|| format!("reading {}", path.display()))?,
    };
    Variables::of_vendor(folder, VENDOR).write_signed(NAME, &signed)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of variables with secure boot on or off, and this security version.
    fn firmware(secure: bool, least: Option<u32>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let all = Variables::new(folder.path());
        all.write("SecureBoot", &[u8::from(secure)]).unwrap();
        if let Some(least) = least {
            let own = Variables::of_vendor(folder.path(), VENDOR);
            own.write(NAME, &least.to_le_bytes()).unwrap();
        }
        folder
    }

    #[test]
    fn what_is_older_than_what_was_kept_is_refused_under_secure_boot() {
        let folder = firmware(true, Some(3));
        let error = is_allowed(folder.path(), 2).unwrap_err().to_string();
        assert!(error.contains("none below 3"), "{error}");
        is_allowed(folder.path(), 3).unwrap();
        is_allowed(folder.path(), 4).unwrap();
        is_allowed(firmware(true, None).path(), 0).unwrap();
        is_allowed(firmware(false, Some(3)).path(), 2).unwrap();
    }

    #[test]
    fn a_value_that_is_no_number_lets_nothing_start() {
        let folder = firmware(true, None);
        Variables::of_vendor(folder.path(), VENDOR)
            .write(NAME, &[1, 0])
            .unwrap();
        is_allowed(folder.path(), 9).unwrap_err();
    }

    #[test]
    fn it_is_raised_and_never_lowered() {
        let system = tempfile::tempdir().unwrap();
        let folder = firmware(true, Some(3));
        assert!(!raise(folder.path(), system.path(), 4).unwrap(), "unsigned");
        // The firmware would take the signature off.
        let signed = [&[0x27, 0, 0, 0][..], &4_u32.to_le_bytes()].concat();
        std::fs::write(system.path().join(FILE), signed).unwrap();
        assert!(!raise(folder.path(), system.path(), 3).unwrap());
        assert!(raise(folder.path(), system.path(), 4).unwrap());
        assert_eq!(least(folder.path()).unwrap(), 4);
        assert!(!raise(folder.path(), system.path(), 4).unwrap());
        assert!(!raise(firmware(false, None).path(), system.path(), 4).unwrap());
    }
}
