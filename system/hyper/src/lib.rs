//! The services and the command line in one static program, so that what they share is on disk
//! and in memory once.
//!
//! - `hyper service NAME` is a service: [`services`] lists them.
//! - `hyper console` runs command lines that come over a serial port or standard input
//!   ([`console`]); development images have it, and so do tests.
//! - `hyper attempt` tries, from inside, what the sandbox of a service should refuse ([`attempt`]);
//!   process 1 of a development image runs it there.
//! - Everything else is a command for a person: [`commands`]. A command only calls interfaces of
//!   `wit/`; it can do nothing that `hyper call` could not.
//!
//! # What it promises
//!
//! - A command ends with 0 when it did what was asked, 1 when that failed, 2 when it was not
//!   understood; and its error says what was being done to what.
//! - Output is made of lines that do not depend on a terminal. Following commands (`log -f`, a
//!   call that answers a stream) print each line as it comes, and end with Ctrl-C.

pub mod attempt;
pub mod commands;
pub mod console;
pub mod services;
pub mod table;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use commands::Line;

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Clap's exit code is 0 for help and 2 for what was not understood.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match line.command {
        commands::Command::Service { name } => services::run(&name),
        commands::Command::Attempt(temptations) => return attempt::run(&temptations),
        commands::Command::Console { port } => console::run(port.as_deref()),
        mut command => one_thread().and_then(|runtime| {
            command.read_input()?;
            let bus = bus::Client::from_environment();
            let mut out = io::stdout();
            runtime.block_on(async {
                tokio::select! {
                    done = command.run(&bus, &mut out) => done,
                    // The end of a command that follows something.
                    _ = tokio::signal::ctrl_c() => Ok(()),
                }
            })
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has read enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hyper: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn one_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
