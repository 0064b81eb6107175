//! The clipboard of the owner's devices: last writer wins, in memory, for ten minutes.
//!
//! [`board`] has the rules. This device tells what is copied on it to the owner's other devices that
//! are reachable (`spread`), and when one of them becomes reachable the two compare what they have.
//!
//! # What it promises
//!
//! - **Nothing is written to disk**, and nothing outlasts its time in memory.
//! - **One item is kept, and one is under way to each device.** Whoever copies a hundred thousand
//!   times has the others told of the last one as soon as they take it, and of those between as far
//!   as they had time.
//! - **It goes to the owner's own devices**, by the family's log. A shared device or a guest gets
//!   nothing, and what it copies stays there; with a grant from the owner it may ask.

pub mod board;
mod served;
mod spread;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use board::Board;

/// Serves the clipboard until told to stop.
pub fn run() -> Result<()> {
    service::run(async || {
        let mut server = bus::Server::from_environment().context("taking the sockets over")?;
        start(&mut server, bus::folder());
        Ok(server)
    })
}

/// Starts a clipboard and gives the server what it answers.
pub fn start(server: &mut bus::Server, bus: std::path::PathBuf) {
    let clipboard = Clipboard::default();
    tokio::spawn(spread::with_family(clipboard.clone(), bus));
    tokio::spawn(expire(clipboard.clone()));
    server.serve(bus::clipboard::interface(clipboard.clone()));
    server.serve(bus::copies::interface(clipboard));
}

/// What the parts of this service share.
#[derive(Clone)]
pub(crate) struct Clipboard {
    board: Arc<Mutex<Board>>,
    /// Counts changes.
    changes: watch::Sender<u64>,
}

impl Default for Clipboard {
    fn default() -> Self {
        Self {
            board: Arc::new(Mutex::new(Board::new(""))),
            changes: watch::Sender::new(0),
        }
    }
}

impl Clipboard {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that what is on the board has changed.
    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// Seconds since 1970, as far as this device knows.
fn clock() -> u64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs())
}

/// Time that only goes forward, also while the device sleeps.
fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

/// Lets go of what is over, when it is.
async fn expire(clipboard: Clipboard) {
    let mut changes = clipboard.changes.subscribe();
    loop {
        changes.borrow_and_update();
        let over = clipboard.board().over();
        let end = async {
            match over {
                // A timer does not count the time for which the device sleeps: looking once a minute
                // bounds how long something stays in memory after that. Nothing gives it out.
                Some(over) => {
                    let left = over.saturating_sub(now()).min(Duration::from_secs(60));
                    tokio::time::sleep(left).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = end => {
                let expired = clipboard.board().expire(now());
                if expired {
                    clipboard.changed();
                }
            }
        }
    }
}
