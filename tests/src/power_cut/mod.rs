//! Power cuts: what is on the disk when the power fails at any instant.
//!
//! Killing a virtual machine alone proves little, because its host keeps every write ([`running`] does it for what
//! the firmware makes of it). So the guest runs on a
//! disk that records each write and each flush in order ([`recorder`], by QEMU's `blklogwrites`), and
//! the cut is made afterwards, as often as wanted: for an instant in the record, everything up to the
//! last flush before it is on the disk, and of what came after any part may be, the last write torn
//! at a sector ([`crash`]). That is what a disk with a volatile cache promises and no more. Each such
//! disk is then recovered as at a start ([`filesystem`]) and looked at: everything that was
//! acknowledged before the instant must be there, and nothing may be torn ([`check`]).
//!
//! What it cannot show: a disk that lies about flushes, and damage to sectors that nobody wrote.
//!
//! The record comes from outside this program, so its parser ([`log`]) takes any bytes and answers
//! with an entry, the end or an error, never with a panic.

pub mod check;
pub mod crash;
pub mod filesystem;
pub mod guest;
pub mod installation;
pub mod log;
pub mod recorder;
pub mod running;
pub mod settings;
pub mod writer;
