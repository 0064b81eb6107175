//! `cargo xtask run`: build the system, start devices, show them.
//!
//! A running device's files are in `target/hyperos/NAME/run`, where `console`, `log` and `shot`
//! find it. What it stores is on `target/hyperos/NAME/disk.img` and stays; the system on that disk
//! is brought up to date with each run. Devices that are started together share a network.

mod attach;
mod device;
mod page;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

pub use self::{
    attach::{console, log, shot},
    device::folder,
};
use self::{
    device::{Device, wait_until_up},
    page::{Page, Screen},
};
use crate::{
    host::{self, Purpose},
    image,
    machine::{Accelerator, Console, Machine, Network, SharedNetwork, Show},
    paths,
    product::Product,
    progress::Progress,
};

/// The device that commands mean when none is named.
const DEFAULT: &str = "qemu-phone";

/// How long a device has to shut down after Ctrl-C.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// A first screen that has not changed for so long has been told by the services all that it shows.
const SETTLED: Duration = Duration::from_secs(2);

/// How long a device may take to light its screen for who opens the page.
const WAKE: Duration = Duration::from_secs(10);

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// How the image is made.
    pub image: image::Options,
    /// Forget what the device has stored.
    pub fresh: bool,
    /// Start without firmware.
    pub direct: bool,
    /// Show it in a window of its own.
    pub window: bool,
    /// Show it nowhere.
    pub headless: bool,
    /// Take a picture when the device is up, and end.
    pub shot: Option<PathBuf>,
    /// Install missing packages without asking.
    pub yes: bool,
}

/// Builds and runs devices until all have ended or Ctrl-C is pressed.
///
/// # Errors
///
/// Fails when one cannot be built or started, and when one does not shut down in order.
pub fn run(
    root: &Path,
    products: &[Product],
    request: &Request,
    progress: &Progress,
) -> Result<()> {
    if request.shot.is_some() && products.len() != 1 {
        bail!("--shot takes a picture of one device: name one, or use `cargo xtask shot` on each");
    }
    let show = match request {
        Request { window: true, .. } => Show::Window,
        Request { headless: true, .. } | Request { shot: Some(_), .. } => Show::Nothing,
        _ => Show::WebSocket,
    };
    let mut purposes = vec![Purpose::Image, Purpose::Run];
    if show == Show::Window {
        purposes.push(Purpose::Window);
    }
    host::ensure(&purposes, request.yes)?;

    let mut devices = products
        .iter()
        .map(|product| Device::prepare(root, product, request, progress))
        .collect::<Result<Vec<_>>>()?;
    let accelerator = progress.step("looking whether KVM works", accelerator)?;
    progress.summary("built");

    let stop = stop_on_signals()?;
    let shared = match devices.len() {
        1 => None,
        count => {
            let count = u8::try_from(count).context("so many devices on one network")?;
            Some(SharedNetwork::start(count)?)
        }
    };
    let networks: Vec<Network> = match &shared {
        None => vec![Network::Own],
        Some(shared) => shared.ports().map(Network::Shared).collect(),
    };
    let mut machines = devices
        .iter_mut()
        .zip(networks)
        .map(|(device, network)| device.start(request, show, accelerator, network))
        .collect::<Result<Vec<Machine>>>()?;
    let mut up = true;
    for (device, machine) in devices.iter().zip(&mut machines) {
        up &= progress.step(&format!("starting {}", device.product().model), || {
            wait_until_up(machine, &stop)
        })?;
        // Others may have the console now.
        machine.console().disconnect();
    }
    if up {
        if let Some(path) = &request.shot {
            machines[0].still_picture(SETTLED)?.save(path)?;
            println!("The picture is {}", path.display());
        } else {
            for (device, machine) in devices.iter().zip(&machines) {
                device.describe(machine, accelerator);
            }
            println!("  Ctrl-C                shuts down");
            let _page = match show {
                Show::WebSocket => Some(show_page(&devices, &mut machines)?),
                _ => None,
            };
            while is_any_running(&mut machines)? && !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
    if is_any_running(&mut machines)? {
        progress.step("shutting down", || shut_down(&mut machines))?;
    }
    Ok(())
}

fn is_any_running(machines: &mut [Machine]) -> Result<bool> {
    for machine in machines {
        if machine.is_running()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Shuts all down, side by side.
fn shut_down(machines: &mut [Machine]) -> Result<()> {
    thread::scope(|scope| {
        let ends: Vec<_> = machines
            .iter_mut()
            .map(|machine| {
                scope.spawn(|| match machine.is_running()? {
                    true => machine.shut_down(SHUTDOWN),
                    false => Ok(()),
                })
            })
            .collect();
        // All are waited for, whatever becomes of one.
        ends.into_iter()
            .map(|end| end.join().expect("shutting down does not panic"))
            .fold(Ok(()), Result::and)
    })
}

/// What was found the last time since this machine was started, or else what is found now.
///
/// # Errors
///
/// Fails when QEMU cannot be started.
pub fn accelerator() -> Result<Accelerator> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let path = paths::cache()?.join("accelerator");
    let known = fs::read_to_string(&path).unwrap_or_default();
    for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
        if known == format!("{}{accelerator:?}\n", boot) {
            return Ok(accelerator);
        }
    }
    let accelerator = Accelerator::probe()?;
    fs::write(&path, format!("{}{accelerator:?}\n", boot))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(accelerator)
}

fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("preparing for Ctrl-C")?;
    }
    Ok(stop)
}

fn show_page(devices: &[Device], machines: &mut [Machine]) -> Result<Page> {
    let screens = devices
        .iter()
        .zip(&mut *machines)
        .filter_map(|(device, machine)| {
            let display = device.product().display?;
            Some(machine.web_socket().map(|port| Screen {
                title: device.product().model.clone(),
                width: display.width,
                height: display.height,
                port,
            }))
        })
        .collect::<Result<Vec<_>>>()?;
    if screens.is_empty() {
        bail!("none of the devices has a display to show");
    }
    // Who opens the page wants to see something, and the screens may have gone off meanwhile. A
    // device whose console somebody else has is left as it is.
    let folders: Vec<_> = machines
        .iter()
        .map(|machine| machine.options().folder.clone())
        .collect();
    let wake = move || {
        for folder in &folders {
            let _ = Console::new(folder).run("call screen.power true", WAKE);
        }
    };
    let page = Page::serve(&screens, wake)?;
    println!("\nSee and touch it here: {}\n", page.address());
    Ok(page)
}
