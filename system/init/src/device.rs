//! Devices: what the kernel says about them, which nodes they have, which modules drive them.

pub mod backlight;
pub mod display;
pub mod module;
pub mod node;
pub mod partition;
pub mod power_button;
pub mod slot;
pub mod stick;
pub mod uevent;
