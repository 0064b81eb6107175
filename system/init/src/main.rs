//! Process 1: mounts, devices, services and their sandboxes, shutdown.

fn main() -> std::process::ExitCode {
    init::program::main()
}
