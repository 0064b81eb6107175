//! Devices of every kind, and bytes of none.

use super::*;
use crate::input::event;
use proptest::prelude::*;
use std::time::Duration;

fn tablet() -> Abilities {
    Abilities {
        keys: Bits::of(&[BTN_LEFT, BTN_RIGHT]),
        absolute: Bits::of(&[ABS_X, ABS_Y]),
        relative: Bits::of(&[REL_WHEEL]),
        ranges: [(0, 32767); 2],
        ..Abilities::default()
    }
}

fn panel() -> Abilities {
    Abilities {
        keys: Bits::of(&[BTN_TOUCH]),
        absolute: Bits::of(&[
            ABS_X,
            ABS_Y,
            ABS_MT_SLOT,
            ABS_MT_POSITION_X,
            ABS_MT_POSITION_Y,
            ABS_MT_TRACKING_ID,
        ]),
        properties: Bits::of(&[INPUT_PROP_DIRECT]),
        ranges: [(0, 1000), (0, 2000)],
        ..Abilities::default()
    }
}

fn mouse() -> Abilities {
    Abilities {
        keys: Bits::of(&[BTN_LEFT]),
        relative: Bits::of(&[REL_X, REL_Y, REL_WHEEL]),
        ..Abilities::default()
    }
}

fn keyboard() -> Abilities {
    Abilities {
        keys: Bits::of(&[KEY_A, KEY_ENTER, KEY_POWER]),
        ..Abilities::default()
    }
}

fn decode(decoder: &mut Decoder, events: &[(u16, u16, i32)]) -> Vec<Input> {
    let mut told = Vec::new();
    for (kind, code, value) in events {
        let event = Event {
            at: Duration::from_millis(5),
            kind: *kind,
            code: *code,
            value: *value,
        };
        decoder.event(event, &mut |stamped| {
            assert_eq!(stamped.at, Duration::from_millis(5));
            told.push(stamped.input);
        });
    }
    told
}

fn touch(phase: TouchPhase, x: f32, y: f32) -> Input {
    Input::Touch(Touch {
        contact: 0,
        phase,
        position: (x, y),
    })
}

const SYN: (u16, u16, i32) = (EV_SYN, SYN_REPORT, 0);

#[test]
fn a_virtual_machine_s_pointer_touches_only_while_its_button_is_down() {
    let mut decoder = Decoder::new(&tablet()).unwrap();
    assert_eq!(
        decode(
            &mut decoder,
            &[(EV_ABS, ABS_X, 100), (EV_ABS, ABS_Y, 100), SYN]
        ),
        []
    );
    let told = decode(
        &mut decoder,
        &[
            (EV_ABS, ABS_X, 32767),
            (EV_KEY, BTN_LEFT, 1),
            SYN,
            (EV_ABS, ABS_Y, 32767),
            SYN,
            (EV_KEY, BTN_LEFT, 0),
            SYN,
        ],
    );
    let top = 100.0 / 32767.0;
    assert_eq!(
        told,
        [
            touch(TouchPhase::Down, 1.0, top),
            touch(TouchPhase::Moved, 1.0, 1.0),
            touch(TouchPhase::Up, 1.0, 1.0)
        ]
    );
}

#[test]
fn a_panel_tells_its_fingers_and_not_its_compatibility_events() {
    let mut decoder = Decoder::new(&panel()).unwrap();
    let told = decode(
        &mut decoder,
        &[
            (EV_ABS, ABS_MT_TRACKING_ID, 3),
            (EV_ABS, ABS_MT_POSITION_X, 500),
            (EV_ABS, ABS_MT_POSITION_Y, 500),
            (EV_KEY, BTN_TOUCH, 1),
            (EV_ABS, ABS_X, 500),
            (EV_ABS, ABS_Y, 500),
            SYN,
        ],
    );
    assert_eq!(told, [touch(TouchPhase::Down, 0.5, 0.25)]);
}

#[test]
fn after_lost_events_nothing_stays_down() {
    let mut decoder = Decoder::new(&keyboard()).unwrap();
    decode(&mut decoder, &[(EV_KEY, KEY_A, 1), SYN]);
    let told = decode(
        &mut decoder,
        &[
            (EV_SYN, SYN_DROPPED, 0),
            (EV_KEY, KEY_ENTER, 1),
            SYN,
            (EV_KEY, KEY_ENTER, 0),
        ],
    );
    let key = |code| Input::Key {
        code,
        action: KeyAction::Released,
    };
    assert_eq!(told, [key(KEY_A), key(KEY_ENTER)]);

    let mut decoder = Decoder::new(&panel()).unwrap();
    decode(&mut decoder, &[(EV_ABS, ABS_MT_TRACKING_ID, 3), SYN]);
    let told = decode(
        &mut decoder,
        &[
            (EV_SYN, SYN_DROPPED, 0),
            SYN,
            (EV_ABS, ABS_MT_POSITION_X, 5),
            SYN,
        ],
    );
    assert_eq!(told, [touch(TouchPhase::Cancelled, 0.0, 0.0)]);
}

#[test]
fn a_mouse_moves_turns_and_clicks() {
    let mut decoder = Decoder::new(&mouse()).unwrap();
    let told = decode(
        &mut decoder,
        &[
            (EV_REL, REL_X, 3),
            (EV_REL, REL_Y, -2),
            (EV_REL, REL_WHEEL, -1),
            (EV_KEY, BTN_LEFT, 1),
            SYN,
        ],
    );
    assert_eq!(
        told,
        [
            Input::MouseButton {
                button: MouseButton::Left,
                pressed: true
            },
            Input::MouseMoved { x: 3.0, y: -2.0 },
            Input::Wheel { x: 0.0, y: -1.0 },
        ]
    );
}

#[test]
fn what_is_neither_key_nor_pointer_is_left_alone() {
    let accelerometer = Abilities {
        absolute: Bits::of(&[ABS_X, ABS_Y]),
        ..Abilities::default()
    };
    assert!(Decoder::new(&accelerometer).is_none());
    assert!(Decoder::new(&Abilities::default()).is_none());
}

proptest! {
    #[test]
    fn foreign_bytes_never_confuse_a_device(foreign in proptest::collection::vec(any::<u8>(), 0..4000), which in 0usize..4) {
        let abilities = [tablet(), panel(), mouse(), keyboard()][which].clone();
        let mut decoder = Decoder::new(&abilities).unwrap();
        for event in event::parse(&foreign) {
            decoder.event(event, &mut |_| {});
        }
    }

    /// Random but plausible events: every place is on the screen, every release had a press.
    #[test]
    fn plausible_events_keep_the_order_of_fingers(
        events in proptest::collection::vec(
            (prop_oneof![Just(EV_ABS), Just(EV_SYN), Just(EV_KEY)],
             prop_oneof![Just(ABS_MT_SLOT), Just(ABS_MT_TRACKING_ID), Just(ABS_MT_POSITION_X), Just(0u16), Just(3), Just(BTN_TOUCH), Just(BTN_LEFT)],
             -5i32..3000), 0..300),
        which in 0usize..2,
    ) {
        let mut decoder = Decoder::new(&[tablet(), panel()][which]).unwrap();
        let mut down = [false; 16];
        for (kind, code, value) in events {
            let mut told = Vec::new();
            decoder.event(Event { at: Duration::ZERO, kind, code, value }, &mut |stamped| told.push(stamped.input));
            for input in told {
                let Input::Touch(touch) = input else { continue };
                prop_assert!((0.0..=1.0).contains(&touch.position.0) && (0.0..=1.0).contains(&touch.position.1));
                let is_down = &mut down[touch.contact as usize];
                prop_assert_eq!(*is_down, touch.phase != TouchPhase::Down);
                *is_down = matches!(touch.phase, TouchPhase::Down | TouchPhase::Moved);
            }
        }
    }
}
