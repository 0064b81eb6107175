//! When a service is started, asked, ended and started again: pure logic, without processes.
//!
//! A [`Supervisor`] is told what happened ([`Event`]) and at what time, and answers what is to be
//! done ([`Action`]). It holds no clock and no process, so tests drive years of it in a moment.
//!
//! ```text
//!            called / asked                 answers its first question
//!  Waiting ────────────────▶ Starting ─────────────────────────────▶ Running
//!                             ▲    │ ends, or does not answer           │ ends, or does not answer
//!            delay has passed │    ▼                                    │
//!                          BackingOff ◀─────────────────────────────────┘
//!                          (Failed, after many bad ends in a row: tried still, but seldom)
//!
//!  any ── asked to stop ──▶ Stopping ── ended ──▶ Stopped
//! ```

use std::time::Duration;

use crate::manifest::{Health, Restart};

/// A service that has not answered its first question by then is taken to hang.
pub const LONGEST_START: Duration = Duration::from_secs(30);
/// From SIGTERM to SIGKILL when one service is stopped.
pub const TIME_TO_END: Duration = Duration::from_secs(5);
/// After so many bad ends in a row a service counts as failed.
pub const MANY: u32 = 10;

/// Where a service stands. The words are those of `hyper:services`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its sockets exist; the first call starts it.
    Waiting,
    /// Its process is being made, or has not answered yet.
    Starting,
    /// It answered.
    Running,
    /// It was asked to end and has not ended yet.
    Stopping,
    /// Ended and not to be started again by itself.
    Stopped,
    /// Ended badly; started again when the delay has passed.
    BackingOff,
    /// Ended badly [`MANY`] times in a row; still tried, each time after the delay.
    Failed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody connected to one of its sockets.
    Called,
    /// Somebody asked for it to run.
    StartAsked,
    /// Somebody asked for it to end.
    StopAsked,
    /// Somebody asked for it to end and to be started again.
    RestartAsked,
    /// Its program runs.
    Started,
    /// Its program could not be run.
    NotStarted(String),
    /// It answered the question after its health, and is well.
    Answered,
    /// It answered that it cannot do its work, and why.
    Unwell(String),
    /// Its process ended; the text says how.
    Ended(String),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make its process.
    Start,
    /// Ask after its health.
    Ask,
    /// Ask it to end (SIGTERM).
    Terminate,
    /// End it and everything that it started (SIGKILL).
    Kill,
}

/// What comes after the end of a service that is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stay,
    Start,
    BackOff,
}

/// One service's state, and the rules by which it changes.
#[derive(Clone, Debug)]
pub struct Supervisor {
    restart: Restart,
    health: Option<Health>,
    /// Whether it has a socket on which it could be asked.
    serves: bool,
    state: State,
    /// When the state changes by itself: what that means depends on the state.
    deadline: Option<Duration>,
    asked: bool,
    then: Then,
    started: Duration,
    delay: Duration,
    bad_ends: u32,
    restarts: u32,
    problem: Option<String>,
}

impl Supervisor {
    /// A service that waits for its first call.
    pub fn new(restart: Restart, health: Option<Health>, serves: bool) -> Self {
        Self {
            delay: restart.first_delay,
            restart,
            health,
            serves,
            state: State::Waiting,
            deadline: None,
            asked: false,
            then: Then::Stay,
            started: Duration::ZERO,
            bad_ends: 0,
            restarts: 0,
            problem: None,
        }
    }

    /// Where the service stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// How often it was started again after it ended.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// What went wrong last, until it has run steadily since.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// When [`Self::pass`] is to be called next.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Whether there is a process that must end before the device turns off.
    pub fn has_process(&self) -> bool {
        matches!(
            self.state,
            State::Starting | State::Running | State::Stopping
        )
    }

    /// Takes in what happened at the time `now`.
    pub fn handle(&mut self, now: Duration, event: Event) -> Option<Action> {
        match (self.state, event) {
            (State::Waiting, Event::Called)
            | (
                State::Waiting | State::Stopped | State::BackingOff | State::Failed,
                Event::StartAsked | Event::RestartAsked,
            ) => Some(self.start(now)),
            (State::Starting, Event::Started) => {
                self.started = now;
                if self.serves {
                    self.asked = true;
                    self.deadline = Some(now + LONGEST_START);
                    Some(Action::Ask)
                } else {
                    self.state = State::Running;
                    self.deadline = None;
                    None
                }
            }
            (State::Starting | State::Running, Event::NotStarted(reason)) => {
                self.back_off(now, reason);
                None
            }
            (State::Starting | State::Running, Event::Answered) => {
                self.state = State::Running;
                self.asked = false;
                self.deadline = self.health.as_ref().map(|health| now + health.every);
                if now.saturating_sub(self.started) >= self.restart.steady {
                    self.steady();
                }
                None
            }
            (State::Starting | State::Running, Event::Unwell(reason)) => {
                self.problem = Some(reason);
                Some(self.stop(now, Then::BackOff))
            }
            (State::Starting | State::Running, Event::Ended(how)) => {
                let problem = self.hang_or(how);
                self.ended_badly(now, problem);
                None
            }
            (State::Starting | State::Running, Event::StopAsked) => {
                Some(self.stop(now, Then::Stay))
            }
            (State::Starting | State::Running, Event::RestartAsked) => {
                Some(self.stop(now, Then::Start))
            }
            (State::Stopping, Event::StopAsked) => {
                self.then = Then::Stay;
                None
            }
            (State::Stopping, Event::StartAsked | Event::RestartAsked) => {
                self.then = Then::Start;
                None
            }
            (State::Stopping, Event::Ended(_) | Event::NotStarted(_)) => match self.then {
                Then::Stay => {
                    self.state = State::Stopped;
                    self.deadline = None;
                    None
                }
                Then::Start => {
                    self.restarts += 1;
                    Some(self.start(now))
                }
                Then::BackOff => {
                    let problem = self.problem.take().unwrap_or_default();
                    self.ended_badly(now, problem);
                    None
                }
            },
            (State::Waiting | State::BackingOff | State::Failed, Event::StopAsked) => {
                self.state = State::Stopped;
                self.deadline = None;
                None
            }
            _ => None,
        }
    }

    /// Takes in that time has passed; does nothing before the deadline.
    pub fn pass(&mut self, now: Duration) -> Option<Action> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.deadline = None;
        match self.state {
            State::BackingOff | State::Failed => {
                self.restarts += 1;
                Some(self.start(now))
            }
            State::Running if !self.asked => {
                let health = self.health.as_ref()?;
                self.asked = true;
                self.deadline = Some(now + health.within);
                Some(Action::Ask)
            }
            State::Starting | State::Running => {
                let within = match (self.state, &self.health) {
                    (State::Running, Some(health)) => health.within,
                    _ => LONGEST_START,
                };
                self.problem = Some(format!("it hung: no answer within {within:?}"));
                self.then = Then::BackOff;
                self.state = State::Stopping;
                Some(Action::Kill)
            }
            State::Stopping => Some(Action::Kill),
            State::Waiting | State::Stopped => None,
        }
    }

    fn start(&mut self, now: Duration) -> Action {
        self.state = State::Starting;
        self.asked = false;
        self.deadline = Some(now + LONGEST_START);
        self.started = now;
        Action::Start
    }

    fn stop(&mut self, now: Duration, then: Then) -> Action {
        self.state = State::Stopping;
        self.then = then;
        self.deadline = Some(now + TIME_TO_END);
        Action::Terminate
    }

    fn steady(&mut self) {
        self.delay = self.restart.first_delay;
        self.bad_ends = 0;
        self.problem = None;
    }

    fn hang_or(&mut self, how: String) -> String {
        if how.is_empty() {
            "it ended".to_owned()
        } else {
            how
        }
    }

    fn ended_badly(&mut self, now: Duration, problem: String) {
        if now.saturating_sub(self.started) >= self.restart.steady {
            self.steady();
        }
        self.back_off(now, problem);
    }

    fn back_off(&mut self, now: Duration, problem: String) {
        self.problem = Some(problem);
        self.bad_ends = self.bad_ends.saturating_add(1);
        self.state = if self.bad_ends >= MANY {
            State::Failed
        } else {
            State::BackingOff
        };
        self.asked = false;
        self.deadline = Some(now + self.delay);
        let longest = self.restart.longest_delay.max(self.restart.first_delay);
        self.delay = self.delay.saturating_mul(2).min(longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    fn service() -> Supervisor {
        let health = Health {
            every: 10 * S,
            within: 5 * S,
        };
        Supervisor::new(Restart::default(), Some(health), true)
    }

    fn running(now: Duration) -> Supervisor {
        let mut service = service();
        assert_eq!(service.handle(now, Event::Called), Some(Action::Start));
        assert_eq!(service.handle(now, Event::Started), Some(Action::Ask));
        assert_eq!(service.handle(now, Event::Answered), None);
        assert_eq!(service.state(), State::Running);
        service
    }

    #[test]
    fn a_killed_service_is_started_again_after_the_first_delay() {
        let mut service = running(S);
        service.handle(2 * S, Event::Ended("killed by SIGKILL".into()));
        assert_eq!(service.state(), State::BackingOff);
        assert_eq!(service.deadline(), Some(2 * S + 10 * MS));
        assert_eq!(service.pass(2 * S + 9 * MS), None);
        assert_eq!(service.pass(2 * S + 10 * MS), Some(Action::Start));
        assert_eq!(service.restarts(), 1);
        assert_eq!(service.problem(), Some("killed by SIGKILL"));
    }

    #[test]
    fn the_delay_doubles_up_to_the_longest_and_steadiness_resets_it() {
        let mut service = running(S);
        let mut now = S;
        let mut delays = Vec::new();
        for _ in 0..14 {
            service.handle(now, Event::Ended("exit 1".into()));
            let deadline = service.deadline().unwrap();
            delays.push((deadline - now).as_millis());
            now = deadline;
            assert_eq!(service.pass(now), Some(Action::Start));
            service.handle(now, Event::Started);
        }
        assert_eq!(
            delays,
            [
                10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 30000, 30000
            ]
        );
        service.handle(now, Event::Answered);
        service.handle(now + 61 * S, Event::Ended("exit 1".into()));
        assert_eq!(service.state(), State::BackingOff);
        assert_eq!(service.deadline(), Some(now + 61 * S + 10 * MS));
    }

    #[test]
    fn many_bad_ends_are_a_failure_that_is_still_tried() {
        let mut service = service();
        let mut now = S;
        service.handle(now, Event::Called);
        for _ in 0..MANY {
            assert_ne!(service.state(), State::Failed);
            service.handle(now, Event::NotStarted("no such program".into()));
            now = service.deadline().unwrap();
            if service.state() != State::Failed {
                assert_eq!(service.pass(now), Some(Action::Start));
            }
        }
        assert_eq!(service.state(), State::Failed);
        assert_eq!(service.pass(now), Some(Action::Start));
    }

    #[test]
    fn a_service_that_hangs_is_killed_and_started_again() {
        let mut service = running(S);
        assert_eq!(service.pass(11 * S), Some(Action::Ask));
        assert_eq!(service.pass(16 * S), Some(Action::Kill));
        service.handle(16 * S, Event::Ended("killed by SIGKILL".into()));
        assert_eq!(service.state(), State::BackingOff);
        assert_eq!(service.problem(), Some("it hung: no answer within 5s"));
        assert_eq!(service.pass(17 * S), Some(Action::Start));
    }

    #[test]
    fn an_answer_in_time_sets_the_next_question() {
        let mut service = running(S);
        assert_eq!(service.pass(11 * S), Some(Action::Ask));
        assert_eq!(service.handle(12 * S, Event::Answered), None);
        assert_eq!(service.deadline(), Some(22 * S));
    }

    #[test]
    fn stopping_kills_what_does_not_end_and_stays_stopped() {
        let mut service = running(S);
        assert_eq!(
            service.handle(2 * S, Event::StopAsked),
            Some(Action::Terminate)
        );
        assert_eq!(service.pass(2 * S + TIME_TO_END), Some(Action::Kill));
        service.handle(8 * S, Event::Ended("killed by SIGKILL".into()));
        assert_eq!(service.state(), State::Stopped);
        assert_eq!(service.deadline(), None);
        assert_eq!(service.handle(9 * S, Event::Called), None);
        assert_eq!(
            service.handle(9 * S, Event::StartAsked),
            Some(Action::Start)
        );
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Called),
            Just(Event::StartAsked),
            Just(Event::StopAsked),
            Just(Event::RestartAsked),
            Just(Event::Started),
            Just(Event::NotStarted("x".into())),
            Just(Event::Answered),
            Just(Event::Unwell("x".into())),
            Just(Event::Ended("x".into())),
        ]
    }

    proptest! {
        /// Whatever happens, a state that is left by the passing of time has a deadline, there is
        /// never a second process beside the first, and delays stay within their bounds.
        #[test]
        fn no_history_breaks_the_rules(events in proptest::collection::vec((event(), 0u64..20_000), 0..80)) {
            let mut service = service();
            let mut now = S;
            let mut process = false;
            for (event, wait) in events {
                now += MS * u32::try_from(wait).unwrap();
                // What happens to a process happens only while there is one.
                let of_process = !matches!(
                    event, Event::Called | Event::StartAsked | Event::StopAsked | Event::RestartAsked
                );
                if of_process && !process { continue }
                if matches!(event, Event::Ended(_) | Event::NotStarted(_)) { process = false }
                for action in [service.pass(now), service.handle(now, event)].into_iter().flatten() {
                    if action == Action::Start {
                        prop_assert!(!process, "a second process");
                        process = true;
                    }
                }
                prop_assert_eq!(process, service.has_process());
                match service.state() {
                    State::Starting | State::BackingOff | State::Failed => prop_assert!(service.deadline().is_some()),
                    State::Waiting | State::Stopped => prop_assert!(service.deadline().is_none()),
                    State::Running | State::Stopping => {}
                }
                prop_assert!(service.delay <= service.restart.longest_delay);
            }
        }
    }
}
