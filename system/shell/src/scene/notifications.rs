//! What programs tell the person, here and on other devices: a handle to the [`Book`] for any thread.

use super::book::{Book, LONGEST, Standing};
use bus::notices::{Answer, Standing as Told};
use bus::notify::{Importance, Notification, Posted};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// The notifications, for the screen and for the bus. Cheap to clone.
#[derive(Clone)]
pub struct Notifications {
    book: Arc<Mutex<Book>>,
    changed: Arc<dyn Fn() + Send + Sync>,
    /// Counts what other devices are to be told.
    news: watch::Sender<u64>,
    /// Which run of the screen this is: ids count within it.
    run: u64,
}

impl Notifications {
    /// Notifications that call `changed` after each change that did not come from the screen.
    pub fn new(changed: Arc<dyn Fn() + Send + Sync>) -> Self {
        let mut run = [0; 8];
        // Without enough of it there is the time, which is another at each start as well.
        let random = rustix::rand::getrandom(&mut run[..], rustix::rand::GetRandomFlags::NONBLOCK);
        let run = match random {
            Ok(8) => u64::from_ne_bytes(run),
            _ => now(),
        };
        Self {
            book: Arc::default(),
            changed,
            news: watch::Sender::new(0),
            run,
        }
    }

    /// The book, to be read. Nothing that waits may be done while it is held.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        // A panic elsewhere leaves a book that is whole: every change of it is complete.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts a notification of this device and answers its id; the error says what is wrong with it.
    pub fn post(
        &self,
        program: &str,
        notification: Notification,
        time: u64,
    ) -> Result<u64, String> {
        let id = self.book().post(program, notification, time)?;
        self.tell();
        (self.changed)();
        Ok(id)
    }

    /// Takes one away that the person dismissed. Whether there was one.
    pub fn dismiss(&self, id: u64) -> bool {
        let dismissed = self.book().dismiss(id, None);
        self.tell();
        dismissed
    }

    /// Takes all away that the person dismissed.
    pub fn clear(&self) {
        self.book().clear();
        self.tell();
    }

    /// Takes away the one of a program with a tag, because it is not true any more. Whether there
    /// was one.
    pub fn withdraw(&self, program: &str, tag: &str) -> bool {
        let withdrawn = self.book().withdraw(program, tag);
        if withdrawn {
            self.tell();
        }
        withdrawn
    }

    /// Other devices are to be told.
    fn tell(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    /// Changes each time that other devices are to be told.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// What stands on this device, for others.
    pub fn told(&self) -> Told {
        Told {
            run: self.run,
            notifications: self.book().told(),
        }
    }

    /// These are the other devices whose notifications stand here too, by their ids, with what they
    /// are called.
    pub fn know(&self, devices: &BTreeMap<String, String>) {
        if self.book().know(devices) {
            (self.changed)();
        }
    }

    /// This is what stands on another device; the error says what is wrong with it.
    pub fn take(&self, device: &str, told: Told) -> Result<(), String> {
        if self.book().take(device, told)? {
            (self.changed)();
        }
        Ok(())
    }

    /// What was dismissed here of what stands on another device, and in which run of its screen.
    pub fn dismissed_of(&self, device: &str) -> (u64, Vec<u64>) {
        self.book().dismissed_of(device)
    }

    /// These of this device were dismissed on another, which knows of that run of this screen.
    pub fn take_away(&self, run: u64, ids: &[u64]) {
        if run == self.run && self.book().take_away(ids) {
            self.tell();
            (self.changed)();
        }
    }

    /// What a device that said what stands on it is answered: the standing where it `may_read` that.
    pub fn answer(&self, device: &str, may_read: bool) -> Answer {
        let (_, dismissed) = self.dismissed_of(device);
        Answer {
            dismissed,
            standing: may_read.then(|| self.told()),
        }
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
        if let Err(reason) = self.post(program, notification, now()) {
            tracing::warn!("a notification of the shell's own: {reason}");
        }
    }
}

/// The page that a notification is about; empty where there is none.
pub fn room(standing: &Standing) -> &'static str {
    if standing.origin.is_some() {
        return "devices";
    }
    match standing.posted.program.as_str() {
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
        Notifications::post(self, &caller.name(), notification, now())
    }

    async fn dismiss(&self, caller: bus::Caller, id: u64) -> Result<(), String> {
        // Root is the owner at the device itself: the console.
        let name = caller.name();
        let program = (caller.user() != Some(0)).then_some(name.as_str());
        let dismissed = self.book().dismiss(id, program);
        if dismissed {
            self.tell();
            (self.changed)();
            Ok(())
        } else {
            Err(format!(
                "there is no notification {id} that {name} may take away"
            ))
        }
    }

    async fn all(&self, _caller: bus::Caller) -> Vec<Posted> {
        self.book().own().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::clipped;

    #[test]
    fn clipping_keeps_characters_whole() {
        assert_eq!(clipped("short".into(), 80), "short");
        let cut = clipped("设".repeat(40), 80);
        assert!(cut.len() <= 80 && cut.ends_with('…'));
    }
}
