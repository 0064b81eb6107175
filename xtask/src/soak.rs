//! `cargo xtask soak`: what is too long for every change, for a night.

use std::path::Path;

use anyhow::Result;

use crate::{
    fuzz,
    host::{self, Purpose},
    progress::Progress,
    reproduce,
    test::{Counts, side_by_side},
};

/// What the long tests are asked for, in the environment.
const LENGTHS: [(&str, &str); 3] = [
    ("POWER_CUTS", "2500"),
    ("WIRE_IDLE_SECONDS", "600"),
    ("WAVE_DEVICES", "100000000"),
];

/// The tests that can be long. The whole workspace is named beside them, for the features of
/// what they need are then those that `cargo xtask test` has built.
const SELECTION: [&str; 11] = [
    "--workspace",
    "--test",
    "device",
    "--test",
    "power_cut",
    "--test",
    "power_cut_settings",
    "--test",
    "power_cut_update",
    "--test",
    "waves",
];

/// How long each target of fuzzing is given.
const FUZZ_SECONDS: u32 = 300;

/// Runs it all.
///
/// # Errors
///
/// Fails at the first thing that does not hold.
pub fn run(root: &Path, yes: bool, progress: &Progress) -> Result<()> {
    host::ensure(
        &[Purpose::Image, Purpose::Run, Purpose::Test, Purpose::Fuzz],
        yes,
    )?;
    let mut counts = Counts::default();
    progress.noisy_step("testing whole machines at length", || {
        let tests = side_by_side::build(root, &SELECTION)?;
        // Those that are ignored otherwise build programs of their own in the place of the product's, which
        // no other may be using.
        side_by_side::run(tests, 1, &["--include-ignored"], &LENGTHS, &mut counts)
    })?;
    reproduce::run(root, progress)?;
    fuzz::run(root, FUZZ_SECONDS, progress)?;
    println!(
        "{} long tests passed, {} were ignored",
        counts.passed, counts.ignored
    );
    Ok(())
}
