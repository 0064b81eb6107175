//! From an image to a release: the root and the boot files cut into chunks, those that the repository
//! has not yet put into a pack, and a manifest that names them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use release::manifest::FORMAT;
use release::{Boot, Chunk, Hash, Manifest, Pack, Root, Version, boot_file, chunk, hexadecimal};
use serde::Deserialize;

/// What a release is made of.
#[derive(Clone, Debug)]
pub struct Image {
    /// The root slot: file system and hash tree.
    pub root: PathBuf,
    /// The boot file for slot a.
    pub boot_a: PathBuf,
    /// The boot file for slot b.
    pub boot_b: PathBuf,
    /// The recovery, where the image has one.
    pub recovery: Option<PathBuf>,
    /// What the image says of itself: `release.toml`.
    pub release: PathBuf,
    /// For which product it is.
    pub product: String,
}

impl Image {
    /// The image that `cargo xtask image` left in a folder.
    #[must_use]
    pub fn in_folder(folder: &Path, product: &str) -> Self {
        Self {
            root: folder.join("root.img"),
            boot_a: folder.join("boot.efi"),
            boot_b: folder.join("boot-b.efi"),
            recovery: Some(folder.join("recovery.efi")).filter(|path| path.is_file()),
            release: folder.join("stage/system/release.toml"),
            product: product.to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct Release {
    version: Version,
    edition: String,
    development: bool,
    built: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Made {
    /// Where the manifest is, unsigned.
    pub manifest: PathBuf,
    /// What it is called: `PRODUCT.EDITION.VERSION`.
    pub name: String,
    /// Bytes of a device's download without anything to begin with.
    pub size: u64,
    /// Bytes that the repository did not have yet.
    pub added: u64,
}

/// Makes a release of an image, and puts its pieces into a repository.
///
/// # Errors
///
/// Fails when the image is not whole, its boot files do not start its root, or the repository
/// cannot be written.
pub fn make(image: &Image, repository: &Path, notes: &str) -> Result<Made> {
    let text = fs::read_to_string(&image.release)
        .with_context(|| format!("reading {}", image.release.display()))?;
    let about: Release =
        toml::from_str(&text).with_context(|| format!("reading {}", image.release.display()))?;

    let line = |path: &Path| -> Result<String> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        boot_file::command_line(file).with_context(|| format!("looking into {}", path.display()))
    };
    let line_a = line(&image.boot_a)?;
    let (hash, salt, blocks) = boot_file::root_of(&line_a)
        .context("the boot file's command line names no root: is the image verified?")?;
    for (slot, line) in [("a", &line_a), ("b", &line(&image.boot_b)?)] {
        boot_file::Expected {
            slot,
            hash,
            salt: &salt,
            blocks,
        }
        .check(line)?;
    }
    let size = blocks * verity::BLOCK_SIZE as u64;

    let mut packer = Packer::open(repository)?;
    let mut root = open(&image.root)?.take(size);
    let chunks = packer.add(&mut root)?;
    ensure!(root.limit() == 0, "{} ends early", image.root.display());
    let boot = Boot {
        a: packer.add(&mut open(&image.boot_a)?)?,
        b: packer.add(&mut open(&image.boot_b)?)?,
    };
    let mut recovery = match &image.recovery {
        Some(path) => packer.add(&mut open(path)?)?,
        None => Vec::new(),
    };
    let mut root = Root {
        hash: hexadecimal(&hash),
        salt,
        blocks,
        chunks,
    };
    let tree = verity::Tree::build(open(&image.root)?.take(size), &root.salt())
        .context("hashing the root")?;
    ensure!(
        tree.root_hash == hash,
        "{} has another root hash than the boot file names",
        image.root.display()
    );
    let (packs, added) = packer.finish(&mut root.chunks, &mut recovery, boot)?;
    let (boot, packs) = packs;
    let manifest = Manifest {
        format: FORMAT,
        product: image.product.clone(),
        edition: about.edition,
        version: about.version,
        built: about.built,
        development: about.development,
        notes: notes.to_owned(),
        root,
        boot,
        recovery,
        packs,
    };
    let name = format!(
        "{}.{}.{}",
        manifest.product, manifest.edition, manifest.version
    );
    let path = repository.join("releases").join(format!("{name}.json"));
    ensure!(
        !path.exists(),
        "{name} was made already: a release never changes, so this one needs another version"
    );
    write_new(&path, &manifest.to_json()?)?;
    Ok(Made {
        manifest: path,
        name,
        size: manifest.download_size("a"),
        added,
    })
}

fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path)
        .map(BufReader::new)
        .with_context(|| format!("opening {}", path.display()))
}

/// Writes a file that was not there, whole or not at all.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(unfinished, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Where the repository has a chunk already.
#[derive(Clone, Debug)]
struct Known {
    pack: Pack,
    offset: u64,
    stored: u32,
}

/// A chunk as it is put into a pack: compressed, or itself where that is not shorter.
///
/// # Errors
///
/// Fails when the compressor does.
pub fn pack(data: &[u8]) -> std::io::Result<Vec<u8>> {
    /// Slow to make, as quick as any other to unpack.
    const LEVEL: i32 = 19;
    let packed = zstd::bulk::compress(data, LEVEL)?;
    Ok(if packed.len() < data.len() {
        packed
    } else {
        data.to_vec()
    })
}

/// Puts chunks that are new to a repository into one new pack.
struct Packer {
    repository: PathBuf,
    known: HashMap<Hash, Known>,
    /// The new pack, and where in it a chunk is.
    new: Vec<u8>,
    placed: HashMap<Hash, (u64, u32)>,
}

impl Packer {
    fn open(repository: &Path) -> Result<Self> {
        let mut known = HashMap::new();
        let folder = repository.join("releases");
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let manifest =
                Manifest::parse(&bytes).with_context(|| format!("reading {}", path.display()))?;
            for slot in ["a", "b"] {
                for chunk in manifest.chunks_of(slot) {
                    known.entry(chunk.hash).or_insert_with(|| Known {
                        pack: manifest.packs[chunk.pack as usize].clone(),
                        offset: chunk.offset,
                        stored: chunk.stored,
                    });
                }
            }
        }
        Ok(Self {
            repository: repository.to_owned(),
            known,
            new: Vec::new(),
            placed: HashMap::new(),
        })
    }

    /// Cuts data. Where its chunks are is filled in by [`Packer::finish`].
    fn add(&mut self, data: &mut impl Read) -> Result<Vec<Chunk>> {
        let mut chunks = Vec::new();
        for cut in chunk::cut(data) {
            let cut = cut.context("reading the image")?;
            if !self.known.contains_key(&cut.hash) && !self.placed.contains_key(&cut.hash) {
                let stored = pack(&cut.data).context("compressing a chunk")?;
                let offset = self.new.len() as u64;
                self.placed
                    .insert(cut.hash, (offset, u32::try_from(stored.len())?));
                self.new.extend_from_slice(&stored);
            }
            chunks.push(Chunk {
                hash: cut.hash,
                length: u32::try_from(cut.data.len())?,
                pack: 0,
                offset: 0,
                stored: 0,
            });
        }
        Ok(chunks)
    }

    #[allow(clippy::type_complexity, reason = "used in one place")]
    fn finish(
        self,
        root: &mut [Chunk],
        recovery: &mut [Chunk],
        mut boot: Boot,
    ) -> Result<((Boot, Vec<Pack>), u64)> {
        let mut packs: Vec<Pack> = Vec::new();
        let mut number = |pack: &Pack| {
            packs
                .iter()
                .position(|other| other == pack)
                .unwrap_or_else(|| {
                    packs.push(pack.clone());
                    packs.len() - 1
                })
        };
        let new = Pack {
            hash: hexadecimal(&chunk::hash(&self.new)),
            size: self.new.len() as u64,
        };
        for chunk in root
            .iter_mut()
            .chain(boot.a.iter_mut())
            .chain(boot.b.iter_mut())
            .chain(recovery.iter_mut())
        {
            let (pack, offset, stored) =
                match (self.placed.get(&chunk.hash), self.known.get(&chunk.hash)) {
                    (Some(&(offset, stored)), _) => (&new, offset, stored),
                    (None, Some(known)) => (&known.pack, known.offset, known.stored),
                    (None, None) => anyhow::bail!("a chunk was lost"),
                };
            chunk.pack = u32::try_from(number(pack))?;
            chunk.offset = offset;
            chunk.stored = stored;
        }
        if !self.new.is_empty() {
            write_new(&self.repository.join(new.path()), &self.new)?;
        }
        Ok(((boot, packs), self.new.len() as u64))
    }
}
