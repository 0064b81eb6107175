//! The story of two devices that become one family: a phone that is touched, and a television that is
//! worked by keys.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use xtask::{
    image,
    machine::{LIMIT, Machine, Network, Options, Picture, SharedNetwork},
    paths,
    product::Product,
    progress::Progress,
};

use crate::{
    shared::Shared,
    story,
    walk::{BACK, Place, Walk},
};

/// The rows of Settings, of Devices and of what comes behind them, on the phone.
const SETTINGS: Place = (66.0, 734.0);
const DEVICES: Place = (150.0, 433.0);

pub fn two_devices_become_one_family_and_act_as_one(phone: &mut Shared) -> Result<()> {
    let network = SharedNetwork::start(2)?;
    let mut ports = network.ports().map(Network::Shared);
    let (mut options, _) = phone.own("family-phone")?;
    options.network = ports.next().context("a port for the phone")?;
    let mut phone = Machine::start(options)?;
    let mut tv = television(ports.next().context("a port for the television")?)?;
    phone.wait_for_page("lock")?;
    tv.wait_for_page("lock")?;
    Ok(())
}

/// A television of nobody's yet.
fn television(network: Network) -> Result<Machine> {
    let root = paths::repository()?;
    let product = Product::load(&root, "qemu-tv")?;
    let folder = Shared::folder("family-television")?;
    let disk = folder.join("disk.img");
    let options = image::Options::default();
    let mut image = image::build(&root, &product, &options, &Progress::default())
        .context("building the image of the television")?;
    image.write_disk(&disk)?;
    let mut options = Options::new(&image, &disk, &folder)?.direct(&image);
    options.network = network;
    let machine = Machine::start(options)?;
    image.release();
    Ok(machine)
}
