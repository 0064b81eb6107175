//! What the manifests give and keep, and the ways around that.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::net::{AddressFamily, Protocol, SocketType, netlink};

use super::Attempt;

/// The folders, sockets and device nodes of all services.
pub(super) fn listed(
    folders: &[PathBuf],
    sockets: &[PathBuf],
    devices: &[PathBuf],
) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for folder in folders {
        let name = folder.display();
        let listed = fs::read_dir(folder).map(drop);
        attempts.push(Attempt::new(format!("list {name}"), listed));
        attempts.push(Attempt::new(format!("write in {name}"), write_in(folder)));
    }
    for socket in sockets {
        let connected = UnixStream::connect(socket).map(drop);
        attempts.push(Attempt::new(
            format!("connect {}", socket.display()),
            connected,
        ));
    }
    for device in devices {
        attempts.push(Attempt::new(
            format!("open {}", device.display()),
            open(device),
        ));
    }
    attempts
}

fn write_in(folder: &Path) -> io::Result<()> {
    let file = folder.join(".attempt");
    fs::write(&file, "attempt")?;
    fs::remove_file(file)
}

/// Opens for reading or, where that is refused, for writing. A device that is there but is busy or
/// was taken away was allowed to be opened.
fn open(path: &Path) -> io::Result<()> {
    let result = File::open(path).or_else(|_| File::options().write(true).open(path));
    match result {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EBUSY | libc::ENODEV | libc::ENXIO)
            ) =>
        {
            Ok(())
        }
        result => result.map(drop),
    }
}

fn socket(
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> io::Result<rustix::fd::OwnedFd> {
    Ok(rustix::net::socket(family, kind, protocol)?)
}

/// Sockets, by family and kind; ports and links, where there is a socket.
pub(super) fn network() -> Vec<Attempt> {
    const BLUETOOTH: u16 = 31;
    const CIPHERS: u16 = 38;
    let icmp = Some(rustix::net::ipproto::ICMP);
    let kinds = [
        ("TCP", AddressFamily::INET, SocketType::STREAM, None),
        ("UDP", AddressFamily::INET, SocketType::DGRAM, None),
        (
            "TCP over IPv6",
            AddressFamily::INET6,
            SocketType::STREAM,
            None,
        ),
        ("raw IPv4", AddressFamily::INET, SocketType::RAW, icmp),
        ("raw packets", AddressFamily::PACKET, SocketType::RAW, None),
        ("links", AddressFamily::NETLINK, SocketType::RAW, None),
        (
            "kernel events",
            AddressFamily::NETLINK,
            SocketType::RAW,
            Some(netlink::KOBJECT_UEVENT),
        ),
        (
            "audit",
            AddressFamily::NETLINK,
            SocketType::RAW,
            Some(netlink::AUDIT),
        ),
        (
            "firewall",
            AddressFamily::NETLINK,
            SocketType::RAW,
            Some(netlink::NETFILTER),
        ),
        (
            "the kernel's ciphers",
            AddressFamily::from_raw(CIPHERS),
            SocketType::SEQPACKET,
            None,
        ),
        (
            "virtual machines",
            AddressFamily::VSOCK,
            SocketType::STREAM,
            None,
        ),
        (
            "Bluetooth",
            AddressFamily::from_raw(BLUETOOTH),
            SocketType::RAW,
            None,
        ),
    ];
    let mut attempts: Vec<_> = kinds
        .into_iter()
        .map(|(name, family, kind, protocol)| {
            Attempt::new(
                format!("socket for {name}"),
                socket(family, kind, protocol).map(drop),
            )
        })
        .collect();
    let udp = || socket(AddressFamily::INET, SocketType::DGRAM, None);
    let bound = udp().and_then(|socket| {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        Ok(rustix::net::bind(&socket, &address)?)
    });
    attempts.push(Attempt::new("bind a port of the system", bound));
    attempts.push(Attempt::new(
        "change a link",
        udp().and_then(|socket| set_same_flags(&socket)),
    ));
    attempts
}

/// Gives the loopback link the flags that it has, which changes nothing and takes the same power.
fn set_same_flags(socket: &rustix::fd::OwnedFd) -> io::Result<()> {
    // SAFETY: an all-zero `ifreq` is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    for call in [libc::SIOCGIFFLAGS, libc::SIOCSIFFLAGS] {
        // SAFETY: both read or write one `ifreq`, which is what is passed.
        let result =
            unsafe { libc::ioctl(socket.as_raw_fd(), call as libc::Ioctl, &raw mut request) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The power that this process has: its user, its capabilities, and whether it could gain more.
pub(super) fn power() -> Vec<Attempt> {
    let known = [
        (
            "net-bind-service",
            rustix::thread::CapabilitySet::NET_BIND_SERVICE,
        ),
        ("net-admin", rustix::thread::CapabilitySet::NET_ADMIN),
        ("net-raw", rustix::thread::CapabilitySet::NET_RAW),
        ("sys-nice", rustix::thread::CapabilitySet::SYS_NICE),
        ("sys-time", rustix::thread::CapabilitySet::SYS_TIME),
    ];
    let mut attempts = Vec::new();
    match rustix::thread::capabilities(None) {
        Ok(sets) => {
            let mut held = sets.effective | sets.permitted | sets.inheritable;
            // What could be gained by a program counts as held.
            for one in rustix::thread::CapabilitySet::all().iter() {
                if rustix::thread::capability_is_in_bounding_set(one) == Ok(true) {
                    held |= one;
                }
            }
            for (name, capability) in known {
                attempts.push(holds(format!("hold {name}"), held.contains(capability)));
                held -= capability;
            }
            attempts.push(holds("hold any other capability".into(), !held.is_empty()));
        }
        Err(error) => attempts.push(Attempt {
            allowed: true,
            what: "hold any other capability".into(),
            answer: format!("not known: {error}"),
        }),
    }
    let root = rustix::process::getuid().is_root() || rustix::process::getgid().is_root();
    attempts.push(holds("be root".into(), root));
    let open = rustix::thread::no_new_privs() != Ok(true);
    attempts.push(holds("gain power by a program".into(), open));
    attempts
}

fn holds(what: String, allowed: bool) -> Attempt {
    Attempt {
        allowed,
        what,
        answer: if allowed { "held" } else { "not held" }.into(),
    }
}

/// Files of the system, of the kernel, of other processes; programs of one's own.
pub(super) fn escapes() -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for folder in ["/", "/system", "/data", "/run", "/run/bus", "/dev", "/proc"] {
        attempts.push(Attempt::new(
            format!("write in {folder}"),
            write_in(Path::new(folder)),
        ));
    }
    for folder in [
        "/data",
        "/run",
        "/run/bus",
        "/sys",
        "/sys/fs/cgroup",
        "/system/services",
    ] {
        attempts.push(Attempt::new(
            format!("list {folder}"),
            fs::read_dir(folder).map(drop),
        ));
    }
    for file in [
        "/system/init",
        "/system/hyper",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sysrq-trigger",
    ] {
        attempts.push(Attempt::new(
            format!("open {file} for writing"),
            File::options().write(true).open(file).map(drop),
        ));
    }
    for file in [
        "/dev/mem",
        "/dev/kmsg",
        "/dev/vda",
        "/dev/ttyS0",
        "/dev/mapper/control",
        "/proc/kcore",
        "/proc/kmsg",
        "/proc/kallsyms",
        "/proc/keys",
    ] {
        attempts.push(Attempt::new(format!("open {file}"), open(Path::new(file))));
    }
    attempts.push(others());
    attempts.push(Attempt::new("signal other processes", signal_all()));
    attempts.push(Attempt::new("run a program of one's own", run_own()));
    attempts
}

/// Asks whether a signal could be sent to anybody but oneself and process 1: one of number 0 is
/// sent to nobody.
fn signal_all() -> io::Result<()> {
    // SAFETY: kill takes two numbers, and sends nothing for signal 0.
    match unsafe { libc::kill(-1, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Looks for processes beside this one.
fn others() -> Attempt {
    let own = std::process::id().to_string();
    let names = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let others: Vec<_> = names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
        .collect();
    Attempt {
        allowed: !others.is_empty(),
        what: "see other processes".into(),
        answer: if others.is_empty() {
            "there is none".into()
        } else {
            others.join(" ")
        },
    }
}

/// Writes a program to one's own folder and runs it. What is written is none, so that the kernel
/// says so once it was allowed to look.
fn run_own() -> io::Result<()> {
    let folder = std::env::var_os("HYPER_DATA").unwrap_or_else(|| "/tmp".into());
    let file = Path::new(&folder).join(".attempt-program");
    fs::write(&file, [0; 64])?;
    let result = fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
        .and_then(|()| Command::new(&file).status());
    let _ = fs::remove_file(&file);
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => Ok(()),
        result => result.map(drop),
    }
}
