//! The signed side of a repository: roots, channels, and what a channel says of a release.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aws_lc_rs::rand::SystemRandom;
use jiff::{SignedDuration, Timestamp};
use release::repository::{Folder, Repository, Standing, TERMS, Terms, target_name};
use release::wave::Wave;
use release::{Manifest, chunk};
use tough::TargetName;
use tough::editor::signed::SignedRole;
use tough::key_source::KeySource;
use tough::schema::{
    DelegatedRole, DelegatedTargets, Delegations, Hashes, KeyHolder, Metafile, PathPattern,
    PathSet, Role, RoleKeys, RoleType, Root, Signed, Snapshot, Target, Targets,
    Timestamp as Freshness,
};
use tough::sign::Sign as _;

use crate::SPECIFICATION;
use crate::keys;
use crate::make::write_new;

/// How long what is signed online holds; `renew` runs more often than that.
pub const ONLINE_DAYS: i64 = 7;
/// How long what is signed offline holds.
pub const OFFLINE_DAYS: i64 = 365;

/// Which keys count for what, in a new root.
#[derive(Clone, Debug)]
pub struct Keys {
    /// For the root itself.
    pub root: Vec<PathBuf>,
    /// How many of those have to sign.
    pub threshold: u64,
    /// For the list of channels.
    pub targets: PathBuf,
    /// For snapshot and timestamp.
    pub online: PathBuf,
}

/// Makes a root, or the one that follows `before`, which the keys of `before` in `also` sign too.
///
/// # Errors
///
/// Fails when a key cannot be read, too few sign, or the file cannot be written.
pub async fn root(
    to: &Path,
    keys: &Keys,
    before: Option<&Path>,
    also: &[PathBuf],
    expires: Timestamp,
) -> Result<()> {
    let threshold = NonZeroU64::new(keys.threshold).context("a root needs at least one key")?;
    ensure!(
        keys.root.len() as u64 >= keys.threshold,
        "{} keys cannot make a threshold of {threshold}",
        keys.root.len()
    );
    let old: Option<Signed<Root>> = before.map(read_json).transpose()?;
    let version = old
        .as_ref()
        .map_or(NonZeroU64::MIN, |old| old.signed.version.saturating_add(1));
    let mut root = Root {
        spec_version: SPECIFICATION.to_owned(),
        consistent_snapshot: true,
        version,
        expires,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    for (role, paths, threshold) in [
        (RoleType::Root, keys.root.as_slice(), threshold),
        (
            RoleType::Targets,
            std::slice::from_ref(&keys.targets),
            NonZeroU64::MIN,
        ),
        (
            RoleType::Snapshot,
            std::slice::from_ref(&keys.online),
            NonZeroU64::MIN,
        ),
        (
            RoleType::Timestamp,
            std::slice::from_ref(&keys.online),
            NonZeroU64::MIN,
        ),
    ] {
        let mut keyids = Vec::new();
        for path in paths {
            let key = keys::read(path)?.tuf_key();
            let identifier = key.key_id().map_err(|error| anyhow!("{error}"))?;
            root.keys.insert(identifier.clone(), key);
            keyids.push(identifier);
        }
        root.roles.insert(
            role,
            RoleKeys {
                keyids,
                threshold,
                _extra: HashMap::new(),
            },
        );
    }
    let mut signers = keys.root.clone();
    signers.extend_from_slice(also);
    let mut signed = sign(
        root.clone(),
        &KeyHolder::Root(root),
        &keys::sources(&signers),
    )
    .await?;
    if let Some(old) = old {
        // A device that knows the old root follows to the new one only if the old keys say so.
        let by_old = sign(
            signed.signed().signed.clone(),
            &KeyHolder::Root(old.signed),
            &keys::sources(&signers),
        )
        .await?;
        signed = signed
            .add_old_signatures(by_old.signed().signatures.clone())
            .map_err(|error| anyhow!("{error}"))?;
    }
    write_new(to, signed.buffer())
}

/// Makes an empty repository that begins with `root`.
///
/// # Errors
///
/// Fails when there is one already, or a key that is needed is missing.
pub async fn init(
    repository: &Path,
    root_file: &Path,
    channels: &[(String, PathBuf)],
    targets_key: &Path,
    online_key: &Path,
) -> Result<()> {
    let metadata = repository.join("metadata");
    ensure!(
        !metadata.join("timestamp.json").exists(),
        "{} is a repository already",
        repository.display()
    );
    let root: Signed<Root> = read_json(root_file)?;
    let bytes = fs::read(root_file)?;
    write_new(
        &metadata.join(format!("{}.root.json", root.signed.version)),
        &bytes,
    )?;
    let offline = in_days(OFFLINE_DAYS);
    let mut delegations = Delegations {
        keys: HashMap::new(),
        roles: Vec::new(),
    };
    let mut names = Vec::new();
    for (channel, path) in channels {
        ensure!(
            release::manifest::is_label(channel),
            "{channel:?} is no name of a channel"
        );
        let key = keys::read(path)?.tuf_key();
        let identifier = key.key_id().map_err(|error| anyhow!("{error}"))?;
        delegations.keys.insert(identifier.clone(), key);
        delegations.roles.push(DelegatedRole {
            name: channel.clone(),
            keyids: vec![identifier],
            threshold: NonZeroU64::MIN,
            paths: PathSet::Paths(vec![
                PathPattern::new(format!("{channel}.*")).map_err(|error| anyhow!("{error}"))?,
            ]),
            terminating: true,
            targets: None,
        });
        names.push((channel.clone(), path.clone()));
    }
    let mut meta = HashMap::new();
    for (channel, path) in &names {
        let empty = Targets::new(SPECIFICATION.to_owned(), NonZeroU64::MIN, offline);
        let file = sign_channel(channel, empty, &delegations, std::slice::from_ref(path)).await?;
        file.keep(&metadata)?;
        meta.insert(format!("{channel}.json"), file.meta());
    }
    let mut targets = Targets::new(SPECIFICATION.to_owned(), NonZeroU64::MIN, offline);
    targets.delegations = Some(delegations);
    let holder = KeyHolder::Root(root.signed.clone());
    let file = File::of(sign(targets, &holder, &keys::sources(&[targets_key.to_owned()])).await?);
    file.keep(&metadata)?;
    meta.insert("targets.json".to_owned(), file.meta());
    let first = NonZeroU64::MIN;
    finish(
        &metadata,
        &holder,
        meta,
        first,
        first,
        online_key,
        ONLINE_DAYS,
    )
    .await
}

/// What is to become of a release in a channel.
#[derive(Clone, Debug)]
pub enum Change {
    /// Devices may have it, as the wave says.
    Publish(Wave),
    /// Who may have it now changes.
    Stand(Standing),
}

/// Changes what a channel says of a release, called `PRODUCT.EDITION.VERSION`.
///
/// # Errors
///
/// Fails when there is no such release or channel, or a key that is needed is missing.
pub async fn change(
    repository: &Path,
    channel: &str,
    release: &str,
    change: &Change,
    channel_key: &Path,
    online_key: &Path,
) -> Result<()> {
    let loaded = load(repository).await?;
    let loaded = loaded.as_tough();
    let delegated = loaded
        .targets()
        .signed
        .delegated_targets(channel)
        .map_err(|_| anyhow!("the repository has no channel {channel}"))?;
    let mut targets = delegated.signed.clone();
    let name = TargetName::new(format!("{channel}.{release}"))
        .map_err(|error| anyhow!("{release}: {error}"))?;
    match change {
        Change::Publish(wave) => {
            let path = repository.join("releases").join(format!("{release}.json"));
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let manifest = Manifest::parse(&bytes)?;
            let terms = Terms {
                product: manifest.product,
                edition: manifest.edition,
                version: manifest.version,
                standing: Standing::Open,
                wave: wave.clone(),
            };
            ensure!(
                target_name(&terms) == release,
                "{release} is another release"
            );
            let hash = chunk::hash(&bytes);
            let target = repository.join("targets").join(format!(
                "{}.{channel}.{release}",
                release::hexadecimal(&hash)
            ));
            write_new(&target, &bytes)?;
            let entry = Target {
                length: bytes.len() as u64,
                hashes: Hashes {
                    sha256: hash.to_vec().into(),
                    _extra: HashMap::new(),
                },
                custom: [(TERMS.to_owned(), serde_json::to_value(&terms)?)].into(),
                _extra: HashMap::new(),
            };
            targets.targets.insert(name, entry);
        }
        Change::Stand(standing) => {
            let target = targets
                .targets
                .get_mut(&name)
                .with_context(|| format!("{channel} has no release {release}"))?;
            let terms = target.custom.get(TERMS).cloned().unwrap_or_default();
            let mut terms: Terms = serde_json::from_value(terms)?;
            if terms.standing == Standing::Withdrawn {
                bail!("{release} was withdrawn, which is for good: make another release");
            }
            terms.standing = *standing;
            target
                .custom
                .insert(TERMS.to_owned(), serde_json::to_value(&terms)?);
        }
    }
    targets.version = targets.version.saturating_add(1);
    targets.expires = in_days(OFFLINE_DAYS);
    let delegations = loaded
        .targets()
        .signed
        .delegations
        .clone()
        .context("the repository has no channels")?;
    let file = sign_channel(channel, targets, &delegations, &[channel_key.to_owned()]).await?;
    let metadata = repository.join("metadata");
    file.keep(&metadata)?;
    let mut meta = loaded.snapshot().signed.meta.clone();
    meta.insert(format!("{channel}.json"), file.meta());
    finish(
        &metadata,
        &KeyHolder::Root(loaded.root().signed.clone()),
        meta,
        loaded.snapshot().signed.version.saturating_add(1),
        loaded.timestamp().signed.version.saturating_add(1),
        online_key,
        ONLINE_DAYS,
    )
    .await
}

/// Makes snapshot and timestamp fresh again for so many days, and takes a new root in.
///
/// # Errors
///
/// Fails when what stands cannot be read, or the key is not the one of the newest root.
pub async fn renew(
    repository: &Path,
    new_root: Option<&Path>,
    online_key: &Path,
    days: i64,
) -> Result<()> {
    let metadata = repository.join("metadata");
    if let Some(path) = new_root {
        let root: Signed<Root> = read_json(path)?;
        write_new(
            &metadata.join(format!("{}.root.json", root.signed.version)),
            &fs::read(path)?,
        )?;
    }
    let root: Signed<Root> = read_json(&newest_root(repository)?)?;
    // With a new online key the old timestamp is no longer one: so what stands is read as it is.
    let snapshot_version = |timestamp: &Freshness| {
        timestamp
            .meta
            .get("snapshot.json")
            .map_or(NonZeroU64::MIN, |meta| meta.version)
    };
    let timestamp: Signed<Freshness> = read_json(&metadata.join("timestamp.json"))?;
    let number = snapshot_version(&timestamp.signed);
    let snapshot: Signed<Snapshot> = read_json(&metadata.join(format!("{number}.snapshot.json")))?;
    finish(
        &metadata,
        &KeyHolder::Root(root.signed),
        snapshot.signed.meta,
        number.saturating_add(1),
        timestamp.signed.version.saturating_add(1),
        online_key,
        days,
    )
    .await
}

/// Reads a repository in a folder, whatever its age, beginning with its own first root.
pub(crate) async fn load(repository: &Path) -> Result<Repository> {
    let root = fs::read(newest_root(repository)?).context("reading the repository's root")?;
    Ok(Repository::load_stale(&root, Arc::new(Folder(repository.to_owned()))).await?)
}

/// The newest root that a repository has.
pub(crate) fn newest_root(repository: &Path) -> Result<PathBuf> {
    let metadata = repository.join("metadata");
    (1..)
        .map(|number: u64| metadata.join(format!("{number}.root.json")))
        .take_while(|path| path.exists())
        .last()
        .or_else(|| {
            // A repository may begin with a later one.
            let mut roots: Vec<(u64, PathBuf)> = fs::read_dir(&metadata)
                .ok()?
                .flatten()
                .filter_map(|entry| {
                    let path = entry.path();
                    let name = path.file_name()?.to_str()?;
                    Some((name.strip_suffix(".root.json")?.parse().ok()?, path.clone()))
                })
                .collect();
            roots.sort();
            roots.pop().map(|(_, path)| path)
        })
        .with_context(|| format!("{} has no root: is it a repository?", repository.display()))
}

/// Signs snapshot and timestamp and writes them; the timestamp last, for it is what makes the rest
/// count.
async fn finish(
    metadata: &Path,
    holder: &KeyHolder,
    meta: HashMap<String, Metafile>,
    snapshot_version: NonZeroU64,
    timestamp_version: NonZeroU64,
    online_key: &Path,
    days: i64,
) -> Result<()> {
    let online = [online_key.to_owned()];
    let mut snapshot = Snapshot::new(SPECIFICATION.to_owned(), snapshot_version, in_days(days));
    snapshot.meta = meta;
    let snapshot = File::of(sign(snapshot, holder, &keys::sources(&online)).await?);
    snapshot.keep(metadata)?;
    let mut timestamp = Freshness::new(SPECIFICATION.to_owned(), timestamp_version, in_days(days));
    timestamp
        .meta
        .insert("snapshot.json".to_owned(), snapshot.meta());
    File::of(sign(timestamp, holder, &keys::sources(&online)).await?).keep(metadata)
}

async fn sign_channel(
    channel: &str,
    targets: Targets,
    delegations: &Delegations,
    keys: &[PathBuf],
) -> Result<File> {
    let role = DelegatedTargets {
        name: channel.to_owned(),
        targets,
    };
    let holder = KeyHolder::Delegations(delegations.clone());
    Ok(File::of(sign(role, &holder, &keys::sources(keys)).await?))
}

async fn sign<R: Role + serde::Serialize>(
    role: R,
    holder: &KeyHolder,
    keys: &[Box<dyn KeySource>],
) -> Result<SignedRole<R>> {
    SignedRole::new(role, holder, keys, &SystemRandom::new())
        .await
        .map_err(|error| anyhow!("signing: {error}"))
}

/// A signed file, ready to be written.
struct File {
    name: String,
    bytes: Vec<u8>,
    version: NonZeroU64,
    hash: Vec<u8>,
}

impl File {
    fn of<R: Role + serde::Serialize>(role: SignedRole<R>) -> Self {
        Self {
            name: role.signed().signed.filename(true),
            bytes: role.buffer().clone(),
            version: role.signed().signed.version(),
            hash: role.sha256().to_vec(),
        }
    }

    fn keep(&self, metadata: &Path) -> Result<()> {
        write_new(&metadata.join(&self.name), &self.bytes)
    }

    fn meta(&self) -> Metafile {
        Metafile {
            length: Some(self.bytes.len() as u64),
            hashes: Some(Hashes {
                sha256: self.hash.clone().into(),
                _extra: HashMap::new(),
            }),
            version: self.version,
            _extra: HashMap::new(),
        }
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))
}

/// The moment so many days from now.
#[must_use]
pub fn in_days(days: i64) -> Timestamp {
    let now = Timestamp::now();
    // Whole seconds, as the specification writes them.
    Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .saturating_add(SignedDuration::from_hours(days * 24))
        .unwrap_or(Timestamp::MAX)
}
