//! The read-only root of a device: what is in it, and the EROFS image with its hash tree.

use std::{
    fs,
    io::{BufReader, BufWriter, Write as _},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{Options, fonts, modules::Modules, partitions};
use crate::{
    packages, paths, process,
    product::Product,
    programs::{self, SOURCE_DATE_EPOCH},
    progress::Progress,
};

/// Folders that the device mounts something on.
const MOUNT_POINTS: [&str; 6] = ["proc", "sys", "dev", "run", "tmp", "data"];

/// A part of the root and its size before compression.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its path on the device.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// A root slot as it goes on the disk.
#[derive(Clone, Debug)]
pub struct Root {
    /// The file system directly followed by its hash tree.
    pub path: PathBuf,
    /// Bytes, tree included.
    pub size: u64,
    /// The root hash, in hexadecimal.
    pub hash: String,
    /// The salt, in hexadecimal.
    pub salt: String,
    /// How many blocks the file system has.
    pub blocks: u64,
    /// The files, the largest first.
    pub parts: Vec<Part>,
}

/// Puts together the tree of files in `stage`.
pub(super) fn stage(
    root: &Path,
    product: &Product,
    options: &Options,
    programs: &Path,
    modules: Option<&Modules>,
    stage: &Path,
    progress: &Progress,
) -> Result<()> {
    if stage.exists() {
        fs::remove_dir_all(stage).with_context(|| format!("emptying {}", stage.display()))?;
    }
    for folder in MOUNT_POINTS {
        paths::create(&stage.join(folder))?;
    }
    let system = stage.join("system");
    paths::create(&system)?;

    for program in programs::PROGRAMS {
        process::run(
            process::tool("strip")
                .args(["--strip-all", "-o"])
                .arg(system.join(program))
                .arg(programs.join(program)),
        )?;
    }
    stage_configuration(root, product, options, &system)?;

    let share = system.join("share");
    fonts::stage(root, &share.join("fonts"), progress)?;
    stage_time_zones(root, &share.join("zoneinfo"), progress)?;
    stage_certificates(root, &share.join("certificates"), progress)?;
    copy_tree(&root.join("wit"), &share.join("wit"))?;
    // What a crate brings for the device to read, such as the wallpapers.
    for crate_folder in crates(root)? {
        copy_tree(&crate_folder.join("share"), &share)?;
    }
    if let Some(modules) = modules {
        progress.step("choosing drivers", || {
            let all: Vec<String> = product
                .modules
                .initramfs
                .iter()
                .chain(&product.modules.system)
                .cloned()
                .collect();
            modules.stage(&all, stage)
        })?;
    }
    for (path, content) in options.variant.iter().flat_map(|variant| &variant.files) {
        let file = stage.join(path.strip_prefix("/").unwrap_or(path));
        paths::create(file.parent().unwrap_or(stage))?;
        fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// What the system reads about itself, and the manifests of the product's services.
fn stage_configuration(
    root: &Path,
    product: &Product,
    options: &Options,
    system: &Path,
) -> Result<()> {
    let copy = |from: PathBuf, to: &str| {
        fs::copy(&from, system.join(to))
            .with_context(|| format!("copying {}", from.display()))
            .map(drop)
    };
    copy(
        root.join("devices").join(format!("{}.toml", product.name)),
        "product.toml",
    )?;
    copy(
        root.join("editions")
            .join(format!("{}.toml", options.edition)),
        "edition.toml",
    )?;
    let release = system.join("release.toml");
    fs::write(&release, super::release(options))
        .with_context(|| format!("writing {}", release.display()))?;

    stage_update_root(root, options, system)?;

    let services = system.join("services");
    paths::create(&services)?;
    let mut ahead = String::new();
    for service in product
        .services
        .iter()
        .filter(|service| options.development || *service != "console")
    {
        let manifest = manifest(root, service)?;
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("reading {}", manifest.display()))?;
        let start: Beginning =
            toml::from_str(&text).with_context(|| format!("in {}", manifest.display()))?;
        if start.start.as_deref() == Some("first") {
            ahead += &format!("{}\n", start.program);
        }
        let to = services.join(format!("{service}.toml"));
        fs::write(&to, text).with_context(|| format!("writing {}", to.display()))?;
    }
    let to = system.join("read-ahead");
    fs::write(&to, ahead).with_context(|| format!("writing {}", to.display()))
}

/// What of a manifest decides whether `init` reads its program before it is run.
#[derive(serde::Deserialize)]
struct Beginning {
    program: String,
    start: Option<String>,
}

/// The keys that the device believes for its updates. Without any it believes nobody.
fn stage_update_root(root: &Path, options: &Options, system: &Path) -> Result<()> {
    let development = root.join("hyper-release/development/root.json");
    let from = match &options.update_root {
        Some(path) => path,
        None if options.development => &development,
        None => return Ok(()),
    };
    let to = system.join("update");
    paths::create(&to)?;
    fs::copy(from, to.join("root.json"))
        .with_context(|| format!("copying {}", from.display()))
        .map(drop)
}

/// The manifest of a service: `system/CRATE/services/NAME.toml`.
///
/// # Errors
///
/// Fails when no crate has it.
pub fn manifest(root: &Path, service: &str) -> Result<PathBuf> {
    let found = crates(root)?
        .into_iter()
        .map(|folder| folder.join("services").join(format!("{service}.toml")))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!("no folder of system/ has services/{service}.toml, which the product asks for")
    })
}

/// The folders that may bring something for the device, sorted.
fn crates(root: &Path) -> Result<Vec<PathBuf>> {
    let system = root.join("system");
    let mut folders: Vec<PathBuf> = fs::read_dir(&system)
        .with_context(|| format!("reading {}", system.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.push(root.join("ui"));
    folders.sort();
    Ok(folders)
}

/// The compiled time zones: regions and cities, without the copies with leap seconds.
fn stage_time_zones(root: &Path, to: &Path, progress: &Progress) -> Result<()> {
    let from = packages::unpacked(root, "tzdata", progress)?.join("usr/share/zoneinfo");
    paths::create(to)?;
    for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if matches!(
            name.as_str(),
            "posix" | "right" | "posixrules" | "localtime" | "leapseconds" | "leap-seconds.list"
        ) {
            continue;
        }
        copy_tree(&path, &to.join(name))?;
    }
    Ok(())
}

/// All authorities that Debian trusts, in one file.
fn stage_certificates(root: &Path, to: &Path, progress: &Progress) -> Result<()> {
    let from = packages::unpacked(root, "ca-certificates", progress)?
        .join("usr/share/ca-certificates/mozilla");
    let mut files: Vec<PathBuf> = fs::read_dir(&from)
        .with_context(|| format!("reading {}", from.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    files.sort();
    let mut all = String::new();
    for file in files {
        all.push_str(
            fs::read_to_string(&file)
                .with_context(|| format!("reading {}", file.display()))?
                .trim_end(),
        );
        all.push('\n');
    }
    paths::create(to)?;
    fs::write(to.join("authorities.pem"), all).context("writing the certificates")
}

/// Copies a file or a folder with all that is in it; nothing when it does not exist.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let Ok(kind) = fs::symlink_metadata(from).map(|metadata| metadata.file_type()) else {
        return Ok(());
    };
    let context = || format!("copying {}", from.display());
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, to).with_context(context)
    } else if kind.is_dir() {
        paths::create(to)?;
        for entry in fs::read_dir(from).with_context(context)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
        Ok(())
    } else if kind.is_file() {
        fs::copy(from, to).with_context(context).map(drop)
    } else if kind.is_socket() || kind.is_fifo() {
        bail!("{} is neither a file nor a folder", from.display())
    } else {
        Ok(())
    }
}

/// Makes the file system and its hash tree from the staged files.
pub(super) fn pack(product: &Product, stage: &Path, to: &Path, slot_size: u64) -> Result<Root> {
    set_permissions(stage)?;
    let _ = fs::remove_file(to);
    let uuid =
        partitions::identifier_text(&partitions::identifier(&product.name, "root file system"));
    process::run(
        process::tool("mkfs.erofs")
            .args(["-zlz4hc,12", "-C65536", "--all-root", "--quiet"])
            .arg(format!("-T{SOURCE_DATE_EPOCH}"))
            .arg(format!("-U{uuid}"))
            .args([to, stage]),
    )?;
    // The salt is no secret: it only keeps a table of hashes made for one image from fitting another.
    let salt = packages::hash_file(to)?;
    let salt_bytes: Vec<u8> = (0..salt.len())
        .step_by(2)
        .filter_map(|index| u8::from_str_radix(&salt[index..index + 2], 16).ok())
        .collect();
    let file = fs::File::open(to).with_context(|| format!("opening {}", to.display()))?;
    let tree = verity::Tree::build(BufReader::with_capacity(1 << 20, file), &salt_bytes)
        .with_context(|| format!("hashing {}", to.display()))?;
    let mut file = BufWriter::new(fs::File::options().append(true).open(to)?);
    tree.write(&mut file)
        .and_then(|()| file.flush())
        .with_context(|| format!("writing to {}", to.display()))?;

    let size = fs::metadata(to)?.len();
    if size > slot_size {
        bail!(
            "the root takes {:.1} MiB and its slot has {:.1}: raise root-slot in devices/{}.toml",
            size as f64 / 1_048_576.0,
            slot_size as f64 / 1_048_576.0,
            product.name
        );
    }
    let mut parts = Vec::new();
    measure(stage, stage, &mut parts)?;
    parts.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
    Ok(Root {
        path: to.to_owned(),
        size,
        hash: verity::hexadecimal(&tree.root_hash),
        salt,
        blocks: tree.data_blocks,
        parts,
    })
}

/// The same permissions whatever this machine's umask is.
pub(super) fn set_permissions(path: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let is_program = path
        .parent()
        .is_some_and(|parent| parent.ends_with("system"))
        && programs::PROGRAMS
            .iter()
            .any(|program| path.ends_with(program));
    let mode = if metadata.is_dir() || is_program {
        0o755
    } else {
        0o644
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the permissions of {}", path.display()))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            set_permissions(&entry?.path())?;
        }
    }
    Ok(())
}

fn measure(path: &Path, stage: &Path, parts: &mut Vec<Part>) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            measure(&path, stage, parts)?;
        } else if metadata.is_file() {
            let name = path.strip_prefix(stage).unwrap_or(&path);
            parts.push(Part {
                path: format!("/{}", name.display()),
                size: metadata.len(),
            });
        }
    }
    Ok(())
}
