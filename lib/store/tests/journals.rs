//! Power cuts at every step of a journal's life, and what becomes of a damaged one.

use std::path::Path;

use store::{
    journal::{Journal, OpenedJournal},
    simulation::{Fault, Missing, Simulation},
};

fn path() -> &'static Path {
    Path::new("/data/journal")
}

fn open(files: &Simulation) -> OpenedJournal<Simulation> {
    Journal::open(files.clone(), path()).expect("a simulated disk can be read")
}

/// Long enough to span sectors, and different from each other.
fn record(number: usize) -> Vec<u8> {
    format!("record {number} ").repeat(70).into_bytes()
}

/// Adds records up to `end`, with a rewrite here and there; answers how many were acknowledged.
fn live(opened: OpenedJournal<Simulation>, end: usize) -> usize {
    let mut journal = opened.journal;
    let mut records = opened.records;
    while records.len() < end {
        let new = record(records.len());
        let saved = if journal.can_append() && records.len() % 5 != 4 {
            journal.append([&new[..]])
        } else {
            journal.rewrite(records.iter().chain([&new]).map(Vec::as_slice))
        };
        match saved {
            Ok(()) => records.push(new),
            Err(_) => break,
        }
    }
    records.len()
}

const RECORDS: usize = 8;

fn broken_promises(missing: Option<Missing>) -> usize {
    let steps = {
        let files = Simulation::new();
        live(open(&files), RECORDS);
        files.steps()
    };
    let mut broken = 0;
    for step in 0..=steps {
        for seed in 0..40 {
            let files = Simulation::new();
            if let Some(missing) = missing {
                files.take_out(missing);
            }
            files.plan(step, Fault::PowerCut);
            let acknowledged = live(open(&files), RECORDS);
            files.crash(seed);
            let opened = open(&files);
            let whole = opened
                .records
                .iter()
                .enumerate()
                .all(|(number, found)| *found == record(number));
            let fresh = (acknowledged..=acknowledged + 1).contains(&opened.records.len());
            if !(opened.notices.is_empty() && whole && fresh) {
                broken += 1;
            }
            // And life goes on behind whatever end the crash left.
            if missing.is_none() {
                assert_eq!(live(opened, RECORDS + 2), RECORDS + 2);
                assert_eq!(open(&files).records.len(), RECORDS + 2);
            }
        }
    }
    broken
}

#[test]
fn every_acknowledged_record_survives() {
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
fn a_failure_is_told_and_nothing_is_added_behind_half_a_record() {
    for fault in [Fault::Full, Fault::Broken] {
        for ahead in 0..6 {
            let files = Simulation::new();
            let mut journal = open(&files).journal;
            journal.rewrite([&record(0)[..]]).unwrap();
            files.plan(files.steps() + ahead, fault);
            let mut saved = vec![0];
            for number in 1..5 {
                let added = match journal.can_append() {
                    true => journal.append([&record(number)[..]]),
                    false => {
                        let records: Vec<_> = saved.iter().map(|&n| record(n)).collect();
                        journal.rewrite(
                            records
                                .iter()
                                .map(Vec::as_slice)
                                .chain([&record(number)[..]]),
                        )
                    }
                };
                if added.is_ok() {
                    saved.push(number);
                }
            }
            let expected: Vec<_> = saved.iter().map(|&number| record(number)).collect();
            assert!(saved.len() >= 3);
            assert_eq!(open(&files).records, expected);
        }
    }
}

#[test]
fn damage_in_the_middle_is_told_and_the_file_is_kept() {
    let files = Simulation::new();
    live(open(&files), RECORDS);
    files.damage(path(), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let opened = open(&files);
    assert!(!opened.records.is_empty() && opened.records.len() < RECORDS);
    assert_eq!(opened.notices.len(), 1);
    assert!(
        files
            .names()
            .contains(&Path::new("/data/journal.damaged-1").to_owned())
    );
    assert_eq!(live(opened, RECORDS), RECORDS);
    assert_eq!(open(&files).records.len(), RECORDS);
    assert!(open(&files).notices.is_empty());
}
