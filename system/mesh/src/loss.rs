//! Devices that are lost: telling one so, and being one.
//!
//! Whoever is of the family and hears a lost device, or is connected to by it, shows it the entry by which
//! an owner device marked it as lost, and nothing else. The device notes that durably, says so, and is of
//! no family from then on: it calls nobody, is called by nobody, and announces nothing. Its screen shows nothing but that
//! it is lost (`hyper:family/family.lost`). What ends that is to be taken in again by the same family.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use store::Store;
use trust::identity::DeviceId;
use trust::log::{Entry, FamilyId, MAX_ENTRY_BYTES};

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
    /// The entry, in hexadecimal digits; none where the device is not lost.
    #[serde(default)]
    entry: Option<String>,
    /// What the device that signed it was called here.
    #[serde(default)]
    by: String,
}

store::first_version!(Kept);

/// What this device knows of its own loss, with the file that keeps it.
#[derive(Debug)]
pub struct Loss {
    kept: Store<Kept>,
    entry: Option<Entry>,
}

impl Loss {
    /// What stands in this file. The strings are for the owner.
    pub fn open(file: &Path) -> Result<(Self, Vec<String>)> {
        let opened = store::open::<Kept>(file).context("reading whether this device is lost")?;
        let (kept, mut notices) = (opened.store, opened.notices);
        let digits = kept.value().entry.as_ref();
        let entry = digits.map(|digits| decode(digits)).transpose();
        let entry = entry.unwrap_or_else(|error| {
            notices.push(format!(
                "{} does not say why this device is lost: {error:#}.",
                file.display()
            ));
            None
        });
        Ok((Self { kept, entry }, notices))
    }

    /// Whether this device is lost.
    pub fn is_noted(&self) -> bool {
        self.entry.is_some()
    }

    /// The family that it is lost to.
    pub fn family(&self) -> Option<FamilyId> {
        Some(self.entry.as_ref()?.family())
    }

    /// What the owner wrote.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// On which device that was, and when, in milliseconds since 1970 by its clock.
    pub fn told(&self) -> Option<(String, u64)> {
        let entry = self.entry.as_ref()?;
        Some((
            self.kept.value().by.clone(),
            entry.time().saturating_mul(1000),
        ))
    }

    /// Notes durably that this device is lost.
    pub fn note(&mut self, entry: Entry, by: String) -> Result<()> {
        self.kept
            .update(|kept| {
                kept.entry = Some(data_encoding::HEXLOWER.encode(entry.bytes()));
                kept.by = by;
            })
            .context("noting that this device is lost")?;
        self.entry = Some(entry);
        Ok(())
    }

    /// Notes durably that it is not any more.
    pub fn clear(&mut self) -> Result<()> {
        if self.entry.is_none() {
            return Ok(());
        }
        self.kept
            .update(|kept| *kept = Kept::default())
            .context("noting that this device is not lost any more")?;
        self.entry = None;
        Ok(())
    }
}

fn decode(digits: &str) -> Result<Entry> {
    let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes())?;
    Ok(Entry::decode(&bytes)?)
}

/// Shows a lost device that it is, over a new connection, unless somebody is at it or it knows.
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
            tracing::debug!("telling {} that it is lost: {error:#}", device.short());
        }
        node.end_telling(device, told.is_ok());
    });
}

/// As [`begin_telling`], over a connection that the lost device has made; then closes it.
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
    let entry = node.with_log(|log| Some(log.loss_of(device)?.bytes().to_vec()));
    let entry = entry.flatten().context("it is not lost")?;
    let (mut send, mut receive) = connection.open_bi().await.context("opening a stream")?;
    wire::begin(&mut send, Kind::Lost).await?;
    wire::write_bytes(&mut send, &entry).await?;
    send.finish()?;
    let noted = wire::read_kind(&mut receive).await?;
    ensure!(noted == Kind::Lost, "it answers something else");
    tracing::info!("{} knows that it is lost", device.short());
    transport::close(connection, Closing::Stranger);
    Ok(())
}

/// Serves a stream on which another device shows this one that it is lost.
pub async fn serve(
    node: &Node,
    link: &Link,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<()> {
    let shown = wire::read_bytes(&mut receive, MAX_ENTRY_BYTES);
    let shown = tokio::time::timeout(TELLING, shown)
        .await
        .context("it does not say what is lost")??;
    let shown = shown.context("it shows nothing")?;
    node.note_loss(&shown, link.device)?;
    let answered = async {
        send.write_all(&[Kind::Lost as u8]).await?;
        send.finish()?;
        send.stopped().await?;
        anyhow::Ok(())
    };
    // Locked it is whether or not the other one hears of it, which closes the connection.
    let _ = tokio::time::timeout(HEARD, answered).await;
    node.leave_for_loss();
    Ok(())
}

#[cfg(test)]
mod tests {
    use trust::identity::Identity;
    use trust::log::{Action, Log, Role};

    use super::*;

    #[test]
    fn a_lost_device_stays_lost_until_it_is_noted_otherwise() {
        let [phone, tablet] = [(); 2].map(|()| Identity::generate().unwrap());
        let mut log = Log::found(&phone, "Phone", None, 1).unwrap();
        let added = Action::Added {
            device: tablet.id(),
            role: Role::Owner,
            name: "Tablet".into(),
        };
        log.write(&phone, added, 2).unwrap();
        log.remove(&phone, tablet.id(), true, 3).unwrap();
        let entry = log.loss_of(tablet.id()).unwrap().clone();

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("loss");
        let (mut loss, _) = Loss::open(&file).unwrap();
        assert!(!loss.is_noted());
        loss.note(entry, "Phone".into()).unwrap();
        let (mut again, notices) = Loss::open(&file).unwrap();
        assert_eq!(notices, [""; 0]);
        assert_eq!(again.told(), Some(("Phone".to_owned(), 3000)));
        assert_eq!(again.family(), Some(log.id()));
        again.clear().unwrap();
        assert!(!Loss::open(&file).unwrap().0.is_noted());
    }
}
