//! Serve and call the interfaces of `wit/`.
//!
//! Every facility of the system is an interface in `wit/`, and each has a module here that is made
//! from its text: [`settings`], [`following`], [`network`], [`names`], [`time`], [`notify`], [`notices`], [`services`],
//! [`power`], [`device`], [`screen`], [`beacon`], [`view`], [`input`], [`family`], [`naming`], [`pairing`], [`paper`], [`calls`], [`home`], [`replica`],
//! [`grants`], [`questions`] and [`health`]. A module holds the interface's types, a function to call each of its
//! functions, and a trait `Handler` with which to serve it.
//!
//! # Calling
//!
//! ```no_run
//! # async fn example() -> Result<(), bus::Error> {
//! use futures::StreamExt as _;
//!
//! let bus = bus::Client::from_environment(); // cheap to clone; keeps and remakes connections
//!
//! // The outer error is the call's, with interface, function and reason; the inner result is the
//! // function's own, as WIT defines it.
//! match bus::settings::get(&bus, "appearance.accent").await? {
//!     Ok(value) => println!("{value:?}"),
//!     Err(bus::settings::Error::UnknownKey(key)) => println!("no setting {key}"),
//!     Err(error) => println!("{error:?}"),
//! }
//! bus::settings::set(&bus, "appearance.accent", &bus::settings::Value::Text("blue".into())).await?.ok();
//!
//! // A function that answers a stream. The stream ends or fails when the service goes away: a
//! // watcher then calls again.
//! let mut changes = bus::settings::watch(&bus).await?;
//! while let Some(change) = changes.next().await {
//!     println!("{:?}", change?);
//! }
//! # Ok(()) }
//! ```
//!
//! Text, lists and named types are passed by reference (`&str`, `&[T]`, `&T`), plain numbers by
//! value. A call waits ten seconds for its answer, or as [`Client::with_deadline`] says; where an owner is
//! asked first whether another device may be called, as long as that takes before.
//!
//! An interface of another device of the family is called in the same way, by a client of that
//! device: `bus::Client::of_device("tv")`.
//!
//! # Serving
//!
//! ```no_run
//! struct Clock;
//!
//! impl bus::names::Handler for Clock {
//!     // Values come owned; the answer is the WIT type itself.
//!     async fn resolve(&self, caller: bus::Caller, name: String) -> Result<Vec<String>, String> {
//!         Err(format!("{} asked for {name}, but there is no network", caller.name()))
//!     }
//! }
//!
//! # async fn example() -> std::io::Result<()> {
//! let mut server = bus::Server::from_environment()?; // or Server::bind(&folder, &[bus::names::ID])
//! server.serve(bus::names::interface(Clock));
//! server.health(|| Ok(()));
//! server.run().await // until dropped
//! # }
//! ```
//!
//! A handler is shared by all callers (`&self`). A function of WIT that answers `stream<t>` answers
//! an [`Outgoing<T>`](Outgoing): any boxed stream of `T`. It is read as fast as its caller reads
//! and dropped when the caller goes away.
//!
//! # What it promises
//!
//! - **The caller is who the kernel says.** Its user id comes from the socket, its name from
//!   `grants.toml`, and a program reaches only the interfaces that its manifest lists.
//! - **Another device is who `mesh` says.** Its calls come on sockets of their own, which only the
//!   program that carries calls may open ([`carry`]), and a service has such a socket only where its
//!   manifest shares the interface.
//! - **A broken peer costs itself.** Whatever it sends, the worst that follows is the end of its own
//!   connection; [`limits`](crate#limits) bound what it can make a service keep.
//! - **A call is sent once.** It is tried again only where nothing of it was sent.
//! - **No wire shows.** Only this crate knows wRPC, and a test fails where another names it.
//!
//! # How it works
//!
//! An interface is a Unix socket, `HYPER_BUS/<package>/<interface>@<version>`, and a connection to
//! it is kept. wRPC carries an invocation on a byte stream of its own; here a connection carries
//! many such streams, in frames, with the same bytes inside. A call that fits is one frame there
//! and one back, written and read with one system call each, and a handler that answers at once
//! runs in the task that read the call.
//!
//! # Limits
//!
//! A frame carries 64 KiB, arguments 1 MiB, an answer 16 MiB, an item of a stream 1 MiB; a
//! connection has 128 calls under way, a user 64 connections to a socket. A stream sends 64 KiB
//! ahead of its reader.

mod caller;
pub mod carry;
mod client;
mod connection;
#[cfg(feature = "dynamic")]
pub mod dynamic;
mod error;
mod frame;
#[cfg(feature = "dynamic")]
#[doc(hidden)]
pub mod fuzzing;
mod incoming;
mod invocation;
mod limits;
pub mod others;
mod reply;
mod server;
mod serving;
mod wire;

use std::env;
use std::path::{Path, PathBuf};

pub use caller::{Caller, Device, Grant, Grants, Program};
pub use client::{Address, Client, DEADLINE, check_health};
pub use error::{Error, Reason};
pub use incoming::Incoming;
pub use reply::Outgoing;
pub use server::{Interface, Server, listen};

#[allow(missing_docs, unused, clippy::all, clippy::pedantic, rust_2018_idioms)]
mod types {
    include!(concat!(env!("OUT_DIR"), "/types.rs"));
}

include!(concat!(env!("OUT_DIR"), "/interfaces.rs"));

/// The text of every file in `wit/`, by its name.
pub const WIT: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/texts.rs"));

const PURPOSES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/purposes.rs"));

/// What an interface is for, by its name with or without a version: the first sentence of its
/// documentation, without its full stop.
pub fn purpose(interface: &str) -> Option<&'static str> {
    let (name, _) = interface.split_once('@').unwrap_or((interface, ""));
    let known = PURPOSES.iter().find(|(known, _)| *known == name);
    known.map(|(_, purpose)| *purpose)
}

/// The folder of the sockets: `HYPER_BUS`, or `/run/bus`.
pub fn folder() -> PathBuf {
    env::var_os("HYPER_BUS").map_or_else(|| "/run/bus".into(), PathBuf::from)
}

/// The socket of an interface, given in full, below the folder of the sockets.
pub fn socket_path(bus: &Path, interface: &str) -> PathBuf {
    bus.join(interface)
}
