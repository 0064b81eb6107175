//! What the tests share.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::{collections::BTreeMap, path::Path};

use replica::{Opened, Replica, Schema, Value};
use store::simulation::Simulation;

pub type Copy = Replica<Simulation>;

pub fn open_with(files: &Simulation, schema: Schema) -> Opened<Simulation> {
    Replica::open_in(files.clone(), Path::new("/data/document"), schema).unwrap()
}

pub fn open(files: &Simulation) -> Opened<Simulation> {
    open_with(files, Schema::FIRST)
}

/// An empty copy on a disk of its own.
pub fn copy() -> Copy {
    open(&Simulation::new()).replica
}

pub fn set(copy: &mut Copy, key: &str, value: &str) {
    copy.change([(key, Some(value.into()))]).unwrap();
}

pub fn all(copy: &Copy) -> BTreeMap<String, Value> {
    copy.entries("")
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
}

/// One side of a meeting: the other gets what it lacks.
pub fn give(from: &Copy, to: &mut Copy) {
    if let Some(update) = from.missing(&to.version()).unwrap() {
        to.receive(&update).unwrap();
    }
}

pub fn meet(one: &mut Copy, other: &mut Copy) {
    give(one, other);
    give(other, one);
    assert_eq!(all(one), all(other));
}
