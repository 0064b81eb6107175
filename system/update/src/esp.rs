//! The EFI system partition of a slot: a FAT file system with nothing but the boot file.
//!
//! That of the slot that is written begins by being none at all ([`take_away`]), so that firmware
//! starts nothing from a slot whose root is half of one release and half of another. It is made anew
//! as the last step of an installation ([`make`]); a file system that a power cut tore is never read.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, ReadWriteSeek};

use crate::place::Readable;
use crate::stick::ReadOnly;

/// The boot file as firmware looks for it.
pub const FILE: &str = "EFI/BOOT/BOOTX64.EFI";

/// What the file system is called and numbered, as those of a new disk are.
const LABEL: [u8; 11] = *b"HYPEROS    ";
const NUMBER: u32 = 0x4859_5045;

/// Both copies of what says that this is a file system lie within.
const HEAD: usize = 64 << 10;

/// The file system and its tables, beside the boot file.
pub const OVERHEAD: u64 = 4 << 20;

/// Lets `read` read the boot file of a slot, without a write.
///
/// # Errors
///
/// Fails when there is none.
pub fn with_boot_file<T>(
    disk: &mut dyn Readable,
    read: impl FnOnce(&mut dyn Readable) -> T,
) -> io::Result<T> {
    // A file system begins where the disk stands.
    disk.seek(SeekFrom::Start(0))?;
    let system = FileSystem::new(ReadOnly::new(disk, u64::MAX), FsOptions::new())?;
    let mut file = system.root_dir().open_file(FILE)?;
    Ok(read(&mut file))
}

/// Makes a boot partition one that nothing is started from.
///
/// # Errors
///
/// Fails when the disk does.
pub fn take_away(disk: &mut (impl Write + Seek)) -> io::Result<()> {
    disk.seek(SeekFrom::Start(0))?;
    disk.write_all(&[0; HEAD])
}

/// Makes a boot partition of `size` bytes anew, with this boot file.
///
/// # Errors
///
/// Fails when the disk does, or has not the room.
pub fn make(disk: &mut impl ReadWriteSeek, size: u64, boot_file: &mut impl Read) -> io::Result<()> {
    disk.seek(SeekFrom::Start(0))?;
    let sectors = u32::try_from(size / 512).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the boot partition is larger than its file system can be",
        )
    })?;
    fatfs::format_volume(
        &mut *disk,
        FormatVolumeOptions::new()
            .fat_type(FatType::Fat32)
            .bytes_per_sector(512)
            .total_sectors(sectors)
            .volume_id(NUMBER)
            .volume_label(LABEL),
    )?;
    disk.seek(SeekFrom::Start(0))?;
    let system = FileSystem::new(disk, FsOptions::new())?;
    {
        let root = system.root_dir();
        let mut folder = root;
        let mut parts = FILE.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                folder = folder.create_dir(part)?;
            } else {
                let mut file = folder.create_file(part)?;
                io::copy(boot_file, &mut file)?;
                file.flush()?;
            }
        }
    }
    system.unmount()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const SIZE: u64 = 64 << 20;

    fn read(disk: &mut Cursor<Vec<u8>>) -> io::Result<Vec<u8>> {
        with_boot_file(disk, |file| {
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            content
        })
    }

    #[test]
    fn a_boot_file_is_there_until_it_is_taken_away() {
        let mut disk = Cursor::new(vec![0xa5; SIZE as usize]);
        for content in [vec![1; 3_000_000], vec![2; 500]] {
            make(&mut disk, SIZE, &mut content.as_slice()).unwrap();
            assert_eq!(read(&mut disk).unwrap(), content);
            take_away(&mut disk).unwrap();
            read(&mut disk).unwrap_err();
        }
    }

    #[test]
    fn a_boot_file_that_does_not_fit_is_an_error() {
        let mut disk = Cursor::new(vec![0; 34 << 20]);
        let content = vec![1; 35 << 20];
        make(&mut disk, 34 << 20, &mut content.as_slice()).unwrap_err();
    }
}
