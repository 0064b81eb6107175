//! One service at work: its sockets, its process, its control group.

use std::fs::{File, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Signal, WaitStatus};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use super::request::Refusal;
use super::{Message, SharedLog, capture, pid};
use crate::cgroup::{Group, Usage};
use crate::log::Level;
use crate::manifest::{Manifest, ManifestError, Start};
use crate::process;
use crate::sandbox::{Place, Plan};
use crate::spawn::{self, Child};
use crate::supervise::{State, Supervisor};
use crate::watch;

/// What there is to know about a service.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Where it stands; `None` when its manifest is broken.
    pub state: Option<State>,
    /// Its process.
    pub process: Option<u32>,
    /// Bytes of memory.
    pub memory: u64,
    /// Microseconds of processor time since its last start.
    pub processor: u64,
    /// How often its threads went to sleep since its last start.
    pub wake_ups: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// What it serves.
    pub interfaces: Vec<String>,
    /// Its sandbox, a line a measure.
    pub sandbox: Vec<String>,
    /// What is wrong, or was last.
    pub problem: Option<String>,
}

/// A service's process, from its making to its end.
#[derive(Debug)]
pub(super) struct Process {
    pub id: u32,
    /// Whether its program runs (`None` inside), or why not; `None` outside while not known.
    pub status: Option<Option<String>>,
    /// How it ended.
    pub ended: Option<String>,
    /// Whether its supervisor knows that it runs.
    pub announced: bool,
    /// What it prints and the status pipe, until their readers take them.
    pipes: Option<[OwnedFd; 3]>,
    /// Who waits for its end.
    waiting: Vec<oneshot::Sender<Result<(), Refusal>>>,
}

/// One service at work.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub manifest: Result<Manifest, ManifestError>,
    pub supervisor: Option<Supervisor>,
    pub process: Option<Process>,
    /// Whether it was killed at the end of the system.
    pub killed: bool,
    /// What could not be set up, such as a socket.
    trouble: Option<String>,
    plan: Option<Plan>,
    sockets: Vec<UnixListener>,
    group: Option<Group>,
    /// Its empty network namespace, once it had a process.
    network: Option<OwnedFd>,
    generation: u64,
    /// When its process began to be made.
    begun: Instant,
    /// What its control group had used when its process was made.
    before: Usage,
    health: Option<bus::Client>,
    health_folder: std::path::PathBuf,
}

impl Entry {
    pub(super) fn new(
        name: String,
        manifest: Result<Manifest, ManifestError>,
        place: &Place,
        groups: Option<&Path>,
        log: &SharedLog,
    ) -> Self {
        let mut entry = Self {
            health_folder: place.run.join("health").join(&name),
            name,
            manifest,
            supervisor: None,
            process: None,
            killed: false,
            trouble: None,
            plan: None,
            sockets: Vec::new(),
            group: None,
            network: None,
            generation: 0,
            begun: Instant::now(),
            before: Usage::default(),
            health: None,
        };
        match &entry.manifest {
            Ok(manifest) => {
                let manifest = manifest.clone();
                if let Err(error) = entry.set_up(&manifest, place, groups) {
                    let text = format!("{error:#}");
                    log.say(Level::Error, format!("{}: {text}", entry.name));
                    entry.trouble = Some(text);
                }
            }
            Err(error) => log.say(
                Level::Error,
                format!("service {} is broken: {error}", entry.name),
            ),
        }
        entry
    }

    fn set_up(&mut self, manifest: &Manifest, place: &Place, groups: Option<&Path>) -> Result<()> {
        let bus = place.bus();
        for interface in &manifest.serves {
            let listener = bus::listen(&bus, interface.as_str())
                .with_context(|| format!("opening the socket of {interface}"))?;
            // Who may call is decided by what a sandbox shows and by the server's grants.
            std::fs::set_permissions(interface.socket(&bus), Permissions::from_mode(0o666))
                .with_context(|| format!("opening the socket of {interface} to its callers"))?;
            self.sockets.push(listener);
        }
        for interface in &manifest.shares {
            // Who may open it is set when it is known which service carries calls.
            let listener = bus::listen(&bus, &interface.shared())
                .with_context(|| format!("opening the socket of {interface} for other devices"))?;
            self.sockets.push(listener);
        }
        if let Some(interface) = manifest.serves.first() {
            self.link_health(&interface.socket(&bus))
                .with_context(|| format!("making {}", self.health_folder.display()))?;
        }
        if let Some(groups) = groups {
            self.group = Some(Group::make(groups, &self.name, &manifest.limits)?);
        }
        let plan = Plan::new(manifest, place);
        for folder in [&plan.data, &plan.run] {
            own_folder(folder, plan.user)
                .with_context(|| format!("making the folder {}", folder.display()))?;
        }
        self.plan = Some(plan);
        let serves = !manifest.serves.is_empty();
        self.supervisor = Some(Supervisor::new(
            manifest.restart.clone(),
            manifest.health.clone(),
            serves,
        ));
        Ok(())
    }

    /// Every socket of a service answers for its health; here the first one stands under the name
    /// of that interface, in a folder of sockets that only process 1 uses.
    fn link_health(&self, socket: &Path) -> std::io::Result<()> {
        let link = bus::socket_path(&self.health_folder, bus::health::ID);
        std::fs::create_dir_all(link.parent().unwrap_or(&link))?;
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(socket, link)
    }

    /// What starts it; a broken one is started by nothing.
    pub(super) fn starts(&self) -> Option<Start> {
        self.manifest.as_ref().ok().map(|manifest| manifest.start)
    }

    /// Where the service stands; a broken one counts as stopped.
    pub(super) fn state(&self) -> State {
        self.supervisor
            .as_ref()
            .map_or(State::Stopped, Supervisor::state)
    }

    /// Whether it would be started by a call or by the passing of time.
    pub(super) fn is_to_be_started(&self) -> bool {
        self.supervisor.is_some()
            && matches!(
                self.state(),
                State::Waiting | State::BackingOff | State::Failed
            )
    }

    pub(super) fn is_process(&self, id: u32) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.id == id)
    }

    /// The present process, if it is the one of that generation.
    pub(super) fn process_of(&mut self, generation: u64) -> Option<&mut Process> {
        self.process
            .as_mut()
            .filter(|_| self.generation == generation)
    }

    pub(super) fn start(&mut self, program: &Path, groups: Option<&Path>) -> Result<()> {
        self.begun = Instant::now();
        let plan = self
            .plan
            .as_ref()
            .context("the service could not be set up")?;
        // A group that somebody else removed, or that could not be made before, is made anew.
        if let (Some(groups), Ok(manifest)) = (groups, &self.manifest)
            && self
                .group
                .as_ref()
                .is_none_or(|group| !group.folder().is_dir())
        {
            self.group = Some(Group::make(groups, &self.name, &manifest.limits)?);
        }
        self.hold_processor(false);
        let sockets: Vec<_> = self.sockets.iter().map(AsFd::as_fd).collect();
        let Child {
            process,
            output,
            errors,
            status,
            network,
        } = spawn::spawn(
            program,
            plan,
            &sockets,
            self.group.as_ref().map(Group::folder),
            self.network.as_ref().map(AsFd::as_fd),
        )?;
        self.network = network.or_else(|| self.network.take());
        self.generation += 1;
        self.before = self.group.as_ref().map(Group::usage).unwrap_or_default();
        self.health = Some(bus::Client::new(bus::Address::Here(
            self.health_folder.clone(),
        )));
        self.process = Some(Process {
            id: process,
            status: None,
            ended: None,
            announced: false,
            pipes: Some([output, errors, status]),
            waiting: Vec::new(),
        });
        Ok(())
    }

    /// Whether its share of the processor is all that it gets.
    pub(super) fn hold_processor(&self, held: bool) {
        if let (Some(group), Ok(manifest)) = (&self.group, &self.manifest) {
            group.hold_processor(&manifest.limits, held);
        }
    }

    /// How long ago its process began to be made.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Begins to read what the process prints and whether its program runs.
    pub(super) fn watch_process(
        &mut self,
        service: usize,
        sender: &mpsc::UnboundedSender<Message>,
        log: &SharedLog,
    ) {
        let generation = self.generation;
        let Some([output, errors, status]) = self
            .process
            .as_mut()
            .and_then(|process| process.pipes.take())
        else {
            return;
        };
        for (pipe, level) in [(output, Level::Information), (errors, Level::Warning)] {
            tokio::spawn(capture::capture(
                pipe,
                self.name.clone(),
                level,
                log.clone(),
            ));
        }
        let sender = sender.clone();
        tokio::spawn(async move {
            let failure = match pipe::Receiver::from_owned_fd(status) {
                Ok(mut status) => {
                    let mut text = String::new();
                    match status.read_to_string(&mut text).await {
                        Ok(_) => (!text.is_empty()).then_some(text),
                        Err(error) => Some(format!("its start could not be followed: {error}")),
                    }
                }
                Err(error) => Some(format!("its start could not be followed: {error}")),
            };
            let _ = sender.send(Message::Started {
                service,
                generation,
                failure,
            });
        });
    }

    /// Asks after the service's health. No answer is an answer too: the supervisor waits for it.
    pub(super) fn ask(&self, service: usize, sender: &mpsc::UnboundedSender<Message>) {
        let Some(client) = self.health.clone() else {
            return;
        };
        let (generation, sender) = (self.generation, sender.clone());
        tokio::spawn(async move {
            let client = client.with_deadline(crate::supervise::LONGEST_START);
            // A connection may break without the service being unwell: once more, then it is for
            // the supervisor to lose patience.
            for _ in 0..2 {
                if let Ok(answer) = bus::health::check(&client).await {
                    let _ = sender.send(Message::Health {
                        service,
                        generation,
                        answer,
                    });
                    return;
                }
            }
        });
    }

    /// Has a message sent when somebody connects to one of the sockets.
    pub(super) fn await_call(&self, service: usize, sender: &mpsc::UnboundedSender<Message>) {
        for socket in &self.sockets {
            let Ok(socket) = socket.try_clone() else {
                continue;
            };
            let sender = sender.clone();
            tokio::spawn(async move {
                let readable = match watch::file(File::from(OwnedFd::from(socket))) {
                    Ok(socket) => socket.readable().await.map(|_| ()),
                    Err(error) => Err(error),
                };
                // A socket that cannot be watched: better started too early than never.
                let _ = readable;
                let _ = sender.send(Message::Called { service });
            });
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(process) = self.process.as_ref().and_then(|process| pid(process.id)) {
            // It may have ended a moment ago and just not been taken in.
            let _ = rustix::process::kill_process(process, signal);
        }
    }

    /// Sends SIGKILL, and has the answer wait until the process has been taken in. Until then the
    /// dying process may still take a call.
    pub(super) fn end(&mut self, answer: oneshot::Sender<Result<(), Refusal>>) {
        self.signal(Signal::KILL);
        if let Some(process) = &mut self.process {
            process.waiting.push(answer);
        }
    }

    /// Ends the process and all that it started.
    pub(super) fn kill(&self) {
        if let Some(group) = &self.group {
            let _ = group.kill();
        } else if let Some(process) = self.process.as_ref().and_then(|process| pid(process.id)) {
            let _ = rustix::process::kill_process_group(process, Signal::KILL);
        }
        self.signal(Signal::KILL);
    }

    pub(super) fn forget_process(&mut self) {
        // What the process left behind ends with it.
        if let Some(group) = &self.group {
            let _ = group.kill();
        }
        if let Some(process) = self.process.take() {
            for waiting in process.waiting {
                // Who asked may be gone, too.
                let _ = waiting.send(Ok(()));
            }
        }
        self.health = None;
    }

    /// How a process ended, in words.
    pub(super) fn describe_end(&self, status: WaitStatus) -> String {
        self.describe_end_since(status, self.before.memory_kills)
    }

    /// The same for a process in the service's control group, in which the kernel had ended
    /// something for want of memory so many times before.
    pub(super) fn describe_end_since(&self, status: WaitStatus, memory_kills: u64) -> String {
        if self.usage().unwrap_or_default().memory_kills > memory_kills {
            let limit = self
                .manifest
                .as_ref()
                .map_or(0, |manifest| manifest.limits.memory >> 20);
            return format!("it used up its {limit} MiB of memory and was ended by the kernel");
        }
        process::describe_end(status)
    }

    /// What the control group has used; `None` without one.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.group.as_ref().map(Group::usage)
    }

    pub(super) fn group_folder(&self) -> Option<&Path> {
        self.group.as_ref().map(Group::folder)
    }

    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    pub(super) fn status(&self, place: &Place) -> Status {
        let process = self.process.as_ref().map(|process| process.id);
        let (memory, processor, processes) = match (&self.group, process) {
            (Some(group), _) => {
                let usage = group.usage();
                (
                    usage.memory,
                    usage.processor.saturating_sub(self.before.processor),
                    group.processes(),
                )
            }
            (None, Some(process)) => {
                let usage = process::usage(process);
                (usage.memory, usage.processor, vec![process])
            }
            (None, None) => (0, 0, Vec::new()),
        };
        let (description, interfaces, sandbox) = match &self.manifest {
            Ok(manifest) => (
                manifest.description.clone(),
                manifest.serves.iter().map(ToString::to_string).collect(),
                self.plan
                    .as_ref()
                    .map(|plan| plan.measures(manifest, place, self.group.is_some())),
            ),
            Err(_) => Default::default(),
        };
        let problem = match &self.manifest {
            Err(error) => Some(error.to_string()),
            Ok(_) => self
                .trouble
                .clone()
                .or_else(|| self.supervisor.as_ref()?.problem().map(str::to_owned)),
        };
        Status {
            name: self.name.clone(),
            description,
            state: self.supervisor.as_ref().map(Supervisor::state),
            process,
            memory,
            processor,
            wake_ups: processes.into_iter().map(process::wake_ups).sum(),
            restarts: self.supervisor.as_ref().map_or(0, Supervisor::restarts),
            interfaces,
            sandbox: sandbox.unwrap_or_default(),
            problem,
        }
    }
}

/// Makes a folder that only its owner may enter.
fn own_folder(folder: &Path, user: Option<u32>) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    if let Some(user) = user {
        std::os::unix::fs::chown(folder, Some(user), Some(user))?;
    }
    Ok(())
}
