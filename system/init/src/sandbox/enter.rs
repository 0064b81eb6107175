//! `init enter`: the process between process 1 and a service.
//!
//! It begins in the namespaces that it was made in, carries out its [`Plan`] on itself and becomes
//! the service. Its descriptors are, from 3 on, the service's sockets, then the plan, then a pipe
//! that closes when the service's program runs and that carries the reason when it cannot.
//!
//! # Where the time of a start goes
//!
//! Process 1 and this process say it in the log, at the level of details. In emulation (TCG), from
//! the making of the process to the first answer of `settings` as process 1 sees it, five starts
//! each, on a machine that was not quiet:
//!
//! - 580 to 1300 ms, while services were held to their share of the processor during a start. It is
//!   handed out by tenths of a second, and a start used it up; now they are held to it only once
//!   they have answered: 140 to 275 ms.
//! - 30 to 92 ms with programs at fixed addresses, 26 to 55 ms (on a quieter machine) with the
//!   kernel's `norandmaps`. The likely reason is that QEMU finds again what it has translated only
//!   at the same virtual address; on hardware nothing of that is to be expected.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, Signal};

use super::Plan;

/// The first of the service's sockets.
pub const FIRST_SOCKET: RawFd = 3;

/// Runs `init enter SOCKETS`.
pub fn main(sockets: &str) -> ExitCode {
    let Ok(sockets) = sockets.parse::<u8>() else {
        eprintln!("init enter: `{sockets}` is not a number of sockets");
        return ExitCode::from(2);
    };
    let plan = FIRST_SOCKET + RawFd::from(sockets);
    // SAFETY: process 1 made this process with these two descriptors and nothing has taken them;
    // this is the only place that does. Whoever runs `init enter` by hand gets an error on reading.
    let (plan, mut status) = unsafe { (File::from(owned(plan)), File::from(owned(plan + 1))) };
    let Err(error) = run(plan, sockets, &status);
    let _ = write!(status, "{error:#}");
    ExitCode::from(125)
}

/// # Safety
/// The descriptor must be open and belong to nobody else.
unsafe fn owned(descriptor: RawFd) -> OwnedFd {
    // SAFETY: that is what the caller promises.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn run(mut plan: File, sockets: u8, status: &File) -> Result<Infallible> {
    let mut steps = Steps::begin();
    let mut text = String::new();
    plan.read_to_string(&mut text)
        .context("reading the plan of the sandbox")?;
    drop(plan);
    let plan: Plan = toml::from_str(&text).context("reading the plan of the sandbox")?;
    rustix::io::fcntl_setfd(status, rustix::io::FdFlags::CLOEXEC)
        .context("keeping the status pipe")?;
    steps.done("plan");
    become_service(&plan, sockets, steps)
}

fn become_service(plan: &Plan, sockets: u8, mut steps: Steps) -> Result<Infallible> {
    // A service is in a session of its own, out of reach of a terminal's signals.
    let _ = rustix::process::setsid();
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, 4096)?;
    if let Some(files) = &plan.files {
        files.enter(plan.devices.iter().copied())?;
    }
    steps.done("files");
    if let Some(user) = plan.user {
        super::rights::become_user(user, &plan.devices, &plan.capabilities)?;
    }
    steps.done("power");
    if plan.end_with_parent {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
            .context("asking to end with the layer")?;
    }
    rustix::process::chdir(&plan.data)
        .with_context(|| format!("going to {}", plan.data.display()))?;
    rustix::thread::set_no_new_privs(true).context("giving up ever gaining power")?;
    if let Some(paths) = &plan.landlock {
        paths.restrict()?;
    }
    steps.done("Landlock");
    let mut command = Command::new(&plan.program);
    command
        .args(&plan.arguments)
        .env_clear()
        .envs(plan.environment.iter().map(|(key, value)| (key, value)))
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", sockets.to_string());
    if let Some(calls) = plan.calls {
        calls.restrict()?;
    }
    steps.done("system calls");
    // Process 1 takes it into the log as a detail.
    eprintln!("<7>sandbox made:{}", steps.text);
    Err(command.exec()).with_context(|| format!("running {}", plan.program.display()))
}

/// How long each step took.
struct Steps {
    last: Instant,
    text: String,
}

impl Steps {
    fn begin() -> Self {
        Self {
            last: Instant::now(),
            text: String::new(),
        }
    }

    fn done(&mut self, step: &str) {
        let now = Instant::now();
        let took = now.duration_since(self.last);
        self.text += &format!(" {step} {took:.1?}");
        self.last = now;
    }
}

fn limit(resource: Resource, most: u64) -> Result<()> {
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.map_or(most, |maximum| maximum.min(most));
    rustix::process::setrlimit(
        resource,
        Rlimit {
            current: Some(most),
            maximum: Some(most),
        },
    )
    .with_context(|| format!("limiting {resource:?}"))
}
