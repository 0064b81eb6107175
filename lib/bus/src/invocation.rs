//! What goes inside a stream: wRPC's bytes for one invocation.
//!
//! A caller sends a version byte, the interface, the function and then *parts*; the answer is
//! parts alone. A part is a path, a length and data. The empty path holds the arguments or the
//! answer; where the answer is a stream, path `[0]` holds its items in groups, each a count and
//! the items, ended by a count of zero.

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::wire::wrpc_transport::frame::{Outgoing, PROTOCOL, encode_invocation};
use crate::wire::wrpc_transport::{Decode, Encode, TupleDecode, TupleEncode};

/// The longest name of an interface or a function that is read.
const MAX_NAME: usize = 256;

/// Bytes that are not an invocation.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Which channel of an invocation a part belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Path {
    /// The arguments, or the answer.
    Root,
    /// The items of the stream that is the answer.
    Items,
}

/// The bytes of a call that sends nothing after its arguments.
pub fn encode_call<P>(interface: &str, function: &str, parameters: P) -> std::io::Result<BytesMut>
where
    P: TupleEncode,
    std::io::Error: From<<<P as Encode>::Encoder as Encoder<P>>::Error>,
{
    let mut encoded = BytesMut::with_capacity(128);
    <P as Encode<Outgoing>>::Encoder::default().encode(parameters, &mut encoded)?;
    encode_call_bytes(interface, function, &encoded)
}

/// As [`encode_call`], for arguments that are bytes already.
pub fn encode_call_bytes(
    interface: &str,
    function: &str,
    parameters: &[u8],
) -> std::io::Result<BytesMut> {
    let mut message =
        BytesMut::with_capacity(24 + interface.len() + function.len() + parameters.len());
    encode_invocation(&mut message, interface, function, parameters.len())?;
    message.put_slice(parameters);
    Ok(message)
}

/// Takes interface and function off a call that arrived whole; the parts remain.
pub fn decode_head(message: &mut BytesMut) -> Result<(BytesMut, BytesMut), Malformed> {
    match message.first() {
        Some(&PROTOCOL) => message.advance(1),
        Some(_) => {
            return Err(Malformed(
                "a version of the protocol that is not known here",
            ));
        }
        None => return Err(Malformed("an empty call")),
    }
    let interface = name(message)?;
    let function = name(message)?;
    Ok((interface, function))
}

/// All parts of a whole message that must hold nothing but the empty path.
pub fn decode_root(mut message: BytesMut) -> Result<BytesMut, Malformed> {
    let mut root: Option<BytesMut> = None;
    while !message.is_empty() {
        match part(&mut message)? {
            Some((Path::Root, data)) => match &mut root {
                None => root = Some(data),
                Some(root) => root.unsplit(data),
            },
            Some((Path::Items, _)) => return Err(Malformed("a stream where none is expected")),
            None => return Err(Malformed("a message that ends early")),
        }
    }
    Ok(root.unwrap_or_default())
}

/// Takes the next whole part off; `None` when more must arrive first.
pub fn part(buffer: &mut BytesMut) -> Result<Option<(Path, BytesMut)>, Malformed> {
    let mut at = 0;
    let Some(depth) = number(buffer, &mut at)? else {
        return Ok(None);
    };
    let path = match depth {
        0 => Path::Root,
        1 => match number(buffer, &mut at)? {
            None => return Ok(None),
            Some(0) => Path::Items,
            Some(_) => return Err(Malformed("a path that no function here has")),
        },
        _ => return Err(Malformed("a path that no function here has")),
    };
    let Some(length) = number(buffer, &mut at)? else {
        return Ok(None);
    };
    let length = length as usize;
    if buffer.len() - at < length {
        return Ok(None);
    }
    buffer.advance(at);
    Ok(Some((path, buffer.split_to(length))))
}

/// Writes one part.
pub fn encode_part(out: &mut BytesMut, path: Path, data: &[u8]) {
    match path {
        Path::Root => out.put_u8(0),
        Path::Items => out.put_slice(&[1, 0]),
    }
    encode_number(out, u32::try_from(data.len()).unwrap_or(u32::MAX));
    out.put_slice(data);
}

/// Writes a number in the variable-length form (LEB128) that wRPC uses.
pub fn encode_number(out: &mut BytesMut, mut number: u32) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Reads a number at a place and moves the place behind it; `None` when it has not arrived whole.
pub fn number(bytes: &[u8], at: &mut usize) -> Result<Option<u32>, Malformed> {
    let mut value = 0u32;
    for shift in 0..5 {
        let Some(&byte) = bytes.get(*at + shift) else {
            return Ok(None);
        };
        let bits = u32::from(byte & 0x7f);
        if shift == 4 && byte > 0x0f {
            return Err(Malformed("a number over 32 bits"));
        }
        value |= bits << (7 * shift);
        if byte & 0x80 == 0 {
            *at += shift + 1;
            return Ok(Some(value));
        }
    }
    Err(Malformed("a number over 32 bits"))
}

fn name(message: &mut BytesMut) -> Result<BytesMut, Malformed> {
    let mut at = 0;
    let length = number(message, &mut at)?.ok_or(Malformed("a call that ends early"))? as usize;
    if length > MAX_NAME {
        return Err(Malformed("a name over 256 bytes"));
    }
    if message.len() - at < length {
        return Err(Malformed("a call that ends early"));
    }
    message.advance(at);
    Ok(message.split_to(length))
}

/// Reads one value that must be the whole of some bytes.
pub fn decode_value<T>(mut bytes: BytesMut) -> Result<T, String>
where
    T: TupleDecode,
    <<T as Decode>::Decoder as Decoder>::Error: std::fmt::Display,
{
    match <T as Decode>::Decoder::default().decode(&mut bytes) {
        Ok(Some(value)) if bytes.is_empty() => Ok(value),
        Ok(Some(_)) => Err(format!("{} bytes too many", bytes.len())),
        Ok(None) => Err("it ends early".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_call_is_read_as_it_was_written(interface in "[a-z:/@.0-9]{1,60}", function in "[a-z-]{1,30}", key in ".{0,40}") {
            let mut message = encode_call(&interface, &function, (key.as_str(), 7u32)).unwrap();
            let (read_interface, read_function) = decode_head(&mut message).unwrap();
            prop_assert_eq!(&read_interface[..], interface.as_bytes());
            prop_assert_eq!(&read_function[..], function.as_bytes());
            let value: (String, u32) = decode_value(decode_root(message).unwrap()).unwrap();
            prop_assert_eq!(value, (key, 7));
        }

        #[test]
        fn a_strangers_call_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut message = BytesMut::from(&bytes[..]);
            if decode_head(&mut message).is_ok()
                && let Ok(root) = decode_root(message)
            {
                let _ = decode_value::<(crate::settings::Value, Vec<String>, Option<u64>)>(root);
            }
        }

        #[test]
        fn numbers_are_read_as_written(value: u32) {
            let mut out = BytesMut::new();
            encode_number(&mut out, value);
            let mut at = 0;
            prop_assert_eq!(number(&out, &mut at).unwrap(), Some(value));
            prop_assert_eq!(at, out.len());
        }
    }
}
