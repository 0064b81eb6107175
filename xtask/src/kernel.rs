//! The kernel of a product: Debian's, or one of our own from Debian's source.
//!
//! An own kernel has the product's drivers built in and nothing else, so it starts in a third of
//! the time and needs no modules. It takes some ten minutes to build, once: the result is kept in
//! the cache under the hash of everything that went into it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{
    packages, paths, process,
    product::{Kernel, KernelKind},
    progress::Progress,
};

/// Raised when the recipe below changes what it makes.
const RECIPE: &str = "1";

/// A kernel that can be put into an image.
#[derive(Clone, Debug)]
pub struct Built {
    /// The kernel, in the form that firmware and QEMU start.
    pub image: PathBuf,
    /// The folder with its modules, `…/lib/modules/VERSION`; none where everything is built in.
    pub modules: Option<PathBuf>,
    /// Whether it is our own.
    pub own: bool,
}

/// The kernel for a product: its own when that has been built (or may be replaced by nothing, when
/// `require_own`), else Debian's.
///
/// # Errors
///
/// Fails when an own kernel is required and has not been built, and when Debian's cannot be
/// fetched.
pub fn find(root: &Path, kernel: &Kernel, require_own: bool, progress: &Progress) -> Result<Built> {
    if kernel.kind == KernelKind::Own {
        let image = cached(root, kernel)?;
        if image.is_file() {
            return Ok(Built {
                image,
                modules: None,
                own: true,
            });
        }
        if require_own {
            bail!(
                "this image needs the product's own kernel: run `cargo xtask kernel` first, which takes some ten minutes"
            );
        }
        progress.note("Using Debian's kernel. `cargo xtask kernel` makes one that starts in a third of the time (once, ten minutes).");
    }
    debian(root, "linux-image-amd64", progress)
}

/// Debian's kernel in the package for `role`.
///
/// # Errors
///
/// Fails when it cannot be fetched.
pub fn debian(root: &Path, role: &str, progress: &Progress) -> Result<Built> {
    let folder = packages::unpacked(root, role, progress)?;
    let modules = only_entry(&folder.join("lib/modules"))?;
    let version = modules
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(Built {
        image: folder.join(format!("boot/vmlinuz-{version}")),
        modules: Some(modules),
        own: false,
    })
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .next();
    Ok(entry
        .with_context(|| format!("{} is empty", folder.display()))??
        .path())
}

/// Where the cache keeps the kernel of this configuration.
///
/// # Errors
///
/// Fails when an input cannot be read.
pub fn cached(root: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let options = options(root, kernel)?;
    let source = packages::locked(root, "linux-source-6.1")?;
    let compiler = process::output(Command::new("gcc").arg("-dumpfullversion"))?;
    let mut hasher = Sha256::new();
    for input in [RECIPE, &source.sha256, compiler.trim(), &options.join("\n")] {
        hasher.update(input);
        hasher.update([0]);
    }
    let hash = verity::hexadecimal(&hasher.finalize());
    Ok(paths::cache()?
        .join("kernels")
        .join(format!("{}-{}", source.version, &hash[..16]))
        .join("bzImage"))
}

/// The lines of a configuration that say something: not its comments, whose change needs no build.
fn options(root: &Path, kernel: &Kernel) -> Result<Vec<String>> {
    let name = kernel
        .configuration
        .as_deref()
        .context("the product has no kernel configuration of its own")?;
    let path = root.join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| says_something(line))
        .map(str::to_owned)
        .collect())
}

fn says_something(line: &str) -> bool {
    line.starts_with("CONFIG_") || (line.starts_with("# CONFIG_") && line.ends_with(" is not set"))
}

/// Builds the kernel of a product unless the cache has it.
///
/// # Errors
///
/// Fails when the source cannot be fetched, an option of the configuration did not take, or the
/// build fails; its log then stays and is named.
pub fn build(root: &Path, kernel: &Kernel, progress: &Progress) -> Result<PathBuf> {
    let image = cached(root, kernel)?;
    if image.is_file() {
        progress.note(&format!("The kernel is in the cache: {}", image.display()));
        return Ok(image);
    }
    let package = packages::unpacked(root, "linux-source-6.1", progress)?;
    let folder = image.parent().context("the cache has no parent folder")?;
    paths::create(folder)?;
    let work = tempfile::tempdir_in(folder).context("making a folder to build the kernel in")?;
    progress.step("unpacking the kernel's source", || {
        process::run(
            Command::new("tar")
                .args(["--extract", "--strip-components=1", "--file"])
                .arg(package.join("usr/src/linux-source-6.1.tar.xz"))
                .current_dir(work.path()),
        )
    })?;
    progress.step("configuring the kernel", || {
        configure(root, kernel, work.path())
    })?;
    let log = folder.join("build.log");
    progress
        .step("building the kernel (some ten minutes)", || {
            let output =
                fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
            process::run_visibly(
                make(work.path())
                    .arg("bzImage")
                    .stdout(output.try_clone()?)
                    .stderr(output),
            )
        })
        .with_context(|| format!("the log is {}", log.display()))?;
    let temporary = folder.join("bzImage.new");
    fs::copy(work.path().join("arch/x86/boot/bzImage"), &temporary)
        .context("taking the kernel out of its build folder")?;
    fs::copy(work.path().join(".config"), folder.join("config"))
        .context("keeping the kernel's configuration")?;
    fs::rename(&temporary, &image)
        .with_context(|| format!("moving the kernel to {}", image.display()))?;
    Ok(image)
}

/// `make` for the kernel, with what would differ from machine to machine held still.
fn make(folder: &Path) -> Command {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut command = process::tool("make");
    command
        .arg(format!("-j{jobs}"))
        .current_dir(folder)
        .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970")
        .env("KBUILD_BUILD_USER", "hyperos")
        .env("KBUILD_BUILD_HOST", "hyperos")
        .env("KBUILD_BUILD_VERSION", "1");
    command
}

fn configure(root: &Path, kernel: &Kernel, folder: &Path) -> Result<()> {
    process::run(make(folder).arg("tinyconfig"))?;
    let path = folder.join(".config");
    // tinyconfig chooses for size; both are choices that a fragment cannot take back.
    let tiny: String = fs::read_to_string(&path)?
        .lines()
        .filter(|line| {
            !line.starts_with("CONFIG_CC_OPTIMIZE_FOR_SIZE")
                && !line.starts_with("CONFIG_KERNEL_XZ")
        })
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&path, tiny)?;
    let options = options(root, kernel)?;
    let fragment = folder.join("product.config");
    fs::write(&fragment, options.join("\n") + "\n")?;
    process::run(
        Command::new("scripts/kconfig/merge_config.sh")
            .args(["-m", ".config"])
            .arg(&fragment)
            .current_dir(folder),
    )?;
    process::run(make(folder).arg("olddefconfig"))?;
    let missing = not_taken(&options, &fs::read_to_string(&path)?);
    if !missing.is_empty() {
        bail!(
            "the kernel did not take these options (does one depend on another?): {}",
            missing.join(" ")
        );
    }
    Ok(())
}

/// The options that are not in the final configuration as they were asked for.
fn not_taken(options: &[String], configuration: &str) -> Vec<String> {
    let name = |option: &str| {
        option
            .trim_start_matches("# ")
            .split(['=', ' '])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    options
        .iter()
        .enumerate()
        .filter(|(index, option)| {
            // Where an option is given twice, the last one counts.
            !options[index + 1..]
                .iter()
                .any(|later| name(later) == name(option))
        })
        .map(|(_, option)| option)
        .filter(|option| {
            if option.ends_with("=n") || option.ends_with("is not set") {
                configuration
                    .lines()
                    .any(|line| line.starts_with(&format!("{}=", name(option))))
            } else {
                !configuration.lines().any(|line| line == option.as_str())
            }
        })
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(options: &[&str]) -> Vec<String> {
        options.iter().map(|&option| option.to_owned()).collect()
    }

    #[test]
    fn an_option_that_did_not_take_is_noticed() {
        let configuration = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\nCONFIG_N=8\n";
        let options = owned(&[
            "CONFIG_A=y",
            "CONFIG_B=y",
            "CONFIG_C=n",
            "CONFIG_D=n",
            "CONFIG_N=8",
        ]);
        assert_eq!(
            not_taken(&options, configuration),
            ["CONFIG_B=y", "CONFIG_C=n"]
        );
    }

    #[test]
    fn of_two_lines_for_one_option_the_last_counts() {
        assert!(
            not_taken(
                &owned(&["CONFIG_A=y", "CONFIG_A=n"]),
                "# CONFIG_A is not set\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn comments_are_no_input() {
        assert!(!says_something("# the kernel of products that run in QEMU"));
        assert!(!says_something(""));
        assert!(says_something("# CONFIG_X is not set"));
        assert!(says_something("CONFIG_X=y"));
    }
}
