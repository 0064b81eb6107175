//! The EFI system partition of a slot: a FAT file system with the boot file and the recovery, and nothing
//! else.
//!
//! That of the slot that is written begins by being none at all ([`take_away`]), so that firmware
//! starts nothing from a slot whose root is half of one release and half of another. It is made anew
//! as the last step of an installation ([`make`]); a file system that a power cut tore is never read.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, ReadWriteSeek};

use crate::blocks::Blocks;
use crate::place::Readable;
use crate::stick::ReadOnly;

/// The boot file as firmware looks for it.
pub const BOOT_FILE: &str = "EFI/BOOT/BOOTX64.EFI";

/// The recovery, which firmware starts by an entry of its own.
pub const RECOVERY: &str = "EFI/HYPEROS/RECOVERY.EFI";

/// What the file system is called and numbered, as those of a new disk are.
const LABEL: [u8; 11] = *b"HYPEROS    ";
const NUMBER: u32 = 0x4859_5045;

/// Both copies of what says that this is a file system lie within.
const HEAD: usize = 64 << 10;

/// The file system and its tables, beside the files.
pub const OVERHEAD: u64 = 4 << 20;

/// Lets `read` read a file of a boot partition, without a write.
///
/// # Errors
///
/// Fails when there is none.
pub fn with_file<T>(
    disk: &mut dyn Readable,
    path: &str,
    read: impl FnOnce(&mut dyn Readable) -> T,
) -> io::Result<T> {
    // A file system begins where the disk stands.
    disk.seek(SeekFrom::Start(0))?;
    let disk = Blocks::new(ReadOnly::new(disk, u64::MAX));
    let system = FileSystem::new(disk, FsOptions::new())?;
    let mut file = system.root_dir().open_file(path)?;
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

/// Makes a boot partition of `size` bytes anew, with these files.
///
/// # Errors
///
/// Fails when the disk does, or has not the room.
pub fn make(
    disk: &mut impl ReadWriteSeek,
    size: u64,
    files: &mut [(&str, &mut dyn Read)],
) -> io::Result<()> {
    let mut disk = Blocks::new(disk);
    let sectors = u32::try_from(size / 512).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the boot partition is larger than its file system can be",
        )
    })?;
    fatfs::format_volume(
        &mut disk,
        FormatVolumeOptions::new()
            .fat_type(FatType::Fat32)
            .bytes_per_sector(512)
            .total_sectors(sectors)
            .volume_id(NUMBER)
            .volume_label(LABEL),
    )?;
    disk.seek(SeekFrom::Start(0))?;
    let system = FileSystem::new(&mut disk, FsOptions::new())?;
    for (path, content) in files {
        let mut folder = system.root_dir();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                folder = folder.create_dir(part)?;
            } else {
                let mut file = folder.create_file(part)?;
                io::copy(content, &mut file)?;
                file.flush()?;
            }
        }
    }
    system.unmount()?;
    disk.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const SIZE: u64 = 64 << 20;

    fn read(disk: &mut Cursor<Vec<u8>>, path: &str) -> io::Result<Vec<u8>> {
        with_file(disk, path, |file| {
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            content
        })
    }

    #[test]
    fn boot_file_and_recovery_are_there_until_they_are_taken_away() {
        let mut disk = Cursor::new(vec![0xa5; SIZE as usize]);
        for content in [vec![1; 3_000_000], vec![2; 500]] {
            let recovery = content.repeat(3);
            let mut files: [(&str, &mut dyn Read); 2] = [
                (BOOT_FILE, &mut content.as_slice()),
                (RECOVERY, &mut recovery.as_slice()),
            ];
            make(&mut disk, SIZE, &mut files).unwrap();
            assert_eq!(read(&mut disk, BOOT_FILE).unwrap(), content);
            assert_eq!(read(&mut disk, RECOVERY).unwrap(), recovery);
            take_away(&mut disk).unwrap();
            read(&mut disk, BOOT_FILE).unwrap_err();
            read(&mut disk, RECOVERY).unwrap_err();
        }
    }

    #[test]
    fn a_boot_file_that_does_not_fit_is_an_error() {
        let mut disk = Cursor::new(vec![0; 34 << 20]);
        let content = vec![1; 35 << 20];
        let mut files: [(&str, &mut dyn Read); 1] = [(BOOT_FILE, &mut content.as_slice())];
        make(&mut disk, 34 << 20, &mut files).unwrap_err();
    }
}
