//! The peer: Debian with systemd and weston, built and started as bench/peers/weston says.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    kernel, process,
    product::{Kernel, KernelKind},
    progress::Progress,
};

/// Which kernel the peer runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerKernel {
    /// Debian's, with its initramfs.
    Debian,
    /// Ours, with the virtual terminal that weston needs, and no initramfs.
    Ours,
}

/// The peer's files.
#[derive(Clone, Debug)]
pub struct Peer {
    folder: PathBuf,
    ours: PathBuf,
}

/// What the peer's kernel command line says in every start; `norandmaps` as in our own product.
///
/// The kernel's pointer on the text console would blink, which is neither weston's doing nor ours.
pub const COMMAND_LINE: &str = "root=/dev/vda rootfstype=ext4 rw console=ttyS0 quiet loglevel=0 vt.global_cursor_default=0 norandmaps";

impl Peer {
    /// Builds what the cache does not have.
    ///
    /// # Errors
    ///
    /// Fails when a part cannot be built; the messages say why.
    pub fn build(root: &Path, ours: &Kernel, progress: &Progress) -> Result<Self> {
        let script = root.join("bench/peers/weston/build.sh");
        let folder = progress
            .noisy_step("building the peer, Debian with systemd and weston", || {
                process::output(&mut Command::new(&script))
            })?;
        let folder = PathBuf::from(folder.trim_end());
        Ok(Self {
            folder,
            ours: kernel::build(root, &with_terminal(root, ours)?, progress)?,
        })
    }

    /// Its root, a disk without partitions.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.join("root.ext4")
    }

    /// The kernel and, with Debian's, its initramfs.
    #[must_use]
    pub fn kernel(&self, kernel: PeerKernel) -> (PathBuf, Option<PathBuf>) {
        match kernel {
            PeerKernel::Debian => (
                self.folder.join("vmlinuz"),
                Some(self.folder.join("initrd.img")),
            ),
            PeerKernel::Ours => (self.ours.clone(), None),
        }
    }

    /// How large its root is in the form that ours has.
    ///
    /// # Errors
    ///
    /// Fails when the file is gone.
    pub fn root_size(&self) -> Result<u64> {
        let file = self.folder.join("root.erofs");
        Ok(fs::metadata(&file)
            .with_context(|| format!("looking at {}", file.display()))?
            .len())
    }
}

/// Our kernel's configuration with what weston needs beside: written to the cache, because a kernel is
/// made from one file.
fn with_terminal(root: &Path, ours: &Kernel) -> Result<Kernel> {
    let Some(configuration) = &ours.configuration else {
        bail!("the product has no kernel of its own to start the peer with");
    };
    let mut text = String::new();
    for part in [
        root.join(configuration),
        root.join("bench/peers/weston/kernel.config"),
    ] {
        text +=
            &fs::read_to_string(&part).with_context(|| format!("reading {}", part.display()))?;
    }
    let folder = crate::paths::cache()?.join("peers");
    crate::paths::create(&folder)?;
    let file = folder.join("kernel.config");
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(Kernel {
        kind: KernelKind::Own,
        configuration: Some(file.to_string_lossy().into_owned()),
        command_line: Vec::new(),
    })
}

/// What the peer says of itself when it is idle; see bench/peers/weston/root/usr/local/sbin/peer-figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Idle {
    /// Bytes, `MemTotal` − `MemAvailable`.
    pub memory: u64,
    /// The share of one processor that it used.
    pub processor: f64,
    /// Times a second that each program was woken.
    pub wake_ups: BTreeMap<String, f64>,
}

/// Takes lines of the peer's serial line as they come; gives the figures when all are there.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    idle: Idle,
    seconds: f64,
    wake_ups: Vec<(String, f64)>,
}

impl Figures {
    /// Takes one line.
    pub fn line(&mut self, line: &str) -> Option<Idle> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["figure", "memory", kibibytes] => {
                self.idle.memory = kibibytes.parse::<u64>().ok()? * 1024
            }
            ["figure", "processor", ticks, seconds] => {
                self.seconds = seconds.parse().ok()?;
                // A tick is 10 ms.
                self.idle.processor = ticks.parse::<f64>().ok()? / 100.0 / self.seconds;
            }
            ["figure", "program", name, _, count] => {
                self.wake_ups.push((name.to_owned(), count.parse().ok()?))
            }
            ["figure", "end"] if self.seconds > 0.0 => {
                let wake_ups = self.wake_ups.iter();
                self.idle.wake_ups = wake_ups
                    .map(|(name, count)| (name.clone(), count / self.seconds))
                    .collect();
                return Some(self.idle.clone());
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_own_figures_are_read_from_among_other_lines() {
        let mut figures = Figures::default();
        for line in [
            "[    1.0] systemd[1]: hello",
            "figure memory 194560",
            "figure processor 90 60",
            "figure program weston 60 120",
            "figure program a figure",
        ] {
            assert_eq!(figures.line(line), None, "{line}");
        }
        let idle = figures.line("figure end\r").unwrap();
        assert_eq!(idle.memory, 190 << 20);
        assert!((idle.processor - 0.015).abs() < 1e-9);
        assert_eq!(idle.wake_ups, BTreeMap::from([("weston".to_owned(), 2.0)]));
    }

    #[test]
    fn an_end_without_figures_is_none() {
        assert_eq!(Figures::default().line("figure end"), None);
    }
}
