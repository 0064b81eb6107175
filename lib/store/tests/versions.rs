//! Releases come and go: state moves up and down the chain of versions and nothing is lost.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use store::{Beginning, Version, open};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct First {
    bright: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Second {
    brightness: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Third {
    brightness: u8,
    name: String,
}

impl Version for First {
    const NUMBER: u32 = 1;
    type Previous = Beginning;
    fn up(previous: Beginning, _: Option<Self>) -> Self {
        match previous {}
    }
    fn down(&self) -> Option<Beginning> {
        None
    }
}

impl Version for Second {
    const NUMBER: u32 = 2;
    type Previous = First;
    fn up(previous: First, before: Option<Self>) -> Self {
        match before {
            Some(before) if (before.brightness > 50) == previous.bright => before,
            _ => Second {
                brightness: if previous.bright { 100 } else { 10 },
            },
        }
    }
    fn down(&self) -> Option<First> {
        Some(First {
            bright: self.brightness > 50,
        })
    }
}

impl Version for Third {
    const NUMBER: u32 = 3;
    type Previous = Second;
    fn up(previous: Second, before: Option<Self>) -> Self {
        let name = before.map_or_else(|| "lamp".to_owned(), |before| before.name);
        Third {
            brightness: previous.brightness,
            name,
        }
    }
    fn down(&self) -> Option<Second> {
        Some(Second {
            brightness: self.brightness,
        })
    }
}

#[test]
fn a_newer_release_brings_an_old_file_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lamp");
    open::<First>(&path)
        .unwrap()
        .store
        .replace(First { bright: true })
        .unwrap();
    let opened = open::<Third>(&path).unwrap();
    assert_eq!(
        opened.store.value(),
        &Third {
            brightness: 100,
            name: "lamp".into()
        }
    );
    assert!(opened.notices.is_empty());
}

#[test]
fn a_release_that_does_not_know_any_form_sets_the_file_aside() {
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Far {
        name: String,
    }
    impl Version for Far {
        const NUMBER: u32 = 9;
        type Previous = Beginning;
        fn up(previous: Beginning, _: Option<Self>) -> Self {
            match previous {}
        }
        fn down(&self) -> Option<Beginning> {
            None
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lamp");
    open::<Far>(&path)
        .unwrap()
        .store
        .replace(Far { name: "far".into() })
        .unwrap();
    let opened = open::<Second>(&path).unwrap();
    assert!(opened.notices[0].contains("versions that this release does not know (9"));
    assert!(folder.path().join("lamp.damaged-1").exists());
}

/// What a person does: an update, an update taken back, a change of the brightness.
#[derive(Clone, Copy, Debug)]
enum Act {
    Release(u32),
    Brightness(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1_u32..=3).prop_map(Act::Release),
        any::<u8>().prop_map(Act::Brightness)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn down_and_up_again_loses_nothing(acts in prop::collection::vec(act(), 1..12)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lamp");
        let first = Third { brightness: 70, name: "desk".into() };
        open::<Third>(&path).unwrap().store.replace(first.clone()).unwrap();
        // `kept` is what a release that knows brightness wrote last; `bright` is what the first
        // release shows.
        let (mut release, mut kept, mut bright) = (3, 70, true);
        for act in acts {
            match act {
                Act::Release(number) => release = number,
                Act::Brightness(value) => {
                    bright = value > 50;
                    match release {
                        1 => open::<First>(&path).unwrap().store.replace(First { bright }),
                        2 => {
                            kept = value;
                            let mut second = open::<Second>(&path).unwrap().store;
                            second.replace(Second { brightness: value })
                        }
                        _ => {
                            kept = value;
                            let mut third = open::<Third>(&path).unwrap().store;
                            third.update(|lamp| lamp.brightness = value)
                        }
                    }
                    .unwrap();
                }
            }
            let brightness = match ((kept > 50) == bright, bright) {
                (true, _) => kept,
                (false, true) => 100,
                (false, false) => 10,
            };
            prop_assert_eq!(open::<First>(&path).unwrap().store.value().clone(), First { bright });
            prop_assert_eq!(open::<Second>(&path).unwrap().store.value().clone(), Second { brightness });
            let third = Third { brightness, name: "desk".into() };
            prop_assert_eq!(open::<Third>(&path).unwrap().store.value().clone(), third);
        }
    }
}
