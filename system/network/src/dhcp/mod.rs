//! An IPv4 address by DHCP (RFC 2131): what is said, when it is said, and saying it.
//!
//! [`machine`] decides and knows no socket and no clock; [`message`] reads and writes; [`client`]
//! does what the machine says; [`conflict`] finds out whether an address is free.

pub mod client;
pub mod conflict;
pub mod machine;
pub mod message;

pub use machine::{Action, Destination, Machine, State};
pub use message::{Lease, Route};
