//! An old and a new release that share a document.

mod common;

use common::{Copy, all, give, open_with, set};
use proptest::prelude::*;
use replica::{Schema, Step, Value};
use store::simulation::Simulation;

/// Version 2 says how bright a lamp is, where version 1 only knew whether it is on; it has moved
/// names from `name/…` to `label/…`; and it has scenes, which version 1 cannot say.
const TO_TWO: Step = Step {
    newer_key: |key| {
        Some(match key.strip_prefix("name/") {
            Some(rest) => format!("label/{rest}"),
            None => key.to_owned(),
        })
    },
    older_key: |key| {
        if key.starts_with("scene/") {
            return None;
        }
        Some(match key.strip_prefix("label/") {
            Some(rest) => format!("name/{rest}"),
            None => key.to_owned(),
        })
    },
    up: |key, older, before| match (key.starts_with("lamp/"), older, before) {
        (true, Value::Flag(on), _) => Value::Number(if *on { 100 } else { 0 }),
        _ => older.clone(),
    },
    down: |key, newer| match (key.starts_with("lamp/"), newer) {
        (true, Value::Number(brightness)) => Value::Flag(*brightness > 0),
        _ => newer.clone(),
    },
};

const OLD: Schema = Schema::FIRST;
const NEW: Schema = Schema::new(&[TO_TWO]);
/// A third release that changed nothing that matters here.
const NEWEST: Schema = Schema::new(&[TO_TWO, Step::SAME]);

fn copy(schema: Schema) -> Copy {
    open_with(&Simulation::new(), schema).replica
}

#[test]
fn each_release_reads_what_the_other_writes() {
    let (mut old, mut new) = (copy(OLD), copy(NEW));
    new.change([
        ("lamp/1", Some(Value::Number(70))),
        ("label/1", Some("Desk".into())),
        ("scene/1", Some("Evening".into())),
    ])
    .unwrap();
    give(&new, &mut old);
    assert_eq!(old.get("lamp/1"), Some(&Value::Flag(true)));
    assert_eq!(old.get("name/1"), Some(&"Desk".into()));
    assert_eq!(old.get("scene/1"), None);
    set(&mut old, "name/1", "Table");
    give(&old, &mut new);
    assert_eq!(new.get("label/1"), Some(&"Table".into()));
    // What the old release did not touch is as exact as it was.
    assert_eq!(new.get("lamp/1"), Some(&Value::Number(70)));
    assert_eq!(new.get("scene/1"), Some(&"Evening".into()));
    old.change([("lamp/1", Some(Value::Flag(false)))]).unwrap();
    give(&old, &mut new);
    assert_eq!(new.get("lamp/1"), Some(&Value::Number(0)));
    old.change([("lamp/1", None), ("name/1", None)]).unwrap();
    give(&old, &mut new);
    assert_eq!(new.entries("").count(), 1);
    new.change([("lamp/1", Some(Value::Number(5)))]).unwrap();
    give(&new, &mut old);
    assert_eq!(old.get("lamp/1"), Some(&Value::Flag(true)));
}

#[test]
fn an_update_that_is_taken_back_loses_nothing_and_neither_does_coming_again() {
    let files = Simulation::new();
    let mut new = open_with(&files, NEW).replica;
    new.change([
        ("lamp/1", Some(Value::Number(70))),
        ("lamp/2", Some(Value::Number(30))),
        ("scene/1", Some("Evening".into())),
    ])
    .unwrap();
    let mut old = open_with(&files, OLD).replica;
    assert_eq!(old.get("lamp/1"), Some(&Value::Flag(true)));
    old.change([("lamp/2", Some(Value::Flag(false)))]).unwrap();
    let new = open_with(&files, NEW).replica;
    assert_eq!(new.get("lamp/1"), Some(&Value::Number(70)));
    assert_eq!(new.get("lamp/2"), Some(&Value::Number(0)));
    assert_eq!(new.get("scene/1"), Some(&"Evening".into()));
    let newest = open_with(&files, NEWEST).replica;
    assert_eq!(all(&newest), all(&new));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whoever writes what, and whenever they meet: in the end copies of one release are equal,
    /// and what the older says of an entry is what the newer says, taken down.
    #[test]
    fn releases_agree_when_all_have_met(
        events in prop::collection::vec((0..5_usize, 0..4_u8, prop::option::weighted(0.8, any::<u8>()), prop::option::of(0..5_usize)), 0..25),
    ) {
        let mut copies = [OLD, NEW, OLD, NEW, NEWEST].map(copy);
        for (at, key, value, meets) in events {
            let (key, value) = match (at % 2 == 0 && at < 4, key) {
                (true, 0 | 1) => (format!("lamp/{key}"), value.map(|value| Value::Flag(value > 50))),
                (false, 0 | 1) => (format!("lamp/{key}"), value.map(|value| Value::Number(value.into()))),
                (true, _) => (format!("name/{key}"), value.map(|value| value.to_string().as_str().into())),
                (false, _) => (format!("label/{key}"), value.map(|value| value.to_string().as_str().into())),
            };
            copies[at].change([(key.as_str(), value)]).unwrap();
            if let Some(other) = meets.filter(|other| *other != at) {
                let update = copies[at].missing(&copies[other].version()).unwrap();
                if let Some(update) = update {
                    copies[other].receive(&update).unwrap();
                }
            }
        }
        for _ in 0..2 {
            for at in 1..5 {
                let (head, tail) = copies.split_at_mut(at);
                give(&head[0], &mut tail[0]);
                give(&tail[0], &mut head[0]);
            }
        }
        prop_assert_eq!(all(&copies[0]), all(&copies[2]));
        prop_assert_eq!(all(&copies[1]), all(&copies[3]));
        prop_assert_eq!(all(&copies[1]), all(&copies[4]));
        let down: std::collections::BTreeMap<String, Value> = all(&copies[1])
            .iter()
            .filter_map(|(key, value)| Some(((TO_TWO.older_key)(key)?, (TO_TWO.down)(key, value))))
            .collect();
        prop_assert_eq!(down, all(&copies[0]));
    }
}
