//! Copying a repository to where it is served from: a folder, or a store that speaks S3.
//!
//! A repository is static files, so whatever serves files serves it. It is made and signed in a folder, where the
//! keys are, and copied from there: the store needs no key and is not trusted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use object_store::aws::AmazonS3Builder;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt as _, PutOptions};

/// The one file of a repository that changes.
const TIMESTAMP: &str = "timestamp.json";

/// Where a copy goes.
#[derive(Clone, Debug)]
pub enum Site {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A folder of an object store.
    Store {
        /// The store.
        store: Arc<dyn ObjectStore>,
        /// The folder; empty for all of the store.
        folder: object_store::path::Path,
    },
}

impl Site {
    /// Reads a path, or `s3://BUCKET/FOLDER`. How a store is reached and who may write there is taken from the
    /// environment, under the names that Amazon's own tools use.
    ///
    /// # Errors
    ///
    /// Fails when it names no bucket, and when the environment contradicts itself.
    pub fn parse(text: &str) -> Result<Self> {
        let Some(place) = text.strip_prefix("s3://") else {
            return Ok(Self::Folder(text.into()));
        };
        let (bucket, folder) = place.split_once('/').unwrap_or((place, ""));
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .with_context(|| format!("reaching the store {text}"))?;
        let folder = object_store::path::Path::parse(folder.trim_end_matches('/'))
            .with_context(|| format!("reading the folder in {text}"))?;
        Ok(Self::Store {
            store: Arc::new(store),
            folder,
        })
    }

    /// Whether a file is there.
    async fn has(&self, path: &str) -> Result<bool> {
        match self {
            Self::Folder(folder) => Ok(folder.join(path).exists()),
            Self::Store { store, folder } => match store.head(&within(folder, path)).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(error).with_context(|| format!("asking the store for {path}")),
            },
        }
    }

    /// Writes a file, whole or not at all.
    async fn write(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        match self {
            Self::Folder(folder) => crate::make::write_new(&folder.join(path), &bytes),
            Self::Store { store, folder } => {
                // A cache on the way that keeps the timestamp makes devices believe that nothing is new.
                let keep = match path.ends_with(TIMESTAMP) {
                    true => "no-cache",
                    false => "public, max-age=31536000, immutable",
                };
                let options = PutOptions {
                    attributes: Attributes::from_iter([(Attribute::CacheControl, keep)]),
                    ..PutOptions::default()
                };
                store
                    .put_opts(&within(folder, path), bytes.into(), options)
                    .await
                    .map(drop)
                    .with_context(|| format!("putting {path} into the store"))
            }
        }
    }
}

fn within(folder: &object_store::path::Path, path: &str) -> object_store::path::Path {
    path.split('/')
        .fold(folder.clone(), |place, part| place.join(part))
}

/// Copies what another site needs to serve the same repository; what is there already stays. Returns how many
/// bytes were copied.
///
/// # Errors
///
/// Fails when a file cannot be read or written. What was copied before is left, and whoever reads it finds the
/// repository as it was.
pub async fn copy(from: &Path, to: &Site) -> Result<u64> {
    let mut copied = 0;
    // In the order in which they are needed: whoever reads meanwhile finds what is named.
    for folder in ["packs", "targets", "metadata"] {
        let source = from.join(folder);
        let mut names: Vec<_> = match fs::read_dir(&source) {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
            // A repository without a release has no packs.
            Err(_) if folder != "metadata" => Vec::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("listing {}", source.display()));
            }
        };
        names.sort_by_key(|name| name == TIMESTAMP);
        for name in names {
            let file = source.join(&name);
            let name = name
                .to_str()
                .with_context(|| format!("{} is no file of a repository", file.display()))?;
            let path = format!("{folder}/{name}");
            if name != TIMESTAMP && to.has(&path).await? {
                continue;
            }
            let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            copied += bytes.len() as u64;
            to.write(&path, bytes).await?;
        }
    }
    Ok(copied)
}
