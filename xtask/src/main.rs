//! `cargo xtask`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match xtask::command::execute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
