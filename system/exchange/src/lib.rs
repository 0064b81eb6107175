//! What devices of a family hand each other.
//!
//! [`clipboard`] keeps what was copied last, on whichever of the owner's devices that was.
//! [`files`] sends files to other devices and receives theirs.

pub mod clipboard;
pub mod files;
