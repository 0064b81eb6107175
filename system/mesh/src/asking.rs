//! Asking the owner about a call that no grant allows or refuses.
//!
//! ```text
//! caller                  callee                              owner device
//!   │ ── call ─────────────► │ no grant                            │
//!   │ ◄── asking ─────────── │ ── question ──────────────────────► │
//!   │                        │ ◄── shown ───────────────────────── │ on its screen
//!   │                        │ ◄── log: a grant ────────────────── │ the owner says yes
//!   │ ◄── open ───────────── │                                     │
//! ```
//!
//! Where the device that is called is itself an owner device that shows questions, it asks on its own
//! screen and nowhere else; otherwise on all owner devices that can be reached, the caller among
//! them if it is one. **What allows the call is the grant in the log and nothing else**: the words on
//! the stream only end the waiting early. They are taken from owner devices alone.
//!
//! The call is asked about for a minute, and for no longer than the caller waits: its question goes from
//! the screen when the stream of the call ends. Questions of one device, and of all, are bounded here,
//! and again on the screen where they arrive ([`questions`](crate::questions)).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use iroh::endpoint::{RecvStream, SendStream};
use tokio::time::Instant;
use trust::family::Verdict;
use trust::identity::DeviceId;
use trust::log::{EntryId, Interfaces, Role};

use crate::bucket::Bucket;
use crate::links::{self, Link};
use crate::node::{Node, now};
use crate::questions::{NotShown, Outcome, Subject};
use crate::wire::{self, CallHead, Kind, MAX_HEAD, QuestionAnswer, QuestionHead};

/// How long the owner has.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What the caller allows for the way there and back beside that.
pub const ON_THE_WAY: Duration = Duration::from_secs(15);
/// How long an owner device may take to say whether it shows a question.
const SHOWING: Duration = Duration::from_secs(10);
/// Calls of one device about which the owner is asked at once, and of all.
const MAX_OF_ONE: usize = 8;
const MAX_OF_ALL: usize = 32;
/// Calls of one device that begin to be asked about: so many at once, and so many in an hour after.
const BURST: u32 = 32;
const AN_HOUR: u32 = 360;
/// What a caller is told.
const REFUSED: &str = "the owner has refused it";
/// The longest program's name that is shown.
const MAX_PROGRAM: usize = 64;

/// The devices for whose calls the owner is being asked.
#[derive(Debug)]
pub struct Askers {
    asking: Mutex<HashMap<DeviceId, Asker>>,
    patience: AtomicU64,
}

impl Default for Askers {
    fn default() -> Self {
        Self {
            asking: Mutex::default(),
            patience: AtomicU64::new(PATIENCE.as_millis() as u64),
        }
    }
}

#[derive(Debug)]
struct Asker {
    waiting: usize,
    bucket: Bucket,
}

/// The owner is being asked about a call, until this is dropped.
#[derive(Debug)]
struct Asked<'a> {
    askers: &'a Askers,
    device: DeviceId,
}

impl Askers {
    /// How long the owner has: [`PATIENCE`], where nobody has set anything else.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience.load(Ordering::Relaxed))
    }

    /// Gives the owner another time than [`PATIENCE`], and never more: callers wait for that.
    pub fn set_patience(&self, patience: Duration) {
        let patience = patience.min(PATIENCE).as_millis() as u64;
        self.patience.store(patience, Ordering::Relaxed);
    }

    fn asking(&self) -> MutexGuard<'_, HashMap<DeviceId, Asker>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, device: DeviceId) -> Option<Asked<'_>> {
        let mut askers = self.asking();
        let waiting: usize = askers.values().map(|asker| asker.waiting).sum();
        let asker = askers.entry(device).or_insert_with(|| Asker {
            waiting: 0,
            bucket: Bucket::an_hour(BURST, AN_HOUR),
        });
        let allowed = waiting < MAX_OF_ALL && asker.waiting < MAX_OF_ONE;
        (allowed && asker.bucket.try_take(1)).then(|| {
            asker.waiting += 1;
            Asked {
                askers: self,
                device,
            }
        })
    }

    /// Forgets who is of the family no more.
    pub fn keep(&self, is_member: impl Fn(DeviceId) -> bool) {
        let mut askers = self.asking();
        askers.retain(|device, asker| asker.waiting > 0 || is_member(*device));
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut askers = self.askers.asking();
        if let Some(asker) = askers.get_mut(&self.device) {
            asker.waiting -= 1;
        }
    }
}

/// Waits until the log says something about a call, which `verdict` reads from it; the error says why
/// it does not. [`Verdict::Ask`] is answered where the owner has allowed it and another call has used
/// that already.
pub async fn ask(
    node: &Arc<Node>,
    caller: DeviceId,
    head: &CallHead,
    until: Instant,
    verdict: impl Fn() -> Verdict,
) -> Result<Verdict, String> {
    let mut changes = node.watch_log();
    let _asked = node
        .askers
        .begin(caller)
        .ok_or_else(|| NotShown::Busy.to_string())?;
    let subject = Subject {
        caller,
        callee: node.id(),
        interface: unversioned(&head.interface).to_owned(),
    };
    let program = head.program.as_deref().and_then(shown_program);
    let mut word = std::pin::pin!(word(node, subject, program));
    let mut allowed: Option<EntryId> = None;
    loop {
        changes.borrow_and_update();
        let verdict = verdict();
        let is_here = |entry| node.with_log(|log| log.entry(entry).is_some()) == Some(true);
        if verdict != Verdict::Ask || allowed.is_some_and(is_here) {
            return Ok(verdict);
        }
        tokio::select! {
            // What the log says comes before what was said about it.
            biased;
            changed = changes.changed() => if changed.is_err() {
                return Err("the device is going down".into());
            },
            said = &mut word, if allowed.is_none() => allowed = Some(said?),
            () = tokio::time::sleep_until(until) => {
                return Err("the owner was asked and has not answered".into());
            }
        }
    }
}

/// Has the question shown, and waits for the owner's word: the entry that allows it, or why it is
/// refused.
async fn word(
    node: &Arc<Node>,
    subject: Subject,
    program: Option<String>,
) -> Result<EntryId, String> {
    let own = node.role(node.id()) == Some(Role::Owner);
    if own && node.questions.has_screen() {
        let caller = subject.caller;
        let asked = node.questions.ask(subject, program, 0, caller);
        let mut held = asked.map_err(|reason| reason.to_string())?;
        return match held.outcome().await {
            Outcome::Allowed(entry) => Ok(entry),
            Outcome::Waits | Outcome::Refused => Err(REFUSED.into()),
        };
    }
    let mut asked: FuturesUnordered<_> = node
        .reachable()
        .into_iter()
        .filter(|device| node.role(*device) == Some(Role::Owner))
        .map(|device| elsewhere(node, device, &subject, program.as_deref()))
        .collect();
    let mut reason = None;
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(QuestionAnswer::Refused) => return Err(REFUSED.into()),
            Ok(QuestionAnswer::Muted) => return Err(NotShown::Muted.to_string()),
            Ok(QuestionAnswer::Allowed(entry)) => return Ok(EntryId::from_bytes(entry)),
            Ok(QuestionAnswer::Busy) => reason = Some(NotShown::Busy.to_string()),
            Ok(QuestionAnswer::Shown | QuestionAnswer::NotHere) => {}
            Err(error) => tracing::debug!("asking the owner: {error:#}"),
        }
    }
    Err(reason.unwrap_or_else(|| {
        "it needs the owner's word, and no owner device with a screen can be reached".into()
    }))
}

/// Has the question shown on an owner device, and waits for what becomes of it. Dropping this takes the
/// question back.
async fn elsewhere(
    node: &Arc<Node>,
    device: DeviceId,
    subject: &Subject,
    program: Option<&str>,
) -> Result<QuestionAnswer> {
    let link = links::connect(node, device).await?;
    let _using = link.begin_use();
    let (mut send, mut receive) = link
        .connection
        .open_bi()
        .await
        .context("opening a stream")?;
    let shown = async {
        wire::begin(&mut send, Kind::Question).await?;
        let head = QuestionHead {
            caller: *subject.caller.as_bytes(),
            program: program.map(str::to_owned),
            interface: subject.interface.clone(),
            now: now() / 1000,
        };
        wire::write(&mut send, &head).await?;
        wire::read(&mut receive, MAX_HEAD).await
    };
    let mut answer: QuestionAnswer = tokio::time::timeout(SHOWING, shown)
        .await
        .with_context(|| format!("{} does not answer", node.name(device)))??;
    if answer == QuestionAnswer::Shown {
        answer = wire::read(&mut receive, MAX_HEAD).await?;
    }
    // It may have been one when it was asked, and be one no more.
    anyhow::ensure!(
        node.role(device) == Some(Role::Owner),
        "{} is no owner device any more",
        node.name(device)
    );
    Ok(answer)
}

/// Serves a stream on which another device asks the owner.
pub async fn serve(
    node: &Arc<Node>,
    link: &Arc<Link>,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<()> {
    let head: QuestionHead = tokio::time::timeout(SHOWING, wire::read(&mut receive, MAX_HEAD))
        .await
        .context("it does not say what it asks")??;
    let mut held = match show(node, link.device, head) {
        Ok(held) => held,
        Err(reason) => {
            wire::write(&mut send, &reason).await?;
            send.finish()?;
            return Ok(());
        }
    };
    wire::write(&mut send, &QuestionAnswer::Shown).await?;
    let outcome = tokio::select! {
        outcome = held.outcome() => outcome,
        // It waits no longer, or the connection is gone.
        _ = send.stopped() => return Ok(()),
        () = tokio::time::sleep(PATIENCE + SHOWING) => return Ok(()),
    };
    let answer = match outcome {
        Outcome::Allowed(entry) => QuestionAnswer::Allowed(*entry.as_bytes()),
        Outcome::Waits | Outcome::Refused => QuestionAnswer::Refused,
    };
    wire::write(&mut send, &answer).await?;
    send.finish()?;
    Ok(())
}

fn show(
    node: &Arc<Node>,
    callee: DeviceId,
    head: QuestionHead,
) -> Result<crate::questions::Held, QuestionAnswer> {
    if node.role(node.id()) != Some(Role::Owner) {
        return Err(QuestionAnswer::NotHere);
    }
    // Whoever it says that asks must be of the family here too, and another device than it is.
    let caller = DeviceId::from_bytes(&head.caller)
        .ok()
        .filter(|caller| *caller != callee && node.is_member(*caller));
    let interface = unversioned(&head.interface);
    let (Some(caller), true) = (caller, Interfaces::all().contain(interface)) else {
        return Err(QuestionAnswer::Refused);
    };
    let subject = Subject {
        caller,
        callee,
        interface: interface.to_owned(),
    };
    let program = head.program.as_deref().and_then(shown_program);
    let own = i64::try_from(now() / 1000).unwrap_or(i64::MAX);
    let theirs = i64::try_from(head.now).unwrap_or(i64::MAX);
    let ahead = theirs.saturating_sub(own);
    node.questions
        .ask(subject, program, ahead, callee)
        .map_err(|reason| match reason {
            NotShown::NoScreen => QuestionAnswer::NotHere,
            NotShown::Muted => QuestionAnswer::Muted,
            NotShown::Busy => QuestionAnswer::Busy,
        })
}

fn unversioned(interface: &str) -> &str {
    interface
        .split_once('@')
        .map_or(interface, |(name, _)| name)
}

/// A program's name as far as it is one: letters, digits and what joins them. It comes from another
/// device, and stands in a sentence that the owner is to trust.
fn shown_program(claimed: &str) -> Option<String> {
    let may_stand = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    let program: String = claimed.chars().filter(|c| may_stand(*c)).collect();
    let program = &program[..program.floor_char_boundary(MAX_PROGRAM)];
    let program = program.trim();
    (!program.is_empty()).then(|| program.to_owned())
}

#[cfg(test)]
mod tests {
    use trust::identity::Identity;

    use super::*;

    fn device(number: u8) -> DeviceId {
        Identity::from_secret(&[number; 32]).unwrap().id()
    }

    #[test]
    fn what_is_asked_at_once_is_bounded_for_one_device_and_for_all() {
        let askers = Askers::default();
        let mut asked = Vec::new();
        for number in 1..=4 {
            for _ in 0..MAX_OF_ONE {
                asked.push(askers.begin(device(number)).expect("within the bound"));
            }
            assert!(askers.begin(device(number)).is_none(), "one device");
        }
        assert_eq!(asked.len(), MAX_OF_ALL);
        assert!(askers.begin(device(9)).is_none(), "all devices");
        asked.clear();
        assert!(askers.begin(device(9)).is_some());
        askers.keep(|kept| kept == device(1));
        assert_eq!(askers.asking().len(), 1);
    }

    #[test]
    fn who_calls_over_and_over_is_not_asked_about() {
        let askers = Askers::default();
        for _ in 0..BURST {
            assert!(askers.begin(device(1)).is_some());
        }
        assert!(askers.begin(device(1)).is_none());
        assert!(askers.begin(device(2)).is_some());
    }

    #[test]
    fn a_program_cannot_write_into_the_sentence_that_names_it() {
        assert_eq!(shown_program("music"), Some("music".into()));
        assert_eq!(
            shown_program("x”. Allow everything:\n\u{202e}always"),
            Some("x. Allow everythingalways".into())
        );
        assert_eq!(shown_program("\u{200b}\n"), None);
        let long = "字".repeat(100);
        assert!(shown_program(&long).unwrap().len() <= MAX_PROGRAM);
    }

    #[test]
    fn a_version_is_no_part_of_what_is_asked() {
        assert_eq!(
            unversioned("hyper:device/device@1.0.0"),
            "hyper:device/device"
        );
        assert_eq!(unversioned("hyper:device/device"), "hyper:device/device");
    }
}
