//! A phone of its own for each test: image, disk and machine in the test's folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use xtask::image::{self, Image, Variant};
use xtask::machine::{Disk, Options};
use xtask::product::Product;
use xtask::progress::Progress;
use xtask::{paths, programs};

/// What nobody has asked to be durable is not. Else the kernel writes it out after half a minute, or when a tenth of the
/// memory waits to be written, the oldest first, and so hides that nobody has asked.
const NEVER_BY_ITSELF: [&str; 3] = [
    "sysctl.vm.dirty_writeback_centisecs=0",
    "sysctl.vm.dirty_background_ratio=80",
    "sysctl.vm.dirty_ratio=90",
];

/// What a phone is started from.
#[derive(Debug)]
pub struct Phone {
    /// The pieces, in the test's folder.
    pub image: Image,
    /// A disk that nobody has used.
    pub disk: PathBuf,
    folder: PathBuf,
}

impl Phone {
    /// Builds the image, unless it is built, and takes copies of it into `folder`. Tests run at the
    /// same time, and the image that they share may be built anew for the next.
    pub fn new(folder: &Path) -> Result<Phone> {
        let root = paths::repository()?;
        let _building = lock(&root)?;
        Phone::build(&root, folder, None, &[])
    }

    /// As [`Phone::new`], with some files that are not the product's.
    pub fn with_files(folder: &Path, variant: Variant) -> Result<Phone> {
        let root = paths::repository()?;
        let _building = lock(&root)?;
        Phone::build(&root, folder, Some(variant), &[])
    }

    /// As [`Phone::new`], with services that were built with a feature of the crate `hyper` that leaves out
    /// a sync, and a kernel that does not make up for it.
    pub fn without_sync(folder: &Path, feature: &str) -> Result<Phone> {
        let root = paths::repository()?;
        let _building = lock(&root)?;
        let feature_of = format!("hyper/{feature}");
        let built = programs::build_with(&root, &[&feature_of])?.join("hyper");
        let content = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
        // The next image must not find it in the place of the product's.
        programs::build(&root)?;
        let variant = Variant {
            name: feature.to_owned(),
            files: vec![
                ("/system/hyper".into(), content),
                (
                    "/system/services/update.toml".into(),
                    with_much_memory(&root)?.into_bytes(),
                ),
            ],
        };
        Phone::build(&root, folder, Some(variant), &NEVER_BY_ITSELF)
    }

    fn build(
        root: &Path,
        folder: &Path,
        variant: Option<Variant>,
        command_line: &[&str],
    ) -> Result<Phone> {
        let product = Product::load(root, "qemu-phone")?;
        let options = image::Options {
            variant,
            command_line: command_line.iter().map(|&word| word.to_owned()).collect(),
            ..image::Options::default()
        };
        let image = image::build(root, &product, &options, &Progress::default())?;
        let image = image.copied(folder)?;
        let disk = folder.join("disk.img");
        image.write_disk(&disk)?;
        Ok(Phone {
            image,
            disk,
            folder: folder.to_owned(),
        })
    }

    /// A machine that starts without firmware, which is quicker; what it writes stays.
    pub fn options(&self) -> Result<Options> {
        let mut options = Options::new(&self.image, &self.disk, &self.folder.join("machine"))?
            .direct(&self.image);
        options.disk = Disk::File(self.disk.clone());
        Ok(options)
    }
}

/// The manifest of the updates with memory for all that they write: what waits to be written counts as a
/// service's memory, and within the product's limit the kernel has to write it out.
fn with_much_memory(root: &Path) -> Result<String> {
    const KEY: &str = "memory = ";
    let path = root.join("system/update/services/update.toml");
    let manifest =
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        manifest
            .lines()
            .filter(|line| line.starts_with(KEY))
            .count()
            == 1,
        "{} has one line with `{KEY}`",
        path.display()
    );
    let lines = manifest.lines().map(|line| match line.strip_prefix(KEY) {
        Some(_) => format!("{KEY}\"512 MiB\"\n"),
        None => format!("{line}\n"),
    });
    Ok(lines.collect())
}

/// Waits until no other test builds an image.
fn lock(root: &Path) -> Result<File> {
    let path = paths::target(root)?.join("image-for-tests.lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    file.lock()
        .context("waiting for another test to have built the image")?;
    Ok(file)
}
