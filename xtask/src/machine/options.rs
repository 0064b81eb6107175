//! What machine to start, and from what.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Accelerator, Network};
use crate::{image::Image, product::Display, size::Size};

/// How a machine starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// As a real device does: UEFI firmware starts what is on the disk.
    Firmware,
    /// The same with secure boot, and the keys in this file of firmware variables: it starts nothing
    /// that these did not sign.
    SecureBoot(PathBuf),
    /// QEMU puts the kernel into memory. Quicker, but there is no firmware to try an update with.
    Direct {
        /// The kernel.
        kernel: PathBuf,
        /// The initramfs.
        initramfs: PathBuf,
        /// The kernel's command line.
        command_line: String,
    },
}

/// The disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// A file; what the machine writes stays.
    File(PathBuf),
    /// A file; what the machine writes is forgotten when it ends.
    Forgetful(PathBuf),
    /// A block node that [`Options::arguments`] define, by its name.
    Node(String),
}

/// Where a machine's screen is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Nowhere: pictures can be taken.
    Nothing,
    /// In a window of QEMU.
    Window,
    /// By VNC over a web socket on this machine's loopback: see [`super::Machine::web_socket`].
    WebSocket,
}

/// A machine to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its sockets, logs and pictures go. One running machine a folder.
    pub folder: PathBuf,
    /// Its disk.
    pub disk: Disk,
    /// How it starts.
    pub boot: Boot,
    /// Where its firmware keeps its variables; made when it does not exist.
    pub firmware_variables: PathBuf,
    /// Its display; none for a machine without.
    pub display: Option<Display>,
    /// Where the display is to be seen.
    pub show: Show,
    /// Its memory.
    pub memory: Size,
    /// Its processors.
    pub processors: u32,
    /// How these are emulated; none to find out.
    pub accelerator: Option<Accelerator>,
    /// What its network card is connected to.
    pub network: Network,
    /// Further arguments for QEMU.
    pub arguments: Vec<String>,
}

impl Options {
    /// The machine that `image`'s product describes, started by firmware from `disk`, not shown,
    /// with its files in `folder`.
    ///
    /// # Errors
    ///
    /// Fails when the product cannot be emulated.
    pub fn new(image: &Image, disk: &Path, folder: &Path) -> Result<Self> {
        let product = &image.product;
        let machine = product.machine.as_ref().with_context(|| {
            format!(
                "devices/{}.toml has no [machine]: this product cannot be emulated",
                product.name
            )
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            disk: Disk::File(disk.to_owned()),
            boot: Boot::Firmware,
            firmware_variables: folder.join("firmware-variables.fd"),
            display: product.display,
            show: Show::Nothing,
            memory: machine.memory,
            processors: machine.processors,
            accelerator: None,
            network: Network::Own,
            arguments: machine.arguments.clone(),
        })
    }

    /// Starts without firmware, with the kernel of `image`.
    #[must_use]
    pub fn direct(mut self, image: &Image) -> Self {
        self.boot = Boot::Direct {
            kernel: image.kernel.clone(),
            initramfs: image.initramfs.clone(),
            command_line: image.command_line.clone(),
        };
        self
    }
}
