//! Other devices at this screen: those that control it and those that see it.
//!
//! Each visit stands on the screen as a mark that says who it is, for as long as it lasts, and the mark ends it.
//! So does the power key, whatever else is on the screen. A device that was ended is refused for a minute,
//! so that ending it is an end.
//!
//! What only somebody at the device may see and answer is reserved: no input reaches it, and nobody
//! sees it. What is reserved is decided here alone ([`Scene::is_reserved`]).

use super::Scene;
use super::navigation::Navigation;
use super::present::model;
use super::wire::Handle;
use crate::input::TouchPhase;
use crate::platform::Injected;
use bus::input::{Error, Event, Key, Phase};
use slint::ComponentHandle as _;
use std::time::Duration;
use tokio::sync::watch;

/// Rooms that are for somebody at the device alone: there the owner says whom to trust, and with what.
const RESERVED: [&str; 4] = ["pairing", "grants", "paper", "restore"];
/// How long a device is refused that was ended.
const REFUSED: Duration = Duration::from_secs(60);
/// Events of one call.
const MOST_EVENTS: usize = 64;
/// Events of a second.
const EVENTS_A_SECOND: f32 = 400.0;
/// Characters of a text.
const LONGEST_TEXT: usize = 256;
/// The longest way at once, in logical pixels.
const LONGEST_WAY: f32 = 100_000.0;
/// So many devices can see the screen at once.
const MOST_WATCHERS: usize = 2;

/// What somebody visits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To control the screen.
    Control,
    /// To see it.
    View,
}

/// Who visits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// What tells it from others: of a device, its id.
    pub key: String,
    /// What people call it.
    pub name: String,
}

impl Visitor {
    /// Whoever makes a call.
    pub fn of(caller: &bus::Caller) -> Self {
        match caller.device() {
            Some(device) => Self {
                key: device.id.to_string(),
                name: device.name.to_string(),
            },
            // No program's name is that of a device, for those have a space in them.
            None => Self {
                key: caller.name(),
                name: caller.name(),
            },
        }
    }
}

/// Why there is no visit, or none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Somebody at the device ended it.
    Stopped,
    /// Somebody at the device ended one of the same visitor a short while ago.
    Recently,
    /// There is no room for another one.
    Occupied,
    /// The same visitor came again.
    Replaced,
    /// This screen cannot be seen from elsewhere.
    Impossible,
}

/// How a visit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It goes on.
    Open,
    /// It goes on, and what is on the screen is for somebody at the device alone.
    Reserved,
    /// It is over.
    Over(Ending),
}

struct Visit {
    id: u64,
    visitor: Visitor,
    purpose: Purpose,
    standing: watch::Sender<Standing>,
    /// How many events may still come, at that time.
    left: (f32, Duration),
}

/// All visits.
#[derive(Default)]
pub(super) struct Visits {
    all: Vec<Visit>,
    last: u64,
    /// Who was ended by somebody at the device, and when.
    ended: Vec<(String, Duration)>,
}

impl Visits {
    /// Ends those for which this holds.
    fn end(&mut self, why: Ending, of: impl Fn(&Visit) -> bool) {
        self.all.retain(|visit| {
            let ends = of(visit);
            if ends {
                visit.standing.send_replace(Standing::Over(why));
            }
            !ends
        });
    }

    fn was_ended(&mut self, key: &str, now: Duration) -> bool {
        self.ended
            .retain(|(_, at)| now.saturating_sub(*at) < REFUSED);
        self.ended.iter().any(|(ended, _)| ended == key)
    }
}

impl Navigation {
    /// Whether some of this room can be seen, or is about to be.
    pub(super) fn shows(&self, room: &str) -> bool {
        use super::navigation::Panel;
        let (top, under) = self.rooms();
        let page = self.shown(Panel::Page);
        let unlocked = self.shown(Panel::Lock) < 1.0;
        unlocked && (top == room || (under == room && page < 1.0))
    }
}

impl Scene {
    /// Whether what is on the screen is for somebody at the device alone: a question to the owner, a pairing,
    /// words of the paper phrase, what the owner has said about devices, that this one is lost. No input from elsewhere reaches it, and it is not seen elsewhere.
    pub fn is_reserved(&self) -> bool {
        let navigation = self.0.navigation.borrow();
        self.0.window.global::<ui::Consent<'_>>().get_shown()
            || navigation.is_kept()
            || RESERVED.iter().any(|room| navigation.shows(room))
    }

    /// Somebody visits from now on. How it stands comes by what is answered, with its number.
    pub fn begin_visit(
        &self,
        visitor: Visitor,
        purpose: Purpose,
    ) -> Result<(u64, watch::Receiver<Standing>), Ending> {
        let now = (self.0.surroundings.now)();
        let standing = if self.is_reserved() {
            Standing::Reserved
        } else {
            Standing::Open
        };
        let begun = {
            let mut visits = self.0.visits.borrow_mut();
            if visits.was_ended(&visitor.key, now) {
                return Err(Ending::Recently);
            }
            visits.end(Ending::Replaced, |visit| {
                visit.purpose == purpose && visit.visitor.key == visitor.key
            });
            let others = visits.all.iter();
            let others = others.filter(|visit| visit.purpose == purpose).count();
            let room = match purpose {
                Purpose::Control => 1,
                Purpose::View => MOST_WATCHERS,
            };
            if others >= room {
                return Err(Ending::Occupied);
            }
            tracing::info!("{} begins to {}", visitor.name, purpose.word());
            visits.last += 1;
            let id = visits.last;
            let (sender, mut receiver) = watch::channel(standing);
            // What it is at the beginning is told too.
            receiver.mark_changed();
            visits.all.push(Visit {
                id,
                visitor,
                purpose,
                standing: sender,
                left: (EVENTS_A_SECOND, now),
            });
            (id, receiver)
        };
        self.present_visits();
        Ok(begun)
    }

    /// Whether a visit goes on.
    pub fn is_visited(&self, id: u64) -> bool {
        let visits = self.0.visits.borrow();
        visits.all.iter().any(|visit| visit.id == id)
    }

    /// The visitor is gone.
    pub fn end_visit(&self, id: u64) {
        self.end_visits(Ending::Replaced, |visit| visit.id == id);
    }

    /// Somebody at the device ends all visits.
    pub fn stop_all_visits(&self) {
        self.stop_visits(|_| true);
    }

    /// Somebody at the device ends visits; their visitors are refused for a while.
    fn stop_visits(&self, of: impl Fn(&Visit) -> bool) {
        let now = (self.0.surroundings.now)();
        {
            let mut visits = self.0.visits.borrow_mut();
            let ended = visits.all.iter().filter(|visit| of(visit));
            let ended: Vec<_> = ended
                .map(|visit| (visit.visitor.key.clone(), now))
                .collect();
            visits.ended.extend(ended);
        }
        self.end_visits(Ending::Stopped, of);
    }

    fn end_visits(&self, why: Ending, of: impl Fn(&Visit) -> bool) {
        let controls = |scene: &Self| {
            let visits = scene.0.visits.borrow();
            let mut all = visits.all.iter();
            all.any(|visit| visit.purpose == Purpose::Control)
        };
        let before = controls(self);
        self.0.visits.borrow_mut().end(why, of);
        if before && !controls(self) {
            self.0.display.inject(&Injected::LetGo);
        }
        self.present_visits();
    }

    /// Something else is on the screen, perhaps something that is reserved: who controls it hears so.
    pub(super) fn tell_visits(&self) {
        if self.0.visits.borrow().all.is_empty() {
            return;
        }
        let reserved = self.is_reserved();
        let now = if reserved {
            Standing::Reserved
        } else {
            Standing::Open
        };
        let mut changed = false;
        for visit in &self.0.visits.borrow().all {
            changed |= visit
                .standing
                .send_if_modified(|standing| std::mem::replace(standing, now) != now);
        }
        if changed && reserved {
            // What was held down before means nothing there.
            self.0.display.inject(&Injected::LetGo);
        }
    }

    /// Does what a visitor sends who controls the screen.
    pub fn take_events(&self, visitor: &Visitor, id: u64, events: &[Event]) -> Result<(), Error> {
        let now = (self.0.surroundings.now)();
        if events.len() > MOST_EVENTS {
            return Err(Error::TooMany);
        }
        {
            let mut visits = self.0.visits.borrow_mut();
            let mut all = visits.all.iter_mut();
            let visit = all.find(|visit| {
                visit.id == id && visit.purpose == Purpose::Control && visit.visitor == *visitor
            });
            let visit = visit.ok_or(Error::Over)?;
            let (left, then) = visit.left;
            let more = now.saturating_sub(then).as_secs_f32() * EVENTS_A_SECOND;
            let left = (left + more).min(EVENTS_A_SECOND) - events.len() as f32;
            if left < 0.0 {
                return Err(Error::TooMany);
            }
            visit.left = (left, now);
        }
        for event in events {
            check(event).map_err(Error::Unfit)?;
        }
        for event in events {
            // Looked at before each: the one before may have led there.
            if self.is_reserved() {
                self.0.display.inject(&Injected::LetGo);
                return Err(Error::Reserved);
            }
            self.take_event(event);
        }
        Ok(())
    }

    fn take_event(&self, event: &Event) {
        self.touched();
        let display = &self.0.display;
        let key = |key: slint::platform::Key| Injected::Key(key.into());
        match event {
            Event::Key(Key::Power) => self.set_power(!display.is_on()),
            Event::Key(_) if !display.is_on() => self.set_power(true),
            Event::Key(Key::Back) => self.back_key(),
            Event::Key(Key::Home) => self.home_key(),
            Event::Key(named) => {
                use slint::platform::Key as Named;
                display.inject(&key(match named {
                    Key::Up => Named::UpArrow,
                    Key::Down => Named::DownArrow,
                    Key::Left => Named::LeftArrow,
                    Key::Right => Named::RightArrow,
                    Key::Backspace => Named::Backspace,
                    _ => Named::Return,
                }));
            }
            Event::Text(text) => {
                for character in text.chars() {
                    // Each may lead elsewhere.
                    if self.is_reserved() {
                        return;
                    }
                    display.inject(&Injected::Key(character.into()));
                }
            }
            Event::Move(way) => display.inject(&Injected::Moved { x: way.x, y: way.y }),
            Event::Button(pressed) => display.inject(&Injected::Button(*pressed)),
            Event::Scroll(way) => display.inject(&Injected::Scrolled { x: way.x, y: way.y }),
            Event::Touch(finger) => display.inject(&Injected::Touch {
                phase: match finger.phase {
                    Phase::Down => TouchPhase::Down,
                    Phase::Moved => TouchPhase::Moved,
                    Phase::Up => TouchPhase::Up,
                    Phase::Cancelled => TouchPhase::Cancelled,
                },
                position: (finger.x, finger.y),
            }),
        }
    }

    /// Who is there, as marks on the screen.
    fn present_visits(&self) {
        let mut marks: Vec<ui::Visit> = Vec::new();
        for visit in &self.0.visits.borrow().all {
            let key = visit.visitor.key.as_str();
            let mark = match marks.iter_mut().find(|mark| mark.key == key) {
                Some(mark) => mark,
                None => {
                    marks.push(ui::Visit {
                        key: key.into(),
                        name: visit.visitor.name.as_str().into(),
                        ..ui::Visit::default()
                    });
                    let last = marks.len() - 1;
                    &mut marks[last]
                }
            };
            mark.sees |= visit.purpose == Purpose::View;
            mark.controls |= visit.purpose == Purpose::Control;
        }
        let global = self.0.window.global::<ui::Visits<'_>>();
        global.set_all(model(marks));
    }

    pub(super) fn wire_visits(&self, scene: &Handle) {
        let handle = scene.clone();
        let global = self.0.window.global::<ui::Visits<'_>>();
        global.on_stop(move |key| {
            handle.with(|scene| scene.stop_visits(|visit| visit.visitor.key == key.as_str()));
        });
    }
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Control => "control this screen",
            Self::View => "see this screen",
        }
    }
}

/// Whether an event is what the interface says.
fn check(event: &Event) -> Result<(), String> {
    match event {
        Event::Text(text) => check_text(text),
        Event::Move(way) | Event::Scroll(way) => {
            let fits = |way: f32| way.abs() <= LONGEST_WAY;
            if fits(way.x) && fits(way.y) {
                return Ok(());
            }
            Err(format!("a way of {} × {} is none", way.x, way.y))
        }
        Event::Touch(finger) if !finger.x.is_finite() || !finger.y.is_finite() => Err(format!(
            "a finger at {} × {} is nowhere",
            finger.x, finger.y
        )),
        Event::Touch(_) | Event::Key(_) | Event::Button(_) => Ok(()),
    }
}

/// Whether a text is one: the toolkit has its named keys among the characters for private use.
fn check_text(text: &str) -> Result<(), String> {
    let private = ['\u{e000}'..='\u{f8ff}', '\u{f0000}'..='\u{10ffff}'];
    let count = text.chars().count();
    if count > LONGEST_TEXT {
        return Err(format!(
            "a text of {count} characters is longer than {LONGEST_TEXT}"
        ));
    }
    let odd = |c: &char| c.is_control() || private.iter().any(|range| range.contains(c));
    match text.chars().find(odd) {
        Some(odd) => Err(format!("{odd:?} is no text")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::input::{Finger, Way};

    #[test]
    fn what_no_person_does_is_refused() {
        let way = |x, y| Way { x, y };
        for event in [
            Event::Text("\u{1b}".into()),
            Event::Text("\n".into()),
            Event::Text("\u{f700}".into()),
            Event::Text("x".repeat(LONGEST_TEXT + 1)),
            Event::Move(way(f32::NAN, 0.0)),
            Event::Move(way(0.0, f32::INFINITY)),
            Event::Scroll(way(1e9, 0.0)),
            Event::Touch(Finger {
                phase: Phase::Down,
                x: f32::NAN,
                y: 0.5,
            }),
        ] {
            assert!(check(&event).is_err(), "{event:?}");
        }
        for event in [
            Event::Text("字 ñ 🙂".repeat(50)),
            Event::Key(Key::Ok),
            Event::Move(way(-3.5, 2.0)),
        ] {
            assert_eq!(check(&event), Ok(()), "{event:?}");
        }
    }
}
