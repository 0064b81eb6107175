//! `init give PROCESS FOLDER`: shows a service a backlight that came after its sandbox was made.
//!
//! A device node can be made in the `/dev` of a service from outside; a folder of `/sys` has to be
//! mounted there, from inside of its mount namespace. Process 1 has threads and cannot go there
//! itself.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use rustix::thread::LinkNameSpaceType;

use crate::device::backlight::Backlight;

/// Runs it.
pub fn main(process: &str, folder: &Path) -> ExitCode {
    match give(process, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("init give: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn give(process: &str, folder: &Path) -> Result<()> {
    let backlight =
        Backlight::at(folder).with_context(|| format!("{} is not there", folder.display()))?;
    let namespace = format!("/proc/{process}/ns/mnt");
    let namespace = File::open(&namespace).with_context(|| format!("opening {namespace}"))?;
    backlight.show(Path::new("/dev"), || {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
            .context("going to the service's files")
    })
}
