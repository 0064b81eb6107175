//! `cargo xtask bench mesh`: what devices of a family cost each other, and how quick they are.
//!
//! The devices are the real programs, each in a network namespace of its own, and what is measured
//! beside them runs in the same namespaces, in the same run. All of that is in the crate of the
//! whole-system tests (`tests/src/bench_mesh`), for it drives devices as these do; this builds and
//! starts it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    host::{self, Purpose},
    process, programs,
    progress::Progress,
};

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Part {
    /// From the start of the service to a connection.
    Start,
    /// From the cable's return to a connection.
    Cable,
    /// A call, there and back.
    Call,
    /// From a copy to the paste.
    Clipboard,
    /// One large file.
    File,
    /// Many small files.
    Files,
    /// Another device's screen, seen and typed on.
    Screen,
    /// Many devices.
    Family,
}

/// What is measured, and how often.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
pub struct Arguments {
    /// Only these parts.
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
    /// Leave out scp, tar over ssh and Syncthing.
    #[arg(long)]
    pub no_peers: bool,
    /// How often the service is started; cables are pulled a fifth as often.
    #[arg(long, default_value_t = 50)]
    pub rounds: usize,
    /// How many calls, and round trips of each peer.
    #[arg(long, default_value_t = 2000)]
    pub calls: usize,
    /// The large file, in MiB.
    #[arg(long, default_value_t = 1024)]
    pub file_size: u64,
    /// How many small files.
    #[arg(long, default_value_t = 10_000)]
    pub files: usize,
    /// How often files are sent by each way; the figure is the median.
    #[arg(long, default_value_t = 3)]
    pub repeats: usize,
    /// How many devices the large family has.
    #[arg(long, default_value_t = 32)]
    pub devices: usize,
    /// For how many seconds it is watched while it is idle.
    #[arg(long, default_value_t = 60)]
    pub idle: u64,
    /// Write the table for programs too.
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Use the programs as they were last built.
    #[arg(long)]
    pub no_build: bool,
}

/// Builds what measures, and runs it.
///
/// # Errors
///
/// Fails where there may be no network namespaces, when something cannot be built, and when nothing
/// could be measured at all.
pub fn execute(root: &Path, arguments: &Arguments, yes: bool, progress: &Progress) -> Result<()> {
    let user = process::output(std::process::Command::new("id").arg("-u"))?;
    if user.trim() != "0" {
        bail!(
            "each device is in a network namespace of its own, which root alone may make: run it as root"
        );
    }
    let mut purposes = vec![Purpose::Image, Purpose::BenchMesh];
    if !arguments.no_peers {
        purposes.push(Purpose::MeshPeers);
    }
    host::ensure(&purposes, yes)?;
    if !arguments.no_build {
        progress.noisy_step("building the programs of a device", || {
            programs::build(root)
        })?;
    }
    let mut arguments = arguments.clone();
    if let Some(file) = &mut arguments.json {
        *file = std::path::absolute(&*file).context("resolving the file of --json")?;
    }
    let text = serde_json::to_string(&arguments).context("writing what is to be measured")?;
    // As the tests are built, so that no crate is built once more for this; and the devices' programs
    // are those that were just built.
    let mut command = programs::cargo(root)?;
    command
        .args(["test", "--quiet", "--release", "--target", programs::TARGET])
        .args(["--workspace", "--bench", "mesh", "--"])
        .arg(text)
        .env("HYPEROS_NO_BUILD", "1");
    process::run_visibly(&mut command)
}
