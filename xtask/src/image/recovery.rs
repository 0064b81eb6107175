//! The recovery: a boot file of its own on each boot partition, with the same kernel and an initramfs
//! in which the program `recovery` is process 1. It needs no root.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Image, Layout, Options, boot, disk, initramfs::Archive, modules::Modules};
use crate::{process, product::Product, programs, size::Size};
use anyhow::{Context as _, Result, ensure};

/// No recovery is larger: `release::manifest` refuses one that is.
const LARGEST: u64 = 32 << 20;

/// Its file, in the folder of an image.
pub const FILE: &str = "recovery.efi";

/// What of the staged system it has too.
const FILES: [&str; 3] = ["product.toml", "edition.toml", "update/root.json"];

/// Makes all of its initramfs but for what says which release it is of.
///
/// With modules it would be too large as it is, and a kernel that has modules, which is Debian's, unpacks
/// it. It is packed so that a small change stays a small one.
pub(super) fn write_initramfs(
    product: &Product,
    stage: &Path,
    programs: &Path,
    modules: Option<&Modules>,
    layout: &Layout,
    to: &Path,
) -> Result<()> {
    let program = to.with_extension("program");
    process::run(
        process::tool("strip")
            .args(["--strip-all", "-o"])
            .arg(&program)
            .arg(programs.join(programs::RECOVERY)),
    )?;
    let mut archive = Archive::new(Vec::new());
    let wanted: Vec<String> = product
        .modules
        .initramfs
        .iter()
        .chain(&product.modules.recovery)
        .cloned()
        .collect();
    super::write_beginning(&mut archive, &program, modules, &wanted)
        .context("making the initramfs of the recovery")?;
    let system = stage.join("system");
    for folder in [
        "system",
        "system/new-disk",
        "system/update",
        "system/share",
        "system/share/fonts",
    ] {
        archive.folder(folder)?;
    }
    for file in FILES {
        let path = system.join(file);
        // An image that believes nobody has no keys.
        if path.is_file() {
            put(&mut archive, &path, &format!("system/{file}"))?;
        }
    }
    for font in fonts(&system)? {
        let name = font.file_name().unwrap_or_default().display();
        put(&mut archive, &font, &format!("system/share/fonts/{name}"))?;
    }
    let data = to.with_extension("data");
    disk::write_new_data(product, layout, &data)?;
    put(&mut archive, &data, "system/new-disk/data")?;
    let size = |name: &str| layout.partition(name).size;
    let sizes = format!(
        "boot-slot = {}\nroot-slot = {}\ndata = {}\n",
        size("esp-a"),
        size("root-a"),
        size("data")
    );
    archive.file("system/new-disk/sizes.toml", 0o644, sizes.as_bytes())?;
    fs::write(to, archive.finish()?).with_context(|| format!("writing {}", to.display()))?;
    if modules.is_some() {
        let packed = to.with_extension("cpio.gz");
        process::run(
            process::tool("gzip")
                .args(["--no-name", "--best", "--rsyncable", "--force", "--keep"])
                .arg(to),
        )
        .context("packing the initramfs of the recovery")?;
        fs::rename(&packed, to).with_context(|| format!("renaming {}", packed.display()))?;
    }
    Ok(())
}

/// The faces of the design, and one for Chinese where that is what the device speaks at first.
fn fonts(system: &Path) -> Result<Vec<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Edition {
        languages: Vec<String>,
    }
    let path = system.join("edition.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let edition: Edition =
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    let chinese = edition
        .languages
        .first()
        .is_some_and(|tag| tag.starts_with("zh"));
    let folder = system.join("share/fonts");
    let mut fonts = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("Inter") || (chinese && name.ends_with("CJKsc-Regular.otf")) {
            fonts.push(path);
        }
    }
    fonts.sort();
    Ok(fonts)
}

fn put(archive: &mut Archive<Vec<u8>>, from: &Path, to: &str) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    Ok(archive.file(to, 0o644, &content)?)
}

impl Image {
    /// Makes the boot file of the recovery. `release` is what says which release it is.
    pub(super) fn write_recovery(&self, release: &Path, options: &Options) -> Result<PathBuf> {
        let initramfs = self.folder.join("recovery-whole.cpio");
        // The kernel unpacks one archive after the other; what is packed comes last.
        let mut archive = Archive::new(Vec::new());
        archive.folder("system")?;
        let text = super::release(options);
        archive.file("system/release.toml", 0o644, text.as_bytes())?;
        let mut bytes = archive.finish()?;
        bytes.extend(
            fs::read(&self.recovery)
                .with_context(|| format!("reading {}", self.recovery.display()))?,
        );
        fs::write(&initramfs, bytes).with_context(|| format!("writing {}", initramfs.display()))?;
        let line = self.folder.join("command-line-recovery");
        fs::write(&line, command_line(&self.product))
            .with_context(|| format!("writing {}", line.display()))?;
        let to = self.folder.join(FILE);
        boot::write(&self.kernel, &initramfs, &line, release, &to)?;
        if let Some(signer) = &options.signer {
            boot::sign(&to, signer)?;
        }
        fs::remove_file(&initramfs)?;
        let size = to.metadata()?.len();
        ensure!(
            size <= LARGEST,
            "the recovery is {}, and no more than {} may stand on a boot partition",
            Size(size),
            Size(LARGEST)
        );
        Ok(to)
    }
}

/// It names no slot and no root.
fn command_line(product: &Product) -> String {
    let mut line = super::KERNEL_ARGUMENTS.to_owned();
    for argument in product
        .kernel
        .iter()
        .flat_map(|kernel| &kernel.command_line)
    {
        line.push(' ');
        line.push_str(argument);
    }
    line
}
