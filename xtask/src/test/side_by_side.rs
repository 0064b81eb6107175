//! The programs that tests are built into, found and run.
//!
//! Cargo runs one after the other. Here each of a few hands takes the next one when it is done with its
//! last: a program that waits for a machine to start leaves the processors to another.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{BufRead as _, BufReader, pipe},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::Counts;
use crate::programs::{self, TARGET};

/// A program with tests in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestProgram {
    /// Its crate and itself, as in `mesh/wire`.
    pub name: String,
    /// The folder of its crate, in which it runs, as it does when cargo runs it.
    folder: PathBuf,
    file: PathBuf,
}

/// What cargo says of something that it has built, as far as it is looked at.
#[derive(Deserialize)]
struct Built {
    reason: String,
    manifest_path: PathBuf,
    target: BuiltTarget,
    profile: BuiltProfile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct BuiltTarget {
    name: String,
}

#[derive(Deserialize)]
struct BuiltProfile {
    test: bool,
}

impl TestProgram {
    /// The program that a line of cargo's messages tells of, if it tells of one with tests.
    fn from_message(line: &str) -> Option<Self> {
        // Messages of other kinds have other fields.
        let built: Built = serde_json::from_str(line).ok()?;
        if built.reason != "compiler-artifact" || !built.profile.test {
            return None;
        }
        let folder = built.manifest_path.parent()?.to_owned();
        let of = folder.file_name()?.to_str()?;
        Some(Self {
            name: format!("{of}/{}", built.target.name),
            file: built.executable?,
            folder,
        })
    }

    /// Runs it, telling each line of what it says.
    fn run(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
        mut tell: impl FnMut(&str),
    ) -> Result<bool> {
        let (output, said) = pipe().context("making a pipe")?;
        let mut command = Command::new(&self.file);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("CARGO", cargo())
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(said.try_clone().context("making a pipe")?)
            .stderr(said);
        let mut program = command
            .spawn()
            .with_context(|| format!("starting {}", self.file.display()))?;
        // It holds the ends of the pipe for writing, which would keep it from ending here.
        drop(command);
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output
            .read_until(b'\n', &mut line)
            .with_context(|| format!("reading what {} says", self.name))?
            > 0
        {
            tell(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
        let status = program
            .wait()
            .with_context(|| format!("waiting for {}", self.name))?;
        if status.code().is_none() {
            tell(&format!("it was ended: {status}"));
        }
        Ok(status.success())
    }
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Builds the tests that `selection` selects, with cargo's output on the terminal.
///
/// # Errors
///
/// Fails when they do not compile.
pub fn build(root: &Path, selection: &[&str]) -> Result<Vec<TestProgram>> {
    let mut cargo = programs::cargo(root)?
        .args(["test", "--no-run", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .args(selection)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let output = cargo.stdout.take().context("cargo has no output")?;
    let mut found = Vec::new();
    for line in BufReader::new(output).lines() {
        found.extend(TestProgram::from_message(
            &line.context("reading the messages of cargo")?,
        ));
    }
    if !cargo.wait()?.success() {
        bail!("the tests do not compile");
    }
    Ok(found)
}

/// Runs programs by `hands` at a time, in their order, and counts their tests. Every line that they say is
/// printed behind the name of who said it.
///
/// # Errors
///
/// Fails when a test does, naming the programs; not before all have run.
pub fn run(
    programs: Vec<TestProgram>,
    hands: usize,
    arguments: &[&str],
    environment: &[(&str, &str)],
    counts: &mut Counts,
) -> Result<()> {
    let waiting = Mutex::new(VecDeque::from(programs));
    // The lock is not held while it runs.
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let done = Mutex::new((&mut *counts, Vec::new()));
    thread::scope(|scope| {
        for _ in 0..hands {
            scope.spawn(|| {
                while let Some(program) = next() {
                    let mut here = Counts::default();
                    let held = program.run(arguments, environment, |line| {
                        println!("{}: {line}", program.name);
                        here.add(line);
                    });
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.0.join(here);
                    match held {
                        Ok(true) => {}
                        Ok(false) => done.1.push(program.name),
                        Err(error) => done.1.push(format!("{} ({error:#})", program.name)),
                    }
                }
            });
        }
    });
    let (_, failed) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        bail!(
            "{} of {} tests failed, in {}: the lines that begin with these names say why",
            counts.failed,
            counts.passed + counts.failed,
            failed.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn only_programs_with_tests_are_taken_from_cargo_s_messages() {
        let message = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///home#mesh@0.1.0","manifest_path":"/home/mesh/Cargo.toml","target":{{"kind":["test"],"name":"wire"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let program = TestProgram::from_message(&message(true, r#""/target/wire-1""#)).unwrap();
        assert_eq!(program.name, "mesh/wire");
        assert_eq!(program.folder, Path::new("/home/mesh"));
        for other in [
            message(false, r#""/target/mesh""#),
            message(true, "null"),
            r#"{"reason":"build-finished","success":true}"#.into(),
            "not JSON".into(),
        ] {
            assert_eq!(TestProgram::from_message(&other), None, "{other}");
        }
    }

    /// A script in the place of a program with tests.
    fn script(folder: &Path, name: &str, text: &str) -> TestProgram {
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        TestProgram {
            name: name.into(),
            folder: folder.into(),
            file,
        }
    }

    #[test]
    fn two_run_at_the_same_time_and_all_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let met = folder.path().join("met");
        assert!(Command::new("mkfifo").arg(&met).status().unwrap().success());
        let result = |failed: u32| {
            format!("echo 'test result: ok. 2 passed; {failed} failed; 0 ignored; finished in 1s'")
        };
        // Neither end of a named pipe opens without the other.
        let programs = vec![
            script(
                folder.path(),
                "one",
                &format!("echo 1 > met; {}", result(0)),
            ),
            script(folder.path(), "two", &format!("cat met; {} >&2", result(0))),
            script(folder.path(), "three", &format!("{}; exit 101", result(1))),
            script(folder.path(), "four", "kill -9 $$"),
        ];
        let mut counts = Counts::default();
        let error = run(programs, 2, &[], &[], &mut counts).unwrap_err();
        assert_eq!((counts.passed, counts.failed), (6, 1));
        let error = error.to_string();
        assert!(error.contains("three") && error.contains("four"), "{error}");
        assert!(!error.contains("one") && !error.contains("two"), "{error}");
    }
}
