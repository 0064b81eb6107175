//! `hyper:clipboard` on the bus.

use bus::clipboard::Item;
use bus::copies::Stamped;
use bus::{Caller, Outgoing};
use futures::stream;

use super::board::{MAX_DATA, Taken};
use super::{Clipboard, clock, now};

impl bus::clipboard::Handler for Clipboard {
    async fn get(&self, _: Caller) -> Option<Item> {
        self.board().item(now()).cloned()
    }

    async fn set(&self, caller: Caller, item: Item) -> Result<(), String> {
        tracing::debug!("{} copies {} bytes", caller.name(), item.data.len());
        {
            let mut board = self.board();
            board.count_from(clock());
            board.set(item, now())?;
        }
        self.changed();
        Ok(())
    }

    async fn clear(&self, caller: Caller) {
        tracing::debug!("{} takes away what was copied", caller.name());
        let cleared = {
            let mut board = self.board();
            board.count_from(clock());
            board.clear(now())
        };
        if cleared {
            self.changed();
        }
    }

    async fn watch(&self, _: Caller) -> Outgoing<Option<Item>> {
        let state = (self.clone(), self.changes.subscribe(), None);
        Box::pin(stream::unfold(
            state,
            async |(clipboard, mut changes, last)| loop {
                changes.borrow_and_update();
                let (stamp, item) = {
                    let board = clipboard.board();
                    (board.stamp().clone(), board.item(now()).cloned())
                };
                // What came a second time is no change, and what expired is one.
                let this = Some((stamp, item.is_some()));
                if last != this {
                    return Some((item, (clipboard, changes, this)));
                }
                changes.changed().await.ok()?;
            },
        ))
    }
}

impl bus::copies::Handler for Clipboard {
    async fn exchange(
        &self,
        caller: Caller,
        newest: Option<Stamped>,
    ) -> Result<Option<Stamped>, String> {
        let Some(copy) = newest else {
            return Ok(self.board().newest(now()));
        };
        let taken = self.board().take(copy, now()).inspect_err(|error| {
            tracing::warn!("what {} copied is not taken: {error}", caller.name());
        })?;
        Ok(match taken {
            Taken::Newer => {
                self.changed();
                None
            }
            Taken::Same => None,
            Taken::Older(newest) => Some(newest),
        })
    }
}

// An item and what is around it are one argument of a call, and one item of a stream.
const _: () = assert!(MAX_DATA + 4096 < 1024 * 1024);
