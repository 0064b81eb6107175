//! The Debian packages whose files go into images, held still by `devices/packages.lock`.
//!
//! The lock names each package's version and hash, so that an image is the same whoever builds it
//! and whenever. Packages come from whatever mirror the machine's apt is set up with, whose
//! signatures apt checks; the hash then decides. Debian takes packages off its mirrors when it
//! supersedes them: then the current version is used, and said so, until `cargo xtask lock` has
//! brought the lock up to date.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{paths, process, progress::Progress};

/// What the lock must name. A name that ends in a `*` stands for what that metapackage depends on.
///
/// The kernel with a number in its name is in no image: `cargo xtask bench update` goes from it to the other.
const WANTED: [&str; 7] = [
    "ca-certificates",
    "fonts-inter",
    "fonts-noto-cjk",
    "linux-image-6.1.0-54-amd64",
    "linux-image-amd64*",
    "linux-source-6.1",
    "tzdata",
];

const HEADER: &str = "\
# The Debian packages whose files go into images. Made by `cargo xtask lock`; checked in, so that
# every build uses the same bits.

";

/// The lock file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    package: Vec<Package>,
}

/// One locked package.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// What the image builder asks for.
    pub role: String,
    /// The package that fills it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The hash of its `.deb` file.
    pub sha256: String,
}

fn lock_path(root: &Path) -> PathBuf {
    root.join("devices/packages.lock")
}

/// The locked package for `role`.
///
/// # Errors
///
/// Fails when the lock cannot be read or does not name it.
pub fn locked(root: &Path, role: &str) -> Result<Package> {
    let path = lock_path(root);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let lock: Lock = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    lock.package
        .into_iter()
        .find(|package| package.role == role)
        .with_context(|| {
            format!(
                "{} does not name {role}: run `cargo xtask lock`",
                path.display()
            )
        })
}

/// The unpacked files of the package for `role`, fetched when the cache does not have them.
///
/// # Errors
///
/// Fails when the package cannot be fetched or is not what it should be.
pub fn unpacked(root: &Path, role: &str, progress: &Progress) -> Result<PathBuf> {
    let mut package = locked(root, role)?;
    if let Some(folder) = unpacked_in_cache(&package)? {
        return Ok(folder);
    }
    let file = match fetch(&package, progress) {
        Ok(file) => file,
        Err(error) => {
            let current = current(role)?;
            if current.version == package.version {
                return Err(error);
            }
            progress.note(&format!(
                "{} {} is no longer on the mirror: taking {} {}. `cargo xtask lock` updates devices/packages.lock.",
                package.name, package.version, current.name, current.version
            ));
            package = current;
            if let Some(folder) = unpacked_in_cache(&package)? {
                return Ok(folder);
            }
            fetch(&package, progress)?
        }
    };
    let folder = unpacked_folder(&package)?;
    let parent = folder.parent().context("the cache has no parent folder")?;
    paths::create(parent)?;
    // Unpacked beside its place and moved there, so that a folder that exists is complete.
    let temporary = tempfile::tempdir_in(parent)
        .with_context(|| format!("making a folder in {}", parent.display()))?;
    progress.step(&format!("unpacking {}", package.name), || {
        process::run(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&file)
                .arg(temporary.path()),
        )
    })?;
    let temporary = temporary.keep();
    if fs::rename(&temporary, &folder).is_err() {
        // Another build was quicker.
        let _ = fs::remove_dir_all(&temporary);
    }
    // What is unpacked is all that is used.
    let _ = fs::remove_file(&file);
    Ok(folder)
}

fn unpacked_folder(package: &Package) -> Result<PathBuf> {
    Ok(paths::cache()?
        .join("packages")
        .join(format!("{}-{}", package.name, &package.sha256[..16])))
}

fn unpacked_in_cache(package: &Package) -> Result<Option<PathBuf>> {
    Ok(Some(unpacked_folder(package)?).filter(|folder| folder.is_dir()))
}

/// Fetches a package by apt and checks its hash.
fn fetch(package: &Package, progress: &Progress) -> Result<PathBuf> {
    let folder = paths::cache()?
        .join("downloads")
        .join(&package.sha256[..16]);
    paths::create(&folder)?;
    progress.step(
        &format!("fetching {} {}", package.name, package.version),
        || {
            process::run(
                Command::new("apt-get")
                    .args([
                        "--quiet",
                        "download",
                        &format!("{}={}", package.name, package.version),
                    ])
                    .current_dir(&folder),
            )
        },
    )?;
    let file = fs::read_dir(&folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download left no package in {}", folder.display()))?;
    let found = hash_file(&file)?;
    if found != package.sha256 {
        let _ = fs::remove_file(&file);
        bail!(
            "{} {} has the hash {found} where devices/packages.lock says {}: it was not used",
            package.name,
            package.version,
            package.sha256
        );
    }
    Ok(file)
}

/// What the machine's apt would install for `role` today.
fn current(role: &str) -> Result<Package> {
    let mut name = role.to_owned();
    let mut record = describe(&name)?;
    if WANTED.contains(&format!("{role}*").as_str()) {
        let depends =
            field(&record, "Depends").with_context(|| format!("{role} depends on nothing"))?;
        name = depends
            .split([' ', ','])
            .next()
            .unwrap_or_default()
            .to_owned();
        record = describe(&name)?;
    }
    let get =
        |key| field(&record, key).with_context(|| format!("apt does not say the {key} of {name}"));
    Ok(Package {
        role: role.to_owned(),
        name: name.clone(),
        version: get("Version")?,
        sha256: get("SHA256")?,
    })
}

fn describe(name: &str) -> Result<String> {
    process::output(Command::new("apt-cache").args(["show", "--no-all-versions", name]))
        .with_context(|| {
            format!(
                "asking apt about {name}: if it knows no packages yet, run `apt-get update` as root"
            )
        })
}

fn field(record: &str, key: &str) -> Option<String> {
    record
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .map(str::to_owned)
}

/// Writes the lock anew with what the machine's apt offers today, and prints what changed.
///
/// # Errors
///
/// Fails when apt does not know a package.
pub fn update_lock(root: &Path) -> Result<()> {
    let mut lock = Lock {
        package: Vec::new(),
    };
    for wanted in WANTED {
        let role = wanted.trim_end_matches('*');
        let new = current(role)?;
        match locked(root, role) {
            Ok(old) if old == new => println!("{role}: {} (unchanged)", new.version),
            Ok(old) => println!("{role}: {} → {}", old.version, new.version),
            Err(_) => println!("{role}: {}", new.version),
        }
        lock.package.push(new);
    }
    let path = lock_path(root);
    fs::write(&path, format!("{HEADER}{}", toml::to_string(&lock)?))
        .with_context(|| format!("writing {}", path.display()))
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
///
/// Fails when it cannot be read.
pub fn hash_file(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file
            .read(&mut buffer)
            .with_context(|| format!("reading {}", path.display()))?;
        if count == 0 {
            return Ok(verity::hexadecimal(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_names_everything_that_is_wanted() {
        let root = paths::repository().unwrap();
        for wanted in WANTED {
            let package = locked(&root, wanted.trim_end_matches('*')).unwrap();
            assert_eq!(package.sha256.len(), 64, "{package:?}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let record = "Package: x\nPre-Depends: y\nDepends: linux-image-6.1 (= 1), z\n";
        assert_eq!(
            field(record, "Depends").unwrap(),
            "linux-image-6.1 (= 1), z"
        );
        assert_eq!(field(record, "Version"), None);
    }
}
