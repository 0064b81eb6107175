//! The log: `tracing` in, lines on standard error out.
//!
//! Process 1 keeps the lines, gives them their time and bounds them, so that there is nothing here
//! but the writing. It is a subscriber of our own because a service needs no spans, no colours and
//! no filters by module, and what it does not need it should not carry.

use std::env;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, callsite};

/// The longest line; the rest of a message is cut.
const LONGEST: usize = 4096;

/// Sends this process's `tracing` to standard error. A second call does nothing.
pub fn install() {
    if let Some(level) = env::var("HYPER_LOG")
        .ok()
        .and_then(|level| level.parse().ok())
    {
        set_level(level);
    }
    let _ = tracing::subscriber::set_global_default(Lines);
}

/// Changes the least level that is written.
pub fn set_level(level: LevelFilter) {
    LEVEL.store(number(level), Ordering::Relaxed);
    callsite::rebuild_interest_cache();
}

/// 0 is off, 5 is everything.
static LEVEL: AtomicU8 = AtomicU8::new(3);

fn number(level: LevelFilter) -> u8 {
    match level.into_level() {
        None => 0,
        Some(Level::ERROR) => 1,
        Some(Level::WARN) => 2,
        Some(Level::INFO) => 3,
        Some(Level::DEBUG) => 4,
        Some(Level::TRACE) => 5,
    }
}

/// As `<N>` has it: error 3, warning 4, notice 5, information 6, detail 7.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && number(LevelFilter::from_level(*metadata.level())) <= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let line = line(*event.metadata().level(), |line| event.record(line));
        // One write, so that lines of two threads do not mix. Where nobody reads there is nobody to tell.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn line(level: Level, record: impl FnOnce(&mut Line)) -> String {
    let mut line = Line {
        message: String::new(),
        fields: String::new(),
    };
    record(&mut line);
    let mut text = line.message + &line.fields;
    text.truncate(text.floor_char_boundary(LONGEST));
    let text = text.replace(|c: char| c.is_control(), " ");
    format!("<{}>{text}\n", priority(level))
}

/// The message, and its fields behind it.
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_line_breaks_is_one_line_with_its_level() {
        let text = line(Level::WARN, |line| line.message = "two\nlines\r".into());
        assert_eq!(text, "<4>two lines \n");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let text = line(Level::ERROR, |line| line.message = "é".repeat(LONGEST));
        assert!(text.len() <= LONGEST + 4);
        assert!(text.ends_with("é\n"));
    }
}
