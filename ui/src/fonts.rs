//! The typefaces: found in folders when the shell starts, never linked into it.
//!
//! Inter draws Latin, Greek and Cyrillic; Noto Sans CJK draws Chinese and is asked for every glyph
//! that Inter lacks. Reading the names of the CJK faces alone means reading, verifying and unpacking
//! half a megabyte of them, so they can be registered later than the rest: after the first frame,
//! where that has no Chinese in it.

use slint::fontique_011::fontique::{
    self, Blob, Collection, FallbackKey, FamilyId, GenericFamily, Script,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The family that the design is set in.
pub const FAMILY: &str = "Inter";

/// What [`register`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// How many font files were read.
    pub files: usize,
    /// Whether [`FAMILY`] is among them; without it the design falls back to any face there is.
    pub design_family: bool,
    /// Whether a face for Chinese is among them.
    pub chinese: bool,
}

/// Scripts that fall back to the CJK face: people and places have names in all of them.
const CHINESE_SCRIPTS: [&[u8; 4]; 7] = [
    b"Hani", b"Hans", b"Hant", b"Bopo", b"Hira", b"Kana", b"Hang",
];

/// Only these weights are used; a distribution's folder holds dozens of others.
const WANTED: [&str; 5] = [
    "Inter-Regular",
    "Inter-Medium",
    "Inter-SemiBold",
    "InterDisplay-Light",
    "InterDisplay-SemiBold",
];

/// What the files of the face for Chinese begin with.
const CHINESE_FACE: &str = "NotoSansCJK";

/// Which faces to register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faces {
    /// Those that the design is set in.
    Design,
    /// Those for Chinese, after the others.
    Chinese,
    /// All at once.
    All,
}

/// Registers the wanted fonts in these folders and their subfolders with Slint.
///
/// Call it after the Slint platform is set and before the first window; when that was for the design's
/// faces alone, once more for Chinese. Folders that do not exist are passed over; a file that is no font
/// is passed over.
pub fn register(folders: &[PathBuf], faces: Faces) -> Registered {
    let mut files = Vec::new();
    for folder in folders {
        collect(folder, 3, &mut files);
    }
    files.sort();
    // The first folder's copy of a file wins.
    files.dedup_by(|a, b| a.file_name() == b.file_name());
    files.retain(|file| match faces {
        Faces::Design => !is_chinese(file),
        Faces::Chinese => is_chinese(file),
        Faces::All => true,
    });

    let mut collection = slint::fontique_011::shared_collection();
    let mut registered = Registered::default();
    let mut families: Vec<FamilyId> = Vec::new();
    let mut chinese: Vec<FamilyId> = Vec::new();
    for file in &files {
        let Some(blob) = map(file) else { continue };
        registered.files += 1;
        for (family, _) in collection.register_fonts(blob, None) {
            let name = collection
                .family_name(family)
                .unwrap_or_default()
                .to_owned();
            if name == FAMILY {
                registered.design_family = true;
                families.insert(0, family);
            } else if name.contains("CJK") {
                if name.ends_with("SC") {
                    chinese.insert(0, family);
                } else {
                    chinese.push(family);
                }
            } else if !families.contains(&family) {
                families.push(family);
            }
        }
    }
    registered.chinese = !chinese.is_empty();
    families.dedup();
    set_fallbacks(&mut collection, &families, &chinese);
    registered
}

fn set_fallbacks(collection: &mut Collection, families: &[FamilyId], chinese: &[FamilyId]) {
    let everything = || families.iter().chain(chinese.iter().take(1)).copied();
    if everything().next().is_none() {
        return;
    }
    for generic in [
        GenericFamily::SansSerif,
        GenericFamily::SystemUi,
        GenericFamily::UiSansSerif,
    ] {
        // The faces for Chinese come behind those that may be there already.
        if families.is_empty() {
            collection.append_generic_families(generic, everything());
        } else {
            collection.set_generic_families(generic, everything());
        }
    }
    for script in CHINESE_SCRIPTS {
        let key = FallbackKey::new(Script::from_bytes(*script), None);
        collection.set_fallbacks(key, chinese.iter().take(1).copied());
    }
}

fn collect(folder: &Path, depth: u8, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, files);
            }
        } else if is_wanted(&path) {
            files.push(path);
        }
    }
}

fn is_chinese(path: &Path) -> bool {
    stem(path).starts_with(CHINESE_FACE)
}

fn stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
}

fn is_wanted(path: &Path) -> bool {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    matches!(extension, "otf" | "ttf" | "ttc") && (is_chinese(path) || WANTED.contains(&stem(path)))
}

fn map(path: &Path) -> Option<Blob<u8>> {
    let file = std::fs::File::open(path).ok()?;
    // SAFETY: the folders of fonts are part of the read-only, verified root of the device, or of a
    // desktop's installed packages; nobody shortens a file there while the shell runs.
    let map = unsafe { memmap2::Mmap::map(&file) }.ok()?;
    Some(fontique::Blob::new(Arc::new(map)))
}
