//! What other devices have to do with the copies: what they lack, what they give, and whether that is
//! theirs to read and to say.

use crate::document::Document;
use crate::home::Home;

/// Why an update was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// The device may not write that document.
    NotAllowed,
    /// It builds on what is not here; what is known here.
    Behind(Vec<u8>),
    /// It is no update.
    Unusable(String),
    /// It could not be made durable.
    NotSaved(String),
}

impl Home {
    /// What the copies here know of, of those that a device may read too.
    pub fn versions_for(&self, device: &str) -> Vec<(Document, Vec<u8>)> {
        let state = self.state();
        let Some(role) = state.role(device) else {
            return Vec::new();
        };
        let copies = state.copies.iter();
        copies
            .filter(|(document, _)| document.is_read_by(role, device))
            .map(|(document, copy)| (document.clone(), copy.version()))
            .collect()
    }

    /// What a device lacks of a document, by what is known of it, if it is for this device to say;
    /// with what is known here.
    pub fn lacking(&self, device: &str, document: &Document) -> Option<(Vec<u8>, Vec<u8>)> {
        let state = self.state();
        let (own_role, here) = (state.own_role()?, state.own_id()?);
        if !document.is_written_by(own_role, &here)
            || !document.is_read_by(state.role(device)?, device)
        {
            return None;
        }
        let copy = state.copies.get(document)?;
        let nothing = replica::nothing();
        let theirs = state.theirs.get(device).and_then(|of| of.get(document));
        match copy.missing(theirs.unwrap_or(&nothing)) {
            Ok(update) => Some((copy.version(), update?)),
            Err(refused) => {
                tracing::warn!("what {device} says to know of {document} is not usable: {refused}");
                None
            }
        }
    }

    /// Notes what a device knows of a document.
    pub fn note_version(&self, device: &str, document: &Document, version: Vec<u8>) {
        let mut state = self.state();
        if state.role(device).is_some() && state.copies.contains_key(document) {
            let of = state.theirs.entry(device.to_owned()).or_default();
            of.insert(document.clone(), version);
        }
    }

    /// Whether a device knows something of any document that is for it to say and not known here.
    pub fn lacks_of(&self, device: &str) -> bool {
        let state = self.state();
        let (Some(role), Some(theirs)) = (state.role(device), state.theirs.get(device)) else {
            return false;
        };
        theirs.iter().any(|(document, version)| {
            document.is_written_by(role, device)
                && state
                    .copies
                    .get(document)
                    .is_some_and(|copy| copy.lacks(version).unwrap_or(false))
        })
    }

    /// Takes an update that a device gives. Answers what is then known here.
    pub fn receive(
        &self,
        device: &str,
        document: &Document,
        update: &[u8],
    ) -> Result<Vec<u8>, NotTaken> {
        let mut state = self.state();
        let allowed = state
            .role(device)
            .is_some_and(|role| document.is_written_by(role, device));
        let Some(copy) = state.copies.get_mut(document).filter(|_| allowed) else {
            return Err(NotTaken::NotAllowed);
        };
        let before = copy.version();
        match copy.receive(update) {
            Ok(_) => {}
            Err(replica::Error::Refused(replica::Refused::Incomplete)) => {
                return Err(NotTaken::Behind(before));
            }
            Err(replica::Error::Refused(refused)) => {
                return Err(NotTaken::Unusable(refused.to_string()));
            }
            Err(error) => return Err(NotTaken::NotSaved(error.to_string())),
        }
        let after = copy.version();
        drop(state);
        if after != before {
            self.changed();
        }
        Ok(after)
    }
}
