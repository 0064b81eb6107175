//! Having the loop woken when something can be read.

use std::fs::File;
use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::device::uevent::UeventSocket;

/// Watches an open file, or whatever else became a [`File`].
///
/// # Errors
/// When the kernel cannot watch it, such as a file on a disk.
pub fn file(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor, keeps it open and always answers the same one; nothing
    // here takes it out or replaces it.
    Ok(unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }?)
}

/// Watches the events of the kernel.
///
/// # Errors
/// When the kernel cannot watch the socket.
pub fn events(socket: UeventSocket) -> io::Result<AsyncFd<UeventSocket>> {
    // SAFETY: a `UeventSocket` owns its descriptor and has no way to change it.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}
