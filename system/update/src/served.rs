//! The service `update`: what it knows, what it is doing, and the interface to both.
//!
//! One piece of work at a time, on a thread of its own, for it reads, hashes and
//! writes for long while the interface goes on answering.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use bus::update as wire;
use bus::{Caller, Outgoing};
use futures::stream;
use release::Version;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::archive::Archive;
use crate::automatic;
use crate::find::{Found, Wish};
use crate::pieces::Pieces;
use crate::shelf::Shelf;
use crate::source::Source;
use crate::supply::Problem;
use crate::work::{ROOT, channel, sources};

/// Serves until it is told to stop.
pub fn run() -> Result<()> {
    service::run(async || {
        let data = PathBuf::from(std::env::var_os("HYPER_DATA").unwrap_or("/data/update".into()));
        let system = PathBuf::from(std::env::var_os("HYPER_SYSTEM").unwrap_or("/system".into()));
        let bus = bus::Client::from_environment();
        let update = Update::open(&data, &system, bus)?;
        let mut server = bus::Server::from_environment().context("taking the socket over")?;
        tokio::spawn(automatic::run(
            update.clone(),
            system.join("share/zoneinfo"),
        ));
        let stocked = update.clone();
        tokio::spawn(async move { stocked.stock().await });
        server.serve(bus::pieces::interface(Pieces::new(
            update.0.archive.clone(),
            Arc::clone(&update.0.shelf),
        )));
        server.serve(wire::interface(update));
        Ok(server)
    })
}

/// What the image says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Release {
    pub(crate) version: Version,
    pub(crate) edition: String,
    #[serde(default)]
    pub(crate) development: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Product {
    pub(crate) name: String,
}

/// What is kept in `/data/update/state`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The device's own secret, from which its places in waves come.
    pub(crate) seed: Vec<u8>,
    /// When the sources were last asked with success, in milliseconds since 1970.
    pub(crate) checked: Option<u64>,
    /// The release that was written to the other slot whole.
    pub(crate) ready: Option<Ready>,
}

/// A release in the other slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) version: Version,
    pub(crate) channel: String,
    pub(crate) built: u64,
    pub(crate) notes: String,
    pub(crate) size: u64,
    pub(crate) source: String,
    /// The slot that held it when it was written: once that slot runs, this is over.
    pub(crate) slot: String,
}

store::first_version!(Kept);

/// What goes on: the wire's phases, with what is found still at hand.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Idle,
    Checking,
    Current,
    Available(Box<Found>),
    Installing(wire::Progress),
    Ready(wire::Release),
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) problems: Vec<Problem>,
    pub(crate) kept: store::Store<Kept>,
    pub(crate) working: bool,
    /// The release that the sources had for this device when they were last asked.
    pub(crate) offered: Option<Version>,
}

/// The service.
#[derive(Clone)]
pub struct Update(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) data: PathBuf,
    pub(crate) release: Release,
    pub(crate) product: Product,
    pub(crate) bus: bus::Client,
    pub(crate) state: Mutex<State>,
    pub(crate) cancelled: Arc<AtomicBool>,
    /// What is kept for the others of the family, and where their chunks are.
    pub(crate) archive: Archive,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) changes: watch::Sender<u64>,
}

impl Update {
    /// Reads what the image says of itself and what was kept.
    ///
    /// # Errors
    ///
    /// Fails when the image does not say what it is.
    pub fn open(data: &Path, system: &Path, bus: bus::Client) -> Result<Self> {
        let release = read(&system.join("release.toml"))?;
        let product = read(&system.join("product.toml"))?;
        std::fs::create_dir_all(data.join("metadata"))
            .with_context(|| format!("making the folder {}", data.join("metadata").display()))?;
        let folder = data.join("repository");
        let archive = Archive::open(&folder)
            .with_context(|| format!("making the folder {}", folder.display()))?;
        if let Ok(root) = std::fs::read(ROOT)
            && let Err(error) = archive.keep_root(&root)
        {
            tracing::warn!("keeping this image's root of trust for others: {error}");
        }
        let opened = store::open::<Kept>(&data.join("state"))?;
        for notice in &opened.notices {
            tracing::warn!("{notice}");
        }
        let mut kept = opened.store;
        if kept.value().seed.is_empty() {
            let mut seed = vec![0; 32];
            std::io::Read::read_exact(
                &mut std::fs::File::open("/dev/urandom").context("opening /dev/urandom")?,
                &mut seed,
            )
            .context("making this device's seed")?;
            kept.update(|kept| kept.seed = seed)?;
        }
        let state = State {
            phase: Phase::Idle,
            problems: Vec::new(),
            kept,
            working: false,
            offered: None,
        };
        Ok(Self(Arc::new(Inner {
            data: data.to_owned(),
            release,
            product,
            bus,
            state: Mutex::new(state),
            cancelled: Arc::default(),
            archive,
            shelf: Arc::default(),
            changes: watch::Sender::new(0),
        })))
    }

    /// Looks at the state, or changes it.
    pub(crate) fn with<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        // The state is whole between any two of its lines.
        with(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, phase: Phase) {
        self.with(|state| state.phase = phase);
        self.0.changes.send_modify(|number| *number += 1);
    }

    /// How things stand.
    pub(crate) async fn look(&self) -> wire::State {
        let slots = self.slots().await;
        let (slot, unsupported, trial) = match &slots {
            Ok(slots) => (
                slots.slot.clone(),
                slots.problem.clone(),
                slots.trial.clone(),
            ),
            Err(error) => (None, Some(format!("{error:#}")), None),
        };
        let channel = channel(&self.0.bus).await;
        self.with(|state| {
            self.settle(state, slot.as_deref(), trial.as_ref());
            let phase = match (&state.phase, unsupported) {
                (_, Some(reason)) => wire::Phase::Unsupported(reason),
                (Phase::Idle, None) => wire::Phase::Idle,
                (Phase::Checking, None) => wire::Phase::Checking,
                (Phase::Current, None) => wire::Phase::Current,
                (Phase::Available(found), None) => {
                    wire::Phase::Available(describe(found, slot.as_deref()))
                }
                (Phase::Installing(progress), None) => wire::Phase::Installing(progress.clone()),
                (Phase::Ready(release), None) => wire::Phase::Ready(release.clone()),
                (Phase::Failed(reason), None) => wire::Phase::Failed(reason.clone()),
            };
            wire::State {
                installed: self.0.release.version.to_string(),
                slot: slot.clone(),
                channel,
                phase,
                trial: trial.map(|trial| wire::Trial {
                    version: trial.version,
                    outcome: match trial.outcome {
                        bus::slots::Outcome::Trying => wire::Outcome::Trying,
                        bus::slots::Outcome::Kept => wire::Outcome::Kept,
                        bus::slots::Outcome::FellBack(reason) => wire::Outcome::FellBack(reason),
                    },
                }),
                checked: state.kept.value().checked,
                problems: state
                    .problems
                    .iter()
                    .map(|problem| wire::Problem {
                        source: problem.source.clone(),
                        reason: problem.reason.clone(),
                    })
                    .collect(),
                development: self.0.release.development,
            }
        })
    }

    /// What was written to the other slot is still there after a restart, unless it runs by now or was
    /// given up.
    fn settle(&self, state: &mut State, slot: Option<&str>, trial: Option<&bus::slots::Trial>) {
        let Some(ready) = &state.kept.value().ready else {
            return;
        };
        // What was installed since this service began is wanted, also where it was given up before.
        let before = matches!(state.phase, Phase::Idle);
        if Some(ready.slot.as_str()) == slot
            || ready.version == self.0.release.version
            || (before && ready.was_given_up(trial))
        {
            if let Err(error) = state.kept.update(|kept| kept.ready = None) {
                tracing::warn!("{error}");
            }
        } else if matches!(state.phase, Phase::Idle) {
            state.phase = Phase::Ready(ready.describe());
        }
    }

    /// Where things stand once the sources were asked: what is in the other slot already is ready, and
    /// stays so when they have nothing newer.
    pub(crate) fn phase_of(&self, found: Option<Found>) -> Phase {
        let ready = self.with(|state| state.kept.value().ready.clone());
        match (found, ready) {
            (Some(found), Some(ready)) if found.manifest.version == ready.version => {
                Phase::Ready(ready.describe())
            }
            (Some(found), _) => Phase::Available(Box::new(found)),
            (None, Some(ready)) => Phase::Ready(ready.describe()),
            (None, None) => Phase::Current,
        }
    }

    /// Has the other slot tried, which holds this version.
    pub(crate) async fn restart_into(&self, version: &str) -> Result<(), String> {
        bus::slots::try_other(&self.0.bus, version)
            .await
            .map_err(|error| error.to_string())??;
        bus::power::restart(&self.0.bus)
            .await
            .map_err(|error| error.to_string())
    }

    pub(crate) async fn slots(&self) -> Result<bus::slots::State> {
        bus::slots::status(&self.0.bus)
            .await
            .context("asking process 1 about the slots")
    }

    /// Begins a piece of work, unless one is under way.
    pub(crate) fn begin(
        &self,
        work: impl AsyncFnOnce(Update) -> Result<Phase> + Send + 'static,
    ) -> Result<(), String> {
        let busy = self.with(|state| std::mem::replace(&mut state.working, true));
        if busy {
            return Err("something is under way already: wait for it, or cancel it".to_owned());
        }
        self.0.cancelled.store(false, Ordering::Relaxed);
        let update = self.clone();
        let thread = std::thread::Builder::new()
            .name("work".into())
            .spawn(move || {
                let done = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(anyhow::Error::from)
                    .and_then(|runtime| runtime.block_on(work(update.clone())));
                let phase = done.unwrap_or_else(|error| {
                    tracing::warn!("{error:#}");
                    Phase::Failed(format!("{error:#}"))
                });
                update.with(|state| state.working = false);
                update.set(phase);
            });
        thread.map(drop).map_err(|error| {
            self.with(|state| state.working = false);
            format!("starting to work: {error}")
        })
    }

    /// As this, but calling from another thread: connections belong to the loop that made them.
    pub(crate) fn on_this_thread(&self) -> bus::Client {
        bus::Client::from_environment()
    }
}

impl Ready {
    /// Whether this is what was tried last, and it did not hold.
    fn was_given_up(&self, trial: Option<&bus::slots::Trial>) -> bool {
        trial.is_some_and(|trial| {
            matches!(trial.outcome, bus::slots::Outcome::FellBack(_))
                && trial.version == self.version.to_string()
        })
    }

    fn describe(&self) -> wire::Release {
        wire::Release {
            version: self.version.to_string(),
            channel: self.channel.clone(),
            built: self.built,
            notes: self.notes.clone(),
            size: self.size,
            source: self.source.clone(),
        }
    }
}

/// A release as the interface tells of it.
pub(crate) fn describe(found: &Found, running: Option<&str>) -> wire::Release {
    let slot = if running == Some("a") { "b" } else { "a" };
    wire::Release {
        version: found.manifest.version.to_string(),
        channel: found.channel.clone(),
        built: found.manifest.built * 1000,
        notes: found.manifest.notes.clone(),
        size: found.manifest.download_size(slot),
        source: found.source.name(),
    }
}

impl wire::Handler for Update {
    async fn status(&self, _: Caller) -> wire::State {
        self.look().await
    }

    async fn watch(&self, _: Caller) -> Outgoing<wire::State> {
        let mut changes = self.0.changes.subscribe();
        changes.mark_changed();
        Box::pin(stream::unfold(
            (self.clone(), changes),
            async |(update, mut changes)| {
                changes.changed().await.ok()?;
                let state = update.look().await;
                Some((state, (update, changes)))
            },
        ))
    }

    async fn check(&self, caller: Caller) -> Result<(), String> {
        tracing::info!("{} asks for a check", caller.name());
        self.begin(async |update: Update| {
            update.set(Phase::Checking);
            let sources = sources(&update.on_this_thread()).await?;
            let family = update.family();
            let found = update.find(&sources, Some(&family), &Wish::Turn).await?;
            Ok(update.phase_of(found))
        })
    }

    async fn install(&self, caller: Caller) -> Result<(), String> {
        tracing::info!("{} asks for the installation", caller.name());
        self.begin(async |update: Update| {
            update.set(Phase::Checking);
            let sources = sources(&update.on_this_thread()).await?;
            let family = Some(update.family());
            match update.find(&sources, family.as_ref(), &Wish::Turn).await? {
                Some(found) => update.install_found(found, sources, family.as_ref()).await,
                None => Ok(Phase::Current),
            }
        })
    }

    async fn install_version(&self, caller: Caller, version: String) -> Result<(), String> {
        at_this_device(&caller)?;
        let version: Version = version
            .parse()
            .map_err(|error| format!("{version:?} is no version, such as 0.2.0: {error}"))?;
        if version == self.0.release.version {
            return Err(format!("{version} runs already"));
        }
        tracing::info!("{} asks for the installation of {version}", caller.name());
        self.begin(async move |update: Update| {
            update.set(Phase::Checking);
            let sources = sources(&update.on_this_thread()).await?;
            let wish = Wish::Exactly(version.clone());
            let family = Some(update.family());
            match update.find(&sources, family.as_ref(), &wish).await? {
                Some(found) => update.install_found(found, sources, family.as_ref()).await,
                None => bail!(
                    "no source has {version} for this device and its channel, or it was withdrawn"
                ),
            }
        })
    }

    async fn install_from(&self, caller: Caller, source: String) -> Result<(), String> {
        at_this_device(&caller)?;
        tracing::info!("{} asks for the installation from {source}", caller.name());
        self.begin(async move |update: Update| {
            update.set(Phase::Checking);
            let source = Source::parse(&source, &update.on_this_thread())?;
            match update
                .find(std::slice::from_ref(&source), None, &Wish::Newest)
                .await?
            {
                Some(found) => update.install_found(found, vec![source], None).await,
                None => Ok(Phase::Current),
            }
        })
    }

    async fn cancel(&self, _: Caller) -> Result<(), String> {
        if !self.with(|state| state.working) {
            return Err("nothing is under way".to_owned());
        }
        self.0.cancelled.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn restart(&self, caller: Caller) -> Result<(), String> {
        let state = self.look().await;
        let wire::Phase::Ready(release) = state.phase else {
            return Err("no release is ready: install one first".to_owned());
        };
        tracing::info!(
            "{} asks for a restart into {}",
            caller.name(),
            release.version
        );
        self.restart_into(&release.version).await
    }
}

/// What may lead to an older release, or to another source, is said where the device is.
fn at_this_device(caller: &Caller) -> Result<(), String> {
    match caller.device() {
        None => Ok(()),
        Some(_) => Err("this is only done at the device itself".to_owned()),
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::slots::{Outcome, Trial};

    #[test]
    fn only_the_very_release_that_fell_back_was_given_up() {
        let ready = Ready {
            version: "0.3.0".parse().unwrap(),
            channel: "stable".into(),
            built: 0,
            notes: String::new(),
            size: 1,
            source: "https://mirror.example".into(),
            slot: "b".into(),
        };
        let trial = |version: &str, outcome| Trial {
            slot: "b".into(),
            version: version.into(),
            outcome,
        };
        let fell_back = || Outcome::FellBack("it did not come up".into());
        assert!(ready.was_given_up(Some(&trial("0.3.0", fell_back()))));
        assert!(!ready.was_given_up(Some(&trial("0.2.0", fell_back()))));
        assert!(!ready.was_given_up(Some(&trial("0.3.0", Outcome::Trying))));
        assert!(!ready.was_given_up(None));
    }
}
