//! From keys to what they mean: modifiers, layouts, dead keys, and keys that are no text.

use std::collections::HashMap;

use slint::SharedString;
use slint::platform::Key;

use super::KeyAction;
use super::code::*;
use super::layouts::{self, Layout};
use crate::platform::Hardware;

/// What a key means to the screen.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// Text or a named key, as Slint takes it.
    Text(SharedString),
    /// The power key.
    Power,
    /// Another key that the scene acts on as a whole.
    Hardware(Hardware),
    /// Nothing: an unknown key, or a dead key that waits for its letter.
    Nothing,
}

/// All keyboards as one: a modifier on one counts for the keys of the others.
#[derive(Debug)]
pub struct Keyboard {
    layout: &'static Layout,
    /// What each key that is down meant when it was pressed: its release means the same, whatever
    /// became of the modifiers since.
    down: HashMap<u16, SharedString>,
    dead: Option<char>,
    caps_lock: bool,
    num_lock: bool,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self {
            layout: &layouts::LAYOUTS[0],
            down: HashMap::new(),
            dead: None,
            caps_lock: false,
            num_lock: true,
        }
    }
}

impl Keyboard {
    /// Takes another layout for the keys to come; answers whether there is one of this name.
    pub fn set_layout(&mut self, name: &str) -> bool {
        if let Some(layout) = Layout::named(name) {
            self.layout = layout;
            self.dead = None;
        }
        Layout::named(name).is_some()
    }

    /// Takes a key and says what it means.
    pub fn key(&mut self, code: u16, action: KeyAction) -> Meaning {
        match code {
            KEY_POWER | KEY_SLEEP => return Meaning::Power,
            KEY_VOLUMEUP => return Meaning::Hardware(Hardware::VolumeUp),
            KEY_VOLUMEDOWN => return Meaning::Hardware(Hardware::VolumeDown),
            KEY_MUTE => return Meaning::Hardware(Hardware::VolumeMute),
            KEY_HOMEPAGE => return Meaning::Hardware(Hardware::Home),
            KEY_BACK => return Meaning::Hardware(Hardware::Back),
            _ => {}
        }
        match action {
            KeyAction::Pressed => {
                let text = self.pressed(code);
                match text {
                    Some(text) => {
                        self.down.insert(code, text.clone());
                        Meaning::Text(text)
                    }
                    None => Meaning::Nothing,
                }
            }
            // Modifiers and locks do not repeat.
            KeyAction::Repeated
                if modifier(code).is_some() || matches!(code, KEY_CAPSLOCK | KEY_NUMLOCK) =>
            {
                Meaning::Nothing
            }
            KeyAction::Repeated => self
                .down
                .get(&code)
                .cloned()
                .map_or(Meaning::Nothing, Meaning::Text),
            KeyAction::Released => self
                .down
                .remove(&code)
                .map_or(Meaning::Nothing, Meaning::Text),
        }
    }

    fn is_down(&self, codes: [u16; 2]) -> bool {
        codes.iter().any(|code| self.down.contains_key(code))
    }

    fn pressed(&mut self, code: u16) -> Option<SharedString> {
        match code {
            KEY_CAPSLOCK => self.caps_lock = !self.caps_lock,
            KEY_NUMLOCK => self.num_lock = !self.num_lock,
            _ => {}
        }
        if let Some(key) = modifier(code)
            .or_else(|| named(code))
            .or_else(|| self.keypad(code))
        {
            if modifier(code).is_none() {
                self.dead = None;
            }
            return Some(key);
        }
        let shift = self.is_down([KEY_LEFTSHIFT, KEY_RIGHTSHIFT]);
        let altgr = self.down.contains_key(&KEY_RIGHTALT);
        let mut character = self.layout.character(code, shift, altgr)?;
        if self.caps_lock && character.is_alphabetic() {
            let mut other: Box<dyn Iterator<Item = char>> = if character.is_lowercase() {
                Box::new(character.to_uppercase())
            } else {
                Box::new(character.to_lowercase())
            };
            character = other.next().unwrap_or(character);
        }
        let shortcut = self.is_down([KEY_LEFTCTRL, KEY_RIGHTCTRL])
            || self.is_down([KEY_LEFTMETA, KEY_RIGHTMETA]);
        if shortcut {
            return Some(character.into());
        }
        match self.dead.take() {
            Some(dead) => Some(match layouts::accented(dead, character) {
                Some(accented) => accented.into(),
                // An accent twice, or on what cannot carry it, stands by itself.
                None if dead == character => dead.into(),
                None => SharedString::from(format!("{dead}{character}")),
            }),
            None if self.layout.is_dead(character) => {
                self.dead = Some(character);
                None
            }
            None => Some(character.into()),
        }
    }

    fn keypad(&self, code: u16) -> Option<SharedString> {
        let index = match code {
            KEY_KP7..=KEY_KP9 => code - KEY_KP7 + 7,
            KEY_KP4..=KEY_KP6 => code - KEY_KP4 + 4,
            KEY_KP1..=KEY_KP3 => code - KEY_KP1 + 1,
            KEY_KP0 => 0,
            KEY_KPDOT => 10,
            _ => return None,
        };
        if self.num_lock {
            return "0123456789."
                .chars()
                .nth(index.into())
                .map(SharedString::from);
        }
        let key = match index {
            0 => Key::Insert,
            1 => Key::End,
            2 => Key::DownArrow,
            3 => Key::PageDown,
            4 => Key::LeftArrow,
            6 => Key::RightArrow,
            7 => Key::Home,
            8 => Key::UpArrow,
            9 => Key::PageUp,
            10 => Key::Delete,
            _ => return None,
        };
        Some(key.into())
    }
}

fn modifier(code: u16) -> Option<SharedString> {
    let key = match code {
        KEY_LEFTSHIFT => Key::Shift,
        KEY_RIGHTSHIFT => Key::ShiftR,
        KEY_LEFTCTRL => Key::Control,
        KEY_RIGHTCTRL => Key::ControlR,
        KEY_LEFTALT => Key::Alt,
        KEY_RIGHTALT => Key::AltGr,
        KEY_LEFTMETA => Key::Meta,
        KEY_RIGHTMETA => Key::MetaR,
        KEY_CAPSLOCK => Key::CapsLock,
        _ => return None,
    };
    Some(key.into())
}

fn named(code: u16) -> Option<SharedString> {
    const FUNCTION: [Key; 12] = [
        Key::F1,
        Key::F2,
        Key::F3,
        Key::F4,
        Key::F5,
        Key::F6,
        Key::F7,
        Key::F8,
        Key::F9,
        Key::F10,
        Key::F11,
        Key::F12,
    ];
    let key = match code {
        KEY_ESC => Key::Escape,
        KEY_BACKSPACE => Key::Backspace,
        KEY_TAB => Key::Tab,
        KEY_ENTER | KEY_KPENTER | KEY_OK | KEY_SELECT => Key::Return,
        KEY_SPACE => Key::Space,
        KEY_HOME => Key::Home,
        KEY_END => Key::End,
        KEY_UP => Key::UpArrow,
        KEY_DOWN => Key::DownArrow,
        KEY_LEFT => Key::LeftArrow,
        KEY_RIGHT => Key::RightArrow,
        KEY_PAGEUP => Key::PageUp,
        KEY_PAGEDOWN => Key::PageDown,
        KEY_INSERT => Key::Insert,
        KEY_DELETE => Key::Delete,
        KEY_COMPOSE => Key::Menu,
        KEY_F1..=KEY_F10 => FUNCTION[usize::from(code - KEY_F1)],
        KEY_F11..=KEY_F12 => FUNCTION[usize::from(code - KEY_F11) + 10],
        KEY_KPASTERISK => return Some("*".into()),
        KEY_KPMINUS => return Some("-".into()),
        KEY_KPPLUS => return Some("+".into()),
        KEY_KPSLASH => return Some("/".into()),
        _ => return None,
    };
    Some(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY_E: u16 = 18;
    const KEY_S: u16 = 31;
    const DEAD_ACUTE: u16 = KEY_APOSTROPHE;

    fn typed(keyboard: &mut Keyboard, code: u16) -> String {
        let pressed = keyboard.key(code, KeyAction::Pressed);
        keyboard.key(code, KeyAction::Released);
        match pressed {
            Meaning::Text(text) => text.into(),
            _ => String::new(),
        }
    }

    #[test]
    fn shift_caps_lock_and_both() {
        let mut keyboard = Keyboard::default();
        assert_eq!(typed(&mut keyboard, KEY_S), "s");
        keyboard.key(KEY_RIGHTSHIFT, KeyAction::Pressed);
        assert_eq!(typed(&mut keyboard, KEY_S), "S");
        assert_eq!(typed(&mut keyboard, KEY_1), "!");
        typed(&mut keyboard, KEY_CAPSLOCK);
        assert_eq!(typed(&mut keyboard, KEY_S), "s");
        keyboard.key(KEY_RIGHTSHIFT, KeyAction::Released);
        assert_eq!(typed(&mut keyboard, KEY_S), "S");
        assert_eq!(typed(&mut keyboard, KEY_1), "1");
    }

    #[test]
    fn a_dead_key_waits_for_its_letter() {
        let mut keyboard = Keyboard::default();
        assert!(keyboard.set_layout("es"));
        assert_eq!(typed(&mut keyboard, DEAD_ACUTE), "");
        assert_eq!(typed(&mut keyboard, KEY_E), "é");
        assert_eq!(typed(&mut keyboard, DEAD_ACUTE), "");
        assert_eq!(typed(&mut keyboard, KEY_S), "ś");
        assert_eq!(typed(&mut keyboard, DEAD_ACUTE), "");
        assert_eq!(typed(&mut keyboard, DEAD_ACUTE), "´");
        assert_eq!(typed(&mut keyboard, DEAD_ACUTE), "");
        assert_eq!(typed(&mut keyboard, KEY_1), "´1");
        assert_eq!(typed(&mut keyboard, DEAD_ACUTE), "");
        typed(&mut keyboard, KEY_ESC);
        assert_eq!(typed(&mut keyboard, KEY_E), "e");
    }

    #[test]
    fn a_key_is_released_as_what_it_was_pressed_as() {
        let mut keyboard = Keyboard::default();
        keyboard.key(KEY_LEFTSHIFT, KeyAction::Pressed);
        let pressed = keyboard.key(KEY_S, KeyAction::Pressed);
        keyboard.key(KEY_LEFTSHIFT, KeyAction::Released);
        assert_eq!(keyboard.key(KEY_S, KeyAction::Repeated), pressed);
        assert_eq!(keyboard.key(KEY_S, KeyAction::Released), pressed);
    }

    #[test]
    fn shortcuts_take_the_plain_letter() {
        let mut keyboard = Keyboard::default();
        keyboard.key(KEY_LEFTCTRL, KeyAction::Pressed);
        assert_eq!(typed(&mut keyboard, KEY_S), "s");
    }

    #[test]
    fn an_unknown_layout_changes_nothing() {
        let mut keyboard = Keyboard::default();
        assert!(!keyboard.set_layout("klingon"));
        assert_eq!(typed(&mut keyboard, KEY_S), "s");
    }

    proptest! {
        #[test]
        fn no_order_of_keys_confuses_it(keys in proptest::collection::vec((0u16..600, 0..3), 0..300), layout in 0usize..4) {
            let mut keyboard = Keyboard::default();
            keyboard.set_layout(layouts::LAYOUTS[layout].name);
            for (code, action) in &keys {
                let action = [KeyAction::Released, KeyAction::Pressed, KeyAction::Repeated][*action as usize];
                let meaning = keyboard.key(*code, action);
                if action != KeyAction::Pressed && !keys.iter().any(|(other, a)| other == code && *a == 1) {
                    prop_assert!(!matches!(meaning, Meaning::Text(_)), "{code} was never pressed");
                }
            }
            for code in 0..600 {
                keyboard.key(code, KeyAction::Released);
            }
            prop_assert!(keyboard.down.is_empty());
        }
    }
}
