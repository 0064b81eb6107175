//! Which release a device is to have.

use std::path::Path;
use std::sync::Arc;

use release::repository::{self, Offer, Repository, Standing};
use release::{Manifest, Version};

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

/// Asks every source, and answers the newest release that fits the wish, and what was wrong with which
/// source.
pub async fn find(
    device: &Device,
    sources: &[Source],
    root: &[u8],
    memory: Option<&Path>,
    wish: &Wish,
) -> (Option<Found>, Vec<Problem>) {
    let mut best: Option<Found> = None;
    let mut problems = Vec::new();
    for source in sources {
        // What is plugged in waits for no wave: the owner plugged it in.
        let wish = match (source, wish) {
            (Source::Stick(_), Wish::Turn) => &Wish::Newest,
            _ => wish,
        };
        match ask(device, source, root, memory, wish).await {
            Ok(found) => {
                let newest = best.as_ref().map(|best| &best.manifest.version);
                if let Some(found) = found
                    && newest.is_none_or(|newest| *newest < found.manifest.version)
                {
                    best = Some(found);
                }
            }
            Err(error) => {
                tracing::warn!("{}: {error}", source.name());
                problems.push(Problem {
                    source: source.name(),
                    reason: error.to_string(),
                });
            }
        }
    }
    (best, problems)
}

async fn ask(
    device: &Device,
    source: &Source,
    root: &[u8],
    memory: Option<&Path>,
    wish: &Wish,
) -> Result<Option<Found>, repository::Error> {
    let files = Arc::new(Metadata(source.clone()));
    let repository = Repository::load(root, files, memory).await?;
    let offers = repository.offers();
    let Some(offer) = choose(device, &offers, wish) else {
        return Ok(None);
    };
    Ok(Some(Found {
        source: source.clone(),
        channel: offer.channel.clone(),
        manifest: repository.manifest(offer).await?,
    }))
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
