//! `cargo xtask bench update`: what a device downloads for a release, and what writing it takes, beside
//! what is usual.
//!
//! A pair is two images, of which the second is the later release of the first:
//!
//! | pair | what differs |
//! |---|---|
//! | `statement` | one statement in `lib/bus`: the programs are built twice ([`changed`]) |
//! | `kernel` | Debian's kernel and its drivers, a version later |
//! | `packages` | the same two packages, with all their files as they come: what others would update |
//!
//! The images are made here. What measures them is in the crate of the whole-system tests
//! (`tests/src/bench_update`), for it needs the maker's tool and the devices' installer.

pub mod changed;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    host::{self, Purpose},
    image::{self, Image, Variant},
    kernel, packages, paths, process,
    product::Product,
    programs,
    progress::Progress,
    size::Size,
};

/// The version of the second release of each pair; the first has that of the tree.
const LATER: &str = "0.999.0";

/// The kernel before the one in the images, and that one, as `devices/packages.lock` calls them.
const KERNELS: [&str; 2] = ["linux-image-6.1.0-54-amd64", "linux-image-amd64"];

/// Which of bita is measured.
const BITA: &str = "0.15.0";

/// Two releases that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Pair {
    /// One statement in lib/bus.
    Statement,
    /// A later version of Debian's kernel.
    Kernel,
    /// All files of two versions of a package.
    Packages,
}

/// Whether restarts into new releases are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Restarts {
    /// Beside the pairs.
    Too,
    /// And no pair.
    Only,
    /// Not.
    None,
}

/// What is measured, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The product, a file of devices/.
    #[arg(long, default_value = "qemu-phone")]
    pub device: String,
    /// Only these pairs.
    #[arg(long, value_enum)]
    pub only: Vec<Pair>,
    /// Whether a device is restarted into new releases: beside the pairs, instead of them, or not.
    #[arg(long, value_enum, default_value_t = Restarts::Too)]
    pub restarts: Restarts,
    /// Leave out casync, bita, zstd, xdelta3 and bsdiff.
    #[arg(long)]
    pub no_peers: bool,
    /// How often a slot is written, and as many bytes are copied; the figure is the median.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Write the table for programs too.
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Use the programs of both builds as they were last built.
    #[arg(long)]
    pub no_build: bool,
}

/// What the measuring program is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What is measured.
    pub pairs: Vec<Images>,
    /// Whether restarts into new releases are.
    pub restarts: bool,
    /// Where there is room for copies, on the disk that times are of.
    pub folder: PathBuf,
    /// The program bita; none where peers are left out.
    pub bita: Option<PathBuf>,
    /// How often times are measured.
    pub rounds: usize,
    /// Where the table for programs goes.
    pub json: Option<PathBuf>,
}

/// The images of a pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Images {
    /// Which pair.
    pub pair: Pair,
    /// What differs, in words.
    pub difference: String,
    /// The product.
    pub product: String,
    /// The folder of the image that a device runs.
    pub old: PathBuf,
    /// The folder of the image that it is to have.
    pub new: PathBuf,
}

/// Makes the images, and has them measured.
///
/// # Errors
///
/// Fails when a pair cannot be made, or nothing can be measured at all.
pub fn execute(root: &Path, arguments: &Arguments, yes: bool, progress: &Progress) -> Result<()> {
    let user = process::output(Command::new("id").arg("-u"))?;
    if user.trim() != "0" {
        bail!(
            "a limit of memory, and a build in the place of another one, are root's alone to make: run it as root"
        );
    }
    let mut purposes = vec![Purpose::Image];
    if !arguments.no_peers {
        purposes.push(Purpose::UpdatePeers);
    }
    host::ensure(&purposes, yes)?;
    let folder = paths::target(root)?.join("hyperos/bench-update");
    paths::create(&folder)?;
    let bita = match arguments.no_peers {
        true => None,
        false => Some(bita(&folder, progress)?),
    };
    if !arguments.no_build {
        progress.noisy_step("building the programs", || programs::build(root))?;
    }
    let maker = Maker {
        root,
        folder: &folder,
        product: Product::load(root, &arguments.device)?,
        no_build: arguments.no_build,
        progress,
    };
    let all = [Pair::Statement, Pair::Kernel, Pair::Packages];
    let wanted = all
        .into_iter()
        .filter(|pair| arguments.only.is_empty() || arguments.only.contains(pair))
        .filter(|_| arguments.restarts != Restarts::Only);
    let pairs = wanted
        .map(|pair| maker.pair(pair))
        .collect::<Result<Vec<_>>>()?;
    let plan = Plan {
        pairs,
        restarts: arguments.restarts != Restarts::None,
        bita,
        rounds: arguments.rounds,
        json: match &arguments.json {
            Some(file) => Some(std::path::absolute(file).context("resolving the file of --json")?),
            None => None,
        },
        folder: folder.join("work"),
    };
    let text = serde_json::to_string(&plan).context("writing what is to be measured")?;
    // As the tests are built, so that no crate is built once more for this.
    let mut command = programs::cargo(root)?;
    command
        .args(["test", "--quiet", "--release", "--target", programs::TARGET])
        .args(["--workspace", "--bench", "update", "--"])
        .arg(text)
        .env("HYPEROS_NO_BUILD", "1");
    process::run_visibly(&mut command)
}

/// Makes images.
struct Maker<'a> {
    root: &'a Path,
    folder: &'a Path,
    product: Product,
    no_build: bool,
    progress: &'a Progress,
}

impl Maker<'_> {
    fn pair(&self, pair: Pair) -> Result<Images> {
        let (old, new, difference) = match pair {
            Pair::Statement => self.statement(),
            Pair::Kernel => self.kernel(),
            Pair::Packages => self.packages(),
        }?;
        Ok(Images {
            pair,
            difference,
            product: self.product.name.clone(),
            old,
            new,
        })
    }

    /// A release image, as `cargo xtask image --release` makes it.
    fn image(&self, name: &str, change: impl FnOnce(&mut image::Options)) -> Result<Image> {
        let mut options = image::Options {
            development: false,
            no_build: true,
            variant: Some(Variant {
                name: format!("bench-{name}"),
                files: Vec::new(),
            }),
            update_root: Some(self.root.join("hyper-release/development/root.json")),
            ..image::Options::default()
        };
        change(&mut options);
        self.progress.step(&format!("making the image {name}"), || {
            image::build(self.root, &self.product, &options, self.progress)
        })
    }

    fn statement(&self) -> Result<(PathBuf, PathBuf, String)> {
        let programs = changed::programs(self.root, self.folder, self.no_build, self.progress)?;
        let old = self.image("before", |_| {})?;
        let new = self.image("after", |options| {
            options.programs = Some(programs);
            options.version = Some(LATER.to_owned());
        })?;
        let kernel = if old.own_kernel {
            "its own"
        } else {
            "Debian's"
        };
        let difference = format!(
            "one statement in {} and the version; both are release images with {kernel} kernel",
            changed::FILE
        );
        Ok((old.folder, new.folder, difference))
    }

    fn kernel(&self) -> Result<(PathBuf, PathBuf, String)> {
        let [before, after] = KERNELS.map(|role| self.debian_kernel(role));
        let (before, after) = (before?, after?);
        let difference = format!(
            "Debian's kernel {} instead of {}, and the version",
            after.1, before.1
        );
        let old = self.image("kernel-before", |options| options.kernel = Some(before.0))?;
        let new = self.image("kernel-after", |options| {
            options.kernel = Some(after.0);
            options.version = Some(LATER.to_owned());
        })?;
        Ok((old.folder, new.folder, difference))
    }

    fn debian_kernel(&self, role: &str) -> Result<(kernel::Built, String)> {
        let version = packages::locked(self.root, role)?.version;
        Ok((kernel::debian(self.root, role, self.progress)?, version))
    }

    /// Roots that hold the files of a package and nothing else. They start nothing, but are packed, hashed
    /// and released as those of devices are.
    fn packages(&self) -> Result<(PathBuf, PathBuf, String)> {
        let mut product = self.product.clone();
        if let Some(disk) = &mut product.disk {
            disk.root_slot = Size(512 << 20);
        }
        let like = Self { product, ..*self };
        let base = like.image("packages", |_| {})?;
        let options = |version: Option<&str>| image::Options {
            development: false,
            version: version.map(str::to_owned),
            recovery: false,
            ..image::Options::default()
        };
        let mut folders = Vec::new();
        for (role, version) in KERNELS.into_iter().zip([None, Some(LATER)]) {
            let files = packages::unpacked(self.root, role, self.progress)?;
            let folder = self.folder.join("images").join(role);
            let image = self
                .progress
                .step(&format!("making a root of {role}"), || {
                    base.variant(&folder, &options(version), |_, stage| {
                        let release = stage.join("system/release.toml");
                        let text = fs::read(&release)
                            .with_context(|| format!("reading {}", release.display()))?;
                        fs::remove_dir_all(stage)
                            .with_context(|| format!("emptying {}", stage.display()))?;
                        paths::create(&stage.join("system"))?;
                        fs::write(&release, text)
                            .with_context(|| format!("writing {}", release.display()))?;
                        image::copy_tree(&files, stage)
                    })
                })?;
            folders.push(image.folder);
        }
        let [before, after] = KERNELS.map(|role| packages::locked(self.root, role));
        let difference = format!(
            "all files of {} {} instead of {}",
            KERNELS[1], after?.version, before?.version
        );
        let new = folders.pop().context("there is no second image")?;
        let old = folders.pop().context("there is no first image")?;
        Ok((old, new, difference))
    }
}

/// bita, built once into `folder`.
fn bita(folder: &Path, progress: &Progress) -> Result<PathBuf> {
    let tools = folder.join(format!("bita-{BITA}"));
    let program = tools.join("bin/bita");
    if !program.is_file() {
        progress.noisy_step("building bita", || {
            process::run_visibly(
                Command::new("cargo")
                    .args(["install", "bita", "--locked", "--no-default-features"])
                    // Compressed as ours are.
                    .args(["--features", "zstd-compression", "--version"])
                    .arg(format!("={BITA}"))
                    .arg("--root")
                    .arg(&tools)
                    .env("CARGO_TARGET_DIR", folder.join("bita-target"))
                    .env_remove("CARGO_ENCODED_RUSTFLAGS")
                    .current_dir(folder),
            )
        })?;
        let _ = fs::remove_dir_all(folder.join("bita-target"));
    }
    Ok(program)
}
