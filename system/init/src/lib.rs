//! Process 1: mounts, devices, services and their sandboxes, shutdown.
//!
//! One static program is all that runs between the kernel and the services:
//!
//! 1. **In the initramfs** ([`boot::initramfs`]) it finds the partition of the root slot's name that
//!    opens with the root hash on the kernel command line, has the kernel verify every block of it
//!    (dm-verity), mounts it read-only and goes on from there. Where none opens, the firmware is to
//!    start something else.
//! 2. **On the root** ([`boot::root`], [`boot::data`]) it mounts what every program expects.
//! 3. **Devices** ([`device`]) get their drivers and their nodes the right owner, as they come.
//! 4. **Services** ([`manifest`], [`system`]) have their sockets before any of them runs; the first
//!    call or the start of the device starts them, in a [`sandbox`] each; what ends badly or hangs
//!    is started again ([`supervise`]); what they print is in the [`log`].
//! 5. **Slots** ([`slots`]): a release that is tried is confirmed when the product's checks hold, and
//!    given up otherwise; a hang ends by the hardware watchdog.
//! 6. **The end** ([`shutdown`]) is in order: callers before those they call, within a deadline.
//!
//! The same program runs the same services as an ordinary user on any Linux
//! (`init --layer`, [`run::layer`]), and is the process between process 1 and a service
//! ([`sandbox::enter`]).
//!
//! # Promises
//!
//! - **Process 1 never panics.** Nothing that it reads (a command line, a manifest, an event of
//!   the kernel, a line that a service prints) can end it. Should it come to an end all the same,
//!   the kernel's `panic=` restarts the device.
//! - **A service costs only itself.** A broken manifest, a program that is missing, a service that
//!   ends, hangs, talks without end or eats memory: all others go on.
//! - **What is refused is visible.** A system call that a sandbox refuses stands in the log under
//!   the name of the service. What a sandbox does not show (files, sockets of others) is simply not
//!   there, and nothing is logged for it: the kernel has no word for that before Landlock's audit.
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
pub mod slots;
pub mod spawn;
pub mod supervise;
pub mod system;
pub mod watch;
