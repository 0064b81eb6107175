//! What the scene may do with the screen, and what it is told beside pointers and keys.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::backlight::Backlight;
use super::injecting::Injected;
use super::screen::Screen;
use super::tap::{Look, Reserved};
use crate::statistics::Statistics;

/// What keys that are no text ask for, and that there was any input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hardware {
    /// The power key was pressed shortly, or, while the display is off, any key.
    PowerPressed,
    /// The power key is being held.
    PowerHeld,
    /// Louder.
    VolumeUp,
    /// Quieter.
    VolumeDown,
    /// Silent, or not any more.
    VolumeMute,
    /// Home, on a remote control.
    Home,
    /// Back, on a remote control or a mouse.
    Back,
    /// The person did something: they are there.
    Touched,
}

/// The screen, for the scene. Cheap to clone; for the thread of the user interface.
#[derive(Clone)]
pub struct ScreenControl {
    pub(super) screen: Rc<Screen>,
    backlight: Rc<RefCell<Option<Backlight>>>,
    find_backlight: fn() -> Option<Backlight>,
}

impl ScreenControl {
    pub(super) fn new(screen: Rc<Screen>, find_backlight: fn() -> Option<Backlight>) -> Self {
        Self {
            screen,
            backlight: Rc::new(RefCell::new(find_backlight())),
            find_backlight,
        }
    }

    /// Whether the display is lit.
    pub fn is_on(&self) -> bool {
        self.screen.is_lit()
    }

    /// Lights the display or turns it off. While it is off nothing is drawn, fingers are not
    /// noticed, and any key counts as [`Hardware::PowerPressed`].
    pub fn set_on(&self, on: bool) {
        self.screen.set_lit(on);
    }

    /// How bright the display is, 0 to 1; none when it has no backlight that could be set.
    pub fn brightness(&self) -> Option<f32> {
        let mut backlight = self.backlight.borrow_mut();
        if backlight.is_none() {
            // Its driver may have come after the display.
            *backlight = (self.find_backlight)();
        }
        backlight.as_ref().map(Backlight::brightness)
    }

    /// Makes the display so bright, 0 (the least that is still readable) to 1.
    pub fn set_brightness(&self, brightness: f32) {
        if let Some(backlight) = &mut *self.backlight.borrow_mut()
            && let Err(error) = backlight.set_brightness(brightness)
        {
            tracing::warn!("setting the brightness failed: {error}");
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.screen.size()
    }

    /// Pixels for one logical pixel.
    pub fn scale(&self) -> f32 {
        self.screen.scale()
    }

    /// Makes everything larger or smaller.
    pub fn set_scale(&self, scale: f32) {
        self.screen.set_scale(scale);
    }

    /// Reads the keyboard as one of [`crate::input::layouts::names`]; answers whether it is known.
    pub fn set_keyboard_layout(&self, name: &str) -> bool {
        self.screen.set_keyboard_layout(name)
    }

    /// The time by which the screen moves: the kernel's monotonic clock, or a test's.
    pub fn now(&self) -> Duration {
        self.screen.clock.now()
    }

    /// Does what another device has the screen do.
    pub fn inject(&self, injected: &Injected) {
        self.screen.inject(injected);
    }

    /// What `reserved` says is for somebody at the device alone is not seen by those who watch.
    pub fn reserve(&self, reserved: Reserved) {
        self.screen.reserve(reserved);
    }

    /// Gathers from now on what changes for this watcher; `wake` is called when there is something.
    pub fn watch(&self, watcher: u64, wake: Box<dyn Fn()>) {
        self.screen.watch(watcher, wake);
    }

    /// Gathers nothing for this watcher any more.
    pub fn unwatch(&self, watcher: u64) {
        self.screen.unwatch(watcher);
    }

    /// What changed since this watcher looked last: at first, everything.
    pub fn look(&self, watcher: u64) -> Look {
        self.screen.look(watcher)
    }

    /// Draws the whole screen once.
    pub fn redraw(&self) {
        self.screen.redraw_all();
    }

    /// Reads or resets the counters.
    pub fn statistics<T>(&self, f: impl FnOnce(&mut Statistics) -> T) -> T {
        self.screen.with_statistics(f)
    }
}
