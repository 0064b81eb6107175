//! The pages that reach another device's screen: its remote control, and its screen in a window of one's own.

use super::Scene;
use super::reach::Wanted;
use super::updates::{Over, Reached, Seen};
use super::wire::Handle;
use bus::input::{Event, Finger, Key, Phase, Way};
use slint::{ComponentHandle as _, Image};

/// How far the pointer goes there for a way of a finger here.
const REACH: f32 = 1.8;

/// What is known of the device that is reached.
#[derive(Default)]
pub(super) struct Afar {
    /// How often one was asked for: each time is another.
    times: u64,
    control: Option<Wanted>,
    view: Option<Wanted>,
    /// On the page that shows a screen, whether it was touched.
    touched: bool,
    /// What was in the field when it was last heard of.
    typed: String,
}

impl Afar {
    /// The device that is wanted: the same as before where that is still the one.
    fn want(times: &mut u64, before: &Option<Wanted>, device: Option<&str>) -> Option<Wanted> {
        let device = device?;
        if let Some(same) = before.as_ref().filter(|before| before.device == device) {
            return Some(same.clone());
        }
        *times += 1;
        Some(Wanted {
            device: device.to_owned(),
            time: *times,
        })
    }
}

/// What has to be done to make one text of another, at whose end everything happens: so often backspace, and then
/// this text.
fn difference<'a>(before: &str, now: &'a str) -> (usize, &'a str) {
    let same: usize = before
        .chars()
        .zip(now.chars())
        .take_while(|(before, now)| before == now)
        .map(|(same, _)| same.len_utf8())
        .sum();
    (before[same..].chars().count(), &now[same..])
}

impl Scene {
    /// Reaches the device whose page is open, where the person is on one that needs it.
    pub(super) fn reach_out(&self) {
        let link = self.0.link.borrow();
        let Some(link) = &*link else { return };
        let room = {
            let navigation = self.0.navigation.borrow();
            match navigation.is_locked() {
                true => String::new(),
                false => navigation.rooms().0.to_owned(),
            }
        };
        let known = self.0.known.borrow();
        let shown = Some(known.family.shown()).filter(|shown| !shown.is_empty());
        let mut afar = self.0.afar.borrow_mut();
        afar.touched &= room == "view";
        let control = shown.filter(|_| room == "remote" || afar.touched);
        let view = shown.filter(|_| room == "view");
        let Afar {
            times,
            control: controlled,
            view: viewed,
            typed,
            ..
        } = &mut *afar;
        let control = Afar::want(times, controlled, control);
        if control.is_none() {
            typed.clear();
        }
        let view = Afar::want(times, viewed, view);
        if view.is_none() && viewed.is_some() {
            // What was seen is not kept.
            let global = self.0.window.global::<ui::View<'_>>();
            global.set_image(Image::default());
        }
        controlled.clone_from(&control);
        viewed.clone_from(&view);
        link.control(control);
        link.view(view);
    }

    /// Asks again for what is over.
    fn reach_again(&self) {
        {
            let mut afar = self.0.afar.borrow_mut();
            afar.control = None;
            afar.view = None;
        }
        self.reach_out();
    }

    /// The device that is controlled stands so.
    pub(super) fn take_controlled(&self, standing: Reached) {
        let global = self.0.window.global::<ui::Remote<'_>>();
        global.set_state(state(&standing));
        if let Reached::Over(over) = &standing {
            let (why, reason) = why(over);
            global.set_over(why);
            global.set_reason(reason.into());
        }
    }

    /// This is seen of the device that is seen.
    pub(super) fn take_seen(&self, seen: Seen) {
        let global = self.0.window.global::<ui::View<'_>>();
        match seen {
            Seen::Nothing(standing) => {
                global.set_image(Image::default());
                global.set_state(state(&standing));
                if let Reached::Over(over) = &standing {
                    let (why, reason) = why(over);
                    global.set_over(why);
                    global.set_reason(reason.into());
                }
            }
            Seen::Picture(buffer, taken) => {
                // One that comes after the page was left is not shown.
                if self.0.afar.borrow().view.is_some() {
                    global.set_image(Image::from_rgb8(buffer));
                    global.set_state(ui::Reached::There);
                }
                taken.notify_one();
            }
        }
    }

    fn send(&self, event: Event) {
        if self.0.afar.borrow().control.is_some()
            && let Some(link) = &*self.0.link.borrow()
        {
            link.send(event);
        }
    }

    /// The field has this text now: what it differs in is typed there.
    fn type_afar(&self, text: &str) {
        self.begin_touching();
        let before = std::mem::replace(&mut self.0.afar.borrow_mut().typed, text.to_owned());
        let (back, more) = difference(&before, text);
        for _ in 0..back {
            self.send(Event::Key(Key::Backspace));
        }
        let mut characters = more.chars().peekable();
        while characters.peek().is_some() {
            self.send(Event::Text(characters.by_ref().take(200).collect()));
        }
    }

    /// On the page that shows a screen, controls it too from now on.
    fn begin_touching(&self) {
        let touched = std::mem::replace(&mut self.0.afar.borrow_mut().touched, true);
        if !touched {
            self.reach_out();
        }
    }

    /// The other device's screen is touched where it is shown.
    fn touch_afar(&self, phase: Phase, x: f32, y: f32) {
        self.begin_touching();
        self.send(Event::Touch(Finger { phase, x, y }));
    }

    pub(super) fn wire_afar(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Remote<'_>>();
        let handle = scene.clone();
        global.on_again(move || handle.with(Scene::reach_again));
        let handle = scene.clone();
        global.on_press(move |key| {
            let key = match key {
                ui::RemoteKey::Up => Key::Up,
                ui::RemoteKey::Down => Key::Down,
                ui::RemoteKey::Left => Key::Left,
                ui::RemoteKey::Right => Key::Right,
                ui::RemoteKey::Ok => Key::Ok,
                ui::RemoteKey::Back => Key::Back,
                ui::RemoteKey::Home => Key::Home,
                ui::RemoteKey::Power => Key::Power,
            };
            handle.with(|scene| {
                scene.begin_touching();
                scene.send(Event::Key(key));
            });
        });
        let handle = scene.clone();
        global.on_typed(move |text| handle.with(|scene| scene.type_afar(&text)));
        let handle = scene.clone();
        global.on_accepted(move || {
            handle.with(|scene| {
                scene.0.afar.borrow_mut().typed.clear();
                scene.send(Event::Key(Key::Ok));
            });
        });
        let handle = scene.clone();
        global.on_moved(move |x, y| {
            let way = Way {
                x: x * REACH,
                y: y * REACH,
            };
            handle.with(|scene| scene.send(Event::Move(way)));
        });
        let handle = scene.clone();
        global.on_clicked(move || {
            handle.with(|scene| {
                scene.send(Event::Button(true));
                scene.send(Event::Button(false));
            });
        });
        let handle = scene.clone();
        global.on_scrolled(move |y| {
            let way = Way {
                x: 0.0,
                y: y * REACH,
            };
            handle.with(|scene| scene.send(Event::Scroll(way)));
        });
        self.wire_view(scene);
    }

    fn wire_view(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::View<'_>>();
        let handle = scene.clone();
        global.on_again(move || handle.with(Scene::reach_again));
        let handle = scene.clone();
        global.on_room(move |width, height| {
            handle.with(|scene| {
                if let Some(link) = &*scene.0.link.borrow() {
                    let scale = scene.0.window.window().scale_factor();
                    let pixels = |length: f32| (length * scale).floor().max(0.0) as u32;
                    link.room((pixels(width), pixels(height)));
                }
            });
        });
        let handle = scene.clone();
        global.on_touch(move |phase, x, y| {
            let phase = match phase {
                ui::Finger::Down => Phase::Down,
                ui::Finger::Moved => Phase::Moved,
                ui::Finger::Up => Phase::Up,
                ui::Finger::Cancelled => Phase::Cancelled,
            };
            handle.with(|scene| scene.touch_afar(phase, x, y));
        });
    }
}

fn state(standing: &Reached) -> ui::Reached {
    match standing {
        Reached::Connecting => ui::Reached::Connecting,
        Reached::There => ui::Reached::There,
        Reached::Reserved => ui::Reached::Reserved,
        Reached::Dark => ui::Reached::Dark,
        Reached::Over(_) => ui::Reached::Over,
    }
}

fn why(over: &Over) -> (ui::Over, &str) {
    match over {
        Over::Stopped => (ui::Over::Stopped, ""),
        Over::Recently => (ui::Over::Recently, ""),
        Over::Occupied => (ui::Over::Occupied, ""),
        Over::Replaced => (ui::Over::Replaced, ""),
        Over::Impossible => (ui::Over::Impossible, ""),
        Over::Lost(reason) => (ui::Over::Lost, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_sent_as_it_differs() {
        assert_eq!(difference("", "a"), (0, "a"));
        assert_eq!(difference("hell", "hello"), (0, "o"));
        assert_eq!(difference("hello", "hell"), (1, ""));
        assert_eq!(difference("año", "añil"), (1, "il"));
        assert_eq!(difference("字a", "字"), (1, ""));
        assert_eq!(difference("same", "same"), (0, ""));
    }

    #[test]
    fn the_same_device_is_wanted_once_and_another_anew() {
        let mut times = 0;
        let first = Afar::want(&mut times, &None, Some("tv"));
        assert_eq!(Afar::want(&mut times, &first, Some("tv")), first);
        assert_ne!(Afar::want(&mut times, &first, Some("hub")), first);
        assert_eq!(Afar::want(&mut times, &first, None), None);
        assert_ne!(Afar::want(&mut times, &None, Some("tv")), first);
    }
}
