//! What is printed on the keys: keyboard layouts, and the letters that dead keys make.
//!
//! A layout is four pictures of a keyboard: as it is, with Shift, with AltGr, with both. Each row
//! of a picture is the row of keys from its left end; a blank stands where a key gives nothing. To
//! add a layout, draw it here and name it in [`LAYOUTS`].

use super::code::*;

/// The keys that print, row by row.
const ROWS: [&[std::ops::RangeInclusive<u16>]; 4] = [
    &[KEY_GRAVE..=KEY_GRAVE, KEY_1..=KEY_EQUAL],
    &[KEY_Q..=KEY_RIGHTBRACE],
    &[KEY_A..=KEY_APOSTROPHE, KEY_BACKSLASH..=KEY_BACKSLASH],
    &[KEY_102ND..=KEY_102ND, KEY_Z..=KEY_SLASH],
];

/// A keyboard layout.
#[derive(Debug)]
pub struct Layout {
    /// As settings name it.
    pub name: &'static str,
    plain: [&'static str; 4],
    shift: [&'static str; 4],
    altgr: [&'static str; 4],
    shift_altgr: [&'static str; 4],
    /// Of the characters above, those that wait for a letter to stand on.
    dead: &'static [char],
}

const NONE: [&str; 4] = ["", "", "", ""];

/// All layouts. The first one is the default.
pub static LAYOUTS: [Layout; 4] = [
    Layout {
        name: "us",
        plain: [
            "`1234567890-=",
            "qwertyuiop[]",
            "asdfghjkl;'\\",
            "\\zxcvbnm,./",
        ],
        shift: [
            "~!@#$%^&*()_+",
            "QWERTYUIOP{}",
            "ASDFGHJKL:\"|",
            "|ZXCVBNM<>?",
        ],
        altgr: NONE,
        shift_altgr: NONE,
        dead: &[],
    },
    Layout {
        name: "es",
        plain: [
            "º1234567890'¡",
            "qwertyuiop`+",
            "asdfghjklñ´ç",
            "<zxcvbnm,.-",
        ],
        shift: [
            "ª!\"·$%&/()=?¿",
            "QWERTYUIOP^*",
            "ASDFGHJKLÑ¨Ç",
            ">ZXCVBNM;:_",
        ],
        altgr: [
            "\\|@#~€¬      ",
            "  €       []",
            "          {}",
            "           ",
        ],
        shift_altgr: NONE,
        dead: &['`', '´', '^', '¨'],
    },
    Layout {
        name: "latam",
        plain: [
            "|1234567890'¿",
            "qwertyuiop´+",
            "asdfghjklñ{}",
            "<zxcvbnm,.-",
        ],
        shift: [
            "°!\"#$%&/()=?¡",
            "QWERTYUIOP¨*",
            "ASDFGHJKLÑ[]",
            ">ZXCVBNM;:_",
        ],
        altgr: [
            "¬          \\ ",
            "@          ~",
            "          ^`",
            "           ",
        ],
        shift_altgr: NONE,
        dead: &['´', '¨'],
    },
    Layout {
        name: "gb",
        plain: [
            "`1234567890-=",
            "qwertyuiop[]",
            "asdfghjkl;'#",
            "\\zxcvbnm,./",
        ],
        shift: [
            "¬!\"£$%^&*()_+",
            "QWERTYUIOP{}",
            "ASDFGHJKL:@~",
            "|ZXCVBNM<>?",
        ],
        altgr: [
            "¦   €        ",
            "  é   úíó   ",
            "á           ",
            "           ",
        ],
        shift_altgr: [
            "             ",
            "  É   ÚÍÓ   ",
            "Á           ",
            "           ",
        ],
        dead: &[],
    },
];

/// The names of all layouts.
pub fn names() -> impl Iterator<Item = &'static str> {
    LAYOUTS.iter().map(|layout| layout.name)
}

impl Layout {
    /// The layout of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.name == name)
    }

    /// What a key prints.
    pub fn character(&self, code: u16, shift: bool, altgr: bool) -> Option<char> {
        let picture = match (shift, altgr) {
            (false, false) => &self.plain,
            (true, false) => &self.shift,
            (false, true) => &self.altgr,
            (true, true) => &self.shift_altgr,
        };
        let (row, column) = place(code)?;
        picture[row]
            .chars()
            .nth(column)
            .filter(|character| *character != ' ')
    }

    /// Whether a character waits for a letter to stand on.
    pub fn is_dead(&self, character: char) -> bool {
        self.dead.contains(&character)
    }
}

fn place(code: u16) -> Option<(usize, usize)> {
    ROWS.iter().enumerate().find_map(|(row, keys)| {
        let mut before = 0;
        for range in *keys {
            if range.contains(&code) {
                return Some((row, before + usize::from(code - range.start())));
            }
            before += range.len();
        }
        None
    })
}

/// Accents: the dead key, the letters that it changes, and what they become.
const ACCENTS: [(char, &str, &str); 5] = [
    ('´', "aeiouyncszAEIOUYNCSZ", "áéíóúýńćśźÁÉÍÓÚÝŃĆŚŹ"),
    ('`', "aeiounAEIOUN", "àèìòùǹÀÈÌÒÙǸ"),
    ('^', "aeiouyAEIOUYcgC", "âêîôûŷÂÊÎÔÛŶĉĝĈ"),
    ('¨', "aeiouyAEIOUY", "äëïöüÿÄËÏÖÜŸ"),
    ('~', "anoANO", "ãñõÃÑÕ"),
];

/// The letter that a dead key makes of another.
pub fn accented(dead: char, letter: char) -> Option<char> {
    let (_, letters, results) = ACCENTS.iter().find(|(accent, ..)| *accent == dead)?;
    let index = letters.chars().position(|candidate| candidate == letter)?;
    results.chars().nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_has_a_place_for_every_key_of_its_row() {
        for layout in &LAYOUTS {
            for (name, picture) in [
                ("plain", layout.plain),
                ("shift", layout.shift),
                ("altgr", layout.altgr),
                ("both", layout.shift_altgr),
            ] {
                for (row, keys) in ROWS.iter().enumerate() {
                    let count: usize = keys.iter().map(|range| range.len()).sum();
                    let drawn = picture[row].chars().count();
                    assert!(
                        drawn == count || drawn == 0,
                        "{} {name} row {row}: {drawn} keys drawn, {count} there",
                        layout.name
                    );
                }
            }
        }
    }

    #[test]
    fn letters_of_all_layouts_are_capitals_with_shift() {
        for layout in &LAYOUTS {
            for code in 0..256 {
                if let Some(letter) = layout
                    .character(code, false, false)
                    .filter(|c| c.is_alphabetic() && c.is_lowercase() && !"ºª".contains(*c))
                {
                    assert_eq!(
                        layout.character(code, true, false),
                        letter.to_uppercase().next(),
                        "{} {code}",
                        layout.name
                    );
                }
            }
        }
    }

    #[test]
    fn accents_name_a_result_for_each_letter() {
        for (dead, letters, results) in ACCENTS {
            assert_eq!(letters.chars().count(), results.chars().count(), "{dead}");
        }
        assert_eq!(accented('´', 'e'), Some('é'));
        assert_eq!(accented('´', 'x'), None);
    }

    #[test]
    fn every_dead_key_has_accents() {
        for layout in &LAYOUTS {
            for dead in layout.dead {
                assert!(ACCENTS.iter().any(|(accent, ..)| accent == dead), "{dead}");
            }
        }
    }

    #[test]
    fn the_ñ_is_where_it_is_printed() {
        let es = Layout::named("es").unwrap();
        assert_eq!(es.character(39, false, false), Some('ñ'));
        assert_eq!(es.character(39, true, false), Some('Ñ'));
        assert_eq!(es.character(KEY_1 + 1, false, true), Some('@'));
        assert_eq!(es.character(18, false, true), Some('€'));
    }
}
