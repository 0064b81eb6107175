//! What programs tell the person.
//!
//! Notifications live in memory: they are about now, and whoever still means one posts it again
//! after a start. Each program has a bounded number of them, so that a broken one cannot bury the
//! others; what is dismissed or pushed out moves to a short history.

use bus::notify::{Importance, Notification, Posted};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many notifications of one program stand.
const MOST_OF_ONE_PROGRAM: usize = 24;
/// How many are remembered after they are gone.
const MOST_IN_HISTORY: usize = 50;
/// The longest title and text, in bytes, as the interface says.
const LONGEST: (usize, usize) = (80, 500);

/// Every notification, newest first.
#[derive(Debug, Default)]
pub struct Book {
    last_id: u64,
    standing: VecDeque<Posted>,
    history: VecDeque<Posted>,
}

impl Book {
    /// Posts a notification; the error says what is wrong with it.
    pub fn post(
        &mut self,
        program: &str,
        mut notification: Notification,
        time: u64,
    ) -> Result<u64, String> {
        notification.title = readable(&notification.title);
        notification.text = readable(&notification.text);
        if notification.title.trim().is_empty() {
            return Err("a notification needs a title".into());
        }
        if notification.title.len() > LONGEST.0 {
            return Err(format!(
                "the title has {} bytes, at most {} fit",
                notification.title.len(),
                LONGEST.0
            ));
        }
        if notification.text.len() > LONGEST.1 {
            return Err(format!(
                "the text has {} bytes, at most {} fit",
                notification.text.len(),
                LONGEST.1
            ));
        }
        if notification.tag.is_some() {
            self.standing
                .retain(|p| p.program != program || p.notification.tag != notification.tag);
        }
        self.last_id += 1;
        let id = self.last_id;
        self.standing.push_front(Posted {
            id,
            program: program.to_owned(),
            time,
            notification,
        });
        let of_program = self
            .standing
            .iter()
            .filter(|p| p.program == program)
            .count();
        if of_program > MOST_OF_ONE_PROGRAM
            && let Some(oldest) = self.standing.iter().rposition(|p| p.program == program)
            && let Some(posted) = self.standing.remove(oldest)
        {
            self.remember(posted);
        }
        Ok(id)
    }

    /// Takes one away; only a program's own when `program` is given. Whether there was one.
    pub fn dismiss(&mut self, id: u64, program: Option<&str>) -> bool {
        let found = self
            .standing
            .iter()
            .position(|p| p.id == id && program.is_none_or(|name| name == p.program));
        match found.and_then(|index| self.standing.remove(index)) {
            Some(posted) => {
                self.remember(posted);
                true
            }
            None => false,
        }
    }

    /// Takes away the one of a program with a tag, because it is not true any more.
    pub fn withdraw(&mut self, program: &str, tag: &str) -> bool {
        let before = self.standing.len();
        self.standing
            .retain(|p| p.program != program || p.notification.tag.as_deref() != Some(tag));
        self.standing.len() != before
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        while let Some(posted) = self.standing.pop_back() {
            self.remember(posted);
        }
    }

    /// Those that stand, newest first.
    pub fn standing(&self) -> impl Iterator<Item = &Posted> {
        self.standing.iter()
    }

    /// Those that are gone, newest first.
    pub fn history(&self) -> impl Iterator<Item = &Posted> {
        self.history.iter()
    }

    /// Those that stand, each program's together, the program that spoke last first.
    pub fn grouped(&self) -> Vec<&Posted> {
        let mut programs: Vec<&str> = Vec::new();
        for posted in &self.standing {
            if !programs.contains(&posted.program.as_str()) {
                programs.push(&posted.program);
            }
        }
        programs
            .iter()
            .flat_map(|program| self.standing.iter().filter(move |p| p.program == *program))
            .collect()
    }

    fn remember(&mut self, posted: Posted) {
        self.history.push_front(posted);
        self.history.truncate(MOST_IN_HISTORY);
    }
}

/// Without what would break a line or its direction.
fn readable(text: &str) -> String {
    text.chars()
        .filter(|c| {
            !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .collect()
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// A handle to the notifications for any thread: the screen's and the bus's.
#[derive(Clone)]
pub struct Notifications {
    book: Arc<Mutex<Book>>,
    changed: Arc<dyn Fn() + Send + Sync>,
}

impl Notifications {
    /// Notifications that call `changed` after each change.
    pub fn new(changed: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            book: Arc::default(),
            changed,
        }
    }

    /// The book. Nothing that waits may be done while it is held.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        // A panic elsewhere leaves a book that is whole: every change of it is complete.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the book was changed.
    pub fn changed(&self) {
        (self.changed)();
    }

    /// Posts one in the name of the system.
    pub fn say(&self, program: &str, tag: &str, title: String, text: String, urgent: bool) {
        let notification = Notification {
            title: clipped(title, LONGEST.0),
            text: clipped(text, LONGEST.1),
            importance: if urgent {
                Importance::Urgent
            } else {
                Importance::Normal
            },
            tag: Some(tag.to_owned()),
        };
        let posted = self.book().post(program, notification, now());
        match posted {
            Ok(_) => self.changed(),
            Err(reason) => tracing::warn!("a notification of the shell's own: {reason}"),
        }
    }
}

/// The page that the notifications of a part of the system are about; empty where there is none.
pub fn room(program: &str) -> &'static str {
    match program {
        "update" => "update",
        "services" => "services",
        _ => "",
    }
}

/// At most so many bytes, cut between characters.
fn clipped(mut text: String, most: usize) -> String {
    if text.len() > most {
        let mut end = most - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

impl bus::notify::Handler for Notifications {
    async fn post(&self, caller: bus::Caller, notification: Notification) -> Result<u64, String> {
        let id = self.book().post(&caller.name(), notification, now())?;
        self.changed();
        Ok(id)
    }

    async fn dismiss(&self, caller: bus::Caller, id: u64) -> Result<(), String> {
        // Root is the owner at the device itself: the console.
        let name = caller.name();
        let program = (caller.user() != Some(0)).then_some(name.as_str());
        if self.book().dismiss(id, program) {
            self.changed();
            Ok(())
        } else {
            Err(format!(
                "there is no notification {id} that {name} may take away"
            ))
        }
    }

    async fn all(&self, _caller: bus::Caller) -> Vec<Posted> {
        self.book().standing().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Book, MOST_OF_ONE_PROGRAM, clipped};
    use bus::notify::{Importance, Notification};

    fn note(title: &str, tag: Option<&str>) -> Notification {
        Notification {
            title: title.into(),
            text: String::new(),
            importance: Importance::Normal,
            tag: tag.map(str::to_owned),
        }
    }

    #[test]
    fn a_tag_replaces_only_the_same_program_s() {
        let mut book = Book::default();
        book.post("a", note("one", Some("t")), 1).unwrap();
        book.post("b", note("two", Some("t")), 2).unwrap();
        book.post("a", note("three", Some("t")), 3).unwrap();
        let titles: Vec<_> = book
            .standing()
            .map(|p| p.notification.title.as_str())
            .collect();
        assert_eq!(titles, ["three", "two"]);
    }

    #[test]
    fn programs_stand_together_and_the_newest_leads() {
        let mut book = Book::default();
        for (program, title) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")] {
            book.post(program, note(title, None), 0).unwrap();
        }
        let order: Vec<_> = book
            .grouped()
            .iter()
            .map(|p| p.notification.title.clone())
            .collect();
        assert_eq!(order, ["4", "2", "3", "1"]);
    }

    #[test]
    fn one_program_cannot_bury_the_others() {
        let mut book = Book::default();
        book.post("quiet", note("here", None), 0).unwrap();
        for i in 0..500 {
            book.post("loud", note(&i.to_string(), None), i).unwrap();
        }
        assert_eq!(book.standing().count(), MOST_OF_ONE_PROGRAM + 1);
        assert!(book.standing().any(|p| p.program == "quiet"));
        assert_eq!(book.history().count(), super::MOST_IN_HISTORY);
    }

    #[test]
    fn what_is_wrong_is_refused_with_a_reason() {
        let mut book = Book::default();
        assert!(
            book.post("a", note("  ", None), 0)
                .unwrap_err()
                .contains("title")
        );
        assert!(
            book.post("a", note(&"x".repeat(81), None), 0)
                .unwrap_err()
                .contains("80")
        );
        let id = book
            .post("a", note("lines\nand \u{202e}turns", None), 0)
            .unwrap();
        assert_eq!(
            book.standing().next().unwrap().notification.title,
            "linesand turns"
        );
        assert!(!book.dismiss(id, Some("b")));
        assert!(book.dismiss(id, Some("a")));
        assert!(!book.dismiss(id, None));
    }

    #[test]
    fn clipping_keeps_characters_whole() {
        assert_eq!(clipped("short".into(), 80), "short");
        let cut = clipped("设".repeat(40), 80);
        assert!(cut.len() <= 80 && cut.ends_with('…'));
    }
}
