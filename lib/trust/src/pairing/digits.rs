//! Six digits on two screens.
//!
//! ```text
//! dialler                                      other
//!   │ ── Commitment(SHA-256(context, nonce)) ──► │
//!   │ ◄───────────────────────────── Nonce ───── │
//!   │ ── Nonce ────────────────────────────────► │  checks the commitment
//!   │    both show SHA-256(context, nonces) mod 10^6, and a person compares
//! ```
//!
//! Somebody in between has two connections, so two contexts, and wants both to show the same
//! digits. Towards the dialler it must choose its nonce before it knows the dialler's; towards the
//! other it has committed to its own before it knows the other's. So its digits are what chance
//! makes them, and each try, one in a million, needs a person who compares and says yes.

use sha2::{Digest as _, Sha256};

use super::{Connection, Context, Method, Pairing, Progress, Reason, Side, message::Message};
use crate::identity::random;

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The dialler has committed; the other's nonce is awaited.
    Committed,
    /// The dialler's commitment is awaited.
    AwaitingCommitment,
    /// The dialler's nonce is awaited.
    AwaitingNonce { commitment: [u8; 32] },
    /// Both have what they show.
    Showing,
}

/// The method's state machine.
#[derive(Debug)]
pub(super) struct Digits {
    state: State,
    nonce: [u8; 32],
    context: Option<Context>,
}

/// A pairing by six digits.
pub fn pair(
    connection: Connection,
    side: Side,
    name: &str,
    now: u64,
) -> Result<Pairing, crate::identity::RandomError> {
    let method = Digits {
        state: match connection.dialled {
            true => State::Committed,
            false => State::AwaitingCommitment,
        },
        nonce: random()?,
        context: None,
    };
    Ok(Pairing::new(
        connection,
        side,
        name,
        Method::Digits(method),
        now,
    ))
}

impl Digits {
    pub(super) fn begin(&mut self, context: Context) -> Progress {
        self.context = Some(context);
        match self.state {
            State::Committed => {
                Progress::send(Message::Commitment(commitment(&context, &self.nonce)))
            }
            _ => Progress::default(),
        }
    }

    pub(super) fn receive(&mut self, message: Message) -> Result<Progress, Reason> {
        let context = self.context.expect("begin was called");
        match (&self.state, message) {
            (State::AwaitingCommitment, Message::Commitment(commitment)) => {
                self.state = State::AwaitingNonce { commitment };
                Ok(Progress::send(Message::Nonce(self.nonce)))
            }
            (State::Committed, Message::Nonce(theirs)) => {
                self.state = State::Showing;
                Ok(Progress {
                    send: vec![Message::Nonce(self.nonce)],
                    show: Some(digits(&context, &self.nonce, &theirs)),
                    proven: true,
                })
            }
            (State::AwaitingNonce { commitment: told }, Message::Nonce(theirs)) => {
                if *told != commitment(&context, &theirs) {
                    return Err(Reason::Commitment);
                }
                self.state = State::Showing;
                Ok(Progress {
                    send: Vec::new(),
                    show: Some(digits(&context, &theirs, &self.nonce)),
                    proven: true,
                })
            }
            _ => Err(Reason::Message("a message out of its turn")),
        }
    }
}

pub(super) fn commitment(context: &Context, nonce: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"HyperOS pairing commitment 1\0")
        .chain_update(context.0)
        .chain_update(nonce)
        .finalize()
        .into()
}

pub(super) fn digits(context: &Context, dialler: &[u8; 32], other: &[u8; 32]) -> String {
    let hash = Sha256::new()
        .chain_update(b"HyperOS pairing digits 1\0")
        .chain_update(context.0)
        .chain_update(dialler)
        .chain_update(other)
        .finalize();
    let (number, _) = hash.split_first_chunk::<8>().expect("32 bytes");
    // 2^64 is so much more than a million that all digits are equally likely.
    format!("{:06}", u64::from_le_bytes(*number) % 1_000_000)
}
