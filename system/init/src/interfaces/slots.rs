//! `hyper:slots`: which release the firmware starts.

use bus::Caller;
use bus::slots::{Handler, Outcome, State, Trial};

use crate::slots::{self, Slots};

impl Handler for Slots {
    async fn status(&self, _: Caller) -> State {
        let status = Slots::status(self).await;
        State {
            slot: status.running.map(|slot| slot.to_string()),
            problem: status.problem,
            first: status.first.map(|slot| slot.to_string()),
            awaited: status.awaited,
            trial: status.trial.map(|trial| Trial {
                slot: trial.slot.to_string(),
                version: trial.version,
                outcome: match trial.outcome {
                    slots::Outcome::Trying => Outcome::Trying,
                    slots::Outcome::Kept => Outcome::Kept,
                    slots::Outcome::FellBack(reason) => Outcome::FellBack(reason),
                },
            }),
        }
    }

    async fn try_other(&self, _: Caller, version: String) -> Result<(), String> {
        Slots::try_other(self, version)
            .await
            .map_err(|error| format!("{error:#}"))
    }

    async fn forget(&self, _: Caller) -> Result<(), String> {
        Slots::forget(self)
            .await
            .map_err(|error| format!("{error:#}"))
    }
}
