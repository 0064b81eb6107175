//! What the picture is shown on.
//!
//! The renderer always draws into one [`Canvas`] in ordinary memory, and only where something
//! changed. A [`Display`] is then told which parts these were and copies just them to where its
//! hardware reads: blending reads pixels back, which is slow in a device's memory, and with one
//! canvas nothing is ever drawn twice because there are two buffers. The copy costs about a
//! hundredth of the drawing.
//!
//! | display | where | when a frame is complete |
//! |---|---|---|
//! | [`drm`] | a connector of a kernel mode setting driver | the driver's page-flip event |
//! | [`framebuffer`] | `/dev/fb0`, where no such driver binds | when the copy is done |
//! | [`memory`] | pictures for tests | at once |

pub mod canvas;
pub mod drm;
pub mod find;
pub mod framebuffer;
pub mod hotplug;
pub mod memory;
pub mod pixel;

pub use canvas::{Canvas, Rectangle, Region};
pub use pixel::Pixel;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What became of a frame that was handed to a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// It is on its way; [`Display::receive`] will say when it is there.
    Pending,
    /// It is there.
    Complete,
}

/// What a display reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The pending frame is on the screen since this time of `CLOCK_MONOTONIC`.
    Flipped(Duration),
    /// The size changed: everything has to be drawn again at [`Display::size`].
    Resized,
}

/// A screen.
pub trait Display {
    /// What it is, for the log.
    fn name(&self) -> String;

    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// The time between two of its frames: drawing more often shows nothing more.
    fn frame_time(&self) -> Duration;

    /// Shows `canvas`, which is of this display's size and differs from the one before only within
    /// `damage`. Must not be called again before a [`Presented::Pending`] frame was reported.
    fn present(&mut self, canvas: &Canvas, damage: &Region) -> io::Result<Presented>;

    /// Becomes readable when [`Display::receive`] has something to say.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What happened since the last call; never waits.
    fn receive(&mut self) -> io::Result<Vec<Event>> {
        Ok(Vec::new())
    }

    /// Looks again at what is connected, after the kernel said that it changed.
    fn probe(&mut self) -> io::Result<Vec<Event>> {
        Ok(Vec::new())
    }

    /// Lights the display or turns it off. After it was off, the whole canvas is presented.
    fn set_lit(&mut self, lit: bool) -> io::Result<()>;
}
