//! The developer's tool: everything that is done with this repository on a developer's machine,
//! as `cargo xtask COMMAND`.
//!
//! It turns a fresh Debian machine with Rust on it into one that builds the system, makes disk
//! images of it as an ordinary user, starts them in QEMU, and tests and measures what runs there.
//! What it promises:
//!
//! - nothing is installed without being named, with the reason, and agreed to;
//! - nothing is downloaded that is not checked against a hash in the repository, but by apt and
//!   cargo, which check for themselves;
//! - the same sources give the same image, bit for bit;
//! - every step that takes more than a second says what it is and how long it took.
//!
//! The library is there for the whole-system tests and the benchmarks, which start machines
//! through [`machine::Machine`]. It has few dependencies and builds in seconds, because it stands
//! before everything else.

pub mod bench;
pub mod command;
pub mod desktop;
pub mod fuzz;
pub mod host;
pub mod image;
pub mod kernel;
pub mod machine;
pub mod packages;
pub mod paths;
pub mod process;
pub mod product;
pub mod programs;
pub mod progress;
pub mod reproduce;
pub mod run;
pub mod size;
pub mod soak;
pub mod test;
