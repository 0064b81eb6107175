//! The screen of recovery, drawn in memory. `HYPER_PICTURES=folder` keeps a picture of every state there.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use recovery::screen::{self, Facts, Screen};
use recovery::work::{Command, Shown};
use shell::platform::{Hardware, Headless, Picture};
use slint::platform::Key;
use ui::fonts::Faces;

struct Tried {
    headless: Headless,
    screen: Screen,
    asked: Rc<RefCell<Vec<Command>>>,
}

impl Tried {
    fn new(width: u32, height: u32, scale: f32, language: &str) -> Self {
        let headless = Headless::new(width, height, scale);
        let folders = [PathBuf::from("/usr/share/fonts/opentype")];
        assert!(ui::fonts::register(&folders, Faces::All).design_family);
        let asked = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&asked);
        let facts = Facts {
            model: "Phone in QEMU".into(),
            version: "0.5.0".into(),
            development: true,
            language: language.into(),
        };
        let screen = Screen::new(&facts, move |command| told.borrow_mut().push(command)).unwrap();
        headless.settle();
        Self {
            headless,
            screen,
            asked,
        }
    }

    fn show(&self, name: &str, shown: &Shown) -> Picture {
        let window = self.screen.handle().upgrade().unwrap();
        screen::show(&window, shown);
        self.headless.settle();
        let picture = self.headless.picture();
        if let Some(folder) = std::env::var_os("HYPER_PICTURES") {
            let file = PathBuf::from(folder).join(format!("recovery-{name}.png"));
            picture.save_png(file).unwrap();
        }
        picture
    }

    fn take(&self) -> Vec<Command> {
        self.headless.settle();
        self.asked.take()
    }
}

fn found(version: &str, older: bool) -> Shown {
    Shown::Found {
        version: version.into(),
        source: "stick sda1".into(),
        older,
        problems: vec![
            "stick sdb: it is not what was signed: the signature of targets is wrong".into(),
        ],
    }
}

fn disks() -> Shown {
    Shown::Disks {
        version: "0.6.0".into(),
        disks: vec![
            "Samsung SSD 980 PRO, 1 TB".into(),
            "WDC WD10EZEX-08WN4A0, 500 GB".into(),
        ],
        problems: vec!["vdc is too small: it has 134 MB, and 1.5 GB are needed".into()],
    }
}

fn chosen() -> Shown {
    Shown::Chosen {
        version: "0.6.0".into(),
        disk: "Samsung SSD 980 PRO, 1 TB".into(),
        partitions: [
            "EFI system partition",
            "Microsoft reserved partition",
            "Basic data partition",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

fn states() -> Vec<(&'static str, Shown)> {
    let version = || "0.6.0".to_owned();
    vec![
        ("looking", Shown::Looking),
        ("nothing", Shown::Nothing(Vec::new())),
        (
            "refused",
            Shown::Nothing(vec![
                "stick sda1: it is not what was signed: Failed to verify timestamp metadata: signature threshold of 1 not met for role timestamp (0 valid signatures)".into(),
            ]),
        ),
        ("found", found("0.6.0", false)),
        ("older", found("0.4.0", true)),
        (
            "writing",
            Shown::Installing {
                version: version(),
                checking: false,
                percent: 40,
            },
        ),
        (
            "checking",
            Shown::Installing {
                version: version(),
                checking: true,
                percent: 100,
            },
        ),
        (
            "failed",
            Shown::Failed {
                version: version(),
                reason: "fetching the release: stick sda1: packs/0123.pack: the chunk is not the one that its hash names".into(),
            },
        ),
        ("done", Shown::Done { version: version() }),
        ("disks", disks()),
        ("chosen", chosen()),
    ]
}

#[test]
fn every_state_looks_different_and_is_said_on_the_console() {
    let tried = Tried::new(540, 1200, 1.5, "en");
    let mut seen: Vec<(Picture, String)> = Vec::new();
    for (name, shown) in states() {
        let picture = tried.show(name, &shown);
        let line = screen::line(&shown);
        for (other, said) in &seen {
            assert!(picture.difference(other) > 0.0, "{name} looks like another");
            assert_ne!(line, *said);
        }
        seen.push((picture, line));
    }
    let refused = &seen[2].1;
    assert!(refused.contains("it is not what was signed"), "{refused}");
}

#[test]
fn it_fits_a_television_and_a_small_phone_in_every_language() {
    for (name, width, height, scale, language) in [
        ("television", 1280, 720, 1.333_333_4, "en"),
        ("small", 720, 1280, 2.0, "es"),
        ("chinese", 540, 1200, 1.5, "zh-CN"),
    ] {
        std::thread::spawn(move || {
            let tried = Tried::new(width, height, scale, language);
            let picture = tried.show(name, &found("0.4.0", true));
            let failed = tried.show(
                &format!("{name}-failed"),
                &states().into_iter().nth(7).unwrap().1,
            );
            assert!(picture.difference(&failed) > 0.0);
            // The danger stands first, and the last of its buttons is on the screen too.
            for (state, before) in [(disks(), 3), (chosen(), 2)] {
                tried.show(&format!("{name}-{before}"), &state);
                for _ in 0..=before {
                    tried.headless.key(Key::Tab);
                }
                tried.headless.key(Key::Return);
                assert_eq!(tried.take(), [Command::PowerOff]);
            }
            tried.show(name, &found("0.4.0", true));
            // The last button is on the screen and works.
            for _ in 0..3 {
                tried.headless.key(Key::Tab);
            }
            tried.headless.key(Key::Return);
            assert_eq!(tried.take(), [Command::PowerOff]);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn one_key_does_what_is_next() {
    let tried = Tried::new(540, 1200, 1.5, "en");
    tried.show("keys", &Shown::Nothing(Vec::new()));
    tried.headless.key(Key::Return);
    assert_eq!(tried.take(), [Command::Look]);
    tried.show("keys", &found("0.6.0", false));
    tried.headless.key(Key::Return);
    assert_eq!(tried.take(), [Command::Install]);
    // While it is written, nothing can be asked for.
    tried.show("keys", &states()[5].1);
    tried.headless.key(Key::Return);
    assert_eq!(tried.take(), []);
}

#[test]
fn a_phone_without_a_keyboard_has_its_keys() {
    let tried = Tried::new(540, 1200, 1.5, "en");
    tried.show("hardware", &found("0.6.0", false));
    let press = |event| {
        tried.screen.hardware(event);
        tried.headless.settle();
    };
    press(Hardware::VolumeDown);
    press(Hardware::VolumeDown);
    press(Hardware::PowerPressed);
    assert_eq!(tried.take(), [Command::StartAgain]);
    press(Hardware::VolumeUp);
    press(Hardware::PowerPressed);
    assert_eq!(tried.take(), [Command::Install]);
    press(Hardware::PowerHeld);
    assert_eq!(tried.take(), [Command::PowerOff]);
}

#[test]
fn a_disk_is_erased_only_by_what_is_chosen_and_said_once_more() {
    let tried = Tried::new(540, 1200, 1.5, "en");
    tried.show("disk", &disks());
    // What is pressed without a choice erases nothing.
    tried.headless.key(Key::Return);
    assert_eq!(tried.take(), [Command::Look]);
    tried.headless.key(Key::Tab);
    tried.headless.key(Key::Tab);
    tried.headless.key(Key::Return);
    assert_eq!(tried.take(), [Command::Choose(1)]);
    tried.show("chosen", &chosen());
    tried.headless.key(Key::Return);
    assert_ne!(tried.take(), [Command::Erase]);
    tried.show("again", &disks());
    tried.show("chosen", &chosen());
    tried.headless.key(Key::Tab);
    tried.headless.key(Key::Return);
    assert_eq!(tried.take(), [Command::Erase]);
}
