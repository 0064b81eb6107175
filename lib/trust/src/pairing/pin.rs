//! A PIN of a device without a screen, typed into the owner device.
//!
//! The joining device makes a random PIN when somebody opens pairing by a physical action, tells
//! it by what it has (a voice, a display of digits, its console), and keeps it for
//! [`TIME_LIMIT`] or [`TRIES`] tries, whichever ends first.
//!
//! ```text
//! owner device (A)                        joining device (B)
//!   │ ── Element(SPAKE2 of the PIN) ──────► │  counts a try
//!   │ ◄────── Element(SPAKE2 of the PIN) ── │
//!   │ ── Proof(key, context, owner) ──────► │  checks it, and closes the opening
//!   │ ◄─────── Proof(key, context, joiner) ─ │
//!   │    checks it
//! ```
//!
//! SPAKE2 makes a key that both have if both know the PIN, and from which nobody who listened or
//! took part can try PINs afterwards. So a try costs a connection, and five of them is all there
//! are: somebody on the network gets in with one chance in 200,000. The key of SPAKE2 depends on
//! both devices' keys and the proofs on the connection: somebody in between cannot pass them on.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroizing;

use super::{Connection, Context, Method, Pairing, Progress, Reason, Side, message::Message};
use crate::identity::{RandomError, random};

/// How long an opening lasts, in seconds.
pub const TIME_LIMIT: u64 = 120;
/// How many tries there are in an opening.
pub const TRIES: u32 = 5;

/// A pairing that somebody opened on a device without a screen. Clones are the same opening.
#[derive(Clone)]
pub struct Opening(Arc<Mutex<Open>>);

struct Open {
    pin: Zeroizing<String>,
    until: u64,
    tries: u32,
    /// A device has paired, or the person closed it.
    closed: bool,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.open();
        f.debug_struct("Opening")
            .field("until", &open.until)
            .field("tries", &open.tries)
            .finish_non_exhaustive()
    }
}

impl Opening {
    /// Opens pairing, with a new PIN. That a person is at the device is the caller's business.
    pub fn new(now: u64) -> Result<Self, RandomError> {
        // Taken again where the remainder would favour some PINs.
        let number = loop {
            let number = u32::from_le_bytes(random()?);
            if number < u32::MAX - u32::MAX % 1_000_000 {
                break number % 1_000_000;
            }
        };
        Ok(Self(Arc::new(Mutex::new(Open {
            pin: Zeroizing::new(format!("{number:06}")),
            until: now.saturating_add(TIME_LIMIT),
            tries: TRIES,
            closed: false,
        }))))
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        // Nothing panics while it is held; and a count is right whoever panicked.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Six digits to tell the person.
    pub fn pin(&self) -> Zeroizing<String> {
        self.open().pin.clone()
    }

    /// Whether somebody could still pair.
    pub fn is_open(&self, now: u64) -> bool {
        let open = self.open();
        now <= open.until && open.tries > 0 && !open.closed
    }

    /// Ends it: the person changed their mind.
    pub fn close(&self) {
        self.open().closed = true;
    }

    /// A pairing of this device with whoever connected.
    pub fn pair(&self, connection: Connection, name: &str, now: u64) -> Pairing {
        let pin = self.pin();
        let method = Pin {
            side: Side::Joiner,
            state: State::AwaitingElement,
            pin,
            opening: Some(self.clone()),
            owner: connection.there.as_bytes().to_vec(),
            joiner: connection.here.as_bytes().to_vec(),
            context: None,
        };
        Pairing::new(connection, Side::Joiner, name, Method::Pin(method), now)
    }

    /// Takes the opening out of use, for the one device that knew the PIN.
    fn take(&self, now: u64) -> Result<(), Reason> {
        let mut open = self.open();
        if now > open.until {
            return Err(Reason::Expired);
        }
        match std::mem::replace(&mut open.closed, true) {
            true => Err(Reason::Used),
            false => Ok(()),
        }
    }

    /// Takes one try.
    fn take_try(&self, now: u64) -> Result<(), Reason> {
        let mut open = self.open();
        if now > open.until {
            return Err(Reason::Expired);
        }
        if open.closed {
            return Err(Reason::Used);
        }
        open.tries = open.tries.checked_sub(1).ok_or(Reason::Tries)?;
        Ok(())
    }
}

/// A pairing of this owner device with a device whose PIN the person typed. Spaces count for
/// nothing.
pub fn pair(connection: Connection, name: &str, pin: &str, now: u64) -> Pairing {
    let method = Pin {
        side: Side::Owner,
        state: State::AwaitingElement,
        pin: Zeroizing::new(pin.chars().filter(|c| !c.is_whitespace()).collect()),
        opening: None,
        owner: connection.here.as_bytes().to_vec(),
        joiner: connection.there.as_bytes().to_vec(),
        context: None,
    };
    Pairing::new(connection, Side::Owner, name, Method::Pin(method), now)
}

enum State {
    /// The other's element is awaited. The owner device has sent its own.
    AwaitingElement,
    /// The other's proof is awaited.
    AwaitingProof { key: Zeroizing<Vec<u8>> },
    /// All is proven.
    Proven,
}

/// The method's state machine.
pub(super) struct Pin {
    side: Side,
    state: State,
    pin: Zeroizing<String>,
    opening: Option<Opening>,
    owner: Vec<u8>,
    joiner: Vec<u8>,
    context: Option<(Context, Option<Spake2<Ed25519Group>>)>,
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin")
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

impl Pin {
    fn element(&self) -> (Spake2<Ed25519Group>, Message) {
        let password = Password::new(self.pin.as_bytes());
        let (owner, joiner) = (Identity::new(&self.owner), Identity::new(&self.joiner));
        let (exchange, element) = match self.side {
            Side::Owner => Spake2::start_a(&password, &owner, &joiner),
            Side::Joiner => Spake2::start_b(&password, &owner, &joiner),
        };
        (exchange, Message::Element(element))
    }

    pub(super) fn begin(&mut self, context: Context) -> Progress {
        match self.side {
            Side::Owner => {
                let (exchange, element) = self.element();
                self.context = Some((context, Some(exchange)));
                Progress::send(element)
            }
            Side::Joiner => {
                self.context = Some((context, None));
                Progress::default()
            }
        }
    }

    pub(super) fn receive(&mut self, message: Message, now: u64) -> Result<Progress, Reason> {
        let (context, exchange) = self.context.as_mut().expect("begin was called");
        let context = *context;
        match (&self.state, message) {
            (State::AwaitingElement, Message::Element(element)) => {
                let exchange = exchange.take();
                // Before anything is said that depends on the PIN.
                if let Some(opening) = &self.opening {
                    opening.take_try(now)?;
                }
                let (exchange, send) = match exchange {
                    Some(exchange) => (exchange, None),
                    None => {
                        let (exchange, element) = self.element();
                        (exchange, Some(element))
                    }
                };
                let key = exchange
                    .finish(&element)
                    .map(Zeroizing::new)
                    .map_err(|_| Reason::Message("no element of SPAKE2"))?;
                let send = match send {
                    Some(element) => element,
                    None => Message::Proof(context.proof(&key, self.side)),
                };
                self.state = State::AwaitingProof { key };
                Ok(Progress::send(send))
            }
            (State::AwaitingProof { key }, Message::Proof(proof)) => {
                if !context.is_proof(key, self.side.other(), &proof) {
                    return Err(Reason::Proof);
                }
                let mut progress = Progress {
                    proven: true,
                    ..Progress::default()
                };
                if let Some(opening) = &self.opening {
                    opening.take(now)?;
                    let proof = context.proof(key, self.side);
                    progress.send.push(Message::Proof(proof));
                }
                self.state = State::Proven;
                Ok(progress)
            }
            _ => Err(Reason::Message("a message out of its turn")),
        }
    }
}
