//! The program of recovery; see the library.

fn main() -> std::process::ExitCode {
    recovery::program::main()
}
