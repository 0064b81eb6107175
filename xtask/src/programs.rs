//! Builds our programs as they run on a device: static, optimised, without the paths of this
//! machine in them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{paths, process};

/// The programs of a device; each is a crate of the same name.
pub const PROGRAMS: [&str; 3] = ["init", "shell", "hyper"];

/// The program of the recovery, which is not on the root.
pub const RECOVERY: &str = "recovery";

/// A program's crate, as cargo is told of it. A crate that ours depend on is called `hyper` too, so its
/// version is said, which all of ours share.
pub fn package(program: &str) -> String {
    format!("{program}@{}", env!("CARGO_PKG_VERSION"))
}

/// What devices run.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Seconds since 1970 that stand for the build's time wherever one is written.
pub const SOURCE_DATE_EPOCH: &str = "1767225600";

/// Cargo, set up to build for a device.
///
/// The target is named though it is this machine's own, so that `+crt-static` is not applied to
/// procedural macros, which are loaded as shared libraries.
///
/// # Errors
///
/// Fails when the target folder is not known.
pub fn cargo(root: &Path) -> Result<Command> {
    let home = env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let target = paths::target(root)?;
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=/cargo", home.display()),
        format!("--remap-path-prefix={}=/target", target.display()),
    ];
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What an outer cargo says of its own package: build scripts that watch these (ring's does) would
    // run again, and all above them be built again, whenever the outer package is another.
    for (name, _) in env::vars_os() {
        let of_a_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if of_a_package {
            command.env_remove(name);
        }
    }
    command
        .current_dir(root)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_TARGET_DIR", target)
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH);
    Ok(command)
}

/// Builds the programs of a device and returns the folder that they are in.
///
/// # Errors
///
/// Fails when they do not compile.
pub fn build(root: &Path) -> Result<PathBuf> {
    build_with(root, &[])
}

/// Builds the programs of a device with features such as `hyper/fault-no-file-sync`, for tests of
/// what goes wrong. They take the place of the product's, until these are built again.
///
/// # Errors
///
/// Fails when they do not compile.
pub fn build_with(root: &Path, features: &[&str]) -> Result<PathBuf> {
    process::run_visibly(&mut build_command(root, features)?)
        .context("building the programs of the device")?;
    built(root)
}

/// The command that builds the programs of a device.
///
/// # Errors
///
/// Fails when the target folder is not known.
pub fn build_command(root: &Path, features: &[&str]) -> Result<Command> {
    let mut command = cargo(root)?;
    command.args(["build", "--release", "--target", TARGET]);
    for program in PROGRAMS.into_iter().chain([RECOVERY]) {
        command.args(["--package", &package(program)]);
    }
    command.arg("--bins");
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    Ok(command)
}

/// The folder with the programs as they were last built.
///
/// # Errors
///
/// Fails when one has never been built.
pub fn built(root: &Path) -> Result<PathBuf> {
    let folder = paths::target(root)?.join(TARGET).join("release");
    for program in PROGRAMS.into_iter().chain([RECOVERY]) {
        if !folder.join(program).is_file() {
            bail!(
                "{} has not been built: leave --no-build away",
                folder.join(program).display()
            );
        }
    }
    Ok(folder)
}
