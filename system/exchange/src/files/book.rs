//! What is on its way, and the last deliveries that were: what `hyper:transfer/transfer` shows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bus::Outgoing;
use bus::transfer::{Delivery, Direction, Phase};
use futures::stream;
use tokio::sync::watch;

/// So many that are over are listed.
const MOST_OVER: usize = 32;
/// The least time between two lists that a watcher gets.
const BREATH: Duration = Duration::from_millis(100);

/// The list of deliveries.
#[derive(Debug)]
pub struct Book {
    pages: Mutex<Pages>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Pages {
    last: u64,
    deliveries: Vec<Delivery>,
}

/// Whether nothing more comes of it.
pub fn is_over(phase: &Phase) -> bool {
    match phase {
        Phase::Waiting | Phase::Running => false,
        Phase::Finished | Phase::Failed(_) | Phase::Cancelled => true,
    }
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

impl Default for Book {
    fn default() -> Self {
        Self {
            pages: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a delivery that waits, and answers its id.
    pub fn add(
        &self,
        direction: Direction,
        device: &str,
        device_name: &str,
        names: Vec<String>,
    ) -> u64 {
        let mut pages = self.pages();
        pages.last += 1;
        let id = pages.last;
        pages.deliveries.push(Delivery {
            id,
            direction,
            device: device.to_owned(),
            device_name: device_name.to_owned(),
            names,
            files: 0,
            skipped: 0,
            bytes: 0,
            done: 0,
            resumed: 0,
            carried: 0,
            phase: Phase::Waiting,
            began: now(),
        });
        drop(pages);
        self.changed();
        id
    }

    /// Changes one, if it is still there and not over.
    pub fn change(&self, id: u64, change: impl FnOnce(&mut Delivery)) {
        let mut pages = self.pages();
        let listed = pages.deliveries.iter_mut().find(|one| one.id == id);
        let Some(delivery) = listed.filter(|one| !is_over(&one.phase)) else {
            return;
        };
        change(delivery);
        if is_over(&delivery.phase) {
            let over = |one: &Delivery| is_over(&one.phase);
            let too_many = pages.deliveries.iter().filter(|one| over(one)).count();
            if too_many > MOST_OVER
                && let Some(oldest) = pages.deliveries.iter().position(over)
            {
                pages.deliveries.remove(oldest);
            }
        }
        drop(pages);
        self.changed();
    }

    /// One, as it is.
    pub fn get(&self, id: u64) -> Option<Delivery> {
        let pages = self.pages();
        pages.deliveries.iter().find(|one| one.id == id).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Delivery> {
        self.pages().deliveries.clone()
    }

    /// All of them, each time that something changes.
    pub fn watch(self: &std::sync::Arc<Self>) -> Outgoing<Vec<Delivery>> {
        let state = (self.clone(), self.changes.subscribe(), None);
        Box::pin(stream::unfold(
            state,
            async |(book, mut changes, last): (std::sync::Arc<Self>, _, Option<Vec<Delivery>>)| {
                if last.is_some() {
                    tokio::time::sleep(BREATH).await;
                }
                loop {
                    changes.borrow_and_update();
                    let all = book.all();
                    if last.as_ref() != Some(&all) {
                        return Some((all.clone(), (book, changes, Some(all))));
                    }
                    changes.changed().await.ok()?;
                }
            },
        ))
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_stays_so_and_the_oldest_goes() {
        let book = Book::default();
        let ids: Vec<u64> = (0..MOST_OVER + 3)
            .map(|_| book.add(Direction::Sending, "id", "tv", vec!["x".into()]))
            .collect();
        for id in &ids[1..] {
            book.change(*id, |one| one.phase = Phase::Finished);
            book.change(*id, |one| one.phase = Phase::Running);
        }
        let all = book.all();
        assert_eq!(all.len(), MOST_OVER + 1);
        assert_eq!(all[0].id, ids[0], "what is not over is never dropped");
        assert_eq!(all[1].id, ids[3]);
        assert!(all[1..].iter().all(|one| one.phase == Phase::Finished));
    }
}
