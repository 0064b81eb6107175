//! What the service does when it is asked to, or by itself: it asks the sources, and writes a release
//! to the other slot.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use bus::update as wire;

use crate::find::{self, Device, Found, Wish};
use crate::install::{self, Disks, Installation, Progress};
use crate::served::{Phase, Ready, Update, describe, now};
use crate::source::Source;
use crate::stick;
use crate::supply::Supply;

/// Nobody sees more often how far an installation is.
const SHOWN: Duration = Duration::from_millis(250);

/// The keys that are trusted, in the image.
const ROOT: &str = "/system/update/root.json";
/// Where process 1 puts the disks of the slots.
const DISKS: &str = "/dev/slots";
/// Where it puts what is plugged in.
const STICKS: &str = "/dev/sticks";

impl Update {
    /// Asks these sources, and notes which of them could not be used.
    pub(crate) async fn find(&self, sources: &[Source], wish: &Wish) -> Result<Option<Found>> {
        let root = std::fs::read(ROOT).with_context(|| {
            format!("reading {ROOT}: this image carries no keys, so no release can be trusted")
        })?;
        let device = Device {
            product: self.0.product.name.clone(),
            edition: self.0.release.edition.clone(),
            installed: self.0.release.version.clone(),
            channel: channel(&self.on_this_thread()).await,
            seed: self.with(|state| state.kept.value().seed.clone()),
            now: now() / 1000,
        };
        let memory = self.0.data.join("metadata");
        let (found, problems) = find::find(&device, sources, &root, Some(&memory), wish).await;
        let all_failed = !sources.is_empty() && problems.len() == sources.len();
        let reasons = problems
            .iter()
            .map(|problem| format!("{}: {}", problem.source, problem.reason))
            .collect::<Vec<_>>()
            .join("; ");
        self.with(|state| {
            state.problems = problems;
            if !all_failed {
                state.offered = found.as_ref().map(|found| found.manifest.version.clone());
            }
            if !all_failed && let Err(error) = state.kept.update(|kept| kept.checked = Some(now()))
            {
                tracing::warn!("{error}");
            }
        });
        if all_failed {
            bail!("no source could be used: {reasons}");
        }
        Ok(found)
    }

    /// Writes a release to the slot that does not run.
    pub(crate) async fn install_found(&self, found: Found, sources: Vec<Source>) -> Result<Phase> {
        let bus = self.on_this_thread();
        let slots = bus::slots::status(&bus)
            .await
            .context("asking process 1 about the slots")?;
        if let Some(problem) = slots.problem {
            bail!("this device cannot be updated: {problem}");
        }
        if !slots.awaited.is_empty() {
            bail!("the release that runs is itself on trial: wait until it is confirmed");
        }
        let running = slots.slot.context("this system has no slots")?;
        let slot = if running == "a" { "b" } else { "a" };
        // Whatever was ready is about to be written over.
        bus::slots::forget(&bus).await?.map_err(|reason| {
            anyhow!("taking back the trial of what is in slot {slot}: {reason}")
        })?;
        self.with(|state| state.kept.update(|kept| kept.ready = None))?;
        let described = describe(&found, Some(&running));
        // The source that has it first, then the others: a chunk is a chunk wherever it comes from.
        let mut supply = vec![found.source.clone()];
        supply.extend(
            sources
                .into_iter()
                .filter(|source| source.name() != found.source.name()),
        );
        let mut supply = Supply::new(supply);
        let disks = Disks {
            root: Path::new(DISKS).join("root"),
            esp: Path::new(DISKS).join("esp"),
            other_root: Path::new(DISKS).join("other-root"),
            other_esp: Path::new(DISKS).join("other-esp"),
            boot_file: self.0.data.join("boot-file"),
        };
        let mut shown: Option<(Instant, install::Step)> = None;
        let mut observe = |progress: Progress| {
            if shown.is_none_or(|(when, step)| when.elapsed() > SHOWN || step != progress.step) {
                shown = Some((Instant::now(), progress.step));
                self.set(Phase::Installing(wire::Progress {
                    release: described.clone(),
                    step: match progress.step {
                        install::Step::Comparing => wire::Step::Comparing,
                        install::Step::Writing => wire::Step::Writing,
                        install::Step::Verifying => wire::Step::Verifying,
                        install::Step::Finishing => wire::Step::Finishing,
                    },
                    done: progress.done,
                    total: progress.total,
                    downloaded: progress.downloaded,
                }));
            }
        };
        tracing::info!("installing {} into slot {slot}", found.manifest.version);
        let begun = Instant::now();
        let done = Installation {
            manifest: &found.manifest,
            slot,
            disks: &disks,
            supply: &mut supply,
            observe: &mut observe,
            cancelled: &self.0.cancelled,
        }
        .run()
        .await;
        let (downloaded, problems) = (supply.downloaded, supply.problems);
        self.with(|state| state.problems.extend(problems));
        match done {
            Err(install::Error::Cancelled) => return Ok(Phase::Available(Box::new(found))),
            done => done.with_context(|| format!("installing {}", found.manifest.version))?,
        }
        tracing::info!(
            "{} is in slot {slot} after {:.1} s; {downloaded} bytes came from the source",
            found.manifest.version,
            begun.elapsed().as_secs_f64()
        );
        let ready = Ready {
            version: found.manifest.version.clone(),
            channel: found.channel.clone(),
            built: described.built,
            notes: described.notes.clone(),
            size: described.size,
            source: described.source.clone(),
            slot: slot.to_owned(),
        };
        self.with(|state| state.kept.update(|kept| kept.ready = Some(ready)))?;
        Ok(Phase::Ready(described))
    }
}

/// The channel that this device follows.
pub(crate) async fn channel(bus: &bus::Client) -> String {
    match bus::settings::get(bus, "update.channel").await {
        Ok(Ok(bus::settings::Value::Text(channel))) => channel,
        _ => "stable".to_owned(),
    }
}

/// Every source that there is: the mirrors that are set, and what is plugged in.
///
/// # Errors
///
/// Fails when there is none, or when the settings cannot be read.
pub(crate) async fn sources(bus: &bus::Client) -> Result<Vec<Source>> {
    // What is at hand comes first: nothing has to be fetched.
    let mut sources: Vec<_> = stick::plugged_in(Path::new(STICKS))
        .into_iter()
        .map(Source::Stick)
        .collect();
    sources.extend(mirrors(bus).await?);
    if sources.is_empty() {
        bail!(
            "no mirror is set, and no stick with releases is plugged in: name a mirror in the setting \
             update.mirrors, or plug in a stick (FAT) with a repository in its folder {}",
            stick::FOLDER
        );
    }
    Ok(sources)
}

/// The mirrors that the owner or the edition set.
pub(crate) async fn mirrors(bus: &bus::Client) -> Result<Vec<Source>> {
    let value = bus::settings::get(bus, "update.mirrors")
        .await
        .context("reading which mirrors are set")?;
    match value {
        Ok(bus::settings::Value::Texts(mirrors)) => mirrors
            .iter()
            .map(|mirror| Source::parse(mirror, bus))
            .collect(),
        _ => Ok(Vec::new()),
    }
}
