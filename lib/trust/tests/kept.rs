//! What survives on the disk: the identity, and the log.

mod common;

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use common::{first, key, log_of, rest};
use store::simulation::{Fault, Simulation};
use trust::{
    identity::KeptIdentity,
    log::{Action, KeptLog, Log, Role},
};

#[test]
fn an_identity_is_made_once_for_its_owner_alone_and_rotates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity");
    let open = || KeptIdentity::open(&path).unwrap().0;
    let id = open().current().id();
    assert_eq!(open().current().id(), id);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut kept = open();
    let next = kept.begin_rotation().unwrap().id();
    assert_ne!(next, id);
    // A power cut here loses neither key, and beginning again makes no third.
    let mut kept = open();
    assert_eq!(kept.current().id(), id);
    assert_eq!(kept.begin_rotation().unwrap().id(), next);
    kept.finish_rotation().unwrap();
    let mut kept = open();
    assert_eq!(kept.current().id(), next);
    assert!(kept.next().is_none());
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    kept.start_over().unwrap();
    assert_ne!(open().current().id(), next);
}

#[test]
fn a_damaged_identity_is_told_to_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity");
    let id = KeptIdentity::open(&path).unwrap().0.current().id();
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (kept, notices) = KeptIdentity::open(&path).unwrap();
    assert_eq!(notices.len(), 1);
    assert_ne!(kept.current().id(), id);
}

fn added(number: u8) -> Action {
    Action::Added {
        device: key(number).id(),
        role: Role::Shared,
        name: number.to_string(),
    }
}

#[test]
fn every_entry_that_was_taken_survives_a_power_cut() {
    let path = Path::new("/data/log");
    let log = Log::found(&key(0), "0", None, 0).unwrap();
    let steps = {
        let files = Simulation::new();
        live(&files, path, &log);
        files.steps()
    };
    for step in 0..=steps {
        for seed in 0..20 {
            let files = Simulation::new();
            files.plan(step, Fault::PowerCut);
            let taken = live(&files, path, &log);
            files.crash(seed);
            let (kept, notices) = KeptLog::open_in(files.clone(), path).unwrap();
            assert_eq!(notices, Vec::<String>::new());
            let found = kept.as_ref().map_or(0, |kept| kept.log().len());
            assert!((taken..=taken + 1).contains(&found) || (taken == 0 && found == log.len()));
            if let Some(mut kept) = kept {
                kept.write(&key(0), added(9), 0).unwrap();
            }
        }
    }
}

/// Creates a log and adds to it, until something fails; how many entries were acknowledged.
fn live(files: &Simulation, path: &Path, log: &Log) -> usize {
    let Ok(mut kept) = KeptLog::create_in(files.clone(), path, log.clone()) else {
        return 0;
    };
    for number in 1..5 {
        if kept.write(&key(0), added(number), 0).is_err() {
            break;
        }
    }
    kept.log().len()
}

#[test]
fn a_failure_to_save_leaves_the_log_as_it_was() {
    let path = Path::new("/data/log");
    let files = Simulation::new();
    let log = Log::found(&key(0), "0", None, 0).unwrap();
    let mut kept = KeptLog::create_in(files.clone(), path, log).unwrap();
    files.plan(files.steps(), Fault::Full);
    assert!(kept.write(&key(0), added(1), 0).is_err());
    assert_eq!(kept.log().family().role(key(1).id()), None);
    kept.write(&key(0), added(2), 0).unwrap();
    let (found, notices) = KeptLog::open_in(files, path).unwrap();
    assert_eq!(notices, Vec::<String>::new());
    let found = found.unwrap();
    assert_eq!(found.log().family(), kept.log().family());
    let again = log_of(
        &first(found.log()),
        rest(found.log()).iter().map(Vec::as_slice),
    );
    assert_eq!(again.family(), kept.log().family());
}
