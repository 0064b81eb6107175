//! The readers of what comes from other devices, or from a person, for `tests/fuzz`, past the
//! signatures that would keep every input out. They are no part of what this crate offers; what
//! nobody calls is in no program.

use std::sync::OnceLock;

use crate::{
    identity::{DeviceId, Identity},
    log::{Action, Entry, Interfaces, Log, Role},
    pairing::{self, Connection, Output, Pairing, Side, code, digits, pin},
    recovery::{Claim, Phrase},
};

fn key(number: u8) -> Identity {
    Identity::from_secret(&[number + 1; 32]).expect("these are no weak keys")
}

/// A family of an owner device 0, a shared device 1, and a paper key 2.
fn family() -> Log {
    static FAMILY: OnceLock<Log> = OnceLock::new();
    FAMILY.get_or_init(found).clone()
}

fn found() -> Log {
    let mut log = Log::found(&key(0), "0", Some(key(2).id()), 0).expect("a family");
    let action = Action::Added {
        device: key(1).id(),
        role: Role::Shared,
        name: "1".to_owned(),
    };
    log.write(&key(0), action, 0).expect("an addition");
    log
}

/// An entry: the bytes as they come, and as the kind and content of what a member signed, each
/// member in turn.
pub fn entry(bytes: &[u8]) {
    assert!(Entry::decode(bytes).is_err(), "nobody has signed this");
    let Some((&[author, kind], content)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let author = author % 3;
    let mut log = family();
    let before = log.len();
    let action = Action::Unknown {
        kind,
        content: content.to_vec(),
    };
    let written = log
        .write(&key(author), action, 0)
        .map(|entry| entry.bytes().to_vec());
    match written {
        Ok(bytes) => {
            assert_eq!(log.len(), before + 1);
            let entry = Entry::decode(&bytes).expect("what is in a log can be read");
            assert_eq!(entry.bytes(), bytes);
            // The shared device says nothing about anybody but itself.
            if author == 1 {
                let own = match entry.action() {
                    Action::Removed { device, .. } => *device == key(1).id(),
                    Action::KeyRotated { .. } => true,
                    _ => false,
                };
                assert!(own, "{:?}", entry.action());
            }
        }
        Err(_) => assert_eq!(log.len(), before),
    }
}

/// Messages of pairing, each after its length in two bytes, at each end and by each method. None
/// of them knows a secret, so nobody is let in.
pub fn pairing(bytes: &[u8]) {
    let connection = |here: u8, there: u8, dialled| Connection {
        here: key(here).id(),
        there: key(there).id(),
        exporter: [7; 32],
        dialled,
    };
    let (Ok(shown), Ok(opening)) = (code::Shown::new(key(3).id(), 0), pin::Opening::new(0)) else {
        return;
    };
    let (owner, joiner) = (connection(0, 3, true), connection(3, 0, false));
    let Ok(digits) = digits::pair(joiner, Side::Joiner, "joiner", 0) else {
        return;
    };
    let ends = [
        digits,
        shown.pair(joiner, Side::Joiner, "joiner", 0),
        code::pair(owner, Side::Owner, "owner", shown.text(), 0),
        opening.pair(joiner, "joiner", 0),
        pin::pair(owner, "owner", &opening.pin(), 0),
    ];
    for end in ends {
        hear(end, bytes);
    }
}

fn hear(mut end: Pairing, mut bytes: &[u8]) {
    end.start();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        bytes = rest;
        for output in end.receive(message, 0) {
            match output {
                Output::Send(sent) => assert!(sent.len() <= pairing::MAX_MESSAGE_BYTES),
                Output::Admit { .. } | Output::Joined(_) | Output::Done => {
                    panic!("somebody without a secret was let in")
                }
                // By digits it is a person who lets in, and nobody has said yes.
                Output::Show { .. } | Output::Ask { .. } | Output::Refused(_) => {}
            }
        }
    }
}

/// Texts and bytes that people or peers give: codes, phrases, ids, patterns, claims.
pub fn texts(bytes: &[u8]) {
    if let Some(claim) = Claim::decode(bytes) {
        assert_eq!(claim.encode(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(code) = text.parse::<code::CodeText>() {
        assert_eq!(code.to_string(), text.trim());
    }
    if let Ok(id) = text.parse::<DeviceId>() {
        assert_eq!(id.to_string(), text.to_lowercase());
    }
    if let Ok(pattern) = text.parse::<Interfaces>() {
        assert_eq!(pattern.as_str().parse::<Interfaces>(), Ok(pattern.clone()));
    }
    if let Ok(phrase) = Phrase::read(text) {
        let words: Vec<_> = phrase.words().collect();
        assert!(Phrase::read(&words.join(" ")) == Ok(phrase));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..9_u8) {
            super::entry(&bytes);
            super::entry(&[&[bytes.len() as u8, kind], &bytes[..]].concat());
            super::pairing(&bytes);
            super::texts(&bytes);
        }
    }
}
