//! `hyper:services`: what runs, and its log.

use bus::services::{Error, Handler, LogLine, Service, State};
use bus::{Caller, Outgoing};
use futures::Stream;
use tokio::sync::mpsc;

use super::Loop;
use crate::log::{Level, Line};
use crate::process;
use crate::supervise;
use crate::system::request::{Refusal, Wish};
use crate::system::{Request, SharedLog, Status};

/// The most lines that are answered at once.
const MOST_LINES: u32 = 10_000;

/// Answers `hyper:services`.
pub(super) struct Services {
    system: Loop,
    log: SharedLog,
}

impl Services {
    pub(super) fn new(system: Loop, log: SharedLog) -> Self {
        Self { system, log }
    }

    async fn wish(&self, caller: &Caller, name: String, wish: Wish) -> Result<(), Error> {
        self.system
            .wish(name, wish, caller)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Unknown(name) => Error::UnknownService(name),
                Refusal::Impossible(reason) => Error::Refused(reason),
            })
    }
}

impl Handler for Services {
    async fn all(&self, _: Caller) -> Vec<Service> {
        let mut all: Vec<_> = self.system.all().await.into_iter().map(service).collect();
        all.push(process_one());
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    async fn start(&self, caller: Caller, name: String) -> Result<(), Error> {
        self.wish(&caller, name, Wish::Start).await
    }

    async fn stop(&self, caller: Caller, name: String) -> Result<(), Error> {
        self.wish(&caller, name, Wish::Stop).await
    }

    async fn restart(&self, caller: Caller, name: String) -> Result<(), Error> {
        self.wish(&caller, name, Wish::Restart).await
    }

    async fn log(
        &self,
        _: Caller,
        service: Option<String>,
        lines: u32,
    ) -> Result<Vec<LogLine>, Error> {
        if let Some(name) = &service
            && !matches!(name.as_str(), "init" | "kernel")
            && !self
                .system
                .all()
                .await
                .iter()
                .any(|service| service.name == *name)
        {
            return Err(Error::UnknownService(name.clone()));
        }
        let lines = lines.min(MOST_LINES) as usize;
        let newest = self.log.lock().newest(service.as_deref(), lines);
        Ok(newest.into_iter().map(log_line).collect())
    }

    async fn follow_log(&self, _: Caller) -> Outgoing<LogLine> {
        let lines = self.log.lock().follow();
        Box::pin(stream(lines, log_line))
    }

    async fn watch(&self, _: Caller) -> Outgoing<Service> {
        match self.system.ask(Request::Watch).await {
            Some(changes) => Box::pin(stream(changes, service)),
            None => Box::pin(futures::stream::empty()),
        }
    }
}

fn stream<T, U>(receiver: mpsc::Receiver<T>, convert: fn(T) -> U) -> impl Stream<Item = U> {
    futures::stream::unfold(receiver, move |mut receiver| async move {
        let item = receiver.recv().await?;
        Some((convert(item), receiver))
    })
}

fn service(status: Status) -> Service {
    Service {
        name: status.name,
        description: status.description,
        state: match status.state {
            None => State::Broken,
            Some(supervise::State::Waiting) => State::Waiting,
            Some(supervise::State::Starting) => State::Starting,
            Some(supervise::State::Running) => State::Running,
            Some(supervise::State::Stopping) => State::Stopping,
            Some(supervise::State::Stopped) => State::Stopped,
            Some(supervise::State::BackingOff) => State::BackingOff,
            Some(supervise::State::Failed) => State::Failed,
        },
        process: status.process,
        memory: status.memory,
        cpu_time: status.processor,
        wake_ups: status.wake_ups,
        restarts: status.restarts,
        interfaces: status.interfaces,
        sandbox: status.sandbox,
        problem: status.problem,
    }
}

/// Process 1 itself, which uses memory and time like any service.
fn process_one() -> Service {
    let id = std::process::id();
    let usage = process::usage(id);
    Service {
        name: "init".into(),
        description: "Starts, watches and ends all other services".into(),
        state: State::Running,
        process: Some(id),
        memory: usage.memory,
        cpu_time: usage.processor,
        wake_ups: process::wake_ups(id),
        restarts: 0,
        interfaces: [bus::services::ID, bus::power::ID, bus::device::ID]
            .map(str::to_owned)
            .into(),
        sandbox: vec!["none: it is what makes the sandboxes of all others".into()],
        problem: None,
    }
}

fn log_line(line: Line) -> LogLine {
    LogLine {
        time: line.time,
        service: line.service.to_string(),
        level: match line.level {
            Level::Error => bus::services::Level::Error,
            Level::Warning => bus::services::Level::Warning,
            Level::Notice => bus::services::Level::Notice,
            Level::Information => bus::services::Level::Information,
            Level::Detail => bus::services::Level::Detail,
        },
        text: line.text,
    }
}
