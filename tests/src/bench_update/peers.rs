//! What others would download for the same release: the old slot and the new one as a file each, given to
//! them as they are meant to be used.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use xtask::process;

use crate::mirror::Mirror;

/// Bytes by each.
#[derive(Clone, Debug)]
pub struct Downloads {
    /// By those that look for chunks that are there already.
    pub chunks: Vec<(&'static str, Result<u64, String>)>,
    /// By those that make a patch from one release to another.
    pub patches: Vec<(&'static str, Result<u64, String>)>,
}

/// Asks all of them. `old` and `new` are files.
#[must_use]
pub fn downloads(bita: &Path, old: &Path, new: &Path, folder: &Path) -> Downloads {
    let told = |result: Result<u64>| result.map_err(|error| format!("{error:#}"));
    Downloads {
        chunks: vec![
            ("casync", told(casync(old, new, folder))),
            ("bita", told(bita_clone(bita, old, new, folder))),
        ],
        patches: vec![
            ("zstd -19 --patch-from", told(zstd(old, new, folder))),
            ("xdelta3 -9", told(xdelta3(old, new, folder))),
            ("bsdiff", told(bsdiff(old, new, folder))),
        ],
    }
}

/// The index of the new one, and the chunks that the old one does not have, compressed as they lie in the store.
fn casync(old: &Path, new: &Path, folder: &Path) -> Result<u64> {
    let store = |name: &str, file: &Path| -> Result<(PathBuf, PathBuf)> {
        let (store, index) = (
            folder.join(format!("{name}.castr")),
            folder.join(format!("{name}.caibx")),
        );
        let _ = fs::remove_dir_all(&store);
        let mut option = OsString::from("--store=");
        option.push(&store);
        process::run(
            process::tool("casync")
                .arg("make")
                .args([&option])
                .args([&index, file]),
        )?;
        Ok((store, index))
    };
    let (old_store, _) = store("old", old)?;
    let (new_store, index) = store("new", new)?;
    let mut there = Vec::new();
    files(&old_store, &mut there)?;
    let there: HashSet<_> = there.into_iter().map(|(name, _)| name).collect();
    let mut all = Vec::new();
    files(&new_store, &mut all)?;
    let missing = all.into_iter().filter(|(name, _)| !there.contains(name));
    Ok(length(&index)? + missing.map(|(_, length)| length).sum::<u64>())
}

/// All files below a folder: name and length.
fn files(folder: &Path, found: &mut Vec<(OsString, u64)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            files(&entry.path(), found)?;
        } else {
            found.push((entry.file_name(), about.len()));
        }
    }
    Ok(())
}

/// What a static web server sends of the new one's archive to who has the old one. Its chunks are compressed as
/// ours are, with what else it does by itself.
fn bita_clone(bita: &Path, old: &Path, new: &Path, folder: &Path) -> Result<u64> {
    let (served, cloned) = (folder.join("served"), folder.join("cloned.bin"));
    fs::create_dir_all(&served).with_context(|| format!("making {}", served.display()))?;
    process::run(
        Command::new(bita)
            .args(["compress", "--force-create", "--compression", "zstd"])
            .args(["--compression-level", "19", "--input"])
            .args([new, &served.join("new.cba")]),
    )?;
    let mirror = Mirror::start(&served)?;
    process::run(
        Command::new(bita)
            .args(["clone", "--force-create", "--seed"])
            .arg(old)
            .arg(format!("http://127.0.0.1:{}/new.cba", mirror.port()))
            .arg(&cloned),
    )?;
    ensure!(
        fs::read(&cloned).context("reading what bita made")? == fs::read(new)?,
        "what bita made is not what it was to make"
    );
    Ok(mirror.take_sent_in_all())
}

fn zstd(old: &Path, new: &Path, folder: &Path) -> Result<u64> {
    let patch = folder.join("patch.zst");
    let mut from = OsString::from("--patch-from=");
    from.push(old);
    process::run(
        process::tool("zstd")
            .args(["-19", "--long=31", "--single-thread", "--quiet", "--force"])
            .arg(from)
            .arg(new)
            .arg("-o")
            .arg(&patch),
    )?;
    length(&patch)
}

fn xdelta3(old: &Path, new: &Path, folder: &Path) -> Result<u64> {
    let patch = folder.join("patch.xdelta");
    process::run(
        process::tool("xdelta3")
            .args(["-e", "-9", "-f", "-B"])
            // All of the old one, and no less than it takes by itself.
            .arg(length(old)?.max(64 << 20).to_string())
            .arg("-s")
            .args([old, new, &patch]),
    )?;
    length(&patch)
}

fn bsdiff(old: &Path, new: &Path, folder: &Path) -> Result<u64> {
    let patch = folder.join("patch.bsdiff");
    process::run(process::tool("bsdiff").args([old, new, &patch]))?;
    length(&patch)
}

fn length(path: &Path) -> Result<u64> {
    let about = fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    Ok(about.len())
}
