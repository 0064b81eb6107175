//! `hyper:family/paper` on the bus, and what it says in words.

use std::sync::Arc;

use bus::pairing::Candidate;
use bus::paper::{Error, Member, Stage};
use bus::{Caller, Outgoing};
use trust::family::Family;
use trust::identity::DeviceId;
use zeroize::Zeroizing;

use crate::discovery::Purpose;
use crate::node::Node;
use crate::pairing::Pairing;
use crate::recovery::Recovery;
use crate::served::{candidates, each, role, stages};

/// Answers for the paper phrase.
pub struct Paper {
    /// This device.
    pub node: Arc<Node>,
    /// What looks for devices nearby.
    pub pairing: Arc<Pairing>,
    /// What is under way.
    pub recovery: Arc<Recovery>,
}

/// The devices of a family, but for this one, in the order of their names.
pub(crate) fn members(family: &Family, own: DeviceId) -> Vec<Member> {
    let others = family.members().filter(|member| member.device != own);
    let mut members: Vec<_> = others
        .map(|member| Member {
            id: member.device.to_string(),
            name: member.name.clone(),
            role: role(member.role),
        })
        .collect();
    members.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    members
}

/// An error as a person reads it, and a log; nothing of the words is in it.
pub fn describe(error: &Error) -> String {
    match error {
        Error::Count(count) => format!("the phrase has twelve words, and these are {count}"),
        Error::UnknownWord(number) => {
            format!("word {number} is not one of the list: look at its spelling")
        }
        Error::Checksum => {
            "these words do not belong together: one is wrong, or two have changed places".into()
        }
        Error::OtherWords => {
            "that device knows other words: these are another family's, or were replaced by newer ones".into()
        }
        Error::NotOpen => {
            "that device is not open for it, or not any more: open it there, for two minutes".into()
        }
        Error::TooSoon => "it was tried too often of late: wait for a minute".into(),
        Error::Unreachable(reason) => format!(
            "the other device is not reached ({reason}): see that both are on one network, and begin again"
        ),
        Error::Refused(reason) | Error::NotSaved(reason) => reason.clone(),
    }
}

fn has_phrase(node: &Arc<Node>) -> bool {
    node.family().is_some_and(|family| family.has_paper())
}

impl bus::paper::Handler for Paper {
    async fn has_phrase(&self, _: Caller) -> bool {
        has_phrase(&self.node)
    }

    async fn watch_phrase(&self, _: Caller) -> Outgoing<bool> {
        each(Arc::clone(&self.node), self.node.watch(), has_phrase)
    }

    async fn generate(&self, _: Caller) -> Result<Vec<String>, Error> {
        self.recovery.generate()
    }

    async fn set(&self, caller: Caller, words: String) -> Result<(), Error> {
        let words = Zeroizing::new(words);
        tracing::info!("{} sets the family's paper phrase", caller.name());
        self.recovery.set(&words)
    }

    async fn open(&self, caller: Caller) -> Result<(), Error> {
        tracing::info!("{} lets the family be restored here", caller.name());
        self.recovery.open()
    }

    async fn close(&self, _: Caller) {
        self.recovery.close();
    }

    async fn candidates(&self, _: Caller) -> Vec<Candidate> {
        self.pairing.look_for_a_while();
        candidates(&self.node, Purpose::Recovery)
    }

    async fn watch_candidates(&self, _: Caller) -> Outgoing<Vec<Candidate>> {
        let this = (Arc::clone(&self.node), self.pairing.look());
        each(this, self.node.watch(), |(node, _)| {
            candidates(node, Purpose::Recovery)
        })
    }

    async fn begin(
        &self,
        caller: Caller,
        candidate: String,
        words: String,
        name: String,
    ) -> Result<(), Error> {
        let words = Zeroizing::new(words);
        tracing::info!("{} restores the family of {candidate}", caller.name());
        self.recovery.begin(&candidate, &words, &name)
    }

    async fn restore(&self, _: Caller, lost: Vec<String>) -> Result<(), Error> {
        self.recovery.restore(&lost)
    }

    async fn watch(&self, _: Caller) -> Outgoing<Stage> {
        stages(self.recovery.watch())
    }
}
