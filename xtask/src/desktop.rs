//! `cargo xtask run --device desktop`: the system as a layer on this desktop.
//!
//! The same services and the same shell, in a window, supervised by `init` as an ordinary user. No
//! image and no machine: this is how the screens are developed.

use std::{
    env,
    fs::{self, File, TryLockError},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    host::{self, Purpose},
    image, paths, process,
    product::Product,
    programs,
    progress::Progress,
};

/// Builds the layer and becomes it.
///
/// # Errors
///
/// Fails when it cannot be built or started; otherwise it does not return.
pub fn run(
    root: &Path,
    product: &Product,
    options: &image::Options,
    fresh: bool,
    yes: bool,
    progress: &Progress,
) -> Result<()> {
    host::ensure(&[Purpose::Image, Purpose::Desktop], yes)?;
    if env::var_os("WAYLAND_DISPLAY").is_none() && env::var_os("DISPLAY").is_none() {
        bail!(
            "there is no desktop to open a window on: neither WAYLAND_DISPLAY nor DISPLAY is set"
        );
    }
    let folder = paths::output(root, &product.name)?;
    let runtime = match env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => PathBuf::from(runtime).join("hyperos"),
        None => folder.join("run"),
    };
    // `init` holds this lock; its files are about to be made anew.
    let is_running = File::open(runtime.join("lock"))
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
    if is_running {
        bail!(
            "{} is running already: end it first (close its window, or Ctrl-C where it was started)",
            product.model
        );
    }
    let built = if options.no_build {
        paths::target(root)?.join("release")
    } else {
        progress.noisy_step("building the programs", || build(root))?
    };
    let stage = folder.join("stage");
    image::stage_layer(root, product, options, &built, &stage, progress)?;

    let data = home("XDG_DATA_HOME", ".local/share")?.join("hyperos");
    if fresh && data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    }
    for folder in [&data, &runtime] {
        paths::create(folder)?;
    }
    progress.summary("built");
    println!(
        "What it stores is in {}. Ctrl-C ends it, as closing its window does.",
        data.display()
    );
    let system = stage.join("system");
    let error = Command::new(system.join("init"))
        .arg("--layer")
        .arg("--system")
        .arg(&system)
        .arg("--data")
        .arg(&data)
        .arg("--run")
        .arg(&runtime)
        .exec();
    Err(error).with_context(|| format!("starting {}", system.join("init").display()))
}

/// Builds the programs for this machine: not static, for the window system's libraries are loaded
/// as they are found.
fn build(root: &Path) -> Result<PathBuf> {
    let target = paths::target(root)?;
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args([
        "build",
        "--release",
        "--bins",
        "--features",
        "shell/desktop",
    ]);
    for program in programs::PROGRAMS {
        command.args(["--package", &programs::package(program)]);
    }
    process::run_visibly(command.env("CARGO_TARGET_DIR", &target))
        .context("building the programs of the layer")?;
    Ok(target.join("release"))
}

/// A folder of the person's, as the desktop's conventions name it.
fn home(variable: &str, otherwise: &str) -> Result<PathBuf> {
    if let Some(folder) = env::var_os(variable) {
        return Ok(PathBuf::from(folder));
    }
    let home =
        env::var_os("HOME").with_context(|| format!("neither {variable} nor HOME is set"))?;
    Ok(PathBuf::from(home).join(otherwise))
}
