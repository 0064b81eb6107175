//! The product for any machine with UEFI.

use anyhow::{Context as _, Result, ensure};
use xtask::{
    image,
    machine::{Machine, Options},
    paths,
    product::Product,
    progress::Progress,
};

use crate::shared::Shared;

/// Drivers for what QEMU shows pictures with. Without them there is only what the firmware set up.
const NATIVE_DRIVERS: &str = "module_blacklist=virtio_gpu,bochs,simpledrm";

pub fn shows_itself_without_a_driver(_: &mut Shared) -> Result<()> {
    let root = paths::repository()?;
    let product = Product::load(&root, "pc")?;
    let folder = Shared::folder("pc")?;
    let disk = folder.join("disk.img");
    let mut options = image::Options::default();
    options.command_line.push(NATIVE_DRIVERS.to_owned());
    let mut image = image::build(&root, &product, &options, &Progress::default())
        .context("building the image for pc")?;
    image.write_disk(&disk)?;
    let mut machine = Machine::start(Options::new(&image, &disk, &folder)?)?;
    image.release();

    machine.wait_for_page("lock")?;
    let log = machine.hyper("log -n 1000 shell")?;
    ensure!(
        log.contains("/dev/fb0"),
        "the shell does not say that it draws on /dev/fb0:\n{log}"
    );
    let picture = machine.picture()?;
    ensure!(
        picture.colours(100) >= 100,
        machine.evidence(&format!(
            "the lock screen has only {} colours",
            picture.colours(100)
        ))
    );
    machine.cut_power()
}
