//! Where things are on the developer's machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// The root of the repository: the nearest folder, from where cargo says the running package is or
/// else from the current one upwards, that holds `devices/` and a workspace.
///
/// # Errors
///
/// Fails outside the repository.
pub fn repository() -> Result<PathBuf> {
    let start = match env::var_os("CARGO_MANIFEST_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => env::current_dir().context("asking for the current folder")?,
    };
    match start
        .ancestors()
        .find(|folder| folder.join("devices").is_dir() && folder.join("Cargo.lock").is_file())
    {
        Some(root) => Ok(root.to_owned()),
        None => bail!(
            "{} is not inside the repository: go there first",
            start.display()
        ),
    }
}

/// Cargo's target folder.
///
/// # Errors
///
/// Fails when a relative `CARGO_TARGET_DIR` cannot be resolved.
pub fn target(root: &Path) -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(folder).context("resolving CARGO_TARGET_DIR"),
        None => Ok(root.join("target")),
    }
}

/// What is made for a product: `target/hyperos/NAME`.
///
/// # Errors
///
/// Fails when the folder cannot be created.
pub fn output(root: &Path, product: &str) -> Result<PathBuf> {
    let folder = target(root)?.join("hyperos").join(product);
    create(&folder)?;
    Ok(folder)
}

/// The cache that outlives a checkout: packages, kernels. `$HYPEROS_CACHE`, or `hyperos` in the
/// user's cache folder.
///
/// # Errors
///
/// Fails when the folder cannot be created or the user has no home.
pub fn cache() -> Result<PathBuf> {
    let folder = if let Some(folder) = env::var_os("HYPEROS_CACHE") {
        std::path::absolute(folder).context("resolving HYPEROS_CACHE")?
    } else if let Some(folder) = env::var_os("XDG_CACHE_HOME") {
        PathBuf::from(folder).join("hyperos")
    } else {
        let home = env::var_os("HOME")
            .context("HOME is not set: set HYPEROS_CACHE to a folder for the cache")?;
        PathBuf::from(home).join(".cache/hyperos")
    };
    create(&folder)?;
    Ok(folder)
}

/// Creates a folder and those above it.
///
/// # Errors
///
/// Fails, naming the folder, when that is not possible.
pub fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating the folder {}", folder.display()))
}
