//! Senders that say nothing any more: said to be waited for after a moment, forgotten after a week.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bus::transfer::{Phase, Problem};

use super::arrivals::Arrivals;
use super::settled::Key;

/// What nobody went on with for so long is deleted.
pub const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often to look for that.
const LOOK_FOR_FORGOTTEN: Duration = Duration::from_secs(6 * 3600);
/// A sender that says nothing for so long is waited for.
const QUIET: Duration = Duration::from_secs(10);

impl Arrivals {
    /// Notices senders that say nothing any more, as long as there are any that speak.
    pub(super) fn watch_over(self: &Arc<Self>) {
        if self.watching.swap(true, Ordering::Relaxed) {
            return;
        }
        let arrivals = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(QUIET / 2).await;
                let (mut quiet, mut speaks) = (Vec::new(), false);
                {
                    let entries = arrivals.entries();
                    for entry in entries.values() {
                        // What is worked on is not waited for, however long that takes.
                        if entry.heard.elapsed() > QUIET && entry.slot.try_lock().is_ok() {
                            quiet.push(entry.id);
                        } else {
                            speaks = true;
                        }
                    }
                    // Said with the list in hand: whoever is heard after this begins another watch.
                    arrivals.watching.store(speaks, Ordering::Relaxed);
                }
                for id in quiet {
                    let phase = arrivals.book.get(id).map(|delivery| delivery.phase);
                    if phase == Some(Phase::Running) {
                        arrivals
                            .book
                            .change(id, |delivery| delivery.phase = Phase::Waiting);
                    }
                }
                if !speaks {
                    return;
                }
            }
        });
    }

    /// Deletes what nobody goes on with.
    pub(super) async fn forget(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_FOR_FORGOTTEN).await;
            let forgotten: Vec<Key> = {
                let entries = self.entries();
                let those = entries
                    .iter()
                    .filter(|(_, entry)| entry.heard.elapsed() > FORGOTTEN);
                those.map(|(key, _)| key.clone()).collect()
            };
            for key in forgotten {
                let reason = "nobody went on with it for a week".into();
                let phase = Phase::Failed(Problem::Refused(reason));
                self.give_up(&key, phase).await;
            }
        }
    }
}
