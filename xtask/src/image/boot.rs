//! The file that the firmware starts: kernel, initramfs and command line in one.
//!
//! It is a PE program of systemd-boot's stub with three sections more. What is signed is
//! this one file, so nothing that decides how the system starts can be changed on its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Debian's systemd-boot-efi.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// Sections begin at multiples of a page.
const ALIGNMENT: u64 = 4096;

/// Makes the file.
///
/// # Errors
///
/// Fails when objcopy does, or the stub is not what was expected.
pub fn write(
    kernel: &Path,
    initramfs: &Path,
    command_line: &Path,
    release: &Path,
    to: &Path,
) -> Result<()> {
    let mut address = end_of_sections(&process::output(
        process::tool("objdump").args(["--section-headers", STUB]),
    )?)?;
    let mut command = process::tool("objcopy");
    for (section, file) in [
        (".osrel", release),
        (".cmdline", command_line),
        (".linux", kernel),
        (".initrd", initramfs),
    ] {
        let size = file
            .metadata()
            .with_context(|| format!("looking at {}", file.display()))?
            .len();
        command
            .arg("--add-section")
            .arg(format!("{section}={}", file.display()))
            .arg("--change-section-vma")
            .arg(format!("{section}={address:#x}"));
        address = (address + size).next_multiple_of(ALIGNMENT);
    }
    process::run(command.arg(STUB).arg(to)).context("making the file that the firmware starts")?;
    let mut program = fs::read(to).with_context(|| format!("reading {}", to.display()))?;
    forget_build_time(&mut program)?;
    fs::write(to, program).with_context(|| format!("writing {}", to.display()))
}

/// What the boot file is signed with for secure boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The private key, as PEM.
    pub key: PathBuf,
    /// The certificate with its public half, as PEM: what firmware is to be given.
    pub certificate: PathBuf,
}

/// Signs the file.
///
/// # Errors
///
/// Fails when sbsign does.
pub fn sign(file: &Path, signer: &Signer) -> Result<()> {
    let unsigned = file.with_extension("unsigned");
    fs::rename(file, &unsigned).with_context(|| format!("renaming {}", file.display()))?;
    process::run(
        process::tool("sbsign")
            .arg("--key")
            .arg(&signer.key)
            .arg("--cert")
            .arg(&signer.certificate)
            .arg("--output")
            .arg(file)
            .arg(&unsigned),
    )
    .context("signing the boot file (sbsign is of the Debian package sbsigntool)")?;
    fs::remove_file(&unsigned).with_context(|| format!("removing {}", unsigned.display()))
}

/// Takes out the time of the build, which objcopy writes, and the checksum over it, which UEFI
/// does not look at.
fn forget_build_time(program: &mut [u8]) -> Result<()> {
    let header = program
        .get(0x3c..0x40)
        .and_then(|bytes| bytes.try_into().ok())
        .map(|bytes| u32::from_le_bytes(bytes) as usize)
        .filter(|&header| program.get(header..header + 4) == Some(b"PE\0\0"))
        .context("objcopy did not make a PE program")?;
    for field in [header + 8, header + 88] {
        program
            .get_mut(field..field + 4)
            .context("the PE program ends within its header")?
            .fill(0);
    }
    Ok(())
}

/// The first free page after the sections that objdump lists.
fn end_of_sections(headers: &str) -> Result<u64> {
    let mut end = 0;
    for line in headers.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [index, _name, size, address, ..] = fields[..]
            && index.parse::<u32>().is_ok()
            && let (Ok(size), Ok(address)) = (
                u64::from_str_radix(size, 16),
                u64::from_str_radix(address, 16),
            )
        {
            end = end.max(address + size);
        }
    }
    if end == 0 {
        bail!("objdump listed no sections of {STUB}");
    }
    Ok(end.next_multiple_of(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_build_is_taken_out() {
        let mut program = vec![7; 256];
        program[0x3c..0x40].copy_from_slice(&64_u32.to_le_bytes());
        program[64..68].copy_from_slice(b"PE\0\0");
        forget_build_time(&mut program).unwrap();
        assert_eq!(program[72..76], [0; 4], "the time");
        assert_eq!(program[152..156], [0; 4], "the checksum");
        assert_eq!(
            program.iter().filter(|&&byte| byte == 7).count(),
            256 - 4 - 4 - 4 - 4
        );
        forget_build_time(&mut [0; 80]).unwrap_err();
    }

    #[test]
    fn sections_are_added_after_the_last_one() {
        let headers = "Sections:\nIdx Name Size VMA LMA File off Algn\n\
            0 .text         0000bff0  0000000000004000  0000000000004000  00000400  2**4\n\
                            CONTENTS, ALLOC, LOAD, READONLY, CODE\n\
            7 .sdmagic      00000034  0000000000019100  0000000000019100  00011200  2**2\n";
        assert_eq!(end_of_sections(headers).unwrap(), 0x1a000);
        assert!(end_of_sections("").is_err());
    }
}
