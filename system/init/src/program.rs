//! What the program does, by where it finds itself and how it is called.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{boot, fatal, run, sandbox};

const HELP: &str = "\
Usage: init --layer --system FOLDER --data FOLDER --run FOLDER

Runs the services of FOLDER/services as the user who calls it, on any Linux:
what they keep is under --data, their sockets and what lasts until the next
start under --run. The programs in their manifests that are below /system are
looked for below --system.

Without arguments, as the first process of a machine, it is process 1 of
HyperOS.
";

/// Runs as process 1 of a device, as the process before a service, or as a layer.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // First, for in its pid namespace this is process 1 too.
    if let [enter, sockets] = arguments.as_slice()
        && enter == "enter"
    {
        return sandbox::enter::main(&sockets.to_string_lossy());
    }
    if let [give, process, folder] = arguments.as_slice()
        && give == "give"
    {
        return sandbox::give::main(&process.to_string_lossy(), folder.as_ref());
    }
    if std::process::id() == 1 {
        process_one();
    }
    match layer(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("init: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn layer(arguments: Vec<OsString>) -> Result<()> {
    let (mut is_layer, mut folders) = (false, [None, None, None]);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let folder = match argument.to_str() {
            Some("--layer") => {
                is_layer = true;
                continue;
            }
            Some("--system") => 0,
            Some("--data") => 1,
            Some("--run") => 2,
            Some("--help" | "-h") => {
                print!("{HELP}");
                return Ok(());
            }
            _ => bail!(
                "`{}` is not an argument of it\n\n{HELP}",
                argument.display()
            ),
        };
        let Some(value) = arguments.next() else {
            bail!("`{}` needs a folder\n\n{HELP}", argument.display());
        };
        folders[folder] = Some(PathBuf::from(value));
    }
    match (is_layer, folders) {
        (true, [Some(system), Some(data), Some(run)]) => run::layer(&system, &data, &run),
        _ => bail!("as an ordinary process it needs --layer and three folders\n\n{HELP}"),
    }
}

/// The device's process 1, which never returns: whatever it ends with, the device restarts.
fn process_one() -> ! {
    // The last line of defence. Nothing is known to panic; if something does, say so and restart
    // in an orderly way rather than have the kernel panic.
    let ended = std::panic::catch_unwind(|| -> Result<Infallible> {
        if boot::initramfs::is_here()? {
            boot::initramfs::run()?;
        }
        run::device()
    });
    match ended {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => fatal::give_up(format_args!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            fatal::give_up(format_args!(
                "process 1 panicked: {}",
                text.unwrap_or("without a message")
            ))
        }
    }
}
