//! One input device: what kind it is, and what its events mean.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use super::code::*;
use super::event::Event;
use super::ioctl::{self, Bits};
use super::touch::Contacts;
use super::{Input, KeyAction, MouseButton, Stamped, Touch, TouchPhase};

/// Logical pixels that the mouse's arrow moves when a finger crosses a touchpad.
const TOUCHPAD: f32 = 900.0;

/// What a device can do.
#[derive(Debug, Clone, Default)]
pub struct Abilities {
    /// Its keys and buttons.
    pub keys: Bits,
    /// Its relative axes.
    pub relative: Bits,
    /// Its absolute axes.
    pub absolute: Bits,
    /// What it says to be.
    pub properties: Bits,
    /// Least and largest value across and down the screen.
    pub ranges: [(i32, i32); 2],
}

impl Abilities {
    /// Asks a device.
    pub fn of(device: impl AsFd) -> Self {
        let device = device.as_fd();
        let absolute = ioctl::codes(device, EV_ABS);
        let multitouch = absolute.has(ABS_MT_POSITION_X);
        let axes = if multitouch {
            [ABS_MT_POSITION_X, ABS_MT_POSITION_Y]
        } else {
            [ABS_X, ABS_Y]
        };
        Self {
            keys: ioctl::codes(device, EV_KEY),
            relative: ioctl::codes(device, EV_REL),
            ranges: axes.map(|axis| ioctl::range(device, axis).unwrap_or((0, 0))),
            absolute,
            properties: ioctl::properties(device),
        }
    }
}

/// How the device points, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pointing {
    None,
    /// A screen that is touched, finger by finger.
    Multitouch,
    /// A screen that is touched, or a virtual machine's pointer: one place, and whether it is down.
    Absolute,
    /// A pad that is touched beside the screen.
    Touchpad,
    Mouse,
}

/// Makes sense of a device's events.
#[derive(Debug)]
pub struct Decoder {
    pointing: Pointing,
    ranges: [(i32, i32); 2],
    contacts: Contacts,
    /// Of an absolute device or a touchpad.
    position: (i32, i32),
    /// Where a touchpad's finger was when it was last told.
    told: Option<(i32, i32)>,
    touching: bool,
    was_touching: bool,
    moved: bool,
    motion: (i32, i32),
    wheel: (i32, i32),
    down: BTreeSet<u16>,
    /// Events were lost: until the next report nothing can be trusted.
    lost: bool,
}

impl Decoder {
    /// For a device of these abilities; none when there is nothing in it for a screen.
    pub fn new(abilities: &Abilities) -> Option<Self> {
        let has = |code| abilities.absolute.has(code);
        let direct = abilities.properties.has(INPUT_PROP_DIRECT);
        let touches = abilities.keys.has(BTN_TOUCH);
        let clicks = abilities.keys.has(BTN_LEFT);
        let pointing = if abilities.keys.has(BTN_TOOL_FINGER) && !direct {
            Pointing::Touchpad
        } else if has(ABS_MT_POSITION_X) && has(ABS_MT_POSITION_Y) && has(ABS_MT_TRACKING_ID) {
            Pointing::Multitouch
        } else if has(ABS_X) && has(ABS_Y) && (touches || clicks) {
            Pointing::Absolute
        } else if abilities.relative.has(REL_X) && abilities.relative.has(REL_Y) {
            Pointing::Mouse
        } else {
            Pointing::None
        };
        // Keys of keyboards, remote controls and cases; buttons of joysticks lie elsewhere.
        let keyboard = (KEY_ESC..0x100)
            .chain(0x160..0x220)
            .any(|code| abilities.keys.has(code));
        (pointing != Pointing::None || keyboard).then(|| Self {
            pointing,
            ranges: abilities.ranges,
            contacts: Contacts::default(),
            position: (0, 0),
            told: None,
            touching: false,
            was_touching: false,
            moved: false,
            motion: (0, 0),
            wheel: (0, 0),
            down: BTreeSet::new(),
            lost: false,
        })
    }

    /// Takes an event; what a person did is told when the device has said everything about it.
    pub fn event(&mut self, event: Event, tell: &mut impl FnMut(Stamped)) {
        if self.lost {
            self.lost = !(event.kind == EV_SYN && event.code == SYN_REPORT);
            return;
        }
        match (event.kind, event.code) {
            (EV_SYN, SYN_REPORT) => self.report(event, tell),
            (EV_SYN, SYN_DROPPED) => {
                self.cancel(event, tell);
                self.lost = true;
            }
            (EV_KEY, code) => self.key(event, code, tell),
            (EV_REL, REL_X) => self.motion.0 = self.motion.0.saturating_add(event.value),
            (EV_REL, REL_Y) => self.motion.1 = self.motion.1.saturating_add(event.value),
            (EV_REL, REL_WHEEL) => self.wheel.1 = self.wheel.1.saturating_add(event.value),
            (EV_REL, REL_HWHEEL) => self.wheel.0 = self.wheel.0.saturating_add(event.value),
            (EV_ABS, ABS_X) => self.place(|position| position.0 = event.value),
            (EV_ABS, ABS_Y) => self.place(|position| position.1 = event.value),
            (EV_ABS, ABS_MT_SLOT) => self.contacts.slot(event.value),
            (EV_ABS, ABS_MT_TRACKING_ID) => self.contacts.tracking(event.value),
            (EV_ABS, ABS_MT_POSITION_X) => self.contacts.x(event.value),
            (EV_ABS, ABS_MT_POSITION_Y) => self.contacts.y(event.value),
            _ => {}
        }
    }

    fn place(&mut self, set: impl FnOnce(&mut (i32, i32))) {
        set(&mut self.position);
        self.moved = true;
    }

    fn key(&mut self, event: Event, code: u16, tell: &mut impl FnMut(Stamped)) {
        let absolute = self.pointing == Pointing::Absolute;
        if code == BTN_TOUCH && self.pointing != Pointing::Multitouch
            || code == BTN_LEFT && absolute
        {
            self.touching = event.value != 0;
            return;
        }
        let action = match event.value {
            0 => KeyAction::Released,
            1 => KeyAction::Pressed,
            2 => KeyAction::Repeated,
            _ => return,
        };
        match action {
            KeyAction::Pressed => _ = self.down.insert(code),
            KeyAction::Released => _ = self.down.remove(&code),
            KeyAction::Repeated => {}
        }
        if let Some(input) = meaning(code, action) {
            tell(Stamped {
                at: event.at,
                input,
            });
        }
    }

    fn report(&mut self, event: Event, tell: &mut impl FnMut(Stamped)) {
        let at = event.at;
        let ranges = self.ranges;
        match self.pointing {
            Pointing::Multitouch => {
                self.contacts.report(
                    |position| share(position, ranges),
                    |touch| {
                        tell(Stamped {
                            at,
                            input: Input::Touch(touch),
                        })
                    },
                );
            }
            Pointing::Absolute => {
                let phase = match (self.was_touching, self.touching) {
                    (false, true) => Some(TouchPhase::Down),
                    (true, true) if self.moved => Some(TouchPhase::Moved),
                    (true, false) => Some(TouchPhase::Up),
                    _ => None,
                };
                if let Some(phase) = phase {
                    let position = share(self.position, ranges);
                    tell(Stamped {
                        at,
                        input: Input::Touch(Touch {
                            contact: 0,
                            phase,
                            position,
                        }),
                    });
                }
                self.was_touching = self.touching;
            }
            Pointing::Touchpad => {
                let told = self
                    .told
                    .replace(self.position)
                    .filter(|_| self.touching && self.was_touching);
                if let Some(told) = told.filter(|told| *told != self.position) {
                    let (from, to) = (share(told, ranges), share(self.position, ranges));
                    tell(Stamped {
                        at,
                        input: Input::MouseMoved {
                            x: (to.0 - from.0) * TOUCHPAD,
                            y: (to.1 - from.1) * TOUCHPAD,
                        },
                    });
                }
                self.was_touching = self.touching;
            }
            Pointing::Mouse | Pointing::None => {}
        }
        self.moved = false;
        let motion = std::mem::take(&mut self.motion);
        if motion != (0, 0) {
            tell(Stamped {
                at,
                input: Input::MouseMoved {
                    x: motion.0 as f32,
                    y: motion.1 as f32,
                },
            });
        }
        let wheel = std::mem::take(&mut self.wheel);
        if wheel != (0, 0) {
            tell(Stamped {
                at,
                input: Input::Wheel {
                    x: wheel.0 as f32,
                    y: wheel.1 as f32,
                },
            });
        }
    }

    /// Everything that is down is lifted, without meaning it: the device is gone, or has lost count.
    pub fn cancel(&mut self, event: Event, tell: &mut impl FnMut(Stamped)) {
        let at = event.at;
        let ranges = self.ranges;
        self.contacts.cancel(
            |position| share(position, ranges),
            |touch| {
                tell(Stamped {
                    at,
                    input: Input::Touch(touch),
                })
            },
        );
        if std::mem::take(&mut self.was_touching) && self.pointing == Pointing::Absolute {
            let position = share(self.position, ranges);
            tell(Stamped {
                at,
                input: Input::Touch(Touch {
                    contact: 0,
                    phase: TouchPhase::Cancelled,
                    position,
                }),
            });
        }
        self.touching = false;
        for code in std::mem::take(&mut self.down) {
            if let Some(input) = meaning(code, KeyAction::Released) {
                tell(Stamped { at, input });
            }
        }
    }
}

fn meaning(code: u16, action: KeyAction) -> Option<Input> {
    let button = match code {
        BTN_LEFT => MouseButton::Left,
        BTN_RIGHT => MouseButton::Right,
        BTN_MIDDLE => MouseButton::Middle,
        BTN_SIDE | BTN_BACK => MouseButton::Back,
        // Further buttons, tools and joysticks.
        0x100..=0x15f | 0x220.. => return None,
        _ => return Some(Input::Key { code, action }),
    };
    (action != KeyAction::Repeated).then_some(Input::MouseButton {
        button,
        pressed: action == KeyAction::Pressed,
    })
}

/// A place as a share of the axes' ranges.
fn share(position: (i32, i32), ranges: [(i32, i32); 2]) -> (f32, f32) {
    let share = |value: i32, (least, most): (i32, i32)| {
        let range = (i64::from(most) - i64::from(least)).max(1) as f64;
        ((i64::from(value) - i64::from(least)) as f64 / range).clamp(0.0, 1.0) as f32
    };
    (share(position.0, ranges[0]), share(position.1, ranges[1]))
}

#[cfg(test)]
mod tests;
