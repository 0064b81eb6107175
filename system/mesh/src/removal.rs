//! Devices that were removed: telling one so, and being one.
//!
//! Whoever is of the family and hears a removed device, or is connected to by it, shows it the entry by which
//! it was removed, and nothing else. The device notes that durably and is of no family from then on: it calls
//! no member, is called by none, and announces nothing. It may be taken in by any family, or found one.
//!
//! Where the entry says that the device is lost, its screen shows nothing but that (`hyper:family/family.lost`), and
//! what ends it is to be taken in again by the same family.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use store::Store;
use trust::identity::DeviceId;
use trust::log::{Entry, Log, MAX_ENTRY_BYTES};

use crate::links::Link;
use crate::node::Node;
use crate::transport::{self, Closing};
use crate::wire::{self, Kind};

/// How long telling a device may take, connecting included.
const TELLING: Duration = Duration::from_secs(10);
/// How long the device that told it is waited for to have heard that it was noted.
const HEARD: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Kept {
    /// The entry, in hexadecimal digits, where it says that the device is lost: releases before the next
    /// field lock a device that has this one.
    #[serde(default)]
    entry: Option<String>,
    /// The entry where it does not say so.
    #[serde(default)]
    removed: Option<String>,
    /// What the device that signed it was called here.
    #[serde(default)]
    by: String,
}

store::first_version!(Kept);

/// What this device knows of its own removal, with the file that keeps it.
#[derive(Debug)]
pub struct OwnRemoval {
    kept: Store<Kept>,
    entry: Option<Entry>,
}

impl OwnRemoval {
    /// What stands in this file. The strings are for the owner.
    pub fn open(file: &Path) -> Result<(Self, Vec<String>)> {
        let opened =
            store::open::<Kept>(file).context("reading whether this device was removed")?;
        let (kept, mut notices) = (opened.store, opened.notices);
        let digits = kept.value().entry.as_ref();
        let digits = digits.or(kept.value().removed.as_ref());
        let entry = digits.map(|digits| decode(digits)).transpose();
        let entry = entry.unwrap_or_else(|error| {
            notices.push(format!(
                "{} does not say why this device was removed: {error:#}.",
                file.display()
            ));
            None
        });
        Ok((Self { kept, entry }, notices))
    }

    /// Whether this device was removed.
    pub fn is_noted(&self) -> bool {
        self.entry.is_some()
    }

    /// Whether it is lost.
    pub fn is_lost(&self) -> bool {
        let removes = self.entry.as_ref().and_then(Entry::removes);
        removes.is_some_and(|(_, lost)| lost)
    }

    /// Whether the family of this log may take it in.
    pub fn lets_in(&self, log: &Log) -> bool {
        let family = self.entry.as_ref().map(Entry::family);
        !self.is_lost() || family == Some(log.id())
    }

    /// Whether it is over, by the log of the family in which this device is a member now.
    pub fn is_over(&self, log: &Log) -> bool {
        self.entry.as_ref().is_some_and(|entry| {
            let elsewhere = entry.family() != log.id();
            log.entry(entry.id()).is_some() || (elsewhere && !self.is_lost())
        })
    }

    /// On which device that was said, and when, in milliseconds since 1970 by its clock.
    pub fn told(&self) -> Option<(&str, u64)> {
        let entry = self.entry.as_ref()?;
        Some((&self.kept.value().by, entry.time().saturating_mul(1000)))
    }

    /// Notes durably that this device was removed.
    pub fn note(&mut self, entry: Entry, by: String) -> Result<()> {
        let digits = Some(data_encoding::HEXLOWER.encode(entry.bytes()));
        let lost = entry.removes().is_some_and(|(_, lost)| lost);
        let (entry_of_loss, removed) = if lost { (digits, None) } else { (None, digits) };
        self.kept
            .update(|kept| {
                *kept = Kept {
                    entry: entry_of_loss,
                    removed,
                    by,
                }
            })
            .context("noting that this device was removed")?;
        self.entry = Some(entry);
        Ok(())
    }

    /// Notes durably that it is over.
    pub fn clear(&mut self) -> Result<()> {
        if self.entry.is_none() {
            return Ok(());
        }
        self.kept
            .update(|kept| *kept = Kept::default())
            .context("noting that this device is of a family again")?;
        self.entry = None;
        Ok(())
    }
}

fn decode(digits: &str) -> Result<Entry> {
    let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes())?;
    Ok(Entry::decode(&bytes)?)
}

/// Shows a removed device that it is, over a new connection, unless somebody is at it or it knows.
pub fn begin_telling(node: &Arc<Node>, device: DeviceId, addresses: Vec<std::net::SocketAddr>) {
    if addresses.is_empty() || !node.begin_telling(device) {
        return;
    }
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let told = async {
            let address = transport::address(device, addresses, None)?;
            let connection = node.endpoint().connect(address, wire::ALPN).await?;
            tell(&node, &connection, device).await
        };
        let told = tokio::time::timeout(TELLING, told).await;
        let told = told.context("it does not answer").flatten();
        if let Err(error) = &told {
            tracing::debug!("telling {} that it was removed: {error:#}", device.short());
        }
        node.end_telling(device, told.is_ok());
    });
}

/// As [`begin_telling`], over a connection that the removed device has made; then closes it.
pub fn tell_over(node: &Arc<Node>, connection: Connection, device: DeviceId) {
    let begun = node.begin_telling(device);
    let node = Arc::clone(node);
    tokio::spawn(async move {
        if begun {
            let told = tokio::time::timeout(TELLING, tell(&node, &connection, device)).await;
            node.end_telling(device, matches!(told, Ok(Ok(()))));
        }
        transport::close(&connection, Closing::Stranger);
    });
}

async fn tell(node: &Node, connection: &Connection, device: DeviceId) -> Result<()> {
    let entry = node.with_log(|log| Some(log.removal_of(device)?.bytes().to_vec()));
    let entry = entry.flatten().context("it is not removed")?;
    let (mut send, mut receive) = connection.open_bi().await.context("opening a stream")?;
    wire::begin(&mut send, Kind::Removed).await?;
    wire::write_bytes(&mut send, &entry).await?;
    send.finish()?;
    let noted = wire::read_kind(&mut receive).await?;
    ensure!(noted == Kind::Removed, "it answers something else");
    tracing::info!("{} knows that it was removed", device.short());
    transport::close(connection, Closing::Stranger);
    Ok(())
}

/// Serves a stream on which another device shows this one that it was removed.
pub async fn serve(
    node: &Node,
    link: &Link,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<()> {
    let shown = wire::read_bytes(&mut receive, MAX_ENTRY_BYTES);
    let shown = tokio::time::timeout(TELLING, shown)
        .await
        .context("it does not say what was removed")??;
    let shown = shown.context("it shows nothing")?;
    node.note_removal(&shown, link.device)?;
    let answered = async {
        send.write_all(&[Kind::Removed as u8]).await?;
        send.finish()?;
        send.stopped().await?;
        anyhow::Ok(())
    };
    // Removed it is whether or not the other one hears of it, which closes the connection.
    let _ = tokio::time::timeout(HEARD, answered).await;
    node.leave();
    Ok(())
}

#[cfg(test)]
mod tests {
    use trust::identity::Identity;
    use trust::log::{Action, Log, Role};

    use super::*;

    #[test]
    fn a_removed_device_stays_removed_until_it_is_noted_otherwise() {
        let [phone, tablet] = [(); 2].map(|()| Identity::generate().unwrap());
        let mut family = Log::found(&phone, "Phone", None, 1).unwrap();
        let added = Action::Added {
            device: tablet.id(),
            role: Role::Owner,
            name: "Tablet".into(),
        };
        family.write(&phone, added.clone(), 2).unwrap();
        let before = family.clone();
        let another = Log::found(&tablet, "Tablet", None, 1).unwrap();

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("loss");
        for lost in [false, true] {
            let mut family = before.clone();
            family.remove(&phone, tablet.id(), lost, 3).unwrap();
            let entry = family.removal_of(tablet.id()).unwrap().clone();
            let (mut removal, _) = OwnRemoval::open(&file).unwrap();
            assert!(!removal.is_noted());
            assert!(removal.lets_in(&family) && removal.lets_in(&another));

            removal.note(entry, "Phone".into()).unwrap();
            let (mut again, notices) = OwnRemoval::open(&file).unwrap();
            assert_eq!(notices, [""; 0]);
            assert_eq!(again.told(), Some(("Phone", 3000)));
            assert_eq!((again.is_noted(), again.is_lost()), (true, lost));
            assert!(again.lets_in(&family));
            assert_eq!(again.lets_in(&another), !lost);
            assert!(!again.is_over(&before));
            assert_eq!(again.is_over(&another), !lost);
            family.write(&phone, added.clone(), 4).unwrap();
            assert!(again.is_over(&family));

            again.clear().unwrap();
            assert!(!OwnRemoval::open(&file).unwrap().0.is_noted());
        }
    }
}
