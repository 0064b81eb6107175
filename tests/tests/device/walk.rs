//! A finger that walks over the phone's screen, and the pictures that it leaves.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use xtask::{
    machine::{Machine, Picture},
    paths,
};

/// How long a drag takes: a calm finger.
const DRAG: Duration = Duration::from_millis(400);

/// Two pictures this far apart that are the same: nothing moves any more.
const STILL: Duration = Duration::from_millis(300);

/// When a person touches again what did nothing. On a computer that is short of time a page can look
/// still although it is on its way, and then the finger catches it.
const AGAIN: Duration = Duration::from_secs(20);

/// A place in logical pixels, from the top left of a phone of 360 × 800.
pub type Place = (f64, f64);

/// The arrow at the top of every page.
pub const BACK: Place = (32.0, 60.0);

/// The icons in the status row.
const STATUS: [f64; 4] = [280.0, 6.0, 350.0, 32.0];

/// What is done once, and once more whenever it has done nothing for [`AGAIN`].
pub struct Again(Option<Instant>);

impl Again {
    /// It has not been done.
    pub fn new() -> Self {
        Self(None)
    }

    /// Does it, if it is time to.
    pub fn when_due(&mut self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.0.is_none_or(|done| done.elapsed() > AGAIN) {
            act()?;
            self.0 = Some(Instant::now());
        }
        Ok(())
    }
}

/// A walk over a running device.
pub struct Walk<'a> {
    machine: &'a mut Machine,
    pictures: PathBuf,
    count: usize,
}

impl<'a> Walk<'a> {
    /// Begins wherever the device is. Its pictures go to a folder of this name in
    /// `HYPEROS_PICTURES`, or beside the logs.
    pub fn new(machine: &'a mut Machine, name: &str) -> Result<Self> {
        let folder = match std::env::var_os("HYPEROS_PICTURES") {
            Some(folder) => PathBuf::from(folder),
            None => paths::target(&paths::repository()?)?.join("hyperos/tests/pictures"),
        };
        let pictures = folder.join(name);
        fs::create_dir_all(&pictures)
            .with_context(|| format!("creating {}", pictures.display()))?;
        Ok(Self {
            machine,
            pictures,
            count: 0,
        })
    }

    /// The device.
    pub fn machine(&mut self) -> &mut Machine {
        self.machine
    }

    /// Touches a place and waits for the page that this must lead to.
    pub fn tap(&mut self, at: Place, page: &str) -> Result<Picture> {
        let quoted = format!("\"{page}\"");
        self.touch_until(at, page, |status| status.contains(&quoted))?;
        self.arrive(page)
    }

    /// Goes back until the home screen is there, from wherever another walk ended.
    pub fn go_home(&mut self) -> Result<Picture> {
        loop {
            let before = self.machine.hyper("call screen.status")?;
            if before.contains("\"home\"") {
                return self.arrive("home");
            }
            self.touch_until(BACK, "the page before", |status| status != before)?;
            self.rest()?;
        }
    }

    /// Touches a place until the screen's status is as `accept` wants it.
    fn touch_until(&mut self, at: Place, what: &str, accept: impl Fn(&str) -> bool) -> Result<()> {
        let at = self.machine.logical(at.0, at.1);
        let mut touch = Again::new();
        self.machine.wait_for(what, |machine| {
            touch.when_due(|| machine.tap(at))?;
            Ok(accept(&machine.hyper("call screen.status")?).then_some(()))
        })
    }

    /// Touches a place until another device shows `page`.
    pub fn tap_until_there(&mut self, at: Place, other: &mut Machine, page: &str) -> Result<()> {
        let quoted = format!("\"{page}\"");
        let mut touch = Again::new();
        other.wait_for(page, |other| {
            touch.when_due(|| self.touch(at))?;
            let status = other.hyper("call screen.status")?;
            Ok(status.contains(&quoted).then_some(()))
        })
    }

    /// Touches a place.
    pub fn touch(&mut self, (x, y): Place) -> Result<()> {
        let at = self.machine.logical(x, y);
        self.machine.tap(at)
    }

    /// Draws a finger from one place to another.
    pub fn drag(&mut self, from: Place, to: Place) -> Result<()> {
        let (from, to) = (
            self.machine.logical(from.0, from.1),
            self.machine.logical(to.0, to.1),
        );
        self.machine.drag(from, to, DRAG)
    }

    /// Waits until the shell says that it shows `page` and nothing moves; keeps the picture.
    pub fn arrive(&mut self, page: &str) -> Result<Picture> {
        self.machine.wait_for_page(page)?;
        let picture = self.rest()?;
        self.keep(page, &picture)?;
        Ok(picture)
    }

    /// Keeps a picture under a name, numbered in the order of the walk.
    pub fn keep(&mut self, name: &str, picture: &Picture) -> Result<()> {
        self.count += 1;
        let file = format!("{:02}-{}.png", self.count, name.replace('/', "-"));
        picture.save(&self.pictures.join(file))
    }

    /// The screen once nothing on it moves.
    pub fn rest(&mut self) -> Result<Picture> {
        self.machine.still_picture(STILL)
    }

    /// Waits until the screen is as `accept` wants it, and still.
    pub fn see(&mut self, what: &str, accept: impl Fn(&Picture) -> bool) -> Result<Picture> {
        self.machine.wait_for(what, |machine| {
            let picture = machine.picture()?;
            Ok(accept(&picture).then_some(()))
        })?;
        self.rest()
    }

    /// Waits until a setting has this value: the touch that changes it returns before.
    pub fn setting(&mut self, key: &str, value: &str) -> Result<()> {
        self.machine
            .wait_for_answer(&format!("settings get {key}"), |answer| {
                answer.trim() == value
            })
            .map(drop)
    }

    /// Waits until the icons of the status row are as `accept` wants them, and all is still.
    pub fn see_status(
        &mut self,
        what: &str,
        accept: impl Fn(&[[u8; 3]]) -> bool,
    ) -> Result<Picture> {
        let scale = self.machine.logical(1.0, 1.0).x;
        self.see(what, |picture| accept(&status_icons(picture, scale)))
    }

    /// The icons of the status row, as pixels.
    pub fn status_icons(&self, picture: &Picture) -> Vec<[u8; 3]> {
        status_icons(picture, self.machine.logical(1.0, 1.0).x)
    }
}

fn status_icons(picture: &Picture, scale: f64) -> Vec<[u8; 3]> {
    let [left, top, right, bottom] = STATUS.map(|edge| (edge * scale) as u32);
    (top..bottom)
        .flat_map(|y| (left..right).map(move |x| (x, y)))
        .map(|(x, y)| picture.pixel(x, y))
        .collect()
}

/// How bright a picture is, from 0 to 255.
pub fn brightness(picture: &Picture) -> u64 {
    let sum: u64 = picture.pixels.iter().map(|&part| u64::from(part)).sum();
    sum / picture.pixels.len().max(1) as u64
}

/// Whether the dark theme is shown.
pub fn is_dark(picture: &Picture) -> bool {
    brightness(picture) < 90
}

/// Whether the light theme is shown.
pub fn is_light(picture: &Picture) -> bool {
    brightness(picture) > 165
}
