//! What can be asked of the system while it runs.

use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};

use super::probe::{Order, Run};
use super::{End, Status, System};
use crate::log::Level;
use crate::supervise::Event;

/// SIGKILL, as the kernel numbers it.
const SIGKILL: i32 = Signal::KILL.as_raw();

/// Watchers that fall behind by so many changes are dropped.
const WATCHER_ROOM: usize = 256;

/// Why something that was asked for is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such service.
    Unknown(String),
    /// There is, but it cannot be done.
    Impossible(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no service `{name}`"),
            Self::Impossible(reason) => f.write_str(reason),
        }
    }
}

/// What becomes of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is to run.
    Start,
    /// It is to end and stay so.
    Stop,
    /// It is to end and run again.
    Restart,
    /// Its process is to get a signal.
    Signal(i32),
}

/// Something asked of the system, with where the answer goes.
#[derive(Debug)]
pub enum Request {
    /// Every service.
    All(oneshot::Sender<Vec<Status>>),
    /// A service each time that its state changes.
    Watch(oneshot::Sender<mpsc::Receiver<Status>>),
    /// Something to be done with a service, and who asks.
    Service(String, Wish, String, oneshot::Sender<Result<(), Refusal>>),
    /// A probe in the sandbox of a service, and who asks.
    Probe(String, Order, String, oneshot::Sender<Result<Run, Refusal>>),
    /// The end, and who asks.
    Close(End, String),
    /// The power button was pressed: turns the device off unless somebody is there to ask.
    PowerButton,
}

impl System {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::All(answer) => {
                let all = self
                    .services
                    .iter()
                    .map(|entry| entry.status(&self.place))
                    .collect();
                // Whoever asked may be gone.
                let _ = answer.send(all);
            }
            Request::Watch(answer) => {
                let (sender, receiver) = mpsc::channel(WATCHER_ROOM);
                if answer.send(receiver).is_ok() {
                    self.watchers.push(sender);
                }
            }
            Request::Service(name, wish, who, answer) => {
                let granted = self.grant_wish(&name, wish, &who);
                match (wish, &granted) {
                    (Wish::Signal(SIGKILL), Ok(service)) => self.services[*service].end(answer),
                    _ => drop(answer.send(granted.map(drop))),
                }
            }
            Request::Probe(name, order, who, answer) => {
                let _ = answer.send(self.probe(&name, order, &who));
            }
            Request::Close(end, who) => {
                self.log
                    .say(Level::Notice, format!("{who} asks for the end: {end:?}"));
                self.close(end);
            }
            Request::PowerButton => {
                if self.has_screen() {
                    self.log.say(
                        Level::Detail,
                        "the power button was pressed; the shell sees to it",
                    );
                } else {
                    self.log.say(
                        Level::Notice,
                        "the power button was pressed and no shell runs",
                    );
                    self.close(End::PowerOff);
                }
            }
        }
    }

    pub(super) fn find(&self, name: &str) -> Result<usize, Refusal> {
        self.services
            .iter()
            .position(|entry| entry.name == name)
            .ok_or_else(|| Refusal::Unknown(name.to_owned()))
    }

    fn grant_wish(&mut self, name: &str, wish: Wish, who: &str) -> Result<usize, Refusal> {
        let service = self.find(name)?;
        if self.closing.is_some() {
            return Err(Refusal::Impossible("the system is about to end".into()));
        }
        let entry = &self.services[service];
        if entry.supervisor.is_none() {
            let problem = entry.status(&self.place).problem.unwrap_or_default();
            return Err(Refusal::Impossible(problem));
        }
        self.log
            .say(Level::Notice, format!("{who} asks for {name}: {wish:?}"));
        let event = match wish {
            Wish::Start => Event::StartAsked,
            Wish::Stop => Event::StopAsked,
            Wish::Restart => Event::RestartAsked,
            Wish::Signal(number) => {
                let signal = Signal::from_named_raw(number)
                    .ok_or_else(|| Refusal::Impossible(format!("{number} is not a signal")))?;
                if entry.process.is_none() {
                    return Err(Refusal::Impossible(format!("{name} has no process")));
                }
                if signal != Signal::KILL {
                    entry.signal(signal);
                }
                return Ok(service);
            }
        };
        self.apply(service, event);
        Ok(service)
    }
}
