//! What was copied last: the rules, without a network and without a clock.
//!
//! Every copy has a stamp: a counter, one more than the greatest that its device had seen, and the
//! device. The greatest stamp wins on every device alike, whatever their clocks say and in whatever
//! order copies arrive. How long a copy lasts is counted by each device from its age on arrival.
//!
//! A device that was restarted has seen nothing, and what is copied on it then is newer than what the
//! others counted before, though it cannot reach them. So a counter is also never less than the seconds
//! since 1970, as far as the device knows: a clock that is wrong costs what is copied apart, no more.

use std::time::Duration;

use bus::clipboard::Item;
use bus::copies::Stamped;

/// The longest data of an item.
pub const MAX_DATA: usize = 512 * 1024;
/// The longest media type.
const MAX_MEDIA_TYPE: usize = 127;
/// How long a copy lasts.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// How long a secret one does.
pub const SECRET_LIFETIME: Duration = Duration::from_secs(60);
/// How far the counter of another device may be ahead, be it by its clock. Without a bound one copy
/// with the last of all numbers would be the last one ever.
const FURTHEST: u64 = 1 << 32;
/// The digits of a device's id.
const ID_DIGITS: usize = 64;

/// When something was copied, in an order that all devices agree on.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Stamp {
    /// Counts copies.
    pub counter: u64,
    /// Decides between copies that knew nothing of each other.
    pub device: String,
}

/// How the copy of another device compares with what is here.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// It is newer, and is here now.
    Newer,
    /// It is what is here.
    Same,
    /// What is here is newer.
    Older(Stamped),
}

/// The clipboard of one device. `now` is a time that only goes forward, also while the device sleeps.
#[derive(Debug)]
pub struct Board {
    device: String,
    /// The greatest counter that was seen.
    seen: u64,
    stamp: Stamp,
    copied: Copied,
}

/// What belongs to the stamp.
#[derive(Debug)]
enum Copied {
    Nothing,
    Item { item: Item, over: Duration },
}

fn lifetime(item: &Item) -> Duration {
    if item.secret {
        SECRET_LIFETIME
    } else {
        LIFETIME
    }
}

/// What is wrong with an item, if anything is.
pub fn check(item: &Item) -> Result<(), String> {
    let media_type = &item.media_type;
    let is_plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'+' | b'-' | b'_'))
    };
    let is_media_type = media_type.len() <= MAX_MEDIA_TYPE
        && media_type
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_plain(kind) && is_plain(subtype));
    if !is_media_type {
        return Err(
            "its media type is not one, in small letters and without parameters, such as text/plain"
                .into(),
        );
    }
    if item.data.len() > MAX_DATA {
        return Err(format!(
            "it has {} bytes, and the clipboard takes {MAX_DATA}: send it as a file",
            item.data.len()
        ));
    }
    if media_type.starts_with("text/") && std::str::from_utf8(&item.data).is_err() {
        return Err("it is called text and is not UTF-8".into());
    }
    Ok(())
}

impl Board {
    /// An empty one. The device's id may be empty as long as it is not known.
    pub fn new(device: &str) -> Self {
        Self {
            device: device.to_owned(),
            seen: 0,
            stamp: Stamp::default(),
            copied: Copied::Nothing,
        }
    }

    /// This is the device's id. What was copied before that was known was copied here.
    pub fn name(&mut self, device: &str) {
        if self.stamp.counter > 0 && self.stamp.device == self.device {
            device.clone_into(&mut self.stamp.device);
        }
        device.clone_into(&mut self.device);
    }

    /// What is copied here counts from this on, if that is more than it would.
    pub fn count_from(&mut self, seconds: u64) {
        self.seen = self.seen.max(seconds.saturating_sub(1));
    }

    /// When what is here was copied.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Whether what is here was copied on this device.
    pub fn is_own(&self) -> bool {
        self.stamp.device == self.device
    }

    /// What there is to paste.
    pub fn item(&self, now: Duration) -> Option<&Item> {
        match &self.copied {
            Copied::Item { item, over } if *over > now => Some(item),
            _ => None,
        }
    }

    /// When what is here is over.
    pub fn over(&self) -> Option<Duration> {
        match self.copied {
            Copied::Nothing => None,
            Copied::Item { over, .. } => Some(over),
        }
    }

    /// Lets go of what is over, and says whether something was.
    pub fn expire(&mut self, now: Duration) -> bool {
        let is_over = self.over().is_some_and(|over| over <= now);
        if is_over {
            self.copied = Copied::Nothing;
        }
        is_over
    }

    /// Copies.
    pub fn set(&mut self, item: Item, now: Duration) -> Result<(), String> {
        check(&item)?;
        self.stamp_anew();
        let over = now + lifetime(&item);
        self.copied = Copied::Item { item, over };
        Ok(())
    }

    /// Takes away what there is, and says whether there was something.
    pub fn clear(&mut self, now: Duration) -> bool {
        if self.item(now).is_none() {
            return false;
        }
        self.stamp_anew();
        self.copied = Copied::Nothing;
        true
    }

    fn stamp_anew(&mut self) {
        self.seen = self.seen.saturating_add(1);
        self.stamp = Stamp {
            counter: self.seen,
            device: self.device.clone(),
        };
    }

    /// What to tell other devices; none where nothing was ever copied.
    pub fn newest(&self, now: Duration) -> Option<Stamped> {
        if self.stamp.counter == 0 {
            return None;
        }
        let item = self.item(now);
        let left = self.over().unwrap_or(now).saturating_sub(now);
        let age = item.map_or(Duration::ZERO, |item| lifetime(item).saturating_sub(left));
        Some(Stamped {
            counter: self.stamp.counter,
            device: self.stamp.device.clone(),
            age: age.as_millis().try_into().unwrap_or(u64::MAX),
            item: item.cloned(),
        })
    }

    /// Compares the copy of another device with what is here, and takes it if it is newer. Nothing
    /// is kept of one that cannot be.
    pub fn take(&mut self, copy: Stamped, now: Duration) -> Result<Taken, String> {
        let is_id = copy.device.len() == ID_DIGITS
            && copy
                .device
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id {
            return Err("it says no device on which it was copied".into());
        }
        if copy.counter == 0 || copy.counter > self.seen.saturating_add(FURTHEST) {
            return Err(format!("its counter {} cannot be", copy.counter));
        }
        if let Some(item) = &copy.item {
            check(item)?;
        }
        self.seen = self.seen.max(copy.counter);
        let stamp = Stamp {
            counter: copy.counter,
            device: copy.device,
        };
        if stamp <= self.stamp {
            return Ok(match self.newest(now) {
                Some(newest) if stamp < self.stamp => Taken::Older(newest),
                _ => Taken::Same,
            });
        }
        self.stamp = stamp;
        self.copied = match copy.item {
            None => Copied::Nothing,
            Some(item) => {
                let left = lifetime(&item).saturating_sub(Duration::from_millis(copy.age));
                let over = now + left;
                Copied::Item { item, over }
            }
        };
        self.expire(now);
        Ok(Taken::Newer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn id(number: u8) -> String {
        format!("{number:064x}")
    }

    fn text(text: &str) -> Item {
        Item {
            media_type: "text/plain".into(),
            data: text.to_owned().into(),
            secret: false,
        }
    }

    fn pasted(board: &Board, now: Duration) -> Option<String> {
        let item = board.item(now)?;
        Some(String::from_utf8(item.data.to_vec()).unwrap())
    }

    #[test]
    fn what_was_copied_is_pasted_until_its_time_is_over() {
        let mut board = Board::new(&id(1));
        board.set(text("hello"), NOW).unwrap();
        let end = NOW + LIFETIME;
        let just_before = end - Duration::from_millis(1);
        assert_eq!(pasted(&board, just_before).as_deref(), Some("hello"));
        assert!(!board.expire(just_before));
        assert_eq!(pasted(&board, end), None);
        assert!(board.expire(end), "and its bytes are let go of");
        assert_eq!(board.over(), None);
    }

    #[test]
    fn a_secret_goes_sooner() {
        let mut board = Board::new(&id(1));
        let secret = Item {
            secret: true,
            ..text("hunter2")
        };
        board.set(secret, NOW).unwrap();
        assert_eq!(board.over(), Some(NOW + SECRET_LIFETIME));
        assert!(SECRET_LIFETIME < LIFETIME);
    }

    #[test]
    fn time_that_passed_on_another_device_counts() {
        let (mut one, mut other) = (Board::new(&id(1)), Board::new(&id(2)));
        one.set(text("hello"), NOW).unwrap();
        let later = NOW + Duration::from_secs(400);
        // The other's clock of uptime has nothing to do with this one's.
        let there = Duration::from_secs(5);
        let copy = one.newest(later).unwrap();
        assert_eq!(copy.age, 400_000);
        assert_eq!(other.take(copy, there), Ok(Taken::Newer));
        assert_eq!(other.over(), Some(there + Duration::from_secs(200)));
        // What arrives too late is over at once, and still newer than what was there.
        let mut late = Board::new(&id(3));
        let mut copy = one.newest(later).unwrap();
        copy.age = u64::MAX;
        assert_eq!(late.take(copy, there), Ok(Taken::Newer));
        assert_eq!(pasted(&late, there), None);
    }

    #[test]
    fn what_was_taken_away_stays_away() {
        let (mut one, mut other) = (Board::new(&id(1)), Board::new(&id(2)));
        one.set(text("hello"), NOW).unwrap();
        let before = one.newest(NOW).unwrap();
        other.take(before.clone(), NOW).unwrap();
        assert!(other.clear(NOW));
        assert!(!other.clear(NOW), "there is nothing any more");
        assert!(matches!(other.take(before, NOW), Ok(Taken::Older(_))));
        one.take(other.newest(NOW).unwrap(), NOW).unwrap();
        assert_eq!(pasted(&one, NOW), None);
    }

    #[test]
    fn what_was_copied_before_the_id_was_known_gets_it() {
        let mut board = Board::new("");
        board.name(&id(7));
        assert_eq!(board.stamp(), &Stamp::default());
        let mut board = Board::new("");
        board.set(text("early"), NOW).unwrap();
        board.name(&id(7));
        assert_eq!(board.newest(NOW).unwrap().device, id(7));
        assert!(board.is_own());
    }

    #[test]
    fn items_that_cannot_be_are_refused_and_leave_what_was_there() {
        let mut board = Board::new(&id(1));
        board.set(text("kept"), NOW).unwrap();
        let of_type = |media_type: &str| Item {
            media_type: media_type.into(),
            ..text("x")
        };
        let long = Item {
            data: vec![b'x'; MAX_DATA + 1].into(),
            ..text("")
        };
        let no_text = Item {
            data: vec![0xff].into(),
            ..text("")
        };
        for item in [
            of_type(""),
            of_type("text"),
            of_type("text/"),
            of_type("Text/Plain"),
            of_type("text/plain; charset=utf-8"),
            of_type(&format!("text/{}", "x".repeat(MAX_MEDIA_TYPE))),
            long,
            no_text,
        ] {
            assert!(board.set(item.clone(), NOW).is_err());
            let copy = Stamped {
                counter: 9,
                device: id(2),
                age: 0,
                item: Some(item),
            };
            assert!(board.take(copy, NOW).is_err());
        }
        assert_eq!(pasted(&board, NOW).as_deref(), Some("kept"));
        assert_eq!(board.seen, 1, "nor do their counters count");
        let picture = Item {
            media_type: "image/png".into(),
            data: vec![0xff; MAX_DATA].into(),
            secret: false,
        };
        board.set(picture, NOW).unwrap();
    }

    #[test]
    fn no_counter_ends_all_copying() {
        let mut board = Board::new(&id(1));
        board.set(text("kept"), NOW).unwrap();
        let copy = |counter, device: &str| Stamped {
            counter,
            device: device.into(),
            age: 0,
            item: None,
        };
        for (counter, device) in [
            (u64::MAX, &*id(2)),
            (FURTHEST + 2, &*id(2)),
            (0, &*id(2)),
            (5, "tv"),
            (5, &id(2)[1..]),
            (5, &*id(0xab).to_uppercase()),
        ] {
            assert!(board.take(copy(counter, device), NOW).is_err());
        }
        assert_eq!(
            board.take(copy(FURTHEST + 1, &id(2)), NOW),
            Ok(Taken::Newer)
        );
        board.set(text("still"), NOW).unwrap();
        assert_eq!(pasted(&board, NOW).as_deref(), Some("still"));
    }

    #[test]
    fn what_is_copied_after_a_restart_is_newer_than_what_was_counted_before() {
        let (mut phone, mut tablet) = (Board::new(&id(1)), Board::new(&id(2)));
        for second in 0..50 {
            tablet.count_from(1_800_000_000 + second);
            tablet.set(text("old"), NOW).unwrap();
        }
        // It was restarted, and copies before it hears of anybody.
        phone.count_from(1_800_000_100);
        phone.set(text("new"), NOW).unwrap();
        let copy = tablet.newest(NOW).unwrap();
        assert!(matches!(phone.take(copy, NOW), Ok(Taken::Older(_))));
        assert_eq!(
            tablet.take(phone.newest(NOW).unwrap(), NOW),
            Ok(Taken::Newer)
        );
        assert_eq!(pasted(&tablet, NOW).as_deref(), Some("new"));
        // A clock that goes back does not take the counter with it.
        tablet.count_from(5);
        tablet.set(text("newest"), NOW).unwrap();
        assert_eq!(
            phone.take(tablet.newest(NOW).unwrap(), NOW),
            Ok(Taken::Newer)
        );
        let mut nobody = Board::new(&id(3));
        nobody.count_from(1_800_000_000);
        assert_eq!(nobody.newest(NOW), None, "nothing was copied");
    }

    #[test]
    fn only_the_newest_of_many_is_kept() {
        let mut board = Board::new(&id(1));
        for number in 0..100_000 {
            board.set(text(&number.to_string()), NOW).unwrap();
        }
        assert_eq!(pasted(&board, NOW).as_deref(), Some("99999"));
        assert_eq!(board.stamp().counter, 100_000);
    }

    proptest! {
        /// Devices copy, clear and meet in any order, with clocks that have nothing in common. When
        /// all have met, all have the same; and nothing that had seen another copy loses to it.
        #[test]
        fn devices_that_have_met_agree(steps in proptest::collection::vec((0usize..4, 0usize..4, 0u8..3), 1..60)) {
            let mut boards: Vec<Board> = (0..4).map(|number| Board::new(&id(number))).collect();
            let now = |device: usize| Duration::from_secs(31_536_000 * device as u64);
            let meet = |boards: &mut Vec<Board>, one: usize, other: usize| {
                if one == other {
                    return;
                }
                let Some(copy) = boards[one].newest(now(one)) else {
                    if let Some(copy) = boards[other].newest(now(other)) {
                        boards[one].take(copy, now(one)).unwrap();
                    }
                    return;
                };
                if let Taken::Older(newest) = boards[other].take(copy, now(other)).unwrap() {
                    assert_eq!(boards[one].take(newest, now(one)).unwrap(), Taken::Newer);
                }
            };
            for (number, (one, other, what)) in steps.into_iter().enumerate() {
                let before = boards[one].stamp().clone();
                match what {
                    0 => {
                        boards[one].set(text(&format!("{number}")), now(one)).unwrap();
                        prop_assert!(*boards[one].stamp() > before);
                    }
                    1 => if boards[one].clear(now(one)) {
                        prop_assert!(*boards[one].stamp() > before);
                    },
                    _ => meet(&mut boards, one, other),
                }
            }
            let greatest = boards.iter().map(|board| board.stamp().clone()).max().unwrap();
            let right = boards
                .iter()
                .enumerate()
                .find(|(_, board)| *board.stamp() == greatest)
                .map(|(device, board)| pasted(board, now(device)))
                .unwrap();
            for _ in 0..2 {
                for one in 0..4 {
                    for other in 0..4 {
                        meet(&mut boards, one, other);
                    }
                }
            }
            for (device, board) in boards.iter().enumerate() {
                prop_assert_eq!(board.stamp(), &greatest);
                prop_assert_eq!(pasted(board, now(device)), right.clone());
            }
        }
    }
}
