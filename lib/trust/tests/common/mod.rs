//! What the tests of the log share.

#![allow(dead_code, reason = "each test takes what it needs")]

use trust::{
    identity::Identity,
    log::{Entry, Log},
};

/// The same key each time.
pub fn key(number: u8) -> Identity {
    Identity::from_secret(&[number + 1; 32]).unwrap()
}

/// A log of these entries, in whatever order; those that have no place are left out.
pub fn log_of<'a>(first: &[u8], entries: impl IntoIterator<Item = &'a [u8]>) -> Log {
    let mut log = Log::open(first).unwrap();
    log.insert_all(entries);
    log
}

/// The bytes of all entries but the first.
pub fn rest(log: &Log) -> Vec<Vec<u8>> {
    log.entries().skip(1).map(bytes).collect()
}

pub fn first(log: &Log) -> Vec<u8> {
    bytes(log.entries().next().unwrap())
}

fn bytes(entry: &Entry) -> Vec<u8> {
    entry.bytes().to_vec()
}

/// Both have what either has.
pub fn merge(one: &mut Log, other: &mut Log) {
    let (theirs, ours) = (rest(other), rest(one));
    one.insert_all(theirs.iter().map(Vec::as_slice));
    other.insert_all(ours.iter().map(Vec::as_slice));
}
