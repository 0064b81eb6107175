//! Copies that are changed apart and meet again.

mod common;

use std::collections::BTreeMap;

use common::{all, copy, give, meet, set};
use proptest::prelude::*;
use replica::{Error, MAX_BYTES, MAX_ENTRIES_HERE, MAX_KEY_BYTES, MAX_VALUE_BYTES, Refused, Value};

#[test]
fn what_is_changed_here_is_there_when_they_meet() {
    let (mut phone, mut tv) = (copy(), copy());
    set(&mut phone, "room/1/name", "Kitchen");
    set(&mut tv, "device/tv/name", "Television");
    meet(&mut phone, &mut tv);
    assert_eq!(tv.get("room/1/name"), Some(&"Kitchen".into()));
    assert_eq!(all(&phone).len(), 2);
    phone.change([("room/1/name", None)]).unwrap();
    let update = phone.missing(&tv.version()).unwrap().unwrap();
    let changed = tv.receive(&update).unwrap();
    assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["room/1/name"]);
    assert_eq!(tv.get("room/1/name"), None);
    // Once more changes nothing, and there is nothing left to say.
    assert!(tv.receive(&update).unwrap().is_empty());
    assert_eq!(phone.missing(&tv.version()).unwrap(), None);
    assert!(!tv.lacks(&phone.version()).unwrap());
}

#[test]
fn what_is_as_it_was_is_not_written() {
    let mut phone = copy();
    set(&mut phone, "a", "1");
    let version = phone.version();
    set(&mut phone, "a", "1");
    phone.change([("never there", None)]).unwrap();
    assert_eq!(phone.version(), version);
}

#[test]
fn entries_are_found_by_how_their_keys_begin() {
    let mut phone = copy();
    for key in ["device/a", "device/b", "devices", "room/a"] {
        set(&mut phone, key, "");
    }
    let found: Vec<_> = phone.entries("device/").map(|(key, _)| key).collect();
    assert_eq!(found, ["device/a", "device/b"]);
}

#[test]
fn limits_hold_here() {
    let mut phone = copy();
    let refused = |phone: &mut common::Copy, key: &str, value: Value| {
        matches!(
            phone.change([(key, Some(value))]),
            Err(Error::Refused(Refused::Entry(_)))
        )
    };
    assert!(refused(&mut phone, "", "x".into()));
    assert!(refused(&mut phone, "a\nb", "x".into()));
    assert!(refused(
        &mut phone,
        &"k".repeat(MAX_KEY_BYTES + 1),
        "x".into()
    ));
    assert!(refused(
        &mut phone,
        "k",
        Value::Bytes(vec![0; MAX_VALUE_BYTES + 1])
    ));
    let keys: Vec<String> = (0..MAX_ENTRIES_HERE)
        .map(|number| number.to_string())
        .collect();
    let full = keys
        .iter()
        .map(|key| (key.as_str(), Some(Value::Flag(true))));
    phone.change(full).unwrap();
    assert!(matches!(
        phone.change([("more", Some(Value::Flag(true)))]),
        Err(Error::Refused(Refused::Entries(_)))
    ));
    assert_eq!(phone.get("more"), None);
    // Changing and deleting goes on.
    phone
        .change([("0", Some(Value::Flag(false))), ("1", None)])
        .unwrap();
    // And what two devices added apart fits when they meet.
    let mut tv = copy();
    let keys: Vec<String> = (0..MAX_ENTRIES_HERE)
        .map(|number| format!("tv {number}"))
        .collect();
    let full = keys
        .iter()
        .map(|key| (key.as_str(), Some(Value::Flag(true))));
    tv.change(full).unwrap();
    meet(&mut phone, &mut tv);
    assert_eq!(all(&tv).len(), 2 * MAX_ENTRIES_HERE - 1);
}

#[test]
fn an_update_whose_ground_is_missing_is_refused_and_leaves_nothing() {
    let (mut phone, mut tv) = (copy(), copy());
    set(&mut phone, "a", "1");
    let version = phone.version();
    set(&mut phone, "b", "2");
    let second = phone.missing(&version).unwrap().unwrap();
    let before = tv.version();
    assert!(matches!(
        tv.receive(&second),
        Err(Error::Refused(Refused::Incomplete))
    ));
    assert_eq!(tv.version(), before);
    give(&phone, &mut tv);
    assert_eq!(all(&tv), all(&phone));
}

#[test]
fn too_many_bytes_are_refused_unread() {
    let mut tv = copy();
    assert!(matches!(
        tv.receive(&vec![0; 2 * MAX_BYTES + 1]),
        Err(Error::Refused(Refused::Bytes(_)))
    ));
    assert!(tv.missing(&vec![0; 2 * MAX_BYTES + 1]).is_err());
}

#[test]
fn a_copy_that_was_away_gets_what_has_changed_and_nothing_else() {
    let (mut phone, mut tv) = (copy(), copy());
    for key in ["a", "b", "c"] {
        set(&mut phone, key, "0");
    }
    meet(&mut phone, &mut tv);
    set(&mut tv, "tv", "said long ago");
    for number in 0..1000 {
        set(&mut phone, "a", &number.to_string());
    }
    phone.change([("b", None)]).unwrap();
    let update = phone.missing(&tv.version()).unwrap().unwrap();
    assert!(update.len() < 200, "{} bytes", update.len());
    meet(&mut phone, &mut tv);
    assert_eq!(tv.get("a"), Some(&"999".into()));
    assert_eq!(tv.get("b"), None);
    assert_eq!(phone.get("tv"), Some(&"said long ago".into()));
    // One that knows nothing gets as little.
    let whole = phone.missing(&replica::nothing()).unwrap().unwrap();
    assert!(whole.len() < 400, "{} bytes", whole.len());
}

/// What happens to a group of copies.
#[derive(Clone, Debug)]
enum Event {
    /// A copy changes some entries, all or none.
    Change(usize, Vec<(u8, Option<u8>)>),
    /// One copy gives another what it lacks.
    Give(usize, usize),
}

const COPIES: usize = 4;

fn event() -> impl Strategy<Value = Event> {
    let edits = prop::collection::vec((0..6_u8, prop::option::weighted(0.8, any::<u8>())), 1..4);
    prop_oneof![
        2 => (0..COPIES, edits).prop_map(|(copy, edits)| Event::Change(copy, edits)),
        1 => (0..COPIES, 0..COPIES).prop_map(|(from, to)| Event::Give(from, to)),
    ]
}

/// Writes by number, each with what it wrote and what it replaced.
type Writes = BTreeMap<usize, (Option<u8>, Vec<usize>)>;

/// The model: a register an entry, whose writes know the writes that they replace.
#[derive(Clone, Default)]
struct Model {
    /// By key: the writes of it that are known, by number, each with what it replaced.
    writes: BTreeMap<String, Writes>,
}

impl Model {
    fn write(&mut self, number: usize, key: String, value: Option<u8>) {
        let known = self.writes.entry(key).or_default();
        let replaced = known.keys().copied().collect();
        known.insert(number, (value, replaced));
    }

    fn join(&mut self, other: &Self) {
        for (key, writes) in &other.writes {
            self.writes
                .entry(key.clone())
                .or_default()
                .extend(writes.clone());
        }
    }

    /// What an entry may be: the value of a write that no other known write has replaced.
    fn candidates(&self, key: &str) -> Vec<Option<u8>> {
        let Some(writes) = self.writes.get(key) else {
            return vec![None];
        };
        let replaced = |number| {
            writes
                .values()
                .any(|(_, replaced)| replaced.contains(number))
        };
        writes
            .iter()
            .filter(|(number, _)| !replaced(number))
            .map(|(_, (value, _))| *value)
            .collect()
    }
}

fn value(number: u8) -> Value {
    match number % 4 {
        0 => Value::Flag(number > 100),
        1 => Value::Number(i64::from(number)),
        2 => Value::Text(number.to_string()),
        _ => Value::Bytes(vec![number; 3]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Nothing is lost: after all have met, all are equal, and each entry is what one of the last
    /// writes of it made it, of those that no other write had seen.
    #[test]
    fn copies_meet_without_loss(events in prop::collection::vec(event(), 0..30)) {
        let mut copies: Vec<_> = (0..COPIES).map(|_| copy()).collect();
        let mut models = vec![Model::default(); COPIES];
        for (number, event) in events.iter().enumerate() {
            match event {
                Event::Change(at, edits) => {
                    // The last edit of a key in one change is the one that counts.
                    let edits: BTreeMap<String, Option<u8>> =
                        edits.iter().map(|(key, value)| (format!("key {key}"), *value)).collect();
                    for (key, new) in &edits {
                        if copies[*at].get(key) != new.map(value).as_ref() {
                            models[*at].write(number, key.clone(), *new);
                        }
                    }
                    let changes = edits.iter().map(|(key, new)| (key.as_str(), new.map(value)));
                    copies[*at].change(changes).unwrap();
                    for (key, new) in &edits {
                        prop_assert_eq!(copies[*at].get(key).cloned(), new.map(value));
                    }
                }
                Event::Give(from, to) if from != to => {
                    let given = copies[*from].missing(&copies[*to].version()).unwrap();
                    if let Some(update) = given {
                        copies[*to].receive(&update).unwrap();
                    }
                    let model = models[*from].clone();
                    models[*to].join(&model);
                }
                Event::Give(..) => {}
            }
            for (copy, model) in copies.iter().zip(&models) {
                for key in (0..6).map(|key| format!("key {key}")) {
                    let found = copy.get(&key).cloned();
                    let may: Vec<_> = model.candidates(&key).into_iter().map(|v| v.map(value)).collect();
                    prop_assert!(may.contains(&found), "{} is {:?}, not of {:?}", key, found, may);
                }
            }
        }
        for at in 1..COPIES {
            let (head, tail) = copies.split_at_mut(at);
            meet(&mut head[0], &mut tail[0]);
        }
        for at in 1..COPIES {
            let (head, tail) = copies.split_at_mut(at);
            meet(&mut head[0], &mut tail[0]);
            prop_assert_eq!(head[0].missing(&tail[0].version()).unwrap(), None);
        }
    }
}
