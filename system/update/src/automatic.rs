//! What a device does about releases by itself, and when.
//!
//! The owner says in the setting `update.automatic` how far it goes ([`Extent`]). The mirrors that are
//! set, and the other devices of the family, are asked some minutes after a start, and then once a day, at a moment that chance picks, so
//! that a million devices do not come at once; after a failure sooner, but later each time. A release
//! that was tried and given up is not installed again by itself. Where a restart is allowed too, it is
//! made at night, while the screen is off, and only into a release that the mirrors still have for
//! this device: one that was withdrawn meanwhile is not tried.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use bus::settings::{Change, Value};
use bus::update as wire;
use futures::StreamExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use crate::find::Wish;
use crate::served::{Phase, Update, now};
use crate::work::mirrors;

/// From one time that the sources are asked to the next, and how much chance adds to it or takes away.
const PERIOD: Duration = Duration::from_secs(24 * 3600);
const SPREAD: Duration = Duration::from_secs(4 * 3600);
/// After a start there is more important work; and how much chance adds.
const START: Duration = Duration::from_secs(2 * 60);
const START_SPREAD: Duration = Duration::from_secs(8 * 60);
/// After the first failure; each further one doubles it, up to [`PERIOD`].
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// After the owner changed what this goes by: the next change may be on its way.
const CHANGED: Duration = Duration::from_secs(10);
/// How often it is looked whether it is night, while a release waits for it.
const NIGHT_LOOK: Duration = Duration::from_secs(10 * 60);
/// The hours of the local day at which most people sleep.
const NIGHT: std::ops::Range<i8> = 2..5;

/// How far a device goes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// It does nothing.
    Nothing,
    /// It asks the sources, and tells.
    Tell,
    /// It installs as well, and asks for the restart.
    Install,
    /// It restarts as well, at night.
    Restart,
}

impl Extent {
    /// As the setting `update.automatic` names it.
    #[must_use]
    pub fn named(word: &str) -> Self {
        match word {
            "tell" => Self::Tell,
            "install" => Self::Install,
            "restart" => Self::Restart,
            _ => Self::Nothing,
        }
    }
}

/// What came of a piece of work that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The sources were asked, and what is to be installed is.
    Done,
    /// There is nobody to ask, or no way to install.
    Nothing,
    Failed,
}

/// When the sources are asked next.
#[derive(Debug)]
struct Rhythm {
    next: Instant,
    failures: u32,
}

impl Rhythm {
    fn starting(asked: Option<u64>, now: u64) -> Self {
        Self {
            next: Instant::now() + first(asked, now, fastrand::f64()),
            failures: 0,
        }
    }

    fn soon(&mut self) {
        self.failures = 0;
        self.next = Instant::now() + CHANGED;
    }

    fn after(&mut self, outcome: Outcome) {
        self.failures = match outcome {
            Outcome::Failed => self.failures.saturating_add(1),
            Outcome::Done | Outcome::Nothing => 0,
        };
        self.next = Instant::now() + pause(self.failures, fastrand::f64());
    }
}

/// How long after a start the sources are asked, which were last asked at `asked`, in milliseconds
/// since 1970; `chance` is from 0 to 1.
fn first(asked: Option<u64>, now: u64, chance: f64) -> Duration {
    let least = START + START_SPREAD.mul_f64(chance);
    // A clock that stood in the future then says nothing about when that was.
    let since = asked.and_then(|asked| now.checked_sub(asked));
    let left = since.map(|since| pause(0, chance).saturating_sub(Duration::from_millis(since)));
    least.max(left.unwrap_or_default())
}

/// How long until the sources are asked again after so many failures in a row.
fn pause(failures: u32, chance: f64) -> Duration {
    match failures {
        0 => PERIOD - SPREAD + (SPREAD * 2).mul_f64(chance),
        failures => {
            let doubled = AGAIN.saturating_mul(1 << (failures - 1).min(16));
            doubled.min(PERIOD).mul_f64(0.75 + chance / 2.0)
        }
    }
}

/// Whether it is night where the device is, `now` milliseconds after 1970.
fn is_night(zone: &TimeZone, now: u64) -> bool {
    i64::try_from(now)
        .ok()
        .and_then(|now| Timestamp::from_millisecond(now).ok())
        .is_some_and(|now| NIGHT.contains(&zone.to_datetime(now).hour()))
}

/// Does by itself what the owner lets it, for ever. `zones` has the time zones of the release.
pub async fn run(update: Update, zones: PathBuf) {
    let asked = update.with(|state| state.kept.value().checked);
    let mut rhythm = Rhythm::starting(asked, now());
    let mut changes = Changes::new(update.0.bus.clone());
    loop {
        let extent = extent(&update.0.bus).await;
        let waiting = extent == Extent::Restart && update.waits_for_night();
        if waiting {
            update.restart_at_night(&zones).await;
        }
        let look = Instant::now() + NIGHT_LOOK;
        let due = if waiting {
            rhythm.next.min(look)
        } else {
            rhythm.next
        };
        tokio::select! {
            changed = changes.next() => {
                if changed {
                    rhythm.soon();
                }
            }
            () = sleep_until(due), if extent != Extent::Nothing => {
                if Instant::now() >= rhythm.next {
                    let outcome = update.work_by_itself(extent).await;
                    rhythm.after(outcome);
                }
            }
        }
    }
}

async fn extent(bus: &bus::Client) -> Extent {
    match bus::settings::get(bus, "update.automatic").await {
        Ok(Ok(Value::Text(word))) => Extent::named(&word),
        // Nothing is done that the owner may have forbidden.
        _ => Extent::Nothing,
    }
}

/// Changes of the settings that this goes by.
struct Changes {
    bus: bus::Client,
    stream: Option<futures::stream::BoxStream<'static, Result<Change, bus::Error>>>,
}

impl Changes {
    /// While the settings cannot be watched, it is tried so often.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn new(bus: bus::Client) -> Self {
        Self { bus, stream: None }
    }

    /// Waits until one of them changes, or until they can be watched again: then `false`, and what they
    /// are is to be read again.
    async fn next(&mut self) -> bool {
        loop {
            let Some(stream) = &mut self.stream else {
                match bus::settings::watch(&self.bus).await {
                    Ok(stream) => self.stream = Some(stream.boxed()),
                    Err(error) => {
                        tracing::debug!("watching the settings: {error}");
                        sleep(Self::PATIENCE).await;
                        continue;
                    }
                }
                return false;
            };
            match stream.next().await {
                Some(Ok(change)) if change.key.starts_with("update.") => return true,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    self.stream = None;
                    // Whoever ends at once is not to be asked at once.
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Update {
    /// Asks the mirrors and the family, and installs what they have if `extent` says so.
    async fn work_by_itself(&self, extent: Extent) -> Outcome {
        // So that what was kept from before a restart counts only where it still holds.
        self.look().await;
        let slots = match self.slots().await {
            Ok(slots) if slots.problem.is_some() => return Outcome::Nothing,
            // What runs is on trial itself, and the slot before it may be needed again.
            Ok(slots) if !slots.awaited.is_empty() => return Outcome::Failed,
            Ok(slots) => slots,
            Err(error) => {
                tracing::debug!("asking process 1 about the slots: {error:#}");
                return Outcome::Failed;
            }
        };
        let given_up = slots.trial.and_then(|trial| match trial.outcome {
            bus::slots::Outcome::FellBack(_) => Some(trial.version),
            bus::slots::Outcome::Trying | bus::slots::Outcome::Kept => None,
        });
        let (tell, told) = oneshot::channel();
        let begun = self.begin(async move |update: Update| {
            let before = update.with(|state| state.phase.clone());
            let (phase, outcome) = update.attempt(extent, given_up, before).await;
            let _ = tell.send(outcome);
            phase
        });
        match begun {
            // The owner was quicker; what comes of that is theirs to see.
            Err(_) => Outcome::Failed,
            // Whoever does not tell has ended early.
            Ok(()) => told.await.unwrap_or(Outcome::Failed),
        }
    }

    /// One attempt: where it leads, and how it came out. A source that could not be asked leaves the
    /// phase as it was `before`: it is nothing that the owner asked for.
    async fn attempt(
        &self,
        extent: Extent,
        given_up: Option<String>,
        before: Phase,
    ) -> (Result<Phase>, Outcome) {
        let family = self.family();
        let sources = match mirrors(&self.on_this_thread()).await {
            Ok(sources) if sources.is_empty() && !family.is_there().await => {
                return (Ok(before), Outcome::Nothing);
            }
            Ok(sources) => sources,
            Err(error) => {
                tracing::warn!("looking for newer releases: {error:#}");
                return (Ok(before), Outcome::Failed);
            }
        };
        self.set(Phase::Checking);
        let phase = match self.find(&sources, Some(&family), &Wish::Turn).await {
            Ok(found) => self.phase_of(found),
            Err(error) => {
                tracing::warn!("looking for newer releases: {error:#}");
                return (Ok(before), Outcome::Failed);
            }
        };
        let Phase::Available(found) = phase else {
            return (Ok(phase), Outcome::Done);
        };
        let version = found.manifest.version.to_string();
        if extent < Extent::Install || given_up.as_ref() == Some(&version) {
            return (Ok(Phase::Available(found)), Outcome::Done);
        }
        tracing::info!("{version} is there, and the owner lets it be installed");
        match self.install_found(*found, sources, Some(&family)).await {
            Ok(phase) => (Ok(phase), Outcome::Done),
            Err(error) => (Err(error), Outcome::Failed),
        }
    }

    /// Whether a release is ready that the sources still have for this device.
    fn waits_for_night(&self) -> bool {
        self.with(|state| {
            let ready = state.kept.value().ready.as_ref();
            !state.working
                && matches!(state.phase, Phase::Ready(_))
                && ready.is_some_and(|ready| state.offered.as_ref() == Some(&ready.version))
        })
    }

    /// Restarts into the release that is ready, if it is night and nobody looks.
    async fn restart_at_night(&self, zones: &Path) {
        if !is_night(&zone(&self.0.bus, zones).await, now()) {
            return;
        }
        // A device that has no screen is looked at by nobody.
        if let Ok(screen) = bus::screen::status(&self.0.bus).await
            && screen.on
        {
            tracing::info!("a release is ready and it is night, but the screen is on");
            return;
        }
        let state = self.look().await;
        let wire::Phase::Ready(release) = state.phase else {
            return;
        };
        tracing::info!("it is night: restarting into {}", release.version);
        if let Err(reason) = self.restart_into(&release.version).await {
            tracing::warn!("restarting into {}: {reason}", release.version);
        }
    }
}

/// The owner's time zone. The settings take only names of zones in that folder.
async fn zone(bus: &bus::Client, zones: &Path) -> TimeZone {
    let name = match bus::settings::get(bus, "time.zone").await {
        Ok(Ok(Value::Text(name))) => name,
        _ => return TimeZone::UTC,
    };
    let data = std::fs::read(zones.join(&name)).ok();
    data.and_then(|data| TimeZone::tzif(&name, &data).ok())
        .unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const NOW: u64 = 1_795_000_000_000;

    #[test]
    fn a_day_lies_between_two_times_that_the_sources_are_asked() {
        for chance in [0.0, 0.5, 1.0] {
            let pause = pause(0, chance);
            assert!(pause >= PERIOD - SPREAD && pause <= PERIOD + SPREAD);
        }
    }

    #[test]
    fn each_failure_makes_the_pause_longer_up_to_a_day() {
        let pauses: Vec<_> = (1..40).map(|failures| pause(failures, 0.5)).collect();
        assert_eq!(pauses[0], AGAIN);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[38], PERIOD);
        assert!(pause(u32::MAX, 1.0) <= PERIOD.mul_f64(1.25));
    }

    #[test]
    fn a_start_is_not_disturbed_and_no_day_is_left_out_or_doubled() {
        let earliest = START;
        assert_eq!(first(None, NOW, 0.0), earliest);
        // Asked two days ago: as soon as the start is over.
        assert_eq!(first(Some(NOW - 48 * HOUR), NOW, 0.0), earliest);
        // Asked five hours ago: the day is not over yet.
        assert_eq!(
            first(Some(NOW - 5 * HOUR), NOW, 0.5),
            PERIOD - Duration::from_secs(5 * 3600)
        );
        // The clock was wrong then, or is now.
        assert_eq!(first(Some(NOW + HOUR), NOW, 0.0), earliest);
    }

    #[test]
    fn night_is_where_the_device_is() {
        let midnight = NOW - NOW % (24 * HOUR);
        let three = midnight + 3 * HOUR;
        assert!(is_night(&TimeZone::UTC, three));
        assert!(!is_night(&TimeZone::UTC, midnight + 5 * HOUR));
        assert!(!is_night(&TimeZone::UTC, midnight + 14 * HOUR));
        let shanghai = TimeZone::fixed(jiff::tz::offset(8));
        assert!(!is_night(&shanghai, three));
        assert!(is_night(&shanghai, midnight + 19 * HOUR));
        assert!(!is_night(&TimeZone::UTC, u64::MAX));
    }

    #[test]
    fn words_that_a_later_release_may_have_do_nothing() {
        assert_eq!(Extent::named("install"), Extent::Install);
        assert_eq!(Extent::named("sometimes"), Extent::Nothing);
        assert!(Extent::Restart > Extent::Install && Extent::Install > Extent::Tell);
    }
}
