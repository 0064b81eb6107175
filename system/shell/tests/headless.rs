//! The platform without a screen, driven as a person would.

#![allow(missing_docs, reason = "the generated window has no documentation")]

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use shell::input::{Input, KeyAction, MouseButton, code};
use shell::platform::{Hardware, Headless, Picture};
use slint::ComponentHandle;

slint::slint! {
    export component Probe inherits Window {
        in-out property <bool> on;
        in-out property <length> slide;
        in-out property <string> typed;
        in property <bool> moved;
        callback pressed();
        background: #102030;
        Rectangle {
            x: 20px; y: 20px; width: 60px; height: 40px;
            background: root.on ? #ffffff : #c00000;
            TouchArea { clicked => { root.on = !root.on; root.pressed(); } }
        }
        Rectangle {
            x: root.moved ? 100px : 20px; y: 120px; width: 20px; height: 20px;
            background: #00ff00;
            animate x { duration: 200ms; }
        }
        Flickable {
            x: 0; y: 160px; width: 180px; height: 100px;
            content-height: 400px;
            Rectangle { y: 0; height: 100px; width: 100%; background: #0000ff; }
            Rectangle { y: 100px; height: 300px; width: 100%; background: #ffff00; }
        }
        forward-focus: scope;
        scope := FocusScope {
            key-pressed(event) => { root.typed += event.text; accept }
        }
    }
}

fn screen() -> (Headless, Probe) {
    let screen = Headless::new(360, 520, 2.0);
    let probe = Probe::new().unwrap();
    probe.show().unwrap();
    screen.settle();
    (screen, probe)
}

const GROUND: [u8; 3] = [0x10, 0x20, 0x30];

#[test]
fn a_tap_changes_the_picture_where_it_should() {
    let (screen, probe) = screen();
    let before = screen.picture();
    assert_eq!(before.at(5, 5), GROUND);
    assert_eq!(before.at(100, 80), [0xc0, 0, 0]);
    screen.tap(50.0, 40.0);
    screen.settle();
    let after = screen.picture();
    assert!(probe.get_on());
    assert_eq!(after.at(100, 80), [255; 3]);
    assert_eq!(after.at(5, 5), GROUND);
    let button = 120.0 * 80.0 / (360.0 * 520.0);
    assert!((before.difference(&after) - button).abs() < 1e-6);
    screen.tap(5.0, 5.0);
    assert_eq!(screen.picture().difference(&after), 0.0);
}

#[test]
fn an_animation_moves_by_the_clock_and_then_all_is_still() {
    let (screen, probe) = screen();
    probe.set_moved(true);
    screen.advance(Duration::from_millis(100));
    let middle = screen.picture();
    screen.settle();
    let end = screen.picture();
    assert_eq!(end.at(220, 260), [0, 255, 0]);
    assert_ne!(middle.at(220, 260), [0, 255, 0]);
    let frames = screen.screen().statistics(|statistics| statistics.frames());
    assert_eq!(screen.step(), None, "a still screen asks to be woken");
    screen.advance(Duration::from_secs(5));
    assert_eq!(
        screen.screen().statistics(|statistics| statistics.frames()),
        frames
    );
}

#[test]
fn a_drag_moves_what_is_under_the_finger() {
    let (screen, _probe) = screen();
    assert_eq!(screen.picture().at(100, 500), [0, 0, 255]);
    screen.drag((50.0, 250.0), (50.0, 170.0), Duration::from_millis(300));
    screen.settle();
    assert_eq!(screen.picture().at(100, 500), [255, 255, 0]);
}

#[test]
fn every_touch_with_an_effect_is_measured_and_none_without() {
    let (screen, _probe) = screen();
    screen.screen().statistics(|statistics| statistics.reset());
    screen.tap(5.0, 5.0);
    assert_eq!(
        screen
            .screen()
            .statistics(|statistics| statistics.touch_to_flip().count()),
        0
    );
    screen.tap(50.0, 40.0);
    assert_eq!(
        screen
            .screen()
            .statistics(|statistics| statistics.touch_to_flip().count()),
        1
    );
}

#[test]
fn a_redraw_covers_the_whole_screen_and_a_change_only_its_part() {
    let (screen, probe) = screen();
    let share = |screen: &Headless| {
        screen
            .screen()
            .statistics(|statistics| statistics.redraws().last().unwrap().share)
    };
    screen.screen().redraw();
    screen.step();
    assert_eq!(share(&screen), 1000);
    screen.advance(Duration::from_millis(50));
    probe.set_on(true);
    screen.step();
    assert_eq!(share(&screen), 1000 * 120 * 80 / (360 * 520));
}

#[test]
fn keys_go_through_the_layout_to_the_focus() {
    let (screen, probe) = screen();
    screen.key_code(31);
    assert!(screen.screen().set_keyboard_layout("es"));
    screen.key_code(39);
    assert_eq!(probe.get_typed(), "sñ");
}

#[test]
fn the_power_key_is_short_or_long() {
    let (screen, _probe) = screen();
    let told = Rc::new(RefCell::new(Vec::new()));
    let list = told.clone();
    screen.on_hardware(move |event| list.borrow_mut().push(event));
    let power = |action| {
        screen.input(Input::Key {
            code: code::KEY_POWER,
            action,
        })
    };
    power(KeyAction::Pressed);
    screen.advance(Duration::from_millis(100));
    power(KeyAction::Released);
    power(KeyAction::Pressed);
    screen.advance(Duration::from_secs(2));
    power(KeyAction::Released);
    let told: Vec<_> = told
        .borrow()
        .iter()
        .copied()
        .filter(|event| *event != Hardware::Touched)
        .collect();
    assert_eq!(told, [Hardware::PowerPressed, Hardware::PowerHeld]);
}

#[test]
fn a_dark_screen_is_black_takes_no_touch_and_comes_back_whole() {
    let (screen, probe) = screen();
    let control = screen.screen();
    let lit = screen.picture();
    let presses = Rc::new(Cell::new(0));
    let count = presses.clone();
    screen.on_hardware(move |event| {
        count.set(count.get() + u32::from(event == Hardware::PowerPressed))
    });
    control.set_on(false);
    assert!(screen.picture().pixels.iter().all(|value| *value == 0));
    screen.tap(50.0, 40.0);
    assert!(!probe.get_on());
    screen.key_code(31);
    screen.input(Input::MouseButton {
        button: MouseButton::Left,
        pressed: true,
    });
    assert_eq!((probe.get_typed().as_str(), presses.get()), ("", 2));
    probe.set_slide(3.0);
    control.set_on(true);
    assert_eq!(screen.picture(), lit);
}

#[test]
fn the_mouse_has_an_arrow_that_leaves_no_trace() {
    let (screen, probe) = screen();
    let before = screen.picture();
    screen.input(Input::MouseMoved { x: 0.0, y: 0.0 });
    assert!(before.difference(&screen.picture()) > 0.0);
    screen.input(Input::MouseMoved { x: -40.0, y: -90.0 });
    for pressed in [true, false] {
        screen.input(Input::MouseButton {
            button: MouseButton::Left,
            pressed,
        });
    }
    assert!(probe.get_on());
    screen.tap(50.0, 40.0);
    screen.settle();
    assert_eq!(screen.picture(), before);
}

#[test]
fn another_scale_makes_everything_as_much_larger() {
    let (screen, _probe) = screen();
    screen.screen().set_scale(3.0);
    screen.settle();
    let picture = screen.picture();
    assert_eq!(picture.at(61, 61), [0xc0, 0, 0]);
    assert_eq!(picture.at(58, 61), GROUND);
}

#[test]
fn other_threads_reach_the_scene() {
    let (screen, probe) = screen();
    let ui = screen.ui();
    let weak = probe.as_weak();
    std::thread::spawn(move || ui.post(move || weak.unwrap().set_on(true)).unwrap())
        .join()
        .unwrap();
    assert_eq!(screen.picture().at(100, 80), [255; 3]);
}

#[test]
fn a_picture_is_kept_in_a_file_as_it_is() {
    let (screen, _probe) = screen();
    let folder = tempfile::tempdir().unwrap();
    let file: &Path = &folder.path().join("picture.png");
    let picture = screen.picture();
    picture.save_png(file).unwrap();
    assert_eq!(Picture::load_png(file).unwrap(), picture);
}
