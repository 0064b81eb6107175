//! The relay of a family.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match relay::run(relay::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hyper-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}
