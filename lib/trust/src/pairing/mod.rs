//! How a device comes into the family: three ways to be sure that the two ends of a connection
//! are the two devices in front of the person.
//!
//! A pairing runs on a connection that already proves a key on each end; what it adds is that
//! these are the *right* keys. There are a device that joins and an owner device that takes it
//! in, and three methods:
//!
//! - [`digits`]: both show six digits and a person compares them;
//! - [`code`]: one shows a code with a secret in it, the other scans it;
//! - [`pin`]: the joining device has no screen, and its PIN is typed into the owner device.
//!
//! All three are bound to both keys, to what both said in their hello, and to the connection's
//! exporter (RFC 5705 / RFC 8446, 7.5): what was said on one connection proves nothing on another.
//!
//! A [`Pairing`] is a state machine without input or output of its own. The caller hands it what
//! came in and what the person did, and does what it answers:
//!
//! ```text
//!  connection up ──► start() ──► Send(hello)
//!  message       ──► receive() ─► Send · Show(digits) · Ask · Admit · Joined · Done · Refused
//!  the person    ──► confirm() or refuse()
//!  Admit         ──► write Action::Added into the log, then admitted(&log)
//!  time passes   ──► tick()
//! ```
//!
//! After `Refused`, `Joined` or `Done` nothing follows; the caller closes the connection.

pub mod code;
pub mod digits;
mod message;
pub mod pin;

#[cfg(test)]
mod tests;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{
    identity::{DeviceId, RandomError},
    log::{FamilyId, Log, MAX_ENTRIES, is_name},
};
use message::{Hello, MAX_BATCH_BYTES, MAX_SHORT_MESSAGE_BYTES, Message, MethodName};

pub use message::MAX_MESSAGE_BYTES;

/// From hello to welcome, in seconds.
pub const TIME_LIMIT: u64 = 120;

/// Which end of the pairing this device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// An owner device, which takes the other in.
    Owner,
    /// The device that joins.
    Joiner,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Owner => Self::Joiner,
            Self::Joiner => Self::Owner,
        }
    }
}

/// The connection that a pairing runs on.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The key of this device.
    pub here: DeviceId,
    /// The key that the connection proved at the other end.
    pub there: DeviceId,
    /// What only the two ends of this very connection know: keying material exported under a
    /// label of pairing's own.
    pub exporter: [u8; 32],
    /// Whether this device made the connection.
    pub dialled: bool,
}

/// Why a pairing came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The person at this device said no, or that the digits differ.
    #[error("it was refused here")]
    Person,
    /// The other device ended it.
    #[error("the other device ended the pairing: {0}")]
    There(Told),
    /// The digits' nonce is not the one that was committed to.
    #[error("the other device changed its mind about its digits: somebody may be in between")]
    Commitment,
    /// The other device does not know the code or the PIN, or somebody is in between.
    #[error("the code or PIN is not the right one")]
    Proof,
    /// The code or PIN was used already.
    #[error("the code or PIN was used already; open pairing again for a new one")]
    Used,
    /// Too many wrong PINs.
    #[error("too many wrong PINs; open pairing on the device again")]
    Tries,
    /// It took too long.
    #[error("it took too long; start again")]
    Expired,
    /// The scanned code is that of another device.
    #[error("the code belongs to another device than the one that answered")]
    OtherDevice,
    /// The two devices were not about to do the same.
    #[error("the two devices do not pair in the same way: {0}")]
    Mismatch(&'static str),
    /// A message that has no place here.
    #[error("the other device sent what does not belong here: {0}")]
    Message(&'static str),
    /// The log that the owner device sent does not take this device in.
    #[error("the family that was sent does not hold this device: {0}")]
    Log(String),
    /// No random bytes.
    #[error("no random bytes")]
    Random,
}

impl From<RandomError> for Reason {
    fn from(_: RandomError) -> Self {
        Self::Random
    }
}

/// What a device says of why it ends a pairing. No more than the person at the other end needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Told {
    /// The person there said no.
    Person,
    /// The code or PIN was wrong, or used up.
    Secret,
    /// It took too long.
    Expired,
    /// Anything else.
    Other,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Person => "it was refused there",
            Self::Secret => "the code or PIN was wrong or used up",
            Self::Expired => "it took too long",
            Self::Other => "it did not understand",
        })
    }
}

/// What the caller is to do.
#[derive(Debug)]
pub enum Output {
    /// Send this message.
    Send(Vec<u8>),
    /// Show these digits, with the other's name, and ask whether the other shows the same; then
    /// [`Pairing::confirm`] or [`Pairing::refuse`].
    Show {
        /// Six decimal digits.
        digits: String,
        /// What the other device calls itself: its claim.
        name: String,
    },
    /// Ask whether the device may join, then [`Pairing::confirm`] or [`Pairing::refuse`].
    Ask {
        /// What the other device calls itself: its claim.
        name: String,
    },
    /// On the owner device: it is sure who joins. Write
    /// [`Action::Added`](crate::log::Action::Added) into the log and call [`Pairing::admitted`].
    Admit {
        /// The joining device.
        device: DeviceId,
        /// What it calls itself.
        name: String,
    },
    /// On the joining device: it is in. The log is the family's, and holds this device.
    Joined(Box<Log>),
    /// On the owner device: the other has the log.
    Done,
    /// It came to nothing.
    Refused(Reason),
}

/// What a method answers to a message.
#[derive(Debug, Default)]
struct Progress {
    send: Vec<Message>,
    /// Digits to show.
    show: Option<String>,
    /// Both keys are proven right, as far as the machines can tell.
    proven: bool,
}

impl Progress {
    fn send(message: Message) -> Self {
        Self {
            send: vec![message],
            ..Self::default()
        }
    }
}

/// What a method is bound to: a hash of both keys, the exporter and both hellos.
#[derive(Clone, Copy, Debug)]
struct Context([u8; 32]);

impl Context {
    /// A proof that whoever knows the key said this on this connection.
    fn proof(&self, key: &[u8], side: Side) -> [u8; 32] {
        self.mac(key, side).finalize().into_bytes().into()
    }

    /// Whether it is the proof of that side, without telling how much of it is.
    fn is_proof(&self, key: &[u8], side: Side, proof: &[u8; 32]) -> bool {
        self.mac(key, side).verify_slice(proof).is_ok()
    }

    fn mac(&self, key: &[u8], side: Side) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
        mac.update(match side {
            Side::Owner => b"HyperOS pairing proof 1 owner\0",
            Side::Joiner => b"HyperOS pairing proof 1 joiner\0",
        });
        mac.update(&self.0);
        mac
    }
}

/// One of the three ways.
#[derive(Debug)]
enum Method {
    Digits(digits::Digits),
    Code(code::Code),
    Pin(pin::Pin),
}

impl Method {
    fn name(&self) -> MethodName {
        match self {
            Self::Digits(_) => MethodName::Digits,
            Self::Code(_) => MethodName::Code,
            Self::Pin(_) => MethodName::Pin,
        }
    }

    /// Once both hellos are known.
    fn begin(&mut self, context: Context) -> Result<Progress, Reason> {
        match self {
            Self::Digits(method) => Ok(method.begin(context)),
            Self::Code(method) => method.begin(context),
            Self::Pin(method) => Ok(method.begin(context)),
        }
    }

    fn receive(&mut self, message: Message, now: u64) -> Result<Progress, Reason> {
        match self {
            Self::Digits(method) => method.receive(message),
            Self::Code(method) => method.receive(message, now),
            Self::Pin(method) => method.receive(message, now),
        }
    }

    /// Whether a person must agree here before the pairing goes on.
    fn asks(&self, side: Side) -> bool {
        match self {
            Self::Digits(_) => true,
            // Who sees the code on the owner's screen may be somebody else with a camera.
            Self::Code(method) => side == Side::Owner && method.shows(),
            Self::Pin(_) => false,
        }
    }
}

/// Where a pairing stands.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The other's hello is awaited.
    Greeting,
    /// The method is at work.
    Proving,
    /// Both keys are proven; a yes is awaited from the person here or from the device there.
    Agreeing { here: bool, there: bool },
    /// On the owner device: the caller writes the entry.
    Admitting,
    /// On the owner device: the log is sent, the other's word is awaited.
    Sent,
    /// On the joining device: the owner device's log is awaited.
    Receiving,
    /// It is over.
    Over,
}

/// A pairing at work. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Pairing {
    connection: Connection,
    side: Side,
    hello: Hello,
    method: Method,
    state: State,
    their_name: String,
    deadline: u64,
    family: Option<FamilyId>,
    entries: Vec<Vec<u8>>,
}

impl Pairing {
    fn new(connection: Connection, side: Side, name: &str, method: Method, now: u64) -> Self {
        Self {
            hello: Hello {
                version: message::VERSION,
                side,
                method: method.name(),
                dialled: connection.dialled,
                name: name.to_owned(),
            },
            connection,
            side,
            method,
            state: State::Greeting,
            their_name: String::new(),
            deadline: now.saturating_add(TIME_LIMIT),
            family: None,
            entries: Vec::new(),
        }
    }

    /// What to send first.
    pub fn start(&mut self) -> Vec<Output> {
        vec![send(&Message::Hello(self.hello.clone()))]
    }

    /// The key at the other end.
    pub fn peer(&self) -> DeviceId {
        self.connection.there
    }

    /// Whether it has ended, one way or another.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// A message came in.
    pub fn receive(&mut self, bytes: &[u8], now: u64) -> Vec<Output> {
        self.step(|pairing, output| {
            pairing.in_time(now)?;
            let limit = match pairing.state {
                State::Receiving => MAX_MESSAGE_BYTES,
                _ => MAX_SHORT_MESSAGE_BYTES,
            };
            let message = Message::decode(bytes, limit)?;
            pairing.handle(message, now, output)
        })
    }

    /// The person said yes: to the digits, or to the device.
    pub fn confirm(&mut self, now: u64) -> Vec<Output> {
        self.step(|pairing, output| {
            pairing.in_time(now)?;
            if let State::Agreeing { here, .. } = &mut pairing.state
                && !*here
            {
                *here = true;
                output.push(send(&Message::Agreed));
                pairing.go_on(output);
            }
            Ok(())
        })
    }

    /// The person said no, or went away.
    pub fn refuse(&mut self) -> Vec<Output> {
        self.step(|_, _| Err(Reason::Person))
    }

    /// Time has passed. To be called every second or so.
    pub fn tick(&mut self, now: u64) -> Vec<Output> {
        self.step(|pairing, _| pairing.in_time(now))
    }

    /// On the owner device, when the log holds the new device.
    pub fn admitted(&mut self, log: &Log) -> Vec<Output> {
        self.step(|pairing, output| {
            if pairing.state != State::Admitting {
                return Ok(());
            }
            if log.family().role(pairing.connection.there).is_none() {
                return Err(Reason::Log("the entry was not written".to_owned()));
            }
            output.push(send(&Message::Welcome { family: log.id() }));
            let mut batch = Vec::new();
            let mut size = 0;
            for entry in log.entries() {
                if size + entry.bytes().len() > MAX_BATCH_BYTES {
                    output.push(send(&Message::Entries(std::mem::take(&mut batch))));
                    size = 0;
                }
                size += entry.bytes().len();
                batch.push(entry.bytes().to_vec());
            }
            output.push(send(&Message::Entries(batch)));
            output.push(send(&Message::End));
            pairing.state = State::Sent;
            Ok(())
        })
    }

    /// Runs a step; a reason to refuse ends the pairing and is told to the other end, in short.
    fn step(
        &mut self,
        step: impl FnOnce(&mut Self, &mut Vec<Output>) -> Result<(), Reason>,
    ) -> Vec<Output> {
        let mut output = Vec::new();
        if self.state == State::Over {
            return output;
        }
        if let Err(reason) = step(self, &mut output) {
            self.state = State::Over;
            let told = match reason {
                Reason::There(_) => None,
                Reason::Person => Some(Told::Person),
                Reason::Proof | Reason::Used | Reason::Tries => Some(Told::Secret),
                Reason::Expired => Some(Told::Expired),
                _ => Some(Told::Other),
            };
            // Nothing but the refusal leaves: a step that failed half way has said nothing.
            output.clear();
            output.extend(told.map(|told| send(&Message::Refused(told))));
            output.push(Output::Refused(reason));
        }
        output
    }

    fn in_time(&self, now: u64) -> Result<(), Reason> {
        if now > self.deadline {
            return Err(Reason::Expired);
        }
        Ok(())
    }

    fn handle(
        &mut self,
        message: Message,
        now: u64,
        output: &mut Vec<Output>,
    ) -> Result<(), Reason> {
        if let Message::Refused(told) = message {
            return Err(Reason::There(told));
        }
        match (&mut self.state, message) {
            (State::Greeting, Message::Hello(hello)) => {
                let context = self.meet(hello)?;
                self.state = State::Proving;
                let progress = self.method.begin(context)?;
                self.advance(progress, output);
            }
            (State::Proving, Message::Agreed) => {
                return Err(Reason::Message("it agreed before it proved anything"));
            }
            (State::Proving, message) => {
                let progress = self.method.receive(message, now)?;
                self.advance(progress, output);
            }
            (State::Agreeing { there, .. }, Message::Agreed) if !*there => {
                *there = true;
                self.go_on(output);
            }
            (State::Receiving, Message::Welcome { family }) if self.family.is_none() => {
                self.family = Some(family);
            }
            (State::Receiving, Message::Entries(entries)) if self.family.is_some() => {
                if self.entries.len() + entries.len() > MAX_ENTRIES {
                    return Err(Reason::Message("more entries than a log may have"));
                }
                self.entries.extend(entries);
            }
            (State::Receiving, Message::End) => {
                let log = self.read_log()?;
                self.state = State::Over;
                output.push(send(&Message::Joined));
                output.push(Output::Joined(Box::new(log)));
            }
            (State::Sent, Message::Joined) => {
                self.state = State::Over;
                output.push(Output::Done);
            }
            _ => return Err(Reason::Message("a message out of its turn")),
        }
        Ok(())
    }

    /// Takes the other's hello, and answers what all that follows is bound to.
    fn meet(&mut self, theirs: Hello) -> Result<Context, Reason> {
        if theirs.version != message::VERSION {
            return Err(Reason::Mismatch("one of them needs an update"));
        }
        if theirs.method != self.hello.method {
            return Err(Reason::Mismatch("digits, code or PIN"));
        }
        if theirs.side != self.side.other() {
            return Err(Reason::Mismatch("both join, or both take in"));
        }
        if theirs.dialled == self.hello.dialled {
            return Err(Reason::Mismatch("who made the connection"));
        }
        if !is_name(&theirs.name) {
            return Err(Reason::Message("a name that is none"));
        }
        let (here, there) = (&self.hello, &theirs);
        let (owner, joiner, owner_key, joiner_key) = match self.side {
            Side::Owner => (here, there, self.connection.here, self.connection.there),
            Side::Joiner => (there, here, self.connection.there, self.connection.here),
        };
        let mut hash = Sha256::new()
            .chain_update(b"HyperOS pairing context 1\0")
            .chain_update(owner_key.as_bytes())
            .chain_update(joiner_key.as_bytes())
            .chain_update(self.connection.exporter);
        for hello in [owner, joiner] {
            let bytes = Message::Hello(hello.clone()).encode();
            hash.update((bytes.len() as u32).to_le_bytes());
            hash.update(bytes);
        }
        self.their_name = theirs.name;
        Ok(Context(hash.finalize().into()))
    }

    fn advance(&mut self, progress: Progress, output: &mut Vec<Output>) {
        output.extend(progress.send.iter().map(send));
        if let Some(digits) = progress.show {
            output.push(Output::Show {
                digits,
                name: self.their_name.clone(),
            });
        } else if progress.proven && self.method.asks(self.side) {
            output.push(Output::Ask {
                name: self.their_name.clone(),
            });
        }
        if progress.proven {
            self.state = State::Agreeing {
                here: false,
                there: false,
            };
            if !self.method.asks(self.side) {
                output.push(send(&Message::Agreed));
                self.state = State::Agreeing {
                    here: true,
                    there: false,
                };
            }
        }
    }

    /// Goes on once both have agreed.
    fn go_on(&mut self, output: &mut Vec<Output>) {
        if self.state
            != (State::Agreeing {
                here: true,
                there: true,
            })
        {
            return;
        }
        match self.side {
            Side::Owner => {
                self.state = State::Admitting;
                output.push(Output::Admit {
                    device: self.connection.there,
                    name: self.their_name.clone(),
                });
            }
            Side::Joiner => self.state = State::Receiving,
        }
    }

    /// The log that was sent, if it is that of the family that welcomed this device, holds this
    /// device, and the other end as an owner device.
    fn read_log(&mut self) -> Result<Log, Reason> {
        let refused = |why: &str| Reason::Log(why.to_owned());
        let entries = std::mem::take(&mut self.entries);
        let (first, rest) = entries
            .split_first()
            .ok_or_else(|| refused("it is empty"))?;
        let mut log = Log::open(first).map_err(|refusal| Reason::Log(refusal.to_string()))?;
        if Some(log.id()) != self.family {
            return Err(refused("it is another family than the one that welcomed"));
        }
        let (_, refusals) = log.insert_all(rest.iter().map(Vec::as_slice));
        if let Some(refusal) = refusals.first() {
            return Err(Reason::Log(refusal.to_string()));
        }
        let family = log.family();
        if family.role(self.connection.there) != Some(crate::log::Role::Owner) {
            return Err(refused("the other is no owner device of it"));
        }
        if family.role(self.connection.here).is_none() {
            return Err(refused("it does not name this device"));
        }
        Ok(log)
    }
}

fn send(message: &Message) -> Output {
    Output::Send(message.encode())
}
