//! Recovery: what the firmware starts when neither slot of a device can be started.
//!
//! It is a boot file of its own on each boot partition: the kernel, and an initramfs in which this
//! program is process 1. There is no root, no service and no network. It shows one screen, looks for
//! releases on what is plugged in, and writes the one that is chosen to a slot, with the code and the
//! checks of any update.
//!
//! 1. [`program`] is process 1: mounts, drivers, the clock, the screen and the thread that works.
//! 2. [`device`] says which disk is this device's, and which of its slots is written.
//! 3. [`offer`] finds the release on what is plugged in.
//! 4. [`candidate`] finds the disks of a machine that has not got this system, and [`new_disk`] makes one of them
//!    a disk of it.
//! 5. [`work`] looks, installs and has the firmware start what was installed.
//! 6. [`screen`] shows what becomes of it.
//!
//! # Promises
//!
//! - **`/data` is not touched**: it is neither mounted nor written.
//! - **No disk is erased while one of this system is there**, and none that was not chosen and confirmed.
//! - **The recovery that runs is never written over**: the slot that is written is the other one, so
//!   that a break leaves a device that comes back here.
//! - **Nothing is installed that was not signed for this product and edition**: what a stick says is
//!   believed no more than what a mirror says.
//! - **A disk is written only when it is clear that it is this device's**: one that is plugged in is
//!   not, as long as there is one that is built in.
//!
//! What it cannot know, for it stands in `/data`: which metadata this device has seen before. A stick
//! with an older signed release is installed, and the screen says that it is older.

pub mod candidate;
pub mod device;
pub mod new_disk;
pub mod offer;
pub mod program;
pub mod screen;
pub mod work;
