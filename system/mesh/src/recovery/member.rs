//! Restoring a family, on a device that is left of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bus::paper::{Error, Stage};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;
use trust::identity::DeviceId;
use trust::recovery::{self, Claim};

use super::{
    CHOOSING, EXPORT_LABEL, KEEPING, Recovery, VERSION, Word, not_changed, stopped, unreachable,
};
use crate::logs;
use crate::transport::{self, Closing};
use crate::wire::{self, Entries, Greetings, Heads, MAX_LOG_MESSAGE, RecoveryAnswer};

/// How long a new device may take to claim, on the member.
const CLAIMING: Duration = Duration::from_secs(10);
/// How long the last answer may take to arrive.
const ARRIVING: Duration = Duration::from_secs(2);
/// Entries that a recovery may have: as many as concern membership in a log.
const MAX_WRITTEN: usize = 1024;

impl Recovery {
    /// Another device has connected in order to restore the family.
    pub async fn accepted(self: &Arc<Self>, connection: Connection, device: DeviceId) {
        if self.opening.content().is_none() || self.node.family().is_none() {
            return transport::close(&connection, Closing::NotOpen);
        }
        let claiming = Arc::clone(&self.claimants).try_acquire_owned();
        let (Ok(claiming), true) = (claiming, self.state().tries.try_take(1)) else {
            tracing::info!("{} claims the family too soon", device.short());
            return transport::close(&connection, Closing::TooMuch);
        };
        let heard = tokio::time::timeout(CLAIMING, self.hear_claim(&connection, device)).await;
        drop(claiming);
        match heard.context("it says nothing").flatten() {
            Ok(Some((send, receive))) => {
                let Ok(words) = self.begin_words() else {
                    return transport::close(&connection, Closing::NotOpen);
                };
                if self.opening.close().is_none() {
                    // Another one has come first, or the time was over.
                    self.state().words = None;
                    return transport::close(&connection, Closing::NotOpen);
                }
                self.stage.send_replace(Stage::Waiting);
                let restored = self.serve(send, receive, device, words).await;
                if restored != Ok(false) {
                    // The one that made the connection closes it, when it has what was sent last.
                    let _ = tokio::time::timeout(ARRIVING, connection.closed()).await;
                }
                transport::close(&connection, Closing::Done);
                self.end(device, restored);
            }
            Ok(None) => {
                tracing::info!("{} has other words than the family", device.short());
                let _ = tokio::time::timeout(ARRIVING, connection.closed()).await;
                transport::close(&connection, Closing::Done);
            }
            Err(error) => {
                tracing::info!("{} claims the family: {error:#}", device.short());
                transport::close(&connection, Closing::Misbehaved);
            }
        }
    }

    /// Greets, and hears the claim. None where it does not hold.
    async fn hear_claim(
        &self,
        connection: &Connection,
        device: DeviceId,
    ) -> Result<Option<(SendStream, RecvStream)>> {
        let own = self.node.id();
        let (mut send, mut receive) = connection.accept_bi().await?;
        let mut version = [0];
        receive.read_exact(&mut version).await?;
        ensure!(version == [VERSION], "it speaks another version of this");
        let exporter = transport::exporter(connection, EXPORT_LABEL)?;
        let greetings = self
            .node
            .with_log(|log| recovery::greetings(log, own, device, &exporter));
        wire::write(&mut send, &Greetings(greetings.unwrap_or_default())).await?;
        let claim = wire::read_bytes(&mut receive, Claim::BYTES).await?;
        let claim = claim.as_deref().and_then(Claim::decode);
        let claim = claim.context("it makes no claim")?;
        let holds = self.node.family().is_some()
            && self
                .node
                .with_log(|log| claim.holds(log, device, own, &exporter))
                == Some(true);
        if !holds {
            wire::write(&mut send, &RecoveryAnswer::OtherWords).await?;
            send.finish()?;
            return Ok(None);
        }
        Ok(Some((send, receive)))
    }

    /// Gives the log, and keeps what comes of it. False where the person here does not want it.
    async fn serve(
        &self,
        mut send: SendStream,
        mut receive: RecvStream,
        device: DeviceId,
        mut words: mpsc::Receiver<Word>,
    ) -> Result<bool, Error> {
        let given = async {
            wire::write(&mut send, &RecoveryAnswer::Holds).await?;
            logs::write(&mut send, &logs::since(&self.node, &Heads::default())).await
        };
        let given = tokio::time::timeout(KEEPING, given).await;
        given
            .context("it does not take the log")
            .flatten()
            .map_err(unreachable)?;
        let written = tokio::select! {
            written = tokio::time::timeout(CHOOSING + KEEPING, read_written(&mut receive)) => written,
            () = stopped(&mut words) => return Ok(false),
        };
        let written = written.context("it does not say which devices are lost");
        let written = written.flatten().map_err(unreachable)?;
        let (answer, taken) = match self.node.take_recovery(&written, device) {
            Ok(true) => (RecoveryAnswer::Taken, Ok(true)),
            Ok(false) => (RecoveryAnswer::OtherWords, Err(Error::OtherWords)),
            Err(error) => (RecoveryAnswer::NotKept, Err(not_changed(error))),
        };
        let answered = async {
            wire::write(&mut send, &answer).await?;
            send.finish()?;
            send.stopped().await?;
            anyhow::Ok(())
        };
        // What is kept is kept, whether or not the other one hears of it.
        let _ = tokio::time::timeout(ARRIVING, answered).await;
        taken
    }
}

/// What a new device has written by the paper key.
async fn read_written(receive: &mut RecvStream) -> Result<Vec<Vec<u8>>> {
    let mut written = Vec::new();
    loop {
        let Entries(entries) = wire::read(receive, MAX_LOG_MESSAGE).await?;
        if entries.is_empty() {
            return Ok(written);
        }
        written.extend(entries);
        ensure!(written.len() <= MAX_WRITTEN, "it writes too much");
    }
}
