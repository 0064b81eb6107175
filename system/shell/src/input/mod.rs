//! Fingers, keys and mice: from the kernel's event devices to what the screen understands.
//!
//! ```text
//!   /dev/input/event*  ──▶  [`device`]: bytes → frames of one device, with the kernel's time
//!                             │
//!          [`touch`] contacts │ [`keyboard`] keys, layouts, dead keys
//!                             ▼
//!                          [`Input`] ──▶ the screen, which knows its size and the scene
//! ```
//!
//! Nothing here needs a thread, udev or a C library: devices are found by looking into
//! `/dev/input` and watching that folder, and read when the loop says that they are readable.

pub mod code;
pub mod device;
pub mod devices;
pub mod event;
mod ioctl;
pub mod keyboard;
pub mod layouts;
pub mod touch;

use std::time::Duration;

/// Something that a person did, and when by the kernel's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamped {
    /// The kernel's time stamp.
    pub at: Duration,
    /// What was done.
    pub input: Input,
}

/// Something that a person did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// A finger, or a pen, on the screen.
    Touch(Touch),
    /// A mouse moved by so many of its counts.
    MouseMoved {
        /// To the right.
        x: f32,
        /// Down.
        y: f32,
    },
    /// A mouse's button.
    MouseButton {
        /// Which.
        button: MouseButton,
        /// Down or up.
        pressed: bool,
    },
    /// A wheel turned by so many notches.
    Wheel {
        /// To the right.
        x: f32,
        /// Away from the person.
        y: f32,
    },
    /// A key, by the kernel's code for its place on the keyboard.
    Key {
        /// See [`code`].
        code: u16,
        /// What happened to it.
        action: KeyAction,
    },
}

/// One finger's part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Touch {
    /// The same from the moment that this finger comes down until it is lifted.
    pub contact: u32,
    /// What it did.
    pub phase: TouchPhase,
    /// Where on the screen, 0 to 1 from the left and from the top.
    pub position: (f32, f32),
}

/// What a finger did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchPhase {
    /// It came down.
    Down,
    /// It moved.
    Moved,
    /// It was lifted.
    Up,
    /// The device lost it, or was unplugged: nothing was meant by it.
    Cancelled,
}

/// A mouse's button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MouseButton {
    /// The main one.
    Left,
    /// The one for menus.
    Right,
    /// The wheel, pressed.
    Middle,
    /// The one at the side that goes back.
    Back,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAction {
    /// It was released.
    Released,
    /// It was pressed.
    Pressed,
    /// It is being held, and repeats.
    Repeated,
}
