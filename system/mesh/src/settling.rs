//! One-time grants whose call is over are ended in the log, so that no list of the owner's has them any more.
//!
//! That a one-time grant was used only the device that was called knows, and notes durably before anything
//! else ([`spent`](crate::spent)). Once the call is over, an owner device revokes the grant; any other
//! device tells that an owner device, first the one on which the owner said it, and that one does. Nothing
//! depends on it but what the owner reads: a grant that is noted as used allows nothing, whatever the log
//! says. So a device that nobody of the owner's reaches says it when somebody does, and one that lies
//! about it ends a grant to call itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use iroh::endpoint::{RecvStream, SendStream};
use trust::identity::DeviceId;
use trust::log::{EntryId, Role, Until};

use crate::links::{self, Link};
use crate::node::Node;
use crate::wire::{self, Kind, MAX_HEAD, Used};

/// How long telling another device may take.
const TELLING: Duration = Duration::from_secs(10);
/// Grants in one message, which is then below [`MAX_HEAD`].
const MAX_USED: usize = 16;

/// What each owner device has been told, and may not have written yet.
type Told = HashMap<DeviceId, BTreeSet<EntryId>>;

/// Ends what is used up, now and whenever something changes.
pub async fn follow(node: Arc<Node>) {
    let mut changes = node.watch();
    let mut told = Told::new();
    loop {
        changes.borrow_and_update();
        settle(&node, &mut told).await;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn settle(node: &Arc<Node>, told: &mut Told) {
    let over = used_up(node);
    if over.is_empty() {
        told.clear();
        return;
    }
    if node.role(node.id()) == Some(Role::Owner) {
        for grant in over {
            if let Err(error) = node.revoke(grant) {
                tracing::warn!("ending a grant for one call, which was made: {error:#}");
            }
        }
        return;
    }
    for device in owner_devices(node, &over) {
        let known = told.entry(device).or_default();
        let news = over.iter().filter(|grant| !known.contains(*grant));
        let news: Vec<EntryId> = news.take(MAX_USED).copied().collect();
        if news.is_empty() {
            continue;
        }
        let telling = tokio::time::timeout(TELLING, tell(node, device, &news)).await;
        match telling.context("it does not answer").flatten() {
            Ok(()) => {
                known.extend(news);
                return;
            }
            Err(error) => tracing::debug!(
                "telling {} which grants for one call were used: {error:#}",
                node.name(device)
            ),
        }
    }
}

/// The one-time grants to call this device that were used, whose call is over.
fn used_up(node: &Node) -> Vec<EntryId> {
    let Some(family) = node.family() else {
        return Vec::new();
    };
    let state = node.state();
    let given = family.grants().iter().filter(|given| {
        let to = given.grant.to.and_then(|to| family.current_key(to));
        given.grant.until == Until::Once
            && to == Some(node.id())
            && state.spent.has(given.entry)
            && !state.running.contains(&given.entry)
    });
    given.map(|given| given.entry).collect()
}

/// The owner devices that can be reached, those that gave one of these grants first.
fn owner_devices(node: &Node, grants: &[EntryId]) -> Vec<DeviceId> {
    let Some(family) = node.family() else {
        return Vec::new();
    };
    let authors: BTreeSet<DeviceId> = family
        .grants()
        .iter()
        .filter(|given| grants.contains(&given.entry))
        .filter_map(|given| family.current_key(given.author))
        .collect();
    let mut devices = node.reachable();
    devices.retain(|device| family.role(*device) == Some(Role::Owner));
    devices.sort_by_key(|device| !authors.contains(device));
    devices
}

async fn tell(node: &Arc<Node>, device: DeviceId, grants: &[EntryId]) -> Result<()> {
    let link = links::connect(node, device).await?;
    let _using = link.begin_use();
    let (mut send, mut receive) = link
        .connection
        .open_bi()
        .await
        .context("opening a stream")?;
    wire::begin(&mut send, Kind::Used).await?;
    let grants = grants.iter().map(|grant| *grant.as_bytes());
    wire::write(&mut send, &Used(grants.collect())).await?;
    send.finish()?;
    let kept = wire::read_kind(&mut receive).await?;
    ensure!(kept == Kind::Used, "it answers something else");
    Ok(())
}

/// Serves a stream on which another device tells which grants for one call it has used.
pub async fn serve(
    node: &Node,
    link: &Link,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<()> {
    let Used(used) = tokio::time::timeout(TELLING, wire::read(&mut receive, MAX_HEAD))
        .await
        .context("it does not say which grants it has used")??;
    for grant in used.into_iter().map(EntryId::from_bytes) {
        end(node, link.device, grant)?;
    }
    send.write_all(&[Kind::Used as u8]).await?;
    send.finish()?;
    Ok(())
}

/// Ends a one-time grant to call the device that says so; nothing else.
fn end(node: &Node, callee: DeviceId, grant: EntryId) -> Result<()> {
    ensure!(
        node.role(node.id()) == Some(Role::Owner),
        "this is no owner device"
    );
    let is_theirs = node.family().is_some_and(|family| {
        family.grants().iter().any(|given| {
            given.entry == grant
                && given.grant.until == Until::Once
                && given.grant.to.and_then(|to| family.current_key(to)) == Some(callee)
        })
    });
    if is_theirs {
        node.revoke(grant)?;
    }
    Ok(())
}
