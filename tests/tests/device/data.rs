//! The data partition of a device, seen and changed from the host.

use std::{fs::File, os::unix::fs::FileExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use system_tests::power_cut::filesystem;
use xtask::{
    image::{Image, partitions::Partition},
    machine::Machine,
    process,
};

/// Where Debian keeps the tools of ext4, which an ordinary user has not in the path.
const TOOLS: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// The data partition of a disk.
pub struct Data {
    disk: PathBuf,
    partition: Partition,
}

impl Data {
    /// That of a disk of `image`.
    pub fn new(image: &Image, disk: PathBuf) -> Self {
        Self {
            partition: image.layout.partition("data").clone(),
            disk,
        }
    }

    fn name(&self) -> String {
        format!("{}?offset={}", self.disk.display(), self.partition.offset)
    }

    /// What `debugfs` answers to a request.
    pub fn ask(&self, request: &str) -> Result<String> {
        process::output(
            Command::new("debugfs")
                .args(["-R", request])
                .arg(self.name())
                .env("PATH", TOOLS),
        )
    }

    /// Has `debugfs` change something.
    fn change(&self, request: &str) -> Result<()> {
        process::output(
            Command::new("debugfs")
                .args(["-w", "-R", request])
                .arg(self.name())
                .env("PATH", TOOLS),
        )
        .map(drop)
    }

    /// The partition as it would be if the power failed now: a copy, recovered
    /// as the device would at its next start.
    pub fn as_after_power_cut(&self, machine: &mut Machine) -> Result<Self> {
        let copy = self.disk.with_extension("cut");
        // Nothing is written to the disk while it is copied.
        machine.qmp().execute("stop", json!({}))?;
        let copied = filesystem::take_out(&self.disk, &self.partition, &copy);
        machine.qmp().execute("cont", json!({}))?;
        copied?;
        filesystem::recover(&copy)?;
        let mut partition = self.partition.clone();
        partition.offset = 0;
        Ok(Self {
            disk: copy,
            partition,
        })
    }

    /// A number of the superblock, by its name.
    fn superblock(&self, name: &str) -> Result<u64> {
        let superblock = process::output(
            Command::new("dumpe2fs")
                .arg("-h")
                .arg(self.name())
                .env("PATH", TOOLS),
        )?;
        superblock
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(':')?
                    .trim()
                    .parse()
                    .ok()
            })
            .with_context(|| format!("the superblock has no {name:?}"))
    }

    /// Lets one file take every free block.
    pub fn fill(&self) -> Result<()> {
        self.change("write /dev/null filler")?;
        let blocks = self.superblock("Free blocks")?;
        // It takes what there is and then says that this was less than asked for, since some of
        // it describes where the rest is.
        self.change(&format!("fallocate filler 0 {blocks}"))?;
        let left = self.superblock("Free blocks")?;
        ensure!(left == 0, "{left} blocks are still free");
        Ok(())
    }

    /// Flips a bit in the middle of a file, as a bad disk would: without a trace in the file
    /// system.
    pub fn flip(&self, path: &str) -> Result<()> {
        let blocks = self.ask(&format!("blocks {path}"))?;
        let block: u64 = blocks
            .split_whitespace()
            .next()
            .with_context(|| format!("{path} has no blocks"))?
            .parse()
            .with_context(|| format!("debugfs says of the blocks of {path}: {blocks}"))?;
        let stat = self.ask(&format!("stat {path}"))?;
        let size = crate::story::number_after(&stat, "Size:")
            .with_context(|| format!("debugfs does not say how large {path} is: {stat}"))?;
        let offset = self.partition.offset + block * self.superblock("Block size")? + size / 2;
        let file = File::options()
            .read(true)
            .write(true)
            .open(&self.disk)
            .with_context(|| format!("opening {}", self.disk.display()))?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset)?;
        byte[0] ^= 1;
        file.write_all_at(&byte, offset)?;
        Ok(())
    }

    /// The names in a folder.
    pub fn names(&self, folder: &str) -> Result<Vec<String>> {
        // Each is a line of fields between slashes, of which the fifth is the name.
        Ok(self
            .ask(&format!("ls -p {folder}"))?
            .lines()
            .filter_map(|line| line.split('/').nth(5).map(str::to_owned))
            .filter(|name| !name.is_empty() && name != "." && name != "..")
            .collect())
    }
}
