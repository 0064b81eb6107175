//! A phone can be started after a power cut at any instant of an update, from the first question to
//! the restart into what was installed; and this test would see it if it could not.
//!
//! `POWER_CUTS` says how often the power is cut; `cargo xtask soak` asks for thousands, for a phone
//! whose updates leave out one sync, and for cuts of a phone that is started again after each.

use system_tests::phone::Phone;
use system_tests::power_cut::check::{self, Outcome, Run};
use system_tests::power_cut::installation::{self, Startable};
use system_tests::power_cut::running;
use system_tests::releases::Releases;

/// What is installed.
const VERSION: &str = "0.2.0";

/// How often a phone that is expected to break its promise is cut.
const DOCTORED_CUTS: usize = 300;

/// How often the power of a running phone is cut.
const RUNNING_CUTS: u32 = 20;

/// Updates a phone and cuts its power so many times.
fn cut(phone: impl FnOnce(&std::path::Path) -> anyhow::Result<Phone>, cuts: usize) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let phone = phone(folder.path()).unwrap();
    let releases = Releases::new(&phone, folder.path()).unwrap();
    releases.publish(VERSION, &[], |_, _| Ok(())).unwrap();
    let written = installation::run(folder.path(), &phone, &releases, VERSION).unwrap();
    let (log, acknowledgements) = written.recording.finish().unwrap();
    let layout = &phone.image.layout;
    let written_to = installation::writes_to_the_running_slot(&log, layout, acknowledgements[1]);
    assert!(
        written_to.is_empty(),
        "the slot that ran was written to at {written_to:?}"
    );
    let run = Run {
        log: &log,
        before: &written.before,
        window: 0..layout.size(),
        acknowledgements: &acknowledgements,
    };
    let startable = Startable {
        layout: layout.clone(),
        release: releases.manifest(VERSION).unwrap(),
    };
    let outcome = check::cut(&run, &startable, cuts, 20_261_122).unwrap();
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
fn a_device_can_be_started_after_every_cut_of_an_update() {
    let cuts = std::env::var("POWER_CUTS")
        .map_or(100, |count| count.parse().expect("POWER_CUTS is a number"));
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

#[test]
#[ignore = "builds the services anew: cargo xtask soak"]
fn an_update_without_the_roots_sync_is_seen_to_leave_half_a_root() {
    let outcome = cut(
        |folder| Phone::without_sync(folder, "fault-no-root-sync"),
        DOCTORED_CUTS,
    );
    let seen = outcome
        .failures
        .iter()
        .filter(|failure| failure.reason.contains("the boot file of slot b is whole"))
        .count();
    println!("{seen} of them have half a root");
    assert!(
        seen > 0,
        "no cut of {DOCTORED_CUTS} noticed it: {:?}",
        outcome.failures.first()
    );
}

#[test]
#[ignore = "takes an hour: cargo xtask soak"]
fn a_running_phone_comes_up_after_each_cut() {
    let folder = tempfile::tempdir().unwrap();
    let phone = Phone::new(folder.path()).unwrap();
    let releases = Releases::new(&phone, folder.path()).unwrap();
    let cuts = running::run(folder.path(), &phone, &releases, RUNNING_CUTS, 20_261_123).unwrap();
    let into_the_new = cuts
        .iter()
        .filter(|cut| {
            cut.status
                .contains(&format!("{} runs in slot", cut.version))
        })
        .count();
    println!(
        "{} cuts; {into_the_new} of them led into the new release",
        cuts.len()
    );
    assert_eq!(cuts.len(), RUNNING_CUTS as usize);
}
