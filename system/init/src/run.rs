//! Running the services: on a device as process 1, or as a layer on another system.

use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use rustix::system::RebootCommand;

use crate::boot;
use crate::command_line::CommandLine;
use crate::device::power_button;
use crate::device::uevent::UeventSocket;
use crate::fatal;
use crate::interfaces::{self, Facts, Sockets};
use crate::log::trace::ToLog;
use crate::log::{Level, Log};
use crate::sandbox::Place;
use crate::slots::{Slots, watchdog};
use crate::system::{End, Message, Request, SharedLog, System};

/// Process 1 on the root of a device: everything from the first mount to power-off.
///
/// # Errors
/// When something is missing without which no service can run.
pub fn device() -> Result<Infallible> {
    let place = Place::device();
    let log = SharedLog::new(Log::new(false));
    boot::root::prepare(&boot::root::host_name(&place.system))?;
    // From here on every device that appears is heard of.
    let events = UeventSocket::open()?;
    let text = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let line = CommandLine::parse(&text).unwrap_or_default();
    let problem = boot::data::mount_data(&events, &log)?;
    if let Some(problem) = &problem {
        log.say(
            Level::Error,
            format!("/data is in memory and will be lost: {problem}"),
        );
        fatal::say(format_args!(
            "/data is in memory and will be lost: {problem}"
        ));
    }
    let end = run(
        place,
        // This very file, wherever it came from: it is in memory, and has no name any more.
        "/proc/self/exe".into(),
        log.clone(),
        line,
        Some(events),
        problem,
    )?;
    log.lock().close();
    turn_off(end)
}

/// The services of a folder, as an ordinary user on any Linux.
///
/// # Errors
/// When the folders cannot be read or made.
pub fn layer(system: &Path, data: &Path, run_folder: &Path) -> Result<()> {
    let make = |folder: &Path| {
        std::fs::create_dir_all(folder)
            .and_then(|()| folder.canonicalize())
            .with_context(|| format!("making the folder {}", folder.display()))
    };
    let place = Place {
        system: system
            .canonicalize()
            .with_context(|| format!("looking for the system in {}", system.display()))?,
        data: make(data)?,
        run: make(run_folder)?,
        layer: true,
    };
    // Held for as long as this process is there.
    let _lock = lock(&place.run.join("lock"))?;
    let log = SharedLog::new(Log::new(true));
    let folder = place.data.join("log");
    log.lock()
        .keep_in(&folder)
        .with_context(|| format!("keeping the log in {}", folder.display()))?;
    // What a service leaves behind comes to this process, as it would to process 1.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let program = std::env::current_exe().context("finding this program")?;
    let line = CommandLine::default();
    run(place, program, log.clone(), line, None, None)?;
    log.lock().close();
    Ok(())
}

/// Keeps a second layer out of the folders of the first.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "a layer runs there already ({} is locked): end it first",
            path.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

fn run(
    place: Place,
    program: PathBuf,
    log: SharedLog,
    line: CommandLine,
    events: Option<UeventSocket>,
    problem: Option<String>,
) -> Result<End> {
    // The first that is set counts; there is no other here.
    let _ = tracing::subscriber::set_global_default(ToLog(log.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("making the loop of process 1")?;
    runtime.block_on(async {
        let device = !place.layer;
        let mut system = System::new(place.clone(), program, log.clone())?;
        let sockets = Sockets::open(&place)?;
        // From here on the screen is on its way, and the rest is done beside it.
        let begun = system.begin()?;
        let slots = Slots::new(&place, &line, log.clone());
        let facts = Facts::read(&place, line.slot, &log);
        interfaces::serve(&place, sockets, facts, slots.clone(), system.sender(), &log)?;
        if device {
            if let Err(error) = log.lock().keep_in(&place.data.join("log")) {
                fatal::say(format_args!("the log is kept in memory only: {error}"));
            }
            if let Err(error) = system.read_kernel() {
                log.say(Level::Error, format!("{error:#}"));
            }
            let sender = system.sender();
            tokio::spawn(power_button::listen(move || {
                let _ = sender.send(Message::Request(Request::PowerButton));
            }));
        }
        if device {
            tokio::spawn(watchdog::keep(watchdog::STANDARD, log.clone()));
            tokio::spawn(slots.confirm(
                place.clone(),
                problem.clone(),
                interfaces::Loop(system.sender()),
                system.sender(),
            ));
        }
        if let Some(problem) = problem {
            tokio::spawn(notify_of_lost_data(place.bus(), problem));
        }
        system.run(begun, events).await
    })
}

/// Tells the owner, as soon as there is a screen, that nothing will be kept.
async fn notify_of_lost_data(bus: PathBuf, problem: String) {
    let client = bus::Client::new(bus::Address::Here(bus))
        .with_deadline(std::time::Duration::from_secs(120));
    let mut text = format!(
        "Storage cannot be used; what you change is lost when the device turns off. {problem}"
    );
    text.truncate(text.floor_char_boundary(500));
    let notification = bus::notify::Notification {
        title: "Nothing is being kept".into(),
        text,
        importance: bus::notify::Importance::Urgent,
        tag: Some("data".into()),
    };
    if let Err(error) = bus::notify::post(&client, &notification).await {
        tracing::warn!("the owner could not be told that /data is in memory: {error}");
    }
}

/// Leaves storage clean and turns the device off or on again.
fn turn_off(end: End) -> Result<Infallible> {
    watchdog::allow_for_the_end();
    // Whatever still runs was left behind by a service, or is stuck.
    let _ = rustix::process::kill_process_group(rustix::process::Pid::INIT, Signal::KILL);
    rustix::fs::sync();
    if let Err(error) =
        rustix::mount::unmount(boot::data::FOLDER, rustix::mount::UnmountFlags::empty())
    {
        // Somebody holds a file open. Read-only is as clean as unmounted.
        let flags = rustix::mount::MountFlags::RDONLY;
        if let Err(second) = rustix::mount::mount_remount(boot::data::FOLDER, flags, "") {
            fatal::say(format_args!(
                "/data could not be unmounted ({error}) or made read-only ({second})"
            ));
        }
    }
    rustix::fs::sync();
    let (command, word) = match end {
        End::PowerOff => (RebootCommand::PowerOff, "turning off"),
        End::Restart => (RebootCommand::Restart, "restarting"),
    };
    fatal::say(word);
    rustix::system::reboot(command).with_context(|| format!("{word} the device"))?;
    // The kernel turns off before this; if it could not, process 1 must not end.
    loop {
        std::thread::park();
    }
}
