//! The interfaces that process 1 serves itself: `hyper:services`, `hyper:power`, `hyper:device`,
//! `hyper:slots`, and in development images `hyper:development`.
//!
//! Handlers own nothing. They ask the loop of [`crate::system`] by message, or read what the kernel
//! says.

mod device;
mod faults;
mod services;
mod slots;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, Result};
use bus::Caller;
use tokio::sync::{mpsc, oneshot};

use crate::log::Level;
use crate::sandbox::Place;
use crate::slots::Slots;
use crate::system::give_to_carrier;
use crate::system::request::{Refusal, Wish};
use crate::system::{End, Message, Request, SharedLog, Status};

pub use device::{Facts, Release};

/// What every image serves.
const OWN: [&str; 4] = [
    bus::services::ID,
    bus::power::ID,
    bus::device::ID,
    bus::slots::ID,
];

/// What of it other devices may reach, as far as the family grants it.
const SHARED: [&str; 3] = [bus::services::ID, bus::power::ID, bus::device::ID];

/// What process 1 may serve, whatever the image.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain([bus::faults::ID])
}

/// The way to the loop.
#[derive(Clone, Debug)]
pub(crate) struct Loop(pub(crate) mpsc::UnboundedSender<Message>);

impl Loop {
    /// Asks and waits. `None` when the loop has ended, which is the end of everything.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(Message::Request(request(sender))).ok()?;
        receiver.await.ok()
    }

    fn tell(&self, request: Request) {
        // Without a loop there is nothing left that could be told.
        let _ = self.0.send(Message::Request(request));
    }

    pub(crate) async fn all(&self) -> Vec<Status> {
        self.ask(Request::All).await.unwrap_or_default()
    }

    async fn wish(&self, name: String, wish: Wish, caller: &Caller) -> Result<(), Refusal> {
        self.ask(|answer| Request::Service(name, wish, caller.name(), answer))
            .await
            .unwrap_or_else(|| Err(Refusal::Impossible("the system is about to end".into())))
    }
}

struct Power(Loop);

impl bus::power::Handler for Power {
    async fn power_off(&self, caller: Caller) {
        self.0.tell(Request::Close(End::PowerOff, caller.name()));
    }

    async fn restart(&self, caller: Caller) {
        self.0.tell(Request::Close(End::Restart, caller.name()));
    }
}

/// The sockets of process 1's own interfaces: they can be called, and nobody answers yet.
#[derive(Debug)]
pub struct Sockets(Vec<(String, UnixListener)>);

impl Sockets {
    /// Opens those of every image. A service's sandbox shows only what is there when it is made, so
    /// this comes before the first service.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn open(place: &Place) -> Result<Self> {
        let bus = place.bus();
        let mut sockets = Self(Vec::new());
        for id in OWN {
            sockets.add(&bus, id)?;
        }
        let grants = bus::Grants::load(&bus).context("reading who may call what")?;
        for id in SHARED {
            let name = format!("{}{id}", bus::carry::SHARED);
            let listener = bus::listen(&bus, &name)
                .with_context(|| format!("opening the socket of {id} for other devices"))?;
            give_to_carrier(&bus.join(&name), &grants)?;
            sockets.0.push((name, listener));
        }
        Ok(sockets)
    }

    fn add(&mut self, bus: &Path, id: &str) -> Result<()> {
        let listener =
            bus::listen(bus, id).with_context(|| format!("opening the socket of {id}"))?;
        std::fs::set_permissions(
            bus::socket_path(bus, id),
            std::fs::Permissions::from_mode(0o666),
        )
        .with_context(|| format!("opening the socket of {id} to its callers"))?;
        self.0.push((id.to_owned(), listener));
        Ok(())
    }
}

/// Serves process 1's own interfaces from now on; in development images those of development too.
///
/// # Errors
/// When a socket cannot be opened.
pub fn serve(
    place: &Place,
    mut sockets: Sockets,
    facts: Facts,
    slots: Slots,
    sender: mpsc::UnboundedSender<Message>,
    log: &SharedLog,
) -> Result<()> {
    let bus = place.bus();
    let system = Loop(sender);
    let development = facts.release.development;
    let mut served = vec![
        bus::services::interface(services::Services::new(system.clone(), log.clone())),
        bus::power::interface(Power(system.clone())),
        bus::device::interface(facts),
        bus::slots::interface(slots),
    ];
    if development {
        served.push(bus::faults::interface(faults::Faults::new(system)));
        sockets.add(&bus, bus::faults::ID)?;
    }
    let mut server =
        bus::Server::from_listeners(&bus, sockets.0).context("serving process 1's interfaces")?;
    for interface in served {
        server.serve(interface);
    }
    let log = log.clone();
    tokio::spawn(async move {
        if let Err(error) = server.run().await {
            log.say(
                Level::Error,
                format!("process 1's interfaces are not served: {error}"),
            );
        }
    });
    Ok(())
}
