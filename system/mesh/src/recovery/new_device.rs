//! Restoring a family, on the new device.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bus::paper::{Error, Stage};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;
use trust::family::Family;
use trust::identity::DeviceId;
use trust::log::{Log, MAX_ENTRIES, is_name};
use trust::recovery::{self, Claim, Phrase, RecoveryError};

use super::{
    CHOOSING, EXPORT_LABEL, KEEPING, MAX_ANSWER, Recovery, VERSION, Word, not_changed, stopped,
    unreachable, wrong,
};
use crate::discovery::Purpose;
use crate::node::{LOST, now};
use crate::transport::{self, Closing};
use crate::wire::{
    self, Entries, Greetings, MAX_HEAD, MAX_LOG_MESSAGE, RECOVERY_ALPN, RecoveryAnswer,
};
use crate::{logs, paper};

/// How long it may take until the log is here, connecting included.
const MEETING: Duration = Duration::from_secs(40);

/// A member that has taken the claim, and the log that it sent.
struct Met {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    log: Log,
}

impl Recovery {
    /// Begins to restore the family of a device nearby.
    pub fn begin(self: &Arc<Self>, candidate: &str, words: &str, name: &str) -> Result<(), Error> {
        let refused = |reason: &str| Err(Error::Refused(reason.into()));
        if self.node.lost().is_some() {
            return refused(LOST);
        }
        if self.node.family().is_some() {
            return refused("this device belongs to a family already: restore one on a new device");
        }
        let phrase = Phrase::read(words).map_err(wrong)?;
        let device: DeviceId = match candidate.parse() {
            Ok(device) => device,
            Err(_) => return refused("that is not the id of a device"),
        };
        let name = match name.trim() {
            "" => self.node.model.clone(),
            name if !is_name(name) => {
                return refused("a name is at most 64 bytes of text");
            }
            name => name.to_owned(),
        };
        let addresses = self.node.candidate(device, Purpose::Recovery);
        let addresses = addresses.ok_or(Error::NotOpen)?;
        let words = self.begin_words()?;
        self.stage.send_replace(Stage::Connecting);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let restoring = async {
                let mut words = words;
                let meeting = this.meet(device, addresses.clone(), &phrase);
                let met = tokio::select! {
                    met = tokio::time::timeout(MEETING, meeting) => met.unwrap_or_else(|_| Err(gone())),
                    () = stopped(&mut words) => return Ok(false),
                };
                this.restore_with(met?, &phrase, &name, words).await
            };
            let restored = restoring.await;
            if restored == Ok(true) {
                this.node.note_addresses(device, addresses);
            }
            this.end(device, restored);
        });
        Ok(())
    }

    /// Goes on with what the person has said: these are lost.
    pub fn restore(&self, lost: &[String]) -> Result<(), Error> {
        let refused = |reason: String| Err(Error::Refused(reason));
        let Stage::Choosing(members) = self.stage.borrow().clone() else {
            return refused("no family waits to be restored".into());
        };
        let mut devices = Vec::new();
        for id in lost {
            let known = members.iter().any(|member| member.id == *id);
            match id.parse() {
                Ok(device) if known && !devices.contains(&device) => devices.push(device),
                Ok(_) if known => {}
                _ => return refused(format!("no device of that family has the id {id}")),
            }
        }
        let words = self.state().words.clone();
        let said = words.is_some_and(|words| words.try_send(Word::Lost(devices)).is_ok());
        if said {
            Ok(())
        } else {
            refused("no family waits to be restored".into())
        }
    }

    /// Claims the family of a device, and has its log.
    async fn meet(
        &self,
        device: DeviceId,
        addresses: Vec<SocketAddr>,
        phrase: &Phrase,
    ) -> Result<Met, Error> {
        let address = transport::address(device, addresses, None).map_err(unreachable)?;
        let endpoint = self.node.endpoint();
        let connecting = endpoint.connect(address, RECOVERY_ALPN).await;
        let connection = connecting.map_err(|error| unreachable(error.into()))?;
        let claimed = self.claim(&connection, device, phrase).await;
        match claimed {
            Ok(Ok((send, receive, log))) => Ok(Met {
                connection,
                send,
                receive,
                log,
            }),
            Ok(Err(error)) => {
                transport::close(&connection, Closing::Done);
                Err(error)
            }
            Err(_) if transport::was_closed_for(&connection, Closing::NotOpen) => {
                Err(Error::NotOpen)
            }
            Err(_) if transport::was_closed_for(&connection, Closing::TooMuch) => {
                Err(Error::TooSoon)
            }
            Err(error) => {
                let lost = connection.close_reason().is_some();
                transport::close(&connection, Closing::Misbehaved);
                Err(if lost {
                    unreachable(error)
                } else {
                    misbehaves(&error)
                })
            }
        }
    }

    /// The outer error is that nothing sensible is heard.
    async fn claim(
        &self,
        connection: &Connection,
        device: DeviceId,
        phrase: &Phrase,
    ) -> Result<Result<(SendStream, RecvStream, Log), Error>> {
        let own = self.node.id();
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(&[VERSION]).await?;
        let Greetings(greetings) = wire::read(&mut receive, MAX_HEAD).await?;
        let exporter = transport::exporter(connection, EXPORT_LABEL)?;
        let paper = phrase.key();
        // A stranger who poses as a device of the family hears nothing of the words.
        if !recovery::is_greeted(paper.id(), &greetings, own, device, &exporter) {
            return Ok(Err(Error::OtherWords));
        }
        let claim = Claim::new(&paper, own, device, &exporter);
        wire::write_bytes(&mut send, &claim.encode()).await?;
        match wire::read(&mut receive, MAX_ANSWER).await? {
            RecoveryAnswer::Holds => {}
            RecoveryAnswer::OtherWords => return Ok(Err(Error::OtherWords)),
            other => bail!("it answers a claim by {other:?}"),
        }
        let log = read_log(&mut receive).await?;
        ensure!(
            log.family().role(device).is_some() && claim.holds(&log, own, device, &exporter),
            "it sends the log of a family that is not its own, or has other words"
        );
        if !self.node.may_join(&log) {
            return Ok(Err(Error::Refused(LOST.into())));
        }
        Ok(Ok((send, receive, log)))
    }

    /// Has the person choose, and goes through with it. False where the person does not want it.
    async fn restore_with(
        &self,
        met: Met,
        phrase: &Phrase,
        name: &str,
        mut words: mpsc::Receiver<Word>,
    ) -> Result<bool, Error> {
        let Met {
            connection,
            mut send,
            mut receive,
            mut log,
        } = met;
        let own = self.node.id();
        self.stage
            .send_replace(Stage::Choosing(paper::members(&log.family(), own)));
        let lost = tokio::select! {
            word = words.recv() => match word {
                Some(Word::Lost(lost)) => lost,
                Some(Word::Stop) | None => {
                    transport::close(&connection, Closing::Done);
                    return Ok(false);
                }
            },
            _ = connection.closed() => return Err(gone()),
            () = tokio::time::sleep(CHOOSING) => {
                transport::close(&connection, Closing::Done);
                return Err(Error::Refused("nobody has said which devices are lost: begin again".into()));
            }
        };
        self.stage.send_replace(Stage::Waiting);
        let heads = log.heads().clone();
        let name = free_name(&log.family(), own, &lost, name);
        recovery::recover(&mut log, phrase, own, &name, &lost, None, now() / 1000).map_err(
            |error| match error {
                RecoveryError::OtherFamily | RecoveryError::Replaced => Error::OtherWords,
                RecoveryError::Write(error) => Error::Refused(error.to_string()),
            },
        )?;
        let new: Vec<Vec<u8>> = log.since(heads).map(|new| new.bytes().to_vec()).collect();
        let told = async {
            logs::write(&mut send, &new).await?;
            send.finish()?;
            wire::read(&mut receive, MAX_ANSWER).await
        };
        let told = tokio::time::timeout(KEEPING, told).await;
        match told.context("it does not answer").flatten() {
            Ok(RecoveryAnswer::Taken) => {}
            Ok(RecoveryAnswer::OtherWords) => return Err(Error::OtherWords),
            Ok(RecoveryAnswer::NotKept) => {
                let reason = "the other device could not keep what was changed";
                return Err(Error::NotSaved(reason.into()));
            }
            Ok(RecoveryAnswer::Holds) => {
                return Err(misbehaves(&anyhow::anyhow!("it answers something else")));
            }
            // It may have kept them: the same again does no harm, and is all that is needed.
            Err(error) => return Err(unreachable(error)),
        }
        self.node.join(log).map_err(not_changed)?;
        transport::close(&connection, Closing::Done);
        Ok(true)
    }
}

/// The log of a family, as somebody sends it who may lie.
async fn read_log(receive: &mut RecvStream) -> Result<Log> {
    let (mut log, mut taken) = (None, 0);
    loop {
        let Entries(entries) = wire::read(receive, MAX_LOG_MESSAGE).await?;
        if entries.is_empty() {
            return log.context("it sends no log");
        }
        taken += entries.len();
        ensure!(taken <= MAX_ENTRIES, "it sends more than a log can hold");
        take_in(&mut log, &entries)?;
    }
}

/// Takes in entries that come parents first, of which none may be wrong.
fn take_in(log: &mut Option<Log>, entries: &[Vec<u8>]) -> Result<()> {
    let mut entries = entries.iter().map(Vec::as_slice);
    let log = match log {
        Some(log) => log,
        None => {
            let first = entries.next().context("there is no first entry")?;
            log.insert(Log::open(first).context("the family's first entry")?)
        }
    };
    let (_, refused) = log.insert_all(entries);
    match refused.into_iter().next() {
        Some(refusal) => Err(refusal).context("an entry of the family's log"),
        None => Ok(()),
    }
}

/// What the new device is called: as it is to be, or with a number, where a device that stays is called so.
fn free_name(family: &Family, own: DeviceId, lost: &[DeviceId], wanted: &str) -> String {
    let is_taken = |name: &str| {
        let stays = |device| device != own && !lost.contains(&device);
        let mut members = family.members();
        members.any(|member| member.name == name && stays(member.device))
    };
    let begin = &wanted[..wanted.floor_char_boundary(58)];
    let numbered = (2..).map(|number: u32| format!("{begin} {number}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    names
        .find(|name| !is_taken(name))
        .expect("numbers do not end")
}

fn gone() -> Error {
    Error::Unreachable("it has gone away".into())
}

fn misbehaves(error: &anyhow::Error) -> Error {
    Error::Refused(format!(
        "the other device does not keep to the rules: {error:#}"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trust::identity::Identity;
    use trust::log::{Action, Role};

    use super::*;

    fn family() -> (Log, [DeviceId; 3]) {
        let [phone, tv, new] =
            [1, 2, 3].map(|number| Identity::from_secret(&[number; 32]).unwrap());
        let mut log = Log::found(&phone, "Phone", None, 1).unwrap();
        let added = Action::Added {
            device: tv.id(),
            role: Role::Shared,
            name: "TV".into(),
        };
        log.write(&phone, added, 2).unwrap();
        (log, [phone.id(), tv.id(), new.id()])
    }

    fn entries(log: &Log) -> Vec<Vec<u8>> {
        log.entries().map(|entry| entry.bytes().to_vec()).collect()
    }

    #[test]
    fn a_log_is_taken_in_pieces_and_whole_or_not_at_all() {
        let (log, _) = family();
        let all = entries(&log);
        assert!(all.len() > 2);
        for at in 1..all.len() {
            let mut taken = None;
            take_in(&mut taken, &all[..at]).unwrap();
            take_in(&mut taken, &all[at..]).unwrap();
            assert_eq!(taken.unwrap().heads(), log.heads());
        }
        assert!(
            take_in(&mut None, &all[1..]).is_err(),
            "it has no beginning"
        );
        assert!(take_in(&mut None, &[]).is_err());
        let mut cut = all.clone();
        cut.remove(1);
        assert!(take_in(&mut None, &cut).is_err(), "a parent is missing");
    }

    #[test]
    fn a_name_is_that_of_no_device_that_stays() {
        let (log, [phone, tv, new]) = family();
        let name = |lost: &[DeviceId], wanted| free_name(&log.family(), new, lost, wanted);
        assert_eq!(name(&[phone], "Phone"), "Phone");
        assert_eq!(name(&[phone], "TV"), "TV 2");
        assert_eq!(name(&[], "Phone"), "Phone 2");
        assert_eq!(name(&[], "Another"), "Another");
        assert_eq!(free_name(&log.family(), tv, &[], "TV"), "TV", "its own");
        assert!(name(&[], &"é".repeat(32)).len() <= 64);
    }

    proptest! {
        #[test]
        fn a_log_that_somebody_makes_up_is_refused(lists in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6), real in 0usize..4, at: usize, flip in 1u8..) {
            let (log, _) = family();
            let all = entries(&log);
            let mut made = all[..real.min(all.len())].to_vec();
            made.extend(lists);
            prop_assert!(take_in(&mut None, &made).is_err());
            // A real one with one bit of it changed.
            let mut changed = all;
            let which = at % changed.len();
            let entry = &mut changed[which];
            let place = at % entry.len();
            entry[place] ^= flip;
            prop_assert!(take_in(&mut None, &changed).is_err());
        }
    }
}
