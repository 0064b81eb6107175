//! Checking a whole repository as suspiciously as a device would, and more thoroughly.

use std::collections::HashMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use release::repository::{Folder, Repository, Standing};
use release::{Chunk, Manifest, boot_file, chunk, hexadecimal, pack};

use crate::{keys, publish};

/// What was found in order.
#[derive(Clone, Debug)]
pub struct Verified {
    /// A line for each release of each channel.
    pub releases: Vec<String>,
    /// When the first of the metadata becomes stale.
    pub expires: String,
}

/// Checks every byte that a device could be sent, beginning with `root` or else with the root that
/// the repository itself begins with, which proves only that it fits together.
///
/// With `development` the development key is accepted, and so are development images.
///
/// # Errors
///
/// Fails at the first thing that is not in order.
pub async fn verify(repository: &Path, root: Option<&Path>, development: bool) -> Result<Verified> {
    let root = match root {
        Some(path) => path.to_owned(),
        None => publish::newest_root(repository)?,
    };
    let root = fs::read(&root).with_context(|| format!("reading {}", root.display()))?;
    let files = Arc::new(Folder(repository.to_owned()));
    let loaded = Repository::load(&root, files, None)
        .await
        .with_context(|| format!("{} is not to be believed", repository.display()))?;
    if !development && loaded.has_key(&[&keys::development()?]) {
        bail!(
            "anyone can sign for this repository: it believes the development key, which is in the source tree"
        );
    }
    let mut packs = HashMap::new();
    let mut releases = Vec::new();
    for offer in loaded.offers() {
        let terms = &offer.terms;
        let name = format!(
            "{}: {} {} {}",
            offer.channel, terms.product, terms.edition, terms.version
        );
        let manifest = loaded
            .manifest(&offer)
            .await
            .with_context(|| name.clone())?;
        if manifest.development && !development {
            bail!("{name} is a development image: its console is open to anyone");
        }
        check(repository, &manifest, &mut packs).with_context(|| name.clone())?;
        let standing = match terms.standing {
            Standing::Open if terms.wave.0.is_empty() => "for everyone",
            Standing::Open => "in waves",
            Standing::Paused => "paused",
            Standing::Withdrawn => "withdrawn",
        };
        releases.push(format!(
            "{name}, {standing}, {:.1} MB",
            manifest.download_size("a") as f64 / 1e6
        ));
    }
    Ok(Verified {
        releases,
        expires: {
            let (time, role) = loaded.expires();
            format!("{time} ({role})")
        },
    })
}

/// Puts a release together from its packs and looks whether it is what it says.
fn check(
    repository: &Path,
    manifest: &Manifest,
    packs: &mut HashMap<String, Vec<u8>>,
) -> Result<()> {
    read_packs(repository, manifest, packs)?;
    let assemble = |chunks: &[Chunk]| assemble(manifest, packs, chunks);
    let root = assemble(&manifest.root.chunks).context("putting the root together")?;
    let tree = verity::Tree::build(root.as_slice(), &manifest.root.salt())?;
    ensure!(
        tree.root_hash == manifest.root.hash(),
        "the root has another root hash than the manifest says"
    );
    assemble(&manifest.recovery).context("putting the recovery together")?;
    for slot in ["a", "b"] {
        let file = assemble(manifest.boot.of(slot).unwrap_or_default())
            .with_context(|| format!("putting boot file {slot} together"))?;
        boot_file::Expected {
            slot,
            hash: manifest.root.hash(),
            salt: &manifest.root.salt,
            blocks: manifest.root.blocks,
        }
        .check(&boot_file::command_line(Cursor::new(file))?)?;
    }
    Ok(())
}

/// Reads the packs of a release that are not there yet, each compared with its hash.
pub(crate) fn read_packs(
    repository: &Path,
    manifest: &Manifest,
    packs: &mut HashMap<String, Vec<u8>>,
) -> Result<()> {
    for pack in &manifest.packs {
        if packs.contains_key(&pack.hash) {
            continue;
        }
        let path = repository.join(pack.path());
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            bytes.len() as u64 == pack.size && hexadecimal(&chunk::hash(&bytes)) == pack.hash,
            "{} is damaged",
            path.display()
        );
        packs.insert(pack.hash.clone(), bytes);
    }
    Ok(())
}

/// Puts chunks of a release together, each compared with its hash.
pub(crate) fn assemble(
    manifest: &Manifest,
    packs: &HashMap<String, Vec<u8>>,
    chunks: &[Chunk],
) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    for chunk in chunks {
        let bytes = &packs[&manifest.packs[chunk.pack as usize].hash];
        let from = chunk.offset as usize;
        data.extend(pack::unpack(
            chunk,
            &bytes[from..from + chunk.stored as usize],
        )?);
    }
    Ok(data)
}
