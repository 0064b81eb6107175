//! `hyper:development/faults`: failures to order, in development images only.

use bus::Caller;
use bus::faults::{Attempt, Handler};

use super::Loop;
use crate::system::Request;
use crate::system::probe::{self, Order, Probed};
use crate::system::request::{Refusal, Wish};

/// Answers `hyper:development/faults`.
pub(super) struct Faults(Loop);

impl Faults {
    pub(super) fn new(system: Loop) -> Self {
        Self(system)
    }

    async fn run(&self, caller: &Caller, service: String, order: Order) -> Result<Probed, String> {
        let run = self
            .0
            .ask(|answer| Request::Probe(service, order, caller.name(), answer))
            .await
            .unwrap_or_else(|| Err(Refusal::Impossible("the system is about to end".into())))
            .map_err(|refusal| refusal.to_string())?;
        Ok(run.outcome().await)
    }
}

impl Handler for Faults {
    async fn signal(&self, caller: Caller, service: String, signal: i32) -> Result<(), String> {
        self.0
            .wish(service, Wish::Signal(signal), &caller)
            .await
            .map_err(|refusal| refusal.to_string())
    }

    async fn probe(&self, caller: Caller, service: String) -> Result<Vec<Attempt>, String> {
        let probed = self.run(&caller, service, Order::Try).await?;
        let attempts: Option<Vec<_>> = probed.output.lines().map(probe::read_attempt).collect();
        match attempts {
            Some(attempts) if probed.done => Ok(attempts
                .into_iter()
                .map(|(allowed, what, answer)| Attempt {
                    what: what.to_owned(),
                    allowed,
                    answer: answer.to_owned(),
                })
                .collect()),
            _ => Err(format!(
                "the probe did not come to its end: {}\n{}{}",
                probed.how, probed.output, probed.errors
            )),
        }
    }

    async fn exhaust(&self, caller: Caller, service: String) -> Result<String, String> {
        let probed = self.run(&caller, service, Order::Exhaust).await?;
        Ok(probed.how)
    }
}
