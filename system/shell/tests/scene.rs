//! The scene, driven as a person would: fingers and keys on a screen in memory.
//!
//! `HYPER_PICTURES=folder` keeps a picture of every step there; with it, the references in
//! `tests/pictures` are written anew from what is drawn now.

#[path = "scene/grants.rs"]
mod grants;
#[path = "scene/loss.rs"]
mod loss;
#[path = "scene/paper.rs"]
mod paper;
#[path = "scene/visits.rs"]
mod visits;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bus::settings::Value;
use shell::platform::{Headless, Picture};
use shell::scene::navigation::ROOMS;
use shell::scene::updates::{TimeSource, TimeState, Trouble, Update};
use shell::scene::{PowerKey, Scene, Surroundings};
use slint::platform::Key;
use slint::{ComponentHandle as _, Model as _};

/// When every test begins: 15:42:00 on a Sunday in Madrid.
const BEGIN: jiff::Timestamp = jiff::Timestamp::constant(1_795_358_520, 0);

/// A phone with a scene that has heard from every service.
struct Phone {
    screen: Headless,
    scene: Scene,
}

impl Phone {
    fn new() -> Self {
        Self::of_size(540, 1200, 1.5)
    }

    fn of_size(width: u32, height: u32, scale: f32) -> Self {
        Self::that_keeps(None, width, height, scale)
    }

    /// One that keeps what it knows in a folder.
    fn that_keeps(data: Option<PathBuf>, width: u32, height: u32, scale: f32) -> Self {
        let screen = Headless::new(width, height, scale);
        let folders: Vec<PathBuf> = std::env::var_os("HYPER_SYSTEM")
            .map(|system| Path::new(&system).join("share/fonts"))
            .into_iter()
            .chain([PathBuf::from("/usr/share/fonts/opentype")])
            .collect();
        let fonts = ui::fonts::register(&folders, ui::fonts::Faces::All);
        assert!(
            fonts.design_family && fonts.chinese,
            "these tests need the packages fonts-inter and fonts-noto-cjk"
        );
        let (clock, wall) = (screen.screen(), screen.screen());
        let begin = clock.now();
        let scene = Scene::new(
            Rc::new(screen.screen()),
            Surroundings {
                ui: screen.ui(),
                now: Rc::new(move || clock.now()),
                wall: Rc::new(move || BEGIN + (wall.now() - begin)),
                data,
                system: PathBuf::from("/nonexistent"),
            },
        )
        .unwrap();
        // As `connect` does after the first frame.
        scene.window().global::<ui::Navigation<'_>>().set_warm(true);
        let phone = Self { screen, scene };
        phone.hear();
        phone.screen.settle();
        phone
    }

    /// What the services of a healthy phone say.
    fn hear(&self) {
        self.setting("appearance.theme", Value::Text("dark".into()));
        self.setting("time.zone", Value::Text("Europe/Madrid".into()));
        self.setting("device.name", Value::Text("Phone".into()));
        self.scene.apply(Update::Network(bus::network::State {
            links: vec![bus::network::Link {
                name: "eth0".into(),
                kind: bus::network::LinkKind::Ethernet,
                connected: true,
                addresses: vec!["10.0.2.15/24".into(), "fec0::5054:ff:fe12:3456/64".into()],
                gateways: vec!["10.0.2.2".into()],
                sources: vec!["DHCP".into()],
            }],
            name_servers: vec!["10.0.2.3".into()],
            time_servers: vec![],
            online: true,
        }));
        self.scene.apply(Update::Time(TimeState {
            source: TimeSource::HardwareClock,
            synchronised: None,
            offset: None,
            problem: None,
        }));
        self.scene.apply(Update::Services(
            ["network", "settings", "shell", "time"]
                .map(|name| service(name, bus::services::State::Running))
                .into(),
        ));
        self.scene.apply(Update::Device(bus::device::Identity {
            name: "Phone".into(),
            product: "qemu-phone".into(),
            model: "Phone in QEMU".into(),
            release: "0.1.0".into(),
            edition: "global".into(),
            slot: Some("a".into()),
            kernel: "6.1.115".into(),
            processors: 2,
            development: true,
            firmware: true,
            secure_boot: true,
        }));
        self.scene.apply(Update::Volumes(vec![
            bus::device::Volume {
                name: "data".into(),
                size: 2_000_000_000,
                used: 220_000_000,
                available: 1_780_000_000,
                writable: true,
            },
            bus::device::Volume {
                name: "system".into(),
                size: 38_000_000,
                used: 38_000_000,
                available: 0,
                writable: false,
            },
        ]));
        self.scene.apply(Update::Resources(bus::device::Resources {
            memory_total: 1_000_000_000,
            memory_available: 939_000_000,
            cpu_busy: 9_000_000,
            uptime: 7_440_000_000,
        }));
        self.scene.apply(Update::Family(vec![
            device("Phone", bus::family::Role::Owner),
            device("Living room", bus::family::Role::Shared),
        ]));
        self.scene.apply(Update::Profiles(vec![
            profile("Phone", None, 1_780_000_000),
            profile("Living room", Some("Kitchen"), 310_000_000),
        ]));
        let living_room = device("Living room", bus::family::Role::Shared).id;
        let family = self.scene.window().global::<ui::Family<'_>>();
        family.invoke_show(living_room.into());
        self.scene.apply(Update::Candidates(vec![candidate()]));
        let file = |name: &str, folder, size, hours: u64| bus::transfer::Received {
            name: name.into(),
            folder,
            size,
            time: BEGIN.as_millisecond() as u64 - hours * 3_600_000,
        };
        self.scene.apply(Update::Received(vec![
            file("holiday.jpg", false, 3_400_000, 1),
            file("Trip to Cádiz", true, 120_000_000, 30),
            file("invoice 2026-11.pdf", false, 84_000, 300),
        ]));
        self.scene.apply(Update::Deliveries(vec![delivery()]));
        self.scene.apply(Update::Grants(grants::given()));
        self.release(bus::update::Phase::Current);
    }

    fn release(&self, phase: bus::update::Phase) {
        self.scene
            .apply(Update::Release(Box::new(bus::update::State {
                installed: "0.1.0".into(),
                slot: Some("a".into()),
                channel: "stable".into(),
                phase,
                trial: None,
                checked: Some(1_795_358_000_000),
                problems: vec![],
                development: true,
            })));
    }

    fn setting(&self, key: &str, value: Value) {
        self.scene.apply(Update::Setting(key.into(), value));
    }

    fn page(&self) -> String {
        self.scene.status().page
    }

    fn size(&self) -> (f32, f32) {
        let size = self.scene.window().window().size();
        let scale = self.scene.window().window().scale_factor();
        (size.width as f32 / scale, size.height as f32 / scale)
    }

    fn swipe_up(&self) {
        let (width, height) = self.size();
        self.screen.drag(
            (width / 2.0, height * 0.85),
            (width / 2.0, height * 0.25),
            Duration::from_millis(200),
        );
        self.screen.settle();
    }

    fn unlock(&self) {
        self.swipe_up();
        assert_eq!(self.page(), "home");
    }

    fn go(&self, room: &str) {
        self.scene
            .window()
            .global::<ui::Navigation<'_>>()
            .invoke_go(room.into());
        self.screen.settle();
    }

    /// The picture now; kept when somebody wants to look at it. What was drawn bit by bit must be
    /// what is there when everything is drawn anew.
    fn picture(&self, name: &str) -> Picture {
        let picture = self.screen.picture();
        self.screen.screen().redraw();
        let whole = self.screen.picture();
        // Some dozens of pixels at the edges of what is smoothed may differ; a glyph has hundreds.
        let differ = changed(&picture, &whole);
        assert!(differ < 0.0001, "{differ} of {name} is not drawn as it is");
        if let Some(folder) = std::env::var_os("HYPER_PICTURES") {
            picture
                .save_png(Path::new(&folder).join(format!("{name}.png")))
                .unwrap();
        }
        picture
    }
}

fn device(name: &str, role: bus::family::Role) -> bus::family::Device {
    bus::family::Device {
        id: name.repeat(8).to_lowercase(),
        name: name.into(),
        role,
        here: name == "Phone",
        online: name == "Phone",
        last_seen: Some(1_795_350_000_000),
    }
}

fn profile(name: &str, room: Option<&str>, available: u64) -> bus::home::Profile {
    let of = |form: &str| match name {
        "Phone" => format!("{form}phone"),
        _ => format!("{form}tv"),
    };
    bus::home::Profile {
        id: name.repeat(8).to_lowercase(),
        name: name.into(),
        room: room.map(str::to_owned),
        facts: Some(bus::home::Facts {
            product: of("qemu-"),
            model: of("QEMU "),
            release: "0.1.0".into(),
            edition: "global".into(),
            storage_size: 2_000_000_000,
            storage_available: available,
        }),
    }
}

/// Notes what devices are called and where they are put.
struct Noting(std::sync::mpsc::Sender<(String, String)>);

impl bus::home::Handler for Noting {
    async fn profiles(&self, _: bus::Caller) -> Vec<bus::home::Profile> {
        Vec::new()
    }
    async fn watch(&self, _: bus::Caller) -> bus::Outgoing<Vec<bus::home::Profile>> {
        Box::pin(futures::stream::pending())
    }
    async fn rename(
        &self,
        _: bus::Caller,
        device: String,
        name: String,
    ) -> Result<(), bus::home::Error> {
        self.0.send((device, name)).unwrap();
        Ok(())
    }
    async fn set_room(
        &self,
        _: bus::Caller,
        device: String,
        room: Option<String>,
    ) -> Result<(), bus::home::Error> {
        let room = room.map_or("none".into(), |room| format!("room {room}"));
        self.0.send((device, room)).unwrap();
        Ok(())
    }
}

/// Something on its way to the living room.
fn delivery() -> bus::transfer::Delivery {
    bus::transfer::Delivery {
        id: 1,
        direction: bus::transfer::Direction::Sending,
        device: device("Living room", bus::family::Role::Shared).id,
        device_name: "Living room".into(),
        names: vec!["Concert.mkv".into()],
        files: 1,
        skipped: 0,
        bytes: 1_200_000_000,
        done: 460_000_000,
        resumed: 0,
        carried: 460_000_000,
        phase: bus::transfer::Phase::Running,
        began: 0,
    }
}

fn comparison() -> bus::pairing::Comparison {
    bus::pairing::Comparison {
        digits: "482913".into(),
        name: "Watch".into(),
    }
}

fn candidate() -> bus::pairing::Candidate {
    bus::pairing::Candidate {
        id: "7f".repeat(32),
    }
}

fn service(name: &str, state: bus::services::State) -> bus::services::Service {
    bus::services::Service {
        name: name.into(),
        description: format!("What {name} does"),
        state,
        process: Some(7),
        memory: 3_100_000,
        cpu_time: 400_000,
        wake_ups: 12,
        restarts: 0,
        interfaces: vec![format!("hyper:{name}/{name}@1.0.0")],
        sandbox: vec!["Its own user 1001".into(), "No capability".into()],
        problem: (state == bus::services::State::Failed).then(|| "It ended with status 1.".into()),
    }
}

/// The share of pixels that differ.
fn changed(before: &Picture, after: &Picture) -> f32 {
    before.difference(after)
}

#[test]
fn a_swipe_up_opens_the_phone_and_less_than_that_does_not() {
    let phone = Phone::new();
    assert_eq!(phone.page(), "lock");
    let locked = phone.picture("lock");
    phone
        .screen
        .drag((180.0, 700.0), (180.0, 640.0), Duration::from_millis(600));
    phone.screen.advance(Duration::from_millis(120));
    phone.screen.settle();
    assert_eq!(phone.page(), "lock");
    phone.unlock();
    assert!(changed(&locked, &phone.picture("home")) > 0.1);
}

#[test]
fn the_lock_screen_follows_the_finger_and_can_be_caught_again() {
    let phone = Phone::new();
    let lock = || {
        phone
            .scene
            .window()
            .global::<ui::Navigation<'_>>()
            .get_lock()
    };
    let at = |step: i32| 700.0 - 20.0 * step as f32;
    phone.screen.touch(180.0, at(0));
    for step in 1..=20 {
        phone.screen.advance(Duration::from_millis(16));
        phone.screen.touch_move(180.0, at(step));
    }
    phone.screen.advance(Duration::from_millis(16));
    assert!(
        (lock() - 0.5).abs() < 0.02,
        "400 of 800 logical pixels up is half open, not {}",
        lock()
    );
    // And back down: it locks again.
    for step in (0..20).rev() {
        phone.screen.advance(Duration::from_millis(16));
        phone.screen.touch_move(180.0, at(step));
    }
    phone.screen.advance(Duration::from_millis(200));
    phone.screen.release(180.0, 690.0);
    phone.screen.settle();
    assert_eq!((phone.page().as_str(), lock()), ("lock", 1.0));
}

#[test]
fn any_key_opens_it_too() {
    let phone = Phone::new();
    phone.screen.key(' ');
    phone.screen.settle();
    assert_eq!(phone.page(), "home");
}

#[test]
fn the_hint_goes_once_it_has_been_used() {
    let phone = Phone::new();
    let hint = || {
        phone
            .scene
            .window()
            .global::<ui::Navigation<'_>>()
            .get_hint()
    };
    assert!(hint());
    phone.unlock();
    phone.scene.lock();
    assert!(!hint());
}

#[test]
fn every_room_opens_shows_something_and_leads_back() {
    let phone = Phone::new();
    phone.unlock();
    let home = phone.picture("home");
    for room in ROOMS {
        phone
            .scene
            .window()
            .global::<ui::Services<'_>>()
            .invoke_show("network".into());
        phone.go(room);
        assert!(
            phone.page().ends_with(room),
            "{} is not {room}",
            phone.page()
        );
        assert!(
            changed(&home, &phone.picture(&format!("room-{room}"))) > 0.1,
            "{room} is empty"
        );
        phone.screen.key(Key::Escape);
        phone.screen.settle();
        assert_eq!(phone.page(), "home", "after {room}");
    }
    assert!(changed(&home, &phone.picture("home-again")) < 0.02);
}

#[test]
fn the_edge_and_the_arrow_lead_back() {
    let phone = Phone::new();
    phone.unlock();
    phone.go("settings");
    phone
        .screen
        .drag((4.0, 400.0), (300.0, 400.0), Duration::from_millis(200));
    phone.screen.settle();
    assert_eq!(phone.page(), "home");
    phone.go("settings");
    phone.screen.tap(36.0, 60.0);
    phone.screen.settle();
    assert_eq!(phone.page(), "home");
}

#[test]
fn both_panels_come_from_the_top_and_go_back_up() {
    let phone = Phone::new();
    phone.unlock();
    for (x, page) in [(300.0, "control-centre"), (60.0, "notifications")] {
        phone
            .screen
            .drag((x, 10.0), (x, 560.0), Duration::from_millis(200));
        phone.screen.settle();
        assert_eq!(phone.page(), page);
        phone.picture(page);
        phone
            .screen
            .drag((180.0, 780.0), (180.0, 300.0), Duration::from_millis(200));
        phone.screen.settle();
        assert_eq!(phone.page(), "home", "after {page}");
    }
}

#[test]
fn an_icon_in_the_dock_opens_its_room() {
    let phone = Phone::new();
    phone.unlock();
    phone.screen.tap(65.0, 735.0);
    phone.screen.settle();
    assert_eq!(phone.page(), "settings");
    // The first group of Settings leads to the network.
    phone.screen.tap(150.0, 380.0);
    phone.screen.settle();
    assert_eq!(phone.page(), "settings/network");
}

#[test]
fn the_keyboard_s_focus_reaches_a_room_and_enter_opens_it() {
    let phone = Phone::new();
    phone.unlock();
    let before = phone.picture("home");
    let mut pages = Vec::new();
    for presses in 1..=12 {
        for _ in 0..presses {
            phone.screen.key(Key::DownArrow);
            phone.screen.advance(Duration::from_millis(32));
        }
        if presses == 1 {
            assert!(
                changed(&before, &phone.picture("focus")) > 0.0001,
                "no ring is seen"
            );
        }
        phone.screen.key(Key::Return);
        phone.screen.settle();
        pages.push(phone.page());
        phone.screen.key(Key::Escape);
        phone.screen.settle();
    }
    pages.sort();
    pages.dedup();
    for room in [
        "settings",
        "settings/network",
        "settings/storage",
        "settings/services",
        "settings/about",
    ] {
        assert!(
            pages.iter().any(|page| page == room),
            "{room} is not among {pages:?}"
        );
    }
}

#[test]
fn arrow_keys_lead_into_a_text_field_and_out_of_it() {
    let phone = Phone::new();
    phone.unlock();
    phone.go("settings");
    let keyboard = phone.scene.window().global::<ui::Keyboard<'_>>();
    let press = |key| {
        phone.screen.key(key);
        phone.screen.settle();
    };
    // The arrow that leads back, then the field.
    for _ in 0..2 {
        if !keyboard.get_shown() {
            press(Key::DownArrow);
        }
    }
    assert!(keyboard.get_shown(), "the field has not the focus");
    press(Key::DownArrow);
    assert!(!keyboard.get_shown(), "the field keeps the focus");
    press(Key::UpArrow);
    assert!(keyboard.get_shown(), "nothing leads up to the field");
    press(Key::DownArrow);
    press(Key::Return);
    assert_eq!(phone.page(), "settings/about");
}

#[test]
fn the_power_key_turns_the_screen_off_and_locks_and_its_long_press_asks() {
    let phone = Phone::new();
    phone.unlock();
    phone.scene.power_key(PowerKey::Short);
    let status = phone.scene.status();
    assert!(!status.on && status.locked);
    phone.scene.power_key(PowerKey::Short);
    assert!(phone.scene.status().on);
    phone.scene.power_key(PowerKey::Long);
    phone.screen.settle();
    assert_eq!(phone.page(), "power");
    phone.picture("power");
    phone.screen.key(Key::Escape);
    phone.screen.settle();
    assert_eq!(phone.page(), "lock");
}

#[test]
fn the_screen_goes_off_when_nobody_is_there_and_not_before() {
    let phone = Phone::new();
    phone.setting("display.screen-off-after", Value::Integer(30));
    phone.unlock();
    for _ in 0..5 {
        phone.screen.advance(Duration::from_secs(20));
        phone.scene.touched();
        assert!(phone.scene.status().on);
    }
    phone.screen.advance(Duration::from_secs(32));
    let status = phone.scene.status();
    assert!(!status.on && status.locked);
}

#[test]
fn each_theme_accent_and_text_size_is_seen_in_every_room() {
    let phone = Phone::new();
    phone.unlock();
    phone.go("display");
    let before = phone.picture("display-dark");
    phone.setting("appearance.theme", Value::Text("light".into()));
    phone.screen.settle();
    let light = phone.picture("display-light");
    assert!(changed(&before, &light) > 0.5);
    phone.setting("appearance.accent", Value::Text("iris".into()));
    phone.screen.settle();
    let iris = phone.picture("display-iris");
    assert!(changed(&light, &iris) > 0.001);
    for percent in [85, 200] {
        phone.setting("appearance.text-size", Value::Integer(percent));
        for room in ROOMS {
            phone.go(room);
            phone.picture(&format!("text-{percent}-{room}"));
            phone.screen.key(Key::Escape);
            phone.screen.settle();
        }
    }
}

#[test]
fn the_language_changes_at_once_and_everywhere() {
    let phone = Phone::new();
    phone.unlock();
    phone.go("settings");
    let mut seen = vec![phone.picture("settings-en")];
    for tag in ["zh-CN", "es"] {
        phone.setting("language", Value::Text(tag.into()));
        phone.screen.settle();
        let picture = phone.picture(&format!("settings-{tag}"));
        assert!(
            seen.iter().all(|other| changed(other, &picture) > 0.005),
            "{tag} is not seen"
        );
        seen.push(picture);
        for room in ROOMS {
            phone.go(room);
            phone.picture(&format!("{tag}-{room}"));
        }
        phone.go("settings");
    }
}

#[test]
fn it_stands_at_other_sizes() {
    for (width, height) in [(1280, 720), (360, 640)] {
        // One screen a thread.
        std::thread::spawn(move || {
            let phone = Phone::of_size(width, height, 1.0);
            phone.picture(&format!("{width}-lock"));
            phone.unlock();
            phone.picture(&format!("{width}-home"));
            for room in ["settings", "files", "send-files"] {
                phone.go(room);
                phone.picture(&format!("{width}-{room}"));
            }
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_device_without_a_network_of_its_own_leads_nowhere_to_it() {
    let phone = Phone::new();
    phone.unlock();
    let search = phone.scene.window().global::<ui::Search<'_>>();
    let found = || {
        search.invoke_search("dns".into());
        search.get_found().row_count()
    };
    assert_eq!(found(), 1);
    let with = phone.picture("home");
    phone.scene.apply(Update::Services(
        ["settings", "shell", "time"]
            .map(|name| service(name, bus::services::State::Running))
            .into(),
    ));
    phone.screen.settle();
    assert_eq!(found(), 0);
    assert!(changed(&with, &phone.picture("home-of-a-layer")) > 0.01);
    phone.go("settings");
    phone.picture("settings-of-a-layer");
}

#[test]
fn a_failed_service_is_told_once_and_taken_back_when_it_runs() {
    let phone = Phone::new();
    phone.unlock();
    let standing = || phone.scene.notifications().book().standing().count();
    for _ in 0..3 {
        phone.scene.apply(Update::Service(Box::new(service(
            "time",
            bus::services::State::Failed,
        ))));
        phone.screen.settle();
    }
    assert_eq!(standing(), 1);
    phone.scene.lock();
    phone.screen.settle();
    phone.picture("lock-with-trouble");
    phone.scene.apply(Update::Service(Box::new(service(
        "time",
        bus::services::State::Running,
    ))));
    phone.screen.settle();
    assert_eq!(standing(), 0);
}

#[test]
fn each_stage_of_a_pairing_is_seen() {
    use bus::pairing::{Secrets, Stage};
    let phone = Phone::new();
    phone.unlock();
    phone.go("devices");
    phone.picture("devices-family");
    phone.go("pairing");
    let mut before = phone.picture("pairing-nearby");
    let pairing = phone.scene.window().global::<ui::Pairing<'_>>();
    pairing.invoke_choose(candidate().id.into());
    phone.screen.settle();
    let chosen = phone.picture("pairing-chosen");
    assert!(changed(&before, &chosen) > 0.01);
    before = chosen;
    let stages = [
        (
            "open",
            Stage::Open(Secrets {
                code: "K7QF-93MZ-04TB-XV2C-8HNP-Y5RE".into(),
                pin: "4829 1374".into(),
            }),
        ),
        ("connecting", Stage::Connecting),
        ("compare", Stage::Compare(comparison())),
        ("waiting", Stage::Waiting),
        (
            "paired",
            Stage::Paired(device("Living room", bus::family::Role::Shared).id),
        ),
        ("failed", Stage::Failed("The other device ended it.".into())),
    ];
    for (name, stage) in stages {
        phone.scene.apply(Update::Pairing(stage));
        phone.screen.settle();
        let now = phone.picture(&format!("pairing-{name}"));
        assert!(
            changed(&before, &now) > 0.005,
            "{name} looks like what was before"
        );
        before = now;
    }
    assert_eq!(pairing.get_other(), "Living room");
    assert_eq!(pairing.get_digits(), "482 913");
}

#[test]
fn arrow_keys_go_on_when_what_had_the_focus_goes_away() {
    use bus::pairing::Stage;
    let phone = Phone::new();
    phone.unlock();
    phone.go("pairing");
    phone.screen.key(Key::DownArrow);
    phone.screen.key(Key::DownArrow);
    phone
        .scene
        .apply(Update::Pairing(Stage::Compare(comparison())));
    phone.screen.settle();
    let without = phone.picture("pairing-no-focus");
    phone.screen.key(Key::DownArrow);
    phone.screen.settle();
    let with = phone.picture("pairing-focus");
    assert!(changed(&without, &with) > 0.0001, "no ring is seen");
}

#[test]
fn a_device_is_named_and_put_into_a_room_by_touch() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, said) = std::sync::mpsc::channel();
    let mut server = bus::Server::bind(folder.path(), &[bus::home::ID]).unwrap();
    server.serve(bus::home::interface(Noting(sender)));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(server.run()).unwrap();
    });
    let heard = || said.recv_timeout(Duration::from_secs(180)).unwrap();
    let phone = Phone::new();
    let client = bus::Client::new(bus::Address::Here(folder.path().to_owned()));
    phone
        .scene
        .connect(client, Some(phone.screen.clipboard()))
        .unwrap();
    let id = device("Living room", bus::family::Role::Shared).id;
    phone.unlock();
    phone.go("family-device");
    phone.picture("family-device");

    // Into the field of its name, its name away, another one in.
    phone.screen.tap(240.0, 410.0);
    phone.screen.settle();
    let keyboard = phone.scene.window().global::<ui::Keyboard<'_>>();
    assert!(keyboard.get_shown());
    phone.picture("family-device-name");
    for _ in 0.."Living room".len() {
        phone.screen.key(Key::Backspace);
    }
    for letter in ["T", "V"] {
        keyboard.invoke_press(letter.into());
        phone.screen.settle();
    }
    phone.screen.key(Key::Return);
    phone.screen.settle();
    assert_eq!(heard(), (id.clone(), "TV".into()));
    assert!(!keyboard.get_shown());

    // The room in which it stands is ticked; a touch takes it out, another puts it elsewhere.
    phone.screen.tap(120.0, 553.0);
    assert_eq!(heard(), (id.clone(), "none".into()));
    phone.screen.tap(120.0, 618.0);
    assert_eq!(heard(), (id, "room Living room".into()));
}

#[test]
fn a_device_that_is_looked_for_lights_up_and_stays_locked() {
    let phone = Phone::new();
    phone.scene.set_power(false);
    phone.screen.settle();
    let looked_for = |seconds| {
        let time = Duration::from_secs(seconds);
        phone.scene.show_beacon("Tablet".into(), time);
        phone.screen.advance(Duration::from_millis(20));
    };
    let shown = || phone.scene.window().global::<ui::Beacon<'_>>().get_shown();
    looked_for(30);
    assert!(shown() && phone.scene.status().on);
    let lit = phone.screen.picture();
    if let Some(folder) = std::env::var_os("HYPER_PICTURES") {
        lit.save_png(Path::new(&folder).join("beacon.png")).unwrap();
    }
    phone.screen.advance(Duration::from_millis(520));
    assert!(changed(&lit, &phone.screen.picture()) > 0.5, "it flashes");
    // Touched, it goes, and nothing else happened behind it.
    phone.screen.tap(180.0, 400.0);
    phone.screen.settle();
    assert!(!shown());
    assert!(phone.scene.status().locked);
    // And by itself, when nobody comes.
    looked_for(5);
    assert!(shown());
    phone.screen.advance(Duration::from_millis(5100));
    assert!(!shown());
    // By keys, too.
    looked_for(30);
    phone.screen.key(' ');
    phone.screen.settle();
    assert!(!shown() && phone.scene.status().locked);
}

#[test]
fn digits_to_compare_come_to_an_open_screen_and_not_to_a_locked_one() {
    use bus::pairing::Stage;
    let phone = Phone::new();
    phone
        .scene
        .apply(Update::Pairing(Stage::Compare(comparison())));
    phone.screen.settle();
    assert_eq!(phone.page(), "lock");
    phone.unlock();
    phone
        .scene
        .apply(Update::Pairing(Stage::Compare(comparison())));
    phone.screen.settle();
    assert_eq!(phone.page(), "settings/pairing");
}

#[test]
fn each_phase_of_an_update_is_seen() {
    use bus::update::{Phase, Progress, Release, Step};
    let phone = Phone::new();
    phone.unlock();
    phone.go("update");
    let release = Release {
        version: "0.2.0".into(),
        channel: "stable".into(),
        built: 1_795_000_000_000,
        notes: "Devices of a family share their clipboard.".into(),
        size: 21_400_000,
        source: "https://mirror.example".into(),
    };
    let mut before = phone.picture("update-current");
    let phases = [
        ("idle", Phase::Idle),
        ("checking", Phase::Checking),
        ("available", Phase::Available(release.clone())),
        (
            "installing",
            Phase::Installing(Progress {
                release: release.clone(),
                step: Step::Writing,
                done: 9_000_000,
                total: 20_000_000,
                downloaded: 3_100_000,
            }),
        ),
        ("ready", Phase::Ready(release)),
        (
            "failed",
            Phase::Failed("No source answered: look at the network.".into()),
        ),
        (
            "unsupported",
            Phase::Unsupported("The firmware did not start this device's disk.".into()),
        ),
    ];
    for (name, phase) in phases {
        phone.release(phase);
        phone.screen.settle();
        let now = phone.picture(&format!("update-{name}"));
        assert!(
            changed(&before, &now) > 0.002,
            "{name} looks like what was before"
        );
        before = now;
    }
}

#[test]
fn the_other_devices_are_updated_from_one_page() {
    use bus::family::Role;
    use bus::update::{Phase, Release, State};
    use slint::Model as _;
    use ui::OtherStep;
    let phone = Phone::new();
    phone.unlock();
    phone.go("update");
    let release = Release {
        version: "0.2.0".into(),
        channel: "stable".into(),
        built: 1_795_000_000_000,
        notes: String::new(),
        size: 21_400_000,
        source: "Phone".into(),
    };
    let mut devices = vec![
        device("Phone", Role::Owner),
        device("Living room", Role::Shared),
        device("Tablet", Role::Owner),
        device("Watch", Role::Owner),
        device("Visitor", Role::Guest),
    ];
    for device in &mut devices {
        device.online = device.name != "Watch";
    }
    let id = |name: &str| device(name, Role::Owner).id;
    let say = |name: &str, phase| {
        let state = State {
            installed: "0.1.0".into(),
            slot: Some("a".into()),
            channel: "stable".into(),
            phase,
            trial: None,
            checked: None,
            problems: vec![],
            development: true,
        };
        let state = Some(Box::new(state));
        phone.scene.apply(Update::OtherRelease(id(name), state));
    };
    phone.scene.apply(Update::Family(devices.clone()));
    say("Living room", Phase::Available(release.clone()));
    say("Tablet", Phase::Available(release.clone()));
    say("Watch", Phase::Available(release.clone()));
    let global = phone.scene.window().global::<ui::Update<'_>>();
    let steps = || -> Vec<_> {
        let others = global.get_others();
        others
            .iter()
            .map(|other| (other.name.to_string(), other.step))
            .collect()
    };
    let step = |name: &str, step| (name.to_owned(), step);
    assert_eq!(
        steps(),
        [
            step("Living room", OtherStep::Install),
            step("Tablet", OtherStep::Install),
            // It is not there, whatever it said before; and a guest's device is the guest's to update.
            step("Watch", OtherStep::None),
        ]
    );
    assert_eq!(global.get_installable(), 2);
    phone.screen.settle();
    let before = phone.picture("update-others");
    say("Tablet", Phase::Ready(release));
    phone
        .scene
        .apply(Update::OtherRelease(id("Living room"), None));
    phone.screen.settle();
    assert_eq!(
        steps(),
        [
            step("Living room", OtherStep::None),
            step("Tablet", OtherStep::Restart),
            step("Watch", OtherStep::None),
        ]
    );
    assert_eq!(global.get_installable(), 0);
    let now = phone.picture("update-others-ready");
    assert!(changed(&before, &now) > 0.002, "nothing of it is seen");
    phone.setting("language", Value::Text("zh-CN".into()));
    phone.screen.settle();
    phone.picture("update-others-chinese");
    // A device that is not the owner's asks nobody.
    devices[0].role = Role::Shared;
    phone.scene.apply(Update::Family(devices));
    assert_eq!(steps(), []);
}

#[test]
fn a_release_is_told_once_and_a_tap_on_it_opens_its_page() {
    use bus::update::{Phase, Release};
    let phone = Phone::new();
    let release = Release {
        version: "0.2.0".into(),
        channel: "stable".into(),
        built: 1_795_000_000_000,
        notes: String::new(),
        size: 21_400_000,
        source: "https://mirror.example".into(),
    };
    let standing = || {
        let notifications = phone.scene.notifications();
        let book = notifications.book();
        let titles: Vec<_> = book
            .standing()
            .map(|standing| standing.posted.notification.title.clone())
            .collect();
        titles
    };
    // It is installed by itself as things are set, so there is nothing to tell yet.
    phone.release(Phase::Available(release.clone()));
    assert!(standing().is_empty());
    phone.setting("update.automatic", Value::Text("tell".into()));
    phone.release(Phase::Available(release.clone()));
    assert_eq!(standing(), ["HyperOS 0.2.0 is there"]);
    phone.release(Phase::Ready(release.clone()));
    assert_eq!(standing(), ["HyperOS 0.2.0 is installed"]);
    // The screen hears of what it posted itself as of what others post.
    phone.scene.apply(Update::Notifications);
    phone.unlock();
    phone
        .screen
        .drag((60.0, 10.0), (60.0, 560.0), Duration::from_millis(200));
    phone.screen.settle();
    phone.picture("notifications-release");
    phone.screen.tap(180.0, 150.0);
    phone.screen.settle();
    assert_eq!(phone.page(), "settings/update");
    // Taken away by the person it does not come back, and taken back it goes.
    let id = phone
        .scene
        .notifications()
        .book()
        .standing()
        .next()
        .unwrap()
        .posted
        .id;
    phone.scene.notifications().dismiss(id);
    phone.release(Phase::Ready(release.clone()));
    assert!(standing().is_empty());
    phone.release(Phase::Current);
    phone.release(Phase::Ready(release));
    assert_eq!(standing().len(), 1);
    phone.release(Phase::Current);
    assert!(standing().is_empty());
}

#[test]
fn a_notification_is_swiped_away_and_stays_in_the_history() {
    let phone = Phone::new();
    phone.scene.apply(Update::Trouble(Trouble::NotDone(
        "There is no room on this device.".into(),
    )));
    phone.unlock();
    phone
        .screen
        .drag((60.0, 10.0), (60.0, 560.0), Duration::from_millis(200));
    phone.screen.settle();
    phone.picture("notifications-one");
    let book = || {
        let notifications = phone.scene.notifications();
        let book = notifications.book();
        (book.standing().count(), book.history().count())
    };
    assert_eq!(book(), (1, 0));
    phone
        .screen
        .drag((100.0, 150.0), (320.0, 152.0), Duration::from_millis(200));
    phone.screen.settle();
    assert_eq!(book(), (0, 1));
}

#[test]
fn what_stands_on_another_device_is_shown_with_its_name() {
    use bus::notify::{Importance, Notification, Posted};
    let phone = Phone::new();
    let notifications = phone.scene.notifications();
    let devices = [("tv".to_owned(), "Living room TV".to_owned())];
    notifications.know(&devices.into());
    notifications.say(
        "files",
        "",
        "A file arrived".into(),
        "Picnic.jpg".into(),
        false,
    );
    let posted = |id: u64, title: &str| Posted {
        id,
        program: "update".into(),
        time: 0,
        notification: Notification {
            title: title.into(),
            text: "Restart to use it.".into(),
            importance: Importance::Normal,
            tag: None,
        },
    };
    let told = bus::notices::Standing {
        run: 1,
        notifications: vec![posted(1, "HyperOS 0.2.0 is installed")],
    };
    notifications.take("tv", told).unwrap();
    phone.scene.apply(Update::Notifications);
    phone.unlock();
    phone
        .screen
        .drag((60.0, 10.0), (60.0, 560.0), Duration::from_millis(200));
    phone.screen.settle();
    phone.picture("notifications-elsewhere");
    // The second card: it is swiped away, and its device is to hear of that.
    phone
        .screen
        .drag((100.0, 270.0), (320.0, 272.0), Duration::from_millis(200));
    phone.screen.settle();
    assert_eq!(notifications.dismissed_of("tv"), (1, vec![1]));
    assert_eq!(notifications.book().standing().count(), 1);
    // A tap on one of another device leads to the devices.
    let told = bus::notices::Standing {
        run: 1,
        notifications: vec![posted(2, "HyperOS 0.3.0 is installed")],
    };
    notifications.take("tv", told).unwrap();
    phone.scene.apply(Update::Notifications);
    phone.screen.settle();
    phone.screen.tap(180.0, 270.0);
    phone.screen.settle();
    assert_eq!(phone.page(), "settings/devices");
}

#[test]
fn text_is_typed_on_the_screen_s_own_keyboard() {
    let phone = Phone::new();
    phone.unlock();
    phone.go("settings");
    phone.screen.tap(180.0, 180.0);
    phone.screen.settle();
    let keyboard = phone.scene.window().global::<ui::Keyboard<'_>>();
    assert!(keyboard.get_shown());
    phone.picture("keyboard");
    for letter in ["z", "o", "n", "e"] {
        keyboard.invoke_press(letter.into());
        phone.screen.settle();
    }
    let search = phone.scene.window().global::<ui::Search<'_>>();
    assert_eq!(search.get_text(), "zone");
    phone.picture("search");
    use slint::Model as _;
    assert_eq!(search.get_found().row_data(0).unwrap().room, "zone");
    let navigation = phone.scene.window().global::<ui::Navigation<'_>>();
    phone.go("zone");
    navigation.invoke_back();
    phone.screen.settle();
    assert_eq!(search.get_text(), "zone", "it is gone on with");
    navigation.invoke_back();
    phone.screen.settle();
    assert_eq!(search.get_text(), "", "it is left");
}

#[test]
fn files_are_chosen_sent_and_deleted() {
    use bus::transfer::{Direction, Phase, Problem};
    use slint::Model as _;
    let phone = Phone::new();
    phone.unlock();
    phone.go("files");
    phone.picture("files");
    let files = phone.scene.window().global::<ui::Files<'_>>();
    assert_eq!(files.get_received().row_count(), 3);
    assert!(files.get_deliveries().row_data(0).unwrap().share > 0.3);
    // The rows are below the one delivery.
    files.invoke_choose("holiday.jpg".into());
    files.invoke_choose("Trip to Cádiz".into());
    phone.screen.settle();
    assert_eq!(files.get_chosen(), 2);
    phone.picture("files-chosen");
    files.invoke_delete();
    phone.screen.settle();
    assert_eq!(files.get_chosen(), 0, "what is asked for is chosen no more");

    let received = bus::transfer::Delivery {
        id: 2,
        direction: Direction::Receiving,
        phase: Phase::Failed(Problem::Full),
        ..delivery()
    };
    let waiting = bus::transfer::Delivery {
        id: 3,
        phase: Phase::Waiting,
        ..delivery()
    };
    let deliveries = vec![delivery(), received, waiting];
    phone.scene.apply(Update::Deliveries(deliveries));
    phone.screen.settle();
    phone.picture("files-deliveries");
    assert!(!files.get_deliveries().row_data(1).unwrap().going);

    phone.scene.apply(Update::Deliveries(Vec::new()));
    phone.scene.apply(Update::Received(Vec::new()));
    phone.screen.settle();
    phone.picture("files-none");
}

#[test]
fn files_are_sent_from_the_page_of_a_device() {
    let phone = Phone::new();
    phone.unlock();
    phone.go("family-device");
    phone.picture("device-with-delivery");
    phone.go("send-files");
    let files = phone.scene.window().global::<ui::Files<'_>>();
    files.invoke_choose("holiday.jpg".into());
    phone.screen.settle();
    phone.picture("send-files-chosen");
    assert_eq!(files.get_chosen(), 1);
}

#[test]
fn text_is_copied_from_one_field_and_pasted_into_another() {
    let phone = Phone::new();
    phone.unlock();
    phone.go("settings");
    phone.screen.tap(180.0, 180.0);
    phone.screen.settle();
    let keyboard = phone.scene.window().global::<ui::Keyboard<'_>>();
    let search = phone.scene.window().global::<ui::Search<'_>>();
    assert!(!keyboard.get_can_copy() && !keyboard.get_can_paste());
    phone.screen.type_text("zone");
    phone.screen.settle();
    assert!(keyboard.get_can_copy());
    keyboard.invoke_copy();
    phone.screen.settle();
    assert_eq!(phone.screen.clipboard().text().as_deref(), Some("zone"));
    assert_eq!(search.get_text(), "zone", "it is still there");
    // What another device copied comes as what was copied here does.
    phone.screen.clipboard().copy("wallpaper");
    phone.scene.apply(Update::CanPaste(true));
    phone.screen.settle();
    phone.picture("keyboard-copy-paste");
    // The field's text is selected since it was copied, and is replaced.
    keyboard.invoke_paste();
    phone.screen.settle();
    assert_eq!(search.get_text(), "wallpaper");
}

#[test]
fn a_still_screen_wakes_for_nothing_but_the_minute() {
    let phone = Phone::new();
    // Nobody turns the screen off.
    phone.setting("display.screen-off-after", Value::Integer(0));
    phone.unlock();
    let time = || {
        phone
            .scene
            .window()
            .global::<ui::Clock<'_>>()
            .get_time()
            .to_string()
    };
    assert_eq!(time(), "15:42");
    let next = phone
        .screen
        .step()
        .expect("the minute's turn is waited for");
    let wait = next.saturating_sub(phone.screen.now());
    assert!(
        wait > Duration::from_secs(40),
        "something wakes after {wait:?}"
    );
    phone.screen.advance(wait + Duration::from_millis(50));
    assert_eq!(time(), "15:43");
}

#[test]
fn what_is_drawn_is_what_was_drawn() {
    let phone = Phone::new();
    compare(&phone, "lock-dark");
    phone.unlock();
    compare(&phone, "home-dark");
    phone.setting("appearance.theme", Value::Text("light".into()));
    phone.setting("appearance.accent", Value::Text("iris".into()));
    phone.setting("language", Value::Text("zh-CN".into()));
    phone.go("settings");
    compare(&phone, "settings-light-zh");
}

/// Against the reference, with room for another version of a typeface.
fn compare(phone: &Phone, name: &str) {
    let now = phone.screen.picture();
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pictures")
        .join(format!("{name}.png"));
    if std::env::var_os("HYPER_PICTURES").is_some() {
        now.save_png(&file).unwrap();
    }
    let reference =
        Picture::load_png(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let difference = changed(&reference, &now);
    assert!(
        difference < 0.03,
        "{name}: {:.1} % of the pixels differ",
        difference * 100.0
    );
}
