//! Giving each other what the other one's copy of the family's log lacks.
//!
//! ```text
//! opener                                     answerer
//!   │ ── heads ───────────────────────────────► │
//!   │ ◄── heads, then what the opener lacks ─── │
//!   │ ── what the answerer lacks ─────────────► │
//! ```
//!
//! What somebody lacks comes parents first, in messages that are small however long the log is, so that
//! what has come of it can be taken in whenever the exchange breaks off.
//!
//! The device that made the connection begins at once, and both do when their log has changed. What
//! brings nothing new ends there, so that word goes round and comes to rest.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use iroh::endpoint::{RecvStream, SendStream};
use trust::log::{EntryId, Log, MAX_ENTRIES};

use crate::links::Link;
use crate::node::Node;
use crate::wire::{self, Entries, Heads, Kind, MAX_LOG_MESSAGE};

/// An exchange that takes longer is given up; the next change or connection begins another.
const LIMIT: Duration = Duration::from_secs(30);
/// Changes that come together are sent together.
const TOGETHER: Duration = Duration::from_millis(10);

/// Exchanges the log over a link at once, where `at_once`, and whenever it changes.
pub async fn follow(node: Arc<Node>, link: Arc<Link>, at_once: bool) {
    let mut changes = node.watch_log();
    let mut due = at_once;
    loop {
        if due {
            let exchanged = tokio::time::timeout(LIMIT, exchange(&node, &link)).await;
            if let Ok(Err(error)) = exchanged {
                tracing::debug!(
                    "exchanging the log with {}: {error:#}",
                    node.name(link.device)
                );
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(TOGETHER).await;
        changes.borrow_and_update();
        due = true;
    }
}

async fn exchange(node: &Node, link: &Arc<Link>) -> Result<()> {
    let _using = link.begin_use();
    let (mut send, mut receive) = link
        .connection
        .open_bi()
        .await
        .context("opening a stream")?;
    wire::begin(&mut send, Kind::Log).await?;
    wire::write(&mut send, &heads(node)).await?;
    let theirs: Heads = wire::read(&mut receive, MAX_LOG_MESSAGE).await?;
    // Both ways at once: neither has to take everything before it may say anything.
    let lacking = since(node, &theirs);
    let (given, taken) = tokio::join!(give(&mut send, &lacking), take(node, &mut receive));
    given.and(taken)
}

/// Answers an exchange that the other device began.
pub async fn answer(node: &Node, mut send: SendStream, mut receive: RecvStream) -> Result<()> {
    let answered = async {
        let theirs: Heads = wire::read(&mut receive, MAX_LOG_MESSAGE).await?;
        wire::write(&mut send, &heads(node)).await?;
        let lacking = since(node, &theirs);
        let (given, taken) = tokio::join!(give(&mut send, &lacking), take(node, &mut receive));
        given.and(taken)
    };
    tokio::time::timeout(LIMIT, answered)
        .await
        .context("it takes too long")?
}

async fn give(send: &mut SendStream, entries: &[Vec<u8>]) -> Result<()> {
    write(send, entries).await?;
    send.finish()?;
    Ok(())
}

/// Writes entries in lists, the last of which is empty.
pub async fn write(send: &mut SendStream, entries: &[Vec<u8>]) -> Result<()> {
    let mut batch = Entries::default();
    let mut size = 0;
    for entry in entries {
        if size + entry.len() > MAX_LOG_MESSAGE / 2 {
            wire::write(send, &std::mem::take(&mut batch)).await?;
            size = 0;
        }
        size += entry.len();
        batch.0.push(entry.clone());
    }
    if !batch.0.is_empty() {
        wire::write(send, &batch).await?;
    }
    wire::write(send, &Entries::default()).await
}

async fn take(node: &Node, receive: &mut RecvStream) -> Result<()> {
    let mut taken = 0;
    loop {
        let Entries(entries) = wire::read(receive, MAX_LOG_MESSAGE).await?;
        if entries.is_empty() {
            return Ok(());
        }
        taken += entries.len();
        ensure!(taken <= MAX_ENTRIES, "it sends more than a log can hold");
        node.take_entries(&entries)?;
    }
}

/// The heads, or so many of them that a message holds: the other device then sends some of what is
/// known already.
fn heads(node: &Node) -> Heads {
    let heads = |log: &Log| {
        let heads = log.heads().iter().rev().take(MAX_LOG_MESSAGE / 64);
        heads.map(|head| *head.as_bytes()).collect()
    };
    Heads(node.with_log(heads).unwrap_or_default())
}

/// What somebody lacks who has these heads.
pub fn since(node: &Node, heads: &Heads) -> Vec<Vec<u8>> {
    let heads = heads.0.iter().copied().map(EntryId::from_bytes);
    node.with_log(|log| {
        log.since(heads)
            .map(|entry| entry.bytes().to_vec())
            .collect()
    })
    .unwrap_or_default()
}
