//! The platform beneath Slint: when to draw, on what, and with what input.
//!
//! It is our own, and small, because of what it has to promise: a touch is on the display at the
//! next page flip and the time of it is known; only what changed is drawn and copied; a screen on
//! which nothing moves wakes no processor; and tests drive the very same code in memory, with a
//! clock that only they move.
//!
//! One thread does everything: it waits for input devices, the display, timers and other threads'
//! calls at once ([`event_loop`]). What to do when is decided in [`redraw`].

mod backlight;
mod clock;
mod control;
mod cursor;
pub mod event_loop;
pub mod headless;
mod injecting;
mod pointing;
mod power_key;
pub mod redraw;
mod screen;
mod slint_platform;
mod surface;
mod tap;
mod wake;

pub use crate::display::memory::Picture;
pub use control::{Hardware, ScreenControl};
pub use event_loop::Platform;
pub use headless::Headless;
pub use injecting::Injected;
pub use tap::{Captured, Look, Reserved};
pub use wake::{Gone, UiLoop};
