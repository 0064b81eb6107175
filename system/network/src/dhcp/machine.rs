//! The states of a DHCP client, without sockets and without a clock of its own.
//!
//! ```text
//!              ┌──────────── refused, taken, unanswered, expired ◄─────────────────────────┐
//!              ▼                                                                           │
//!  waiting ► selecting ─offer─► requesting ─granted─► checking ─free─► bound ──T1──► renewing
//!              ▲                     │                   │               ▲               │ T2
//!              └─────────────────────┴───────────────────┘               └──granted──┬── ▼
//!                                                                                    rebinding
//! ```
//!
//! Time is a duration since some fixed moment. Whoever drives the machine calls
//! [`Machine::timeout`] when [`Machine::deadline`] has come, [`Machine::received`] for each
//! message, does the actions in order, and nothing else. While it is bound, the one deadline is
//! T1: hours away, on most networks.

use std::{net::Ipv4Addr, time::Duration};

use super::message::{self, Answer, Asker, Lease, Question};

/// The longest pause between two questions while nobody answers.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How often an offer is asked for before another is looked for.
const REQUESTS: u32 = 4;
/// The shortest pause between two questions for more time (RFC 2131, 4.4.5).
const SHORTEST_EXTEND_PAUSE: Duration = Duration::from_secs(60);
/// The pause after an address turned out to be taken (RFC 2131, 3.1).
const DECLINE_PAUSE: Duration = Duration::from_secs(10);
/// When nobody has said by then whether an address is free, it is taken to be: a link on which
/// that cannot be found out must not be one without an address.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// Where the conversation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not asking for now: what was granted could not be used.
    Waiting,
    /// Asking who grants addresses.
    Selecting,
    /// Asking for what was offered.
    Requesting(Lease),
    /// Having been granted an address, finding out whether another host uses it (RFC 5227).
    Checking(Lease),
    /// Having an address.
    Bound(Lease),
    /// Having an address, asking its server for more time.
    Renewing(Lease),
    /// Having an address, asking every server for more time.
    Rebinding(Lease),
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To every host on the link.
    Broadcast,
    /// To this server.
    Server(Ipv4Addr),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this message.
    Send(Vec<u8>, Destination),
    /// Find out whether another host on the link has this address, and say so by
    /// [`Machine::checked`].
    Check(Ipv4Addr),
    /// Use this lease from now on, in place of any before. It was asked for so long ago.
    Configure(Lease, Duration),
    /// Use no lease from now on.
    Remove,
}

/// The client of one link.
#[derive(Debug)]
pub struct Machine {
    hardware: [u8; 6],
    state: State,
    transaction: u32,
    dice: u64,
    /// When the device began to be without an address.
    began: Duration,
    /// When the question that is open was first asked.
    asked: Duration,
    /// When the lease was asked for: what its times count from (RFC 2131, 4.4.1).
    since: Duration,
    /// How often the same question was asked.
    tries: u32,
    /// How often in a row something went wrong.
    refusals: u32,
    deadline: Option<Duration>,
}

impl Machine {
    /// A client for a link of that hardware address. The seed makes transactions hard to guess,
    /// and spreads the questions of many devices that were started together.
    pub fn new(hardware: [u8; 6], seed: u64) -> Machine {
        Machine {
            hardware,
            state: State::Waiting,
            transaction: 0,
            dice: seed,
            began: Duration::ZERO,
            asked: Duration::ZERO,
            since: Duration::ZERO,
            tries: 0,
            refusals: 0,
            deadline: None,
        }
    }

    /// Where the conversation stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When [`timeout`](Machine::timeout) is to be called; never if none.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Begins.
    pub fn start(&mut self, now: Duration) -> Vec<Action> {
        self.began = now;
        self.select(now)
    }

    /// The deadline has come.
    pub fn timeout(&mut self, now: Duration) -> Vec<Action> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match self.state.clone() {
            State::Waiting => self.select(now),
            State::Selecting => self.discover(now),
            State::Requesting(_) if self.tries >= REQUESTS => self.select(now),
            State::Requesting(offer) => self.request(offer, now),
            State::Checking(lease) => self.bind(lease, now),
            State::Bound(lease) | State::Renewing(lease) | State::Rebinding(lease) => {
                self.extend(lease, now)
            }
        }
    }

    /// A message came.
    pub fn received(&mut self, bytes: &[u8], now: Duration) -> Vec<Action> {
        let Some(answer) = message::decode(bytes, &self.asker(now)) else {
            return Vec::new();
        };
        match (self.state.clone(), answer) {
            // The first is taken: to wait for a better one would be to wait.
            (State::Selecting, Answer::Offer(offer)) => {
                self.tries = 0;
                self.asked = now;
                self.request(offer, now)
            }
            (State::Requesting(offer), Answer::Acknowledgement(lease))
                if lease.server == offer.server =>
            {
                self.check(lease, now)
            }
            (State::Requesting(offer), Answer::Refusal { server })
                if server.is_none_or(|server| server == offer.server) =>
            {
                self.pause(now)
            }
            (State::Renewing(old), Answer::Acknowledgement(lease))
                if lease.server == old.server =>
            {
                self.bind(lease, now)
            }
            (State::Rebinding(_), Answer::Acknowledgement(lease)) => self.bind(lease, now),
            (State::Renewing(_) | State::Rebinding(_), Answer::Refusal { .. }) => {
                let mut actions = vec![Action::Remove];
                self.began = now;
                actions.extend(self.select(now));
                actions
            }
            _ => Vec::new(),
        }
    }

    /// It was found out whether another host has that address.
    pub fn checked(&mut self, address: Ipv4Addr, taken: bool, now: Duration) -> Vec<Action> {
        let State::Checking(lease) = self.state.clone() else {
            return Vec::new();
        };
        if lease.address != address {
            return Vec::new();
        }
        if !taken {
            return self.bind(lease, now);
        }
        let question = Question::Decline {
            address,
            server: lease.server,
        };
        let decline = message::encode(&self.asker(now), &question);
        self.state = State::Waiting;
        self.deadline = Some(now + DECLINE_PAUSE);
        vec![Action::Send(decline, Destination::Broadcast)]
    }

    fn select(&mut self, now: Duration) -> Vec<Action> {
        self.state = State::Selecting;
        self.tries = 0;
        self.transaction = self.roll() as u32;
        self.discover(now)
    }

    fn discover(&mut self, now: Duration) -> Vec<Action> {
        self.deadline = Some(now + self.back_off());
        self.tries += 1;
        let bytes = message::encode(&self.asker(now), &Question::Discover);
        vec![Action::Send(bytes, Destination::Broadcast)]
    }

    fn request(&mut self, offer: Lease, now: Duration) -> Vec<Action> {
        self.deadline = Some(now + self.back_off());
        self.tries += 1;
        let question = Question::Request {
            address: offer.address,
            server: offer.server,
        };
        let bytes = message::encode(&self.asker(now), &question);
        self.state = State::Requesting(offer);
        vec![Action::Send(bytes, Destination::Broadcast)]
    }

    /// After a refusal: at once the first time, then less and less often.
    fn pause(&mut self, now: Duration) -> Vec<Action> {
        self.refusals += 1;
        if self.refusals == 1 {
            return self.select(now);
        }
        self.state = State::Waiting;
        self.tries = self.refusals;
        self.deadline = Some(now + self.back_off());
        Vec::new()
    }

    fn check(&mut self, lease: Lease, now: Duration) -> Vec<Action> {
        let address = lease.address;
        self.state = State::Checking(lease);
        self.deadline = Some(now + CHECK_LIMIT);
        vec![Action::Check(address)]
    }

    fn bind(&mut self, lease: Lease, now: Duration) -> Vec<Action> {
        self.refusals = 0;
        self.tries = 0;
        // An endless lease has no deadline; nor has one whose end no clock reaches.
        self.since = self.asked;
        self.deadline = lease
            .lasts
            .and_then(|_| self.since.checked_add(lease.renew));
        self.state = State::Bound(lease.clone());
        vec![Action::Configure(lease, now.saturating_sub(self.since))]
    }

    /// T1, T2 or the end of the lease has come, or a question for more time was not answered.
    fn extend(&mut self, lease: Lease, now: Duration) -> Vec<Action> {
        let Some(lasts) = lease.lasts else {
            return Vec::new();
        };
        let (rebind, end) = (self.since + lease.rebind, self.since + lasts);
        if now >= end {
            self.began = now;
            let mut actions = vec![Action::Remove];
            actions.extend(self.select(now));
            return actions;
        }
        // Each question is a conversation of its own, so that it is plain which one an answer is
        // for, and from when its times count.
        self.transaction = self.roll() as u32;
        self.asked = now;
        let renewing = now < rebind;
        let next = if renewing { rebind } else { end };
        let pause = ((next - now) / 2).max(SHORTEST_EXTEND_PAUSE);
        self.deadline = Some((now + pause).min(next));
        let bytes = message::encode(
            &self.asker(now),
            &Question::Extend {
                address: lease.address,
            },
        );
        let destination = if renewing {
            Destination::Server(lease.server)
        } else {
            Destination::Broadcast
        };
        self.state = if renewing {
            State::Renewing(lease)
        } else {
            State::Rebinding(lease)
        };
        vec![Action::Send(bytes, destination)]
    }

    fn asker(&self, now: Duration) -> Asker {
        let seconds = now.saturating_sub(self.began).as_secs();
        Asker {
            hardware: self.hardware,
            transaction: self.transaction,
            seconds: u16::try_from(seconds).unwrap_or(u16::MAX),
        }
    }

    /// 1, 2, 4… seconds, each up to a tenth more or less.
    fn back_off(&mut self) -> Duration {
        let pause = Duration::from_secs(1 << self.tries.min(9)).min(LONGEST_PAUSE);
        pause.mul_f64(0.9 + 0.2 * (self.roll() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// splitmix64.
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::message::tests::{HARDWARE, granted, reply};
    use dhcproto::v4::{DhcpOption, MessageType};
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A machine, its clock, and whether it has told to use an address.
    struct Bench {
        machine: Machine,
        now: Duration,
        configured: bool,
    }

    impl Bench {
        fn new() -> Bench {
            let mut bench = Bench {
                machine: Machine::new(HARDWARE, 1),
                now: seconds(100),
                configured: false,
            };
            let actions = bench.machine.start(bench.now);
            bench.check(&actions);
            bench
        }

        fn answer(&mut self, kind: MessageType, options: &[DhcpOption]) -> Vec<Action> {
            let asker = self.machine.asker(self.now);
            let actions = self
                .machine
                .received(&reply(&asker, kind, options), self.now);
            self.check(&actions);
            actions
        }

        fn deadline(&mut self) -> Vec<Action> {
            self.now = self
                .machine
                .deadline()
                .expect("it waits for something")
                .max(self.now);
            let actions = self.machine.timeout(self.now);
            self.check(&actions);
            actions
        }

        /// What holds after every event.
        fn check(&mut self, actions: &[Action]) {
            for action in actions {
                match action {
                    Action::Configure(..) => self.configured = true,
                    Action::Remove => {
                        assert!(self.configured, "removed what was not there");
                        self.configured = false;
                    }
                    Action::Send(bytes, _) => assert!(bytes.len() >= 300),
                    Action::Check(_) => assert!(!self.configured),
                }
            }
            let has = matches!(
                self.machine.state,
                State::Bound(_) | State::Renewing(_) | State::Rebinding(_)
            );
            assert_eq!(has, self.configured, "{:?}", self.machine.state);
            assert!(has || self.machine.deadline.is_some(), "it has given up");
        }

        /// Says whether another host has the address that is being checked.
        fn checked(&mut self, taken: bool) -> Vec<Action> {
            let address = Ipv4Addr::new(10, 0, 2, 15);
            let actions = self.machine.checked(address, taken, self.now);
            self.check(&actions);
            actions
        }

        fn granted(lease: u32) -> Bench {
            let mut bench = Bench::new();
            bench.answer(MessageType::Offer, &granted(lease));
            assert!(matches!(bench.machine.state(), State::Requesting(_)));
            bench.answer(MessageType::Ack, &granted(lease));
            assert!(matches!(bench.machine.state(), State::Checking(_)));
            bench
        }

        fn bound(lease: u32) -> Bench {
            let mut bench = Bench::granted(lease);
            bench.checked(false);
            assert!(matches!(bench.machine.state(), State::Bound(_)));
            bench
        }
    }

    #[test]
    fn it_selects_requests_and_is_bound() {
        let bench = Bench::bound(3600);
        assert_eq!(bench.machine.deadline(), Some(seconds(100 + 1800)));
    }

    #[test]
    fn it_renews_with_its_server_and_counts_from_the_question() {
        let mut bench = Bench::bound(3600);
        let actions = bench.deadline();
        let server = Ipv4Addr::new(10, 0, 2, 2);
        assert!(
            matches!(&actions[..], [Action::Send(_, Destination::Server(to))] if *to == server)
        );
        bench.now += seconds(5);
        let actions = bench.answer(MessageType::Ack, &granted(3600));
        assert!(matches!(&actions[..], [Action::Configure(_, ago)] if *ago == seconds(5)));
        assert_eq!(bench.machine.deadline(), Some(seconds(100 + 1800 + 1800)));
    }

    #[test]
    fn unanswered_it_rebinds_then_loses_the_address_and_begins_again() {
        let mut bench = Bench::bound(3600);
        let mut questions = 0;
        while bench.configured {
            questions += 1;
            for action in bench.deadline() {
                if let Action::Send(_, destination) = action
                    && bench.configured
                {
                    let renewing = matches!(bench.machine.state(), State::Renewing(_));
                    assert_eq!(destination != Destination::Broadcast, renewing);
                }
            }
        }
        assert_eq!(bench.now, seconds(100 + 3600));
        assert_eq!(bench.machine.state(), &State::Selecting);
        assert!((3..30).contains(&questions), "{questions}");
    }

    #[test]
    fn another_server_may_take_over_while_rebinding() {
        let mut bench = Bench::bound(3600);
        while !matches!(bench.machine.state(), State::Rebinding(_)) {
            bench.deadline();
        }
        let mut other = granted(3600);
        other[0] = DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 2, 9));
        bench.answer(MessageType::Ack, &other);
        assert!(matches!(bench.machine.state(), State::Bound(_)));
    }

    #[test]
    fn a_refusal_while_renewing_removes_the_address_at_once() {
        let mut bench = Bench::bound(3600);
        bench.deadline();
        let actions = bench.answer(MessageType::Nak, &granted(3600)[..1]);
        assert_eq!(actions[0], Action::Remove);
        assert_eq!(bench.machine.state(), &State::Selecting);
    }

    #[test]
    fn refusals_in_a_row_make_it_slower() {
        let mut bench = Bench::new();
        let mut pause = Duration::ZERO;
        for round in 0..8 {
            bench.answer(MessageType::Offer, &granted(3600));
            bench.answer(MessageType::Nak, &granted(3600)[..1]);
            if round > 0 {
                assert_eq!(bench.machine.state(), &State::Waiting);
                let next = bench.machine.deadline().unwrap() - bench.now;
                assert!(next > pause, "{next:?} after {pause:?}");
                pause = next;
                bench.deadline();
            }
        }
        assert!(pause > seconds(100));
    }

    #[test]
    fn an_offer_that_is_never_granted_is_given_up() {
        let mut bench = Bench::new();
        bench.answer(MessageType::Offer, &granted(3600));
        while matches!(bench.machine.state(), State::Requesting(_)) {
            bench.deadline();
        }
        assert_eq!(bench.machine.state(), &State::Selecting);
    }

    #[test]
    fn with_no_server_it_asks_ever_less() {
        let mut bench = Bench::new();
        for _ in 0..40 {
            bench.deadline();
        }
        let before = bench.now;
        bench.deadline();
        assert!(
            bench.now - before >= seconds(270),
            "{:?}",
            bench.now - before
        );
    }

    #[test]
    fn an_endless_lease_never_wakes_anyone() {
        assert_eq!(Bench::bound(u32::MAX).machine.deadline(), None);
    }

    #[test]
    fn a_taken_address_is_declined_never_used_and_another_asked_for_later() {
        let mut bench = Bench::granted(3600);
        let actions = bench.checked(true);
        assert!(matches!(
            actions[..],
            [Action::Send(_, Destination::Broadcast)]
        ));
        assert_eq!(bench.machine.deadline(), Some(bench.now + seconds(10)));
        bench.deadline();
        assert_eq!(bench.machine.state(), &State::Selecting);
    }

    #[test]
    fn what_is_said_of_another_address_or_too_late_changes_nothing() {
        let mut bench = Bench::granted(3600);
        let other = Ipv4Addr::new(10, 0, 2, 16);
        assert!(bench.machine.checked(other, true, bench.now).is_empty());
        assert!(matches!(bench.machine.state(), State::Checking(_)));
        // Nobody says anything: it is used.
        bench.deadline();
        assert!(matches!(bench.machine.state(), State::Bound(_)));
        assert!(bench.checked(true).is_empty());
    }

    #[derive(Clone, Debug)]
    enum Event {
        Answer(u8, u32),
        Noise(Vec<u8>),
        Deadline,
        Early,
        Checked(bool),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0_u8..3, prop_oneof![Just(u32::MAX), 0_u32..100_000])
                .prop_map(|(kind, lease)| Event::Answer(kind, lease)),
            1 => any::<Vec<u8>>().prop_map(Event::Noise),
            3 => Just(Event::Deadline),
            1 => Just(Event::Early),
            2 => any::<bool>().prop_map(Event::Checked),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_the_address_is_there_exactly_while_it_is_granted(
            events in prop::collection::vec(event(), 1..80)
        ) {
            let mut bench = Bench::new();
            for event in events {
                match event {
                    Event::Answer(0, lease) => drop(bench.answer(MessageType::Offer, &granted(lease))),
                    Event::Answer(1, lease) => drop(bench.answer(MessageType::Ack, &granted(lease))),
                    Event::Answer(_, lease) => {
                        bench.answer(MessageType::Nak, &granted(lease)[..1]);
                    }
                    Event::Noise(bytes) => {
                        let actions = bench.machine.received(&bytes, bench.now);
                        prop_assert!(actions.is_empty());
                    }
                    Event::Deadline => {
                        if bench.machine.deadline().is_some() {
                            let before = bench.now;
                            let had = bench.configured;
                            bench.deadline();
                            // No question without a pause: the wire and the battery are shared.
                            if let Some(next) = bench.machine.deadline() {
                                prop_assert!(next > bench.now || (had && before <= bench.now));
                            }
                        }
                    }
                    Event::Early => {
                        let early = bench.now.saturating_sub(Duration::from_nanos(1));
                        if bench.machine.deadline().is_none_or(|deadline| early < deadline) {
                            prop_assert!(bench.machine.timeout(early).is_empty());
                        }
                    }
                    Event::Checked(taken) => drop(bench.checked(taken)),
                }
            }
        }
    }
}
