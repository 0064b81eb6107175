//! Files from one device of the family to another.
//!
//! [`sending`] keeps what is to be sent and tries until it has arrived ([`attempt`], of what [`scan`]
//! found); [`arrivals`] takes what other devices send ([`arriving`] one delivery, under [`names`] that
//! cannot lead anywhere else; [`settled`] ones not again, and those that fall silent
//! not for ever). [`book`] lists both for the person.
//!
//! # What it promises
//!
//! - **Whole or not at all.** A file or folder appears under its name when all of it was compared with
//!   its SHA-256 digests and is durable, in one step; nothing that is there is overwritten.
//! - **An interruption costs what was under way.** The next attempt goes on where the beginning that is
//!   there has the same digest as the beginning of what is sent: whoever was killed, restarted,
//!   unplugged or without power.
//! - **A full disk is not left full.** What does not fit is refused before, or deleted whole, and both
//!   sides say so.
//! - **A sender is bounded**: deliveries, files, bytes, lengths of names, and nothing beyond what it said
//!   at the beginning.

pub mod arrivals;
mod arrivals_served;
pub mod arriving;
pub mod attempt;
pub mod book;
pub mod names;
pub mod scan;
pub mod sending;
mod served;
pub mod settled;
mod silence;
mod space;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bus::{Address, Client};

use arrivals::Arrivals;
use book::Book;
use sending::Sender;
use served::Files;

/// Serves files until told to stop. Received ones are in `HYPER_DATA`.
pub fn run() -> Result<()> {
    service::run(async || {
        let mut server = bus::Server::from_environment().context("taking the sockets over")?;
        let data = env::var_os("HYPER_DATA").map_or_else(|| "/data/files".into(), PathBuf::from);
        for notice in start(&mut server, &data, bus::folder())? {
            tracing::warn!("{notice}");
        }
        Ok(server)
    })
}

/// Goes on with what was under way and gives the server what it answers. The strings are for the
/// owner.
pub fn start(server: &mut bus::Server, received: &Path, bus: PathBuf) -> Result<Vec<String>> {
    let book = Arc::new(Book::default());
    let here = Client::new(Address::Here(bus.clone()));
    let (arrivals, mut notices) = Arrivals::open(received, Arc::clone(&book), here)?;
    let (sender, more) = Sender::open(received, Arc::clone(&book), bus)?;
    notices.extend(more);
    server.serve(bus::arrivals::interface(arrivals_served::FromDevices(
        Arc::clone(&arrivals),
    )));
    server.serve(bus::transfer::interface(Files {
        received: received.to_owned(),
        book,
        arrivals,
        sender,
    }));
    Ok(notices)
}
