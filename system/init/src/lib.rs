//! Process 1: mounts, devices, services and their sandboxes, shutdown.
//!
//! One static program is all that runs between the kernel and the services. It does five jobs:
//!
//! 1. **In the initramfs** ([`boot::initramfs`]) it finds the root slot by the name of its
//!    partition, has the kernel verify every block of it (dm-verity, root hash from the kernel
//!    command line), mounts it read-only and goes on from there.
//! 2. **On the root** ([`boot::root`]) it mounts what every program expects, and `/data`.
//!
//! # Promises
//!
//! - **Process 1 never panics.** Nothing that it reads (a command line, a manifest, an event of
//!   the kernel, a line that a service prints) can end it. Should it come to an end all the same,
//!   the kernel's `panic=` restarts the device.
//! - **Nothing waits for a fixed time.** What is not there yet announces itself by an event of
//!   the kernel; every wait for one has a limit, and what happens then is said on the console.

pub mod boot;
pub mod cgroup;
pub mod command_line;
pub mod device;
pub mod fatal;
pub mod interfaces;
pub mod log;
pub mod manifest;
pub mod process;
pub mod program;
pub mod run;
pub mod sandbox;
pub mod shutdown;
pub mod spawn;
pub mod supervise;
pub mod system;
pub mod watch;
