//! Restoring a family with its paper phrase, when all its owner devices are lost.
//!
//! ```text
//! new device, of no family                 member that somebody has opened
//!   │ ── version ────────────────────────────► │
//!   │ ◄── greetings: it knows the paper key ── │
//!   │ ── claim: the words are here ──────────► │  is no longer open
//!   │ ◄── holds, and the log ───────────────── │
//!   │    the person says which devices are lost
//!   │ ── entries by the paper key ───────────► │  keeps them
//!   │ ◄── taken ────────────────────────────── │
//!   keeps the log
//! ```
//!
//! What proves what is `trust::recovery`'s. **The member keeps the entries first**: where the power fails between
//! the two, the new device is of no family, and to do the same again is all that is needed. The other way round
//! it would be an owner device that nobody knows, of a family that nobody could restore on it.

mod member;
mod new_device;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::paper::{Error, Stage};
use tokio::sync::{Semaphore, mpsc, watch};
use trust::family::Family;
use trust::identity::DeviceId;
use trust::log::{Action, Role};
use trust::recovery::{Phrase, PhraseError};

use crate::bucket::Bucket;
use crate::discovery::Purpose;
use crate::node::Node;
use crate::opening::Opening;
use crate::{paper, served};

/// The version of what is said here.
const VERSION: u8 = 1;
/// What the proofs are bound to a connection by.
const EXPORT_LABEL: &[u8] = b"EXPORTER-hyperos-recovery-1";
/// How long the person may take to say which devices are lost.
const CHOOSING: Duration = Duration::from_secs(600);
/// How long either side may take to take in and keep what the other sends.
const KEEPING: Duration = Duration::from_secs(30);
/// Devices that may be claiming at once.
const MAX_CLAIMANTS: usize = 4;
/// Claims: so many at once, and so many an hour after that. Words cannot be guessed: this bounds the work alone.
const CLAIM_BURST: u32 = 8;
const CLAIMS_AN_HOUR: u32 = 240;
/// The longest answer.
const MAX_ANSWER: usize = 16;

/// What the person at this device says.
#[derive(Clone, Debug)]
enum Word {
    Lost(Vec<DeviceId>),
    Stop,
}

#[derive(Debug)]
struct State {
    tries: Bucket,
    /// Where the words of the person go, while a family is being restored.
    words: Option<mpsc::Sender<Word>>,
}

/// Restoring a family, on either side.
#[derive(Debug)]
pub struct Recovery {
    node: Arc<Node>,
    opening: Arc<Opening<()>>,
    claimants: Arc<Semaphore>,
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
}

impl Recovery {
    /// None is under way.
    pub fn new(node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self {
            opening: Opening::new(Arc::clone(&node), Purpose::Recovery),
            node,
            claimants: Arc::new(Semaphore::new(MAX_CLAIMANTS)),
            state: Mutex::new(State {
                tries: Bucket::an_hour(CLAIM_BURST, CLAIMS_AN_HOUR),
                words: None,
            }),
            stage: watch::Sender::new(Stage::Closed),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Twelve new words for this device's family, which nothing follows from.
    pub fn generate(&self) -> Result<Vec<String>, Error> {
        self.family_of_owner()?;
        let phrase = Phrase::generate().map_err(|error| Error::Refused(error.to_string()))?;
        Ok(phrase.words().map(str::to_owned).collect())
    }

    /// Makes these words the phrase of the family.
    pub fn set(&self, words: &str) -> Result<(), Error> {
        self.family_of_owner()?;
        let key = Phrase::read(words).map_err(wrong)?.key().id();
        let set = Action::PaperKeySet { key };
        let written = self
            .node
            .write(|log, identity, time| log.write(identity, set, time).map(|_| ()));
        written.map_err(not_changed)
    }

    fn family_of_owner(&self) -> Result<Arc<Family>, Error> {
        let refused = |reason: &str| Err(Error::Refused(reason.into()));
        match self.node.family() {
            None => refused("this device has no family yet: add another device first"),
            Some(family) if family.role(self.node.id()) != Some(Role::Owner) => {
                refused("only an owner device sets the paper phrase")
            }
            Some(family) => Ok(family),
        }
    }

    /// Lets others see this device and restore its family for a while.
    pub fn open(self: &Arc<Self>) -> Result<(), Error> {
        let refused = |reason: &str| Err(Error::Refused(reason.into()));
        match self.node.family() {
            None => return refused("this device is of no family that could be restored"),
            Some(family) if !family.has_paper() => {
                return refused(
                    "this family has no paper phrase: only an owner device can set one",
                );
            }
            Some(_) => {}
        }
        if self.state().words.is_some() {
            return refused("the family is being restored already");
        }
        let this = Arc::clone(self);
        self.opening.open((), move || this.close_opening());
        self.stage.send_replace(Stage::Open);
        Ok(())
    }

    fn close_opening(&self) {
        if self.opening.close().is_some() {
            self.stage.send_if_modified(|stage| {
                is_open(stage) && {
                    *stage = Stage::Closed;
                    true
                }
            });
        }
    }

    /// Ends whatever was begun, as long as nothing has changed.
    pub fn close(&self) {
        self.opening.close();
        let words = self.state().words.clone();
        match words {
            // It may have as many as it takes already.
            Some(words) => drop(words.try_send(Word::Stop)),
            None => drop(self.stage.send_replace(Stage::Closed)),
        }
    }

    fn begin_words(&self) -> Result<mpsc::Receiver<Word>, Error> {
        let mut state = self.state();
        if state.words.is_some() {
            return Err(Error::Refused("a family is being restored already".into()));
        }
        let (sender, words) = mpsc::channel(4);
        state.words = Some(sender);
        Ok(words)
    }

    fn end(&self, device: DeviceId, restored: Result<bool, Error>) {
        self.state().words = None;
        let stage = match restored {
            Ok(true) => {
                tracing::info!("the family was restored, with {}", device.short());
                Stage::Restored(device.to_string())
            }
            Ok(false) => Stage::Closed,
            Err(error) => {
                let why = paper::describe(&error);
                tracing::info!("restoring the family with {}: {why}", device.short());
                Stage::Failed(error)
            }
        };
        self.stage.send_replace(stage);
    }
}

fn is_open(stage: &Stage) -> bool {
    matches!(stage, Stage::Open)
}

async fn stopped(words: &mut mpsc::Receiver<Word>) {
    while let Some(Word::Lost(_)) = words.recv().await {}
}

fn wrong(error: PhraseError) -> Error {
    match error {
        PhraseError::Count(count) => Error::Count(count as u32),
        PhraseError::Word(number) => Error::UnknownWord(number as u32),
        PhraseError::Checksum => Error::Checksum,
    }
}

fn not_changed(error: anyhow::Error) -> Error {
    let reason = format!("{error:#}");
    if served::is_not_kept(&error) {
        Error::NotSaved(reason)
    } else {
        Error::Refused(reason)
    }
}

fn unreachable(error: anyhow::Error) -> Error {
    Error::Unreachable(format!("{error:#}"))
}
