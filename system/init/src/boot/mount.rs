//! Mounting, with errors that say what was to be mounted where.

use std::ffi::CString;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::mount::MountFlags;

/// What only the kernel fills: no set-user-id programs, no device nodes, no programs.
pub const KERNEL_FILES: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Mounts a file system.
///
/// # Errors
/// When the kernel refuses; the error names the file system and the folder.
pub fn mount(
    source: &Path,
    target: &Path,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> Result<()> {
    let options = CString::new(options).context("mount options cannot contain NUL")?;
    rustix::mount::mount(source, target, kind, flags, options.as_c_str()).with_context(|| {
        format!(
            "mounting {} ({kind}) at {}",
            source.display(),
            target.display()
        )
    })
}

/// Mounts a file system of the kernel's own, making its folder when it is missing. It is no error
/// when it is there already, as devtmpfs may be.
///
/// # Errors
/// When the folder cannot be made or the kernel refuses.
pub fn mount_kernel(target: &str, kind: &str, flags: MountFlags, options: &str) -> Result<()> {
    let target = Path::new(target);
    if !target.is_dir() {
        std::fs::create_dir_all(target)
            .with_context(|| format!("making the folder {}", target.display()))?;
    }
    match mount(Path::new(kind), target, kind, flags, options) {
        Err(error) if error.downcast_ref() == Some(&rustix::io::Errno::BUSY) => Ok(()),
        result => result,
    }
}

/// Mounts `/proc`, `/sys` and `/dev`, without which nothing else can be found.
///
/// # Errors
/// When the kernel refuses one.
pub fn mount_basics() -> Result<()> {
    mount_kernel("/proc", "proc", KERNEL_FILES, "")?;
    mount_kernel("/sys", "sysfs", KERNEL_FILES, "")?;
    mount_kernel(
        "/dev",
        "devtmpfs",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        "mode=0755",
    )
}
