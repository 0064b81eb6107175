//! Inputs that nobody would write, for everything that reads what comes from outside.
//!
//! Each [`Target`] takes any bytes and must come back: without a panic, an overflow, an endless
//! loop or much memory, and with what it promises of its answer. They are run in two ways:
//!
//! - `cargo test` gives each target its seeds (`seeds/TARGET/`) and thousands of changed ones. What
//!   a longer run ever found is kept there as a seed.
//! - `cargo xtask soak` builds the program of this crate with LLVM's coverage counters and lets
//!   libFuzzer look for inputs that reach code which no input has reached before. No nightly
//!   compiler is needed: the counters are a pass of LLVM that stable Rust lets one ask for.
//!
//! The target `planted` has a mistake in it on purpose, which only somebody who is guided by
//! coverage finds: where it is not found, nothing was guided.

use std::path::{Path, PathBuf};

use init::{
    device::uevent::{self, Uevent},
    log::Line,
    manifest::Manifest,
};
use network::{
    advertisement,
    dhcp::{Action, Machine},
    time::ntp,
};
use settings::{Edition, Keeper, Registry};
use sha2::{Digest as _, Sha256};
use store::{FileSystem as _, simulation::Simulation};

/// Something that reads what comes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on a command line, and that of the folder of its seeds.
    pub name: &'static str,
    /// Gives it an input.
    pub run: fn(&[u8]),
}

/// Every target but `planted`.
pub const TARGETS: &[Target] = &[
    Target {
        name: "manifest",
        run: manifest,
    },
    Target {
        name: "uevent",
        run: uevent,
    },
    Target {
        name: "dhcp",
        run: dhcp,
    },
    Target {
        name: "advertisement",
        run: advertisement,
    },
    Target {
        name: "ntp",
        run: ntp,
    },
    Target {
        name: "frames",
        run: bus::fuzzing::frames,
    },
    Target {
        name: "wave",
        run: wave,
    },
    Target {
        name: "settings",
        run: settings,
    },
    Target {
        name: "log",
        run: log,
    },
    Target {
        name: "family-entry",
        run: trust::fuzzing::entry,
    },
    Target {
        name: "family-texts",
        run: trust::fuzzing::texts,
    },
    Target {
        name: "pairing",
        run: trust::fuzzing::pairing,
    },
    Target {
        name: "document-update",
        run: replica::fuzzing::update,
    },
    Target {
        name: "file-names",
        run: file_names,
    },
    Target {
        name: "picture",
        run: picture,
    },
];

/// The mistake on purpose.
pub const PLANTED: Target = Target {
    name: "planted",
    run: planted,
};

fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Manifest::parse("service", Path::new("service.toml"), text) {
        Ok(manifest) => {
            assert!((1000..60_000).contains(&manifest.user));
            assert!(manifest.program.is_absolute());
            assert!(manifest.limits.processes > 0 && manifest.limits.memory > 0);
        }
        Err(error) => {
            // It names a place that there is.
            let lines = text.split('\n').count();
            assert!((1..=lines.max(1)).contains(&error.line()), "{error}");
            assert!(!error.reason().is_empty());
        }
    }
}

fn uevent(bytes: &[u8]) {
    if let Some(event) = Uevent::parse(bytes) {
        init::device::node::Node::of_event(&event);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        uevent::parse_file(text);
    }
}

/// A client that has asked hears these messages, each after its length in two bytes, as if each
/// were for it: the transaction is put in.
fn dhcp(mut bytes: &[u8]) {
    const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const TRANSACTION: std::ops::Range<usize> = 4..8;
    let mut machine = Machine::new(HARDWARE, 1);
    let mut now = std::time::Duration::from_secs(1);
    let mut actions = machine.start(now);
    let mut configured = false;
    loop {
        let mut transaction = None;
        for action in actions.drain(..) {
            match action {
                Action::Send(sent, _) => transaction = sent.get(TRANSACTION).map(<[u8]>::to_vec),
                Action::Configure(lease, _) => {
                    configured = true;
                    assert!((1..=32).contains(&lease.prefix));
                    assert!(lease.routes.iter().all(|route| route.prefix <= 32));
                }
                Action::Remove => {
                    assert!(configured, "removed what was not there");
                    configured = false;
                }
                Action::Check(address) => {
                    let taken = bytes.first().is_some_and(|byte| byte & 1 == 1);
                    let checked = machine.checked(address, taken, now);
                    configured |= checked
                        .iter()
                        .any(|action| matches!(action, Action::Configure(..)));
                }
            }
        }
        let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
            return;
        };
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        bytes = rest;
        let mut message = message.to_vec();
        if let (Some(transaction), Some(place)) = (transaction, message.get_mut(TRANSACTION)) {
            place.copy_from_slice(&transaction);
        }
        now += std::time::Duration::from_secs(length as u64);
        actions = machine.received(&message, now);
        actions.extend(machine.timeout(now));
    }
}

fn advertisement(bytes: &[u8]) {
    advertisement::parse(bytes);
}

fn ntp(bytes: &[u8]) {
    let mut number = [0; 8];
    if let Some(there) = bytes.get(24..32) {
        number.copy_from_slice(there);
    }
    // As if it were the answer to our question.
    if let Some(Ok(answer)) = ntp::parse(bytes, u64::from_be_bytes(number)) {
        let asked = 1_800_000_000_000_000_000;
        for round_trip in [0, 1, 3000] {
            let round_trip = std::time::Duration::from_millis(round_trip);
            let _ = ntp::offset(asked, round_trip, &answer);
        }
    }
}

/// The path of a file that another device sends: whatever is made of it stays below its folder.
fn file_names(bytes: &[u8]) {
    use exchange::files::names;
    let text = String::from_utf8_lossy(bytes);
    if let Ok(clean) = names::clean_path(&text) {
        let mut parts = Path::new(&clean).components();
        assert!(
            parts.all(
                |part| matches!(part, std::path::Component::Normal(name) if name.len() <= 255)
            )
        );
        assert!(!clean.starts_with('.') && !clean.contains('\0'));
        assert_eq!(names::clean_path(&clean).as_ref(), Ok(&clean));
        for candidate in names::candidates(&clean).take(3) {
            assert!(clean.contains('/') || names::is_at_the_top(&candidate));
        }
    }
    let text = names::as_text(bytes);
    assert_eq!(
        text == String::from_utf8_lossy(bytes),
        std::str::from_utf8(bytes).is_ok()
    );
}

/// Pictures of another device's screen: each a size, a number of parts, and these, each its place and the length of
/// its colours before them. Numbers are a byte, lengths two.
fn picture(bytes: &[u8]) {
    use picture::{Canvas, Fitted, Part, Place};
    let mut bytes = bytes.iter().copied();
    let (mut canvas, mut fitted) = (Canvas::default(), Fitted::default());
    'pictures: while let Some(count) = bytes.next() {
        let mut number = || bytes.next().map(u32::from);
        let (Some(width), Some(height)) = (number(), number()) else {
            return;
        };
        let mut parts = Vec::new();
        for _ in 0..count % 8 {
            let numbers: Vec<u32> = bytes.by_ref().take(6).map(u32::from).collect();
            let [x, y, wide, high, length, more] = numbers[..] else {
                break 'pictures;
            };
            let place = Place {
                x,
                y,
                width: wide,
                height: high,
            };
            let length = (length << 8 | more) as usize;
            parts.push((place, bytes.by_ref().take(length).collect::<Vec<_>>()));
        }
        let sent: Vec<_> = parts
            .iter()
            .map(|(place, packed)| Part {
                place: *place,
                packed,
            })
            .collect();
        if let Ok(changed) = canvas.put(width, height, &sent) {
            fitted.follow(&canvas, &changed, (40, 30));
            assert_eq!(canvas.size(), (width, height));
            assert!(fitted.size().0 <= 40 && fitted.size().1 <= 30);
        }
        let (width, height) = canvas.size();
        assert_eq!(canvas.pixels().len() as u32, width * height * 3);
    }
}

fn wave(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        bus::fuzzing::wave(text);
    }
}

/// The bytes are the body of a settings file whose checksum is right.
fn settings(bytes: &[u8]) {
    let file = Path::new("/data/settings/settings");
    let files = Simulation::new();
    let sum: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let head = format!("hyper-store 1 sha256 {sum}\n");
    let mut there = files.create(file).expect("a simulated disk is well");
    files
        .write(&mut there, &[head.as_bytes(), bytes].concat())
        .expect("a simulated disk is well");
    let registry = || Registry::new(&Edition::default(), PathBuf::from("/nonexistent")).0;
    let open =
        || Keeper::open(files.clone(), file, registry()).expect("a simulated disk can be read");
    let mut keeper = open();
    let before: Vec<_> = keeper
        .all()
        .map(|(definition, value)| {
            assert_eq!(definition.check(&value), Ok(()), "{}", definition.key);
            (definition.key, value)
        })
        .collect();
    let (key, value) = before.first().cloned().expect("there are settings");
    keeper
        .set(key, value)
        .expect("what it has is what it takes");
    // What was written is read as it was, whatever else the file held.
    let keeper = open();
    for (key, value) in before {
        assert_eq!(keeper.get(key), Ok(value), "{key}");
    }
}

fn log(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(line) = Line::parse(text)
    {
        let again = Line::parse(&line.to_string());
        assert_eq!(again.as_ref(), Some(&line));
    }
}

fn planted(bytes: &[u8]) {
    let word = b"coverage";
    let right = bytes
        .iter()
        .zip(word)
        .take_while(|(byte, right)| byte == right)
        .count();
    // Each a branch of its own, which is what coverage can tell apart.
    for step in 0..word.len() {
        if right <= step {
            return;
        }
        std::hint::black_box(step);
    }
    panic!("this is the mistake that was planted");
}
