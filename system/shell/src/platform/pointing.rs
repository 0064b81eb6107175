//! Fingers and mice on the screen.

use slint::LogicalPosition;
use slint::platform::{PointerEventButton, WindowEvent};

use super::control::Hardware;
use super::screen::Screen;
use crate::input::{MouseButton, Touch, TouchPhase};

/// Logical pixels that the scene scrolls by a notch of the wheel.
pub(super) const NOTCH: f32 = 60.0;

#[derive(Default)]
pub(super) struct Pointer {
    /// The finger that drives the scene; others wait for scenes that know what to do with them.
    pub(super) contact: Option<u32>,
    /// A mouse's buttons that are down.
    pub(super) buttons: u32,
}

impl Screen {
    /// A finger of somebody at the device. One from elsewhere gives way.
    pub(super) fn own_touch(&self, touch: Touch) {
        if touch.phase == TouchPhase::Down {
            self.let_go();
        }
        self.touch(touch);
    }

    pub(super) fn touch(&self, touch: Touch) {
        let position = self.logical(touch.position);
        let button = PointerEventButton::Left;
        let mut contact = self.pointer.borrow().contact;
        match touch.phase {
            TouchPhase::Down if contact.is_none() => {
                contact = Some(touch.contact);
                self.hide_cursor();
                self.surface
                    .dispatch(WindowEvent::PointerMoved { position });
                self.surface
                    .dispatch(WindowEvent::PointerPressed { position, button });
            }
            TouchPhase::Moved if contact == Some(touch.contact) => {
                self.surface
                    .dispatch(WindowEvent::PointerMoved { position });
            }
            TouchPhase::Up if contact == Some(touch.contact) => {
                contact = None;
                self.surface
                    .dispatch(WindowEvent::PointerReleased { position, button });
                self.surface.dispatch(WindowEvent::PointerExited);
            }
            TouchPhase::Cancelled if contact == Some(touch.contact) => {
                contact = None;
                self.surface.dispatch(WindowEvent::PointerExited);
            }
            _ => {}
        }
        self.pointer.borrow_mut().contact = contact;
    }

    pub(super) fn mouse_moved(&self, x: f32, y: f32) {
        let position = {
            let mut output = self.output.borrow_mut();
            let (width, height) = (output.canvas.width() as f32, output.canvas.height() as f32);
            let (from_x, from_y) = output
                .cursor
                .position()
                .unwrap_or((width / 2.0, height / 2.0));
            let scale = self.scale.get();
            let to = (
                (from_x + x * scale).clamp(0.0, width - 1.0),
                (from_y + y * scale).clamp(0.0, height - 1.0),
            );
            output.cursor.move_to(Some(to));
            output.redraw.request();
            LogicalPosition::new(to.0 / scale, to.1 / scale)
        };
        self.surface
            .dispatch(WindowEvent::PointerMoved { position });
    }

    pub(super) fn mouse_button(&self, button: MouseButton, pressed: bool) {
        if !self.lit.get() {
            if pressed {
                self.tell(Hardware::PowerPressed);
            }
            return;
        }
        let position = self.mouse_position();
        let (number, button) = match button {
            MouseButton::Left => (0, PointerEventButton::Left),
            MouseButton::Right => (1, PointerEventButton::Right),
            MouseButton::Middle => (2, PointerEventButton::Middle),
            MouseButton::Back => (3, PointerEventButton::Back),
        };
        let known = self.pointer.borrow().buttons & (1 << number) != 0;
        // A button that was pressed while the display was off is not released into the scene.
        if known == pressed {
            return;
        }
        self.pointer.borrow_mut().buttons ^= 1 << number;
        self.surface.dispatch(if pressed {
            WindowEvent::PointerPressed { position, button }
        } else {
            WindowEvent::PointerReleased { position, button }
        });
    }

    pub(super) fn wheel(&self, x: f32, y: f32) {
        let position = self.mouse_position();
        self.surface.dispatch(WindowEvent::PointerScrolled {
            position,
            delta_x: x * NOTCH,
            delta_y: y * NOTCH,
        });
    }

    pub(super) fn hide_cursor(&self) {
        let mut output = self.output.borrow_mut();
        if output.cursor.position().is_some() {
            output.cursor.move_to(None);
            output.redraw.request();
        }
    }

    fn mouse_position(&self) -> LogicalPosition {
        let output = self.output.borrow();
        let (x, y) = output.cursor.position().unwrap_or_default();
        LogicalPosition::new(x / self.scale.get(), y / self.scale.get())
    }

    fn logical(&self, (x, y): (f32, f32)) -> LogicalPosition {
        let (width, height) = self.size.get();
        let scale = self.scale.get();
        let place =
            |share: f32, size: u32| share.clamp(0.0, 1.0) * size.saturating_sub(1) as f32 / scale;
        LogicalPosition::new(place(x, width), place(y, height))
    }
}
