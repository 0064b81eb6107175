//! `cargo xtask test`: everything that has to hold before a change lands.
//!
//! The heavy crates are built once for all of it: tests are built for the device's target with its
//! flags, as the programs are, and ask the same features of them.

pub mod side_by_side;

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Context as _, Result, bail};

use crate::{
    host::{self, Purpose},
    programs::{self, TARGET},
    progress::Progress,
};

/// The package whose tests start machines.
const SYSTEM_TESTS: &str = "system-tests";

/// How many programs with tests run at the same time. Most wait as long as they compute.
const HANDS: usize = 2;

/// What takes longest begins first, for then the others end beside it.
const LONGEST: &str = "tests/device";

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that held.
    pub passed: u64,
    /// Tests that did not.
    pub failed: u64,
    /// Tests that were not run.
    pub ignored: u64,
}

impl Counts {
    /// Adds what a line of a test program's output says, if it is its last line.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Adds what another has counted.
    fn join(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Runs it all.
///
/// # Errors
///
/// Fails at the first thing that does not hold.
pub fn run(root: &Path, no_machines: bool, yes: bool, progress: &Progress) -> Result<()> {
    host::ensure(&[Purpose::Image, Purpose::Run, Purpose::Test], yes)?;
    let begin = Instant::now();
    let mut counts = Counts::default();

    progress.noisy_step("checking the format", || {
        step(
            programs::cargo(root)?.args(["fmt", "--all", "--check"]),
            "some files are not as rustfmt writes them: `cargo fmt --all`",
        )
    })?;
    progress.noisy_step("checking with clippy", || {
        step(
            programs::cargo(root)?
                .args([
                    "clippy",
                    "--release",
                    "--target",
                    TARGET,
                    "--workspace",
                    "--all-targets",
                    "--quiet",
                ])
                .args(["--", "--deny", "warnings"]),
            "clippy objects",
        )
    })?;
    progress.noisy_step("checking the documentation", || {
        step(
            programs::cargo(root)?
                .args([
                    "doc",
                    "--release",
                    "--target",
                    TARGET,
                    "--workspace",
                    "--no-deps",
                    "--quiet",
                ])
                .env("RUSTDOCFLAGS", "--deny warnings"),
            "the documentation has errors",
        )
    })?;
    // One selection of packages: cargo builds a crate once more for each set of features that the
    // selected packages ask of it.
    let selection: &[&str] = if no_machines {
        &["--workspace", "--exclude", SYSTEM_TESTS]
    } else {
        &["--workspace"]
    };
    let mut tests = progress.noisy_step("building the tests", || {
        side_by_side::build(root, selection)
    })?;
    tests.sort_by_key(|program| program.name != LONGEST);
    if !no_machines {
        // Those that start machines need them, and would each wait for the first that builds them.
        progress.noisy_step("building the programs", || programs::build(root))?;
    }
    let held = progress.noisy_step("testing", || {
        side_by_side::run(tests, HANDS, &[], &[], &mut counts)
    });
    progress.noisy_step("testing the examples of the documentation", || {
        step(
            programs::cargo(root)?
                .args(["test", "--doc", "--release", "--target", TARGET])
                .args(selection),
            "an example does not hold",
        )
    })?;
    held?;
    println!(
        "{} tests passed, {} failed, {} were ignored, in {:.0} s",
        counts.passed,
        counts.failed,
        counts.ignored,
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

fn step(command: &mut Command, failure: &str) -> Result<()> {
    let status = command.status().context("starting cargo")?;
    if !status.success() {
        bail!("{failure}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_test_programs_are_summed() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ] {
            counts.add(line);
        }
        assert_eq!(
            counts,
            Counts {
                passed: 7,
                failed: 2,
                ignored: 1
            }
        );
    }
}
