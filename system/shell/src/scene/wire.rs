//! What the person does, from the window's callbacks.

use super::navigation::{Navigation, Panel, PowerMenu};
use super::preferences::{AUTOMATIC, CHANNELS, THEMES};
use super::search::search;
use super::updates::Request;
use super::words::LANGUAGES;
use super::{Inner, Scene};
use bus::settings::Value;
use slint::platform::{Key, WindowEvent};
use slint::{ComponentHandle as _, ModelRc, SharedString, Timer, VecModel};
use std::rc::{Rc, Weak};
use std::time::Duration;

fn panel(of: ui::Panel) -> Option<Panel> {
    match of {
        ui::Panel::Lock => Some(Panel::Lock),
        ui::Panel::Centre => Some(Panel::Centre),
        ui::Panel::Shade => Some(Panel::Shade),
        ui::Panel::Page => Some(Panel::Page),
        ui::Panel::None => None,
    }
}

/// What was typed as a list: texts with spaces, commas or lines between.
fn listed(text: &str) -> Vec<String> {
    text.split([' ', ',', '\n'])
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The word at a place of its list.
fn word(words: &[&str], place: i32) -> Value {
    let place = usize::try_from(place).unwrap_or(0).min(words.len() - 1);
    Value::Text(words[place].into())
}

/// A scene that a callback may find gone.
#[derive(Clone)]
pub(super) struct Handle(Weak<Inner>);

impl Handle {
    /// Does something with the scene while it is there.
    pub(super) fn with(&self, act: impl FnOnce(&Scene)) {
        if let Some(inner) = self.0.upgrade() {
            act(&Scene(inner));
        }
    }

    fn navigate(&self, act: impl FnOnce(&mut Navigation)) {
        self.with(|scene| scene.navigate(act));
    }

    fn set(&self, key: &'static str, value: Value) {
        self.with(|scene| scene.set(key, value));
    }
}

impl Scene {
    pub(super) fn wire(&self) {
        let scene = Handle(Rc::downgrade(&self.0));
        self.wire_navigation(&scene);
        self.wire_panels(&scene);
        self.wire_preferences(&scene);
        self.wire_rooms(&scene);
        self.wire_keyboard(&scene);
        self.wire_family(&scene);
        self.wire_files(&scene);
        self.wire_grants(&scene);
        self.wire_release(&scene);
        self.wire_other_releases(&scene);
        self.wire_visits(&scene);
        self.wire_afar(&scene);
        let handle = scene.clone();
        self.0
            .window
            .on_resized(move || handle.with(Scene::present_wallpaper));
    }

    fn wire_navigation(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Navigation<'_>>();
        let handle = scene.clone();
        global.on_go(move |room| handle.navigate(|n| n.go(&room)));
        let handle = scene.clone();
        global.on_back(move || {
            handle.with(|scene| {
                // The keyboard is the first thing to go.
                let keyboard = scene.0.window.global::<ui::Keyboard<'_>>();
                if keyboard.get_shown() {
                    keyboard.set_shown(false);
                    scene.0.window.invoke_focus_screen();
                } else {
                    scene.back();
                }
            });
        });
        let handle = scene.clone();
        global.on_open(move |of| {
            if let Some(panel) = panel(of) {
                handle.navigate(|n| n.open(panel));
            }
        });
        let handle = scene.clone();
        global.on_close(move |of| {
            if let Some(panel) = panel(of) {
                handle.navigate(|n| n.close(panel));
            }
        });
        let handle = scene.clone();
        global.on_unlock(move || handle.navigate(Navigation::unlock));
        let handle = scene.clone();
        global.on_lock_now(move || handle.with(Scene::lock));
        let handle = scene.clone();
        global.on_screen_off(move || handle.with(|scene| scene.set_power(false)));
        let handle = scene.clone();
        global.on_show_power_menu(move |menu| {
            handle.navigate(|n| {
                n.ask_power(match menu {
                    ui::PowerMenu::Closed => PowerMenu::Closed,
                    ui::PowerMenu::Open => PowerMenu::Open,
                    ui::PowerMenu::ConfirmOff => PowerMenu::ConfirmOff,
                    ui::PowerMenu::ConfirmRestart => PowerMenu::ConfirmRestart,
                });
            });
        });
        let handle = scene.clone();
        global.on_power_off(move || {
            handle.with(|scene| scene.leave(ui::Leaving::Off, Request::PowerOff));
        });
        let handle = scene.clone();
        global.on_restart(move || {
            handle.with(|scene| scene.leave(ui::Leaving::Restart, Request::Restart));
        });
        let handle = scene.clone();
        global.on_move_focus(move |by| {
            handle.with(|scene| scene.press(if by > 0 { Key::Tab } else { Key::Backtab }.into()));
        });
    }

    fn wire_panels(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Navigation<'_>>();
        let handle = scene.clone();
        global.on_drag_begin(move |of| {
            handle.with(|scene| {
                let caught =
                    panel(of).filter(|panel| scene.0.navigation.borrow_mut().catch(*panel));
                scene.0.caught.set(caught);
            });
        });
        let handle = scene.clone();
        global.on_drag_move(move |share| {
            handle.with(|scene| {
                if let Some(panel) = scene.0.caught.get() {
                    let now = (scene.0.surroundings.now)();
                    scene.navigate(|n| n.pull(panel, share, now));
                }
            });
        });
        let handle = scene.clone();
        global.on_drag_end(move || {
            handle.with(|scene| {
                if let Some(panel) = scene.0.caught.take() {
                    let now = (scene.0.surroundings.now)();
                    scene.navigate(|n| n.release(panel, now));
                }
            });
        });
        let global = self.0.window.global::<ui::Notifications<'_>>();
        let handle = scene.clone();
        global.on_dismiss(move |id| {
            handle.with(|scene| {
                let id = u64::try_from(id).unwrap_or(0);
                scene.0.notifications.dismiss(id);
                scene.present_notifications();
            });
        });
        let handle = scene.clone();
        global.on_clear(move || {
            handle.with(|scene| {
                scene.0.notifications.clear();
                scene.present_notifications();
            });
        });
        let handle = scene.clone();
        global.on_hide_banner(move || {
            handle.with(|scene| {
                scene
                    .0
                    .window
                    .global::<ui::Notifications<'_>>()
                    .set_banner_shown(false);
            });
        });
    }

    fn wire_preferences(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Preferences<'_>>();
        let handle = scene.clone();
        global.on_set_theme(move |index| {
            let (_, word) = THEMES[usize::try_from(index).unwrap_or(0).min(THEMES.len() - 1)];
            handle.set("appearance.theme", Value::Text(word.into()));
        });
        let handle = scene.clone();
        global.on_set_dark(move |on| {
            let word = if on { "dark" } else { "light" };
            handle.set("appearance.theme", Value::Text(word.into()));
        });
        let handle = scene.clone();
        global.on_set_accent(move |index| {
            let index = usize::try_from(index)
                .unwrap_or(0)
                .min(ui::ACCENTS.len() - 1);
            handle.set("appearance.accent", Value::Text(ui::ACCENTS[index].into()));
        });
        let handle = scene.clone();
        global.on_set_text_size(move |percent| {
            handle.set("appearance.text-size", Value::Integer(percent.into()));
        });
        let handle = scene.clone();
        global.on_set_reduced_motion(move |on| {
            handle.set("appearance.reduce-motion", Value::Boolean(on));
        });
        let handle = scene.clone();
        global.on_set_do_not_disturb(move |on| {
            handle.set("notifications.do-not-disturb", Value::Boolean(on));
            handle.with(Scene::present_notifications);
        });
        let handle = scene.clone();
        global.on_set_network_enabled(move |on| {
            handle.set("network.enabled", Value::Boolean(on));
        });
        let handle = scene.clone();
        global.on_set_twenty_four_hours(move |on| {
            handle.set("time.hours-24", Value::Boolean(on));
        });
        let handle = scene.clone();
        global.on_set_language(move |index| {
            let index = usize::try_from(index).unwrap_or(0).min(LANGUAGES.len() - 1);
            handle.set("language", Value::Text(LANGUAGES[index].tag().into()));
        });
        let handle = scene.clone();
        global.on_set_screen_off_after(move |seconds| {
            handle.set("display.screen-off-after", Value::Integer(seconds.into()));
        });
        let handle = scene.clone();
        global.on_set_brightness(move |percent| {
            handle.set(
                "display.brightness",
                Value::Integer((percent.round() as i64).max(5)),
            );
        });
        let handle = scene.clone();
        global.on_set_zone(move |id| handle.set("time.zone", Value::Text(id.to_string())));
        let handle = scene.clone();
        global.on_set_time_servers(move |text| {
            handle.set("time.servers", Value::Texts(listed(&text)));
        });
        let handle = scene.clone();
        global.on_set_mirrors(move |text| {
            handle.set("update.mirrors", Value::Texts(listed(&text)));
        });
        let handle = scene.clone();
        global.on_set_relay(move |text| {
            handle.set("family.relay", Value::Text(text.trim().to_owned()));
        });
        let handle = scene.clone();
        global
            .on_set_automatic(move |place| handle.set("update.automatic", word(&AUTOMATIC, place)));
        let handle = scene.clone();
        global.on_set_channel(move |place| handle.set("update.channel", word(&CHANNELS, place)));
        let handle = scene.clone();
        global.on_search_zones(move |typed| handle.with(|scene| scene.search_zones(&typed)));
    }

    fn wire_rooms(&self, scene: &Handle) {
        let handle = scene.clone();
        self.0
            .window
            .global::<ui::Device<'_>>()
            .on_rename(move |name| {
                let name = name.trim();
                handle.with(|scene| {
                    if name.is_empty() {
                        // An empty name is no name: show the one that stands.
                        scene.present_preferences();
                    } else {
                        scene.set("device.name", Value::Text(name.to_owned()));
                    }
                });
            });
        let services = self.0.window.global::<ui::Services<'_>>();
        let handle = scene.clone();
        services.on_show(move |name| {
            handle.with(|scene| {
                scene.0.known.borrow_mut().shown_service = name.to_string();
                scene.present_services();
            });
        });
        let handle = scene.clone();
        services.on_restart(move |name| {
            handle.with(|scene| scene.ask(Request::RestartService(name.to_string())));
        });
        let handle = scene.clone();
        self.0
            .window
            .global::<ui::Search<'_>>()
            .on_search(move |typed| {
                handle.with(|scene| {
                    let language = scene.0.preferences.borrow().language;
                    let found = search(&typed, language)
                        .into_iter()
                        .filter(|found| scene.has_room(found.room))
                        .map(|found| ui::Found {
                            room: found.room.into(),
                            title: found.title.into(),
                            place: found.place.into(),
                        });
                    let found = ModelRc::new(VecModel::from_iter(found));
                    scene.0.window.global::<ui::Search<'_>>().set_found(found);
                });
            });
    }

    /// Whether a room has something to show on this device: not each runs every service.
    fn has_room(&self, room: &str) -> bool {
        let window = &self.0.window;
        match room {
            "network" => !window.global::<ui::Network<'_>>().get_absent(),
            "devices" | "grants" | "pairing" => window.global::<ui::Family<'_>>().get_known(),
            "restore" => {
                let family = window.global::<ui::Family<'_>>();
                let has_phrase = window.global::<ui::Paper<'_>>().get_has_phrase();
                family.get_known() && (family.get_alone() || has_phrase)
            }
            "paper" => window.global::<ui::Paper<'_>>().get_may_set(),
            "files" => window.global::<ui::Files<'_>>().get_known(),
            "update-options" => window.global::<ui::Update<'_>>().get_known(),
            _ => true,
        }
    }

    fn wire_keyboard(&self, scene: &Handle) {
        let global = self.0.window.global::<ui::Keyboard<'_>>();
        let handle = scene.clone();
        global.on_press(move |text| handle.with(|scene| scene.press(text)));
        let handle = scene.clone();
        global.on_copy(move || handle.with(|scene| scene.press_with_control(&["a", "c"])));
        let handle = scene.clone();
        global.on_paste(move || handle.with(|scene| scene.press_with_control(&["v"])));
        let handle = scene.clone();
        global.on_close(move || {
            handle.with(|scene| {
                scene.0.window.global::<ui::Keyboard<'_>>().set_shown(false);
                scene.0.window.invoke_focus_screen();
            });
        });
    }

    /// Asks for the end, and says so.
    pub(super) fn leave(&self, leaving: ui::Leaving, request: Request) {
        self.navigate(|navigation| navigation.ask_power(PowerMenu::Closed));
        self.0
            .window
            .global::<ui::Navigation<'_>>()
            .set_leaving(leaving);
        self.ask(request);
    }

    /// Presses and releases keys while Control is held, once what is being handled is done.
    fn press_with_control(&self, keys: &'static [&'static str]) {
        let window = self.0.window.as_weak();
        Timer::single_shot(Duration::ZERO, move || {
            let Some(window) = window.upgrade() else {
                return;
            };
            let (window, control) = (window.window(), SharedString::from(Key::Control));
            window.dispatch_event(WindowEvent::KeyPressed {
                text: control.clone(),
            });
            for &key in keys {
                window.dispatch_event(WindowEvent::KeyPressed { text: key.into() });
                window.dispatch_event(WindowEvent::KeyReleased { text: key.into() });
            }
            window.dispatch_event(WindowEvent::KeyReleased { text: control });
        });
    }

    /// Presses and releases a key, once what is being handled is done.
    fn press(&self, text: SharedString) {
        let window = self.0.window.as_weak();
        Timer::single_shot(Duration::ZERO, move || {
            if let Some(window) = window.upgrade() {
                let window = window.window();
                window.dispatch_event(WindowEvent::KeyPressed { text: text.clone() });
                window.dispatch_event(WindowEvent::KeyReleased { text });
            }
        });
    }
}
