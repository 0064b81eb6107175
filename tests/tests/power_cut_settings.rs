//! Changed settings of a whole phone survive every power cut.
//!
//! `POWER_CUTS` says how often the power is cut; `cargo xtask soak` asks for thousands.

use system_tests::phone::Phone;
use system_tests::power_cut::check::{self, Run};
use system_tests::power_cut::settings::{self, Kept};

/// How often a setting is changed.
const CHANGES: usize = 60;

#[test]
fn acknowledged_settings_survive_every_cut() {
    let cuts = std::env::var("POWER_CUTS")
        .map_or(300, |count| count.parse().expect("POWER_CUTS is a number"));
    let folder = tempfile::tempdir().unwrap();
    let phone = Phone::new(folder.path()).unwrap();
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
        "{} entries in the record, {} cuts",
        log.entries().len(),
        outcome.cuts
    );
    for failure in &outcome.failures {
        println!("{failure}");
    }
    assert_eq!(outcome.cuts, cuts);
    assert!(
        outcome.failures.is_empty(),
        "{} of {cuts} cuts broke the promise",
        outcome.failures.len()
    );
}
