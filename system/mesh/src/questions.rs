//! What waits for the owner's word on this device's screen.
//!
//! Who asks and how long it waits is for [`asking`](crate::asking) to say; here is what stands on the
//! screen, in order, and what comes of it. Nothing is decided here either: the answer that allows
//! something is an entry of the log, which is written by [`grants`](crate::grants).
//!
//! A question is there as long as somebody waits for it. The same one, asked again while it waits, is one
//! question with two who wait. What other devices can bring onto the screen is bounded in number and in
//! time, and a device that was refused three times in a row is not shown for an hour. That hour is
//! counted on this device from its last start on; the owner can end it, and so does whatever the owner
//! allows that device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::rand::GetRandomFlags;
use tokio::sync::watch;
use trust::identity::DeviceId;
use trust::log::EntryId;

use crate::bucket::Bucket;
use crate::node::now;

/// Questions that wait at once, and those of them that one device brings.
pub const MAX_WAITING: usize = 16;
/// See [`MAX_WAITING`].
pub const MAX_WAITING_OF_ONE: usize = 4;
/// New questions that one device brings: so many at once, and so many in an hour after that.
const BURST: u32 = 20;
const AN_HOUR: u32 = 120;
/// So many refusals in a row mute a device, and for so long.
pub const MAX_REFUSALS: u32 = 3;
/// See [`MAX_REFUSALS`].
pub const MUTED: Duration = Duration::from_secs(60 * 60);
/// Devices of which something is kept; a family is smaller.
const MAX_DEVICES: usize = 1024;

/// What is asked, and by whom: the same is one question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// The device that asks to call.
    pub caller: DeviceId,
    /// The device that is called.
    pub callee: DeviceId,
    /// The interface, without its version.
    pub interface: String,
}

/// A question on the screen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// Never given twice, and not before the last start either, as far as chance goes: no answer meets
    /// another question than it was given to.
    pub id: u64,
    /// What is asked.
    pub subject: Subject,
    /// The program that calls, as the asking device claims.
    pub program: Option<String>,
    /// How far the clock of the device that is called is ahead of this one's, in seconds.
    pub ahead: i64,
}

/// What has come of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Nothing yet.
    Waits,
    /// The owner has said no, this time or for good.
    Refused,
    /// The owner has allowed it, by this entry of the log.
    Allowed(EntryId),
}

/// Why a question is not shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotShown {
    /// Nobody shows questions here.
    #[error("no screen shows what the owner is asked")]
    NoScreen,
    /// The asking device was refused too often.
    #[error(
        "the owner has refused it three times in a row; it may ask again in an hour, or when the owner lets it"
    )]
    Muted,
    /// Too many are waiting, or it asks too often.
    #[error("too many questions wait for the owner, or it asks too often; try again later")]
    Busy,
}

#[derive(Debug)]
struct Waiting {
    question: Question,
    /// The device that brought it: the one that is called, or that asks where this one is called.
    bringer: DeviceId,
    outcome: watch::Sender<Outcome>,
    holders: usize,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    screens: usize,
    waiting: Vec<Waiting>,
    /// Refusals in a row, and since when a device is muted.
    refused: HashMap<DeviceId, (u32, Option<Instant>)>,
    brought: HashMap<DeviceId, Bucket>,
}

/// The questions of this device's screen.
#[derive(Debug)]
pub struct Questions {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

/// Somebody waits for a question. Dropping it takes the question back.
#[derive(Debug)]
pub struct Held {
    questions: Weak<Questions>,
    id: u64,
    outcome: watch::Receiver<Outcome>,
}

/// Somebody shows questions, until this is dropped.
#[derive(Debug)]
pub struct Screen(Weak<Questions>);

impl Held {
    /// What has come of it, once something has; it may be called again.
    pub async fn outcome(&mut self) -> Outcome {
        let decided = self.outcome.wait_for(|outcome| *outcome != Outcome::Waits);
        // The sender goes only with the question itself, which is held here.
        decided.await.map_or(Outcome::Refused, |outcome| *outcome)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(questions) = self.questions.upgrade() {
            questions.let_go(self.id);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(questions) = self.0.upgrade() {
            questions.state().screens -= 1;
            questions.changed();
        }
    }
}

impl Questions {
    /// None.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                next: beginning(),
                ..State::default()
            }),
            changes: watch::Sender::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole at every point where its holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Hears of each change of what waits and who is muted.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Shows questions from here on.
    pub fn show(self: &Arc<Self>) -> Screen {
        self.state().screens += 1;
        Screen(Arc::downgrade(self))
    }

    /// Whether somebody shows questions.
    pub fn has_screen(&self) -> bool {
        self.state().screens > 0
    }

    /// What waits and is not decided, the oldest first.
    pub fn waiting(&self) -> Vec<Question> {
        let state = self.state();
        let open = |waiting: &&Waiting| *waiting.outcome.borrow() == Outcome::Waits;
        let open = state.waiting.iter().filter(open);
        open.map(|waiting| waiting.question.clone()).collect()
    }

    /// One of them.
    pub fn find(&self, id: u64) -> Option<Question> {
        self.waiting()
            .into_iter()
            .find(|question| question.id == id)
    }

    /// The devices that are muted now.
    pub fn muted(&self) -> Vec<DeviceId> {
        let state = self.state();
        let muted = state.refused.iter().filter(|(_, (_, since))| is_on(since));
        let mut muted: Vec<_> = muted.map(|(device, _)| *device).collect();
        muted.sort();
        muted
    }

    /// When the first of those that are muted is so no more.
    pub fn next_unmuted(&self) -> Option<Duration> {
        let state = self.state();
        let since = state.refused.values().filter_map(|(_, since)| *since);
        let left = since.map(|since| MUTED.saturating_sub(since.elapsed()));
        left.filter(|left| !left.is_zero()).min()
    }

    /// Puts a question onto the screen, brought by the device whose word it is.
    pub fn ask(
        self: &Arc<Self>,
        subject: Subject,
        program: Option<String>,
        ahead: i64,
        bringer: DeviceId,
    ) -> Result<Held, NotShown> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.screens == 0 {
            return Err(NotShown::NoScreen);
        }
        let refused = state.refused.get(&subject.caller);
        if refused.is_some_and(|(_, since)| is_on(since)) {
            return Err(NotShown::Muted);
        }
        let same = state.waiting.iter_mut().find(|waiting| {
            waiting.question.subject == subject && *waiting.outcome.borrow() == Outcome::Waits
        });
        let held = |waiting: &Waiting| Held {
            questions: Arc::downgrade(self),
            id: waiting.question.id,
            outcome: waiting.outcome.subscribe(),
        };
        if let Some(same) = same {
            same.holders += 1;
            return Ok(held(same));
        }
        let of_one = state
            .waiting
            .iter()
            .filter(|waiting| waiting.bringer == bringer);
        if state.waiting.len() >= MAX_WAITING || of_one.count() >= MAX_WAITING_OF_ONE {
            return Err(NotShown::Busy);
        }
        if state.brought.len() >= MAX_DEVICES {
            state.brought.retain(|_, bucket| !bucket.is_full());
        }
        let bucket = state
            .brought
            .entry(bringer)
            .or_insert_with(|| Bucket::an_hour(BURST, AN_HOUR));
        if !bucket.try_take(1) {
            return Err(NotShown::Busy);
        }
        let waiting = Waiting {
            question: Question {
                id: state.next,
                subject,
                program,
                ahead,
            },
            bringer,
            outcome: watch::Sender::new(Outcome::Waits),
            holders: 1,
        };
        state.next += 1;
        let held = held(&waiting);
        state.waiting.push(waiting);
        drop(guard);
        self.changed();
        Ok(held)
    }

    /// Notes what the owner has said about a question. Whether it still waited.
    pub fn decide(&self, id: u64, outcome: Outcome) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let waiting = state.waiting.iter().find(|waiting| {
            waiting.question.id == id && *waiting.outcome.borrow() == Outcome::Waits
        });
        let Some(waiting) = waiting else {
            return false;
        };
        waiting.outcome.send_replace(outcome);
        let caller = waiting.question.subject.caller;
        if outcome == Outcome::Refused {
            if state.refused.len() >= MAX_DEVICES {
                state.refused.retain(|_, (_, since)| is_on(since));
            }
            let (count, since) = state.refused.entry(caller).or_default();
            *count += 1;
            if *count >= MAX_REFUSALS {
                (*count, *since) = (0, Some(Instant::now()));
                // What else it asks was not looked at, but it is muted.
                for other in &state.waiting {
                    let undecided = *other.outcome.borrow() == Outcome::Waits;
                    if other.question.subject.caller == caller && undecided {
                        other.outcome.send_replace(Outcome::Refused);
                    }
                }
            }
        } else {
            state.refused.remove(&caller);
        }
        drop(guard);
        self.changed();
        true
    }

    /// Lets a device ask again.
    pub fn unmute(&self, device: DeviceId) {
        self.state().refused.remove(&device);
        self.changed();
    }

    fn let_go(&self, id: u64) {
        let mut state = self.state();
        let Some(at) = state
            .waiting
            .iter()
            .position(|waiting| waiting.question.id == id)
        else {
            return;
        };
        state.waiting[at].holders -= 1;
        if state.waiting[at].holders == 0 {
            state.waiting.remove(at);
            drop(state);
            self.changed();
        }
    }
}

/// The first question's number: of six digits, for people write it.
fn beginning() -> u64 {
    let mut bytes = [0; 4];
    // Without chance the clock has to do.
    if rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {
        bytes = (now() as u32).to_le_bytes();
    }
    100_000 + u64::from(u32::from_le_bytes(bytes)) % 900_000
}

fn is_on(muted: &Option<Instant>) -> bool {
    muted.is_some_and(|since| since.elapsed() < MUTED)
}

#[cfg(test)]
mod tests {
    use trust::identity::Identity;

    use super::*;

    fn allowed() -> Outcome {
        Outcome::Allowed(EntryId::from_bytes([7; 32]))
    }

    fn device(number: u8) -> DeviceId {
        Identity::from_secret(&[number; 32]).unwrap().id()
    }

    fn subject(caller: u8, interface: &str) -> Subject {
        Subject {
            caller: device(caller),
            callee: device(1),
            interface: interface.into(),
        }
    }

    fn ask(questions: &Arc<Questions>, caller: u8, interface: &str) -> Result<Held, NotShown> {
        questions.ask(subject(caller, interface), None, 0, device(caller))
    }

    #[test]
    fn without_a_screen_nothing_waits() {
        let questions = Questions::new();
        assert_eq!(ask(&questions, 2, "a").unwrap_err(), NotShown::NoScreen);
        let screen = questions.show();
        let held = ask(&questions, 2, "a").unwrap();
        drop(screen);
        assert!(!questions.has_screen());
        assert_eq!(questions.waiting().len(), 1, "it waits for the screen");
        drop(held);
        assert!(questions.waiting().is_empty());
    }

    #[test]
    fn the_same_question_is_one_until_the_last_who_waits_is_gone() {
        let questions = Questions::new();
        let _screen = questions.show();
        let (first, second) = (ask(&questions, 2, "a"), ask(&questions, 2, "a"));
        let other = ask(&questions, 2, "b");
        assert_eq!(questions.waiting().len(), 2);
        drop(first);
        assert_eq!(questions.waiting().len(), 2);
        drop(second);
        assert_eq!(questions.waiting().len(), 1);
        drop(other);
        assert!(questions.waiting().is_empty());
    }

    #[test]
    fn what_waits_is_bounded_for_one_device_and_for_all() {
        let questions = Questions::new();
        let _screen = questions.show();
        let mut held = Vec::new();
        for caller in 2..=5 {
            for number in 0..MAX_WAITING_OF_ONE {
                held.push(ask(&questions, caller, &number.to_string()).unwrap());
            }
            assert_eq!(
                ask(&questions, caller, "more").unwrap_err(),
                NotShown::Busy,
                "one device"
            );
        }
        assert_eq!(held.len(), MAX_WAITING);
        assert_eq!(ask(&questions, 9, "a").unwrap_err(), NotShown::Busy, "all");
        held.clear();
        assert!(ask(&questions, 9, "a").is_ok());
    }

    #[test]
    fn who_asks_and_takes_it_back_over_and_over_is_not_shown_any_more() {
        let questions = Questions::new();
        let _screen = questions.show();
        for _ in 0..BURST {
            assert!(ask(&questions, 2, "a").is_ok());
        }
        assert_eq!(ask(&questions, 2, "a").unwrap_err(), NotShown::Busy);
        assert!(ask(&questions, 3, "a").is_ok(), "another device");
    }

    #[test]
    fn three_refusals_in_a_row_mute_and_the_owner_ends_that() {
        let questions = Questions::new();
        let _screen = questions.show();
        let refuse = |outcome| {
            let held = ask(&questions, 2, "a").unwrap();
            assert!(questions.decide(held.id, outcome));
            assert!(!questions.decide(held.id, outcome), "it waits no more");
        };
        refuse(Outcome::Refused);
        refuse(Outcome::Refused);
        refuse(allowed());
        refuse(Outcome::Refused);
        refuse(Outcome::Refused);
        assert!(questions.muted().is_empty(), "not in a row");
        let other = ask(&questions, 2, "b").unwrap();
        refuse(Outcome::Refused);
        assert_eq!(questions.muted(), [device(2)]);
        assert_eq!(*other.outcome.borrow(), Outcome::Refused);
        assert_eq!(ask(&questions, 2, "c").unwrap_err(), NotShown::Muted);
        assert!(ask(&questions, 3, "c").is_ok(), "another device is not");
        questions.unmute(device(2));
        assert!(ask(&questions, 2, "c").is_ok());
    }

    #[test]
    fn a_device_is_muted_for_an_hour() {
        let questions = Questions::new();
        let _screen = questions.show();
        let long_ago = Instant::now().checked_sub(MUTED);
        questions.state().refused.insert(device(2), (0, long_ago));
        assert!(questions.muted().is_empty() && questions.next_unmuted().is_none());
        assert!(ask(&questions, 2, "a").is_ok());
    }

    #[tokio::test]
    async fn everybody_who_waits_hears_what_was_said() {
        let questions = Questions::new();
        let _screen = questions.show();
        let mut both = [
            ask(&questions, 2, "a").unwrap(),
            ask(&questions, 2, "a").unwrap(),
        ];
        assert!(questions.decide(questions.waiting()[0].id, allowed()));
        assert!(questions.waiting().is_empty());
        for held in &mut both {
            assert_eq!(held.outcome().await, allowed());
        }
        // Asked again it is a question of its own.
        let mut again = ask(&questions, 2, "a").unwrap();
        assert_eq!(questions.waiting().len(), 1);
        drop(both);
        questions.decide(again.id, Outcome::Refused);
        assert_eq!(again.outcome().await, Outcome::Refused);
    }
}
