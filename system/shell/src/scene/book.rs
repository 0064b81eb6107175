//! Which notifications stand.
//!
//! Notifications live in memory: they are about now, and whoever still means one posts it again
//! after a start. Each program has a bounded number of them, so that a broken one cannot bury the
//! others; what is dismissed or pushed out moves to a short history.
//!
//! Those of other devices of the family stand among this one's. Their own device says which there
//! are, as a whole, and what it says counts; all that is kept here of one that was dismissed is its
//! id, until that device has heard of it.

use bus::notices::Standing as Told;
use bus::notify::{Notification, Posted};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many notifications of one program stand.
const MOST_OF_ONE_PROGRAM: usize = 24;
/// How many of one device are told to others.
const MOST_OF_ONE_DEVICE: usize = 64;
/// How many are remembered after they are gone.
const MOST_IN_HISTORY: usize = 50;
/// The longest title and text, in bytes, as the interface says.
pub(super) const LONGEST: (usize, usize) = (80, 500);
/// The longest name of a program, in bytes.
const LONGEST_PROGRAM: usize = 64;
/// What the shell says of this screen is of no use on another.
const OF_THIS_SCREEN: &str = "shell";

/// A notification that stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What was posted. Its id is one of this screen's, wherever it was posted.
    pub posted: Posted,
    /// Where it was posted, if that was on another device.
    pub origin: Option<Origin>,
}

/// Where a notification of another device comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The id of the device.
    pub device: String,
    /// What the device is called.
    pub name: String,
    /// The notification's id there.
    id: u64,
}

impl Standing {
    /// What it stands together with in the shade.
    pub fn group(&self) -> (Option<&str>, &str) {
        let device = self.origin.as_ref().map(|origin| origin.device.as_str());
        (device, &self.posted.program)
    }

    fn is_own_of(&self, program: &str) -> bool {
        self.origin.is_none() && self.posted.program == program
    }
}

/// Another device of the family whose notifications are shown here.
#[derive(Debug, Default)]
struct Elsewhere {
    name: String,
    /// Since when its ids count.
    run: u64,
    /// What was dismissed here of what stands there, as far as it is not known to have heard of it.
    dismissed: BTreeSet<u64>,
}

/// Every notification, newest first.
#[derive(Debug, Default)]
pub struct Book {
    last_id: u64,
    standing: VecDeque<Standing>,
    history: VecDeque<Standing>,
    elsewhere: BTreeMap<String, Elsewhere>,
}

impl Book {
    /// Posts a notification of this device; the error says what is wrong with it.
    pub(super) fn post(
        &mut self,
        program: &str,
        notification: Notification,
        time: u64,
    ) -> Result<u64, String> {
        let notification = checked(notification)?;
        if notification.tag.is_some() {
            self.standing.retain(|standing| {
                !standing.is_own_of(program) || standing.posted.notification.tag != notification.tag
            });
        }
        let id = self.next_id();
        self.standing.push_front(Standing {
            posted: Posted {
                id,
                program: program.to_owned(),
                time,
                notification,
            },
            origin: None,
        });
        let is_own = |standing: &Standing| standing.is_own_of(program);
        if self.standing.iter().filter(|s| is_own(s)).count() > MOST_OF_ONE_PROGRAM
            && let Some(oldest) = self.standing.iter().rposition(is_own)
            && let Some(standing) = self.standing.remove(oldest)
        {
            self.remember(standing);
        }
        Ok(id)
    }

    /// Takes one away; only a program's own when `program` is given. Whether there was one.
    pub(super) fn dismiss(&mut self, id: u64, program: Option<&str>) -> bool {
        let found = self.standing.iter().position(|standing| {
            standing.posted.id == id && program.is_none_or(|name| standing.is_own_of(name))
        });
        match found.and_then(|index| self.standing.remove(index)) {
            Some(standing) => {
                self.dismissed(standing);
                true
            }
            None => false,
        }
    }

    /// Takes away the one of a program with a tag, because it is not true any more.
    pub(super) fn withdraw(&mut self, program: &str, tag: &str) -> bool {
        let before = self.standing.len();
        self.standing.retain(|standing| {
            !standing.is_own_of(program) || standing.posted.notification.tag.as_deref() != Some(tag)
        });
        self.standing.len() != before
    }

    /// Takes all away.
    pub(super) fn clear(&mut self) {
        while let Some(standing) = self.standing.pop_back() {
            self.dismissed(standing);
        }
    }

    /// Those that stand, newest first.
    pub fn standing(&self) -> impl Iterator<Item = &Standing> {
        self.standing.iter()
    }

    /// Those of this device, newest first.
    pub fn own(&self) -> impl Iterator<Item = &Posted> {
        let own = self.standing.iter().filter(|s| s.origin.is_none());
        own.map(|standing| &standing.posted)
    }

    /// Those of this device that concern others, newest first.
    pub fn told(&self) -> Vec<Posted> {
        self.own()
            .filter(|posted| posted.program != OF_THIS_SCREEN)
            .take(MOST_OF_ONE_DEVICE)
            .cloned()
            .collect()
    }

    /// Those that are gone, newest first.
    pub fn history(&self) -> impl Iterator<Item = &Standing> {
        self.history.iter()
    }

    /// Those that stand, each program's together, the program that spoke last first.
    pub fn grouped(&self) -> Vec<&Standing> {
        let mut groups = Vec::new();
        for standing in &self.standing {
            if !groups.contains(&standing.group()) {
                groups.push(standing.group());
            }
        }
        let of = |group| self.standing.iter().filter(move |s| s.group() == group);
        groups.into_iter().flat_map(of).collect()
    }

    /// These are the other devices whose notifications may stand here, by their ids, and what they
    /// are called. What stands of others is taken away. Whether that changed what stands.
    pub(super) fn know(&mut self, devices: &BTreeMap<String, String>) -> bool {
        self.elsewhere.retain(|id, _| devices.contains_key(id));
        let before = self.standing.len();
        let is_known = |origin: &Origin| devices.contains_key(&origin.device);
        self.standing
            .retain(|standing| standing.origin.as_ref().is_none_or(is_known));
        let mut changed = self.standing.len() != before;
        for (id, name) in devices {
            let elsewhere = self.elsewhere.entry(id.clone()).or_default();
            if elsewhere.name != *name {
                elsewhere.name.clone_from(name);
                let origins = self.standing.iter_mut().filter_map(|s| s.origin.as_mut());
                for origin in origins.filter(|origin| origin.device == *id) {
                    origin.name.clone_from(name);
                    changed = true;
                }
            }
        }
        changed
    }

    /// This is what stands on another device now. Answers whether that changed what stands here, or
    /// what is wrong with it; then nothing of it is taken.
    pub(super) fn take(&mut self, device: &str, told: Told) -> Result<bool, String> {
        if !self.elsewhere.contains_key(device) {
            return Err("this device does not know it as one whose notifications it shows".into());
        }
        if told.notifications.len() > MOST_OF_ONE_DEVICE {
            return Err(format!(
                "{} notifications are more than the {MOST_OF_ONE_DEVICE} of one device",
                told.notifications.len()
            ));
        }
        let mut new = Vec::new();
        for posted in told.notifications {
            if posted.program.is_empty() || posted.program.len() > LONGEST_PROGRAM {
                return Err("the name of a program is empty or too long".into());
            }
            new.push(Posted {
                program: readable(&posted.program),
                notification: checked(posted.notification)?,
                ..posted
            });
        }
        let there: BTreeSet<u64> = new.iter().map(|posted| posted.id).collect();
        if there.len() != new.len() {
            return Err("two notifications have one id".into());
        }
        let Some(elsewhere) = self.elsewhere.get_mut(device) else {
            return Ok(false);
        };
        let same_run = elsewhere.run == told.run;
        if !same_run {
            elsewhere.run = told.run;
            elsewhere.dismissed.clear();
        }
        elsewhere.dismissed.retain(|id| there.contains(id));
        let before = self.standing.len();
        self.standing.retain(|standing| match &standing.origin {
            Some(origin) if origin.device == device => same_run && there.contains(&origin.id),
            _ => true,
        });
        let mut changed = self.standing.len() != before;
        let here: BTreeSet<u64> = self
            .standing
            .iter()
            .filter_map(|standing| standing.origin.as_ref())
            .filter(|origin| origin.device == device)
            .map(|origin| origin.id)
            .collect();
        let (name, dismissed) = (elsewhere.name.clone(), elsewhere.dismissed.clone());
        // The oldest first, so that of two of the same moment the newer comes before.
        for mut posted in new.into_iter().rev() {
            if here.contains(&posted.id) || dismissed.contains(&posted.id) {
                continue;
            }
            let origin = Origin {
                device: device.to_owned(),
                name: name.clone(),
                id: posted.id,
            };
            posted.id = self.next_id();
            let newer = |standing: &Standing| standing.posted.time > posted.time;
            let at = self.standing.iter().take_while(|s| newer(s)).count();
            let origin = Some(origin);
            self.standing.insert(at, Standing { posted, origin });
            changed = true;
        }
        Ok(changed)
    }

    /// What was dismissed here of what stands on another device, and in which run of it.
    pub(super) fn dismissed_of(&self, device: &str) -> (u64, Vec<u64>) {
        self.elsewhere.get(device).map_or((0, Vec::new()), |there| {
            (there.run, there.dismissed.iter().copied().collect())
        })
    }

    /// Notifications of this device were dismissed on another. Whether one of them stood.
    pub(super) fn take_away(&mut self, ids: &[u64]) -> bool {
        let mut changed = false;
        for id in ids {
            let own = |s: &Standing| s.posted.id == *id && s.origin.is_none();
            if let Some(at) = self.standing.iter().position(own)
                && let Some(standing) = self.standing.remove(at)
            {
                self.remember(standing);
                changed = true;
            }
        }
        changed
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn dismissed(&mut self, standing: Standing) {
        if let Some(origin) = &standing.origin
            && let Some(elsewhere) = self.elsewhere.get_mut(&origin.device)
        {
            elsewhere.dismissed.insert(origin.id);
        }
        self.remember(standing);
    }

    fn remember(&mut self, standing: Standing) {
        self.history.push_front(standing);
        self.history.truncate(MOST_IN_HISTORY);
    }
}

/// A notification as it may be shown; the error says what is wrong with it.
fn checked(mut notification: Notification) -> Result<Notification, String> {
    notification.title = readable(&notification.title);
    notification.text = readable(&notification.text);
    if notification.title.trim().is_empty() {
        return Err("a notification needs a title".into());
    }
    for (what, text, most) in [
        ("title", &notification.title, LONGEST.0),
        ("text", &notification.text, LONGEST.1),
    ] {
        if text.len() > most {
            return Err(format!(
                "the {what} has {} bytes, at most {most} fit",
                text.len()
            ));
        }
    }
    Ok(notification)
}

/// Without what would break a line or its direction.
fn readable(text: &str) -> String {
    text.chars()
        .filter(|c| {
            !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::notify::Importance;
    use proptest::prelude::*;

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
            .map(|p| p.posted.notification.title.as_str())
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
            .map(|p| p.posted.notification.title.clone())
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
        assert!(book.standing().any(|p| p.posted.program == "quiet"));
        assert_eq!(book.history().count(), MOST_IN_HISTORY);
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
            book.standing().next().unwrap().posted.notification.title,
            "linesand turns"
        );
        assert!(!book.dismiss(id, Some("b")));
        assert!(book.dismiss(id, Some("a")));
        assert!(!book.dismiss(id, None));
    }

    fn told(run: u64, notes: &[(u64, u64, &str)]) -> Told {
        let notifications = notes.iter().map(|(id, time, title)| Posted {
            id: *id,
            program: "update".into(),
            time: *time,
            notification: note(title, None),
        });
        Told {
            run,
            notifications: notifications.collect(),
        }
    }

    fn family(devices: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pair = |(id, name): &(&str, &str)| ((*id).to_owned(), (*name).to_owned());
        devices.iter().map(pair).collect()
    }

    fn titles(book: &Book) -> Vec<&str> {
        book.standing()
            .map(|s| s.posted.notification.title.as_str())
            .collect()
    }

    #[test]
    fn what_stands_on_another_device_stands_here_in_the_order_of_time() {
        let mut book = Book::default();
        book.know(&family(&[("tv", "TV")]));
        book.post("a", note("mine", None), 20).unwrap();
        assert_eq!(
            book.take("tv", told(7, &[(2, 30, "late"), (1, 10, "early")])),
            Ok(true)
        );
        assert_eq!(titles(&book), ["late", "mine", "early"]);
        // The same again is no change, and what is told of this device is its own alone.
        assert_eq!(
            book.take("tv", told(7, &[(2, 30, "late"), (1, 10, "early")])),
            Ok(false)
        );
        let told_of: Vec<_> = book
            .told()
            .into_iter()
            .map(|p| p.notification.title)
            .collect();
        assert_eq!(told_of, ["mine"]);
        // One is not true there any more; then it is not in the history here either.
        assert_eq!(book.take("tv", told(7, &[(2, 30, "late")])), Ok(true));
        assert_eq!(titles(&book), ["late", "mine"]);
        assert_eq!(book.history().count(), 0);
        // It is called something else, and then it leaves.
        assert!(book.know(&family(&[("tv", "Big TV")])));
        let origin = book.standing().next().unwrap().origin.clone().unwrap();
        assert_eq!(origin.name, "Big TV");
        assert!(book.know(&family(&[])));
        assert_eq!(titles(&book), ["mine"]);
        assert!(book.take("tv", told(7, &[])).is_err());
    }

    #[test]
    fn what_is_dismissed_here_is_kept_until_its_device_has_heard() {
        let mut book = Book::default();
        book.know(&family(&[("tv", "TV")]));
        book.take("tv", told(7, &[(1, 10, "one"), (2, 20, "two")]))
            .unwrap();
        let id = book.standing().next().unwrap().posted.id;
        assert!(
            !book.dismiss(id, Some("update")),
            "another device's is not a program's own"
        );
        assert!(book.dismiss(id, None));
        assert_eq!(book.dismissed_of("tv"), (7, vec![2]));
        // It was not reachable, and tells the same again: that stays away, and is still to be told.
        assert_eq!(
            book.take("tv", told(7, &[(1, 10, "one"), (2, 20, "two")])),
            Ok(false)
        );
        assert_eq!(titles(&book), ["one"]);
        assert_eq!(book.dismissed_of("tv"), (7, vec![2]));
        // It has heard.
        assert_eq!(book.take("tv", told(7, &[(1, 10, "one")])), Ok(false));
        assert_eq!(book.dismissed_of("tv"), (7, vec![]));
        // After its restart the same ids mean others.
        book.clear();
        assert_eq!(book.dismissed_of("tv"), (7, vec![1]));
        assert_eq!(book.take("tv", told(8, &[(1, 40, "new")])), Ok(true));
        assert_eq!(titles(&book), ["new"]);
        assert_eq!(book.dismissed_of("tv"), (8, vec![]));
    }

    #[test]
    fn what_another_device_says_is_bounded_and_taken_whole_or_not() {
        let mut book = Book::default();
        book.know(&family(&[("tv", "TV")]));
        let many: Vec<_> = (0..65).map(|id| (id, id, "x")).collect();
        let long = "x".repeat(81);
        for bad in [
            told(1, &many),
            told(1, &[(1, 1, "fine"), (2, 2, &long)]),
            told(1, &[(1, 1, "fine"), (2, 2, " ")]),
            told(1, &[(1, 1, "fine"), (1, 2, "twice")]),
        ] {
            assert!(book.take("tv", bad).is_err());
        }
        assert_eq!(titles(&book), [""; 0]);
        assert_eq!(book.take("tv", told(1, &many[..64])), Ok(true));
    }

    #[test]
    fn the_screen_s_own_complaints_stay_on_it() {
        let mut book = Book::default();
        book.post("shell", note("That did not work", None), 1)
            .unwrap();
        assert_eq!(book.told().len(), 0);
        assert_eq!(book.own().count(), 1);
    }

    proptest! {
        /// Two devices post, dismiss each other's and their own, and tell each other when they meet.
        /// When they have met, both show what stands on either, and nothing that was dismissed.
        #[test]
        fn devices_that_have_met_show_the_same(steps in proptest::collection::vec((0usize..2, 0u8..4, 0usize..6), 1..60)) {
            let ids = ["one", "two"];
            let mut books = [Book::default(), Book::default()];
            for here in 0..2 {
                books[here].know(&family(&[(ids[1 - here], "other")]));
            }
            // As the two do when one tells the other.
            let meet = |books: &mut [Book; 2], from: usize| {
                let standing = Told { run: 5, notifications: books[from].told() };
                books[1 - from].take(ids[from], standing).unwrap();
                let (_, dismissed) = books[1 - from].dismissed_of(ids[from]);
                if books[from].take_away(&dismissed) {
                    let standing = Told { run: 5, notifications: books[from].told() };
                    books[1 - from].take(ids[from], standing).unwrap();
                }
            };
            let mut gone: BTreeSet<String> = BTreeSet::new();
            for (number, (device, what, which)) in steps.into_iter().enumerate() {
                match what {
                    0 | 1 => {
                        let title = format!("{device}/{number}");
                        books[device].post("a", note(&title, None), number as u64).unwrap();
                    }
                    2 => {
                        let found = books[device].standing().nth(which).map(|s| s.posted.clone());
                        if let Some(posted) = found {
                            prop_assert!(books[device].dismiss(posted.id, None));
                            gone.insert(posted.notification.title);
                        }
                    }
                    _ => meet(&mut books, device),
                }
            }
            for from in [0, 1] {
                meet(&mut books, from);
            }
            let shown = |book: &Book| -> BTreeSet<String> {
                book.standing().map(|s| s.posted.notification.title.clone()).collect()
            };
            prop_assert_eq!(shown(&books[0]), shown(&books[1]));
            prop_assert!(shown(&books[0]).is_disjoint(&gone));
            for here in 0..2 {
                prop_assert!(books[here].dismissed_of(ids[1 - here]).1.is_empty());
            }
        }
    }
}
