//! The product for any machine with UEFI.

use anyhow::{Result, ensure};
use xtask::{image, machine::Machine};

use crate::shared::Shared;

/// Drivers for what QEMU shows pictures with. Without them there is only what the firmware set up.
const NATIVE_DRIVERS: &str = "module_blacklist=virtio_gpu,bochs,simpledrm";

pub fn shows_itself_without_a_driver(_: &mut Shared) -> Result<()> {
    let mut without = image::Options::default();
    without.command_line.push(NATIVE_DRIVERS.to_owned());
    let (options, mut image) = Shared::other("pc", "pc", &without)?;
    let mut machine = Machine::start(options)?;
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
