//! A stick from which a machine without this system gets it.
//!
//! It is any stick with a FAT file system: the recovery of a release stands where firmware looks for something to
//! start, and the repository in the folder in which recovery looks for releases. The recovery is taken out of the
//! release itself, so whoever has a repository, or a copy of one, can make a stick.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use release::repository::{Folder, Repository, target_name};

use crate::mirror::{self, Site};
use crate::{publish, verify};

/// Where firmware looks for something to start.
pub const STARTED: &str = "EFI/BOOT/BOOTX64.EFI";

/// Where recovery looks for releases.
pub const REPOSITORY: &str = "hyperos";

/// Puts a repository into the folder of a mounted stick, and the recovery of the release `PRODUCT.EDITION.VERSION`
/// for firmware to start. Gives the bytes that were copied.
///
/// # Errors
///
/// Fails when the repository is damaged or has no such release, when the release has no recovery, and when the
/// stick cannot be written. What starts the stick is written last.
pub async fn make(repository: &Path, release: &str, stick: &Path) -> Result<u64> {
    let root = publish::newest_root(repository)?;
    let root = fs::read(&root).with_context(|| format!("reading {}", root.display()))?;
    let loaded = Repository::load(&root, Arc::new(Folder(repository.to_owned())), None)
        .await
        .with_context(|| format!("{} is not to be believed", repository.display()))?;
    let offers = loaded.offers();
    let offer = offers
        .iter()
        .find(|offer| target_name(&offer.terms) == release)
        .with_context(|| format!("{} has no release {release}", repository.display()))?;
    let manifest = loaded.manifest(offer).await?;
    ensure!(
        !manifest.recovery.is_empty(),
        "{release} has no recovery, which is what a stick starts"
    );
    let mut packs = HashMap::new();
    verify::read_packs(repository, &manifest, &mut packs)?;
    let recovery = verify::assemble(&manifest, &packs, &manifest.recovery)?;
    let copied = mirror::copy(repository, &Site::Folder(stick.join(REPOSITORY))).await?;
    let to = stick.join(STARTED);
    let folder = to.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::write(&to, &recovery).with_context(|| format!("writing {}", to.display()))?;
    Ok(copied + recovery.len() as u64)
}
