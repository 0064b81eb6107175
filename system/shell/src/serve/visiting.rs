//! `hyper:input/input` and `hyper:screen/view`: this screen for other devices.
//!
//! A visit lasts as long as the stream that its visitor reads: where that is dropped, by whomever, the visit
//! ends on the screen too. Pictures are packed here, on the thread of the bus; the thread of the user interface copies
//! pixels and no more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bus::input::State;
use bus::view::{Part, Picture, Update};
use futures::stream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::shown::Shown;
use super::{RUNNING, Screen};
use crate::display::{Pixel, Rectangle};
use crate::platform::{Captured, Look, UiLoop};
use crate::scene::visits::{Ending, Purpose, Standing, Visitor};

/// The time between two pictures: more of them are seen by nobody.
const PACE: Duration = Duration::from_millis(33);
/// Pixels that are packed at once: at most four bytes each.
const BAND: usize = 64 * 1024;
/// From so many bytes on, what is left comes in another picture.
const ENOUGH: usize = 320 * 1024;

/// A visit that lasts as long as this.
struct Visit {
    id: u64,
    standing: watch::Receiver<Standing>,
    ui: UiLoop,
}

impl Visit {
    /// How it stands, each time that this changes.
    async fn changed(&mut self) -> Standing {
        match self.standing.changed().await {
            Ok(()) => *self.standing.borrow_and_update(),
            // The screen is gone.
            Err(_) => Standing::Over(Ending::Stopped),
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let id = self.id;
        let end = move || {
            if let Some((scene, screen)) = RUNNING.with(|running| running.borrow().clone()) {
                scene.end_visit(id);
                screen.unwatch(id);
            }
        };
        // Where the screen is gone there is nothing to end.
        let _ = self.ui.post(end);
    }
}

impl bus::input::Handler for Screen {
    async fn begin(&self, caller: bus::Caller) -> bus::Outgoing<State> {
        let visitor = Visitor::of(&caller);
        let ui = self.ui.clone();
        let begun = self.ask(move |scene, _| {
            let (id, standing) = scene.begin_visit(visitor, Purpose::Control)?;
            Ok(Visit { id, standing, ui })
        });
        match begun.await {
            Ok(visit) => Box::pin(stream::unfold(Some(visit), async |visit| {
                let mut visit = visit?;
                let state = match visit.changed().await {
                    Standing::Open => State::Taken(visit.id),
                    Standing::Reserved => State::Reserved(visit.id),
                    Standing::Over(ending) => return Some((State::Over(input(ending)), None)),
                };
                Some((state, Some(visit)))
            })),
            Err(ending) => Box::pin(stream::iter([State::Over(input(ending))])),
        }
    }

    async fn send(
        &self,
        caller: bus::Caller,
        session: u64,
        events: Vec<bus::input::Event>,
    ) -> Result<(), bus::input::Error> {
        let visitor = Visitor::of(&caller);
        self.ask(move |scene, _| scene.take_events(&visitor, session, &events))
            .await
    }
}

impl bus::view::Handler for Screen {
    async fn watch(&self, caller: bus::Caller) -> bus::Outgoing<Update> {
        let visitor = Visitor::of(&caller);
        let ui = self.ui.clone();
        let wake = Arc::new(Notify::new());
        let begun = self.ask({
            let wake = Arc::clone(&wake);
            move |scene, screen| {
                let (id, standing) = scene.begin_visit(visitor, Purpose::View)?;
                let visit = Visit { id, standing, ui };
                let wakes = Box::new(move || wake.notify_one());
                if screen.watch(id, wakes) {
                    Ok(visit)
                } else {
                    Err(Ending::Impossible)
                }
            }
        });
        match begun.await {
            Ok(visit) => {
                let viewing = Viewing {
                    visit,
                    screen: Self {
                        ui: self.ui.clone(),
                    },
                    wake,
                    waiting: VecDeque::new(),
                    shown: Shown::default(),
                    not_before: Instant::now(),
                };
                Box::pin(stream::unfold(Some(viewing), async |viewing| {
                    let mut viewing = viewing?;
                    match viewing.next().await {
                        Ok(update) => Some((update, Some(viewing))),
                        Err(ending) => Some((Update::Over(view(ending)), None)),
                    }
                }))
            }
            Err(ending) => Box::pin(stream::iter([Update::Over(view(ending))])),
        }
    }
}

/// Somebody sees this screen.
struct Viewing {
    visit: Visit,
    screen: Screen,
    /// There is something new on the screen.
    wake: Arc<Notify>,
    /// What was seen already and is still to be sent.
    waiting: VecDeque<Update>,
    shown: Shown,
    not_before: Instant,
}

impl Viewing {
    async fn next(&mut self) -> Result<Update, Ending> {
        // What is ready at once is gathered before it is sent: each by itself, so that little waits.
        tokio::task::yield_now().await;
        loop {
            if let Some(update) = self.waiting.pop_front() {
                return Ok(update);
            }
            let news = async {
                self.wake.notified().await;
                tokio::time::sleep_until(self.not_before).await;
            };
            tokio::select! {
                biased;
                standing = self.visit.changed() => {
                    if let Standing::Over(ending) = standing {
                        return Err(ending);
                    }
                    continue;
                }
                () = news => {}
            }
            let id = self.visit.id;
            let look = self
                .screen
                .ask(move |scene, screen| match scene.is_visited(id) {
                    true => screen.look(id),
                    false => Look::Nothing,
                });
            match look.await {
                Look::Nothing => {}
                Look::Dark => {
                    self.shown.forget();
                    self.waiting.push_back(Update::Dark);
                }
                Look::Hidden => {
                    self.shown.forget();
                    self.waiting.push_back(Update::Hidden);
                }
                Look::Picture(captured) => {
                    if let Some(captured) = self.shown.lacks(captured) {
                        self.waiting
                            .extend(pictures(&captured).map(Update::Picture));
                    }
                }
            }
            self.not_before = Instant::now() + PACE;
        }
    }
}

/// What was captured, packed, in pictures that are none of them too large.
fn pictures(captured: &Captured) -> impl Iterator<Item = Picture> {
    let (width, height) = captured.size;
    let empty = || Picture {
        width,
        height,
        parts: Vec::new(),
        whole: false,
    };
    let mut all = Vec::new();
    let (mut now, mut bytes) = (empty(), 0);
    for (place, pixels) in &captured.parts {
        for (place, pixels) in bands(*place, pixels) {
            if bytes >= ENOUGH || now.parts.len() == picture::MOST_PARTS {
                all.push(std::mem::replace(&mut now, empty()));
                bytes = 0;
            }
            let pixels = picture::pack(pixels.iter().map(|pixel| pixel.colours()));
            bytes += pixels.len();
            now.parts.push(Part {
                x: place.x,
                y: place.y,
                width: place.width,
                height: place.height,
                pixels: pixels.into(),
            });
        }
    }
    now.whole = true;
    all.push(now);
    all.into_iter()
}

/// Some rows at a time.
fn bands(place: Rectangle, pixels: &[Pixel]) -> impl Iterator<Item = (Rectangle, &[Pixel])> {
    let rows = (BAND / place.width.max(1) as usize).max(1);
    let bands = pixels.chunks(rows * place.width.max(1) as usize);
    bands.enumerate().map(move |(index, pixels)| {
        let band = Rectangle {
            y: place.y + (index * rows) as u32,
            height: (pixels.len() / place.width.max(1) as usize) as u32,
            ..place
        };
        (band, pixels)
    })
}

fn input(ending: Ending) -> bus::input::Ending {
    use bus::input::Ending as Said;
    match ending {
        Ending::Stopped | Ending::Impossible => Said::Stopped,
        Ending::Recently => Said::Recently,
        Ending::Occupied => Said::Occupied,
        Ending::Replaced => Said::Replaced,
    }
}

fn view(ending: Ending) -> bus::view::Ending {
    use bus::view::Ending as Said;
    match ending {
        Ending::Stopped => Said::Stopped,
        Ending::Recently => Said::Recently,
        Ending::Occupied => Said::Occupied,
        Ending::Replaced => Said::Replaced,
        Ending::Impossible => Said::Impossible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picture::{Canvas, Place};
    use proptest::prelude::*;

    proptest! {
        /// What is captured arrives as it was, in pictures that may be sent.
        #[test]
        fn pictures_put_together_are_what_was_captured(
            width in 1u32..400, height in 1u32..600, noise: u32,
        ) {
            let pixels: Vec<Pixel> = (0..width * height)
                // Half of it noise, which packs worst.
                .map(|i| i.wrapping_mul((i % 2 * noise) | 1).to_le_bytes())
                .map(|[red, green, blue, _]| Pixel::new(red, green, blue))
                .collect();
            let part = (Rectangle::of_size(width, height), pixels.clone());
            let captured = Captured { size: (width, height), parts: vec![part] };
            let mut canvas = Canvas::default();
            let pictures: Vec<_> = pictures(&captured).collect();
            for (index, sent) in pictures.iter().enumerate() {
                prop_assert_eq!(sent.whole, index + 1 == pictures.len());
                let bytes: usize = sent.parts.iter().map(|part| part.pixels.len()).sum();
                prop_assert!(bytes <= 600 * 1024);
                let parts: Vec<_> = sent.parts.iter().map(|part| picture::Part {
                    place: Place { x: part.x, y: part.y, width: part.width, height: part.height },
                    packed: &part.pixels,
                }).collect();
                canvas.put(sent.width, sent.height, &parts).unwrap();
            }
            let expected: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.colours()).collect();
            prop_assert_eq!(canvas.pixels(), expected);
        }
    }
}
