//! Events of the kernel about its devices, as they come over netlink.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// The multicast group of the events that the kernel itself sends.
const KERNEL_GROUP: u32 = 1;
/// Room for the events of a machine that finds all its devices at once.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The kernel never sends more at once (`UEVENT_BUFFER_SIZE` is 2048, plus the path).
const LONGEST_EVENT: usize = 8 << 10;

/// One event: what happened to which device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `change`, `bind` and the like.
    pub action: String,
    /// The device's path below `/sys`.
    pub path: String,
    /// The other keys, such as `SUBSYSTEM`, `DEVNAME` and `MODALIAS`.
    pub values: BTreeMap<String, String>,
}

impl Uevent {
    /// Reads a message of the kernel: `action@path`, then `KEY=value` texts, each ended by NUL.
    ///
    /// `None` for anything else, such as the messages of a udev daemon.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut parts = message.split(|&byte| byte == 0);
        let (action, path) = std::str::from_utf8(parts.next()?).ok()?.split_once('@')?;
        if action.is_empty() || !path.starts_with('/') {
            return None;
        }
        let values = parts
            .filter_map(|part| std::str::from_utf8(part).ok())
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Some(Self {
            action: action.to_owned(),
            path: path.to_owned(),
            values,
        })
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }
}

/// Reads a device's `uevent` file in sysfs: a `KEY=value` a line.
pub fn parse_file(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What came over the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// An event.
    Event(Uevent),
    /// Events were lost because they came faster than they were read: look at sysfs again.
    Lost,
    /// A message that is not the kernel's.
    Other,
}

/// A socket that receives the kernel's events from its making on.
#[derive(Debug)]
pub struct UeventSocket(OwnedFd);

impl UeventSocket {
    /// Subscribes to the events of the kernel. Make it before looking at sysfs: then nothing that
    /// appears in between is missed.
    ///
    /// # Errors
    /// When the kernel has no netlink or refuses the subscription.
    pub fn open() -> Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(rustix::net::netlink::KOBJECT_UEVENT),
        )
        .context("opening a netlink socket for the kernel's device events")?;
        // Only root may go beyond the system's limit; with less room, events may be lost, which
        // is noticed and repaired.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))
            .context("subscribing to the kernel's device events")?;
        Ok(Self(socket))
    }

    /// Takes the next message, or `None` when there is none now.
    ///
    /// # Errors
    /// When the socket itself fails.
    pub fn receive(&self) -> Result<Option<Received>> {
        let mut buffer = [0; LONGEST_EVENT];
        loop {
            match rustix::net::recvfrom(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _, sender)) => {
                    // Any local process may send to the group's socket; only the kernel is port 0.
                    let from_kernel = sender
                        .and_then(|address| SocketAddrNetlink::try_from(address).ok())
                        .is_some_and(|address| address.pid() == 0);
                    let event = from_kernel
                        .then(|| Uevent::parse(&buffer[..length]))
                        .flatten();
                    return Ok(Some(event.map_or(Received::Other, Received::Event)));
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::NOBUFS) => return Ok(Some(Received::Lost)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("reading the kernel's device events"),
            }
        }
    }

    /// Waits until a message comes or `deadline` has passed; `false` in the latter case.
    ///
    /// # Errors
    /// When the socket itself fails.
    pub fn wait(&self, deadline: Instant) -> Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let left = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match rustix::event::poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error).context("waiting for the kernel's device events"),
            }
        }
    }
}

impl AsFd for UeventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::os::fd::AsRawFd for UeventSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_of_the_kernel_is_read() {
        let message = b"add@/devices/pci0000:00/0000:00:03.0/virtio1/block/vda/vda3\0ACTION=add\0\
            SUBSYSTEM=block\0DEVNAME=vda3\0PARTNAME=root-a\0SEQNUM=1200\0";
        let event = Uevent::parse(message).unwrap();
        assert_eq!(event.action, "add");
        assert!(event.path.ends_with("/vda3"));
        assert_eq!(event.get("PARTNAME"), Some("root-a"));
    }

    #[test]
    fn a_message_of_udev_is_passed_over() {
        assert_eq!(Uevent::parse(b"libudev\0\xfe\xed\xca\xfe"), None);
        assert_eq!(Uevent::parse(b""), None);
        assert_eq!(Uevent::parse(b"@/devices"), None);
    }

    proptest! {
        #[test]
        fn no_message_ends_the_parser(message in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let _ = Uevent::parse(&message);
        }

        #[test]
        fn every_value_comes_back(
            action in "[a-z]{1,8}",
            path in "/[a-z0-9/:.]{0,40}",
            values in proptest::collection::btree_map("[A-Z]{1,8}", "[ -~]{0,20}", 0..8),
        ) {
            let mut message = format!("{action}@{path}\0").into_bytes();
            for (key, value) in &values {
                message.extend_from_slice(format!("{key}={value}\0").as_bytes());
            }
            let event = Uevent::parse(&message).unwrap();
            prop_assert_eq!(event, Uevent { action, path, values });
        }
    }
}
