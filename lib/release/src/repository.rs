//! A repository: who may say what is a release, and which one a device is offered.
//!
//! Metadata is that of The Update Framework (TUF), read by crate `tough`. A repository is a folder
//! of static files, wherever it is served from:
//!
//! | path | what | signed by |
//! |---|---|---|
//! | `metadata/N.root.json` | which keys count for what; N+1 is signed by the keys of N and its own | a threshold of root keys, held offline |
//! | `metadata/timestamp.json` | the newest snapshot, with a date by which it is stale | the online key |
//! | `metadata/N.snapshot.json` | the versions of all other metadata | the online key |
//! | `metadata/N.targets.json` | which key speaks for which channel | a targets key, held offline |
//! | `metadata/N.CHANNEL.json` | the releases of a channel, each with its [`Terms`] | the channel's key |
//! | `targets/HASH.CHANNEL.PRODUCT.EDITION.VERSION` | a manifest | its hash stands above |
//! | `packs/HASH.pack` | chunks | their hashes stand in manifests |
//!
//! # What it promises
//!
//! Only files whose signatures, versions, lengths and hashes fit are believed, so a mirror can do no
//! more than withhold. That is noticed when the timestamp has become stale by the device's clock.
//!
//! **A wrong clock.** Process 1 never lets the clock stand before the build of the release that
//! runs, so metadata that had expired by then is refused whatever the clock battery says. A clock
//! that is ahead can only make good metadata look stale, which is said in those words. What `tough`
//! remembers of the clock from one time to the next is not used: a clock that was once wrong by
//! years would otherwise keep a device from every update.

use std::fmt::Debug;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use semver::Version;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tough::schema::RoleType;
use tough::{
    ExpirationEnforcement, IntoVec as _, Limits, RepositoryLoader, TargetName, Transport,
    TransportError, TransportErrorKind, TransportStream,
};
use url::Url;

use crate::manifest::{self, Manifest};

/// No file of metadata is longer.
pub const LONGEST_METADATA: u64 = 4 << 20;

/// Rotations of the root that are followed at once.
const MOST_ROOTS: u64 = 256;

/// Under which name a target's terms stand among what TUF calls custom.
pub const TERMS: &str = "release";

/// Where files of a repository come from. It is not trusted.
#[async_trait]
pub trait Files: Debug + Send + Sync {
    /// The file at a path of the repository, or none when there is none. A file that is longer than
    /// `most` bytes is an error.
    async fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, String>;
}

/// A folder of this machine.
#[derive(Clone, Debug)]
pub struct Folder(pub std::path::PathBuf);

#[async_trait]
impl Files for Folder {
    async fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        use std::io::Read as _;
        let file = self.0.join(path);
        let read = || -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            std::fs::File::open(&file)?
                .take(most + 1)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) if bytes.len() as u64 > most => {
                Err(format!("{} is longer than {most} bytes", file.display()))
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("reading {}: {error}", file.display())),
        }
    }
}

/// Why a repository is not believed.
#[derive(Debug, Error)]
pub enum Error {
    /// A file could not be had. Another mirror may have it.
    #[error("{0}")]
    Unreachable(String),
    /// The metadata is stale by this device's clock.
    #[error(
        "its {0} is out of date: either it has not been renewed, or this device's clock is ahead"
    )]
    Stale(String),
    /// It is older than what this device has seen before.
    #[error("it is older than what was seen before: {0}")]
    Older(String),
    /// More data than there can be.
    #[error("it sends more than it may: {0}")]
    TooLong(String),
    /// Signatures or hashes do not fit.
    #[error("it is not what was signed: {0}")]
    Untrusted(String),
    /// A manifest contradicts itself or what was said about it.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
}

impl From<tough::error::Error> for Error {
    fn from(error: tough::error::Error) -> Self {
        use tough::error::Error as Tough;
        let text = error.to_string();
        match error {
            Tough::ExpiredMetadata { role, .. } => Self::Stale(role.to_string()),
            Tough::OlderMetadata { .. }
            | Tough::OlderSnapshotInTimestamp { .. }
            | Tough::SnapshotRoleRollback { .. } => Self::Older(text),
            Tough::MaxSizeExceeded { .. } | Tough::MaxUpdatesExceeded { .. } => Self::TooLong(text),
            Tough::Transport { source, .. } => Self::of_transport(&source),
            _ => Self::Untrusted(text),
        }
    }
}

impl Error {
    /// What `tough` finds out while it reads, such as a hash that does not fit, it wraps as if the
    /// transport had failed.
    fn of_transport(error: &TransportError) -> Self {
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            match inner.downcast_ref::<tough::error::Error>() {
                Some(tough::error::Error::HashMismatch { .. }) => {
                    return Self::Untrusted(inner.to_string());
                }
                Some(tough::error::Error::MaxSizeExceeded { .. }) => {
                    return Self::TooLong(inner.to_string());
                }
                _ => {}
            }
            if let Some(NotHad(reason)) = inner.downcast_ref() {
                return Self::Unreachable(reason.clone());
            }
            cause = inner.source();
        }
        Self::Unreachable(error.to_string())
    }
}

/// Whether devices may have a release now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// As its wave goes on.
    #[default]
    Open,
    /// To nobody new, for the time being.
    Paused,
    /// To nobody any more.
    Withdrawn,
}

/// What a channel says of a release, beside its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// For which product.
    pub product: String,
    /// For which edition.
    pub edition: String,
    /// Which version.
    pub version: Version,
    /// Whether devices may have it now.
    #[serde(default)]
    pub standing: Standing,
    /// How it spreads. Without a wave everyone may have it at once.
    #[serde(default)]
    pub wave: crate::wave::Wave,
}

/// A release that a channel has.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The channel.
    pub channel: String,
    /// What it says.
    pub terms: Terms,
    target: TargetName,
}

/// A repository that is believed.
#[derive(Debug)]
pub struct Repository {
    tough: tough::Repository,
}

impl Repository {
    /// Reads a repository's metadata, beginning with a root that is trusted. What is remembered in
    /// `memory`, a folder that exists, is the least that is accepted from then on.
    ///
    /// # Errors
    ///
    /// Fails when the repository cannot be reached or is not believed.
    pub async fn load(
        root: &[u8],
        files: Arc<dyn Files>,
        memory: Option<&Path>,
    ) -> Result<Self, Error> {
        Self::load_with(root, files, memory, ExpirationEnforcement::Safe).await
    }

    /// As [`Repository::load`], for whoever renews what is out of date.
    ///
    /// # Errors
    ///
    /// Fails as that does, but not for age.
    pub async fn load_stale(root: &[u8], files: Arc<dyn Files>) -> Result<Self, Error> {
        Self::load_with(root, files, None, ExpirationEnforcement::Unsafe).await
    }

    async fn load_with(
        root: &[u8],
        files: Arc<dyn Files>,
        memory: Option<&Path>,
        expiration: ExpirationEnforcement,
    ) -> Result<Self, Error> {
        if let Some(memory) = memory {
            // See the module's words on wrong clocks.
            let _ = std::fs::remove_file(memory.join("latest_known_time.json"));
        }
        let url = |folder: &str| {
            Url::parse(&format!("release:///{folder}/"))
                .map_err(|error| Error::Untrusted(error.to_string()))
        };
        let mut loader = RepositoryLoader::new(&root, url("metadata")?, url("targets")?)
            .transport(Carrier(files))
            .expiration_enforcement(expiration)
            .limits(Limits {
                max_root_size: 256 << 10,
                max_timestamp_size: 64 << 10,
                max_snapshot_size: 1 << 20,
                max_targets_size: LONGEST_METADATA,
                max_root_updates: MOST_ROOTS,
            });
        if let Some(memory) = memory {
            loader = loader.datastore(memory);
        }
        Ok(Self {
            tough: loader.load().await?,
        })
    }

    /// Every release of every channel.
    ///
    /// Its terms are those of the role that is trusted for its name, and of no other.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        let targets = &self.tough.targets().signed;
        let mut offers: Vec<Offer> = self
            .tough
            .all_targets()
            .filter_map(|(name, _)| {
                let target = targets.find_target(name, false).ok()?;
                let terms: Terms =
                    serde_json::from_value(target.custom.get(TERMS)?.clone()).ok()?;
                let (channel, rest) = name.resolved().split_once('.')?;
                // A channel cannot say one thing in a name and another in the terms.
                (rest == target_name(&terms)).then(|| Offer {
                    channel: channel.to_owned(),
                    target: name.clone(),
                    terms,
                })
            })
            .collect();
        offers.sort_by(|one, other| {
            (
                &one.channel,
                &one.terms.product,
                &one.terms.edition,
                &one.terms.version,
            )
                .cmp(&(
                    &other.channel,
                    &other.terms.product,
                    &other.terms.edition,
                    &other.terms.version,
                ))
        });
        offers
    }

    /// The manifest of an offer.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be had, is not the one that was signed, or is for something else than
    /// was offered.
    pub async fn manifest(&self, offer: &Offer) -> Result<Manifest, Error> {
        let bytes = self.manifest_bytes(offer).await?;
        let manifest = Manifest::parse(&bytes)?;
        let terms = &offer.terms;
        if (&manifest.product, &manifest.edition, &manifest.version)
            != (&terms.product, &terms.edition, &terms.version)
        {
            return Err(Error::Untrusted(format!(
                "the manifest of {} {} {} is that of {} {} {}",
                terms.product,
                terms.edition,
                terms.version,
                manifest.product,
                manifest.edition,
                manifest.version
            )));
        }
        Ok(manifest)
    }

    /// The manifest of an offer as it is kept.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be had or is not the one that was signed.
    pub async fn manifest_bytes(&self, offer: &Offer) -> Result<Vec<u8>, Error> {
        let stream = self
            .tough
            .read_target(&offer.target)
            .await?
            .ok_or_else(|| Error::Untrusted("nobody signed for it".to_owned()))?;
        Ok(stream.into_vec().await?)
    }

    /// The metadata itself, for the maker's tool.
    #[must_use]
    pub fn into_tough(self) -> tough::Repository {
        self.tough
    }

    /// The metadata itself.
    #[must_use]
    pub fn as_tough(&self) -> &tough::Repository {
        &self.tough
    }

    /// Whether one of the keys in the root is among these, given in hexadecimal.
    #[must_use]
    pub fn has_key(&self, identifiers: &[&str]) -> bool {
        self.tough
            .root()
            .signed
            .keys
            .keys()
            .any(|key| identifiers.contains(&crate::hexadecimal(key).as_str()))
    }

    /// The number of its timestamp: whoever has a greater one knows something newer.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.tough.timestamp().signed.version.get()
    }

    /// When the first of the metadata that a device needs becomes stale, and which.
    #[must_use]
    pub fn expires(&self) -> (jiff::Timestamp, RoleType) {
        let (root, timestamp) = (self.tough.root(), self.tough.timestamp());
        let (snapshot, targets) = (self.tough.snapshot(), self.tough.targets());
        [
            (root.signed.expires, RoleType::Root),
            (timestamp.signed.expires, RoleType::Timestamp),
            (snapshot.signed.expires, RoleType::Snapshot),
            (targets.signed.expires, RoleType::Targets),
        ]
        .into_iter()
        .min_by_key(|(time, _)| *time)
        .unwrap_or((root.signed.expires, RoleType::Root))
    }
}

/// What a target is called, behind its channel and a dot.
#[must_use]
pub fn target_name(terms: &Terms) -> String {
    format!("{}.{}.{}", terms.product, terms.edition, terms.version)
}

/// Why a file did not come, in words for the owner: `tough` adds addresses that are its own affair.
#[derive(Debug, Error)]
#[error("{0}")]
struct NotHad(String);

/// Gives `tough` the files that it asks for.
#[derive(Clone, Debug)]
struct Carrier(Arc<dyn Files>);

#[async_trait]
impl Transport for Carrier {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let path = url.path().trim_start_matches('/');
        let most = if path.starts_with("targets/") {
            manifest::LONGEST
        } else {
            LONGEST_METADATA
        };
        match self.0.read(path, most).await {
            Ok(Some(bytes)) => {
                let once = futures::stream::once(std::future::ready(Ok(Bytes::from(bytes))));
                Ok(once.boxed_sync())
            }
            // Its kind tells `tough` that there is no newer root.
            Ok(None) => Err(TransportError::new_with_cause(
                TransportErrorKind::FileNotFound,
                &url,
                NotHad(format!("it has no {path}")),
            )),
            Err(reason) => Err(TransportError::new_with_cause(
                TransportErrorKind::Other,
                &url,
                NotHad(reason),
            )),
        }
    }
}

/// `futures` boxes streams that can be sent, but not such that can be shared.
trait BoxedSync: futures::Stream + Sized + Send + Sync + 'static {
    fn boxed_sync(
        self,
    ) -> std::pin::Pin<Box<dyn futures::Stream<Item = Self::Item> + Send + Sync>> {
        Box::pin(self)
    }
}

impl<S: futures::Stream + Send + Sync + 'static> BoxedSync for S {}
