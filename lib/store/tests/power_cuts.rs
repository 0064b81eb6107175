//! Power cuts at every step of a store's life: what was acknowledged is there, nothing is torn,
//! and the test notices when either sync is taken out.

use std::path::Path;

use serde::{Deserialize, Serialize};
use store::{
    Beginning, Error, Store, Version, open_in,
    simulation::{Fault, Missing, Simulation},
};

/// Large enough to span several sectors, so that it can be torn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    number: i64,
    text: String,
}

impl Version for State {
    const NUMBER: u32 = 1;
    type Previous = Beginning;
    fn up(previous: Beginning, _: Option<Self>) -> Self {
        match previous {}
    }
    fn down(&self) -> Option<Beginning> {
        None
    }
}

fn state(number: i64) -> State {
    State {
        number,
        text: format!("value {number} ").repeat(200),
    }
}

const WRITES: i64 = 4;
const SEEDS: u64 = 40;

fn open(files: &Simulation) -> store::Opened<State, Simulation> {
    open_in(files.clone(), Path::new("/data/state")).expect("a simulated disk can be read")
}

/// Writes 1, 2, 3…; answers the last number that was acknowledged.
fn live(store: &mut Store<State, Simulation>) -> i64 {
    let mut acknowledged = store.value().number;
    for number in acknowledged + 1..=acknowledged + WRITES {
        if store.replace(state(number)).is_err() {
            break;
        }
        acknowledged = number;
    }
    acknowledged
}

/// Cuts the power at every step, with many outcomes each, and counts broken promises.
fn broken_promises(missing: Option<Missing>) -> usize {
    let steps = {
        let files = Simulation::new();
        live(&mut open(&files).store);
        files.steps()
    };
    assert!(
        steps >= 5 * WRITES as usize,
        "every write is a handful of steps"
    );
    let mut broken = 0;
    // One past the end: the cut after everything was answered.
    for step in 0..=steps {
        for seed in 0..SEEDS {
            let files = Simulation::new();
            if let Some(missing) = missing {
                files.take_out(missing);
            }
            files.plan(step, Fault::PowerCut);
            let acknowledged = live(&mut open(&files).store);
            files.crash(seed);
            let opened = open(&files);
            let found = opened.store.value();
            let whole = *found == state(found.number) || *found == State::default();
            let fresh = (acknowledged..=acknowledged + 1).contains(&found.number);
            if !(opened.notices.is_empty() && whole && fresh) {
                broken += 1;
            }
        }
    }
    broken
}

#[test]
fn every_acknowledged_write_survives_whole() {
    assert_eq!(broken_promises(None), 0);
}

#[test]
fn without_the_sync_of_the_file_the_promise_breaks() {
    assert!(broken_promises(Some(Missing::Sync)) > 0);
}

#[test]
fn without_the_sync_of_the_folder_the_promise_breaks() {
    assert!(broken_promises(Some(Missing::SyncFolder)) > 0);
}

#[test]
fn life_goes_on_after_each_of_many_crashes() {
    let files = Simulation::new();
    let mut least = 0;
    for seed in 0..200 {
        files.plan(files.steps() + seed as usize % 23, Fault::PowerCut);
        let mut opened = open(&files);
        assert_eq!(opened.notices, Vec::<String>::new(), "crash {seed}");
        assert!(
            opened.store.value().number >= least,
            "crash {seed} lost a write"
        );
        least = live(&mut opened.store);
        files.crash(seed);
    }
    assert!(least > 100, "the crashes left time to write");
}

#[test]
fn a_failing_disk_leaves_the_old_value_in_place() {
    for fault in [Fault::Full, Fault::Broken] {
        for step in 0..5 {
            let files = Simulation::new();
            let mut store = open(&files).store;
            store.replace(state(1)).expect("the disk is well");
            files.plan(files.steps() + step, fault);
            let error = store.replace(state(2)).expect_err("the disk failed");
            assert!(matches!(error, Error::Save { .. }), "{error}");
            assert_eq!(store.value(), &state(1));
            if fault == Fault::Full {
                assert!(error.to_string().contains("free some space"), "{error}");
            }
            let now = open(&files);
            assert_eq!(now.notices, Vec::<String>::new());
            // Step 4 is the sync of the folder: the one that comes too late to take back.
            assert!(
                *now.store.value() == state(1) || step == 4,
                "{fault:?} at {step}"
            );
            store.replace(state(3)).expect("the disk is well again");
            assert_eq!(open(&files).store.value(), &state(3));
        }
    }
}

#[test]
fn a_full_disk_is_not_left_full_of_a_new_file() {
    let files = Simulation::new();
    let mut store = open(&files).store;
    files.plan(1, Fault::Full);
    store.replace(state(1)).expect_err("the disk is full");
    assert!(files.names().is_empty(), "{:?}", files.names());
}

#[test]
fn a_damaged_file_is_kept_and_the_owner_is_told() {
    let files = Simulation::new();
    open(&files)
        .store
        .replace(state(1))
        .expect("the disk is well");
    files.damage(Path::new("/data/state"), |bytes| bytes[100] ^= 1);
    let mut opened = open(&files);
    assert_eq!(opened.store.value(), &State::default());
    assert_eq!(opened.notices.len(), 1);
    assert!(
        opened.notices[0].contains("/data/state.damaged-1"),
        "{:?}",
        opened.notices
    );
    opened.store.replace(state(2)).expect("the disk is well");
    assert_eq!(open(&files).store.value(), &state(2));
    assert!(files.names().contains(&"/data/state.damaged-1".into()));
}

#[test]
fn a_damaged_file_that_cannot_be_set_aside_is_never_overwritten() {
    let files = Simulation::new();
    open(&files)
        .store
        .replace(state(1))
        .expect("the disk is well");
    files.damage(Path::new("/data/state"), |bytes| bytes.truncate(300));
    files.plan(files.steps(), Fault::Broken);
    let mut opened = open(&files);
    assert!(
        opened.notices[0].contains("could not be set aside"),
        "{:?}",
        opened.notices
    );
    files.plan(files.steps(), Fault::Broken);
    opened
        .store
        .replace(state(2))
        .expect_err("the damaged file is still in the way");
    opened
        .store
        .replace(state(2))
        .expect("now it could be set aside");
    assert!(files.names().contains(&"/data/state.damaged-1".into()));
}

#[test]
fn many_damaged_copies_do_not_fill_the_disk() {
    let files = Simulation::new();
    for number in 0..20 {
        open(&files)
            .store
            .replace(state(number))
            .expect("the disk is well");
        files.damage(Path::new("/data/state"), |bytes| bytes.clear());
        assert_eq!(open(&files).notices.len(), 1);
    }
    assert_eq!(files.names().len(), 8);
}
