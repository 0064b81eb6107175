//! The release on what is plugged in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use init::device::stick;
use release::Manifest;
use release::repository::{Offer, Repository, Standing};
use update::source::{Metadata, Source};
use update::stick::Stick;

/// The channel that is taken where a stick has several: what a device follows that was never told
/// otherwise.
const USUAL: &str = "stable";

/// What a release has to be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The product of the device.
    pub product: String,
    /// Its edition.
    pub edition: String,
}

/// A release that was found and is believed.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where.
    pub stick: Stick,
    /// What it consists of.
    pub manifest: Manifest,
}

/// What came of looking.
#[derive(Debug, Default)]
pub struct Looked {
    /// The newest release of all sticks.
    pub found: Option<Found>,
    /// What was wrong with which stick.
    pub problems: Vec<String>,
}

/// Makes names in `folder` for everything that is plugged in beside the disk `own`, and gives those on
/// which there is a repository.
///
/// # Errors
/// When the names cannot be made.
pub fn plugged_in(folder: &Path, own: Option<&Path>) -> Result<Vec<Stick>> {
    // No disk is called so.
    let own = own.unwrap_or(Path::new("/"));
    let named = name_all(Path::new("/sys/class/block"), folder, own);
    named.with_context(|| format!("naming what is plugged in, in {}", folder.display()))?;
    Ok(update::stick::plugged_in(folder))
}

/// The disk that a stick of [`plugged_in`] is, as its folder of `/sys/devices`.
pub fn disk_of(found: &Stick) -> Option<PathBuf> {
    let device = Path::new("/sys/class/block").join(found.node().file_name()?);
    stick::disk(&device.canonicalize().ok()?)
}

fn name_all(class: &Path, folder: &Path, own: &Path) -> std::io::Result<()> {
    // What was pulled out since has no name any more.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(class)?.flatten() {
        if stick::is_one(&entry.path(), Some(own)) {
            let node = PathBuf::from("/dev").join(entry.file_name());
            std::os::unix::fs::symlink(node, folder.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Asks each stick for the newest release for this device.
///
/// `keys` is the root that is trusted. There is no memory of what was seen before: that is in `/data`.
pub async fn look(sticks: Vec<Stick>, keys: &[u8], wanted: &Wanted) -> Looked {
    let mut looked = Looked::default();
    for stick in sticks {
        match ask(&stick, keys, wanted).await {
            Ok(manifest) => {
                let best = looked.found.as_ref().map(|found| &found.manifest.version);
                if best.is_none_or(|best| manifest.version > *best) {
                    looked.found = Some(Found { stick, manifest });
                }
            }
            Err(error) => looked.problems.push(format!("{stick}: {error:#}")),
        }
    }
    looked
}

async fn ask(stick: &Stick, keys: &[u8], wanted: &Wanted) -> Result<Manifest> {
    let files = Arc::new(Metadata(Source::Stick(stick.clone())));
    let repository = Repository::load(keys, files, None).await?;
    let offers = repository.offers();
    let offer = choose(&offers, wanted).with_context(|| {
        format!(
            "it has no release for {} in the edition {}",
            wanted.product, wanted.edition
        )
    })?;
    Ok(repository.manifest(offer).await?)
}

/// The newest of the usual channel, or of any other where that has none.
fn choose<'a>(offers: &'a [Offer], wanted: &Wanted) -> Option<&'a Offer> {
    let fitting = offers.iter().filter(|offer| {
        let terms = &offer.terms;
        terms.product == wanted.product
            && terms.edition == wanted.edition
            && terms.standing == Standing::Open
    });
    fitting.max_by_key(|offer| (offer.channel == USUAL, offer.terms.version.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plugged_in_gets_a_name_and_the_own_disk_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &std::fs::canonicalize(folder.path()).unwrap();
        let class = folder.join("class");
        std::fs::create_dir_all(&class).unwrap();
        let make = |path: &str| {
            let device = folder.join("devices").join(path);
            std::fs::create_dir_all(&device).unwrap();
            if path.ends_with(|last: char| last.is_ascii_digit()) {
                std::fs::write(device.join("partition"), "1\n").unwrap();
            }
            let name = device.file_name().unwrap();
            std::os::unix::fs::symlink(&device, class.join(name)).unwrap();
            device
        };
        let own = make("virtio0/block/vda");
        for other in [
            "virtio0/block/vda/vda1",
            "usb1/1-1/block/sda",
            "usb1/1-1/block/sda/sda1",
            "ata1/block/sdb",
        ] {
            make(other);
        }
        let names = folder.join("sticks");
        let named = || {
            name_all(&class, &names, &own).unwrap();
            let mut found: Vec<_> = std::fs::read_dir(&names)
                .unwrap()
                .flatten()
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect();
            found.sort();
            found
        };
        assert_eq!(named(), ["sda", "sda1"]);
        assert_eq!(
            std::fs::read_link(names.join("sda1")).unwrap(),
            Path::new("/dev/sda1")
        );
        // Pulled out.
        std::fs::remove_file(class.join("sda")).unwrap();
        std::fs::remove_file(class.join("sda1")).unwrap();
        assert!(named().is_empty());
    }
}
