//! The services and the command line in one static program.

use std::process::ExitCode;

fn main() -> ExitCode {
    hyper::main()
}
