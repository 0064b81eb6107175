//! The maker's tool: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match hyper_release::command::execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hyper-release: {error:#}");
            ExitCode::FAILURE
        }
    }
}
