//! What the service does when it is asked to, or by itself: it asks the sources, and writes a release
//! to the other slot.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use bus::update as wire;
use release::Manifest;

use crate::family::Family;
use crate::find::{self, Basis, Device, Found, Wish};
use crate::install::{self, Disks, Installation, Progress};
use crate::served::{Phase, Ready, Update, describe, now};
use crate::shelf::Store;
use crate::source::Source;
use crate::stick;
use crate::supply::Supply;

/// Nobody sees more often how far an installation is.
const SHOWN: Duration = Duration::from_millis(250);

/// The keys that are trusted, in the image.
pub(crate) const ROOT: &str = "/system/update/root.json";
/// Where process 1 puts the disks of the slots.
const DISKS: &str = "/dev/slots";
/// Where it puts what is plugged in.
const STICKS: &str = "/dev/sticks";

impl Update {
    /// Asks these sources, and notes which of them could not be used.
    pub(crate) async fn find(
        &self,
        sources: &[Source],
        family: Option<&Family>,
        wish: &Wish,
    ) -> Result<Option<Found>> {
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
        let basis = Basis {
            root: &root,
            memory: Some(&memory),
            archive: Some(&self.0.archive),
            family,
        };
        let search = find::find(&device, sources, &basis, wish).await;
        let reasons = search
            .problems
            .iter()
            .map(|problem| format!("{}: {}", problem.source, problem.reason))
            .collect::<Vec<_>>()
            .join("; ");
        let (found, answered) = (search.found, search.answered);
        self.with(|state| {
            state.problems = search.problems;
            if answered {
                state.offered = found.as_ref().map(|found| found.manifest.version.clone());
            }
            if answered && let Err(error) = state.kept.update(|kept| kept.checked = Some(now())) {
                tracing::warn!("{error}");
            }
        });
        if answered {
            return Ok(found);
        }
        if !reasons.is_empty() {
            bail!("no source could be used: {reasons}");
        }
        bail!(
            "no mirror is set, no other device of the family knows of a release, and no stick with \
             releases is plugged in: name a mirror in the setting update.mirrors, or plug in a stick \
             (FAT) with a repository in its folder {}",
            stick::FOLDER
        );
    }

    /// The other devices of the family, for one piece of work.
    pub(crate) fn family(&self) -> Family {
        Family::new(
            &bus::folder(),
            Arc::clone(&self.0.shelf),
            Arc::clone(&self.0.cancelled),
        )
    }

    /// Tells the shelf what is in the slots of this device, as far as manifests say it.
    pub(crate) async fn stock(&self) {
        let (archive, shelf) = (&self.0.archive, &self.0.shelf);
        archive.stock(shelf);
        let running = match self.slots().await {
            Ok(slots) => slots.slot,
            Err(error) => {
                tracing::debug!("what is in the slots is not known: {error:#}");
                None
            }
        };
        let Some(running) = running else {
            return;
        };
        let ready = self.with(|state| state.kept.value().ready.clone());
        for (_, manifest) in archive.manifests() {
            if !self.is_for_this_device(&manifest) {
                continue;
            }
            if manifest.version == self.0.release.version {
                let boot = manifest.boot.of(&running).unwrap_or_default();
                shelf.add_all(&disk("root"), &manifest.root.chunks);
                shelf.add_all(&boot_partition("esp"), boot);
                shelf.add_all(&recovery("esp"), &manifest.recovery);
            } else if let Some(ready) = &ready
                && ready.version == manifest.version
                && ready.slot != running
            {
                let boot = manifest.boot.of(&ready.slot).unwrap_or_default();
                shelf.add_all(&disk("other-root"), &manifest.root.chunks);
                shelf.add_all(&boot_partition("other-esp"), boot);
                shelf.add_all(&recovery("other-esp"), &manifest.recovery);
            }
        }
    }

    fn is_for_this_device(&self, manifest: &Manifest) -> bool {
        manifest.product == self.0.product.name && manifest.edition == self.0.release.edition
    }

    /// Makes what this device has of a release whole for others, and keeps no more than that and what
    /// runs.
    async fn complete(&self, manifest: &Manifest, supply: &mut Supply) {
        let (archive, installed) = (&self.0.archive, &self.0.release.version);
        let stays = |kept: &Manifest| {
            self.is_for_this_device(kept)
                && (kept.version == manifest.version || kept.version == *installed)
        };
        if let Err(error) = archive.tidy(stays, &self.0.shelf) {
            tracing::warn!("tidying what is kept for others: {error}");
        }
        if let Err(reason) = supply.complete(manifest, archive).await {
            tracing::warn!("what only others need of the release is not here: {reason}");
        }
    }

    /// Writes a release to the slot that does not run.
    pub(crate) async fn install_found(
        &self,
        found: Found,
        sources: Vec<Source>,
        family: Option<&Family>,
    ) -> Result<Phase> {
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
        if let Some(family) = family {
            supply = supply.with_family(family.clone(), &found.manifest);
        }
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
        if done.is_ok() {
            self.complete(&found.manifest, &mut supply).await;
        }
        let (downloaded, from_family) = (supply.downloaded, supply.from_family);
        let problems = std::mem::take(&mut supply.problems);
        drop(supply);
        self.with(|state| state.problems.extend(problems));
        match done {
            Err(install::Error::Cancelled) => return Ok(Phase::Available(Box::new(found))),
            done => done.with_context(|| format!("installing {}", found.manifest.version))?,
        }
        tracing::info!(
            "{} is in slot {slot} after {:.1} s; {downloaded} bytes came, {from_family} of them from the family",
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

/// A partition of a slot.
fn disk(name: &str) -> Store {
    Store::File(Path::new(DISKS).join(name))
}

/// A boot partition of a slot.
fn boot_partition(name: &str) -> Store {
    Store::BootFile(Path::new(DISKS).join(name))
}

/// The recovery on a boot partition of a slot.
fn recovery(name: &str) -> Store {
    Store::Recovery(Path::new(DISKS).join(name))
}

/// Every source that there is but for the family: the mirrors that are set, and what is plugged in.
///
/// # Errors
///
/// Fails when the settings cannot be read.
pub(crate) async fn sources(bus: &bus::Client) -> Result<Vec<Source>> {
    // What is at hand comes first: nothing has to be fetched.
    let mut sources: Vec<_> = stick::plugged_in(Path::new(STICKS))
        .into_iter()
        .map(Source::Stick)
        .collect();
    sources.extend(mirrors(bus).await?);
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
