//! Where the person is: a state machine without a screen.
//!
//! Below everything is the home screen. On it lies a stack of rooms (pages), over them at most one
//! of the two panels that are pulled from the top, over those the lock screen, and over all of it
//! the power menu. Each that moves is a [`Spring`], so that every motion can be caught by a finger
//! and reversed. Locking closes what is private and keeps the rooms: who unlocks is where they were.
//!
//! Invariants, which a property test holds for any order of events:
//! - while the lock screen stands or comes, no panel is open, and nothing opens one;
//! - at most one panel is open or opening;
//! - the power menu swallows what would move anything under it;
//! - while the device is kept locked, nothing unlocks it;
//! - left alone, everything comes to rest.

use super::spring::Spring;
use std::time::Duration;

/// What can be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    /// The lock screen, open when it stands.
    Lock,
    /// The control centre.
    Centre,
    /// The notification shade.
    Shade,
    /// The room on top of the stack.
    Page,
}

/// What the power menu asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerMenu {
    /// It is not there.
    Closed,
    /// What to do.
    Open,
    /// Whether to turn off.
    ConfirmOff,
    /// Whether to restart.
    ConfirmRestart,
}

/// Every room that there is; each other one is reached through `settings`.
pub const ROOMS: [&str; 22] = [
    "settings",
    "display",
    "language",
    "time",
    "zone",
    "network",
    "storage",
    "services",
    "service",
    "about",
    "devices",
    "family-device",
    "grants",
    "pairing",
    "paper",
    "restore",
    "files",
    "send-files",
    "update",
    "update-options",
    "remote",
    "view",
];

/// No deeper stack makes sense, whoever asks for it.
const DEEPEST: usize = 8;

/// Where the person is.
#[derive(Debug, Clone, PartialEq)]
pub struct Navigation {
    lock: Spring,
    centre: Spring,
    shade: Spring,
    page: Spring,
    rooms: Vec<String>,
    power: PowerMenu,
    /// The device is lost: the lock screen stays.
    kept: bool,
    /// Things appear where they belong instead of moving there.
    still: bool,
}

impl Default for Navigation {
    fn default() -> Self {
        Self {
            lock: Spring::resting(true),
            centre: Spring::resting(false),
            shade: Spring::resting(false),
            page: Spring::resting(false),
            rooms: Vec::new(),
            power: PowerMenu::Closed,
            kept: false,
            still: false,
        }
    }
}

impl Navigation {
    /// How far a panel is open, from 0 to 1.
    pub fn shown(&self, panel: Panel) -> f32 {
        self.spring(panel).at()
    }

    /// The room on top, with the one under it; empty for the home screen.
    pub fn rooms(&self) -> (&str, &str) {
        let name = |back: usize| {
            self.rooms
                .len()
                .checked_sub(back)
                .map_or("", |index| self.rooms[index].as_str())
        };
        (name(1), name(2))
    }

    /// What the power menu asks.
    pub fn power(&self) -> PowerMenu {
        self.power
    }

    /// Whether the device is locked, or about to be.
    pub fn is_locked(&self) -> bool {
        self.lock.is_opening() || self.lock.is_held()
    }

    /// Whether it stays locked, whatever anybody does.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Whether nothing moves.
    pub fn is_resting(&self) -> bool {
        [Panel::Lock, Panel::Centre, Panel::Shade, Panel::Page]
            .iter()
            .all(|panel| self.spring(*panel).is_resting() || self.spring(*panel).is_held())
    }

    /// The page in a word, such as `lock`, `home` or `settings/display`.
    pub fn place(&self) -> String {
        if self.power != PowerMenu::Closed {
            "power".into()
        } else if self.kept {
            "lost".into()
        } else if self.is_locked() {
            "lock".into()
        } else if self.centre.is_opening() {
            "control-centre".into()
        } else if self.shade.is_opening() {
            "notifications".into()
        } else {
            match self.rooms.last() {
                None => "home".into(),
                Some(_) if !self.page.is_opening() && self.rooms.len() == 1 => "home".into(),
                Some(room) if room == "settings" => room.clone(),
                Some(room) => format!("settings/{room}"),
            }
        }
    }

    /// Whether things appear instead of moving.
    pub fn set_still(&mut self, still: bool) {
        self.still = still;
    }

    /// Locks. Panels and the power menu close; the rooms stay for who unlocks.
    pub fn lock(&mut self) {
        self.power = PowerMenu::Closed;
        self.centre.place(false);
        self.shade.place(false);
        self.finish_page();
        self.lock.place(true);
    }

    /// Keeps the device locked, or lets it be unlocked again.
    pub fn keep_locked(&mut self, kept: bool) {
        if kept {
            self.lock();
        }
        self.kept = kept;
    }

    /// Unlocks.
    pub fn unlock(&mut self) {
        if self.power == PowerMenu::Closed && !self.kept {
            self.send(Panel::Lock, false);
        }
    }

    /// Opens a room on top of the others.
    pub fn go(&mut self, room: &str) {
        if self.is_locked() || !ROOMS.contains(&room) {
            return;
        }
        self.finish_page();
        self.close_panels();
        if self.rooms.last().is_some_and(|last| last == room) {
            return;
        }
        // Going to a room that lies below is going back to it.
        if let Some(index) = self.rooms.iter().position(|below| below == room) {
            self.rooms.truncate(index + 1);
            self.page.place(true);
            return;
        }
        if self.rooms.len() == DEEPEST {
            self.rooms.remove(0);
        }
        self.rooms.push(room.to_owned());
        self.page.place(false);
        self.send(Panel::Page, true);
    }

    /// One step back: closes the menu, else a panel, else the room on top.
    pub fn back(&mut self) {
        if self.power != PowerMenu::Closed {
            self.power = match self.power {
                PowerMenu::ConfirmOff | PowerMenu::ConfirmRestart => PowerMenu::Open,
                _ => PowerMenu::Closed,
            };
        } else if self.is_locked() {
        } else if self.centre.is_opening() || self.shade.is_opening() {
            self.close_panels();
        } else if !self.rooms.is_empty() {
            // A second step back during the first takes the next room.
            if !self.page.is_opening() {
                self.finish_page();
            }
            if !self.rooms.is_empty() {
                self.send(Panel::Page, false);
            }
        }
    }

    /// Back to the home screen at once.
    pub fn home(&mut self) {
        if self.is_locked() {
            return;
        }
        self.power = PowerMenu::Closed;
        self.close_panels();
        if self.rooms.len() > 1 {
            self.rooms.drain(..self.rooms.len() - 1);
        }
        self.send(Panel::Page, false);
    }

    /// Opens a panel by other means than a finger.
    pub fn open(&mut self, panel: Panel) {
        if self.may_pull(panel) && matches!(panel, Panel::Centre | Panel::Shade) {
            self.close_panels();
            self.send(panel, true);
        }
    }

    /// Closes a panel.
    pub fn close(&mut self, panel: Panel) {
        match panel {
            Panel::Lock => self.unlock(),
            Panel::Page => self.back(),
            Panel::Centre | Panel::Shade => self.send(panel, false),
        }
    }

    /// Shows the power menu, or another of its questions.
    pub fn ask_power(&mut self, menu: PowerMenu) {
        self.power = menu;
    }

    /// A finger takes a panel. Whether it could.
    pub fn catch(&mut self, panel: Panel) -> bool {
        if !self.may_pull(panel) {
            return false;
        }
        if panel == Panel::Lock {
            self.centre.place(false);
            self.shade.place(false);
        }
        if matches!(panel, Panel::Centre | Panel::Shade) {
            let other = if panel == Panel::Centre {
                Panel::Shade
            } else {
                Panel::Centre
            };
            self.spring_mut(other).place(false);
        }
        self.spring_mut(panel).catch();
        true
    }

    /// The finger is this share of the panel away from where it took it.
    pub fn pull(&mut self, panel: Panel, by: f32, now: Duration) {
        self.spring_mut(panel).pull(by, now);
    }

    /// The finger lets go.
    pub fn release(&mut self, panel: Panel, now: Duration) {
        self.spring_mut(panel).release(now);
        if self.still {
            let open = self.spring(panel).is_opening();
            self.spring_mut(panel).place(open);
        }
        self.tidy();
    }

    /// Lets time pass.
    pub fn step(&mut self, passed: Duration) {
        for spring in [
            &mut self.lock,
            &mut self.centre,
            &mut self.shade,
            &mut self.page,
        ] {
            spring.step(passed);
        }
        self.tidy();
    }

    fn may_pull(&self, panel: Panel) -> bool {
        if self.power != PowerMenu::Closed {
            return false;
        }
        match panel {
            // A lock screen that is on its way out can still be caught.
            Panel::Lock => self.lock.at() > 0.0 && !self.kept,
            Panel::Centre | Panel::Shade => !self.is_locked(),
            Panel::Page => !self.is_locked() && !self.rooms.is_empty(),
        }
    }

    fn close_panels(&mut self) {
        self.send(Panel::Centre, false);
        self.send(Panel::Shade, false);
    }

    fn send(&mut self, panel: Panel, open: bool) {
        let still = self.still;
        let spring = self.spring_mut(panel);
        if still {
            spring.place(open);
        } else {
            spring.send(open);
        }
        self.tidy();
    }

    /// A room that has gone out to the right leaves the stack.
    fn tidy(&mut self) {
        if self.page.is_resting() && !self.page.is_opening() && self.rooms.pop().is_some() {
            self.page.place(!self.rooms.is_empty());
        }
    }

    fn finish_page(&mut self) {
        let open = self.page.is_opening();
        self.page.place(open);
        self.tidy();
    }

    fn spring(&self, panel: Panel) -> &Spring {
        match panel {
            Panel::Lock => &self.lock,
            Panel::Centre => &self.centre,
            Panel::Shade => &self.shade,
            Panel::Page => &self.page,
        }
    }

    fn spring_mut(&mut self, panel: Panel) -> &mut Spring {
        match panel {
            Panel::Lock => &mut self.lock,
            Panel::Centre => &mut self.centre,
            Panel::Shade => &mut self.shade,
            Panel::Page => &mut self.page,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Navigation, Panel, PowerMenu, ROOMS};
    use proptest::prelude::*;
    use std::time::Duration;

    const PANELS: [Panel; 4] = [Panel::Lock, Panel::Centre, Panel::Shade, Panel::Page];

    fn settle(navigation: &mut Navigation) {
        for _ in 0..200 {
            navigation.step(Duration::from_millis(16));
        }
    }

    fn unlocked() -> Navigation {
        let mut navigation = Navigation::default();
        navigation.unlock();
        settle(&mut navigation);
        navigation
    }

    #[test]
    fn it_begins_locked_and_opens_onto_the_home_screen() {
        assert_eq!(Navigation::default().place(), "lock");
        assert_eq!(unlocked().place(), "home");
    }

    #[test]
    fn rooms_stack_and_going_back_returns_through_them() {
        let mut navigation = unlocked();
        navigation.go("settings");
        settle(&mut navigation);
        navigation.go("time");
        settle(&mut navigation);
        assert_eq!(navigation.place(), "settings/time");
        assert_eq!(navigation.rooms(), ("time", "settings"));
        navigation.back();
        settle(&mut navigation);
        assert_eq!(navigation.place(), "settings");
        navigation.back();
        assert_eq!(navigation.place(), "home");
        settle(&mut navigation);
        assert_eq!(navigation.rooms(), ("", ""));
    }

    #[test]
    fn who_unlocks_is_where_they_were() {
        let mut navigation = unlocked();
        navigation.go("about");
        navigation.lock();
        navigation.go("network");
        assert_eq!(navigation.place(), "lock");
        navigation.unlock();
        settle(&mut navigation);
        assert_eq!(navigation.place(), "settings/about");
    }

    #[test]
    fn a_page_that_is_swiped_half_out_and_back_stays() {
        let mut navigation = unlocked();
        navigation.go("storage");
        settle(&mut navigation);
        assert!(navigation.catch(Panel::Page));
        navigation.pull(Panel::Page, -0.4, Duration::from_millis(10));
        assert!((navigation.shown(Panel::Page) - 0.6).abs() < 1e-5);
        navigation.pull(Panel::Page, -0.1, Duration::from_millis(400));
        navigation.release(Panel::Page, Duration::from_millis(600));
        settle(&mut navigation);
        assert_eq!(navigation.place(), "settings/storage");
    }

    #[test]
    fn without_motion_everything_is_there_at_once() {
        let mut navigation = Navigation::default();
        navigation.set_still(true);
        navigation.unlock();
        navigation.go("display");
        assert!(navigation.is_resting());
        assert_eq!(navigation.shown(Panel::Page), 1.0);
        navigation.back();
        assert_eq!(navigation.rooms(), ("", ""));
    }

    #[test]
    fn a_room_that_does_not_exist_is_not_entered() {
        let mut navigation = unlocked();
        navigation.go("cellar");
        assert_eq!(navigation.place(), "home");
    }

    #[derive(Debug, Clone)]
    enum Event {
        Lock,
        Unlock,
        Go(usize),
        Back,
        Home,
        Open(Panel),
        Close(Panel),
        Power(PowerMenu),
        Catch(Panel),
        Pull(Panel, f32),
        Release(Panel),
        Still(bool),
        Keep(bool),
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let panel = || prop::sample::select(PANELS.to_vec());
        prop_oneof![
            Just(Event::Lock),
            Just(Event::Unlock),
            (0..ROOMS.len()).prop_map(Event::Go),
            Just(Event::Back),
            Just(Event::Home),
            panel().prop_map(Event::Open),
            panel().prop_map(Event::Close),
            prop::sample::select(vec![
                PowerMenu::Closed,
                PowerMenu::Open,
                PowerMenu::ConfirmOff,
                PowerMenu::ConfirmRestart
            ])
            .prop_map(Event::Power),
            panel().prop_map(Event::Catch),
            (panel(), -1.5f32..1.5).prop_map(|(panel, by)| Event::Pull(panel, by)),
            panel().prop_map(Event::Release),
            any::<bool>().prop_map(Event::Still),
            any::<bool>().prop_map(Event::Keep),
            (0u64..400).prop_map(Event::Wait),
        ]
    }

    proptest! {
        #[test]
        fn the_invariants_hold_whatever_happens(events in prop::collection::vec(event(), 0..80)) {
            let mut navigation = Navigation::default();
            let mut now = Duration::ZERO;
            for event in events {
                match event {
                    Event::Lock => navigation.lock(),
                    Event::Unlock => navigation.unlock(),
                    Event::Go(room) => navigation.go(ROOMS[room]),
                    Event::Back => navigation.back(),
                    Event::Home => navigation.home(),
                    Event::Open(panel) => navigation.open(panel),
                    Event::Close(panel) => navigation.close(panel),
                    Event::Power(menu) => navigation.ask_power(menu),
                    Event::Catch(panel) => { navigation.catch(panel); }
                    Event::Pull(panel, by) => navigation.pull(panel, by, now),
                    Event::Release(panel) => navigation.release(panel, now),
                    Event::Still(still) => navigation.set_still(still),
                    Event::Keep(kept) => navigation.keep_locked(kept),
                    Event::Wait(ms) => {
                        now += Duration::from_millis(ms);
                        navigation.step(Duration::from_millis(ms));
                    }
                }
                for panel in PANELS {
                    prop_assert!((0.0..=1.0).contains(&navigation.shown(panel)));
                }
                let opening = [navigation.centre, navigation.shade]
                    .iter()
                    .filter(|spring| spring.is_opening())
                    .count();
                prop_assert!(opening <= 1);
                prop_assert!(opening == 0 || !navigation.is_locked());
                if navigation.kept {
                    prop_assert!(navigation.is_locked());
                    prop_assert_eq!(navigation.shown(Panel::Lock), 1.0);
                }
                prop_assert!(navigation.rooms.len() <= super::DEEPEST);
            }
            for panel in PANELS {
                navigation.release(panel, now);
            }
            settle(&mut navigation);
            prop_assert!(navigation.is_resting());
            prop_assert_eq!(navigation.shown(Panel::Page) == 1.0, !navigation.rooms.is_empty());
            if navigation.is_locked() {
                prop_assert_eq!(navigation.shown(Panel::Lock), 1.0);
            }
            // And from wherever that was, there is a way home.
            navigation.keep_locked(false);
            navigation.ask_power(PowerMenu::Closed);
            navigation.unlock();
            navigation.home();
            settle(&mut navigation);
            prop_assert_eq!(navigation.place(), "home");
        }
    }
}
