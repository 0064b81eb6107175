//! `cargo xtask`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match xtask::command::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
