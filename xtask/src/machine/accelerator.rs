//! Whether the processor's own virtualisation can be used.
//!
//! `/dev/kvm` that opens and answers proves nothing: on some hosts a guest then hangs. So the
//! answer is found by starting one: sixteen bytes that tell QEMU to end.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// How a machine's processors are emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor itself.
    Kvm,
    /// By translation.
    Tcg,
}

/// What the probe writes to the exit port.
const WORD: u8 = 0x10;

/// What QEMU then ends with.
const EXIT_CODE: i32 = (WORD as i32) << 1 | 1;

/// How long the probe may take. It needs a fraction of it where KVM works.
const LIMIT: Duration = Duration::from_secs(2);

impl Accelerator {
    /// The best that works here.
    ///
    /// # Errors
    ///
    /// Fails when QEMU cannot be started.
    pub fn probe() -> Result<Self> {
        let usable = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
        Ok(if usable && kvm_boots()? {
            Self::Kvm
        } else {
            Self::Tcg
        })
    }

    /// Its arguments for QEMU.
    #[must_use]
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => &["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"],
        }
    }
}

/// Whether a boot sector runs under KVM.
fn kvm_boots() -> Result<bool> {
    let mut sector = [0_u8; 512];
    // mov dx, 0xf4 · mov al, WORD · out dx, al · hlt · jmp back to hlt
    sector[..9].copy_from_slice(&[0xba, 0xf4, 0x00, 0xb0, WORD, 0xee, 0xf4, 0xeb, 0xfd]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let disk = tempfile::NamedTempFile::new().context("making a temporary file")?;
    fs::write(disk.path(), sector)?;
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "16",
            "-display",
            "none",
            "-nodefaults",
            "-no-reboot",
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .arg("-drive")
        .arg(format!("file={},format=raw", disk.path().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting QEMU")?;
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Some(status) = qemu.try_wait()? {
            return Ok(status.code() == Some(EXIT_CODE));
        }
        thread::sleep(Duration::from_millis(20));
    }
    qemu.kill().context("ending QEMU")?;
    qemu.wait()?;
    Ok(false)
}
