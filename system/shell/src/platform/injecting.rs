//! Input from another device. It takes the way of this device's own, but for one thing: whoever is at the
//! device comes first. A finger or a button of theirs takes the place of one from elsewhere, and while it is down
//! no other is noticed.

use slint::SharedString;
use slint::platform::WindowEvent;

use super::pointing::NOTCH;
use super::screen::Screen;
use crate::input::{MouseButton, Touch, TouchPhase};

/// The finger from elsewhere. No touch screen has so many.
const CONTACT: u32 = u32::MAX;

/// Something that another device has the screen do.
#[derive(Debug, Clone, PartialEq)]
pub enum Injected {
    /// A key is pressed and released: text, or a named key as Slint takes it.
    Key(SharedString),
    /// The pointer moves by so many logical pixels.
    Moved {
        /// To the right.
        x: f32,
        /// Down.
        y: f32,
    },
    /// The pointer's main button goes down or up.
    Button(bool),
    /// What is under the pointer moves by so many logical pixels.
    Scrolled {
        /// To the right.
        x: f32,
        /// Down.
        y: f32,
    },
    /// A finger.
    Touch {
        /// What it does.
        phase: TouchPhase,
        /// Where on the screen, 0 to 1 from the left and from the top.
        position: (f32, f32),
    },
    /// Whatever is held down is let go of, and nothing was meant by it.
    LetGo,
}

/// What is down that came from another device.
#[derive(Debug, Default)]
pub(super) struct Injecting {
    button: bool,
    /// Whether the arrow is there because of it.
    pointer: bool,
}

impl Screen {
    pub(super) fn inject(&self, injected: &Injected) {
        if *injected == Injected::LetGo {
            self.let_go();
            if std::mem::take(&mut self.injecting.borrow_mut().pointer) {
                self.hide_cursor();
            }
            return;
        }
        let pointing = !matches!(injected, Injected::Key(_));
        if !self.lit.get() || (pointing && self.somebody_points()) {
            return;
        }
        match injected {
            Injected::Key(text) => self.press(text),
            Injected::Moved { x, y } => {
                self.injecting.borrow_mut().pointer = true;
                self.mouse_moved(*x, *y);
            }
            Injected::Button(pressed) => {
                self.injecting.borrow_mut().pointer = true;
                // Shows where it presses, where it has not moved before.
                self.mouse_moved(0.0, 0.0);
                self.injecting.borrow_mut().button = *pressed;
                self.mouse_button(MouseButton::Left, *pressed);
            }
            Injected::Scrolled { x, y } => self.wheel(x / NOTCH, y / NOTCH),
            Injected::Touch { phase, position } => self.touch(Touch {
                contact: CONTACT,
                phase: *phase,
                position: *position,
            }),
            Injected::LetGo => {}
        }
    }

    /// Presses and releases a key.
    fn press(&self, text: &SharedString) {
        let text = text.clone();
        self.surface
            .dispatch(WindowEvent::KeyPressed { text: text.clone() });
        self.surface.dispatch(WindowEvent::KeyReleased { text });
    }

    /// Whether somebody at the device has a finger on the screen or a mouse's button down.
    fn somebody_points(&self) -> bool {
        let pointer = self.pointer.borrow();
        let finger = pointer.contact.is_some_and(|contact| contact != CONTACT);
        let others = u32::from(self.injecting.borrow().button);
        finger || pointer.buttons & !others != 0
    }

    /// Lets go of what is down from another device.
    pub(super) fn let_go(&self) {
        let button = std::mem::take(&mut self.injecting.borrow_mut().button);
        let was_down = {
            let mut pointer = self.pointer.borrow_mut();
            if button {
                pointer.buttons &= !1;
            }
            pointer
                .contact
                .take_if(|contact| *contact == CONTACT)
                .is_some()
                || button
        };
        if was_down {
            self.surface.dispatch(WindowEvent::PointerExited);
        }
    }
}
