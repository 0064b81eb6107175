//! `hyper:grants` on the bus: what the owner has said, and saying it.

use std::sync::Arc;
use std::time::Duration;

use bus::grants::{Error, Grant, Party, Until};
use bus::questions::{Error as AnswerError, Member, Question, Reply, Standing};
use bus::{Caller, Outgoing, Reason};
use trust::identity::DeviceId;
use trust::log::{self, EntryId, Interfaces, Role};

use crate::node::{Node, now};
use crate::questions::{self, Outcome};
use crate::served::each_in_time;

/// What "for an hour" is.
const HOUR: u64 = 60 * 60;
/// The last second of the year 9999: whoever says that it is later by its clock has none.
const LAST_SECOND: u64 = 253_402_300_799;

/// Answers for the grants.
pub struct Given(pub Arc<Node>);

impl Given {
    fn party(&self, device: DeviceId) -> Party {
        Party {
            id: device.to_string(),
            name: self.0.name(device),
        }
    }

    /// The grants, and when the next of them ends.
    fn all(&self) -> (Vec<Grant>, Option<Duration>) {
        let Some(family) = self.0.family() else {
            return (Vec::new(), None);
        };
        let second = now() / 1000;
        let mut next: Option<u64> = None;
        let mut given: Vec<_> = family.grants().iter().collect();
        given.retain(|given| match given.grant.until {
            log::Until::Time(end) if end < second => false,
            log::Until::Time(end) => {
                next = Some(next.map_or(end, |next| next.min(end)));
                true
            }
            log::Until::Once => {
                let state = self.0.state();
                !state.spent.has(given.entry) || state.running.contains(&given.entry)
            }
            log::Until::Always | log::Until::Never => true,
        });
        given.sort_by_key(|given| (std::cmp::Reverse(given.time), given.entry));
        let grants = given.into_iter().map(|given| {
            let interfaces = given.grant.interfaces.as_str();
            Grant {
                id: given.entry.to_string(),
                caller: self.party(given.grant.from),
                callee: given.grant.to.map(|callee| self.party(callee)),
                interfaces: interfaces.to_owned(),
                purpose: bus::purpose(interfaces).unwrap_or_default().to_owned(),
                until: match given.grant.until {
                    log::Until::Once => Until::Once,
                    log::Until::Time(end) => Until::Time(end),
                    log::Until::Always => Until::Always,
                    log::Until::Never => Until::Never,
                },
                by: self.party(given.author),
                given: given.time,
            }
        });
        let left = next.map(|end| Duration::from_secs(end + 1 - second));
        (grants.collect(), left)
    }

    fn revoke(&self, caller: &Caller, grant: &str) -> Result<(), Error> {
        let family = self.0.family().ok_or(Error::NoFamily)?;
        let id: Option<EntryId> = grant.parse().ok();
        let given = family.grants().iter().find(|given| Some(given.entry) == id);
        let Some(given) = given else {
            return Err(Error::UnknownGrant(grant.to_owned()));
        };
        if family.role(self.0.id()) != Some(Role::Owner) {
            return Err(Error::Refused(NOT_OWNER.into()));
        }
        tracing::info!(
            "{} revokes what {} was told about {}",
            caller.name(),
            self.0.name(given.grant.from),
            given.grant.interfaces.as_str()
        );
        self.0.revoke(given.entry).map_err(|error| {
            if is_not_saved(&error) {
                Error::NotSaved(format!("{error:#}"))
            } else {
                Error::Refused(format!("{error:#}"))
            }
        })
    }
}

const NOT_OWNER: &str = "this is no owner device: only those speak for the owner";

fn is_not_saved(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(log::KeptError::Store(_)))
}

impl bus::grants::Handler for Given {
    async fn all(&self, _: Caller) -> Vec<Grant> {
        self.all().0
    }

    async fn watch(&self, _: Caller) -> Outgoing<Vec<Grant>> {
        let this = Self(Arc::clone(&self.0));
        each_in_time(this, self.0.watch(), Self::all)
    }

    async fn revoke(&self, caller: Caller, grant: String) -> Result<(), Error> {
        self.revoke(&caller, &grant)
    }
}

/// Answers for the questions.
pub struct Desk {
    node: Arc<Node>,
    bus: bus::Client,
}

impl Desk {
    /// Of this device.
    pub fn new(node: Arc<Node>) -> Self {
        let bus = bus::Client::new(bus::Address::Here(node.bus.clone()));
        Self { node, bus }
    }

    /// Whether the owner, who has unlocked this device, can be the one who answers.
    async fn check_unlocked(&self) -> Result<(), AnswerError> {
        let refused = |reason: String| Err(AnswerError::Refused(reason));
        let family = self.node.family();
        if family.and_then(|family| family.role(self.node.id())) != Some(Role::Owner) {
            return refused(NOT_OWNER.into());
        }
        match bus::screen::status(&self.bus).await {
            Ok(state) if state.locked => {
                refused("this device is locked: unlock it, then answer".into())
            }
            Ok(_) => Ok(()),
            // Without a screen there is no lock either; who may answer is in the manifests.
            Err(bus::Error {
                reason: Reason::Unreachable { source, .. },
                ..
            }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => refused(format!(
                "whether this device is locked is not known: {error}"
            )),
        }
    }

    async fn answer(&self, caller: &Caller, id: u64, reply: Reply) -> Result<(), AnswerError> {
        self.check_unlocked().await?;
        let question = self.node.questions.find(id).ok_or(AnswerError::Gone)?;
        let subject = &question.subject;
        tracing::info!(
            "{} answers {reply:?} for the owner: {} asks for {} of {}",
            caller.name(),
            self.node.name(subject.caller),
            subject.interface,
            self.node.name(subject.callee)
        );
        let until = match reply {
            Reply::Refuse => None,
            Reply::Once => Some(log::Until::Once),
            Reply::Hour => Some(log::Until::Time(in_an_hour(now() / 1000, question.ahead))),
            Reply::Always => Some(log::Until::Always),
            Reply::Never => Some(log::Until::Never),
        };
        let mut outcome = Outcome::Refused;
        if let Some(until) = until {
            let interfaces: Interfaces = subject
                .interface
                .parse()
                .map_err(|error| AnswerError::Refused(format!("{error}")))?;
            let grant = log::Grant {
                from: subject.caller,
                to: Some(subject.callee),
                interfaces,
                until,
            };
            let entry = self.node.grant(grant).map_err(|error| {
                if is_not_saved(&error) {
                    AnswerError::NotSaved(format!("{error:#}"))
                } else {
                    AnswerError::Refused(format!("{error:#}"))
                }
            })?;
            if until != log::Until::Never {
                outcome = Outcome::Allowed(entry);
            }
        }
        self.node.questions.decide(id, outcome);
        Ok(())
    }
}

/// The second, by a clock that is so far ahead of this one, in which an hour from now is over.
fn in_an_hour(second: u64, ahead: i64) -> u64 {
    second
        .saturating_add_signed(ahead)
        .saturating_add(HOUR)
        .min(LAST_SECOND)
}

/// How things stand, and when they change by time alone.
fn standing(node: &Node) -> (Standing, Option<Duration>) {
    let member = |device: DeviceId| Member {
        id: device.to_string(),
        name: node.name(device),
    };
    let question = |question: questions::Question| Question {
        id: question.id,
        caller: member(question.subject.caller),
        program: question.program,
        callee: member(question.subject.callee),
        purpose: bus::purpose(&question.subject.interface)
            .unwrap_or_default()
            .to_owned(),
        wanted: question.subject.interface,
    };
    let questions = &node.questions;
    let standing = Standing {
        waiting: questions.waiting().into_iter().map(question).collect(),
        muted: questions.muted().into_iter().map(member).collect(),
    };
    (standing, questions.next_unmuted())
}

impl bus::questions::Handler for Desk {
    async fn current(&self, _: Caller) -> Standing {
        standing(&self.node).0
    }

    async fn watch(&self, _: Caller) -> Outgoing<Standing> {
        let screen = self.node.questions.show();
        let this = (Arc::clone(&self.node), screen);
        each_in_time(this, self.node.questions.watch(), |(node, _)| {
            standing(node)
        })
    }

    async fn answer(&self, caller: Caller, question: u64, reply: Reply) -> Result<(), AnswerError> {
        self.answer(&caller, question, reply).await
    }

    async fn unmute(&self, caller: Caller, device: String) -> Result<(), AnswerError> {
        self.check_unlocked().await?;
        let found = self
            .node
            .find(&device)
            .ok_or(AnswerError::UnknownDevice(device))?;
        tracing::info!("{} lets {} ask again", caller.name(), self.node.name(found));
        self.node.questions.unmute(found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_one_of_the_clock_of_the_device_that_is_called() {
        let year = 365 * 24 * 60 * 60;
        assert_eq!(in_an_hour(1_000_000, 0), 1_003_600);
        assert_eq!(in_an_hour(year, year as i64), 2 * year + HOUR);
        assert_eq!(in_an_hour(year, -(year as i64)), HOUR);
        assert_eq!(in_an_hour(5, i64::MIN), HOUR, "no clock of 1970 and before");
        assert_eq!(in_an_hour(5, i64::MAX), LAST_SECOND);
    }
}
