//! What `cargo xtask bench update` runs; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        // What cargo says to every bench.
        .filter(|argument| argument != "--bench")
        .collect();
    match system_tests::bench_update::main(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask bench update: {error:#}");
            ExitCode::FAILURE
        }
    }
}
