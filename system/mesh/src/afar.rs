//! Being apart: a relay of the owner's, at which devices meet that are on no common network.
//!
//! # Which
//!
//! The one in the setting `family.relay`, and none where that is empty: then nothing outside is ever
//! contacted. Each change of it makes a new endpoint, since iroh 1.4.1 goes on with a relay that was
//! taken from it; what was open ends and comes about anew.
//!
//! # Who is there
//!
//! The relay tells nobody who is there, so a device *knocks*: it tries to connect to each member that
//! it has not heard on its own networks. It does so whenever it has come to the relay, so that whoever
//! is there hears of it; and again from time to time, and when a connection was lost. A device that has
//! answered by the relay counts as [there](Peer::is_there) until an attempt fails, or this device has no
//! relay any more. With those that are there a device then keeps the same few connections as at home.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bus::settings::Value;
use bus::{Address, Client};
use futures::{StreamExt as _, stream};
use iroh::endpoint::{ConnectionError, RelayStatus};
use iroh::{RelayUrl, Watcher};
use trust::identity::DeviceId;

use crate::links::{self, Link};
use crate::node::{Node, Peer, Reach};
use crate::transport::{self, Closing};

/// The setting with the relay's address.
const SETTING: &str = "family.relay";
/// The pause before the settings are asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a device that has come to the relay listens to its own networks first.
const LISTENING: Duration = Duration::from_millis(1500);
/// The pause after the first knocks; it doubles.
const FIRST_KNOCKS: Duration = Duration::from_secs(15);
const LATER_KNOCKS: Duration = Duration::from_secs(5 * 60);
/// When the device with the greater key knocks, so that there are not two connections.
const SECOND: Duration = Duration::from_millis(400);
/// Devices that are knocked at at once.
const MOST_AT_ONCE: usize = 4;
/// How long the relay may be away before those who were reached by it count as away too.
const AWAY: Duration = Duration::from_secs(30);

/// Keeps to the setting.
pub async fn follow(node: Arc<Node>) {
    let client = Client::new(Address::Here(node.bus.clone()));
    let mut pause = FIRST_PAUSE;
    loop {
        match follow_setting(&node, &client).await {
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => tracing::debug!("asking for the relay's address: {error:#}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn follow_setting(node: &Arc<Node>, client: &Client) -> Result<()> {
    let mut changes = bus::settings::watch(client).await?;
    let value = bus::settings::get(client, SETTING).await?;
    take(node, &value.map_err(|error| anyhow::anyhow!("{error:?}"))?).await;
    while let Some(change) = changes.next().await {
        let change = change?;
        if change.key == SETTING {
            take(node, &change.value).await;
        }
    }
    Ok(())
}

async fn take(node: &Arc<Node>, value: &Value) {
    let Value::Text(text) = value else {
        return tracing::error!("the setting {SETTING} is no text");
    };
    let relay = match text.as_str() {
        "" => None,
        text => match text.parse::<RelayUrl>() {
            Ok(relay) => Some(relay),
            // Not one by which it could be reached, and so none: it is not the one of before either.
            Err(error) => {
                tracing::warn!("the relay's address in the setting {SETTING}: {error}");
                None
            }
        },
    };
    if let Err(error) = use_relay(node, relay).await {
        tracing::error!("taking another relay: {error:#}");
    }
}

/// Uses this relay from now on, or none.
async fn use_relay(node: &Arc<Node>, relay: Option<RelayUrl>) -> Result<()> {
    if node.relay() == relay {
        return Ok(());
    }
    match &relay {
        Some(relay) => tracing::info!("devices that are apart meet at {relay}"),
        None => tracing::info!("no relay is used"),
    }
    node.rebind(|binding| binding.relay = relay).await
}

/// Looks for the members that are not on the networks of this device, as long as it has a relay.
pub async fn knock(node: Arc<Node>) {
    let mut reaches = node.watch_reach();
    loop {
        let reach = reaches.borrow_and_update().clone();
        tokio::select! {
            () = attend(&node, &reach) => {}
            changed = reaches.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// How a device stands with its relay.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Standing {
    In,
    /// It does not let this device in, for this reason.
    Refused(String),
    /// It is not reached, for this reason if one is known yet.
    Out(Option<String>),
}

impl Standing {
    fn of(relays: &[RelayStatus]) -> Self {
        let Some(relay) = relays.first() else {
            return Self::Out(None);
        };
        if relay.is_connected() {
            return Self::In;
        }
        match relay.auth_denied_reason() {
            Some(reason) => Self::Refused(reason.to_owned()),
            None => Self::Out(relay.last_error().map(|error| format!("{error:#}"))),
        }
    }
}

/// Attends a relay, as long as it is polled.
async fn attend(node: &Arc<Node>, reach: &Reach) {
    let Some(relay) = &reach.binding.relay else {
        return std::future::pending().await;
    };
    let mut status = reach.endpoint.home_relay_status();
    let mut said = None;
    loop {
        let standing = Standing::of(&status.get());
        match &standing {
            Standing::In => {
                tracing::info!("at the relay {relay}");
                said = None;
                let left = async {
                    while Standing::of(&status.get()) == Standing::In
                        && status.updated().await.is_ok()
                    {}
                };
                tokio::select! {
                    () = left => {}
                    () = knock_again(node) => {}
                }
            }
            Standing::Refused(reason) => {
                if said.as_ref() != Some(&standing) {
                    tracing::warn!("the relay {relay} does not let this device in: {reason}");
                    said = Some(standing);
                }
                forget_who_is_afar(node);
                if status.updated().await.is_err() {
                    return std::future::pending().await;
                }
            }
            Standing::Out(_) => {
                let settled = async {
                    while matches!(Standing::of(&status.get()), Standing::Out(_))
                        && status.updated().await.is_ok()
                    {}
                };
                if tokio::time::timeout(AWAY, settled).await.is_err() {
                    forget_who_is_afar(node);
                    let now = Standing::of(&status.get());
                    if let Standing::Out(Some(reason)) = &now
                        && said.as_ref() != Some(&now)
                    {
                        tracing::warn!("the relay {relay} is not reached: {reason}");
                        said = Some(now);
                    }
                }
            }
        }
    }
}

/// Knocks at who is not there, as long as it is polled.
async fn knock_again(node: &Arc<Node>) {
    tokio::time::sleep(LISTENING).await;
    let mut pause = FIRST_KNOCKS;
    loop {
        stream::iter(absent(node))
            .for_each_concurrent(MOST_AT_ONCE, |device| knock_at(node, device))
            .await;
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LATER_KNOCKS),
            () = node.link_lost.notified() => {
                tokio::time::sleep(LISTENING).await;
                pause = FIRST_KNOCKS;
            }
        }
    }
}

/// The members with whom there is no connection, and who are not on the networks of this device.
fn absent(node: &Node) -> Vec<DeviceId> {
    let state = node.state();
    let absent = state.peers.iter().filter(|(_, peer)| is_absent(peer));
    absent.map(|(device, _)| *device).collect()
}

fn is_absent(peer: &Peer) -> bool {
    !peer.present && !peer.link.as_ref().is_some_and(|link| link.is_sound())
}

async fn knock_at(node: &Arc<Node>, device: DeviceId) {
    if node.id() > device {
        tokio::time::sleep(SECOND).await;
        if !node.state().peers.get(&device).is_some_and(is_absent) {
            return;
        }
    }
    if let Err(error) = links::connect(node, device).await {
        tracing::debug!("{} is not at the relay: {error:#}", node.name(device));
    }
}

/// Notes that a device was reached, while whoever holds the state adopts the connection to it.
pub fn note_reached(peer: &mut Peer, relay: Option<&RelayUrl>) {
    // On the networks of this device it would have been heard.
    peer.afar = relay.is_some() && !peer.present;
}

/// Notes that a device was not reached.
pub fn note_unreached(node: &Node, device: DeviceId) {
    let mut state = node.state();
    if let Some(peer) = state.peers.get_mut(&device)
        && std::mem::take(&mut peer.afar)
    {
        drop(state);
        node.changed();
    }
}

/// Notes that the connection to a device has ended, while whoever holds the state forgets it.
pub fn note_ended(node: &Node, peer: &mut Peer, link: &Link, relay: Option<&RelayUrl>) {
    let needless = transport::was_closed_for(&link.connection, Closing::Done)
        || matches!(
            link.connection.close_reason(),
            Some(ConnectionError::LocallyClosed)
        );
    // Whoever had no use for it is still there.
    peer.afar = needless && relay.is_some() && !peer.present;
    // Who does not know this device would say so again.
    if !needless && !transport::was_closed_for(&link.connection, Closing::Stranger) {
        node.link_lost.notify_one();
    }
}

/// Notes that the networks of this device are other ones: who is on them will be heard again.
pub fn note_networks_changed(node: &Node) {
    if node.relay().is_none() {
        return;
    }
    for peer in node.state().peers.values_mut() {
        peer.present = false;
    }
    node.changed();
}

fn forget_who_is_afar(node: &Node) {
    let mut forgotten = false;
    for peer in node.state().peers.values_mut() {
        forgotten |= std::mem::take(&mut peer.afar);
    }
    if forgotten {
        node.changed();
    }
}
