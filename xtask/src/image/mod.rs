//! From programs, packages and a product's file to a disk that starts.
//!
//! Everything is made as an ordinary user, without loop devices, and the same inputs give the same
//! bytes: see `reproduce`. The pieces stay in `target/hyperos/NAME`, where the machine and the
//! tests find them:
//!
//! | file | what it is |
//! |---|---|
//! | `stage/` | the root as a tree of files |
//! | `root.img` | the root slot: EROFS and its hash tree |
//! | `initramfs.cpio`, `kernel` | what is loaded with it |
//! | `boot.efi`, `esp.img` | these in one file, and the partition that holds it |
//! | `boot-b.efi` | the same file for the other slot, for a release of this image |
//! | `recovery.cpio`, `recovery.efi` | what is started when neither slot can be, and most of its initramfs |
//! | `NAME.img` | a whole disk, for a stick or a card |
//! | `disk.img` | the disk of `cargo xtask run`, with what the device has stored |

mod boot;
mod disk;
mod fonts;
pub mod initramfs;
mod modules;
pub mod partitions;
pub mod recovery;
mod root;
pub mod security_version;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};

pub(crate) use self::root::copy_tree;
pub use self::{
    boot::Signer,
    partitions::Layout,
    root::{Part, Root, manifest},
};
use self::{initramfs::Archive, modules::Modules};
use crate::{
    kernel, paths, process,
    product::Product,
    programs::{self, SOURCE_DATE_EPOCH},
    progress::Progress,
};

/// How an image is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The edition, a file of `editions/`.
    pub edition: String,
    /// A development image has a console that is open to anyone, and says so.
    pub development: bool,
    /// Use the programs as they were last built.
    pub no_build: bool,
    /// What is added to the kernel's command line.
    pub command_line: Vec<String>,
    /// Other files than the product's, for tests of what goes wrong.
    pub variant: Option<Variant>,
    /// The version that the image calls itself, when it is not this tree's.
    pub version: Option<String>,
    /// Which keys the device believes for its updates: a root made by `hyper-release root`. A
    /// development image without one believes the key that is in the tree.
    pub update_root: Option<PathBuf>,
    /// What boot files are signed with. Firmware with secure boot starts no others.
    pub signer: Option<Signer>,
    /// Its security version, which counts where it is signed.
    pub security_version: u32,
    /// Whether it has a recovery. Only tests have use for one without.
    pub recovery: bool,
    /// A folder with programs that were built elsewhere, which are used as they are.
    pub programs: Option<PathBuf>,
    /// Another kernel than the product's.
    pub kernel: Option<kernel::Built>,
}

impl Options {
    fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"))
    }
}

/// A product's image with some files of its own, made in a folder of its own: `PRODUCT-NAME`.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Tells it from the product's own image.
    pub name: String,
    /// Paths on the device, such as `/system/services/time.toml`, and what stands there instead of
    /// what the product has there, if it has anything.
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

impl Default for Options {
    /// A development image. With `HYPEROS_NO_BUILD` in the environment the programs are used as they
    /// were last built: for whoever tries one test again and again.
    fn default() -> Self {
        Self {
            edition: "global".to_owned(),
            development: true,
            no_build: std::env::var_os("HYPEROS_NO_BUILD").is_some(),
            command_line: Vec::new(),
            variant: None,
            version: None,
            update_root: None,
            signer: None,
            security_version: security_version::CURRENT,
            recovery: true,
            programs: None,
            kernel: None,
        }
    }
}

/// The pieces of a system that a disk is made of.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it is for.
    pub product: Product,
    /// Where the pieces are.
    pub folder: PathBuf,
    /// The partitions of its disk.
    pub layout: Layout,
    /// The root slot.
    pub root: Root,
    /// The kernel.
    pub kernel: PathBuf,
    /// Whether the kernel is the product's own.
    pub own_kernel: bool,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
    /// Most of the recovery's initramfs.
    pub recovery: PathBuf,
    /// The boot partition.
    pub esp: PathBuf,
    /// Held while the pieces may be read: another build would write them anew.
    lock: Option<Arc<File>>,
}

/// Builds the image of a product.
///
/// # Errors
///
/// Fails, saying at what, when a piece cannot be made.
pub fn build(
    root: &Path,
    product: &Product,
    options: &Options,
    progress: &Progress,
) -> Result<Image> {
    let (kernel, disk) = product.hardware()?;
    let folder = match &options.variant {
        Some(variant) => paths::output(root, &format!("{}-{}", product.name, variant.name))?,
        None => paths::output(root, &product.name)?,
    };
    let lock = lock(&folder, progress)?;
    let programs = match &options.programs {
        Some(programs) => programs.clone(),
        None if options.no_build => programs::built(root)?,
        None => progress.noisy_step("building the programs", || programs::build(root))?,
    };
    let kernel = match &options.kernel {
        Some(kernel) => kernel.clone(),
        None => kernel::find(root, kernel, !options.development, progress)?,
    };
    let modules = match &kernel.modules {
        Some(folder) => {
            Some(progress.step("reading the kernel's drivers", || Modules::read(folder))?)
        }
        None => None,
    };

    let stage = folder.join("stage");
    root::stage(
        root,
        product,
        options,
        &programs,
        modules.as_ref(),
        &stage,
        progress,
    )?;
    if let Some(signer) = &options.signer {
        security_version::write(options.security_version, signer, &stage)?;
    }
    let layout = partitions::layout(*disk);
    let slot_size = layout.partition("root-a").size;
    let packed = progress.step("packing the root", || {
        root::pack(product, &stage, &folder.join("root.img"), slot_size)
    })?;

    let initramfs = folder.join("initramfs.cpio");
    write_initramfs(product, &stage, modules.as_ref(), &initramfs)?;
    let recovery = folder.join("recovery.cpio");
    recovery::write_initramfs(
        product,
        &stage,
        &programs,
        modules.as_ref(),
        &layout,
        &recovery,
    )?;
    let kernel_copy = folder.join("kernel");
    fs::copy(&kernel.image, &kernel_copy)
        .with_context(|| format!("copying {}", kernel.image.display()))?;

    let image = Image {
        product: product.clone(),
        command_line: command_line(product, &packed, options),
        esp: folder.join("esp.img"),
        layout,
        root: packed,
        kernel: kernel_copy,
        own_kernel: kernel.own,
        initramfs,
        recovery,
        folder,
        lock: Some(Arc::new(lock)),
    };
    progress.step("making the boot partition", || {
        image.write_esp(&image.command_line, &image.esp, options)
    })?;
    Ok(image)
}

/// Puts the files of a layer, which has no kernel and no disk, into `stage`.
///
/// # Errors
///
/// Fails when one cannot be had.
pub fn stage_layer(
    root: &Path,
    product: &Product,
    options: &Options,
    programs: &Path,
    stage: &Path,
    progress: &Progress,
) -> Result<()> {
    root::stage(root, product, options, programs, None, stage, progress)?;
    root::set_permissions(stage)
}

/// What says which release this is; the same text serves the boot file and the device.
fn release(options: &Options) -> String {
    format!(
        "version = {:?}\ndevelopment = {}\nedition = {:?}\nbuilt = {SOURCE_DATE_EPOCH}\n",
        options.version(),
        options.development,
        options.edition
    )
}

/// What the kernel is told whatever it starts. Huge pages make it keep 70 MB of a phone's 1 GB free for
/// them, and serve large heaps, which no program here has.
const KERNEL_ARGUMENTS: &str = "quiet loglevel=0 panic=10 console=ttyS0 transparent_hugepage=never";

fn command_line(product: &Product, root: &Root, options: &Options) -> String {
    let mut line = format!(
        "hyper.slot=a hyper.root-hash={} hyper.root-salt={} hyper.root-blocks={} {KERNEL_ARGUMENTS}",
        root.hash, root.salt, root.blocks
    );
    let signed = options.signer.as_ref();
    let security_version = signed.map(|_| security_version::argument(options.security_version));
    for argument in product
        .kernel
        .iter()
        .flat_map(|kernel| &kernel.command_line)
        .chain(&options.command_line)
        .chain(&security_version)
    {
        line.push(' ');
        line.push_str(argument);
    }
    line
}

/// The command line for slot b. It has the same length, so that the two boot files differ in one byte.
fn for_other_slot(command_line: &str) -> String {
    command_line.replacen("hyper.slot=a ", "hyper.slot=b ", 1)
}

/// `init` and the drivers that it needs to reach the root.
fn write_initramfs(
    product: &Product,
    stage: &Path,
    modules: Option<&Modules>,
    to: &Path,
) -> Result<()> {
    let init = stage.join("system/init");
    let mut archive = Archive::new(Vec::new());
    write_beginning(&mut archive, &init, modules, &product.modules.initramfs)
        .context("making the initramfs")?;
    fs::write(to, archive.finish()?).with_context(|| format!("writing {}", to.display()))
}

/// Process 1, the folders that it mounts something on, and its drivers.
fn write_beginning(
    archive: &mut Archive<Vec<u8>>,
    init: &Path,
    modules: Option<&Modules>,
    wanted: &[String],
) -> Result<()> {
    let init = fs::read(init).with_context(|| format!("reading {}", init.display()))?;
    archive.folder("dev")?;
    archive.character_device("dev/console", 0o600, 5, 1)?;
    archive.character_device("dev/null", 0o666, 1, 3)?;
    for folder in ["proc", "sys", "run", "root"] {
        archive.folder(folder)?;
    }
    archive.file("init", 0o755, &init)?;
    if let Some(modules) = modules {
        archive.folder("modules")?;
        let order = modules.in_order(wanted)?;
        let list: String = order
            .iter()
            .map(|module| format!("{module}.ko\n"))
            .collect();
        archive.file("modules/order", 0o644, list.as_bytes())?;
        for module in order {
            archive.file(
                &format!("modules/{module}.ko"),
                0o644,
                &modules.content(&module)?,
            )?;
        }
    }
    Ok(())
}

/// Copies what a root was packed from, from the folder of an image to that of another one.
fn copy_stage(from: &Path, to: &Path) -> Result<PathBuf> {
    let stage = to.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("emptying {}", stage.display()))?;
    }
    root::copy_tree(&from.join("stage"), &stage)?;
    Ok(stage)
}

/// Waits until no other build uses the pieces in `folder`.
fn lock(folder: &Path, progress: &Progress) -> Result<File> {
    let path = folder.join("build.lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    if file.try_lock().is_err() {
        progress
            .step("waiting for another build", || file.lock())
            .with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

impl Image {
    /// Lets other builds write the pieces anew. What still needs them has to have copies, or to
    /// have read them.
    pub fn release(&mut self) {
        self.lock = None;
    }

    /// The same image in a folder of its own, where no other build writes its pieces anew.
    ///
    /// # Errors
    ///
    /// Fails when a piece cannot be copied.
    pub fn copied(&self, folder: &Path) -> Result<Self> {
        let mut copy = Self {
            folder: folder.to_owned(),
            lock: None,
            ..self.clone()
        };
        for piece in [
            &mut copy.root.path,
            &mut copy.kernel,
            &mut copy.initramfs,
            &mut copy.recovery,
            &mut copy.esp,
        ] {
            let name = piece
                .file_name()
                .context("a piece of the image has no name")?;
            let to = folder.join(name);
            fs::copy(&*piece, &to).with_context(|| format!("copying {}", piece.display()))?;
            *piece = to;
        }
        copy_stage(&self.folder, folder)?;
        Ok(copy)
    }

    /// Makes a boot partition that starts this system with `command_line`.
    fn write_esp(&self, command_line: &str, to: &Path, options: &Options) -> Result<()> {
        let line = self.folder.join("command-line");
        fs::write(&line, command_line).with_context(|| format!("writing {}", line.display()))?;
        let release_path = self.folder.join("os-release");
        fs::write(
            &release_path,
            format!(
                "ID=hyperos\nNAME=HyperOS\nVERSION_ID={}\nVARIANT_ID={}\n",
                options.version(),
                options.edition
            ),
        )?;
        let boot = self.folder.join("boot.efi");
        boot::write(&self.kernel, &self.initramfs, &line, &release_path, &boot)?;
        let other = self.folder.join("command-line-b");
        fs::write(&other, for_other_slot(command_line))
            .with_context(|| format!("writing {}", other.display()))?;
        let boot_b = self.folder.join("boot-b.efi");
        boot::write(
            &self.kernel,
            &self.initramfs,
            &other,
            &release_path,
            &boot_b,
        )?;
        for file in [&boot, &boot_b] {
            if let Some(signer) = &options.signer {
                boot::sign(file, signer)?;
            }
        }
        let mut files = vec![(boot, "::/EFI/BOOT/BOOTX64.EFI")];
        if options.recovery {
            let recovery = self.write_recovery(&release_path, options)?;
            files.push((recovery, "::/EFI/HYPEROS/RECOVERY.EFI"));
        } else {
            let _ = fs::remove_file(self.folder.join(recovery::FILE));
        }

        let _ = fs::remove_file(to);
        let file = File::create(to).with_context(|| format!("creating {}", to.display()))?;
        file.set_len(self.layout.partition("esp-a").size)?;
        process::run(
            process::tool("mkfs.vfat")
                .args(["-F", "32", "-n", "HYPEROS", "-i", "48595045", "--invariant"])
                .arg(to),
        )?;
        let mtools = |program: &str| {
            let mut command = process::tool(program);
            command
                .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
                .env("TZ", "UTC")
                .env("MTOOLS_SKIP_CHECK", "1");
            command.arg("-i").arg(to);
            command
        };
        process::run(mtools("mmd").args(["::/EFI", "::/EFI/BOOT", "::/EFI/HYPEROS"]))?;
        for (file, name) in files {
            process::run(mtools("mcopy").arg(&file).arg(name))
                .with_context(|| format!("putting {} on the boot partition: is boot-slot in the product's file too small?", file.display()))?;
        }
        Ok(())
    }

    /// Makes a whole disk with an empty data partition.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    pub fn write_disk(&self, to: &Path) -> Result<()> {
        disk::create(self, to)
    }

    /// Brings this system onto a disk that exists, leaving its data as it is; makes the disk when
    /// there is none.
    ///
    /// # Errors
    ///
    /// Fails when the disk has other partitions than this product asks for today.
    pub fn update_disk(&self, disk: &Path) -> Result<()> {
        disk::update(self, disk)
    }

    /// Another image in a folder of its own: this one with what `change` does to it and to its
    /// staged files, and other arguments for its kernel. It is what a later release of the same system is to a
    /// test.
    ///
    /// # Errors
    ///
    /// Fails when a piece cannot be made.
    pub fn variant(
        &self,
        folder: &Path,
        options: &Options,
        change: impl FnOnce(&mut Self, &Path) -> Result<()>,
    ) -> Result<Self> {
        paths::create(folder)?;
        let stage = copy_stage(&self.folder, folder)?;
        let release_path = stage.join("system/release.toml");
        fs::write(&release_path, release(options))
            .with_context(|| format!("writing {}", release_path.display()))?;
        let mut image = Self {
            esp: folder.join("esp.img"),
            folder: folder.to_owned(),
            lock: None,
            ..self.clone()
        };
        if let Some(signer) = &options.signer {
            security_version::write(options.security_version, signer, &stage)?;
        }
        change(&mut image, &stage)?;
        let slot_size = self.layout.partition("root-a").size;
        image.root = root::pack(&self.product, &stage, &folder.join("root.img"), slot_size)?;
        image.command_line = command_line(&self.product, &image.root, options);
        image.write_esp(&image.command_line, &image.esp, options)?;
        Ok(image)
    }

    /// The same system with other arguments for its kernel.
    ///
    /// # Errors
    ///
    /// Fails when the boot partition cannot be made.
    pub fn with_command_line(&self, extra: &[&str], esp: &Path) -> Result<Self> {
        let mut image = self.clone();
        for argument in extra {
            image.command_line.push(' ');
            image.command_line.push_str(argument);
        }
        image.esp = esp.to_owned();
        image.write_esp(&image.command_line, &image.esp, &Options::default())?;
        Ok(image)
    }
}
