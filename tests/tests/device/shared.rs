//! The device that checks share, started when the first of them asks for it.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use system_tests::{phone::Phone, wire};
use xtask::{
    image::{self, Image, Variant},
    machine::{Machine, Options},
    paths,
    product::Product,
    progress::Progress,
};

/// The packets of the device, in the folder of its machine.
const CAPTURE: &str = "wire.pcap";

/// The folder of the machine, in that of what it is made from.
const MACHINE: &str = "machine";

/// The device, and what it was made from.
pub struct Shared {
    /// The folder of what it is made from.
    name: &'static str,
    phone: Option<Phone>,
    machine: Option<Machine>,
}

impl Shared {
    /// Nothing is built or started yet. What it is made from is put in a folder of that name.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            phone: None,
            machine: None,
        }
    }

    /// A folder for what a check's machines are made of, where logs and pictures stay after the tests.
    ///
    /// What an earlier run left is taken away: firmware that remembers which slot was to be started of a disk
    /// that is no more would look for it first.
    pub fn folder(name: &str) -> Result<PathBuf> {
        let folder = paths::target(&paths::repository()?)?
            .join("hyperos/tests")
            .join(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("emptying {}", folder.display()));
            }
            _ => {}
        }
        paths::create(&folder)?;
        Ok(folder)
    }

    /// What the device is made from.
    pub fn phone(&mut self) -> Result<&Phone> {
        if self.phone.is_none() {
            self.phone = Some(Phone::new(&Self::folder(self.name)?).context("building the phone")?);
        }
        self.phone.as_ref().context("the phone was just built")
    }

    /// The running device, started by its firmware if it is not running.
    pub fn machine(&mut self) -> Result<&mut Machine> {
        let running = match &mut self.machine {
            Some(machine) => machine.is_running()?,
            None => false,
        };
        if !running {
            let phone = self.phone()?;
            let folder = phone.disk.with_file_name(MACHINE);
            paths::create(&folder)?;
            let mut options = Options::new(&phone.image, &phone.disk, &folder)?;
            options
                .arguments
                .extend(wire::arguments("network", CAPTURE));
            self.machine = Some(Machine::start(options)?);
        }
        self.machine
            .as_mut()
            .context("the machine was just started")
    }

    /// Where QEMU keeps every packet that passed the network card of the running device, from its
    /// power-on.
    pub fn capture(&mut self) -> Result<PathBuf> {
        Ok(self.machine()?.options().folder.join(CAPTURE))
    }

    /// Ends the sharing of the running device: it belongs to the caller, and the next check starts
    /// another one.
    pub fn take_machine(&mut self) -> Result<Machine> {
        self.machine()?;
        self.machine.take().context("the machine was just started")
    }

    /// The options of a machine of another product, with a disk that nobody has used, in a folder of that name.
    /// Others may build the product's image anew once the image that is answered is released.
    pub fn other(product: &str, name: &str, options: &image::Options) -> Result<(Options, Image)> {
        let root = paths::repository()?;
        let product = Product::load(&root, product)?;
        let folder = Self::folder(name)?;
        let disk = folder.join("disk.img");
        let image = image::build(&root, &product, options, &Progress::default())
            .with_context(|| format!("building the image for {}", product.name))?;
        image.write_disk(&disk)?;
        Ok((Options::new(&image, &disk, &folder)?, image))
    }

    /// The options of a machine of a check's own: a copy of the unused disk, started without
    /// firmware, and never again once it has ended.
    pub fn own(&mut self, name: &str) -> Result<(Options, PathBuf)> {
        let folder = Self::folder(name)?;
        let phone = self.phone()?;
        let disk = folder.join("disk.img");
        phone.image.write_disk(&disk)?;
        Ok((alone(&phone.image, &disk, &folder)?, disk))
    }

    /// The options of a machine of a check's own as [`Shared::own`], with some files that are not
    /// the product's.
    pub fn own_with_files(
        &mut self,
        name: &str,
        files: Vec<(PathBuf, Vec<u8>)>,
    ) -> Result<(Options, PathBuf)> {
        // It uses the programs as the product's image has them.
        self.phone()?;
        let folder = Self::folder(name)?;
        let variant = Variant {
            name: name.to_owned(),
            files,
        };
        let phone = Phone::with_files(&folder, variant).context("building the phone")?;
        Ok((alone(&phone.image, &phone.disk, &folder)?, phone.disk))
    }
}

fn alone(image: &Image, disk: &Path, folder: &Path) -> Result<Options> {
    let mut options = Options::new(image, disk, folder)?.direct(image);
    options.arguments.push("-no-reboot".to_owned());
    Ok(options)
}
