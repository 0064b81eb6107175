//! A code that one device shows and the other scans.
//!
//! The code holds the key of the device that shows it and a secret of 128 bits that is good for
//! one pairing.
//!
//! ```text
//! scanner                                shower
//!   │    knows the shower's key and the secret, and dials that key
//!   │ ── Proof(secret, context, side) ──► │  checks it, and takes the code out of use
//!   │ ◄── Proof(secret, context, side) ── │
//!   │    checks it
//! ```
//!
//! The scanner speaks only to the key in the code; the shower believes whoever knows the secret,
//! which was on its screen and nowhere else. When the shower is the owner device it asks its
//! person too: a camera across the room can read a screen.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use super::{Connection, Context, Method, Pairing, Progress, Reason, Side, message::Message};
use crate::identity::{DeviceId, RandomError, random};

/// How long a code is good, in seconds.
pub const TIME_LIMIT: u64 = 300;

const PREFIX: &str = "HYPEROS:1:";

/// What a code says. Its text is made of what a QR code packs best: digits, capitals and colons.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeText {
    /// The device that shows the code.
    pub device: DeviceId,
    secret: Zeroizing<[u8; 16]>,
}

impl fmt::Debug for CodeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeText")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for CodeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = Zeroizing::new([&self.device.as_bytes()[..], &*self.secret].concat());
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&bytes))
    }
}

/// A text that is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no pairing code of HyperOS; scan the one on the other device's pairing screen")]
pub struct CodeError;

impl FromStr for CodeText {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let bytes = text
            .trim()
            .strip_prefix(PREFIX)
            .and_then(|rest| BASE32_NOPAD.decode(rest.as_bytes()).ok())
            .map(Zeroizing::new)
            .ok_or(CodeError)?;
        let (device, secret) = bytes.split_first_chunk::<32>().ok_or(CodeError)?;
        Ok(Self {
            device: DeviceId::from_bytes(device).map_err(|_| CodeError)?,
            secret: Zeroizing::new(secret.try_into().map_err(|_| CodeError)?),
        })
    }
}

/// A code on the screen of this device. Good once, for [`TIME_LIMIT`]; clones are the same code.
#[derive(Clone, Debug)]
pub struct Shown {
    text: CodeText,
    until: u64,
    used: Arc<AtomicBool>,
}

impl Shown {
    /// A new code of this device.
    pub fn new(here: DeviceId, now: u64) -> Result<Self, RandomError> {
        Ok(Self {
            text: CodeText {
                device: here,
                secret: Zeroizing::new(random()?),
            },
            until: now.saturating_add(TIME_LIMIT),
            used: Arc::default(),
        })
    }

    /// What to show.
    pub fn text(&self) -> &CodeText {
        &self.text
    }

    /// Whether somebody could still pair with it.
    pub fn is_good(&self, now: u64) -> bool {
        now <= self.until && !self.used.load(Ordering::SeqCst)
    }

    /// A pairing with whoever connected while this code is shown.
    pub fn pair(&self, connection: Connection, side: Side, name: &str, now: u64) -> Pairing {
        let method = Code {
            secret: self.text.secret.clone(),
            device: None,
            side,
            here: connection.here,
            there: connection.there,
            shown: Some(self.clone()),
            context: None,
        };
        Pairing::new(connection, side, name, Method::Code(method), now)
    }
}

/// A pairing by a code that was scanned; the connection is to the device that the code names.
pub fn pair(
    connection: Connection,
    side: Side,
    name: &str,
    scanned: &CodeText,
    now: u64,
) -> Pairing {
    let method = Code {
        secret: scanned.secret.clone(),
        device: Some(scanned.device),
        side,
        here: connection.here,
        there: connection.there,
        shown: None,
        context: None,
    };
    Pairing::new(connection, side, name, Method::Code(method), now)
}

/// The method's state machine: the scanner awaits the shower's proof, the shower the scanner's.
#[derive(Debug)]
pub(super) struct Code {
    secret: Zeroizing<[u8; 16]>,
    /// The device that the scanned code names.
    device: Option<DeviceId>,
    side: Side,
    here: DeviceId,
    there: DeviceId,
    /// The code, where it is shown.
    shown: Option<Shown>,
    context: Option<Context>,
}

impl Code {
    pub(super) fn shows(&self) -> bool {
        self.shown.is_some()
    }

    pub(super) fn begin(&mut self, context: Context) -> Result<Progress, Reason> {
        self.context = Some(context);
        if let Some(shown) = &self.shown {
            // The code on this screen must be this device's, or the other dialled elsewhere.
            if shown.text.device != self.here {
                return Err(Reason::OtherDevice);
            }
            return Ok(Progress::default());
        }
        if self.device != Some(self.there) {
            return Err(Reason::OtherDevice);
        }
        Ok(Progress::send(self.proof(&context)))
    }

    fn proof(&self, context: &Context) -> Message {
        Message::Proof(context.proof(&*self.secret, self.side))
    }

    pub(super) fn receive(&mut self, message: Message, now: u64) -> Result<Progress, Reason> {
        let context = self.context.expect("begin was called");
        let Message::Proof(proof) = message else {
            return Err(Reason::Message("a message out of its turn"));
        };
        if let Some(shown) = &self.shown
            && now > shown.until
        {
            return Err(Reason::Expired);
        }
        if !context.is_proof(&*self.secret, self.side.other(), &proof) {
            return Err(Reason::Proof);
        }
        let mut progress = Progress {
            proven: true,
            ..Progress::default()
        };
        if let Some(shown) = &self.shown {
            // Whoever comes second with the right secret is not the one who was meant, or was.
            if shown.used.swap(true, Ordering::SeqCst) {
                return Err(Reason::Used);
            }
            progress.send.push(self.proof(&context));
        }
        Ok(progress)
    }
}
