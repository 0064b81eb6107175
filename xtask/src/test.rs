//! `cargo xtask test`: everything that has to hold before a change lands.
//!
//! The heavy crates are built once for all of it: tests are built for the device's target with its
//! flags, as the programs are, and ask the same features of them.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    host::{self, Purpose},
    programs::{self, TARGET},
    progress::Progress,
};

/// The package whose tests start machines.
const SYSTEM_TESTS: &str = "system-tests";

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
    if no_machines {
        progress.noisy_step("testing, without machines", || {
            let selection = ["--workspace", "--exclude", SYSTEM_TESTS];
            tests(root, &selection, &[], &mut counts)
        })?;
    } else {
        progress.noisy_step("testing", || {
            tests(root, &["--workspace"], &[], &mut counts)
        })?;
    }
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

/// Runs the tests that `selection` selects, with their output on the terminal, and counts them.
///
/// # Errors
///
/// Fails when one does not hold.
pub fn tests(
    root: &Path,
    selection: &[&str],
    environment: &[(&str, &str)],
    counts: &mut Counts,
) -> Result<()> {
    let mut cargo = programs::cargo(root)?
        .args(["test", "--release", "--target", TARGET, "--no-fail-fast"])
        .args(selection)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let output = cargo.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("reading the output of tests")?;
        println!("{line}");
        counts.add(&line);
    }
    if !cargo.wait()?.success() {
        bail!(
            "{} of {} tests failed: the first of them says why above",
            counts.failed,
            counts.passed + counts.failed
        );
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
