//! Kernel modules: which ones a device asks for, in which order they load, and loading them.
//!
//! `modules.alias` and `modules.dep` are depmod's: the first maps patterns over what a device says
//! of itself (its *modalias*) to modules, the second names a module's file and those that must be
//! there before it. Patterns are shell patterns: `*`, `?` and `[a-z]`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::io::Errno;

/// Loads the modules that the file `order` in `folder` lists, a file name a line, one after the
/// other. No folder, no modules: then every driver is in the kernel.
///
/// A module that does not load is said on the console and passed over: what is missing for its
/// lack is better said by whoever needs it.
///
/// # Errors
/// When the list is there and cannot be read.
pub fn load_in_order(folder: &Path) -> Result<()> {
    let order = folder.join("order");
    let text = match std::fs::read_to_string(&order) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", order.display())),
    };
    for name in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Err(error) = load(&folder.join(name)) {
            crate::fatal::say(format_args!("{error:#}"));
        }
    }
    Ok(())
}

/// Loads one module. One that is there already is no error.
///
/// # Errors
/// When the file cannot be read or the kernel refuses it.
pub fn load(file: &Path) -> Result<()> {
    let module = File::open(file)
        .with_context(|| format!("opening the kernel module {}", file.display()))?;
    let parameters = CString::default();
    match rustix::system::finit_module(&module, &parameters, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("loading the kernel module {}", file.display()))
        }
    }
}

/// The modules of one kernel, from depmod's lists.
#[derive(Debug, Default)]
pub struct Modules {
    folder: PathBuf,
    /// Patterns with their modules, by what stands before the first `:` (the bus).
    aliases: BTreeMap<String, Vec<(String, String)>>,
    /// A module's file and those of the modules that it needs, relative to the folder.
    files: BTreeMap<String, Vec<PathBuf>>,
    loaded: BTreeSet<PathBuf>,
}

impl Modules {
    /// Reads the lists of the running kernel below `modules`; `None` when the product has none.
    ///
    /// # Errors
    /// When the folder is there and its lists cannot be read.
    pub fn open(modules: &Path) -> Result<Option<Self>> {
        let kernel = rustix::system::uname();
        let folder = modules.join(kernel.release().to_string_lossy().as_ref());
        if !folder.is_dir() {
            return Ok(None);
        }
        let read = |name: &str| {
            let file = folder.join(name);
            std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
        };
        let (aliases, dependencies) = (read("modules.alias")?, read("modules.dep")?);
        Ok(Some(Self::parse(folder, &aliases, &dependencies)))
    }

    /// Takes depmod's two lists; lines that are not understood are passed over.
    pub fn parse(folder: PathBuf, aliases: &str, dependencies: &str) -> Self {
        let mut modules = Self {
            folder,
            ..Self::default()
        };
        for line in aliases.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) =
                (words.next(), words.next(), words.next())
            {
                let entry = (pattern.to_owned(), plain_name(module));
                modules
                    .aliases
                    .entry(bus(pattern).to_owned())
                    .or_default()
                    .push(entry);
            }
        }
        for line in dependencies.lines() {
            if let Some((file, needs)) = line.split_once(':') {
                let file = PathBuf::from(file.trim());
                // depmod lists what is needed first at the end.
                let mut files: Vec<_> = needs.split_whitespace().rev().map(PathBuf::from).collect();
                files.push(file.clone());
                modules.files.insert(name_of(&file), files);
            }
        }
        modules
    }

    /// The files to load for a device that says `modalias` of itself, in order, without those that
    /// were loaded before.
    pub fn wanted(&self, modalias: &str) -> Vec<PathBuf> {
        let mut wanted = Vec::new();
        let aliases = [bus(modalias), ""]
            .into_iter()
            .filter_map(|bus| self.aliases.get(bus))
            .flatten();
        for (pattern, module) in aliases {
            if matches(pattern.as_bytes(), modalias.as_bytes()) {
                for file in self.files.get(module).into_iter().flatten() {
                    if !self.loaded.contains(file) && !wanted.contains(file) {
                        wanted.push(file.clone());
                    }
                }
            }
        }
        wanted
    }

    /// Loads what a device asks for and says what could not be loaded.
    pub fn load_for(&mut self, modalias: &str) -> Vec<anyhow::Error> {
        let mut problems = Vec::new();
        for file in self.wanted(modalias) {
            if let Err(error) = load(&self.folder.join(&file)) {
                problems.push(error);
            }
            // One that the kernel refused would be refused again.
            self.loaded.insert(file);
        }
        problems
    }

    /// Loads what all present devices ask for. A module may bring new devices about: those come
    /// as events.
    pub fn load_for_present(&mut self, devices: &Path) -> Vec<anyhow::Error> {
        let mut modaliases = BTreeSet::new();
        collect_modaliases(devices, &mut modaliases);
        modaliases
            .iter()
            .flat_map(|modalias| self.load_for(modalias))
            .collect()
    }
}

/// Walks sysfs, not following its links.
fn collect_modaliases(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            collect_modaliases(&entry.path(), found);
        } else if entry.file_name() == "modalias"
            && let Ok(text) = std::fs::read_to_string(entry.path())
            && !text.trim().is_empty()
        {
            found.insert(text.trim().to_owned());
        }
    }
}

/// What stands before the first `:`, unless a pattern begins earlier.
fn bus(modalias: &str) -> &str {
    match modalias.split_once(':') {
        Some((bus, _)) if !bus.contains(['*', '?', '[']) => bus,
        _ => "",
    }
}

/// The kernel takes `-` and `_` in a module's name as the same.
fn plain_name(module: &str) -> String {
    module.replace('-', "_")
}

fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    plain_name(name.split('.').next().unwrap_or_default())
}

/// Whether a shell pattern matches a whole text. Takes time in the order of the product of both
/// lengths at worst, whatever the pattern.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not fit: one byte more for the star.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => match class(&pattern[p..], text[t]) {
                Some((length, true)) => Some(length),
                Some((_, false)) => None,
                // A bracket that nothing closes stands for itself.
                None => (text[t] == b'[').then_some(1),
            },
            Some(&byte) => (byte == text[t]).then_some(1),
            None => None,
        };
        match (step, &mut retry) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after, from))) => {
                *from += 1;
                (p, t) = (*after, *from);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// A bracket expression at the start of `pattern`: its length, and whether `byte` is in it.
fn class(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let close = pattern.iter().skip(first + 1).position(|&b| b == b']')? + first + 1;
    let mut inside = &pattern[first..close];
    let mut found = false;
    while let Some((&low, rest)) = inside.split_first() {
        inside = match rest {
            [b'-', high, rest @ ..] => {
                found |= (low..=*high).contains(&byte);
                rest
            }
            rest => {
                found |= low == byte;
                rest
            }
        };
    }
    Some((close + 1, found != negated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_a_shell_would() {
        for (pattern, text, expected) in [
            ("virtio:d00000010v*", "virtio:d00000010v00001AF4", true),
            ("virtio:d00000010v*", "virtio:d00000011v00001AF4", false),
            (
                "pci:v*d*sv*sd*bc03sc*i*",
                "pci:v00001234d00001111sv00001AF4sd00001100bc03sc80i00",
                true,
            ),
            ("usb:v0[0-3]*", "usb:v02", true),
            ("usb:v0[!0-3]*", "usb:v02", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "a", false),
            ("[", "[", true),
            (
                "input:b0003v*e0*k*",
                "input:b0003v0627p0001e0001-e0,1,2,4,k110",
                true,
            ),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn a_module_comes_after_what_it_needs() {
        let modules = Modules::parse(
            PathBuf::from("/modules"),
            "# Aliases extracted from modules themselves.\nalias virtio:d00000010v* virtio-gpu\n",
            "kernel/virtio_gpu.ko: kernel/drm_kms_helper.ko kernel/drm.ko\nkernel/drm.ko:\n",
        );
        let files: Vec<_> = [
            "kernel/drm.ko",
            "kernel/drm_kms_helper.ko",
            "kernel/virtio_gpu.ko",
        ]
        .map(PathBuf::from)
        .into();
        assert_eq!(modules.wanted("virtio:d00000010v00001AF4"), files);
        assert!(modules.wanted("virtio:d00000001v00001AF4").is_empty());
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_any_star(text in "[a-z0-9:]{0,30}", cut in 0usize..30) {
            prop_assert!(matches(text.as_bytes(), text.as_bytes()));
            let cut = cut.min(text.len());
            let pattern = format!("{}*", &text[..cut]);
            prop_assert!(matches(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_pattern_ends_the_matcher(pattern in "[a*?!^\\[\\]-]{0,24}", text in "[a\\[\\]-]{0,24}") {
            let _ = matches(pattern.as_bytes(), text.as_bytes());
        }

        #[test]
        fn no_list_ends_the_parser(aliases in "\\PC*", dependencies in "\\PC*", modalias in "\\PC*") {
            let _ = Modules::parse(PathBuf::new(), &aliases, &dependencies).wanted(&modalias);
        }
    }
}
