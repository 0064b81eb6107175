//! The names that a packet asks a name server for.

use super::packet::Payload;

/// DNS over UDP or TCP; encrypted kinds would show as packets to where nobody offered anything.
const PORT: u16 = 53;

/// Names in a question to a name server; empty for all other packets.
pub fn asked(payload: &Payload<'_>) -> Vec<String> {
    match payload {
        Payload::Udp {
            destination: PORT,
            bytes,
            ..
        } => questions(bytes),
        // Over TCP two bytes of length come first; a question fits one segment.
        Payload::Tcp {
            destination: PORT,
            bytes,
            ..
        } => questions(bytes.get(2..).unwrap_or_default()),
        _ => Vec::new(),
    }
}

/// RFC 1035: 12 bytes, of which two count the questions; each is a name, a type and a class.
fn questions(message: &[u8]) -> Vec<String> {
    let Some(&[high, low]) = message.get(4..6) else {
        return Vec::new();
    };
    let count = u16::from_be_bytes([high, low]);
    let mut rest = message.get(12..).unwrap_or_default();
    let mut names = Vec::new();
    for _ in 0..count {
        let Some((name, after)) = name(rest) else {
            break;
        };
        names.push(name);
        let Some(next) = after.get(4..) else { break };
        rest = next;
    }
    names
}

/// A name and what follows it. A question's name is first in its message, so nothing before it could
/// be referred to, and such references are not followed.
fn name(mut rest: &[u8]) -> Option<(String, &[u8])> {
    let mut name = String::new();
    loop {
        let (&length, after) = rest.split_first()?;
        if length == 0 {
            if name.is_empty() {
                name.push('.');
            }
            return Some((name, after));
        }
        if length > 63 {
            return None;
        }
        let (label, after) = after.split_at_checked(usize::from(length))?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&label.escape_ascii().to_string());
        rest = after;
    }
}
