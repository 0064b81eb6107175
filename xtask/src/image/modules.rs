//! Chooses, out of the thousands of drivers of Debian's kernel, those that a product names and
//! what these need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{paths, process};

/// The modules of a kernel as it was packaged.
#[derive(Debug)]
pub struct Modules {
    /// `…/lib/modules/VERSION`.
    folder: PathBuf,
    /// For each module by name, its path under the folder.
    paths: BTreeMap<String, PathBuf>,
    /// For each module by name, the names of what must be there before it, in that order.
    needs: BTreeMap<String, Vec<String>>,
    /// For each module by name, what it asks for while it is loaded: names or aliases.
    asks_for: BTreeMap<String, Vec<String>>,
    /// For each alias without a pattern, the modules that go by it.
    aliases: BTreeMap<String, Vec<String>>,
    /// What is built into the kernel.
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads which modules there are.
    ///
    /// # Errors
    ///
    /// Fails when depmod does, or the folder is not what Debian's packages have.
    pub fn read(folder: &Path) -> Result<Self> {
        let dependencies = folder.join("modules.dep");
        if !dependencies.is_file() {
            depmod(folder)?;
        }
        let text = fs::read_to_string(&dependencies)
            .with_context(|| format!("reading {}", dependencies.display()))?;
        let mut paths = BTreeMap::new();
        let mut needs = BTreeMap::new();
        for line in text.lines() {
            let Some((path, rest)) = line.split_once(':') else {
                continue;
            };
            // depmod lists the nearest dependency first, so the last one has to be loaded first.
            needs.insert(
                name(path),
                rest.split_whitespace().rev().map(name).collect(),
            );
            paths.insert(name(path), PathBuf::from(path));
        }
        let mut asks_for: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in read_index(folder, "modules.softdep")?.lines() {
            // softdep NAME pre: A B post: C
            let mut words = line.split_whitespace().skip(1);
            let Some(module) = words.next() else { continue };
            let before = words
                .skip_while(|word| *word != "pre:")
                .skip(1)
                .take_while(|word| *word != "post:");
            asks_for
                .entry(name(module))
                .or_default()
                .extend(before.map(str::to_owned));
        }
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in read_index(folder, "modules.alias")?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["alias", alias, module] = words[..]
                && !alias.contains(['*', '?', '['])
            {
                aliases
                    .entry(alias.to_owned())
                    .or_default()
                    .push(name(module));
            }
        }
        let builtin = read_index(folder, "modules.builtin")?;
        Ok(Self {
            folder: folder.to_owned(),
            paths,
            needs,
            asks_for,
            aliases,
            builtin: builtin.lines().map(name).collect(),
        })
    }

    /// The kernel's version.
    #[must_use]
    pub fn version(&self) -> String {
        self.folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// These modules and what they need, each after what it needs.
    ///
    /// # Errors
    ///
    /// Fails for a name that is neither a module nor built in: a misspelt one must not go unnoticed.
    pub fn in_order(&self, names: &[String]) -> Result<Vec<String>> {
        let mut order: Vec<String> = Vec::new();
        for name in names {
            let name = name.replace('-', "_");
            if self.builtin.contains(&name) {
                continue;
            }
            let Some(needs) = self.needs.get(&name) else {
                bail!(
                    "the kernel {} has no driver {name:?}: correct it in [modules] of the product",
                    self.version()
                );
            };
            for module in needs.iter().chain([&name]) {
                for asked in self.asked_for(module) {
                    add(&mut order, &asked);
                }
                add(&mut order, module);
            }
        }
        Ok(order)
    }

    /// What must be loaded before `module` because it asks for it by itself, such as the checksums
    /// of a file system: there is no modprobe on the device that the kernel could ask.
    fn asked_for(&self, module: &str) -> Vec<String> {
        let mut found = Vec::new();
        for asked in self.asks_for.get(module).into_iter().flatten() {
            let by_name = name(asked);
            if self.builtin.contains(&by_name) {
                continue;
            }
            let candidates = if self.needs.contains_key(&by_name) {
                std::slice::from_ref(&by_name)
            } else {
                self.aliases.get(asked).map_or(&[][..], Vec::as_slice)
            };
            // Of several that do the same, the one that works on every processor.
            let chosen = candidates
                .iter()
                .find(|name| name.ends_with("_generic"))
                .or(candidates.first());
            if let Some(chosen) = chosen {
                found.extend(self.needs.get(chosen).into_iter().flatten().cloned());
                found.push(chosen.clone());
            }
        }
        found
    }

    /// The content of a module without what only a debugger reads.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be read.
    pub fn content(&self, module: &str) -> Result<Vec<u8>> {
        let stripped = tempfile::NamedTempFile::new().context("making a temporary file")?;
        self.strip(module, stripped.path())?;
        fs::read(stripped.path()).with_context(|| format!("reading the driver {module}"))
    }

    fn strip(&self, module: &str, to: &Path) -> Result<()> {
        let from = self.folder.join(&self.paths[module]);
        process::run(
            process::tool("strip")
                .args(["--strip-debug", "-o"])
                .arg(to)
                .arg(&from),
        )
    }

    /// Puts these modules, and what they need, with their indexes into `system/modules/VERSION` of
    /// the root that is being staged.
    ///
    /// # Errors
    ///
    /// Fails when copying or depmod fails.
    pub fn stage(&self, names: &[String], stage: &Path) -> Result<()> {
        let work = tempfile::tempdir_in(stage.parent().unwrap_or(stage))
            .context("making a folder for drivers")?;
        let folder = work.path().join("lib/modules").join(self.version());
        for module in self.in_order(names)? {
            let to = folder.join(&self.paths[&module]);
            paths::create(to.parent().unwrap_or(&folder))?;
            self.strip(&module, &to)?;
        }
        for index in [
            "modules.builtin",
            "modules.builtin.modinfo",
            "modules.order",
        ] {
            fs::copy(self.folder.join(index), folder.join(index))
                .with_context(|| format!("copying {index}"))?;
        }
        depmod(&folder)?;
        // The device reads the text indexes only.
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let kept = [
                "kernel",
                "modules.alias",
                "modules.dep",
                "modules.softdep",
                "modules.builtin",
            ];
            if !kept.contains(&name.as_str()) {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        let target = stage.join("system/modules");
        paths::create(&target)?;
        fs::rename(&folder, target.join(self.version()))
            .context("moving the drivers to their place")
    }
}

fn add(order: &mut Vec<String>, module: &str) {
    if !order.iter().any(|known| known == module) {
        order.push(module.to_owned());
    }
}

fn read_index(folder: &Path, index: &str) -> Result<String> {
    let path = folder.join(index);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// Makes the indexes of the modules in `…/lib/modules/VERSION`.
fn depmod(folder: &Path) -> Result<()> {
    let base = folder
        .ancestors()
        .nth(3)
        .context("modules are not in …/lib/modules/VERSION")?;
    let version = folder.file_name().unwrap_or_default();
    process::run(process::tool("depmod").arg("-b").arg(base).arg(version))
}

/// A module's name as the kernel has it, from its path.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> (tempfile::TempDir, Modules) {
        let folder = tempfile::tempdir().unwrap();
        for (index, content) in [
            (
                "modules.dep",
                "kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko\n\
                 kernel/crypto/crc32c-intel.ko:\nkernel/crypto/crc32c_generic.ko:\n\
                 kernel/lib/libcrc32c.ko:\n\
                 kernel/drivers/virtio/virtio_pci.ko: kernel/b/virtio-modern.ko kernel/a/virtio.ko kernel/a/virtio-ring.ko\n\
                 kernel/a/virtio.ko: kernel/a/virtio-ring.ko\n\
                 kernel/a/virtio-ring.ko:\n\
                 kernel/b/virtio-modern.ko: kernel/a/virtio-ring.ko\n",
            ),
            (
                "modules.softdep",
                "# comment\nsoftdep libcrc32c pre: crc32c post: x\n",
            ),
            (
                "modules.alias",
                "alias crc32c crc32c_intel\nalias crc32c crc32c_generic\nalias pci:v*d* virtio_pci\n",
            ),
            ("modules.builtin", "kernel/fs/ext4/ext4.ko\n"),
        ] {
            fs::write(folder.path().join(index), content).unwrap();
        }
        let modules = Modules::read(folder.path()).unwrap();
        (folder, modules)
    }

    fn order(names: &[&str]) -> Result<Vec<String>> {
        modules().1.in_order(
            &names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn each_comes_once_and_after_what_it_needs() {
        assert_eq!(
            order(&["virtio-pci", "ext4", "erofs", "virtio"]).unwrap(),
            [
                "virtio_ring",
                "virtio",
                "virtio_modern",
                "virtio_pci",
                "crc32c_generic",
                "libcrc32c",
                "erofs"
            ]
        );
    }

    #[test]
    fn a_misspelt_driver_is_refused() {
        assert!(order(&["erfos"]).unwrap_err().to_string().contains("erfos"));
    }
}
