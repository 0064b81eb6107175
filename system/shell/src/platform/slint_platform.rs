//! What Slint asks of the platform that it runs on.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slint::PlatformError;
use slint::platform::{EventLoopProxy, Platform, SetPlatformError, WindowAdapter, set_platform};

use super::screen::Screen;
use super::wake::UiLoop;

struct OneWindow {
    screen: Rc<Screen>,
    ui: UiLoop,
    start: Duration,
}

/// Makes `screen` the platform of this thread.
pub(super) fn install(screen: Rc<Screen>, ui: UiLoop) -> Result<(), PlatformError> {
    let start = screen.clock.now();
    set_platform(Box::new(OneWindow { screen, ui, start })).map_err(|error| match error {
        SetPlatformError::AlreadySet => {
            PlatformError::Other("this thread has a screen already".into())
        }
        other => PlatformError::Other(other.to_string()),
    })
}

impl Platform for OneWindow {
    fn create_window_adapter(&self) -> Result<Rc<dyn WindowAdapter>, PlatformError> {
        Ok(self.screen.surface.clone())
    }

    fn new_event_loop_proxy(&self) -> Option<Box<dyn EventLoopProxy>> {
        // Slint keeps one proxy a process. Further screens exist only in tests that run as threads
        // of one process; there the first one's serves.
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(Box::new(self.ui.clone()))
    }

    fn duration_since_start(&self) -> Duration {
        self.screen.clock.now().saturating_sub(self.start)
    }
}
