//! The end of the system: every service in its order, within the deadline.

use std::time::Duration;

use super::System;
use crate::log::Level;
use crate::shutdown::{Next, Shutdown, Ties, order};
use crate::supervise::Event;

/// What the system ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The device turns off; a layer ends.
    PowerOff,
    /// The device starts again; a layer ends.
    Restart,
}

/// An end under way.
#[derive(Debug)]
pub(super) struct Closing {
    end: End,
    shutdown: Shutdown,
    done: bool,
}

impl Closing {
    pub(super) fn deadline(&self) -> Duration {
        self.shutdown.deadline()
    }
}

impl System {
    /// Begins to end everything. What was asked for first counts.
    pub(super) fn close(&mut self, end: End) {
        if self.closing.is_some() {
            return;
        }
        let word = match end {
            End::PowerOff => "turning off",
            End::Restart => "restarting",
        };
        self.log.say(Level::Notice, word);
        let ties: Vec<_> = self
            .services
            .iter()
            .map(|entry| {
                entry.manifest.as_ref().map_or_else(
                    |_| Ties::default(),
                    |manifest| Ties {
                        serves: manifest.serves.clone(),
                        calls: manifest.calls.clone(),
                    },
                )
            })
            .collect();
        let shutdown = Shutdown::new(order(&ties), self.now());
        self.closing = Some(Closing {
            end,
            shutdown,
            done: false,
        });
        for service in 0..self.services.len() {
            if self.services[service].is_to_be_started() {
                self.apply(service, Event::StopAsked);
            }
        }
    }

    /// Does what is next on the way to the end.
    pub(super) fn go_on_closing(&mut self) {
        let now = self.now();
        let Some(closing) = &mut self.closing else {
            return;
        };
        let services = &self.services;
        match closing
            .shutdown
            .next(now, |service| services[service].process.is_some())
        {
            Next::Terminate(group) => {
                for service in group {
                    self.apply(service, Event::StopAsked);
                }
            }
            Next::Kill(group) => {
                for service in group {
                    // Said once; what not even SIGKILL ends is tried again without a word.
                    let said = std::mem::replace(&mut self.services[service].killed, true);
                    if said {
                        self.services[service].kill();
                        continue;
                    }
                    let text = format!(
                        "{}: killed: it did not end in time",
                        self.services[service].name
                    );
                    self.log.say(Level::Warning, text);
                    self.services[service].kill();
                }
            }
            Next::Wait => {}
            Next::Done => closing.done = true,
        }
    }

    /// What the system ends in, once everything has ended.
    pub(super) fn ended(&self) -> Option<End> {
        self.closing
            .as_ref()
            .filter(|closing| closing.done)
            .map(|closing| closing.end)
    }
}
