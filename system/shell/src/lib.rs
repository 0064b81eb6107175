//! The screen of a device: what is on it, and how it reaches glass and fingers.
//!
//! ```text
//!   scene/      what is there to see: lock, home, control centre, settings … (Slint, from `ui`)
//!     │ ▲
//!     ▼ │
//!   platform/   when to draw and what to do with input: one loop, one thread
//!     │ ▲
//!     ▼ │
//!   display/    kernel mode setting, /dev/fb0, memory        input/   fingers, keys, mice
//! ```
//!
//! What it promises:
//! - The first frame is drawn as soon as there is a display; nothing else is waited for.
//! - A touch is on the display at the next page flip after it was drawn, and the time from the
//!   kernel's stamp on the touch to the kernel's stamp on the flip is known, always.
//! - Only what changed is drawn, copied and sent. A screen on which nothing moves wakes nobody.
//! - A user interface that hangs is noticed: the health check goes through its loop.
//! - Tests drive the very same code without a screen: [`platform::Headless`].

pub mod display;
pub mod input;
pub mod platform;
pub mod statistics;
