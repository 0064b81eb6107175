//! The boot partitions of the disk that the system runs from, as the firmware names them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::load_option::Partition;

/// What `start` and `size` in `/sys` count, whatever the disk's own blocks are.
const SECTOR: u64 = 512;

/// Reads what the firmware has to know of the partition with this node, such as `/dev/vda2`.
///
/// # Errors
/// When the kernel or the partition table does not say.
pub fn partition(node: &Path) -> Result<Partition> {
    let name = node.file_name().context("a partition without a name")?;
    let device = Path::new("/sys/class/block").join(name);
    let number = |file: &str| -> Result<u64> {
        let path = device.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        text.trim()
            .parse()
            .with_context(|| format!("{} is {text:?}", path.display()))
    };
    let disk = device
        .canonicalize()
        .with_context(|| format!("following {}", device.display()))?;
    let disk = disk.parent().context("a partition without a disk")?;
    let block = std::fs::read_to_string(disk.join("queue/logical_block_size"))
        .context("asking for the size of the disk's blocks")?;
    let block: u64 = block
        .trim()
        .parse()
        .context("the size of the disk's blocks")?;
    let disk = Path::new("/dev").join(disk.file_name().context("a disk without a name")?);
    let number_in_table = u32::try_from(number("partition")?)?;
    let table = File::open(&disk).with_context(|| format!("opening {}", disk.display()))?;
    Ok(Partition {
        number: number_in_table,
        start: number("start")? * SECTOR / block,
        length: number("size")? * SECTOR / block,
        identifier: identifier(&table, block, number_in_table)
            .with_context(|| format!("reading the partition table of {}", disk.display()))?,
    })
}

/// The identifier of a partition, out of the GPT of a disk.
fn identifier(disk: &File, block: u64, number: u32) -> Result<[u8; 16]> {
    let mut header = [0; 92];
    disk.read_exact_at(&mut header, block)?;
    ensure!(&header[..8] == b"EFI PART", "it has no GPT");
    let u32_at = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let entries = u64::from(u32_at(72)) | u64::from(u32_at(76)) << 32;
    let (count, size) = (u32_at(80), u32_at(84));
    ensure!(
        (1..=count).contains(&number) && size >= 128,
        "it has no partition {number}"
    );
    let offset = u64::from(number - 1) * u64::from(size);
    let at = entries
        .checked_mul(block)
        .and_then(|start| start.checked_add(offset + 16))
        .context("its entries lie outside of the disk")?;
    let mut identifier = [0; 16];
    disk.read_exact_at(&mut identifier, at)?;
    Ok(identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_of_a_partition_is_found_in_the_table() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        let file = File::options()
            .read(true)
            .write(true)
            .open(disk.path())
            .unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(b"EFI PART", 512).unwrap();
        file.write_all_at(&2_u64.to_le_bytes(), 512 + 72).unwrap();
        file.write_all_at(&128_u32.to_le_bytes(), 512 + 80).unwrap();
        file.write_all_at(&128_u32.to_le_bytes(), 512 + 84).unwrap();
        file.write_all_at(b"0123456789abcdef", 1024 + 128 + 16)
            .unwrap();
        assert_eq!(identifier(&file, 512, 2).unwrap(), *b"0123456789abcdef");
        identifier(&file, 512, 0).unwrap_err();
        identifier(&file, 512, 129).unwrap_err();
        file.write_all_at(b"NO TABLE", 512).unwrap();
        identifier(&file, 512, 2).unwrap_err();
    }
}
