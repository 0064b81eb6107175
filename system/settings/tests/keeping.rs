//! What the settings promise, on a disk that fails and forgets.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use settings::{Change, Edition, Keeper, Refusal, Registry, Value, WATCHED, values::Values};
use store::simulation::{Fault, Simulation};
use tokio::sync::broadcast::error::TryRecvError;

const FILE: &str = "/data/settings/settings";

fn registry() -> Registry {
    Registry::new(&Edition::default(), PathBuf::from("/nonexistent")).0
}

fn open(files: &Simulation) -> Keeper<Simulation> {
    Keeper::open(files.clone(), Path::new(FILE), registry()).expect("a simulated disk can be read")
}

fn write(files: &Simulation, values: Values) {
    let mut store = store::open_in(files.clone(), Path::new(FILE))
        .expect("it can be read")
        .store;
    store.replace(values).expect("the disk is well");
}

#[test]
fn a_change_is_there_after_a_power_cut_and_a_reset_too() {
    let files = Simulation::new();
    let mut keeper = open(&files);
    keeper
        .set("appearance.accent", Value::Text("moss".into()))
        .unwrap();
    files.crash(1);
    let mut keeper = open(&files);
    assert_eq!(
        keeper.get("appearance.accent"),
        Ok(Value::Text("moss".into()))
    );
    keeper.reset("appearance.accent").unwrap();
    files.crash(2);
    assert_eq!(
        open(&files).get("appearance.accent"),
        Ok(Value::Text("tide".into()))
    );
}

#[test]
fn what_cannot_be_saved_is_refused_and_nobody_is_told() {
    let files = Simulation::new();
    let mut keeper = open(&files);
    let mut watch = keeper.watch();
    files.plan(files.steps() + 1, Fault::Full);
    let refusal = keeper
        .set("display.brightness", Value::Integer(9))
        .expect_err("it is full");
    assert!(
        matches!(&refusal, Refusal::NotSaved(reason) if reason.contains("free some space")),
        "{refusal}"
    );
    assert_eq!(keeper.get("display.brightness"), Ok(Value::Integer(70)));
    assert_eq!(watch.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn watchers_are_told_each_change_once_in_order() {
    let files = Simulation::new();
    let mut keeper = open(&files);
    let mut watch = keeper.watch();
    for brightness in [10, 20, 20, 70] {
        keeper
            .set("display.brightness", Value::Integer(brightness))
            .unwrap();
    }
    // To the default that it already has: nothing to tell.
    keeper.reset("display.brightness").unwrap();
    let told: Vec<_> = std::iter::from_fn(|| watch.try_recv().ok()).collect();
    let change = |value| Change {
        key: "display.brightness".into(),
        value: Value::Integer(value),
    };
    assert_eq!(told, [change(10), change(20), change(70)]);
}

#[test]
fn a_watcher_that_does_not_read_is_dropped_not_told_half() {
    let files = Simulation::new();
    let mut keeper = open(&files);
    let mut watch = keeper.watch();
    for step in 0..=WATCHED as i64 {
        keeper
            .set("display.screen-off-after", Value::Integer(step + 100))
            .unwrap();
    }
    assert_eq!(watch.try_recv(), Err(TryRecvError::Lagged(1)));
}

#[test]
fn keys_of_a_newer_release_stay_in_the_file() {
    let files = Simulation::new();
    let newer = toml::Table::from_iter([("deep".to_owned(), toml::Value::Integer(1))]);
    write(
        &files,
        Values([("newer.thing".to_owned(), newer.clone().into())].into()),
    );
    let mut keeper = open(&files);
    assert!(keeper.notices().is_empty(), "{:?}", keeper.notices());
    assert_eq!(
        keeper.get("newer.thing"),
        Err(Refusal::UnknownKey("newer.thing".into()))
    );
    keeper.set("time.hours-24", Value::Boolean(false)).unwrap();
    let opened = store::open_in::<Values, _>(files, Path::new(FILE)).unwrap();
    assert_eq!(opened.store.value().0["newer.thing"], newer.into());
}

#[test]
fn a_value_that_does_not_fit_is_left_and_said() {
    let files = Simulation::new();
    write(
        &files,
        Values([("display.brightness".to_owned(), 700.into())].into()),
    );
    let keeper = open(&files);
    assert_eq!(keeper.get("display.brightness"), Ok(Value::Integer(70)));
    assert!(
        keeper.notices()[0].contains("display.brightness"),
        "{:?}",
        keeper.notices()
    );
}

#[test]
fn a_damaged_file_means_defaults_a_copy_and_a_notice() {
    let files = Simulation::new();
    open(&files)
        .set("appearance.accent", Value::Text("moss".into()))
        .unwrap();
    files.damage(Path::new(FILE), |bytes| bytes.reverse());
    let keeper = open(&files);
    assert_eq!(
        keeper.get("appearance.accent"),
        Ok(Value::Text("tide".into()))
    );
    assert_eq!(keeper.notices().len(), 1);
    assert!(files.names().contains(&format!("{FILE}.damaged-1").into()));
}

proptest! {
    #[test]
    fn acknowledged_changes_survive_any_power_cut(
        changes in prop::collection::vec((5_i64..=100, 0_usize..8, any::<u64>()), 1..20)
    ) {
        let files = Simulation::new();
        let mut known = 70;
        for (brightness, cut, seed) in changes {
            let mut keeper = open(&files);
            prop_assert!(keeper.notices().is_empty());
            files.plan(files.steps() + cut, Fault::PowerCut);
            let saved = keeper.set("display.brightness", Value::Integer(brightness)).is_ok();
            files.crash(seed);
            let found = open(&files).get("display.brightness").unwrap();
            let allowed = if saved { vec![brightness] } else { vec![known, brightness] };
            let Value::Integer(found) = found else { panic!("brightness is a number") };
            prop_assert!(allowed.contains(&found), "{} of {:?}", found, allowed);
            known = found;
        }
    }
}
