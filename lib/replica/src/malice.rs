//! Updates that are none, and updates that are more than they should be.

use std::path::Path;

use proptest::prelude::*;
use store::simulation::Simulation;

use crate::{
    Error, MAX_BYTES, MAX_ENTRIES, MAX_KEY_BYTES, MAX_REPLICAS, MAX_VALUE_BYTES, Refused, Replica,
    Schema, Value,
    document::{Known, Stamped, Update, encode},
};

type Copy = Replica<Simulation>;

fn copy() -> Copy {
    let file = Path::new("/data/document");
    let opened = Replica::open_in(Simulation::new(), file, Schema::FIRST);
    opened.unwrap().replica
}

fn all(copy: &Copy) -> Vec<(String, Value)> {
    let entries = copy.entries("");
    entries
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
}

fn give(from: &Copy, to: &mut Copy) {
    if let Some(update) = from.missing(&to.version()).unwrap() {
        to.receive(&update).unwrap();
    }
}

fn update() -> Vec<u8> {
    let mut phone = copy();
    for number in 0..6_u8 {
        let key = format!("key {}", number % 4);
        let text = "text".repeat(number.into());
        phone.change([(&*key, Some(text.as_str().into()))]).unwrap();
    }
    phone.change([("key 1", None)]).unwrap();
    phone.missing(&crate::nothing()).unwrap().unwrap()
}

fn known(of: &[(u64, u32)]) -> Known {
    let mut known = Known::default();
    for (replica, count) in of {
        known.raise(*replica, *count);
    }
    known
}

fn edit(key: &str, value: Option<Value>) -> (u32, String, Stamped) {
    let stamped = Stamped {
        clock: 1,
        replica: 7,
        number: 1,
        value,
    };
    (1, key.to_owned(), stamped)
}

fn with(entries: Vec<(u32, String, Stamped)>) -> Update {
    Update {
        since: Known::default(),
        known: known(&[(7, 1 << 20)]),
        entries,
    }
}

fn refused(update: &[u8]) -> Refused {
    let mut tv = copy();
    tv.change([("own", Some("entry".into()))]).unwrap();
    let before = (all(&tv), tv.version());
    let Err(Error::Refused(refused)) = tv.receive(update) else {
        panic!("it was taken");
    };
    assert_eq!(before, (all(&tv), tv.version()));
    refused
}

/// Gives a copy these bytes, and sees that it goes on with honest peers, whatever they were.
fn survives(bytes: &[u8]) {
    let mut tv = copy();
    tv.change([("own", Some("entry".into()))]).unwrap();
    let before = all(&tv);
    if tv.receive(bytes).is_err() {
        assert_eq!(all(&tv), before);
    }
    let _ = tv.missing(bytes);
    let _ = tv.lacks(bytes);
    if tv.change([("own", Some("still".into()))]).is_err() {
        // Its clock or its numbers were brought to their end; it says so, and is as it was.
        return;
    }
    let mut other = copy();
    give(&tv, &mut other);
    assert_eq!(all(&tv), all(&other));
    other.change([("other", Some("one".into()))]).unwrap();
    give(&other, &mut tv);
    assert_eq!(all(&tv), all(&other));
}

fn any_stamped() -> impl Strategy<Value = Stamped> {
    let value = prop_oneof![
        any::<bool>().prop_map(Value::Flag),
        any::<i64>().prop_map(Value::Number),
        "[a-z]{0,8}".prop_map(Value::Text),
    ];
    let clock = prop_oneof![8 => 0..9_u64, 1 => any::<u64>(), 1 => Just(1 << 62)];
    let number = prop_oneof![8 => 0..9_u32, 1 => Just(u32::MAX)];
    (clock, 0..4_u64, number, prop::option::of(value)).prop_map(
        |(clock, replica, number, value)| Stamped {
            clock,
            replica,
            number,
            value,
        },
    )
}

fn any_known() -> impl Strategy<Value = Known> {
    let count = prop_oneof![8 => 1..9_u32, 1 => Just(u32::MAX)];
    prop::collection::vec((0..4_u64, count), 0..4).prop_map(|of| known(&of))
}

fn any_update() -> impl Strategy<Value = Update> {
    let entry = (0..3_u32, "[a-c]{0,2}", any_stamped());
    let entries = prop::collection::vec(entry, 0..6);
    let since = prop_oneof![4 => Just(Known::default()), 1 => any_known()];
    (since, any_known(), entries).prop_map(|(since, known, entries)| Update {
        since,
        known,
        entries,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_a_copy(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes);
        crate::fuzzing::update(&bytes);
    }

    #[test]
    fn no_changed_update_breaks_a_copy(
        bytes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut update = update();
        for (at, byte) in bytes {
            let at = at.index(update.len());
            update[at] = byte;
        }
        if let Some(cut) = cut {
            update.truncate(cut.index(update.len()));
        }
        survives(&update);
        crate::fuzzing::update(&update);
    }

    #[test]
    fn no_lie_breaks_a_copy(update in any_update()) {
        survives(&encode(&update));
        crate::fuzzing::update(&encode(&update));
    }

    /// Peers that give the same stamp to different values, leave out what they claim to tell, and
    /// say so to some and not to others: copies that took the same agree, in whatever order.
    #[test]
    fn lies_that_all_have_heard_are_heard_alike(
        updates in prop::collection::vec(any_update(), 0..6).prop_map(|mut updates| {
            updates.iter_mut().for_each(|update| update.since = Known::default());
            updates
        }),
    ) {
        let (mut one, mut other) = (copy(), copy());
        let taken: Vec<Vec<u8>> =
            updates.iter().map(encode).filter(|update| one.receive(update).is_ok()).collect();
        for update in taken.iter().rev() {
            other.receive(update).unwrap();
        }
        prop_assert_eq!(all(&one), all(&other));
        prop_assert_eq!(one.version(), other.version());
    }
}

#[test]
fn what_is_no_entry_is_refused() {
    let one = |key: &str, value| refused(&encode(&with(vec![edit(key, value)])));
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    for key in ["", "a\n", &long] {
        assert!(matches!(one(key, None), Refused::Entry(_)));
    }
    let long = Value::Bytes(vec![0; MAX_VALUE_BYTES + 1]);
    assert!(matches!(one("a", Some(long)), Refused::Entry(_)));
}

#[test]
fn what_cannot_be_is_refused() {
    let (_, _, good) = edit("a", None);
    let malformed = |version: u32, stamped: Stamped| {
        let update = with(vec![(version, "a".into(), stamped)]);
        matches!(refused(&encode(&update)), Refused::Malformed(_))
    };
    for version in [0, 65, u32::MAX] {
        assert!(malformed(version, good.clone()));
    }
    for (clock, replica, number) in [
        (0, 7, 1),
        (u64::MAX, 7, 1),
        (1, 8, 1),
        (1, 7, 0),
        (1, 7, u32::MAX),
    ] {
        let stamped = Stamped {
            clock,
            replica,
            number,
            value: None,
        };
        assert!(malformed(1, stamped));
    }
    // A version that is out of order, and one with a replica of no edits.
    for bytes in [&[2, 8, 1, 7, 1][..], &[1, 7, 0]] {
        assert!(copy().missing(bytes).is_err());
    }
    let ahead = Update {
        since: known(&[(9, 1)]),
        known: known(&[(9, 2)]),
        entries: Vec::new(),
    };
    assert_eq!(refused(&encode(&ahead)), Refused::Incomplete);
}

#[test]
fn too_much_is_refused() {
    let many = |count: usize, value: &Value, keys: &str| -> Vec<_> {
        let one = |number: usize| {
            let (version, _, mut stamped) = edit("", Some(value.clone()));
            stamped.number = number as u32 + 1;
            (version, format!("{keys}{number}"), stamped)
        };
        (0..count).map(one).collect()
    };
    let flag = Value::Flag(true);
    let entries = refused(&encode(&with(many(MAX_ENTRIES + 1, &flag, ""))));
    assert_eq!(entries, Refused::Entries(MAX_ENTRIES + 1));
    let bytes = refused(&vec![0; 2 * MAX_BYTES + 1]);
    assert_eq!(bytes, Refused::Bytes(2 * MAX_BYTES + 1));
    let replicas = Update {
        known: known(
            &(0..=MAX_REPLICAS as u64)
                .map(|name| (name, 1))
                .collect::<Vec<_>>(),
        ),
        ..Update::default()
    };
    assert_eq!(
        refused(&encode(&replicas)),
        Refused::Replicas(MAX_REPLICAS + 1)
    );
    // And in updates each of which is small enough.
    let mut tv = copy();
    let text = Value::Text("x".repeat(MAX_VALUE_BYTES));
    for part in 0..8 {
        let update = with(many(30, &text, &part.to_string()));
        if let Err(error) = tv.receive(&encode(&update)) {
            assert!(
                matches!(error, Error::Refused(Refused::Bytes(_))),
                "{error}"
            );
            assert!((3..6).contains(&part), "{part}");
            return;
        }
    }
    panic!("everything was taken");
}

#[test]
fn a_copy_that_is_lied_about_goes_on_under_another_name() {
    let mut tv = copy();
    tv.change([("own", Some("1".into()))]).unwrap();
    // Somebody says that the TV has made a hundred edits.
    let own: Update =
        crate::document::decode(&tv.missing(&crate::nothing()).unwrap().unwrap()).unwrap();
    let name = own.entries[0].2.replica;
    let lie = encode(&Update {
        known: known(&[(name, 100)]),
        ..Update::default()
    });
    let mut phone = copy();
    phone.receive(&lie).unwrap();
    give(&phone, &mut tv);
    tv.change([("own", Some("2".into()))]).unwrap();
    give(&tv, &mut phone);
    assert_eq!(phone.get("own"), Some(&"2".into()));
}
