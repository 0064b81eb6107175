//! Cuts the fonts down to the characters that the system writes.
//!
//! Inter for Latin letters, Noto Sans CJK SC for Chinese: whole, the latter alone is 19 MB a
//! weight. What is kept of it is GB 2312, the 6,763 characters and the punctuation of everyday
//! Chinese, and whatever else our own texts contain.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{packages, paths, process, programs::SOURCE_DATE_EPOCH, progress::Progress};

/// Raised when the way fonts are cut changes.
const RECIPE: &str = "2";

/// Latin with its accents, punctuation, currency, arrows, and what a clock or a table needs.
const LATIN: &str = "U+0020-007E,U+00A0-017F,U+0192,U+0218-021B,U+02C6-02DD,U+2010-2027,U+202F-203A,\
                     U+2044,U+2070-2089,U+20AC,U+2116,U+2122,U+2190-2193,U+2212,U+2215,U+2219,U+2248,U+2260,U+2264-2265,\
                     U+25CF,U+2713,U+FFFD";

/// Kerning and marks, and the figures of equal width that changing numbers are set in.
const LATIN_FEATURES: &str =
    "kern,mark,mkmk,ccmp,locl,calt,case,tnum,pnum,lnum,zero,frac,sups,subs";

/// Fonts of `fonts-inter`, by file name.
const INTER: [&str; 6] = [
    "Inter-Light.otf",
    "Inter-Regular.otf",
    "Inter-Medium.otf",
    "Inter-SemiBold.otf",
    "InterDisplay-Light.otf",
    "InterDisplay-SemiBold.otf",
];

/// Collections of `fonts-noto-cjk`, and what their simplified Chinese member is called here.
const NOTO: [(&str, &str); 2] = [
    ("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf"),
    ("NotoSansCJK-Bold.ttc", "NotoSansCJKsc-Bold.otf"),
];

/// Which member of the Noto Sans CJK collections is simplified Chinese.
const NOTO_SIMPLIFIED: &str = "2";

/// Puts the fonts into `folder`.
///
/// # Errors
///
/// Fails when a font package cannot be had or fontTools fails.
pub fn stage(root: &Path, folder: &Path, progress: &Progress) -> Result<()> {
    let cut = cut(root, progress)?;
    paths::create(folder)?;
    for entry in fs::read_dir(&cut).with_context(|| format!("reading {}", cut.display()))? {
        let path = entry?.path();
        fs::copy(&path, folder.join(path.file_name().unwrap_or_default()))
            .with_context(|| format!("copying {}", path.display()))?;
    }
    Ok(())
}

/// The folder in the cache with the fonts, cut when it is not there yet.
fn cut(root: &Path, progress: &Progress) -> Result<PathBuf> {
    let chinese = chinese(root)?;
    let mut hasher = Sha256::new();
    for input in [RECIPE, LATIN, LATIN_FEATURES, &INTER.concat(), &chinese] {
        hasher.update(input);
        hasher.update([0]);
    }
    for role in ["fonts-inter", "fonts-noto-cjk"] {
        hasher.update(packages::locked(root, role)?.sha256);
    }
    let fonts = paths::cache()?.join("fonts");
    let folder = fonts.join(&verity::hexadecimal(&hasher.finalize())[..16]);
    if folder.is_dir() {
        return Ok(folder);
    }
    let inter =
        packages::unpacked(root, "fonts-inter", progress)?.join("usr/share/fonts/opentype/inter");
    let noto =
        packages::unpacked(root, "fonts-noto-cjk", progress)?.join("usr/share/fonts/opentype/noto");
    paths::create(&fonts)?;
    let work = tempfile::tempdir_in(&fonts).context("making a folder for fonts")?;
    let text = work.path().join("characters");
    fs::write(&text, &chinese)?;

    let mut commands = Vec::new();
    for name in INTER {
        let mut command = subset(&inter.join(name), &work.path().join(name));
        command
            .arg(format!("--unicodes={LATIN}"))
            .arg(format!("--layout-features={LATIN_FEATURES}"));
        commands.push(command);
    }
    for (collection, name) in NOTO {
        let mut command = subset(&noto.join(collection), &work.path().join(name));
        command
            .arg(format!("--text-file={}", text.display()))
            .arg(format!("--font-number={NOTO_SIMPLIFIED}"))
            .arg("--layout-features=kern,mark,mkmk,ccmp,locl,calt,tnum");
        commands.push(command);
    }
    progress.step("cutting fonts", || {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        // The large ones last, side by side.
        commands.chunks_mut(threads).try_for_each(|chunk| {
            thread::scope(|scope| {
                let running: Vec<_> = chunk
                    .iter_mut()
                    .map(|command| scope.spawn(move || process::run(command)))
                    .collect();
                running
                    .into_iter()
                    .try_for_each(|thread| match thread.join() {
                        Ok(result) => result,
                        Err(_) => bail!("a thread that cut a font panicked"),
                    })
            })
        })
    })?;
    fs::remove_file(&text)?;
    if fs::rename(work.path(), &folder).is_err() && !folder.is_dir() {
        bail!("the fonts could not be moved to {}", folder.display());
    }
    Ok(folder)
}

/// fontTools' subsetter, by Debian's Python: another one on the path would not have fontTools.
fn subset(from: &Path, to: &Path) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .args(["-m", "fontTools.subset"])
        .arg(from)
        .arg(format!("--output-file={}", to.display()))
        .args([
            "--no-hinting",
            "--desubroutinize",
            "--name-IDs=*",
            "--no-recalc-timestamp",
        ])
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH);
    command
}

/// The characters that the Chinese font keeps.
fn chinese(root: &Path) -> Result<String> {
    let mut characters: BTreeSet<char> = gb2312()?
        .chars()
        .filter(|&character| character > '\u{7f}')
        .collect();
    for folder in ["ui", "system/shell", "editions", "wit"] {
        collect(&root.join(folder), &mut characters)?;
    }
    Ok(characters.into_iter().collect())
}

/// All of GB 2312, decoded by the C library's iconv, which every Debian has.
fn gb2312() -> Result<String> {
    let mut bytes = Vec::new();
    for row in 0xa1..=0xf7_u8 {
        for cell in 0xa1..=0xfe_u8 {
            bytes.extend([row, cell]);
        }
    }
    let input = tempfile::NamedTempFile::new().context("making a temporary file")?;
    fs::write(input.path(), bytes)?;
    // `-c` passes over the cells that have no character, and makes iconv end with 1.
    let output = Command::new("iconv")
        .args(["-c", "-f", "GB2312", "-t", "UTF-8"])
        .arg(input.path())
        .stderr(Stdio::null())
        .output()
        .context("starting iconv")?;
    let text = String::from_utf8(output.stdout)
        .context("iconv answered with something else than UTF-8")?;
    if text.chars().count() < 7000 {
        bail!(
            "iconv knows only {} characters of GB 2312",
            text.chars().count()
        );
    }
    Ok(text)
}

/// Adds the wide characters of every text under `folder`.
fn collect(folder: &Path, characters: &mut BTreeSet<char>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, characters)?;
        } else if let Ok(text) = fs::read_to_string(&path) {
            characters.extend(
                text.chars()
                    .filter(|&character| ('\u{2e80}'..='\u{ffef}').contains(&character)),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyday_chinese_is_kept() {
        let characters = chinese(&paths::repository().unwrap()).unwrap();
        for character in "设置网络时间语言，。《》".chars() {
            assert!(characters.contains(character), "{character}");
        }
    }
}
