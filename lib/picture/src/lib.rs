//! Pictures of a screen as they travel from one device to another: `hyper:screen/view` says how.
//!
//! ```text
//!   the device that is seen                              the device that sees
//!   colours of a part ── [`pack`] ──▶ bytes ── bus ──▶ [`Canvas::put`] ──▶ [`Fitted`], as large as there
//! ```
//!
//! What it promises:
//! - any bytes at all are put in or refused, without a panic;
//! - no more memory is taken than the size of the screen says, which has a bound, and no more time than the
//!   parts of one picture may cover;
//! - what was packed is unpacked as it was, bit for bit.

mod canvas;
mod fitted;
mod packing;

pub use canvas::{Canvas, Part, Place, Unfit};
pub use fitted::Fitted;
pub use packing::{Malformed, pack};

/// The colours of a pixel: red, green, blue.
pub type Colours = [u8; 3];

/// The longest edge of a screen, in pixels.
pub const LONGEST_EDGE: u32 = 8192;
/// The most pixels of a screen.
pub const MOST_PIXELS: usize = 8 * 1024 * 1024;
/// The most parts of one picture.
pub const MOST_PARTS: usize = 64;
