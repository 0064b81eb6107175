//! Power cuts, full disks and damage.

mod common;

use std::path::Path;

use common::{all, copy, give, open, set};
use store::simulation::{Fault, Missing, Simulation};

const CHANGES: usize = 6;

/// Changes entries until something fails; how many changes were acknowledged.
fn live(files: &Simulation) -> usize {
    let mut copy = open(files).replica;
    let done = copy.entries("").count();
    for number in done..CHANGES {
        let (key, text) = (number.to_string(), "text ".repeat(200));
        if copy.change([(&*key, Some(text.as_str().into()))]).is_err() {
            return number;
        }
    }
    CHANGES
}

fn broken_promises(missing: Option<Missing>) -> usize {
    let steps = {
        let files = Simulation::new();
        live(&files);
        files.steps()
    };
    let mut broken = 0;
    for step in 0..=steps {
        for seed in 0..12 {
            let files = Simulation::new();
            if let Some(missing) = missing {
                files.take_out(missing);
            }
            files.plan(step, Fault::PowerCut);
            let acknowledged = live(&files);
            files.crash(seed);
            let opened = open(&files);
            let found = opened.replica.entries("").count();
            let fresh = (acknowledged..=acknowledged + 1).contains(&found);
            if !(fresh && opened.notices.is_empty()) {
                broken += 1;
            }
            if missing.is_none() {
                assert_eq!(live(&files), CHANGES);
                assert_eq!(open(&files).replica.entries("").count(), CHANGES);
            }
        }
    }
    broken
}

#[test]
fn every_acknowledged_change_survives() {
    assert_eq!(broken_promises(None), 0);
}

#[test]
fn without_the_sync_of_the_file_the_promise_breaks() {
    assert!(broken_promises(Some(Missing::Sync)) > 0);
}

#[test]
fn a_failure_leaves_the_copy_as_it_was_and_nothing_is_said_twice() {
    let mut failed = 0;
    for ahead in 0..8 {
        let files = Simulation::new();
        let mut phone = open(&files).replica;
        let mut tv = copy();
        set(&mut phone, "a", "1");
        files.plan(files.steps() + ahead, Fault::Full);
        let mut failures = 0;
        for number in 0..4 {
            let before = all(&phone);
            let value = number.to_string();
            if phone.change([("b", Some(value.as_str().into()))]).is_err() {
                failures += 1;
                assert_eq!(all(&phone), before);
            }
            // What a failed change would have been is never seen by anybody.
            give(&phone, &mut tv);
            assert_eq!(all(&phone), all(&tv));
        }
        // What failed at the very last step may be in the file; the next change settles it.
        if phone.change([("d", Some("4".into()))]).is_err() {
            failures += 1;
            set(&mut phone, "d", "4");
        }
        give(&phone, &mut tv);
        assert!(failures <= 1, "one step was planned to fail");
        failed += failures;
        assert_eq!(all(&open(&files).replica), all(&phone));
        // And the copy that is opened again goes on.
        let mut again = open(&files).replica;
        set(&mut again, "c", "3");
        give(&again, &mut tv);
        assert_eq!(all(&again), all(&tv));
    }
    assert!(failed > 4, "{failed} failures were met");
}

#[test]
fn the_file_is_compacted() {
    let files = Simulation::new();
    let mut phone = open(&files).replica;
    let text = "x".repeat(3 * 1024);
    for number in 0..40 {
        set(&mut phone, "one entry", &format!("{number} {text}"));
    }
    let before = all(&phone);
    let bytes = phone_bytes(&files);
    // A hundred and twenty thousand bytes were written, three thousand of which still matter.
    assert!(bytes < 40_000, "{bytes} bytes");
    assert_eq!(all(&open(&files).replica), before);
}

fn phone_bytes(files: &Simulation) -> usize {
    use store::FileSystem as _;
    files.read(Path::new("/data/document")).unwrap().len()
}

#[test]
fn damage_is_told_and_what_is_left_is_used() {
    let files = Simulation::new();
    let mut phone = open(&files).replica;
    for number in 0..5 {
        set(&mut phone, &number.to_string(), "text");
    }
    let mut tv = copy();
    give(&phone, &mut tv);
    files.damage(Path::new("/data/document"), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let opened = open(&files);
    assert_eq!(opened.notices.len(), 1);
    let mut phone = opened.replica;
    assert!(phone.entries("").count() < 5);
    // The rest comes again from the others.
    give(&tv, &mut phone);
    assert_eq!(all(&phone), all(&tv));
}
