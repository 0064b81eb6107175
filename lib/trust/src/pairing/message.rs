//! The messages of pairing, as they stand on the wire: postcard, in one form only.

use serde::{Deserialize, Serialize};

use super::{Reason, Side, Told};
use crate::log::{FamilyId, MAX_ENTRY_BYTES};

pub(super) const VERSION: u8 = 1;

/// A message has at most this many bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Before the other is proven to be the right one, at most this many.
pub(super) const MAX_SHORT_MESSAGE_BYTES: usize = 256;
/// The entries in one message have together at most this many: room for what goes around them.
pub(super) const MAX_BATCH_BYTES: usize = MAX_MESSAGE_BYTES - 2 * MAX_ENTRY_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum MethodName {
    Digits,
    Code,
    Pin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub version: u8,
    pub side: Side,
    pub method: MethodName,
    pub dialled: bool,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    Hello(Hello),
    /// Digits: the hash of the dialler's nonce.
    Commitment([u8; 32]),
    /// Digits: a nonce.
    Nonce([u8; 32]),
    /// PIN: an element of SPAKE2.
    Element(Vec<u8>),
    /// Code and PIN: that its sender knows the secret.
    Proof([u8; 32]),
    /// The sender's person, or the sender, agrees.
    Agreed,
    /// The other is in, and this family's log follows.
    Welcome {
        family: FamilyId,
    },
    Entries(Vec<Vec<u8>>),
    End,
    /// The sender has the log and is in it.
    Joined,
    Refused(Told),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain fields have an encoding")
    }

    pub(super) fn decode(bytes: &[u8], limit: usize) -> Result<Self, Reason> {
        if bytes.len() > limit {
            return Err(Reason::Message("a message that is too long"));
        }
        postcard::from_bytes::<Self>(bytes)
            .ok()
            .filter(|message| message.encode() == bytes)
            .ok_or(Reason::Message("a message that is none"))
    }
}
