//! The program of the screen; see the library.

fn main() -> anyhow::Result<()> {
    shell::run()
}
