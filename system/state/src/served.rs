//! `hyper:state` on the bus.

use std::sync::Arc;

use bus::home::{Error, Profile};
use bus::replica::{Held, Refusal as NotGiven, Update};
use bus::{Caller, Outgoing};
use futures::stream;

use crate::document::Document;
use crate::exchange::NotTaken;
use crate::home::{Home, Refusal};

/// More documents than any family has are not looked at.
const MOST_DOCUMENTS: usize = 4_096;
/// So many bytes are given in one answer; what is left out is given one by one.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Answers `hyper:state/home`.
pub struct Profiles(pub Arc<Home>);

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownDevice(device) => Self::UnknownDevice(device),
            Refusal::NoFamily => Self::NoFamily,
            Refusal::Refused(reason) => Self::Refused(reason),
            Refusal::NotSaved(reason) => Self::NotSaved(reason),
        }
    }
}

impl bus::home::Handler for Profiles {
    async fn profiles(&self, _: Caller) -> Vec<Profile> {
        self.0.looked.notify_one();
        self.0.profiles()
    }

    async fn watch(&self, _: Caller) -> Outgoing<Vec<Profile>> {
        self.0.looked.notify_one();
        let start = (Arc::clone(&self.0), self.0.watch(), None);
        Box::pin(stream::unfold(start, async |(home, mut changes, last)| {
            loop {
                changes.borrow_and_update();
                let now = home.profiles();
                if last.as_ref() != Some(&now) {
                    return Some((now.clone(), (home, changes, Some(now))));
                }
                changes.changed().await.ok()?;
            }
        }))
    }

    async fn rename(&self, caller: Caller, device: String, name: String) -> Result<(), Error> {
        self.0.rename(&device, &name)?;
        tracing::info!("{} called a device {name}", caller.name());
        Ok(())
    }

    async fn set_room(
        &self,
        caller: Caller,
        device: String,
        room: Option<String>,
    ) -> Result<(), Error> {
        self.0.set_room(&device, room.as_deref())?;
        tracing::info!("{} said in which room {device} is", caller.name());
        Ok(())
    }
}

/// Answers `hyper:state/replica`, to other devices alone.
pub struct Copies(pub Arc<Home>);

impl bus::replica::Handler for Copies {
    async fn exchange(&self, caller: Caller, have: Vec<Held>) -> Vec<Update> {
        let home = &self.0;
        let Some(device) = caller.device().map(|device| &*device.id) else {
            return Vec::new();
        };
        home.looked.notify_one();
        for held in have.into_iter().take(MOST_DOCUMENTS) {
            if let Some(document) = Document::parse(&held.document) {
                home.note_version(device, &document, held.version.to_vec());
            }
        }
        let mut left = MOST_BYTES;
        let versions = home.versions_for(device).into_iter();
        versions
            .map(|(document, version)| {
                let content = home.lacking(device, &document).map(|(_, content)| content);
                let content = content.filter(|content| content.len() <= left);
                left -= content.as_ref().map_or(0, Vec::len);
                Update {
                    document: document.to_string(),
                    version: version.into(),
                    content: content.map(Into::into),
                }
            })
            .collect()
    }

    async fn give(&self, caller: Caller, update: Update) -> Result<Vec<u8>, NotGiven> {
        let device = caller.device().map(|device| &*device.id);
        let (Some(device), Some(document)) = (device, Document::parse(&update.document)) else {
            return Err(NotGiven::NotAllowed);
        };
        let content = update.content.unwrap_or_default();
        // What the giver knows is noted first, so that what it gave is not given back.
        let taken = match self.0.role(device) {
            Some(role) if document.is_written_by(role, device) => {
                self.0
                    .note_version(device, &document, update.version.to_vec());
                self.0.receive(device, &document, &content)
            }
            _ => Err(NotTaken::NotAllowed),
        };
        taken.map_err(|reason| {
            tracing::info!("{} gave an update of {document}: {reason:?}", caller.name());
            match reason {
                NotTaken::NotAllowed => NotGiven::NotAllowed,
                NotTaken::Behind(version) => NotGiven::Behind(version.into()),
                NotTaken::Unusable(reason) => NotGiven::Unusable(reason),
                NotTaken::NotSaved(reason) => NotGiven::NotSaved(reason),
            }
        })
    }
}
