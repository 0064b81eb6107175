//! Whether a release that is tried is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Outcome, STEADY, Slots, Trial, security_version};
use crate::interfaces::Loop;
use crate::log::Level;
use crate::manifest::quantity;
use crate::sandbox::Place;
use crate::supervise::State;
use crate::system::{End, Message, Request};

/// Between two looks at the checks, during a trial and at no other time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The firmware is asked when the start is over, so as not to be part of it.
const AFTER_THE_START: Duration = Duration::from_secs(3);

/// Something that has to hold before a release is kept. Whether a network can be reached is not
/// among them: a device without one gets updates from a stick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The shell has completed a frame, and goes on answering.
    ShellDrew,
    /// Every service that starts with the device runs, and none was started again meanwhile.
    Services,
    /// `/data` is on its disk, and takes and gives what is written.
    Data,
}

/// What a product asks for: the table `[update]` of its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// What has to hold.
    pub health: Vec<Check>,
    /// By when, such as `3 min`; then the device goes back.
    pub within: String,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            health: vec![Check::Services, Check::Data],
            within: "5 min".to_owned(),
        }
    }
}

#[derive(Default, Deserialize)]
struct Product {
    #[serde(default)]
    update: Checks,
}

impl Checks {
    /// Reads the product's. A file that cannot be read asks for what every device has.
    pub fn read(system: &Path) -> Self {
        std::fs::read_to_string(system.join("product.toml"))
            .ok()
            .and_then(|text| toml::from_str::<Product>(&text).ok())
            .unwrap_or_default()
            .update
    }

    fn limit(&self) -> Duration {
        quantity::duration(&self.within).unwrap_or(Duration::from_secs(300))
    }
}

impl Slots {
    /// Confirms the release that runs, or goes back to the one before, if this start is a trial.
    pub(crate) async fn confirm(
        self,
        place: Place,
        data_problem: Option<String>,
        system: Loop,
        sender: mpsc::UnboundedSender<Message>,
    ) {
        tokio::time::sleep(AFTER_THE_START).await;
        let status = self.status().await;
        let Some(running) = self.running else { return };
        if status.problem.is_some() {
            return;
        }
        if status.first == Some(running) {
            self.raise_security_version(&place.system).await;
            return;
        }
        let checks = Checks::read(&place.system);
        let begun = Instant::now();
        let bus = bus::Client::new(bus::Address::Here(place.bus()));
        let mut watch = Watch::default();
        self.log.say(
            Level::Notice,
            format!("slot {running} is on trial: {:?} must hold", checks.health),
        );
        loop {
            let awaited = watch
                .look(&checks, &data_problem, &self, &system, &bus)
                .await;
            let held = awaited.is_empty() && watch.held_for() >= STEADY;
            if held {
                self.keep().await;
                self.raise_security_version(&place.system).await;
                return;
            }
            let late = begun.elapsed() > checks.limit();
            if late {
                let reason = format!(
                    "within {} this did not hold: {}",
                    checks.within,
                    awaited.join("; ")
                );
                self.fall_back(&reason).await;
                let _ = sender.send(Message::Request(Request::Close(
                    End::Restart,
                    "the trial of a release".to_owned(),
                )));
                return;
            }
            self.state().await.awaited = if awaited.is_empty() {
                vec![format!(
                    "all checks hold; they have to for {} s",
                    STEADY.as_secs()
                )]
            } else {
                awaited
            };
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn keep(&self) {
        let Some(running) = self.running else { return };
        let mut state = self.state().await;
        let kept = match &state.firmware {
            Ok(firmware) => firmware.keep(running).map_err(|error| format!("{error:#}")),
            Err(problem) => Err(problem.clone()),
        };
        match kept {
            Ok(()) => {
                self.log.say(
                    Level::Notice,
                    format!("slot {running} is confirmed: the firmware starts it from now on"),
                );
                state.awaited.clear();
                state.decide(running, Outcome::Kept, &self.log);
            }
            Err(problem) => {
                // It runs, and runs well; only the next start is the old release's.
                let text = format!("slot {running} could not be confirmed: {problem}");
                self.log.say(Level::Error, &text);
                state.awaited = vec![text];
            }
        }
    }

    /// What is older, and has a hole that the release that is kept has closed, is started no more.
    async fn raise_security_version(&self, system: &Path) {
        let Some(ours) = self.security_version else {
            return;
        };
        let state = self.state().await;
        let Ok(firmware) = &state.firmware else {
            return;
        };
        // Where it was not kept after all, the one before must be able to start.
        if firmware.first().ok().flatten() != self.running {
            return;
        }
        match security_version::raise(firmware.folder(), system, ours) {
            Ok(true) => self.log.say(
                Level::Notice,
                format!("releases with a security version below {ours} are not started any more"),
            ),
            Ok(false) => {}
            Err(error) => self.log.say(
                Level::Error,
                format!("raising the security version to {ours}: {error:#}"),
            ),
        }
    }

    async fn fall_back(&self, reason: &str) {
        let Some(running) = self.running else { return };
        self.log.say(
            Level::Error,
            format!("slot {running} is given up: {reason}"),
        );
        let mut state = self.state().await;
        state.decide(running, Outcome::FellBack(reason.to_owned()), &self.log);
    }

    /// Whether `/data` takes and gives what is written.
    fn data_works(&self) -> std::io::Result<()> {
        let file = self.data.join("probe");
        std::fs::write(&file, b"probe")?;
        let same = std::fs::read(&file)? == b"probe";
        std::fs::remove_file(&file)?;
        if same {
            Ok(())
        } else {
            Err(std::io::Error::other("it gives back something else"))
        }
    }
}

impl super::State {
    /// Notes what became of the trial of the slot that runs.
    fn decide(&mut self, running: super::Slot, outcome: Outcome, log: &crate::system::SharedLog) {
        let version = self
            .note
            .as_ref()
            .and_then(|note| note.value().trial.clone())
            .filter(|trial| trial.slot == running)
            .map(|trial| trial.version)
            .unwrap_or_default();
        let noted = self.note(Trial {
            slot: running,
            version,
            outcome,
        });
        if let Err(error) = noted {
            log.say(Level::Error, format!("{error:#}"));
        }
    }
}

/// What is remembered from one look at the checks to the next.
#[derive(Debug, Default)]
struct Watch {
    held_since: Option<Instant>,
    restarts: BTreeMap<String, u32>,
}

impl Watch {
    fn held_for(&self) -> Duration {
        self.held_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// What does not hold, in sentences.
    async fn look(
        &mut self,
        checks: &Checks,
        data_problem: &Option<String>,
        slots: &Slots,
        system: &Loop,
        bus: &bus::Client,
    ) -> Vec<String> {
        let mut awaited = Vec::new();
        for check in &checks.health {
            match check {
                Check::ShellDrew => {
                    let drew = bus::screen::statistics(&bus.with_deadline(LOOK_AGAIN * 5)).await;
                    match drew {
                        Ok(measured) if measured.first_frame.is_some() => {}
                        Ok(_) => awaited.push("the shell has drawn nothing yet".to_owned()),
                        Err(error) => awaited.push(format!("the shell does not answer: {error}")),
                    }
                }
                Check::Services => awaited.extend(self.services(system).await),
                Check::Data => {
                    let problem = match data_problem {
                        Some(problem) => Some(problem.clone()),
                        None => slots.data_works().err().map(|error| error.to_string()),
                    };
                    awaited.extend(problem.map(|problem| format!("/data: {problem}")));
                }
            }
        }
        if !awaited.is_empty() {
            self.held_since = None;
        } else if self.held_since.is_none() {
            self.held_since = Some(Instant::now());
        }
        awaited
    }

    async fn services(&mut self, system: &Loop) -> Vec<String> {
        let mut problems = Vec::new();
        for service in system.all().await {
            let before = self.restarts.insert(service.name.clone(), service.restarts);
            if before.is_some_and(|before| before != service.restarts) {
                problems.push(format!("{} had to be started again", service.name));
            }
            match service.state {
                Some(State::Running | State::Waiting | State::Stopped) => {}
                Some(state) => problems.push(format!("{} is {state:?}", service.name)),
                None => problems.push(format!("{} has a broken manifest", service.name)),
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_says_what_has_to_hold() {
        let folder = tempfile::tempdir().unwrap();
        let checks = Checks::read(folder.path());
        assert_eq!(checks.health, [Check::Services, Check::Data]);
        std::fs::write(
            folder.path().join("product.toml"),
            "name = 'x'\n[update]\nhealth = ['shell-drew', 'data']\nwithin = '90 s'\n",
        )
        .unwrap();
        let checks = Checks::read(folder.path());
        assert_eq!(checks.health, [Check::ShellDrew, Check::Data]);
        assert_eq!(checks.limit(), Duration::from_secs(90));
    }
}
