//! Who I am, who my family is, how we reach each other.
//!
//! This service alone holds the device's key. It finds the other devices of the family
//! ([`discovery`]), keeps connections to some of them ([`links`]), exchanges the family's log with them
//! ([`logs`]), takes devices in ([`pairing`]), restores a family with its paper phrase ([`recovery`]) and carries calls ([`calls`]): of programs here to other
//! devices, and of other devices to services here. What no grant allows or refuses it has the owner
//! asked ([`asking`], [`questions`], [`grants`], [`settling`]); a device that was removed it tells so
//! ([`removal`]). Devices that are apart meet at a relay of the owner's, where one is set ([`afar`]). What is trusted, and why, is `lib/trust`'s; what this
//! crate adds to it, and what somebody on the network sees of it, stands in `PROTOCOL.md`.
//!
//! # What it promises
//!
//! - **Nobody outside of the home is contacted**, but for the one relay that the owner has set, where
//!   one is set. There is no server for addresses, and no way to look a device up but what was heard on
//!   the links of this device.
//! - **A device is its key.** Addresses, names and announcements are hints; who is at the other end is
//!   proven by the connection, and what it may do is in the log.
//! - **The device that serves decides**, by its own copy of the log, when a connection to an interface is
//!   opened and again each time that the log changes.
//! - **What is carried is not read**, but for the heads of frames, to count calls.
//! - **A peer cannot exceed its bounds**: handshakes of an address, streams of a connection and calls of
//!   a stream in a second; streams at once; bytes that wait for a reader; the length of whatever is read
//!   whole; the time that anything may take to be said. The bounds stand at the head of each module.

pub mod afar;
pub mod asking;
pub mod bucket;
pub mod calls;
pub mod discovery;
pub mod grants;
pub mod links;
pub mod logs;
pub mod names;
pub mod node;
pub mod opening;
pub mod pairing;
pub mod paper;
pub mod questions;
pub mod recovery;
pub mod removal;
pub mod served;
pub mod settling;
pub mod spent;
pub mod transport;
pub mod wire;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;
use serde::Deserialize;
use tokio::sync::mpsc;

use node::Node;

/// Serves the family until told to stop. What it keeps is in `HYPER_DATA`.
pub fn run() -> Result<()> {
    service::run(|| async {
        let folder = |name, default: &str| {
            env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        let mut server = bus::Server::from_environment().context("taking the sockets over")?;
        let model = model(&folder("HYPER_SYSTEM", "/system"));
        let data = folder("HYPER_DATA", "/data/mesh");
        let node = start(&mut server, &data, bus::folder(), model).await?;
        // It lives as long as the process; iroh would call its end an error.
        std::mem::forget(node.endpoint());
        Ok(server)
    })
}

/// Starts this device's part in its family and gives the server what it answers.
///
/// Boxed, for an asynchronous function is compiled anew in each crate that awaits it, and with this one comes
/// all that it starts.
pub fn start<'a>(
    server: &'a mut bus::Server,
    data: &'a Path,
    bus: PathBuf,
    model: String,
) -> LocalBoxFuture<'a, Result<Arc<Node>>> {
    Box::pin(begin(server, data, bus, model))
}

async fn begin(
    server: &mut bus::Server,
    data: &Path,
    bus: PathBuf,
    model: String,
) -> Result<Arc<Node>> {
    let (node, notices) = Node::open(data, bus, model).await?;
    node.tell_owner(notices);
    let pairing = pairing::Pairing::new(Arc::clone(&node));
    let (events, heard) = mpsc::channel(64);
    let interest = node.interest();
    tokio::spawn(async move {
        if let Err(error) = discovery::run(interest, events).await {
            tracing::error!("other devices are not found any more: {error}");
        }
    });
    tokio::spawn(links::keep(Arc::clone(&node), heard));
    let recovery = recovery::Recovery::new(Arc::clone(&node));
    tokio::spawn(links::accept(
        Arc::clone(&node),
        Arc::clone(&pairing),
        Arc::clone(&recovery),
    ));
    tokio::spawn(settling::follow(Arc::clone(&node)));
    tokio::spawn(afar::follow(Arc::clone(&node)));
    tokio::spawn(afar::knock(Arc::clone(&node)));
    server.serve(bus::family::interface(served::Family(Arc::clone(&node))));
    server.serve(bus::naming::interface(served::Family(Arc::clone(&node))));
    server.serve(bus::paper::interface(paper::Paper {
        node: Arc::clone(&node),
        pairing: Arc::clone(&pairing),
        recovery,
    }));
    server.serve(bus::pairing::interface(served::Pairings {
        node: Arc::clone(&node),
        pairing,
    }));
    server.serve(bus::grants::interface(grants::Given(Arc::clone(&node))));
    server.serve(bus::questions::interface(grants::Desk::new(Arc::clone(
        &node,
    ))));
    server.carry(calls::ToDevices(Arc::clone(&node)));
    Ok(node)
}

/// What this device says to be, when there is nobody yet who calls it anything.
fn model(system: &Path) -> String {
    #[derive(Default, Deserialize)]
    struct Product {
        #[serde(default)]
        model: String,
    }
    let product: Product = std::fs::read_to_string(system.join("product.toml"))
        .ok()
        .and_then(|text| toml::from_str(&text).ok())
        .unwrap_or_default();
    let model: String = product
        .model
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    if model.is_empty() {
        return "Device".to_owned();
    }
    model[..model.floor_char_boundary(64)].to_owned()
}
