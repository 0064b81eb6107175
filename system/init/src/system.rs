//! The services of a system at work: the one loop in which everything meets.
//!
//! A single task owns all state. What happens elsewhere (a call on a socket, a line of status, an
//! answer about health, a request over the bus) comes to it as a [`Message`]; it asks each service's
//! [`Supervisor`](crate::supervise::Supervisor) what to do, and does it.

mod capture;
mod closing;
mod entry;
mod first;
mod hotplug;
mod kernel;
pub mod probe;
pub mod request;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::mpsc;

pub use closing::End;
pub use entry::Status;
pub use request::Request;

use crate::cgroup;
use crate::device::module::Modules;
use crate::device::uevent::UeventSocket;
use crate::log::{Level, Log};
use crate::manifest;
use crate::sandbox::Place;
use crate::supervise::{Action, Event, State};
use crate::watch;
use closing::Closing;
use entry::Entry;
use first::Held;
use probe::Probe;

/// The log, which handlers and tasks share.
#[derive(Clone, Debug, Default)]
pub struct SharedLog(Arc<Mutex<Log>>);

impl SharedLog {
    /// Shares a log.
    pub fn new(log: Log) -> Self {
        Self(Arc::new(Mutex::new(log)))
    }

    /// The log, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Log> {
        // A log is whole between any two of its lines.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line of process 1's own.
    pub fn say(&self, level: Level, text: impl Into<String>) {
        self.lock().write("init", level, text);
    }
}

/// What happened outside of the loop. A generation counts a service's processes, so that what was
/// said about an earlier one is not taken for the present one.
#[derive(Debug)]
pub enum Message {
    /// Somebody connected to a socket of a service that waits.
    Called {
        /// Which service.
        service: usize,
    },
    /// A service's program runs, or the reason why it does not.
    Started {
        /// Which service.
        service: usize,
        /// Which of its processes.
        generation: u64,
        /// Why it does not run.
        failure: Option<String>,
    },
    /// What a service answered about its health.
    Health {
        /// Which service.
        service: usize,
        /// Which of its processes.
        generation: u64,
        /// Well, or what is wrong.
        answer: Result<(), String>,
    },
    /// Somebody wants something.
    Request(Request),
}

/// All services, and what they stand on.
#[derive(Debug)]
pub struct System {
    place: Place,
    /// This very program, which `init enter` is run from.
    program: PathBuf,
    log: SharedLog,
    services: Vec<Entry>,
    /// The control group of services; `None` for an ordinary user.
    groups: Option<PathBuf>,
    modules: Option<Modules>,
    begun: Instant,
    sender: mpsc::UnboundedSender<Message>,
    messages: mpsc::UnboundedReceiver<Message>,
    watchers: Vec<mpsc::Sender<Status>>,
    probes: Vec<Probe>,
    closing: Option<Closing>,
    /// Services that start with the device, while another one comes first.
    held: Option<Held>,
}

/// What comes first was started.
#[derive(Debug)]
pub struct Begun {
    /// Tells of processes that end.
    children: Signals,
}

impl System {
    /// Reads the manifests and opens every socket, so that whatever is started may call whatever
    /// else at once.
    ///
    /// # Errors
    /// When the folders of the system cannot be read or made. What is wrong with one service is
    /// that service's problem.
    pub fn new(place: Place, program: PathBuf, log: SharedLog) -> Result<Self> {
        let bus = place.bus();
        for folder in [bus.clone(), place.run.join("sandbox"), place.data.clone()] {
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("making the folder {}", folder.display()))?;
        }
        let groups = if place.layer {
            None
        } else {
            match cgroup::prepare(Path::new(cgroup::ROOT)) {
                Ok(groups) => Some(groups),
                Err(error) => {
                    log.say(
                        Level::Error,
                        format!("services run without limits: {error:#}"),
                    );
                    None
                }
            }
        };
        let folder = place.system.join("services");
        let manifests = manifest::load(&folder)
            .with_context(|| format!("listing the services in {}", folder.display()))?;
        let services: Vec<_> = manifests
            .into_iter()
            .map(|(name, manifest)| Entry::new(name, manifest, &place, groups.as_deref(), &log))
            .collect();
        grant(&services, &bus)?;
        let (sender, messages) = mpsc::unbounded_channel();
        Ok(Self {
            place,
            program,
            log,
            services,
            groups,
            modules: None,
            begun: Instant::now(),
            sender,
            messages,
            watchers: Vec::new(),
            probes: Vec::new(),
            closing: None,
            held: None,
        })
    }

    /// Where to send what happens.
    pub fn sender(&self) -> mpsc::UnboundedSender<Message> {
        self.sender.clone()
    }

    /// Starts what comes first. [`Self::run`] goes on from there.
    ///
    /// # Errors
    /// When the ends of processes cannot be watched.
    pub fn begin(&mut self) -> Result<Begun> {
        // Before there is a process that could end.
        let children = signal(SignalKind::child()).context("watching for processes that end")?;
        self.begin_services();
        self.begin_devices();
        Ok(Begun { children })
    }

    /// Runs the services until the system is asked to end, and ends them in order.
    ///
    /// # Errors
    /// When the signals or the events of the kernel cannot be had.
    pub async fn run(mut self, begun: Begun, events: Option<UeventSocket>) -> Result<End> {
        let Begun { mut children } = begun;
        let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
        let events = events
            .map(|events| watch::events(events).context("watching for devices"))
            .transpose()?;
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                _ = children.recv() => self.reap(),
                Some(message) = self.messages.recv() => self.take(message),
                _ = terminate.recv() => self.close(End::PowerOff),
                // On a device this is Ctrl-Alt-Delete, on a desktop Ctrl-C.
                _ = interrupt.recv() => {
                    self.close(if self.place.layer { End::PowerOff } else { End::Restart });
                }
                received = hotplug::next(events.as_ref()) => self.device_event(received),
                () = sleep_until(deadline) => {}
            }
            self.pass();
            if let Some(end) = self.ended() {
                return Ok(end);
            }
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// When something is due without anything happening.
    fn deadline(&self) -> Option<Instant> {
        let services = self
            .services
            .iter()
            .filter_map(|entry| entry.supervisor.as_ref()?.deadline());
        let closing = self.closing.as_ref().map(Closing::deadline);
        let held = self.held.as_ref().map(Held::deadline);
        services
            .chain(closing)
            .chain(held)
            .min()
            .map(|deadline| self.begun + deadline)
    }

    fn pass(&mut self) {
        let now = self.now();
        for service in 0..self.services.len() {
            let entry = &mut self.services[service];
            let before = entry.state();
            if let Some(action) = entry
                .supervisor
                .as_mut()
                .and_then(|supervisor| supervisor.pass(now))
            {
                if action == Action::Kill
                    && let Some(problem) = entry.supervisor.as_ref().and_then(|s| s.problem())
                {
                    let text = format!("{}: killed: {problem}", entry.name);
                    self.log.say(Level::Warning, text);
                }
                self.act(service, action);
            }
            self.tell(service, before);
        }
        self.go_on_starting();
        self.go_on_closing();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Called { service } => self.apply(service, Event::Called),
            Message::Started {
                service,
                generation,
                failure,
            } => {
                if let Some(process) = self.services[service].process_of(generation) {
                    process.status = Some(failure);
                    self.settle(service);
                }
            }
            Message::Health {
                service,
                generation,
                answer,
            } => {
                if self.services[service].process_of(generation).is_some() {
                    if self.services[service].state() == State::Starting {
                        self.note_progress(service, "it answers");
                    }
                    let event = match answer {
                        Ok(()) => Event::Answered,
                        Err(problem) => Event::Unwell(problem),
                    };
                    self.apply(service, event);
                }
            }
            Message::Request(request) => self.answer(request),
        }
    }

    /// Takes in every process that ended, ours and those that were left to process 1.
    fn reap(&mut self) {
        while let Ok(Some((process, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let process = process.as_raw_nonzero().get().cast_unsigned();
            if self.take_in_probe(process, status) {
                continue;
            }
            let found = self
                .services
                .iter()
                .position(|entry| entry.is_process(process));
            if let Some(service) = found {
                let how = self.services[service].describe_end(status);
                if let Some(process) = &mut self.services[service].process {
                    process.ended = Some(how);
                }
                self.settle(service);
            }
        }
    }

    /// Tells the supervisor what is known of a process, once it is known in full: the end of a
    /// process and the reason why it did not run come by different ways.
    fn settle(&mut self, service: usize) {
        let Some(process) = &mut self.services[service].process else {
            return;
        };
        let Some(status) = process.status.clone() else {
            return;
        };
        let ended = process.ended.clone();
        if status.is_none() && !process.announced {
            process.announced = true;
            self.note_progress(service, "its program runs");
            self.complete_devices(service);
            self.apply(service, Event::Started);
        }
        if let Some(how) = ended {
            self.services[service].forget_process();
            let event = status.map_or(Event::Ended(how), Event::NotStarted);
            if self.services[service].state() != State::Stopping
                && let Event::Ended(text) | Event::NotStarted(text) = &event
            {
                let text = format!("{}: {text}", self.services[service].name);
                self.log.say(Level::Warning, text);
            }
            self.apply(service, event);
        }
    }

    /// Has a service's supervisor take in an event, and does what it asks for.
    fn apply(&mut self, service: usize, event: Event) {
        let now = self.now();
        let before = self.services[service].state();
        let action = self.services[service]
            .supervisor
            .as_mut()
            .and_then(|s| s.handle(now, event));
        if let Some(action) = action {
            self.act(service, action);
        }
        self.tell(service, before);
        if self.closing.is_some() && self.services[service].is_to_be_started() {
            self.apply(service, Event::StopAsked);
        }
    }

    fn act(&mut self, service: usize, action: Action) {
        match action {
            Action::Start => {
                if let Err(error) =
                    self.services[service].start(&self.program, self.groups.as_deref())
                {
                    let text = format!("{}: {error:#}", self.services[service].name);
                    self.log.say(Level::Error, text);
                    self.apply(service, Event::NotStarted(format!("{error:#}")));
                    return;
                }
                self.services[service].watch_process(service, &self.sender, &self.log);
                self.note_progress(service, "its process is made");
            }
            Action::Ask => self.services[service].ask(service, &self.sender),
            Action::Terminate => self.services[service].signal(Signal::TERM),
            Action::Kill => self.services[service].kill(),
        }
    }

    /// Says how far a start has come, for whoever wants to know where its time goes.
    fn note_progress(&self, service: usize, what: &str) {
        let entry = &self.services[service];
        let text = format!("{}: after {:.1?} {what}", entry.name, entry.age());
        self.log.say(Level::Detail, text);
    }

    /// Has the loop woken when somebody calls a service that waits for that.
    fn await_call(&self, service: usize) {
        let entry = &self.services[service];
        if entry.state() == State::Waiting {
            entry.await_call(service, &self.sender);
        }
    }

    /// Tells whoever watches, when a service's state is no longer what it was.
    fn tell(&mut self, service: usize, before: State) {
        let entry = &self.services[service];
        if before == State::Starting && entry.state() != State::Starting {
            entry.hold_processor(true);
        }
        if entry.state() == before || self.watchers.is_empty() {
            return;
        }
        let status = entry.status(&self.place);
        self.watchers
            .retain(|watcher| watcher.try_send(status.clone()).is_ok());
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Writes down who may call what, where every server reads it.
fn grant(services: &[Entry], bus: &Path) -> Result<()> {
    let programs = services
        .iter()
        .filter_map(|entry| entry.manifest.as_ref().ok())
        .map(|manifest| bus::Grant {
            name: manifest.name.clone(),
            user: manifest.user,
            calls: manifest.calls.iter().map(ToString::to_string).collect(),
            carries: manifest.carries,
        })
        .collect();
    let grants = bus::Grants { programs };
    grants
        .store(bus)
        .with_context(|| format!("writing down in {} who may call what", bus.display()))?;
    services
        .iter()
        .filter_map(|entry| entry.manifest.as_ref().ok())
        .flat_map(|manifest| &manifest.shares)
        .map(|interface| bus.join(interface.shared()))
        // One that could not be opened is its service's problem, and said there.
        .filter(|socket| socket.exists())
        .try_for_each(|socket| give_to_carrier(&socket, &grants))
}

/// Lets the service that carries calls between devices open a socket, and nobody else. Where there is
/// none, nobody may.
pub(crate) fn give_to_carrier(socket: &Path, grants: &bus::Grants) -> Result<()> {
    let doing = || format!("closing {} to all but mesh", socket.display());
    let carrier = grants.programs.iter().find(|program| program.carries);
    std::fs::set_permissions(socket, Permissions::from_mode(0o600)).with_context(doing)?;
    if let Some(carrier) = carrier.filter(|_| rustix::process::geteuid().is_root()) {
        std::os::unix::fs::chown(socket, Some(carrier.user), Some(carrier.user))
            .with_context(doing)?;
    }
    Ok(())
}

/// The number of a process as the system calls take it.
fn pid(process: u32) -> Option<Pid> {
    Pid::from_raw(process.cast_signed())
}
