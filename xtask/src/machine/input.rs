//! Touching a machine's screen and pressing its keys.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Machine;

/// QEMU's range for both axes of an absolute pointer.
const RANGE: f64 = 32767.0;

/// How often a moving finger is reported.
const STEP: Duration = Duration::from_millis(16);

/// How long a finger or a key stays down for a tap.
const TAP: Duration = Duration::from_millis(60);

/// A place on the screen, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
}

impl Machine {
    /// The place with these logical coordinates.
    #[must_use]
    pub fn logical(&self, x: f64, y: f64) -> Point {
        let scale = self.options.display.map_or(1.0, |display| display.scale);
        Point {
            x: x * scale,
            y: y * scale,
        }
    }

    /// Touches the screen for a moment.
    ///
    /// # Errors
    ///
    /// Fails when the machine has no display or QEMU refuses.
    pub fn tap(&mut self, at: Point) -> Result<()> {
        self.move_to(at)?;
        self.touch(true)?;
        thread::sleep(TAP);
        self.touch(false)
    }

    /// Touches the screen and stays for `time`.
    ///
    /// # Errors
    ///
    /// Fails as [`Machine::tap`] does.
    pub fn hold(&mut self, at: Point, time: Duration) -> Result<()> {
        self.move_to(at)?;
        self.touch(true)?;
        thread::sleep(time);
        self.touch(false)
    }

    /// Moves a finger from one place to another in `time`, evenly.
    ///
    /// # Errors
    ///
    /// Fails as [`Machine::tap`] does.
    pub fn drag(&mut self, from: Point, to: Point, time: Duration) -> Result<()> {
        self.move_to(from)?;
        self.touch(true)?;
        let begin = Instant::now();
        loop {
            let part = (begin.elapsed().as_secs_f64() / time.as_secs_f64()).min(1.0);
            self.move_to(Point {
                x: from.x + (to.x - from.x) * part,
                y: from.y + (to.y - from.y) * part,
            })?;
            if part >= 1.0 {
                return self.touch(false);
            }
            thread::sleep(STEP);
        }
    }

    /// Moves the pointer.
    ///
    /// # Errors
    ///
    /// Fails as [`Machine::tap`] does.
    pub fn move_to(&mut self, at: Point) -> Result<()> {
        let display = self
            .options
            .display
            .context("the machine has no display to touch")?;
        let axis = |axis: &str, value: f64, size: u32| {
            let value = (value / f64::from(size) * RANGE).round().clamp(0.0, RANGE) as u32;
            json!({ "type": "abs", "data": { "axis": axis, "value": value } })
        };
        self.input(json!([
            axis("x", at.x, display.width),
            axis("y", at.y, display.height)
        ]))
    }

    /// Puts the finger down, or lifts it.
    ///
    /// # Errors
    ///
    /// Fails when QEMU refuses.
    pub fn touch(&mut self, down: bool) -> Result<()> {
        self.input(json!([{ "type": "btn", "data": { "down": down, "button": "left" } }]))
    }

    /// Presses a key for a moment, by QEMU's name for it: `esc`, `ret`, `power`, `volumeup`.
    ///
    /// # Errors
    ///
    /// Fails when QEMU does not know it.
    pub fn key(&mut self, name: &str) -> Result<()> {
        self.set_key(name, true)?;
        thread::sleep(TAP);
        self.set_key(name, false)
    }

    /// Presses a key down, or lets it go.
    ///
    /// # Errors
    ///
    /// Fails when QEMU does not know it.
    pub fn set_key(&mut self, name: &str, down: bool) -> Result<()> {
        let key = json!({ "type": "qcode", "data": name });
        self.input(json!([{ "type": "key", "data": { "down": down, "key": key } }]))
    }

    /// Types lower-case letters, digits and spaces.
    ///
    /// # Errors
    ///
    /// Fails for any other character.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        for character in text.chars() {
            match character {
                'a'..='z' | '0'..='9' => self.key(character.encode_utf8(&mut [0; 4]))?,
                ' ' => self.key("spc")?,
                _ => bail!("{character:?} has no key of its own on every keyboard"),
            }
        }
        Ok(())
    }

    fn input(&mut self, events: Value) -> Result<()> {
        self.qmp
            .execute("input-send-event", json!({ "events": events }))
            .map(drop)
    }
}
