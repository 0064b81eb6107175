//! `cargo xtask reproduce`: the same sources give the same image, wherever they lie.
//!
//! The sources are copied into two folders with names of different lengths, and the product's kernel and
//! its image are built in each, with a cache and a target folder of its own. Then the disks are compared,
//! and when they differ, the pieces, so that the one to blame is named.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{packages::hash_file, paths, process, progress::Progress};

const PRODUCT: &str = "qemu-phone";

/// Builds twice and compares.
///
/// # Errors
///
/// Fails when a build does, or when the images differ, naming the pieces that do.
pub fn run(root: &Path, progress: &Progress) -> Result<()> {
    let work = tempfile::tempdir_in(paths::target(root)?).context("making a folder to build in")?;
    let mut outputs = Vec::new();
    for name in ["first", "second-and-longer"] {
        let folder = work.path().join(name);
        copy_sources(root, &folder)?;
        for what in ["kernel", "image"] {
            progress.noisy_step(&format!("building the {what} in the {name} folder"), || {
                process::run_visibly(
                    Command::new("cargo")
                        .args(["xtask", "--yes", what, "--device", PRODUCT])
                        .current_dir(&folder)
                        .env("CARGO_TARGET_DIR", folder.join("target"))
                        .env("HYPEROS_CACHE", folder.join("cache"))
                        .env_remove("CARGO_MANIFEST_DIR"),
                )
            })?;
        }
        outputs.push(folder.join("target/hyperos").join(PRODUCT));
    }
    let differences = differences(&outputs[0], &outputs[1])?;
    if !differences.is_empty() {
        let kept = work.keep();
        bail!(
            "built twice, these differ: {} (both are kept in {})",
            differences.join(", "),
            kept.display()
        );
    }
    println!(
        "Built twice in two folders, {PRODUCT} is the same bit for bit: {}",
        hash_file(&outputs[0].join(format!("{PRODUCT}.img")))?
    );
    Ok(())
}

/// What is under version control, and still in the work tree, sorted.
pub(crate) fn sources(root: &Path) -> Result<Vec<String>> {
    let list = process::output(
        Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root),
    )?;
    let mut names: Vec<String> = list
        .split('\0')
        .filter(|name| !name.is_empty())
        // Removed in the work tree and not yet in the index.
        .filter(|name| root.join(name).exists())
        .map(str::to_owned)
        .collect();
    names.sort();
    Ok(names)
}

/// Copies what is under version control, as it is in the work tree.
fn copy_sources(root: &Path, to: &Path) -> Result<()> {
    for name in sources(root)? {
        let from = root.join(&name);
        let target = to.join(&name);
        paths::create(target.parent().unwrap_or(to))?;
        fs::copy(&from, &target).with_context(|| format!("copying {name}"))?;
    }
    Ok(())
}

/// The files by which two outputs differ, the whole disk first.
fn differences(first: &Path, second: &Path) -> Result<Vec<String>> {
    let mut names: Vec<PathBuf> = [
        format!("{PRODUCT}.img"),
        "kernel".to_owned(),
        "initramfs.cpio".to_owned(),
        "root.img".to_owned(),
        "boot.efi".to_owned(),
        "esp.img".to_owned(),
    ]
    .map(PathBuf::from)
    .to_vec();
    list(&first.join("stage"), first, &mut names)?;
    let mut different = Vec::new();
    for name in names {
        let (first, second) = (first.join(&name), second.join(&name));
        if !second.exists() || hash_file(&first)? != hash_file(&second)? {
            different.push(name.display().to_string());
        }
    }
    Ok(different)
}

fn list(folder: &Path, base: &Path, names: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            list(&path, base, names)?;
        } else {
            names.push(path.strip_prefix(base).unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}
