//! What changed on the screen, for somebody who sees it from elsewhere.
//!
//! Each watcher has a tap, which gathers where something was drawn since it looked last. Looking copies
//! these parts and nothing else; packing and sending them is not the business of this thread. A watcher is woken
//! when there is something to see, and asks in its own time: what is drawn meanwhile comes together.
//!
//! What only somebody at the device may see is never handed out: neither while it is to be shown, nor for as
//! long as it stands in the picture that was drawn last.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::screen::Screen;
use crate::display::{Canvas, Pixel, Rectangle, Region};

/// What a watcher sees.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// Nothing new.
    Nothing,
    /// The display is off.
    Dark,
    /// What is there is for somebody at the device alone.
    Hidden,
    /// This changed.
    Picture(Captured),
}

/// Parts of a screen.
#[derive(Debug, Clone, PartialEq)]
pub struct Captured {
    /// Of the whole screen, in pixels.
    pub size: (u32, u32),
    /// Each with its pixels, row by row.
    pub parts: Vec<(Rectangle, Vec<Pixel>)>,
}

/// What was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Picture,
    Dark,
    Hidden,
}

struct Tap {
    changed: Region,
    /// All of it is to be seen anew.
    whole: bool,
    told: Option<Told>,
    wake: Box<dyn Fn()>,
}

/// Says whether what is on the screen is for somebody at the device alone.
pub type Reserved = Rc<dyn Fn() -> bool>;

#[derive(Default)]
pub(super) struct Taps {
    all: BTreeMap<u64, Tap>,
    reserved: Option<Reserved>,
    /// Whether that was so when the canvas was drawn last.
    drawn_reserved: bool,
}

impl Screen {
    pub(super) fn reserve(&self, reserved: Reserved) {
        self.taps.borrow_mut().reserved = Some(reserved);
    }

    pub(super) fn watch(&self, watcher: u64, wake: Box<dyn Fn()>) {
        wake();
        let tap = Tap {
            changed: Region::new(),
            whole: true,
            told: None,
            wake,
        };
        self.taps.borrow_mut().all.insert(watcher, tap);
    }

    pub(super) fn unwatch(&self, watcher: u64) {
        self.taps.borrow_mut().all.remove(&watcher);
    }

    /// The canvas was drawn, and differs from what it was in these parts.
    pub(super) fn note_drawn(&self, damage: &Region) {
        let reserved = self.is_reserved();
        let mut taps = self.taps.borrow_mut();
        let other = std::mem::replace(&mut taps.drawn_reserved, reserved) != reserved;
        if damage.is_empty() && !other {
            return;
        }
        for tap in taps.all.values_mut() {
            tap.changed.extend(damage);
            (tap.wake)();
        }
    }

    /// The display was lit or turned off.
    pub(super) fn wake_watchers(&self) {
        for tap in self.taps.borrow().all.values() {
            (tap.wake)();
        }
    }

    fn is_reserved(&self) -> bool {
        let reserved = self.taps.borrow().reserved.clone();
        reserved.is_some_and(|reserved| reserved())
    }

    pub(super) fn look(&self, watcher: u64) -> Look {
        let now = if !self.lit.get() {
            Told::Dark
        } else if self.is_reserved() || self.taps.borrow().drawn_reserved {
            Told::Hidden
        } else {
            Told::Picture
        };
        let output = self.output.borrow();
        let mut taps = self.taps.borrow_mut();
        let Some(tap) = taps.all.get_mut(&watcher) else {
            return Look::Nothing;
        };
        if now != Told::Picture {
            tap.whole = true;
            let before = tap.told.replace(now);
            return match now {
                _ if before == Some(now) => Look::Nothing,
                Told::Dark => Look::Dark,
                _ => Look::Hidden,
            };
        }
        // What is in the canvas was not drawn for this display: it will be.
        if output.is_to_be_drawn() {
            tap.whole = true;
            return Look::Nothing;
        }
        let canvas = &output.canvas;
        let all = Rectangle::of_size(canvas.width(), canvas.height());
        let mut changed = std::mem::take(&mut tap.changed);
        if std::mem::take(&mut tap.whole) {
            changed = all.into();
        } else if changed.area() > all.area() {
            // Parts that overlap so much are better sent as one.
            changed = changed.bounds().into();
        }
        tap.told = Some(Told::Picture);
        if changed.is_empty() {
            return Look::Nothing;
        }
        Look::Picture(Captured {
            size: (canvas.width(), canvas.height()),
            parts: changed
                .rectangles()
                .iter()
                .map(|part| part.intersection(all))
                .filter(|part| !part.is_empty())
                .map(|part| (part, copied(canvas, part)))
                .collect(),
        })
    }
}

fn copied(canvas: &Canvas, part: Rectangle) -> Vec<Pixel> {
    let mut pixels = Vec::with_capacity(part.area() as usize);
    for (_, row) in canvas.rows(part) {
        pixels.extend_from_slice(row);
    }
    pixels
}
