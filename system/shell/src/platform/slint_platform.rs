//! What Slint asks of the platform that it runs on.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slint::PlatformError;
use slint::platform::{
    self, EventLoopProxy, Platform, SetPlatformError, WindowAdapter, set_platform,
};

use super::screen::Screen;
use super::wake::UiLoop;
use crate::clipboard::Clipboard;

struct OneWindow {
    screen: Rc<Screen>,
    ui: UiLoop,
    clipboard: Clipboard,
    start: Duration,
}

/// Makes `screen` the platform of this thread.
pub(super) fn install(
    screen: Rc<Screen>,
    ui: UiLoop,
    clipboard: Clipboard,
) -> Result<(), PlatformError> {
    let window = OneWindow {
        start: screen.clock.now(),
        screen,
        ui,
        clipboard,
    };
    set_platform(Box::new(window)).map_err(|error| match error {
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

    fn set_clipboard_text(&self, text: &str, which: platform::Clipboard) {
        // The other one is what a mouse has selected, which is not copied by that alone.
        if let platform::Clipboard::DefaultClipboard = which {
            self.clipboard.copy(text);
        }
    }

    fn clipboard_text(&self, which: platform::Clipboard) -> Option<String> {
        match which {
            platform::Clipboard::DefaultClipboard => self.clipboard.text(),
            _ => None,
        }
    }

    fn duration_since_start(&self) -> Duration {
        self.screen.clock.now().saturating_sub(self.start)
    }
}
