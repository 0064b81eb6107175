//! Looking for inputs that break what reads them, guided by what code each input reaches.
//!
//! The targets are those of `tests/fuzz`. Their program is built with the counters that LLVM's
//! libFuzzer looks at; on stable Rust, for these are passes and options of LLVM. What is reached is
//! kept in `target/fuzz/corpus` from run to run, and what breaks something in `target/fuzz/found`:
//! it becomes a seed in `tests/fuzz/seeds`, with the mistake's correction.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    paths, process,
    programs::{self, TARGET},
    progress::Progress,
};

/// The seeds: a folder for each target.
const SEEDS: &str = "tests/fuzz/seeds";

/// The target with a mistake in it that only guidance finds, and how many inputs that may take:
/// by chance it would be 2 to the power of 64.
const PLANTED: &str = "planted";
const PLANTED_RUNS: &str = "-runs=20000000";

/// How the compiler counts what code is reached, and checks what release builds do not.
const FLAGS: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Branches that are folded into one cannot be told apart.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// What the run of one target showed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    /// Inputs that were tried.
    inputs: u64,
    /// Places in the code that were reached by the seeds, and in the end.
    reached: (u64, u64),
}

impl Shown {
    /// Reads what libFuzzer says.
    fn read(said: &str) -> Self {
        let number_after = |line: &str, word: &str| {
            line.split(word)
                .nth(1)?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        };
        let mut shown = Self::default();
        for line in said.lines() {
            if let Some(inputs) = number_after(line, "stat::number_of_executed_units:") {
                shown.inputs = inputs;
            }
            if let Some(reached) = number_after(line, " cov: ") {
                if line.contains("INITED") {
                    shown.reached.0 = reached;
                }
                shown.reached.1 = shown.reached.1.max(reached);
            }
        }
        shown
    }
}

/// Runs every target for so many seconds, as many at a time as there are processors.
///
/// # Errors
///
/// Fails when an input breaks something, naming the file that holds it; and when nothing was
/// guided, for then the runs show nothing.
pub fn run(root: &Path, seconds: u32, progress: &Progress) -> Result<()> {
    let program = progress.noisy_step("building the targets of fuzzing", || build(root))?;
    progress.noisy_step("finding the mistake that was planted", || {
        let found = fuzz(root, &program, PLANTED, PLANTED_RUNS)?;
        ensure!(
            !found.status.success() && said(&found).contains("the mistake that was planted"),
            "the mistake that was planted was not found, so nothing was guided:\n{}",
            said(&found)
        );
        Ok(())
    })?;
    let targets = targets(root)?;
    ensure!(!targets.is_empty(), "{SEEDS} names no targets");
    let processors = thread::available_parallelism().map_or(1, usize::from);
    for targets in targets.chunks(processors) {
        progress.noisy_step(&format!("fuzzing {}", targets.join(", ")), || {
            thread::scope(|scope| {
                let runs: Vec<_> = targets
                    .iter()
                    .map(|target| scope.spawn(|| fuzz_for(root, &program, target, seconds)))
                    .collect();
                runs.into_iter().try_for_each(|run| {
                    run.join()
                        .unwrap_or_else(|_| bail!("a thread that fuzzes has panicked"))
                })
            })
        })?;
    }
    Ok(())
}

/// Runs one target for so many seconds, and says what came of it.
fn fuzz_for(root: &Path, program: &Path, target: &str, seconds: u32) -> Result<()> {
    let output = fuzz(root, program, target, &format!("-max_total_time={seconds}"))?;
    let said = said(&output);
    if !output.status.success() {
        bail!("an input breaks {target}:\n{said}");
    }
    let shown = Shown::read(&said);
    ensure!(
        shown.inputs > 0 && shown.reached.1 > 0,
        "{target} was not run:\n{said}"
    );
    println!(
        "{target}: {} inputs, {} places reached by the seeds, {} in the end",
        shown.inputs, shown.reached.0, shown.reached.1
    );
    Ok(())
}

/// Every target but the one with the mistake, by name.
fn targets(root: &Path) -> Result<Vec<String>> {
    let seeds = root.join(SEEDS);
    let mut targets: Vec<String> = fs::read_dir(&seeds)
        .with_context(|| format!("reading {}", seeds.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    targets.sort();
    Ok(targets)
}

fn build(root: &Path) -> Result<PathBuf> {
    let folder = paths::target(root)?.join("fuzz/build");
    let mut cargo = programs::cargo(root)?;
    cargo
        .args(["build", "--release", "--target", TARGET])
        .args(["--package", "fuzz", "--features", "libfuzzer"])
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .env("CARGO_TARGET_DIR", &folder);
    process::run_visibly(&mut cargo).context("building the targets of fuzzing")?;
    Ok(folder.join(TARGET).join("release/fuzz"))
}

/// Runs one target until it has found something or `limit` is reached.
fn fuzz(root: &Path, program: &Path, target: &str, limit: &str) -> Result<std::process::Output> {
    let folder = paths::target(root)?.join("fuzz");
    let corpus = folder.join("corpus").join(target);
    let found = folder.join("found");
    let seeds = root.join(SEEDS).join(target);
    paths::create(&corpus)?;
    paths::create(&found)?;
    let mut command = Command::new(program);
    command
        .env("FUZZ_TARGET", target)
        .arg(limit)
        .args(["-print_final_stats=1", "-timeout=20", "-rss_limit_mb=1024"])
        .arg(format!("-artifact_prefix={}/{target}-", found.display()))
        .arg(&corpus);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    command
        .output()
        .with_context(|| format!("running {}", program.display()))
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_read() {
        let said = "INFO: Seed: 1\n\
            #3\tINITED cov: 120 ft: 130 corp: 2/9b exec/s: 0 rss: 40Mb\n\
            #90\tNEW    cov: 150 ft: 160 corp: 3/12b lim: 4 exec/s: 0 rss: 41Mb\n\
            #99\tDONE   cov: 151 ft: 161 corp: 3/12b lim: 4 exec/s: 9 rss: 41Mb\n\
            stat::number_of_executed_units: 99\n";
        assert_eq!(
            Shown::read(said),
            Shown {
                inputs: 99,
                reached: (120, 151)
            }
        );
    }
}
