//! From the kernel to a system that services can run on.

pub mod ahead;
pub mod choice;
pub mod data;
pub mod grow;
pub mod initramfs;
pub mod mount;
pub mod root;
pub mod superblock;
pub mod verity;
