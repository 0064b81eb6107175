//! Serve and call the interfaces of wit/, here or on another device.
