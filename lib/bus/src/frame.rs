//! How many calls share one connection.
//!
//! wRPC gives every invocation a byte stream of its own. A frame carries a piece of one such
//! stream, in either direction: a call that fits is one frame, and so is its answer.
//!
//! | bytes | what |
//! |---|---|
//! | 0–2 | length of the payload, little endian, at most [`MAX_PAYLOAD`] |
//! | 3 | kind in the low seven bits; the high bit ends this direction of the stream |
//! | 4–7 | number of the stream, little endian, chosen by the caller, never used twice |
//! | 8… | payload |
//!
//! Whoever is at the other end is a stranger: every field is checked, and what does not fit ends
//! the connection, never the process.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};

/// Bytes before the payload.
pub const HEADER: usize = 8;
/// The longest payload of one frame.
pub const MAX_PAYLOAD: usize = 64 * 1024;

const END: u8 = 0x80;

/// What a frame does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// Opens a stream and carries the beginning of the invocation. Only the caller sends it.
    Open = 1,
    /// Carries more.
    Data = 2,
    /// Gives the stream up at once: a [`Refusal`] and a sentence in UTF-8.
    Reset = 3,
    /// Lets the other side send so many bytes more: four bytes, little endian.
    Credit = 4,
    /// Says which other device calls: the first frame of a connection on a socket that is for
    /// those, and never sent on any other.
    Caller = 5,
    /// Says that the answer takes longer than usual, for a person is asked first: at most so many
    /// milliseconds from now, four bytes, little endian. Only the program that carries calls sends it,
    /// before the answer to a connection.
    Patience = 6,
}

/// Why a stream was given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Refusal {
    /// The caller does not want the answer any more.
    Cancelled = 0,
    /// There is no such function.
    UnknownFunction = 1,
    /// The interface is not served on this socket.
    UnknownInterface = 2,
    /// The caller's manifest does not list the interface.
    NotGranted = 3,
    /// The arguments cannot be read.
    Unreadable = 4,
    /// The message is longer than the receiver takes.
    TooLarge = 5,
    /// Too many calls at once.
    Busy = 6,
    /// The service could not answer.
    Failed = 7,
}

impl Refusal {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Cancelled,
            1 => Self::UnknownFunction,
            2 => Self::UnknownInterface,
            3 => Self::NotGranted,
            4 => Self::Unreadable,
            5 => Self::TooLarge,
            6 => Self::Busy,
            _ => Self::Failed,
        }
    }
}

/// One frame, as it came.
#[derive(Debug, Eq, PartialEq)]
pub struct Frame {
    /// The stream that it belongs to.
    pub stream: u32,
    /// What it does.
    pub kind: Kind,
    /// Whether the sender sends nothing more on this stream.
    pub end: bool,
    /// What it carries.
    pub payload: BytesMut,
}

/// The other side does not speak this protocol.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// The length is over the limit.
    #[error("a frame of {0} bytes, where {MAX_PAYLOAD} is the limit")]
    TooLong(usize),
    /// The kind is not one of ours.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
}

/// Takes the next whole frame out of what was read; `None` when more must be read first.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    let Some(head) = buffer.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let (kind, length) = decode_head(head)?;
    let &[_, _, _, flags, d, e, f, g] = head;
    let end = flags & END != 0;
    if buffer.len() < HEADER + length {
        buffer.reserve(HEADER + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER);
    let payload = buffer.split_to(length);
    Ok(Some(Frame {
        stream: u32::from_le_bytes([d, e, f, g]),
        kind,
        end,
        payload,
    }))
}

/// Reads the kind of a frame and the length of its payload.
pub fn decode_head(head: &[u8; HEADER]) -> Result<(Kind, usize), Malformed> {
    let &[a, b, c, kind, ..] = head;
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    if length > MAX_PAYLOAD {
        return Err(Malformed::TooLong(length));
    }
    let kind = match kind & !END {
        1 => Kind::Open,
        2 => Kind::Data,
        3 => Kind::Reset,
        4 => Kind::Credit,
        5 => Kind::Caller,
        6 => Kind::Patience,
        unknown => return Err(Malformed::UnknownKind(unknown)),
    };
    Ok((kind, length))
}

/// Whether the sender sends nothing more on the stream of this frame.
pub fn is_end(head: &[u8; HEADER]) -> bool {
    head[3] & END != 0
}

/// Writes a message as one frame, or as several where it is longer than one may be.
pub fn encode(out: &mut BytesMut, stream: u32, first: Kind, message: &[u8], end: bool) {
    out.reserve(message.len() + HEADER * (1 + message.len() / MAX_PAYLOAD));
    let mut kind = first;
    let mut rest = message;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        header(out, stream, kind, piece.len(), end && after.is_empty());
        out.put_slice(piece);
        if after.is_empty() {
            return;
        }
        rest = after;
        kind = Kind::Data;
    }
}

/// Writes what gives a stream up. The sentence is cut at 1,024 bytes.
pub fn encode_reset(out: &mut BytesMut, stream: u32, refusal: Refusal, sentence: &str) {
    let cut = sentence.floor_char_boundary(1024);
    header(out, stream, Kind::Reset, 1 + cut, true);
    out.put_u8(refusal as u8);
    out.put_slice(&sentence.as_bytes()[..cut]);
}

/// Reads what [`encode_reset`] wrote.
pub fn decode_reset(payload: &[u8]) -> (Refusal, String) {
    match payload {
        [] => (Refusal::Failed, String::new()),
        [refusal, sentence @ ..] => (
            Refusal::from_byte(*refusal),
            String::from_utf8_lossy(sentence).into_owned(),
        ),
    }
}

/// Writes that the other side may send so many bytes more.
pub fn encode_credit(out: &mut BytesMut, stream: u32, bytes: u32) {
    header(out, stream, Kind::Credit, 4, false);
    out.put_u32_le(bytes);
}

/// Writes that the answer may take so long from now.
pub fn encode_patience(out: &mut BytesMut, stream: u32, most: Duration) {
    header(out, stream, Kind::Patience, 4, false);
    out.put_u32_le(u32::try_from(most.as_millis()).unwrap_or(u32::MAX));
}

/// Reads what [`encode_patience`] wrote, but no more than `most`.
pub fn decode_patience(payload: &[u8], most: Duration) -> Option<Duration> {
    let milliseconds = u32::from_le_bytes(payload.try_into().ok()?);
    Some(Duration::from_millis(milliseconds.into()).min(most))
}

fn header(out: &mut BytesMut, stream: u32, kind: Kind, length: usize, end: bool) {
    debug_assert!(length <= MAX_PAYLOAD, "pieces are cut before");
    let end = if end { END } else { 0 };
    // The length takes the low three bytes, the kind the high one.
    let word = length as u32 | u32::from(kind as u8 | end) << 24;
    out.put_u32_le(word);
    out.put_u32_le(stream);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_longer_than_a_frame_is_cut_and_only_the_last_piece_ends_it() {
        let message = vec![7; MAX_PAYLOAD + 1];
        let mut out = BytesMut::new();
        encode(&mut out, 5, Kind::Open, &message, true);
        let first = decode(&mut out).unwrap().unwrap();
        let second = decode(&mut out).unwrap().unwrap();
        assert_eq!(
            (first.kind, first.end, first.payload.len()),
            (Kind::Open, false, MAX_PAYLOAD)
        );
        assert_eq!(
            (second.kind, second.end, second.payload.len()),
            (Kind::Data, true, 1)
        );
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(stream: u32, message in proptest::collection::vec(any::<u8>(), 0..2000), end: bool, cut in 0usize..3000) {
            let mut out = BytesMut::new();
            encode(&mut out, stream, Kind::Data, &message, end);
            // However the bytes arrive.
            let rest = out.split_off(cut.min(out.len()));
            let early = decode(&mut out).unwrap();
            let frame = match early {
                Some(frame) => frame,
                None => {
                    out.unsplit(rest);
                    decode(&mut out).unwrap().expect("a whole frame")
                }
            };
            prop_assert_eq!(frame.stream, stream);
            prop_assert_eq!(frame.end, end);
            prop_assert_eq!(&frame.payload[..], &message[..]);
        }

        #[test]
        fn a_strangers_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = decode(&mut buffer) {
                prop_assert!(frame.payload.len() <= MAX_PAYLOAD);
                let _ = decode_reset(&frame.payload);
                let _ = decode_patience(&frame.payload, Duration::from_secs(1));
            }
        }
    }
}
