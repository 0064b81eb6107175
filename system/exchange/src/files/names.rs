//! Names that other devices give to files.
//!
//! A path from another device is never used as it is. What an honest sender does not send is refused;
//! what it may send and this device does not want is changed, in a way that gives different names
//! different results.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The longest name of a file, in bytes.
const MAX_NAME: usize = 255;
/// The longest path.
const MAX_PATH: usize = 2048;
/// The deepest.
const MAX_DEPTH: usize = 32;
/// The longest ending that is kept when a name is made shorter.
const MAX_ENDING: usize = 16;

/// A path below a folder, every name of which can be used.
pub fn clean_path(path: &str) -> Result<String, String> {
    let shown = || path.chars().take(80).collect::<String>();
    if path.len() > MAX_PATH {
        return Err(format!("the path {:?}… is too long", shown()));
    }
    let mut clean = String::with_capacity(path.len());
    for (depth, name) in path.split('/').enumerate() {
        if name.is_empty() || name == "." || name == ".." || name.contains('\0') {
            return Err(format!("{:?} is no path of a file to receive", shown()));
        }
        if depth == MAX_DEPTH {
            return Err(format!("the path {:?} is too deep", shown()));
        }
        if depth > 0 {
            clean.push('/');
        }
        clean.push_str(&clean_name(name, depth == 0));
    }
    if clean.len() > MAX_PATH {
        return Err(format!("the path {:?} is too long", shown()));
    }
    Ok(clean)
}

/// Characters that change how the others look, or that cannot be seen.
fn is_unwanted(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// A name that can be used; at the top, none that is hidden, for there this service keeps its own.
fn clean_name(name: &str, at_the_top: bool) -> String {
    let mut clean: String = name
        .chars()
        .map(|character| {
            if is_unwanted(character) {
                '_'
            } else {
                character
            }
        })
        .collect();
    if at_the_top && clean.starts_with('.') {
        clean.replace_range(..1, "_");
    }
    if clean == name && name.len() <= MAX_NAME {
        return clean;
    }
    // Names that differ stay different.
    let mut mark = String::from("~");
    for byte in &Sha256::digest(name.as_bytes())[..4] {
        // Writing to a string cannot fail.
        let _ = write!(mark, "{byte:02x}");
    }
    with_mark(&clean, &mark)
}

/// The name with something put before its ending, cut where that is too long.
fn with_mark(name: &str, mark: &str) -> String {
    let (stem, ending) = match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MAX_ENDING => name.split_at(at),
        _ => (name, ""),
    };
    let most = MAX_NAME - ending.len() - mark.len();
    let stem = &stem[..stem.floor_char_boundary(most)];
    format!("{stem}{mark}{ending}")
}

/// Names to try for something, in order: its own first, then `name (2).txt` and on.
pub fn candidates(name: &str) -> impl Iterator<Item = String> {
    let first = name.to_owned();
    let name = name.to_owned();
    std::iter::once(first)
        .chain((2..=10_000).map(move |number| with_mark(&name, &format!(" ({number})"))))
}

/// Whether a name is one that a received file or folder can have, at the top.
pub fn is_at_the_top(name: &str) -> bool {
    !name.contains('/') && clean_path(name).is_ok_and(|clean| clean == name)
}

/// The name of a file of this device as text: bytes that are no UTF-8 are written in hexadecimal.
pub fn as_text(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay_as_they_are() {
        for path in [
            "holiday.jpg",
            "a/b/c.txt",
            "音乐/夜曲.flac",
            "año (2).md",
            "folder/.hidden",
            "no ending",
            "...",
            " leading and trailing ",
        ] {
            let clean = clean_path(path).unwrap();
            if path.starts_with('.') {
                assert_ne!(clean, path);
            } else {
                assert_eq!(clean, path);
            }
        }
    }

    #[test]
    fn ways_out_are_refused() {
        for path in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../up",
            "a/../../up",
            "a/..",
            "./a",
            "a/./b",
            "a//b",
            "a/",
            "nul\0byte",
            &"x/".repeat(MAX_DEPTH + 1),
            &"d/".repeat(MAX_DEPTH + 1).repeat(40),
            &format!("{}y", "x/".repeat(MAX_DEPTH)),
        ] {
            assert!(clean_path(path).is_err(), "{path:?}");
        }
        assert!(clean_path(&format!("{}y", "x/".repeat(MAX_DEPTH - 1))).is_ok());
    }

    #[test]
    fn names_that_hide_something_are_changed() {
        let clean = clean_path("invoice\u{202e}fdp.exe").unwrap();
        assert!(
            clean.starts_with("invoice_fdp~") && clean.ends_with(".exe"),
            "{clean}"
        );
        let clean = clean_path("two\nlines.txt").unwrap();
        assert!(
            clean.starts_with("two_lines~") && clean.ends_with(".txt"),
            "{clean}"
        );
        assert_ne!(
            clean,
            clean_path("two\tlines.txt").unwrap(),
            "they stay different"
        );
        for own in [".arriving", ".state"] {
            let clean = clean_path(&format!("{own}/x")).unwrap();
            assert!(clean.starts_with(&format!("_{}~", &own[1..])), "{clean}");
        }
    }

    #[test]
    fn long_names_are_cut_and_keep_their_ending() {
        let clean = clean_path(&format!("{}.jpeg", "長".repeat(100))).unwrap();
        assert!(
            clean.len() <= MAX_NAME && clean.ends_with(".jpeg"),
            "{clean}"
        );
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let names = |name: &str| candidates(name).take(3).collect::<Vec<_>>();
        assert_eq!(names("a.txt"), ["a.txt", "a (2).txt", "a (3).txt"]);
        assert_eq!(names("folder"), ["folder", "folder (2)", "folder (3)"]);
        assert_eq!(names("a.tar.gz")[1], "a.tar (2).gz");
        let long = "x".repeat(MAX_NAME);
        assert!(names(&long).iter().all(|name| name.len() <= MAX_NAME));
    }

    #[test]
    fn bytes_that_are_no_text_are_written_out() {
        assert_eq!(as_text(b"caf\xe9.txt"), "caf%E9.txt");
        assert_eq!(as_text("café".as_bytes()), "café");
    }

    proptest! {
        #[test]
        fn whatever_comes_stays_below_the_folder(path in "(\\PC|[./\\x00-\\x1f\u{202e}]){0,60}") {
            if let Ok(clean) = clean_path(&path) {
                prop_assert!(!clean.starts_with('.'));
                for component in Path::new(&clean).components() {
                    let Component::Normal(name) = component else {
                        panic!("{component:?} in {clean:?}");
                    };
                    let name = name.to_str().unwrap();
                    prop_assert!(name.len() <= MAX_NAME && !name.chars().any(is_unwanted));
                }
                prop_assert_eq!(clean.split('/').count(), path.split('/').count());
                prop_assert_eq!(clean_path(&clean).unwrap(), clean);
            }
        }

        #[test]
        fn names_that_differ_stay_different(one in "[a\\x01\\x02\u{202e}.]{1,5}", other in "[a\\x01\\x02\u{202e}.]{1,5}") {
            if let (Ok(first), Ok(second)) = (clean_path(&one), clean_path(&other)) {
                prop_assert_eq!(one == other, first == second);
            }
        }
    }
}
