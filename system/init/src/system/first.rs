//! The order of a start: what a person waits for comes first.
//!
//! A manifest with `start = "first"` is started before all others; those with `start = "boot"` are held
//! until it has answered. Their sockets exist meanwhile, and a call starts one at once, so nothing
//! can wait for something that is held.
//!
//! The reason is measured: with all services started together, the screen's first frame shared two
//! processors with five programs that nobody was waiting for yet.

use std::time::Duration;

use super::System;
use crate::log::Level;
use crate::manifest::Start;
use crate::supervise::{Event, State};

/// A first service that has not answered by then holds up nobody any longer. It is slow or hangs,
/// and the others may be what is needed to find out why.
const PATIENCE: Duration = Duration::from_secs(5);

/// The start of the services that come after the first.
#[derive(Debug)]
pub(super) struct Held {
    until: Duration,
}

impl Held {
    /// When they start at the latest.
    pub(super) fn deadline(&self) -> Duration {
        self.until
    }
}

impl System {
    /// Starts what comes first, and has all others wait for it or for their first call.
    pub(super) fn begin_services(&mut self) {
        for service in self.starting(Start::First) {
            self.apply(service, Event::StartAsked);
        }
        for service in 0..self.services.len() {
            self.await_call(service);
        }
        self.held = Some(Held {
            until: self.now() + PATIENCE,
        });
        self.go_on_starting();
    }

    /// Starts the others once the first have answered, or have not for too long.
    pub(super) fn go_on_starting(&mut self) {
        let Some(held) = &self.held else { return };
        let late = self.now() >= held.until;
        let waiting = self
            .starting(Start::First)
            .any(|service| self.services[service].state() == State::Starting);
        if waiting && !late {
            return;
        }
        self.held = None;
        if waiting {
            self.log.say(
                Level::Warning,
                format!(
                    "what comes first has not answered after {PATIENCE:?}: starting the others"
                ),
            );
        }
        for service in self.starting(Start::Boot) {
            // One that was called meanwhile runs already.
            if self.services[service].state() == State::Waiting {
                self.apply(service, Event::StartAsked);
            }
        }
    }

    /// The services that are started by this.
    fn starting(&self, by: Start) -> impl Iterator<Item = usize> + use<> {
        let found: Vec<_> = (0..self.services.len())
            .filter(|service| self.services[*service].starts() == Some(by))
            .collect();
        found.into_iter()
    }
}
