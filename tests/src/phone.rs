//! A phone of its own for each test: image, disk and machine in the test's folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xtask::image::{self, Image};
use xtask::machine::{Disk, Options};
use xtask::paths;
use xtask::product::Product;
use xtask::progress::Progress;

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
        let product = Product::load(&root, "qemu-phone")?;
        let lock = paths::target(&root)?.join("image-for-tests.lock");
        let lock = File::create(&lock).with_context(|| format!("creating {}", lock.display()))?;
        lock.lock()
            .context("waiting for another test to have built the image")?;
        let mut image = image::build(
            &root,
            &product,
            &image::Options::default(),
            &Progress::default(),
        )?;
        let disk = folder.join("disk.img");
        image.write_disk(&disk)?;
        for piece in [&mut image.kernel, &mut image.initramfs] {
            let copy = folder.join(
                piece
                    .file_name()
                    .context("a piece of the image has no name")?,
            );
            fs::copy(&*piece, &copy).with_context(|| format!("copying {}", piece.display()))?;
            *piece = copy;
        }
        image.release();
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
