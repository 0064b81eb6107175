//! The security version of a release that is signed for secure boot: its number, and the firmware's word for it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::boot::Signer;
use crate::process;

/// The security version of this tree. Who closes a hole through which somebody with an older release, signed as it is,
/// could get at what is on a device, raises it: devices that have kept a release with the new number start none
/// with the old one.
pub const CURRENT: u32 = 1;

/// The firmware's variable, and whose it is: `init` looks for it under the same
/// (`system/init/src/slots/security_version.rs`).
const NAME: &str = "SecurityVersion";
const VENDOR: &str = "9d363b29-1ee2-4649-a862-1bcd419ad09e";

/// Where the signed value stands in the root.
const FILE: &str = "system/security-version";

/// What the command line of a signed boot file says of it.
pub fn argument(version: u32) -> String {
    format!("hyper.security-version={version}")
}

/// Puts the value into a staged root, signed so that the firmware takes it from whoever brings it.
///
/// The signature says when it was made, and firmware takes none that was made before the one that it has.
///
/// # Errors
///
/// Fails when sbvarsign does.
pub fn write(version: u32, signer: &Signer, stage: &Path) -> Result<()> {
    let subject = process::output(
        process::tool("openssl")
            .args(["x509", "-noout", "-subject", "-nameopt", "multiline", "-in"])
            .arg(&signer.certificate),
    )
    .context("reading the certificate of the boot key")?;
    ensure!(
        subject.contains("commonName"),
        "{} names nobody: firmware keeps variables for a certificate with a common name (CN) only",
        signer.certificate.display()
    );
    let to = stage.join(FILE);
    let value = to.with_extension("value");
    fs::write(&value, version.to_le_bytes())
        .with_context(|| format!("writing {}", value.display()))?;
    process::run(
        process::tool("sbvarsign")
            .arg("--key")
            .arg(&signer.key)
            .arg("--cert")
            .arg(&signer.certificate)
            .args(["--guid", VENDOR, "--include-attrs", "--attr"])
            .arg("NON_VOLATILE,BOOTSERVICE_ACCESS,RUNTIME_ACCESS,TIME_BASED_AUTHENTICATED_WRITE_ACCESS")
            .arg("--output")
            .arg(&to)
            .arg(NAME)
            .arg(&value),
    )
    .context("signing the security version (sbvarsign is of the Debian package sbsigntool)")?;
    fs::remove_file(&value).with_context(|| format!("removing {}", value.display()))
}
