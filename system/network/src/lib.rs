//! Links, addresses, names and time.
//!
//! Two services live here. [`run`] is `network`: it brings the links up, gets them addresses and
//! routes, and asks servers for names on behalf of everyone else. [`time::run`] is `time`: it
//! keeps the clock right. They are apart because each needs one power that the other does not:
//! the one may change the network, the other may set the clock.
//!
//! # What is promised
//!
//! - **Nothing is sent that the network did not ask for or offer.** DHCP, the kernel's own
//!   neighbour discovery, questions for names to servers that the network offered, questions for
//!   the time to servers that it offered or the owner named. There is no built-in server of any
//!   kind, no check whether the Internet is there, no host name in DHCP.
//! - **What was plugged out is gone.** When a link loses its carrier, its addresses, its servers
//!   and its routes go; when it comes back, everything is asked for anew.
//! - **The kernel does what it does well.** IPv6 addresses come from the kernel's own handling of
//!   router advertisements; this service listens to it for the servers for names therein.
//!   Addresses from DHCP are given to the kernel with their lifetime, so that they end even if
//!   this service does not live to end them.
//! - **No address that another host has, and none that tells who this is.** An address that was
//!   granted is asked for on the link before it is used, and declined when somebody answers. IPv6
//!   addresses are made from a secret and their network, not from the hardware address.
//! - **Asleep unless something happens.** Everything waits on the kernel's word or on the next
//!   deadline of a lease.
//!
//! # Where it does not manage
//!
//! Where the system runs as a layer (on a desktop, or without the right to change the network) the
//! links belong to somebody else: they are only watched, and the servers for names are those of
//! the host's `resolv.conf`.

pub mod advertisement;
pub mod dhcp;
mod following;
pub mod kernel;
pub mod manager;
pub mod names;
pub mod secret;
mod served;
pub mod status;
pub mod time;

pub use manager::{Manager, Role};
pub use served::{interfaces, run};
