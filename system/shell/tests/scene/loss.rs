//! A device that is lost, and nothing else of it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bus::family::Loss;
use bus::pairing::{Secrets, Stage};
use bus::settings::Value;
use shell::scene::PowerKey;
use shell::scene::navigation::ROOMS;
use shell::scene::updates::Update;
use slint::ComponentHandle as _;
use slint::platform::Key;

use super::{BEGIN, Phone, changed, comparison, device};

fn loss() -> Option<Loss> {
    Some(Loss {
        by: "Tablet".into(),
        at: BEGIN.as_millisecond() as u64 - 120_000,
    })
}

fn open() -> Stage {
    Stage::Open(Secrets {
        code: "HYPEROS:1:VTQK7NS4T3PZ6YB2XUJ5MC8HVTQK7NS4T3PZ6YB2XUJ5MC8HVTQK7NS4T3PZ6YB2XUJ5"
            .into(),
        pin: "482913".into(),
    })
}

/// Whether what was open is closed, from now on.
fn closing(phone: &Phone) -> Rc<Cell<bool>> {
    let closed = Rc::new(Cell::new(false));
    let close = Rc::clone(&closed);
    let pairing = phone.scene.window().global::<ui::Pairing<'_>>();
    pairing.on_close(move || close.set(true));
    closed
}

/// All that somebody can do who has found it.
fn try_everything(phone: &Phone) {
    let (width, height) = phone.size();
    let stays = |what: &str| assert_eq!(phone.page(), "lost", "after {what}");
    phone.swipe_up();
    stays("a swipe up");
    for x in [0.2, 0.8] {
        let (from, to) = ((width * x, 2.0), (width * x, height * 0.8));
        phone.screen.drag(from, to, Duration::from_millis(200));
        phone.screen.settle();
        stays("a pull from the top");
    }
    let (from, to) = ((1.0, height / 2.0), (width * 0.9, height / 2.0));
    phone.screen.drag(from, to, Duration::from_millis(200));
    phone.screen.settle();
    stays("a swipe from the edge");
    for row in 0..40 {
        for column in 0..8 {
            let (x, y) = (column as f32 / 8.0, row as f32 / 40.0);
            phone.screen.tap((x + 0.06) * width, y * height);
            stays("a tap");
        }
    }
    for key in [
        Key::Space,
        Key::Return,
        Key::Escape,
        Key::Tab,
        Key::Backspace,
    ] {
        phone.screen.key(key);
        phone.screen.settle();
        stays("a key");
    }
    phone.screen.type_text("open");
    phone.scene.home_key();
    phone.scene.back_key();
    phone.screen.settle();
    stays("the keys of the device");
    phone.scene.power_key(PowerKey::Short);
    assert!(!phone.scene.status().on);
    phone.scene.power_key(PowerKey::Short);
    phone.screen.settle();
    stays("the screen off and on");
    // It can be turned off; the menu leads nowhere else.
    phone.scene.power_key(PowerKey::Long);
    assert_eq!(phone.page(), "power");
    phone.scene.back_key();
    phone.screen.settle();
    stays("the power menu");
    for room in ROOMS {
        phone.go(room);
        stays(room);
    }
}

#[test]
fn a_lost_device_shows_nothing_else_until_it_is_taken_in_again() {
    let phone = Phone::new();
    phone.unlock();
    phone.go("settings");
    phone.scene.apply(Update::Lost(loss()));
    phone.screen.settle();
    assert_eq!(phone.page(), "lost");
    assert!(phone.scene.status().locked);
    assert!(
        phone.scene.is_reserved(),
        "and it is seen by nobody elsewhere"
    );
    phone.picture("lost");
    try_everything(&phone);

    // The way back.
    let opened = Rc::new(Cell::new(0));
    let pairing = phone.scene.window().global::<ui::Pairing<'_>>();
    let count = Rc::clone(&opened);
    pairing.on_open(move || count.set(count.get() + 1));
    phone.screen.key(Key::DownArrow);
    phone.screen.key(Key::Return);
    assert_eq!(opened.get(), 1, "by keys");
    let (width, height) = phone.size();
    phone.screen.tap(width / 2.0, height - 50.0);
    assert_eq!(opened.get(), 2, "by a finger");
    phone.scene.apply(Update::Pairing(open()));
    phone.screen.settle();
    assert_eq!(phone.page(), "lost");
    phone.picture("lost-open");
    phone
        .scene
        .apply(Update::Pairing(Stage::Compare(comparison())));
    phone.screen.settle();
    assert_eq!(phone.page(), "lost");
    phone.picture("lost-compare");
    phone.scene.apply(Update::Pairing(Stage::Closed));

    // What is said meanwhile by others stands nowhere.
    phone.scene.apply(Update::Family(vec![device(
        "Phone",
        bus::family::Role::Owner,
    )]));
    phone.screen.settle();
    assert_eq!(phone.page(), "lost");

    phone.scene.apply(Update::Lost(None));
    phone.screen.settle();
    assert_eq!(phone.page(), "lock");
    phone.swipe_up();
    assert_eq!(phone.page(), "settings");
}

#[test]
fn it_says_so_in_every_size_and_language() {
    let phone = Phone::new();
    phone.scene.apply(Update::Lost(loss()));
    phone.setting("appearance.theme", Value::Text("light".into()));
    phone.setting("language", Value::Text("zh-CN".into()));
    phone.screen.settle();
    let chinese = phone.picture("lost-light-zh");
    phone.setting("language", Value::Text("es".into()));
    phone.setting("appearance.text-size", Value::Integer(200));
    phone.scene.apply(Update::Pairing(open()));
    phone.screen.settle();
    let spanish = phone.picture("lost-large-es");
    assert!(changed(&chinese, &spanish) > 0.01);
    // What is below is reached by keys too.
    phone.screen.key(Key::DownArrow);
    phone.screen.settle();
    let below = phone.picture("lost-large-es-below");
    assert!(changed(&spanish, &below) > 0.01);
    let closed = closing(&phone);
    let (width, height) = phone.size();
    phone.screen.tap(width / 2.0, height - 30.0);
    assert!(closed.get(), "its last button is there");
}

#[test]
fn a_television_says_so_too() {
    let television = Phone::of_size(1280, 720, 4.0 / 3.0);
    television.scene.apply(Update::Lost(loss()));
    television.screen.settle();
    television.picture("lost-tv");
    assert_eq!(television.page(), "lost");
}

#[test]
fn it_is_so_from_the_first_frame_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // A screen is a thread's.
    let start = |act: fn(&Phone)| {
        let folder = folder.path().to_owned();
        let started = move || act(&Phone::that_keeps(Some(folder), 540, 1200, 1.5));
        std::thread::spawn(started).join().unwrap();
    };
    start(|phone| {
        assert_eq!(phone.page(), "lock");
        phone.scene.apply(Update::Lost(loss()));
        assert_eq!(phone.page(), "lost");
    });
    start(|phone| {
        assert_eq!(phone.page(), "lost", "nobody has said so yet");
        let lost = phone.scene.window().global::<ui::Lost<'_>>();
        assert_eq!(lost.get_by(), "Tablet");
        phone.swipe_up();
        assert_eq!(phone.page(), "lost");
        phone.scene.apply(Update::Lost(None));
    });
    start(|phone| assert_eq!(phone.page(), "lock"));
}

#[test]
fn the_end_of_a_page_is_reached_in_the_largest_text() {
    let phone = Phone::new();
    phone.unlock();
    phone.setting("language", Value::Text("es".into()));
    phone.setting("appearance.text-size", Value::Integer(200));
    phone.go("pairing");
    phone.scene.apply(Update::Pairing(open()));
    phone.screen.settle();
    let closed = closing(&phone);
    let (width, height) = phone.size();
    for _ in 0..4 {
        let (from, to) = ((width / 2.0, height * 0.9), (width / 2.0, height * 0.2));
        phone.screen.drag(from, to, Duration::from_millis(400));
        phone.screen.settle();
    }
    phone.picture("pairing-large-es-below");
    phone.screen.tap(width / 2.0, height - 105.0);
    assert!(closed.get(), "its last button is there");
}
