//! `lib/store` keeps its promise on a real kernel, file system and disk when the power fails, and
//! this test would see it if it did not.
//!
//! `POWER_CUTS` says how often the power is cut in each test; `cargo xtask soak` asks for thousands.

use std::path::Path;

use system_tests::power_cut::check::{self, Outcome, Run};
use system_tests::power_cut::guest::{self, Guest};
use system_tests::power_cut::writer::{Kept, Syncs};

/// How many values the guest writes; each takes the disk through about nine writes and flushes.
const WRITES: u64 = 80;

fn cuts() -> usize {
    match std::env::var("POWER_CUTS") {
        Ok(count) => count.parse().expect("POWER_CUTS is a number"),
        Err(_) => 200,
    }
}

fn outcome(syncs: Syncs, cuts: usize) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    // Built with this test: a build of its own would ask other features of the heavy crates.
    // A shell that cargo calls the compiler through drops variables whose names have a hyphen, so it has none.
    let writer = Path::new(env!("CARGO_BIN_EXE_power_cut_writer"));
    let guest = Guest::pack(folder.path(), writer).unwrap();
    let written = guest::run(folder.path(), &guest, syncs, WRITES).unwrap();
    let (log, acknowledgements) = written.recording.finish().unwrap();
    assert_eq!(acknowledgements.len() as u64, WRITES);
    let run = Run {
        log: &log,
        before: &written.before,
        window: 0..written.size,
        acknowledgements: &acknowledgements,
    };
    let outcome = check::cut(&run, &Kept, cuts, 20_260_101).unwrap();
    println!(
        "{}: {} entries in the record, {} cuts, {} failures",
        syncs.word(),
        log.entries().len(),
        outcome.cuts,
        outcome.failures.len()
    );
    outcome
}

#[test]
fn what_was_acknowledged_survives_every_cut() {
    let outcome = outcome(Syncs::All, cuts());
    assert_eq!(outcome.cuts, cuts());
    for failure in &outcome.failures {
        println!("{failure}");
    }
    let failures = outcome.failures.len();
    assert_eq!(failures, 0, "of {} cuts broke the promise", outcome.cuts);
}

#[test]
fn without_the_folders_sync_acknowledged_values_are_seen_to_be_lost() {
    let outcome = outcome(Syncs::NoFolder, 100);
    let seen = |failure: &&check::Failure| failure.reason.contains("was acknowledged");
    let lost = outcome.failures.iter().filter(seen).count();
    assert!(
        lost > 0,
        "no cut of {} noticed that the folder's sync was taken out",
        outcome.cuts
    );
}

#[test]
fn without_the_files_sync_torn_values_are_seen() {
    let outcome = outcome(Syncs::NoFile, 100);
    let torn = outcome
        .failures
        .iter()
        .filter(|failure| failure.reason.contains("torn"))
        .count();
    assert!(
        torn > 0,
        "no cut of {} noticed that the file's sync was taken out",
        outcome.cuts
    );
}
