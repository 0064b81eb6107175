//! Displays coming, going and changing, as the kernel tells it (uevents over netlink).

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
    socket_with,
};

/// The kernel's own messages, not those of a device manager.
const KERNEL: u32 = 1;

/// A socket on which the kernel's messages arrive.
pub fn open() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(rustix::net::netlink::KOBJECT_UEVENT),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
    Ok(socket)
}

/// Takes all messages; whether one of them was about displays.
pub fn display_changed(socket: &OwnedFd) -> bool {
    let mut message = [0; 8192];
    let mut changed = false;
    loop {
        match recv(socket, &mut message[..], RecvFlags::empty()) {
            Ok((length, _)) => changed |= is_about_displays(&message[..length.min(8192)]),
            Err(rustix::io::Errno::INTR) => {}
            // Some were lost: look, to be sure.
            Err(rustix::io::Errno::NOBUFS) => changed = true,
            Err(_) => return changed,
        }
    }
}

fn is_about_displays(message: &[u8]) -> bool {
    message
        .split(|byte| *byte == 0)
        .any(|field| field == b"SUBSYSTEM=drm")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_messages_about_displays_count() {
        assert!(is_about_displays(
            b"change@/devices/pci0/card0\0ACTION=change\0SUBSYSTEM=drm\0HOTPLUG=1\0"
        ));
        assert!(!is_about_displays(
            b"add@/devices/x\0ACTION=add\0SUBSYSTEM=input\0NAME=SUBSYSTEM=drm\0"
        ));
        assert!(!is_about_displays(b""));
    }

    proptest! {
        #[test]
        fn foreign_messages_do_no_harm(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            is_about_displays(&message);
        }
    }
}
