//! What stands on the screen and why.
//!
//! The scene joins three things that know nothing of each other: the window of crate `ui`, which
//! draws; [`navigation`], which says where the person is; and the services, which a thread of its
//! own ([`link`]) talks to. Facts come in as [`Update`]s and go to the window in the words of its
//! language (`present`); what the person does comes out of the window as callbacks and becomes a
//! move or a [`Request`] (`wire`).
//!
//! It promises:
//! - the first frame waits for nothing: it shows the owner's last known colours, language and zone;
//! - nothing is shown that no service said; what is not known yet is empty, and appears when it is;
//! - a slow or absent service never holds up a finger;
//! - at rest it does nothing but turn the minute.

mod afar;
pub mod book;
mod family;
mod files;
mod grants;
pub mod link;
mod loss;
pub mod navigation;
pub mod notifications;
mod others;
pub mod paper;
pub mod preferences;
mod present;
pub mod reach;
mod release;
pub mod search;
pub mod spring;
pub mod updates;
pub mod visits;
mod wire;
pub mod words;
pub mod zones;

use crate::clipboard::Clipboard;
use crate::platform::{Injected, UiLoop};
use link::Link;
use navigation::{Navigation, Panel, PowerMenu};
use notifications::Notifications;
use preferences::Preferences;
use slint::{ComponentHandle as _, Timer, TimerMode};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use updates::{Refresh, Request, TimeState, Trouble, Update};
use zones::Zones;

/// What the scene asks of the display.
pub trait Display {
    /// Whether it can be turned off: a window of another system's desktop cannot.
    fn can_turn_off(&self) -> bool {
        true
    }
    /// Lights the display or turns it off.
    fn set_power(&self, on: bool);
    /// Whether it is lit.
    fn is_on(&self) -> bool;
    /// How bright it is, from 0 to 1; none when nothing can be set.
    fn brightness(&self) -> Option<f32>;
    /// Makes it so bright, from 0 to 1.
    fn set_brightness(&self, brightness: f32);
    /// Does what another device has the screen do.
    fn inject(&self, injected: &Injected);
}

/// Where the scene runs.
pub struct Surroundings {
    /// Brings work to the thread of the screen.
    pub ui: UiLoop,
    /// Time that only goes forward.
    pub now: Rc<dyn Fn() -> Duration>,
    /// What time it is.
    pub wall: Rc<dyn Fn() -> jiff::Timestamp>,
    /// The screen's own folder; without one nothing is kept.
    pub data: Option<PathBuf>,
    /// The folder of the system.
    pub system: PathBuf,
}

/// How the power key was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerKey {
    /// Shortly: the screen goes off or on.
    Short,
    /// Long: the power menu.
    Long,
}

/// What stands on the screen, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScreenStatus {
    /// Whether the display is lit.
    pub on: bool,
    /// Whether the device is locked.
    pub locked: bool,
    /// The page, such as `lock`, `home`, `control-centre` or `settings/display`; `question` while a
    /// device asks the owner, `lost` where this one is lost.
    pub page: String,
}

/// How often what moves is moved. The display's own rate decides how often that is seen.
const FRAME: Duration = Duration::from_millis(16);
/// How often a page asks again for what no service tells by itself.
const REFRESH: Duration = Duration::from_secs(5);
/// How long after the first frame the rest of the house is made.
const WARM_UP: Duration = Duration::from_millis(400);
/// How long a banner stands.
const BANNER: Duration = Duration::from_secs(5);

/// The scene. Cheap to clone; it lives on the thread of the screen.
#[derive(Clone)]
pub struct Scene(Rc<Inner>);

struct Inner {
    window: ui::RootWindow,
    display: Rc<dyn Display>,
    surroundings: Surroundings,
    navigation: RefCell<Navigation>,
    /// The panel that a finger has.
    caught: Cell<Option<Panel>>,
    preferences: RefCell<Preferences>,
    known: RefCell<Known>,
    visits: RefCell<visits::Visits>,
    afar: RefCell<afar::Afar>,
    zones: Zones,
    notifications: Notifications,
    /// The newest notification that was there when the banner was last looked at.
    seen: Cell<u64>,
    link: RefCell<Option<Link>>,
    /// What the wallpaper was drawn for.
    wallpaper: Cell<Option<(usize, bool, u32, u32)>>,
    /// When a finger or a key last spoke.
    touched: Cell<Duration>,
    stepped: Cell<Duration>,
    motion: Timer,
    minute: Timer,
    idle: Timer,
    /// Ends what was asked for by `beacon.show`.
    beacon: Timer,
    refresh: Timer,
    banner: Timer,
    consent: Timer,
    /// What was told of releases.
    release_told: RefCell<Option<release::News>>,
}

/// What the services have said.
#[derive(Default)]
struct Known {
    network: Option<bus::network::State>,
    time: Option<TimeState>,
    services: Option<BTreeMap<String, bus::services::Service>>,
    shown_service: String,
    device: Option<bus::device::Identity>,
    volumes: Option<Vec<bus::device::Volume>>,
    resources: Option<bus::device::Resources>,
    family: family::FamilyState,
    loss: Option<bus::family::Loss>,
    files: files::FilesState,
    grants: grants::GrantsState,
    paper: paper::PaperState,
    release: Option<bus::update::State>,
    other_releases: others::Others,
}

/// A scene that may be gone.
pub(crate) struct Fleeting(std::rc::Weak<Inner>);

impl Fleeting {
    /// See [`Scene::is_reserved`].
    pub(crate) fn is_reserved(&self) -> bool {
        self.0
            .upgrade()
            .is_some_and(|inner| Scene(inner).is_reserved())
    }
}

thread_local! {
    /// Where work that was posted from other threads finds the scene.
    static SCENE: RefCell<std::rc::Weak<Inner>> = const { RefCell::new(std::rc::Weak::new()) };
}

impl Scene {
    /// Makes the window, fills it with what is known without asking anyone, and shows it.
    ///
    /// Slint's platform must be set and the typefaces registered before.
    pub fn new(
        display: Rc<dyn Display>,
        surroundings: Surroundings,
    ) -> Result<Self, slint::PlatformError> {
        let window = ui::RootWindow::new()?;
        let preferences = surroundings
            .data
            .as_deref()
            .map_or_else(Preferences::default, Preferences::load);
        let ui = surroundings.ui.clone();
        let notifications = Notifications::new(Arc::new(move || {
            // Fails only when the screen has ended, and then nobody reads.
            let _ = ui.post(|| Scene::current(|scene| scene.apply(Update::Notifications)));
        }));
        let now = (surroundings.now)();
        let scene = Self(Rc::new(Inner {
            window,
            display,
            zones: Zones::of(&surroundings.system),
            surroundings,
            navigation: RefCell::default(),
            caught: Cell::new(None),
            preferences: RefCell::new(preferences),
            known: RefCell::default(),
            visits: RefCell::default(),
            afar: RefCell::default(),
            notifications,
            seen: Cell::new(0),
            link: RefCell::new(None),
            wallpaper: Cell::new(None),
            touched: Cell::new(now),
            stepped: Cell::new(now),
            motion: Timer::default(),
            minute: Timer::default(),
            idle: Timer::default(),
            beacon: Timer::default(),
            refresh: Timer::default(),
            banner: Timer::default(),
            consent: Timer::default(),
            release_told: RefCell::default(),
        }));
        SCENE.with(|current| *current.borrow_mut() = Rc::downgrade(&scene.0));
        scene.wire();
        scene.recall_loss();
        scene.present_everything();
        scene.0.window.show()?;
        scene.present_wallpaper();
        scene.0.window.invoke_focus_screen();
        if scene.0.display.brightness().is_some() {
            let brightness = scene.0.preferences.borrow().brightness;
            scene.0.display.set_brightness(brightness as f32 / 100.0);
        }
        scene.arm_idle();
        Ok(scene)
    }

    /// Begins to talk to the services, and to keep the screen's clipboard the same as that of the
    /// owner's devices. Call it when the first frame is on the display.
    pub fn connect(
        &self,
        client: bus::Client,
        clipboard: Option<Clipboard>,
    ) -> std::io::Result<()> {
        let ui = self.0.surroundings.ui.clone();
        let sink: link::Sink = Arc::new(move |update| {
            let _ = ui.post(move || Scene::current(|scene| scene.apply(update)));
        });
        *self.0.link.borrow_mut() = Some(Link::start(client, clipboard, sink)?);
        self.warm_up();
        Ok(())
    }

    /// Makes what the first touch will need, once the first frame is over.
    fn warm_up(&self) {
        let window = self.0.window.as_weak();
        Timer::single_shot(WARM_UP, move || {
            if let Some(window) = window.upgrade() {
                window.global::<ui::Navigation<'_>>().set_warm(true);
            }
        });
    }

    /// The notifications: what serves `hyper:notify/notify`.
    pub fn notifications(&self) -> Notifications {
        self.0.notifications.clone()
    }

    /// The window, for tests.
    pub fn window(&self) -> &ui::RootWindow {
        &self.0.window
    }

    /// The power key was pressed, at the device. When it turns the screen off it also ends whatever other
    /// devices do at it.
    pub fn power_key(&self, key: PowerKey) {
        self.touched();
        match key {
            PowerKey::Short if self.0.display.is_on() => {
                self.stop_all_visits();
                self.set_power(false);
            }
            PowerKey::Short => self.set_power(true),
            PowerKey::Long => {
                self.set_power(true);
                self.navigate(|navigation| navigation.ask_power(PowerMenu::Open));
            }
        }
    }

    /// The key that leads home was pressed.
    pub fn home_key(&self) {
        self.touched();
        self.navigate(Navigation::home);
    }

    /// The key that leads back was pressed.
    pub fn back_key(&self) {
        self.touched();
        self.back();
    }

    /// One step back. From a question that is "don't allow", for nothing else may be meant by it.
    fn back(&self) {
        if self.0.window.global::<ui::Consent<'_>>().get_shown() {
            self.answer(bus::questions::Reply::Refuse);
        } else {
            self.navigate(Navigation::back);
        }
    }

    /// Somebody is there: the screen stays on.
    pub fn touched(&self) {
        self.0.touched.set((self.0.surroundings.now)());
    }

    /// Locks the device.
    pub fn lock(&self) {
        self.navigate(Navigation::lock);
        self.0.window.invoke_focus_screen();
    }

    /// Lights the display, or turns it off and locks.
    pub fn set_power(&self, on: bool) {
        if on {
            self.tell_time();
            self.touched();
            self.0.display.set_power(true);
            self.arm_idle();
        } else {
            self.lock();
            self.0.idle.stop();
            self.0.display.set_power(false);
        }
    }

    /// What stands on the screen.
    pub fn status(&self) -> ScreenStatus {
        let navigation = self.0.navigation.borrow();
        ScreenStatus {
            on: self.0.display.is_on(),
            locked: navigation.is_locked(),
            page: if self.0.window.global::<ui::Consent<'_>>().get_shown() {
                "question".into()
            } else {
                navigation.place()
            },
        }
    }

    /// Takes in what a service said.
    pub fn apply(&self, update: Update) {
        match update {
            Update::Setting(key, value) => self.take_setting(&key, &value),
            Update::Network(state) => {
                self.0.known.borrow_mut().network = Some(state);
                self.present_network();
            }
            Update::Time(state) => {
                self.0.known.borrow_mut().time = Some(state);
                self.tell_time();
                self.present_time_source();
            }
            Update::Services(all) => {
                let all: BTreeMap<_, _> = all
                    .into_iter()
                    .map(|service| (service.name.clone(), service))
                    .collect();
                for service in all.values() {
                    self.watch_over(service);
                }
                self.0.known.borrow_mut().services = Some(all);
                self.present_services();
            }
            Update::Service(service) => {
                self.watch_over(&service);
                self.0
                    .known
                    .borrow_mut()
                    .services
                    .get_or_insert_default()
                    .insert(service.name.clone(), *service);
                self.present_services();
            }
            Update::Device(identity) => {
                self.0.known.borrow_mut().device = Some(identity);
                self.present_device();
            }
            Update::Volumes(volumes) => {
                self.0.known.borrow_mut().volumes = Some(volumes);
                self.present_storage();
            }
            Update::Resources(resources) => {
                self.0.known.borrow_mut().resources = Some(resources);
                self.present_device();
            }
            Update::Lost(loss) => self.take_loss(loss),
            Update::Profiles(profiles) => {
                self.0.known.borrow_mut().family.take_profiles(profiles);
                self.present_family();
            }
            Update::Family(devices) => {
                self.0.known.borrow_mut().family.take_devices(devices);
                self.present_family();
                // The name of a device that was just paired may be among them.
                self.present_pairing();
                self.present_paper();
                self.present_grants();
                self.present_other_releases();
            }
            Update::Candidates(candidates) => {
                self.0.known.borrow_mut().family.take_candidates(candidates);
                self.present_pairing();
            }
            Update::Pairing(stage) => self.take_pairing(stage),
            Update::Paper(update) => self.take_paper(update),
            Update::Grants(grants) => {
                self.0.known.borrow_mut().grants.take_grants(grants);
                self.present_grants();
            }
            Update::Questions(standing) => self.take_questions(standing),
            Update::NotAnswered(question) => {
                self.0.known.borrow_mut().grants.take_back(question);
                self.present_consent();
            }
            Update::Release(state) => {
                self.0.known.borrow_mut().release = Some(*state);
                self.present_release();
                self.present_other_releases();
                self.tell_release();
            }
            Update::OtherRelease(id, state) => {
                self.take_other_release(id, state.map(|state| *state));
                self.present_other_releases();
            }
            Update::Received(received) => {
                self.0.known.borrow_mut().files.take_received(received);
                self.present_files();
            }
            Update::Deliveries(deliveries) => {
                self.0.known.borrow_mut().files.take_deliveries(deliveries);
                self.present_files();
            }
            Update::Controlled(standing) => self.take_controlled(standing),
            Update::Seen(seen) => self.take_seen(seen),
            Update::CanPaste(can_paste) => {
                let keyboard = self.0.window.global::<ui::Keyboard<'_>>();
                keyboard.set_can_paste(can_paste);
            }
            Update::Trouble(trouble) => self.tell_trouble(&trouble),
            Update::Restarted(name) => {
                let language = self.0.preferences.borrow().language;
                let services = self.0.window.global::<ui::Services<'_>>();
                services.set_answer(language.restarted(&name).into());
            }
            Update::Notifications => {
                self.present_notifications();
                self.raise_banner();
            }
        }
    }

    /// The same scene, without keeping it.
    pub(crate) fn downgrade(&self) -> Fleeting {
        Fleeting(Rc::downgrade(&self.0))
    }

    /// Does something with the scene of this thread, if there is one.
    fn current(act: impl FnOnce(&Scene)) {
        if let Some(inner) = SCENE.with(|current| current.borrow().upgrade()) {
            act(&Scene(inner));
        }
    }

    /// Moves through the house, and sets what moves in motion.
    fn navigate(&self, act: impl FnOnce(&mut Navigation)) {
        let before = {
            let navigation = self.0.navigation.borrow();
            (navigation.rooms().0.to_owned(), navigation.is_locked())
        };
        act(&mut self.0.navigation.borrow_mut());
        let (room, locked) = {
            let navigation = self.0.navigation.borrow();
            (navigation.rooms().0.to_owned(), navigation.is_locked())
        };
        self.present_navigation();
        if room != before.0 {
            self.entered(&room);
        }
        self.look_nearby();
        self.reach_out();
        if before.1 != locked {
            self.present_consent();
        }
        if before.1 && !locked {
            self.ask(Request::Refresh(Refresh::Storage));
            if !self.0.preferences.borrow().hint_seen {
                self.set("lock.hint-seen", bus::settings::Value::Boolean(true));
            }
        }
        self.move_on();
    }

    /// Runs the springs while something moves, and not a moment longer.
    fn move_on(&self) {
        if self.0.navigation.borrow().is_resting() {
            self.0.motion.stop();
            return;
        }
        if self.0.motion.running() {
            return;
        }
        self.0.stepped.set((self.0.surroundings.now)());
        let scene = Rc::downgrade(&self.0);
        self.0.motion.start(TimerMode::Repeated, FRAME, move || {
            let Some(scene) = scene.upgrade().map(Scene) else {
                return;
            };
            let now = (scene.0.surroundings.now)();
            let passed = now.saturating_sub(scene.0.stepped.replace(now));
            let before = scene.0.navigation.borrow().rooms().0.to_owned();
            scene.0.navigation.borrow_mut().step(passed);
            scene.present_navigation();
            let room = scene.0.navigation.borrow().rooms().0.to_owned();
            if room != before {
                scene.entered(&room);
            }
            scene.look_nearby();
            scene.reach_out();
            scene.move_on();
        });
    }

    /// Another room is on top: what it shows is asked for again while it stands.
    fn entered(&self, room: &str) {
        self.forget_words();
        self.0.window.invoke_focus_screen();
        self.0.window.global::<ui::Keyboard<'_>>().set_shown(false);
        self.0
            .window
            .global::<ui::Services<'_>>()
            .set_answer("".into());
        let what = match room {
            "services" | "service" => Refresh::Services,
            "storage" => Refresh::Storage,
            "about" => Refresh::Device,
            "files" | "send-files" => Refresh::Files,
            _ => {
                self.0.refresh.stop();
                return;
            }
        };
        self.ask(Request::Refresh(what));
        let scene = Rc::downgrade(&self.0);
        self.0.refresh.start(TimerMode::Repeated, REFRESH, move || {
            if let Some(scene) = scene.upgrade().map(Scene)
                && scene.0.display.is_on()
                && !scene.0.navigation.borrow().is_locked()
            {
                scene.ask(Request::Refresh(what));
            }
        });
    }

    /// Devices nearby are looked for while the page that shows them is in sight, and so are the releases
    /// of other devices.
    fn look_nearby(&self) {
        if let Some(link) = &*self.0.link.borrow() {
            let navigation = self.0.navigation.borrow();
            let shows = |room| navigation.rooms().0 == room && !navigation.is_locked();
            link.look_nearby(shows("pairing"));
            link.look_for_family(shows("restore"));
            link.look_at_releases(shows("update"));
        }
    }

    fn ask(&self, request: Request) {
        if let Some(link) = &*self.0.link.borrow() {
            link.ask(request);
        }
    }

    /// Changes a setting: on the screen at once, and in the service that keeps it.
    fn set(&self, key: &'static str, value: bus::settings::Value) {
        self.take_setting(key, &value);
        self.ask(Request::Set(key, value));
    }

    fn take_setting(&self, key: &str, value: &bus::settings::Value) {
        let (before, after) = {
            let mut preferences = self.0.preferences.borrow_mut();
            let before = preferences.clone();
            preferences.take(key, value);
            (before, preferences.clone())
        };
        if before == after {
            return;
        }
        if let Some(folder) = &self.0.surroundings.data
            && let Err(error) = after.save(folder)
        {
            tracing::warn!(
                "keeping a copy of the settings in {}: {error}",
                folder.display()
            );
        }
        if before.screen_off_after != after.screen_off_after {
            self.arm_idle();
        }
        if before.brightness != after.brightness {
            self.0
                .display
                .set_brightness(after.brightness as f32 / 100.0);
        }
        if before.language == after.language {
            self.present_preferences();
            self.tell_time();
        } else {
            self.present_everything();
        }
        self.present_wallpaper();
    }

    /// Turns the screen off when nobody was there for as long as the owner said.
    fn arm_idle(&self) {
        let after = self.0.preferences.borrow().screen_off_after;
        self.0.idle.stop();
        let display = &self.0.display;
        if after == 0 || !display.is_on() || !display.can_turn_off() {
            return;
        }
        let after = Duration::from_secs(after.unsigned_abs());
        let gone = (self.0.surroundings.now)().saturating_sub(self.0.touched.get());
        let scene = Rc::downgrade(&self.0);
        let wait = after.saturating_sub(gone).max(Duration::from_millis(100));
        self.0.idle.start(TimerMode::SingleShot, wait, move || {
            let Some(scene) = scene.upgrade().map(Scene) else {
                return;
            };
            let gone = (scene.0.surroundings.now)().saturating_sub(scene.0.touched.get());
            if gone >= after {
                scene.set_power(false);
            } else {
                scene.arm_idle();
            }
        });
    }

    /// A service that does not run is something to tell; one that runs again no longer is.
    fn watch_over(&self, service: &bus::services::Service) {
        use bus::services::State;
        match service.state {
            State::Failed | State::Broken => self.tell_trouble(&Trouble::Service {
                name: service.name.clone(),
                problem: service.problem.clone().unwrap_or_default(),
            }),
            State::Running | State::Waiting => {
                let withdrawn = self.0.notifications.withdraw("services", &service.name);
                if withdrawn {
                    self.present_notifications();
                }
            }
            _ => {}
        }
    }

    fn tell_trouble(&self, trouble: &Trouble) {
        if matches!(trouble, Trouble::NotDone(_)) {
            self.0
                .window
                .global::<ui::Navigation<'_>>()
                .set_leaving(ui::Leaving::Not);
        }
        let (title, text) = self.0.preferences.borrow().language.trouble(trouble);
        let (program, tag) = match trouble {
            Trouble::Service { name, .. } => ("services", name.clone()),
            Trouble::NotDone(_) => ("shell", "not-done".into()),
        };
        let known = self.0.notifications.book().own().any(|posted| {
            posted.program == program
                && posted.notification.tag.as_deref() == Some(&tag)
                && posted.notification.text == text
        });
        // Told once is enough.
        if !known {
            self.0.notifications.say(program, &tag, title, text, true);
        }
    }

    /// Shows the newest notification for a moment, when it is new and may be shown.
    fn raise_banner(&self) {
        use bus::notify::Importance;
        let preferences = self.0.preferences.borrow();
        let newest = self.0.notifications.book().standing().next().cloned();
        let Some(newest) = newest.filter(|newest| newest.posted.id > self.0.seen.get()) else {
            return;
        };
        self.0.seen.set(newest.posted.id);
        let wanted = match newest.posted.notification.importance {
            Importance::Urgent => true,
            Importance::Normal => !preferences.do_not_disturb,
            Importance::Quiet => false,
        };
        drop(preferences);
        let navigation = self.0.navigation.borrow();
        // Whoever looks at the page that it is about sees it there.
        let seen = notifications::room(&newest);
        if !wanted || navigation.is_locked() || (!seen.is_empty() && seen == navigation.rooms().0) {
            return;
        }
        drop(navigation);
        let shade = self.0.window.global::<ui::Notifications<'_>>();
        shade.set_banner(self.note(&newest, true));
        shade.set_banner_shown(true);
        let scene = Rc::downgrade(&self.0);
        self.0.banner.start(TimerMode::SingleShot, BANNER, move || {
            if let Some(scene) = scene.upgrade() {
                scene
                    .window
                    .global::<ui::Notifications<'_>>()
                    .set_banner_shown(false);
            }
        });
    }
}
