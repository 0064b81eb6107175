//! The second stage, on the root: mount what every program expects.

use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::mount::MountFlags;

use super::mount::{KERNEL_FILES, mount_basics, mount_kernel};

/// Mounts everything but `/data`, names the device and brings up its loopback link.
///
/// # Errors
/// When the kernel refuses a file system without which no service can run.
pub fn prepare(host_name: &str) -> Result<()> {
    // In the initramfs this was done already; a root that is started directly begins here.
    mount_basics()?;
    mount_kernel(
        "/sys/fs/cgroup",
        "cgroup2",
        KERNEL_FILES,
        "nsdelegate,memory_recursiveprot",
    )?;
    mount_kernel(
        "/run",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        "mode=0755,size=20%",
    )?;
    mount_kernel(
        "/tmp",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        "mode=1777,size=20%",
    )?;
    let pts = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_kernel("/dev/pts", "devpts", pts, "mode=0620,ptmxmode=0666")?;
    // Nothing that a service mounts may show elsewhere, and the other way round.
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .context("making the mounts private")?;
    rustix::system::sethostname(host_name.as_bytes())
        .with_context(|| format!("naming the device `{host_name}`"))?;
    loopback_up().context("bringing up the loopback link")?;
    quiet_console();
    hear_refusals();
    Ok(())
}

/// Brings up `lo` of the network namespace that this process is in.
///
/// # Errors
/// When the kernel has no network or refuses.
pub fn loopback_up() -> Result<()> {
    use std::os::fd::AsRawFd;
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: an all-zero `ifreq` is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which is what is passed.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as libc::Ioctl,
            &request,
        )
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

/// Keeps the kernel's messages off the screen: they are in the log, as service `kernel`.
fn quiet_console() {
    let _ = std::fs::write("/proc/sys/kernel/printk", "1 4 1 4");
}

/// The kernel notes each system call that a sandbox refuses, but no more than ten in five seconds,
/// and a program that tries many would hide the rest. A bound remains, so that one that tries
/// without end does not drown what others say.
fn hear_refusals() {
    let _ = std::fs::write("/proc/sys/kernel/printk_ratelimit_burst", "1000");
}

/// A name for the host out of the product's file: its `name`.
pub fn host_name(system: &Path) -> String {
    let name = std::fs::read_to_string(system.join("product.toml"))
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok())
        .and_then(|product| product.get("name")?.as_str().map(str::to_owned));
    match name {
        Some(name) if is_host_name(&name) => name,
        _ => "hyperos".to_owned(),
    }
}

fn is_host_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
}
