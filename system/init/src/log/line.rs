//! One line of the log, and how it is written.

use std::fmt;
use std::sync::Arc;

/// Longer lines are cut: a log is no place for files.
const LONGEST: usize = 4096;

/// How much a line matters. The numbers are those of syslog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work.
    Error = 3,
    /// Something may not work soon, or was refused.
    Warning = 4,
    /// Worth knowing on an ordinary day.
    Notice = 5,
    /// What goes on.
    Information = 6,
    /// What goes on, for whoever looks for a fault.
    Detail = 7,
}

impl Level {
    /// The level of a syslog number; what is worse than an error counts as one.
    pub fn from_number(number: u8) -> Self {
        match number {
            0..=3 => Self::Error,
            4 => Self::Warning,
            5 => Self::Notice,
            6 => Self::Information,
            _ => Self::Detail,
        }
    }
}

/// One line: when, who, how much it matters, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since 1970-01-01T00:00:00Z, by this device's clock.
    pub time: u64,
    /// The service that wrote it, `kernel` or `init`.
    pub service: Arc<str>,
    /// How much it matters.
    pub level: Level,
    /// What it says, without line breaks.
    pub text: String,
}

impl fmt::Display for Line {
    /// As it is on disk: `time level service text`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            self.time, self.level as u8, self.service, self.text
        )
    }
}

impl Line {
    /// Reads a line as it is on disk; `None` for one that a power cut tore.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let time = parts.next()?.parse().ok()?;
        let level = match parts.next()?.parse().ok()? {
            number @ 3..=7 => Level::from_number(number),
            _ => return None,
        };
        let service = parts.next().filter(|service| !service.is_empty())?.into();
        Some(Self {
            time,
            service,
            level,
            text: parts.next()?.to_owned(),
        })
    }

    /// What it costs to keep.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }
}

/// Takes a `<N>` from the start of what a service printed; without one the level is `otherwise`.
pub fn read_prefix(text: &str, otherwise: Level) -> (Level, &str) {
    match text.as_bytes() {
        [b'<', digit @ b'0'..=b'7', b'>', ..] => (Level::from_number(digit - b'0'), &text[3..]),
        _ => (otherwise, text),
    }
}

/// Makes a text a line: control characters, which could move a terminal's cursor, become visible.
pub(super) fn clean(mut text: String) -> String {
    if text.len() > LONGEST {
        let mut end = LONGEST;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    if text.contains(char::is_control) {
        text = text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_level_is_read_from_the_prefix() {
        assert_eq!(
            read_prefix("<3>no", Level::Information),
            (Level::Error, "no")
        );
        assert_eq!(
            read_prefix("<9>no", Level::Information),
            (Level::Information, "<9>no")
        );
        assert_eq!(read_prefix("", Level::Warning), (Level::Warning, ""));
    }

    proptest! {
        #[test]
        fn a_line_comes_back_from_disk(
            time: u64, level in 3u8..8, service in "[a-z][a-z0-9-]{0,9}", text in "\\PC{0,40}"
        ) {
            let line = Line { time, service: service.into(), level: Level::from_number(level), text };
            prop_assert_eq!(Line::parse(&line.to_string()), Some(line));
        }

        #[test]
        fn a_cleaned_text_is_one_short_line(text in any::<String>()) {
            let clean = clean(text);
            prop_assert!(!clean.contains(char::is_control));
            prop_assert!(clean.len() <= LONGEST * 3 + 3);
        }
    }
}
