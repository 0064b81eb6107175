//! The loop of the device: one thread that waits for everything at once.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::backlight::Backlight;
use super::clock::Clock;
use super::control::{Hardware, ScreenControl};
use super::screen::Screen;
use super::slint_platform;
use super::wake::UiLoop;
use crate::clipboard::Clipboard;
use crate::display::drm::Drm;
use crate::display::find::Found;
use crate::display::hotplug;
use crate::input::devices::Devices;

/// The screen, the input devices and the loop over them.
pub struct Platform {
    screen: Rc<Screen>,
    ui: UiLoop,
    clipboard: Clipboard,
    devices: RefCell<Option<Devices>>,
    /// The kernel's messages about displays.
    hotplug: Option<OwnedFd>,
    /// The display is only the firmware's framebuffer.
    provisional: Cell<bool>,
}

impl Platform {
    /// Makes what was found the screen of this thread, with so many pixels to a logical one.
    /// Register fonts next; then create the scene; then [`Platform::run`].
    pub fn new(found: Found, scale: f32) -> Result<Self, slint::PlatformError> {
        let other = |what: &str, error: &dyn std::fmt::Display| {
            slint::PlatformError::Other(format!("{what} failed: {error}"))
        };
        let screen = Screen::new(found.display, scale, Clock::Kernel);
        let ui = UiLoop::new().map_err(|error| other("making the loop's wake-up", &error))?;
        let clipboard = Clipboard::default();
        slint_platform::install(screen.clone(), ui.clone(), clipboard.clone())?;
        let provisional = Cell::new(found.provisional);
        Ok(Self {
            screen,
            ui,
            clipboard,
            devices: RefCell::new(None),
            hotplug: None,
            provisional,
        })
    }

    /// What the scene controls the screen with.
    pub fn screen(&self) -> ScreenControl {
        ScreenControl::new(self.screen.clone(), Backlight::find)
    }

    /// What other threads reach the scene with.
    pub fn ui(&self) -> UiLoop {
        self.ui.clone()
    }

    /// What text fields copy to and paste from.
    pub fn clipboard(&self) -> Clipboard {
        self.clipboard.clone()
    }

    /// Passes on what is not text.
    pub fn on_hardware(&self, listener: impl Fn(Hardware) + 'static) {
        self.screen.listen(listener);
    }

    /// Draws what is due, without waiting: the first frame need not wait for input devices.
    pub fn draw(&self) {
        self.screen.step();
    }

    /// Begins to read the machine's input devices and to notice displays coming and going. Without
    /// either the screen still shows.
    pub fn listen_to_devices(&mut self) {
        match Devices::new() {
            Ok(devices) => *self.devices.borrow_mut() = Some(devices),
            Err(error) => {
                tracing::error!("looking for input devices failed: {error}; there will be no input")
            }
        }
        match hotplug::open() {
            Ok(socket) => self.hotplug = Some(socket),
            Err(error) => {
                tracing::info!("displays that are plugged in or out will not be noticed: {error}")
            }
        }
    }

    /// Runs until [`UiLoop::quit`].
    pub fn run(&self) -> io::Result<()> {
        while !self.ui.is_quitting() {
            let next = self.screen.step();
            self.wait(next)?;
            self.receive();
        }
        self.ui.close();
        Ok(())
    }

    /// Waits until there is something to do, or until this time.
    fn wait(&self, until: Option<Duration>) -> io::Result<()> {
        let timeout = until.map(|until| {
            let left = until.saturating_sub(self.screen.clock.now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let devices = self.devices.borrow();
        self.screen.with_display(|display| {
            let mut descriptors: Vec<PollFd<'_>> = std::iter::once(self.ui.descriptor())
                .chain(display.descriptor())
                .chain(self.hotplug.as_ref().map(AsFd::as_fd))
                .chain(devices.iter().flat_map(Devices::descriptors))
                .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
                .collect();
            match poll(&mut descriptors, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn display_changed(&self) {
        if !self.provisional.get() {
            return self.screen.probe();
        }
        match Drm::open() {
            Ok(display) => {
                self.provisional.set(false);
                self.screen.attach(Box::new(display));
            }
            Err(error) => tracing::info!("staying with the firmware's framebuffer: {error}"),
        }
    }

    /// Takes whatever there is. Reading what has nothing to say is cheap; it does not wait.
    fn receive(&self) {
        self.ui.run_tasks();
        self.screen.receive();
        if let Some(socket) = &self.hotplug
            && hotplug::display_changed(socket)
        {
            self.display_changed();
        }
        let mut happened = Vec::new();
        if let Some(devices) = &mut *self.devices.borrow_mut() {
            devices.read(|stamped| happened.push(stamped));
        }
        for stamped in happened {
            self.screen.input(stamped);
        }
    }
}
