//! Entries that this crate would never write, signed by somebody who has a key and another
//! program.

mod common;

use common::{first, key, log_of, rest};
use ed25519_dalek::{Signer as _, SigningKey};
use trust::{
    identity::{DeviceId, Identity},
    log::{Action, Entry, EntryError, EntryId, FamilyId, Log, MAX_CHAIN, Refusal, Role},
};

/// An entry of another program's making.
struct Raw<'a> {
    author: &'a Identity,
    family: FamilyId,
    by: EntryId,
    parents: Vec<EntryId>,
    kind: u8,
    content: Vec<u8>,
}

impl Raw<'_> {
    fn body(&self) -> Vec<u8> {
        let fields = (
            self.family,
            self.author.id(),
            self.by,
            &self.parents,
            7_u64,
            self.kind,
            &self.content,
        );
        postcard::to_stdvec(&fields).unwrap()
    }

    fn entry(&self) -> Vec<u8> {
        signed(self.author, &self.body())
    }
}

fn signed(author: &Identity, body: &[u8]) -> Vec<u8> {
    let message = [b"HyperOS family log entry 1\0", body].concat();
    let signature = SigningKey::from_bytes(&author.secret()).sign(&message);
    [&signature.to_bytes()[..], body].concat()
}

/// The content of an addition.
fn added(device: DeviceId, role: Role) -> Vec<u8> {
    postcard::to_stdvec(&(device, role, "raw")).unwrap()
}

/// A family of 0, who added 1 as an owner device; and the entry that did so.
fn family() -> (Log, EntryId) {
    let mut log = Log::found(&key(0), "0", None, 0).unwrap();
    let action = Action::Added {
        device: key(1).id(),
        role: Role::Owner,
        name: "1".into(),
    };
    let addition = log.write(&key(0), action, 0).unwrap().id();
    (log, addition)
}

fn founding(log: &Log) -> EntryId {
    log.entries().next().unwrap().id()
}

fn heads(log: &Log) -> Vec<EntryId> {
    log.heads().iter().copied().collect()
}

#[test]
fn the_raw_form_is_the_one_that_is_documented() {
    let (mut log, addition) = family();
    let one = key(1);
    let raw = Raw {
        author: &one,
        family: log.id(),
        by: addition,
        parents: heads(&log),
        kind: 1,
        content: added(key(5).id(), Role::Shared),
    };
    log.insert(&raw.entry()).unwrap();
    assert_eq!(log.family().role(key(5).id()), Some(Role::Shared));
}

#[test]
fn a_second_form_of_the_same_entry_is_none() {
    let (log, addition) = family();
    let one = key(1);
    let raw = Raw {
        author: &one,
        family: log.id(),
        by: addition,
        parents: heads(&log),
        kind: 1,
        content: added(key(5).id(), Role::Shared),
    };
    let body = raw.body();
    // The number of parents in two bytes where one is enough.
    assert_eq!(body[96], 1);
    let longer = [&body[..96], &[0x81, 0x00], &body[97..]].concat();
    assert!(matches!(
        Entry::decode(&signed(&one, &longer)),
        Err(EntryError::Form(_))
    ));
    // And inside of the content, the length of the name.
    let mut content = raw.content.clone();
    assert_eq!(content[33], 3);
    content.splice(33..34, [0x83, 0x00]);
    let longer = Raw { content, ..raw };
    assert!(matches!(
        Entry::decode(&longer.entry()),
        Err(EntryError::Form(_))
    ));
}

#[test]
fn authority_that_the_entry_has_not_seen_is_none() {
    let (mut log, addition) = family();
    let one = key(1);
    let raw = Raw {
        author: &one,
        family: log.id(),
        by: addition,
        parents: vec![founding(&log)],
        kind: 1,
        content: added(key(5).id(), Role::Owner),
    };
    assert_eq!(log.insert(&raw.entry()), Err(Refusal::Authority));
}

#[test]
fn authority_of_others_or_of_nobody_is_none() {
    let (mut log, addition) = family();
    for (author, by) in [
        (2, addition),
        (1, founding(&log)),
        (1, EntryId::from_bytes([9; 32])),
        (0, addition),
    ] {
        let author = key(author);
        let raw = Raw {
            author: &author,
            family: log.id(),
            by,
            parents: heads(&log),
            kind: 1,
            content: added(key(5).id(), Role::Owner),
        };
        assert_eq!(log.insert(&raw.entry()), Err(Refusal::Authority));
    }
}

#[test]
fn parents_are_in_order_each_once_few_and_there() {
    let (log, addition) = family();
    let zero = key(0);
    let many: Vec<EntryId> = (0..17)
        .map(|number| EntryId::from_bytes([number; 32]))
        .collect();
    let mut backwards = vec![founding(&log), addition];
    backwards.sort();
    backwards.reverse();
    for parents in [vec![addition, addition], backwards, many, Vec::new()] {
        let raw = Raw {
            author: &zero,
            family: log.id(),
            by: founding(&log),
            parents,
            kind: 6,
            content: vec![1; 32],
        };
        assert!(matches!(
            Entry::decode(&raw.entry()),
            Err(EntryError::Form(_))
        ));
    }
}

#[test]
fn a_second_founding_inside_of_a_family_is_none() {
    let (mut log, _) = family();
    let zero = key(0);
    let content = postcard::to_stdvec(&([1_u8; 16], "again", None::<DeviceId>)).unwrap();
    let raw = Raw {
        author: &zero,
        family: log.id(),
        by: founding(&log),
        parents: heads(&log),
        kind: 0,
        content,
    };
    assert!(matches!(
        log.insert(&raw.entry()),
        Err(Refusal::Entry(EntryError::Form(_)))
    ));
}

#[test]
fn a_paper_key_that_is_the_founders_own_founds_nothing() {
    let zero = key(0);
    let content = postcard::to_stdvec(&([1_u8; 16], "0", Some(zero.id()))).unwrap();
    let raw = Raw {
        author: &zero,
        family: FamilyId::from_bytes([0; 32]),
        by: EntryId::from_bytes([0; 32]),
        parents: Vec::new(),
        kind: 0,
        content,
    };
    assert!(Log::open(&raw.entry()).is_err());
}

#[test]
fn a_chain_of_hands_comes_to_an_end() {
    let (mut log, _) = family();
    let mut hands = 1;
    let refusal = loop {
        let next = key(hands + 1);
        let action = Action::Added {
            device: next.id(),
            role: Role::Owner,
            name: String::new(),
        };
        match log.write(&key(hands), action, 0) {
            Ok(_) => hands += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(
        refusal,
        trust::log::WriteError::Refused(Refusal::Authority)
    ));
    assert_eq!(u16::from(hands), MAX_CHAIN);
    let copy = log_of(&first(&log), rest(&log).iter().map(Vec::as_slice));
    assert_eq!(copy.family(), log.family());
}
