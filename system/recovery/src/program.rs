//! Process 1 of a recovery.

use std::convert::Infallible;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use init::boot::mount::mount_basics;
use init::command_line::CommandLine;
use init::device::module;
use init::device::uevent::{Received, UeventSocket};
use init::fatal;
use init::slots::watchdog;
use rustix::time::{ClockId, Timespec, clock_settime};
use shell::platform::Platform;
use shell::surroundings::Surroundings;
use ui::fonts::Faces;

use crate::device::{About, Edition, Product, read};
use crate::new_disk::Plan;
use crate::offer::Wanted;
use crate::screen::{self, Facts, Screen};
use crate::work::{Command, Shown, Worker};

/// The files of the system, in the initramfs.
const SYSTEM: &str = "/system";
/// In memory, as everything here is.
const FOLDER: &str = "/run";
/// How long a display is waited for.
const DISPLAY_PATIENCE: Duration = Duration::from_secs(15);

/// Runs as process 1.
pub fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("recovery is the first process of a device whose system cannot be started");
        return ExitCode::FAILURE;
    }
    match std::panic::catch_unwind(run) {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => fatal::give_up(format_args!("recovery ended: {error:#}")),
        Err(_) => fatal::give_up("recovery panicked, as is said above"),
    }
}

fn run() -> Result<Infallible> {
    mount_basics()?;
    service::log::install();
    // What reads metadata keeps some of it in files while it does.
    std::fs::create_dir_all("/tmp").context("making the folder /tmp")?;
    let text =
        std::fs::read_to_string("/proc/cmdline").context("reading the kernel command line")?;
    let limit = CommandLine::parse(&text)
        .unwrap_or_default()
        .watchdog
        .unwrap_or(watchdog::STANDARD);
    watchdog::arm(limit);
    module::load_in_order(Path::new("/modules"))?;
    let system = Path::new(SYSTEM);
    let about: About = read(&system.join("release.toml"))?;
    let product: Product = read(&system.join("product.toml"))?;
    let edition: Edition = read(&system.join("edition.toml"))?;
    set_clock(about.built);

    let (sender, commands) = mpsc::channel();
    // Heard before it is looked for the first time, so that nothing is missed.
    let events = UeventSocket::open()?;
    let (platform, screen) = show(&about, &product, &edition, sender.clone())?;
    let window = screen.handle();
    let worker = Worker {
        version: about.version,
        wanted: Wanted {
            product: product.name,
            edition: about.edition,
        },
        keys: std::fs::read(system.join("update/root.json")).context(
            "reading the keys: this image was made without any, so no release can be trusted",
        ),
        folder: FOLDER.into(),
        show: Box::new(move |shown: Shown| {
            fatal::say(screen::line(&shown));
            // Without a screen it is on the console.
            let _ = window.upgrade_in_event_loop(move |window| screen::show(&window, &shown));
        }),
        found: None,
        plan: Plan::read(&system.join("new-disk")),
        disks: Vec::new(),
        chosen: None,
    };
    thread("work", move || worker.run(&commands))?;
    sender.send(Command::Look)?;
    thread("events", move || listen(&events, &sender))?;
    let alive = slint::Timer::default();
    alive.start(slint::TimerMode::Repeated, limit / 4, move || {
        watchdog::arm(limit);
    });
    platform
        .run()
        .context("waiting for input and the display")?;
    bail!("the screen ended")
}

/// Puts the screen on the display.
fn show(
    about: &About,
    product: &Product,
    edition: &Edition,
    sender: mpsc::Sender<Command>,
) -> Result<(Platform, Rc<Screen>)> {
    let surroundings = Surroundings::from_environment();
    let found = shell::display::find::open(DISPLAY_PATIENCE).context("opening the display")?;
    let mut platform =
        Platform::new(found, surroundings.display.scale).context("making the screen")?;
    ui::fonts::register(&surroundings.fonts(), Faces::All);
    let facts = Facts {
        model: product.model.clone(),
        version: about.version.to_string(),
        development: about.development,
        language: edition.languages.first().cloned().unwrap_or_default(),
    };
    let act = move |command| {
        // The thread that works ends with the device.
        let _ = sender.send(command);
    };
    let screen = Rc::new(Screen::new(&facts, act)?);
    platform.draw();
    platform.listen_to_devices();
    let listener = Rc::clone(&screen);
    platform.on_hardware(move |event| listener.hardware(event));
    Ok((platform, screen))
}

/// A thread that runs as long as the device.
fn thread(name: &str, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let run = move || {
        if let Err(error) = work() {
            fatal::say(format_args!("recovery: {error:#}"));
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .with_context(|| format!("starting the thread {name}"))?;
    Ok(())
}

/// Has it looked again when something is plugged in.
fn listen(events: &UeventSocket, sender: &mpsc::Sender<Command>) -> Result<()> {
    loop {
        if !events.wait(Instant::now() + Duration::from_secs(3600))? {
            continue;
        }
        let mut look = false;
        while let Some(received) = events.receive()? {
            look |= match received {
                Received::Event(event) => {
                    event.get("SUBSYSTEM") == Some("block") && event.action != "remove"
                }
                Received::Lost => true,
                Received::Other => false,
            };
        }
        if look {
            sender.send(Command::Look)?;
        }
    }
}

/// A clock that stands before this recovery was built is wrong, and would have metadata believed that
/// had expired by then.
fn set_clock(built: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    if now.is_ok_and(|now| now.as_secs() >= built) {
        return;
    }
    let time = Timespec {
        tv_sec: i64::try_from(built).unwrap_or_default(),
        tv_nsec: 0,
    };
    if let Err(error) = clock_settime(ClockId::Realtime, time) {
        fatal::say(format_args!(
            "recovery: the clock could not be set: {error}"
        ));
    }
}
