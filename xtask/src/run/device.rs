//! One device that is run: its image, its disk, its machine.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::Request;
use crate::{
    image::{self, Image},
    machine::{self, Accelerator, Console, Machine, Network, Options, Picture, Show},
    paths,
    product::Product,
    progress::Progress,
};

/// A device whose disk is ready.
pub(super) struct Device {
    image: Image,
    disk: PathBuf,
    folder: PathBuf,
    variables: PathBuf,
    /// Keeps others from using the disk.
    _lock: File,
}

impl Device {
    /// Builds the image of `product` and brings its disk up to date.
    pub(super) fn prepare(
        root: &Path,
        product: &Product,
        request: &Request,
        progress: &Progress,
    ) -> Result<Self> {
        let lock = lock(root, product)?;
        let image = image::build(root, product, &request.image, progress)?;
        let disk = image.folder.join("disk.img");
        let folder = folder(root, &product.name)?;
        let variables = image.folder.join("firmware-variables.fd");
        if request.fresh {
            for file in [&disk, &variables] {
                if file.exists() {
                    fs::remove_file(file)
                        .with_context(|| format!("removing {}", file.display()))?;
                }
            }
        }
        progress.step("bringing the disk up to date", || image.update_disk(&disk))?;
        Ok(Self {
            image,
            disk,
            folder,
            variables,
            _lock: lock,
        })
    }

    /// What it is.
    pub(super) fn product(&self) -> &Product {
        &self.image.product
    }

    /// Gives it power.
    pub(super) fn start(
        &mut self,
        request: &Request,
        show: Show,
        accelerator: Accelerator,
        network: Network,
    ) -> Result<Machine> {
        let mut options = Options::new(&self.image, &self.disk, &self.folder)?;
        options.firmware_variables.clone_from(&self.variables);
        options.show = show;
        options.accelerator = Some(accelerator);
        options.network = network;
        if request.direct {
            options = options.direct(&self.image);
        }
        let machine = Machine::start(options)?;
        self.image.release();
        Ok(machine)
    }

    /// Says what runs.
    pub(super) fn describe(&self, machine: &Machine, accelerator: Accelerator) {
        let kernel = if self.image.own_kernel {
            "its own kernel"
        } else {
            "Debian's kernel"
        };
        let by = match accelerator {
            Accelerator::Kvm => "by KVM",
            Accelerator::Tcg => "by translation (KVM does not work here)",
        };
        let product = self.product();
        let option = if product.name == super::DEFAULT {
            String::new()
        } else {
            format!(" --device {}", product.name)
        };
        println!("{} runs: {kernel}, emulated {by}.", product.model);
        println!("  cargo xtask console{option}   a terminal on it");
        println!(
            "  cargo xtask log{option}       what it says ({})",
            machine.serial_path().display()
        );
    }
}

/// Where the running device of a product has its files.
///
/// # Errors
///
/// Fails when the folder cannot be made.
pub fn folder(root: &Path, product: &str) -> Result<PathBuf> {
    let folder = paths::output(root, product)?.join("run");
    paths::create(&folder)?;
    Ok(folder)
}

/// Keeps two runs from using one disk.
fn lock(root: &Path, product: &Product) -> Result<File> {
    let path = paths::output(root, &product.name)?.join("lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "{} is running already: end it first (Ctrl-C where it was started)",
            product.model
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// Waits until the device shows its first screen: it is asked over its console, and where it has
/// none the screen itself is watched until it has been drawn and stays. False when stopped before.
pub(super) fn wait_until_up(machine: &mut Machine, stop: &AtomicBool) -> Result<bool> {
    if machine.options().display.is_none() {
        return Ok(true);
    }
    // A first try of its own on the console: its answer comes when the console is there, so nothing
    // has to be asked twice.
    let console = Console::new(&machine.options().folder);
    let (answered, answer) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut console = console;
        // Ends with the machine, or when nobody is left to tell.
        while let Ok(result) = console.run("call screen.status", machine::LIMIT) {
            if result.code == 0 && answered.send(()).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    let begin = Instant::now();
    let mut last: Option<(Instant, Picture)> = None;
    let up = machine.wait_for("the first screen", |machine| {
        if answer.try_recv().is_ok() {
            return Ok(Some(true));
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Some(false));
        }
        // A picture costs the machine something: not more than one a second, and not at first.
        if begin.elapsed() > Duration::from_secs(30)
            && last
                .as_ref()
                .is_none_or(|(time, _)| time.elapsed() > Duration::from_secs(1))
        {
            let picture = machine.picture()?;
            let drawn = picture.colours(100) >= 100;
            if drawn && last.as_ref().is_some_and(|(_, before)| *before == picture) {
                return Ok(Some(true));
            }
            last = Some((Instant::now(), picture));
        }
        Ok(None)
    })?;
    Ok(up)
}
