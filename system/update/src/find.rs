//! Which release a device is to have.

use std::path::Path;
use std::sync::Arc;

use release::repository::{self, Files, Offer, Repository, Standing};
use release::{Manifest, Version, chunk};

use crate::archive::{Archive, Noted, manifest_name};
use crate::family::Family;
use crate::source::{Metadata, Source};
use crate::supply::Problem;

/// What decides which release a device is to have.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its product.
    pub product: String,
    /// Its edition.
    pub edition: String,
    /// The release that runs.
    pub installed: Version,
    /// The channel that it follows.
    pub channel: String,
    /// What its places in waves come from. It is its own secret.
    pub seed: Vec<u8>,
    /// Seconds since 1970.
    pub now: u64,
}

/// A release for a device.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it was found.
    pub source: Source,
    /// The channel that has it.
    pub channel: String,
    /// What it consists of.
    pub manifest: Manifest,
}

/// Which release is looked for. What is paused or withdrawn is not installed either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The newest whose wave has reached this device.
    Turn,
    /// The newest, without waiting for a wave: the owner named a source.
    Newest,
    /// This one, be it older than what runs: the owner named it.
    Exactly(Version),
}

/// What a search begins with and what it leaves behind.
#[derive(Clone, Debug)]
pub struct Basis<'a> {
    /// The root that is trusted.
    pub root: &'a [u8],
    /// The folder in which is remembered what is the least to be believed.
    pub memory: Option<&'a Path>,
    /// Where what was believed is kept for the others of the family.
    pub archive: Option<&'a Archive>,
    /// Those others.
    pub family: Option<&'a Family>,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Search {
    /// The newest release that fits the wish.
    pub found: Option<Found>,
    /// What was wrong with which source.
    pub problems: Vec<Problem>,
    /// Whether any source was believed.
    pub answered: bool,
    /// The newest timestamp that was believed, and what its repository offers.
    newest: Option<(u64, Vec<Offer>)>,
    /// The channel and the terms of what was found.
    offer: Option<Offer>,
}

/// Asks every source, and those of the family that say they know something newer.
///
/// Who wants what is decided by the newest metadata that was believed: what that has paused or
/// withdrawn is not found, though a source that is behind still has it.
pub async fn find(device: &Device, sources: &[Source], basis: &Basis<'_>, wish: &Wish) -> Search {
    let mut search = Search::default();
    for source in sources {
        // What is plugged in waits for no wave: the owner plugged it in.
        let wish = match (source, wish) {
            (Source::Stick(_), Wish::Turn) => &Wish::Newest,
            _ => wish,
        };
        if let Err(error) = search.ask(device, source, basis, wish).await {
            tracing::warn!("{}: {error}", source.name());
            search.problem(source, &error);
        }
    }
    if let Some(family) = basis.family {
        search.ask_family(device, family, basis, wish).await;
        search.problems.append(&mut family.take_problems().await);
    }
    let still = search.offer.as_ref().is_none_or(|found| {
        let newest = search.newest.as_ref();
        newest.is_some_and(|(_, offers)| {
            offers.iter().any(|offer| {
                offer.channel == found.channel
                    && release::repository::target_name(&offer.terms)
                        == release::repository::target_name(&found.terms)
                    && offer.terms.standing == Standing::Open
            })
        })
    });
    if !still {
        tracing::warn!("what a source offers was taken back since");
        search.found = None;
    }
    search
}

impl Search {
    fn problem(&mut self, source: &Source, error: &repository::Error) {
        self.problems.push(Problem {
            source: source.name(),
            reason: error.to_string(),
        });
    }

    /// Asks those that say they know something newer than what was believed until now, the newest first.
    async fn ask_family(
        &mut self,
        device: &Device,
        family: &Family,
        basis: &Basis<'_>,
        wish: &Wish,
    ) {
        let known = |search: &Self| search.newest.as_ref().map_or(0, |(version, _)| *version);
        let mut behind = Vec::new();
        for (claimed, peer) in family.newer_than(known(self)).await {
            if claimed <= known(self) {
                continue;
            }
            let source = Source::Device(peer);
            match self.ask(device, &source, basis, wish).await {
                Ok(()) => {}
                // A device that has not asked for long has what there was then: nobody's fault.
                Err(
                    error @ (repository::Error::Stale(_)
                    | repository::Error::Older(_)
                    | repository::Error::Unreachable(_)),
                ) => {
                    tracing::debug!("{}: {error}", source.name());
                    behind.push((source, error));
                }
                Err(error) => {
                    tracing::warn!("{}: {error}", source.name());
                    self.problem(&source, &error);
                }
            }
        }
        if !self.answered {
            for (source, error) in &behind {
                self.problem(source, error);
            }
        }
    }

    async fn ask(
        &mut self,
        device: &Device,
        source: &Source,
        basis: &Basis<'_>,
        wish: &Wish,
    ) -> Result<(), repository::Error> {
        let files = Arc::new(Noted::new(Arc::new(Reading {
            source: Metadata(source.clone()),
            archive: basis.archive.cloned(),
            family: basis.family.cloned(),
        })));
        let repository = Repository::load(
            basis.root,
            Arc::clone(&files) as Arc<dyn Files>,
            basis.memory,
        )
        .await?;
        self.answered = true;
        if let Some(archive) = basis.archive
            && let Err(error) = archive.keep(&files.take())
        {
            tracing::warn!("keeping what {} has for others: {error}", source.name());
        }
        let offers = repository.offers();
        let chosen = choose(device, &offers, wish).cloned();
        let timestamp = repository.timestamp();
        if self
            .newest
            .as_ref()
            .is_none_or(|(version, _)| *version < timestamp)
        {
            self.newest = Some((timestamp, offers));
        }
        let Some(offer) = chosen else {
            return Ok(());
        };
        let best = self.found.as_ref().map(|found| &found.manifest.version);
        if best.is_some_and(|best| *best >= offer.terms.version) {
            return Ok(());
        }
        self.found = Some(Found {
            source: source.clone(),
            channel: offer.channel.clone(),
            manifest: repository.manifest(&offer).await?,
        });
        self.offer = Some(offer);
        Ok(())
    }
}

/// Files of a source; of manifests, those that are at hand or in the family first.
#[derive(Debug)]
struct Reading {
    source: Metadata,
    archive: Option<Archive>,
    family: Option<Family>,
}

#[async_trait::async_trait]
impl Files for Reading {
    async fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        // Its hash was signed for, and stands in its name.
        let Some((hash, _)) = manifest_name(path) else {
            return self.source.read(path, most).await;
        };
        let is_it = |bytes: &Vec<u8>| chunk::hash(bytes) == hash;
        let kept = self.archive.as_ref().and_then(|archive| archive.read(path));
        if let Some(bytes) = kept.filter(is_it) {
            return Ok(Some(bytes));
        }
        let Some(family) = &self.family else {
            return self.source.read(path, most).await;
        };
        let claim = family.claim([hash]);
        let outside = self.source.0.is_outside();
        let mut bytes = family.manifest(path, hash, most, outside).await;
        if bytes.is_none() {
            if outside {
                claim.fetching([hash]);
            } else {
                claim.leave_to_others();
            }
            bytes = self.source.read(path, most).await?;
        }
        if let (Some(bytes), Some(archive)) = (&bytes, &self.archive)
            && is_it(bytes)
            && let Err(error) = archive.keep_manifest(path, bytes, family.shelf())
        {
            tracing::warn!("keeping a manifest for others: {error}");
        }
        Ok(bytes)
    }
}

/// The newest release of the device's channel, product and edition that fits the wish.
#[must_use]
pub fn choose<'a>(device: &Device, offers: &'a [Offer], wish: &Wish) -> Option<&'a Offer> {
    offers
        .iter()
        .filter(|offer| {
            let terms = &offer.terms;
            offer.channel == device.channel
                && terms.product == device.product
                && terms.edition == device.edition
                && terms.standing == Standing::Open
                && match wish {
                    Wish::Exactly(version) => terms.version == *version,
                    Wish::Newest => terms.version > device.installed,
                    Wish::Turn => {
                        terms.version > device.installed
                            && terms.wave.reaches(
                                &device.seed,
                                &repository::target_name(terms),
                                device.now,
                            )
                    }
                }
        })
        .max_by(|one, other| one.terms.version.cmp(&other.terms.version))
}
