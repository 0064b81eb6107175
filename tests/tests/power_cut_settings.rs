//! Changed settings of a whole phone survive every power cut, and this test would see it if they
//! did not: the same cuts of a phone whose services leave out one sync break the promise.
//!
//! `POWER_CUTS` says how often the power is cut; `cargo xtask soak` asks for thousands, and for the
//! doctored phones, whose services have to be built anew for each.

use system_tests::phone::Phone;
use system_tests::power_cut::check::{self, Outcome, Run};
use system_tests::power_cut::settings::{self, Kept};

/// How often a setting is changed.
const CHANGES: usize = 60;

/// How often a phone that is expected to break its promise is cut.
const DOCTORED_CUTS: usize = 300;

/// Changes the settings of a phone and cuts its power so many times.
fn cut(phone: impl FnOnce(&std::path::Path) -> anyhow::Result<Phone>, cuts: usize) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let phone = phone(folder.path()).unwrap();
    let written = settings::run(folder.path(), &phone, CHANGES).unwrap();
    let (log, acknowledgements) = written.recording.finish().unwrap();
    assert_eq!(acknowledgements.len(), CHANGES);
    let data = phone.image.layout.partition("data");
    let run = Run {
        log: &log,
        before: &written.before,
        window: data.offset..data.offset + data.size,
        acknowledgements: &acknowledgements,
    };
    let outcome = check::cut(&run, &Kept, cuts, 20_260_102).unwrap();
    println!(
        "{} entries in the record, {} cuts, {} failures",
        log.entries().len(),
        outcome.cuts,
        outcome.failures.len()
    );
    assert_eq!(outcome.cuts, cuts);
    outcome
}

#[test]
fn acknowledged_settings_survive_every_cut() {
    let cuts = std::env::var("POWER_CUTS")
        .map_or(300, |count| count.parse().expect("POWER_CUTS is a number"));
    let outcome = cut(Phone::new, cuts);
    for failure in &outcome.failures {
        println!("{failure}");
    }
    assert!(
        outcome.failures.is_empty(),
        "{} of {cuts} cuts broke the promise",
        outcome.failures.len()
    );
}

/// The cuts of a phone whose services were built with `feature` must break the promise in this way.
fn is_noticed(feature: &str, reason: &str) {
    let outcome = cut(|folder| Phone::without_sync(folder, feature), DOCTORED_CUTS);
    let seen = outcome
        .failures
        .iter()
        .filter(|failure| failure.reason.contains(reason))
        .count();
    println!("{seen} of them {reason:?}");
    assert!(
        seen > 0,
        "no cut of {DOCTORED_CUTS} noticed what {feature} leaves out: {:?}",
        outcome.failures.first()
    );
}

#[test]
#[ignore = "builds the services anew: cargo xtask soak"]
fn a_phone_without_the_folders_sync_is_seen_to_lose_settings() {
    is_noticed("fault-no-directory-sync", "was acknowledged");
}

#[test]
#[ignore = "builds the services anew: cargo xtask soak"]
fn a_phone_without_the_files_sync_is_seen_to_tear_settings() {
    is_noticed("fault-no-file-sync", "torn");
}
