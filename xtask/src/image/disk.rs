//! Puts partitions together to a disk, as a sparse file.

use std::{
    fs::{self, File},
    io::{BufReader, ErrorKind},
    os::unix::fs::FileExt as _,
    path::Path,
};

use ::partitions::{SECTOR, Table, sparse};
use anyhow::{Context as _, Result, bail};

use super::{Image, Layout, partitions};
use crate::{process, product::Product, programs::SOURCE_DATE_EPOCH};

/// How much is compared and written at a time: small enough to keep holes, large enough to be quick.
const CHUNK: usize = 64 << 10;

/// Makes a disk with an empty data partition.
pub(super) fn create(image: &Image, path: &Path) -> Result<()> {
    // Made beside its place and moved there, so that a disk that exists is complete.
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&temporary)
        .with_context(|| format!("creating {}", temporary.display()))?;
    file.set_len(image.layout.size())?;
    partitions::table(&image.layout, &image.product.name)
        .write(&mut file)
        .with_context(|| format!("writing {}", temporary.display()))?;
    drop(file);
    write_system(image, &temporary)?;
    make_data(image, &temporary)?;
    fs::rename(&temporary, path).with_context(|| format!("moving the disk to {}", path.display()))
}

/// Writes the system's partitions of a disk that exists; makes the disk when there is none.
pub(super) fn update(image: &Image, path: &Path) -> Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return create(image, path),
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    };
    let table = Table::read(&file).with_context(|| format!("reading {}", path.display()))?;
    if !fits(&table, &image.layout) {
        bail!(
            "{} has other partitions than devices/{}.toml asks for: `--fresh` makes it anew, without what the device has stored",
            path.display(),
            image.product.name
        );
    }
    write_system(image, path)
}

/// Whether a disk has the partitions of a layout, where the layout has them. The data may have grown.
fn fits(table: &Table, layout: &Layout) -> bool {
    let found = table.partitions();
    found.len() == layout.partitions.len()
        && found.iter().zip(&layout.partitions).all(|(entry, wanted)| {
            let size = (entry.sectors.end() + 1).saturating_sub(*entry.sectors.start()) * SECTOR;
            entry.name == wanted.name
                && entry.sectors.start() * SECTOR == wanted.offset
                && (size == wanted.size || (wanted.name == "data" && size > wanted.size))
        })
}

fn write_system(image: &Image, disk: &Path) -> Result<()> {
    for (partition, from) in [("esp-a", &image.esp), ("root-a", &image.root.path)] {
        copy_into(from, disk, image.layout.partition(partition).offset)
            .with_context(|| format!("writing {partition} of {}", disk.display()))?;
    }
    Ok(())
}

/// Makes `disk` hold the content of `from` at `offset`, writing only what differs.
fn copy_into(from: &Path, disk: &Path, offset: u64) -> Result<()> {
    let source = File::open(from).with_context(|| format!("opening {}", from.display()))?;
    let target = File::options().read(true).write(true).open(disk)?;
    let size = source.metadata()?.len();
    let (mut new, mut old) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < size {
        let length = CHUNK.min((size - at) as usize);
        source.read_exact_at(&mut new[..length], at)?;
        target.read_exact_at(&mut old[..length], offset + at)?;
        if new[..length] != old[..length] {
            target.write_all_at(&new[..length], offset + at)?;
        }
        at += length as u64;
    }
    Ok(())
}

/// Makes the empty file system of the data partition.
fn make_data(image: &Image, disk: &Path) -> Result<()> {
    let partition = image.layout.partition("data");
    make_file_system(&image.product, disk, partition.offset, partition.size)
        .context("making the data partition")
}

/// Makes a file that recovery makes the same file system with, on a disk that it installs on.
pub(super) fn write_new_data(product: &Product, layout: &Layout, to: &Path) -> Result<()> {
    let whole = to.with_extension("whole");
    let size = layout.partition("data").size;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&whole)
        .with_context(|| format!("creating {}", whole.display()))?;
    file.set_len(size)?;
    make_file_system(product, &whole, 0, size).context("making an empty file system for data")?;
    let mut packed = File::create(to).with_context(|| format!("creating {}", to.display()))?;
    sparse::pack(
        &mut BufReader::with_capacity(1 << 20, &mut file),
        &mut packed,
    )
    .with_context(|| format!("packing {}", whole.display()))?;
    fs::remove_file(&whole).with_context(|| format!("removing {}", whole.display()))
}

fn make_file_system(product: &Product, disk: &Path, offset: u64, size: u64) -> Result<()> {
    let identifier =
        partitions::identifier_text(&partitions::identifier(&product.name, "data file system"));
    process::run(
        process::tool("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "data", "-U", &identifier])
            .arg("-E")
            .arg(format!(
                "offset={offset},hash_seed={identifier},root_owner=0:0,nodiscard,lazy_itable_init=1,lazy_journal_init=1",
            ))
            .arg(disk)
            .arg(format!("{}k", size / 1024))
            .env("E2FSPROGS_FAKE_TIME", SOURCE_DATE_EPOCH),
    )
}
