//! What a person can ask for.

mod api;
mod clipboard;
mod device;
mod family;
mod grants;
mod paper;
mod probe;
mod services;
mod settings;
mod transfer;
mod update;

use std::io::Write;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use clap::{Parser, Subcommand};

use crate::attempt;

/// A command line.
#[derive(Debug, Parser)]
#[command(
    name = "hyper",
    about = "See and steer this device",
    version,
    disable_help_subcommand = true
)]
pub struct Line {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the interfaces of this system, or one with its documentation
    Api {
        /// Such as `settings`, or in full `hyper:settings/settings@1.0.0`
        interface: Option<String>,
    },
    /// Call a function of an interface, here or on another device of the family
    Call {
        /// Such as `settings.get`; or the device, by its name or id, and the function behind it
        function: String,
        /// Values in WAVE, such as `text("blue")`; the quotes of a plain text may be left out
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
        /// Call it so often, one after the other, and print how long a call takes
        #[arg(long, value_name = "NUMBER")]
        times: Option<u32>,
    },
    /// List the services with what they use, or one with its sandbox
    Services {
        /// The service
        name: Option<String>,
    },
    /// Start a service
    Start {
        /// The service
        name: String,
    },
    /// Stop a service
    Stop {
        /// The service
        name: String,
    },
    /// Ask the service behind an interface whether it can do its work
    Health {
        /// Such as `settings`
        interface: String,
    },
    /// Send a signal to a service (development images only)
    Kill {
        /// The service
        name: String,
        /// The signal's number in the kernel: 9 kills, 19 hangs
        #[arg(long, default_value_t = 9)]
        signal: i32,
        /// Wait until the service behind this interface answers again, and say how long that took
        #[arg(long, value_name = "INTERFACE")]
        until: Option<String>,
    },
    /// Try what the sandbox of a service should refuse (development images only)
    Probe {
        /// The service
        name: String,
        /// Take all memory that the service may have, instead
        #[arg(long)]
        exhaust: bool,
    },
    /// Print the log
    Log {
        /// Print lines as they are written, too
        #[arg(short, long)]
        follow: bool,
        /// How many lines
        #[arg(short = 'n', long, default_value_t = 100)]
        lines: u32,
        /// Of this service only
        service: Option<String>,
    },
    /// List, read and change settings
    Settings {
        /// What to do; list them, if nothing is said
        #[command(subcommand)]
        action: Option<SettingsAction>,
    },
    /// List the devices of the family, take others in and out
    Family {
        /// What to do; list them, if nothing is said
        #[command(subcommand)]
        action: Option<family::FamilyAction>,
    },
    /// See and change what was copied, on all devices of the owner
    Clipboard {
        /// What to do; print what was copied, if nothing is said
        #[command(subcommand)]
        action: Option<clipboard::ClipboardAction>,
    },
    /// Send files and folders to a device of the family, and say how far that is
    Send {
        /// Its name or id
        device: String,
        /// What to send
        #[arg(required = true)]
        paths: Vec<std::path::PathBuf>,
    },
    /// See what is on its way between devices, and what was received
    Transfer {
        /// What to do; list what is on its way, if nothing is said
        #[command(subcommand)]
        action: Option<transfer::TransferAction>,
    },
    /// List what devices may call on each other, revoke it, answer for the owner
    Grants {
        /// What to do; list them, if nothing is said
        #[command(subcommand)]
        action: Option<grants::GrantsAction>,
    },
    /// Print how the network stands
    Network,
    /// Print what time it is and who says so
    Time,
    /// See and install releases
    Update {
        /// What to do; say how things stand, if nothing is said
        #[command(subcommand)]
        action: Option<UpdateAction>,
    },
    /// Show a notification
    Notify {
        /// At most 80 bytes
        title: String,
        /// At most 500 bytes
        text: String,
        /// Let it interrupt
        #[arg(long)]
        urgent: bool,
    },
    /// Turn the device off
    PowerOff,
    /// Start the device anew
    Restart,
    /// Run a service (process 1 does this)
    #[command(hide = true)]
    Service {
        /// The service
        name: String,
    },
    /// Try what a sandbox should refuse, from inside (process 1 does this for `probe`)
    #[command(hide = true)]
    Attempt(attempt::Temptations),
    /// Run command lines from a serial port, or from standard input
    #[command(hide = true)]
    Console {
        /// A device node; without it, the port of the development console where there is one
        #[arg(long)]
        port: Option<std::path::PathBuf>,
    },
}

/// What can be done with releases.
#[derive(Debug, Subcommand)]
pub enum UpdateAction {
    /// Say what runs, what is ready and how the last release that was tried came out
    Status,
    /// Ask the mirrors for a newer release
    Check,
    /// Install the newest release, and say how far it is
    Install {
        /// A mirror (`http://…`) or a folder (`/…`) to take it from, instead of the mirrors that are set
        source: Option<String>,
        /// This very release from the mirrors that are set, be it older than what runs
        #[arg(long, conflicts_with = "source")]
        version: Option<String>,
    },
    /// End an installation; what was written counts when it is begun again
    Cancel,
    /// Restart into the release that is ready
    Restart,
}

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub enum SettingsAction {
    /// List every setting with its value
    List,
    /// Print one value
    Get {
        /// Such as `appearance.accent`
        key: String,
    },
    /// Change one
    Set {
        /// Such as `appearance.accent`
        key: String,
        /// `true`, `12`, a word or a text; the items of a list one by one
        #[arg(allow_hyphen_values = true)]
        value: Vec<String>,
    },
    /// Back to the default
    Reset {
        /// Such as `appearance.accent`
        key: String,
    },
}

impl Command {
    /// Whether it goes on until it is interrupted.
    pub fn follows(&self) -> bool {
        match self {
            Self::Log { follow, .. } => *follow,
            Self::Call {
                function,
                arguments,
                ..
            } => api::answers_stream(api::split(function, arguments).1),
            Self::Family {
                action: Some(family::FamilyAction::Pairing),
            }
            | Self::Clipboard {
                action: Some(clipboard::ClipboardAction::Watch),
            }
            | Self::Transfer {
                action: Some(transfer::TransferAction::Watch),
            }
            | Self::Send { .. }
            | Self::Grants {
                action: Some(grants::GrantsAction::Watch),
            } => true,
            Self::Update {
                action: Some(UpdateAction::Check | UpdateAction::Install { .. }),
            } => true,
            _ => false,
        }
    }

    /// Reads what standard input has for it. A console does not call this: there, standard input is
    /// more command lines.
    pub fn read_input(&mut self) -> Result<()> {
        match self {
            Self::Clipboard {
                action: Some(action),
            } => action.read_input()?,
            Self::Family {
                action: Some(action),
            } => action.read_input(),
            _ => {}
        }
        Ok(())
    }

    /// Does it, and prints what there is to say.
    pub async fn run(self, bus: &bus::Client, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Api { interface } => api::print(interface.as_deref(), out),
            Self::Call {
                function,
                arguments,
                times,
            } => {
                let (device, function, arguments) = api::split(&function, &arguments);
                let there = device.map(bus::Client::of_device);
                let bus = there.as_ref().unwrap_or(bus);
                match times {
                    None => api::call(bus, function, arguments, out).await,
                    Some(times) => api::time(bus, function, arguments, times, out).await,
                }
            }
            Self::Family { action } => {
                let action = action.unwrap_or(family::FamilyAction::List);
                family::run(bus, action, out).await
            }
            Self::Clipboard { action } => {
                let action = action.unwrap_or(clipboard::ClipboardAction::Get);
                clipboard::run(bus, action, out).await
            }
            Self::Send { device, paths } => transfer::send(bus, &device, paths, out).await,
            Self::Transfer { action } => {
                let action = action.unwrap_or(transfer::TransferAction::List);
                transfer::run(bus, action, out).await
            }
            Self::Grants { action } => {
                let action = action.unwrap_or(grants::GrantsAction::List);
                grants::run(bus, action, out).await
            }
            Self::Services { name: None } => services::list(bus, out).await,
            Self::Services { name: Some(name) } => services::show(bus, &name, out).await,
            Self::Start { name } => {
                services::done("starting", &name, bus::services::start(bus, &name).await?)
            }
            Self::Stop { name } => {
                services::done("stopping", &name, bus::services::stop(bus, &name).await?)
            }
            Self::Health { interface } => {
                api::healthy(&interface).await?;
                writeln!(out, "well").context("printing")
            }
            Self::Kill {
                name,
                signal,
                until,
            } => {
                let begin = Instant::now();
                bus::faults::signal(bus, &name, signal)
                    .await?
                    .map_err(|reason| anyhow!("sending signal {signal} to {name}: {reason}"))?;
                let Some(interface) = until else {
                    return Ok(());
                };
                api::healthy(&interface).await?;
                let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
                writeln!(out, "{milliseconds:.1} ms until it answered").context("printing")
            }
            Self::Probe {
                name,
                exhaust: false,
            } => probe::run(bus, &name, out).await,
            Self::Probe { name, .. } => probe::exhaust(bus, &name, out).await,
            Self::Log {
                follow,
                lines,
                service,
            } => services::log(bus, service.as_deref(), lines, follow, out).await,
            Self::Settings { action } => {
                settings::run(bus, action.unwrap_or(SettingsAction::List), out).await
            }
            Self::Update { action } => {
                update::run(bus, action.unwrap_or(UpdateAction::Status), out).await
            }
            Self::Network => device::network(bus, out).await,
            Self::Time => device::time(bus, out).await,
            Self::Notify {
                title,
                text,
                urgent,
            } => {
                use bus::notify::{Importance, Notification};
                let importance = if urgent {
                    Importance::Urgent
                } else {
                    Importance::Normal
                };
                let notification = Notification {
                    title,
                    text,
                    importance,
                    tag: None,
                };
                let id = bus::notify::post(bus, &notification)
                    .await?
                    .map_err(|reason| anyhow!("showing the notification: {reason}"))?;
                writeln!(out, "{id}").context("printing")
            }
            Self::PowerOff => Ok(bus::power::power_off(bus).await?),
            Self::Restart => Ok(bus::power::restart(bus).await?),
            Self::Service { .. } | Self::Console { .. } | Self::Attempt(_) => {
                Err(anyhow!("not from within a console"))
            }
        }
    }
}
