//! What is said on the streams of a connection, before the bytes of a call.
//!
//! A stream opens with one byte for its [`Kind`] and one message; a message is its length in four
//! bytes, little endian, and as many bytes. What is in a message is written by `postcard`. Whoever is at
//! the other end is bounded: in length before anything is kept, and in time by the callers of these
//! functions.

use anyhow::{Context as _, Result, bail, ensure};
use iroh::endpoint::{RecvStream, SendStream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What connections of a family speak.
pub const ALPN: &[u8] = b"hyperos/mesh/1";
/// What connections for pairing speak.
pub const PAIRING_ALPN: &[u8] = b"hyperos/pairing/1";

/// What connections for restoring a family speak.
pub const RECOVERY_ALPN: &[u8] = b"hyperos/recovery/1";

/// The longest message that opens a call or answers it.
pub const MAX_HEAD: usize = 1024;
/// The longest message of an exchange of the log. However it is decoded, that is little memory.
pub const MAX_LOG_MESSAGE: usize = 64 * 1024;

/// What a stream is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// A connection to an interface.
    Call = 1,
    /// An exchange of the family's log.
    Log = 2,
    /// Nothing but whether the other one is still there.
    Probe = 3,
    /// A question for the owner, who is at the other device.
    Question = 4,
    /// Which grants for one call the device that opens it has used.
    Used = 5,
    /// That the other one was removed.
    Removed = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        let kinds = [
            Self::Call,
            Self::Log,
            Self::Probe,
            Self::Question,
            Self::Used,
            Self::Removed,
        ];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Asks for a connection to an interface.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CallHead {
    /// The interface, in full.
    pub interface: String,
    /// The program that calls, as the calling device claims.
    pub program: Option<String>,
}

/// Answers it.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum CallAnswer {
    /// What follows on the stream is the connection.
    Open,
    /// There is none, for this reason.
    Refused(String),
    /// The owner is asked first. One of the others follows.
    Asking,
    /// As [`CallAnswer::Open`], for one call: the connection ends with the answer to it.
    OpenForOne,
}

/// Asks the owner whether a device may call an interface of the device that sends this.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct QuestionHead {
    /// The key of the device that asks to call.
    pub caller: [u8; 32],
    /// The program that calls, as the calling device claims.
    pub program: Option<String>,
    /// The interface, without its version.
    pub interface: String,
    /// Seconds since 1970 by the clock of the device that sends this: a time that the owner gives is
    /// one of this clock.
    pub now: u64,
}

/// What becomes of a question. [`QuestionAnswer::Shown`] comes first where the owner sees it, and
/// then one of the last two, or nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum QuestionAnswer {
    /// It is on the screen.
    Shown,
    /// There is no owner device with a screen.
    NotHere,
    /// The owner has refused the device that asks to call too often.
    Muted,
    /// Too many questions wait, or come.
    Busy,
    /// The owner has said no.
    Refused,
    /// The owner has allowed it, by this entry. Nothing follows from this but from the entry itself,
    /// once it is in the log.
    Allowed([u8; 32]),
}

/// Grants for one call of the device that sends this: they were used, and their calls are over.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Used(pub Vec<[u8; 32]>);

/// The newest entries that a device has, by their hashes.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Heads(pub Vec<[u8; 32]>);

/// Entries of the log; none after the last.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entries(pub Vec<Vec<u8>>);

/// What a device of a family says to one that is of none and wants to restore it: proofs that it knows a paper key of
/// the family.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Greetings(pub Vec<[u8; 32]>);

/// What it says to a claim, and to the entries that follow from one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum RecoveryAnswer {
    /// The claim holds. The family's log follows.
    Holds,
    /// The entries are taken, durably: the other one is an owner device of the family.
    Taken,
    /// These are not the words of the family, or not any more.
    OtherWords,
    /// They are, and this device could not keep what follows from it.
    NotKept,
}

/// Opens a stream.
pub async fn begin(send: &mut SendStream, kind: Kind) -> Result<()> {
    send.write_all(&[kind as u8])
        .await
        .context("opening a stream")
}

/// Reads what a stream is for.
pub async fn read_kind(receive: &mut RecvStream) -> Result<Kind> {
    let mut byte = [0];
    receive
        .read_exact(&mut byte)
        .await
        .context("reading what a stream is for")?;
    Kind::from_byte(byte[0]).with_context(|| format!("streams of kind {} are not known", byte[0]))
}

/// Writes a message.
pub async fn write<T: Serialize>(send: &mut SendStream, message: &T) -> Result<()> {
    let bytes = postcard::to_stdvec(message).context("writing a message down")?;
    write_bytes(send, &bytes).await
}

/// Writes a message that is bytes already.
pub async fn write_bytes(send: &mut SendStream, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).context("a message of over 4 GiB")?;
    let mut framed = Vec::with_capacity(4 + bytes.len());
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(bytes);
    send.write_all(&framed).await.context("sending a message")
}

/// Reads a message of at most so many bytes.
pub async fn read<T: DeserializeOwned>(receive: &mut RecvStream, most: usize) -> Result<T> {
    match read_bytes(receive, most).await? {
        Some(bytes) => parse(&bytes),
        None => bail!("the stream ended before its message"),
    }
}

/// Reads a message as bytes; `None` where the stream has ended.
pub async fn read_bytes(receive: &mut RecvStream, most: usize) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    let mut read = 0;
    while read < 4 {
        match receive
            .read(&mut length[read..])
            .await
            .context("receiving a message")?
        {
            Some(more) => read += more,
            None if read == 0 => return Ok(None),
            None => bail!("the stream ended in the middle of a length"),
        }
    }
    let length = u32::from_le_bytes(length) as usize;
    ensure!(
        length <= most,
        "a message of {length} bytes, where {most} is the limit"
    );
    // Grows with what comes, not with what is announced.
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    while bytes.len() < length {
        let most = (length - bytes.len()).min(piece.len());
        match receive
            .read(&mut piece[..most])
            .await
            .context("receiving a message")?
        {
            Some(more) => bytes.extend_from_slice(&piece[..more]),
            None => bail!("the stream ended in the middle of a message"),
        }
    }
    Ok(Some(bytes))
}

/// Reads a message that must be the whole of some bytes.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (message, rest) = postcard::take_from_bytes(bytes).context("reading a message")?;
    ensure!(
        rest.is_empty(),
        "a message with {} bytes behind it",
        rest.len()
    );
    Ok(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_strangers_message_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse::<CallHead>(&bytes);
            let _ = parse::<CallAnswer>(&bytes);
            let _ = parse::<QuestionHead>(&bytes);
            let _ = parse::<QuestionAnswer>(&bytes);
            let _ = parse::<Used>(&bytes);
            let _ = parse::<Heads>(&bytes);
            let _ = parse::<Entries>(&bytes);
            let _ = parse::<Greetings>(&bytes);
            let _ = parse::<RecoveryAnswer>(&bytes);
        }

        #[test]
        fn a_message_is_read_as_it_was_written(interface: String, program: Option<String>) {
            let head = CallHead { interface, program };
            prop_assert_eq!(parse::<CallHead>(&postcard::to_stdvec(&head).unwrap()).unwrap(), head);
        }
    }
}
