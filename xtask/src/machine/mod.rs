//! An emulated device.
