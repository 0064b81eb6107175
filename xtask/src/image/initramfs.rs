//! The initramfs: a cpio archive in the `newc` form that the kernel unpacks.
//!
//! Written here rather than by cpio(1) so that the same files give the same bytes: no inode
//! numbers, times or owners of the building machine get into it.

use std::io::{self, Write};

/// An archive that is being written.
#[derive(Debug)]
pub struct Archive<W: Write> {
    out: W,
    written: usize,
    entries: u32,
}

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl<W: Write> Archive<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            entries: 0,
        }
    }

    /// Adds a folder.
    ///
    /// # Errors
    ///
    /// Fails when writing fails.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, FOLDER | 0o755, (0, 0), &[])
    }

    /// Adds a file with these permissions.
    ///
    /// # Errors
    ///
    /// Fails when writing fails.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | permissions, (0, 0), content)
    }

    /// Adds a character device. The kernel opens `/dev/console` for process 1 before anything has
    /// been mounted.
    ///
    /// # Errors
    ///
    /// Fails when writing fails.
    pub fn character_device(
        &mut self,
        path: &str,
        permissions: u32,
        major: u32,
        minor: u32,
    ) -> io::Result<()> {
        self.entry(path, CHARACTER_DEVICE | permissions, (major, minor), &[])
    }

    /// Ends the archive and gives back what it was written to.
    ///
    /// # Errors
    ///
    /// Fails when writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{path} is larger than 4 GiB"),
            )
        })?;
        self.entries += 1;
        let links = if mode & FOLDER != 0 && mode & FILE != FILE {
            2
        } else {
            1
        };
        let name_size = path.len() as u32 + 1;
        // inode, mode, user, group, links, time, size, device of the file system (2), device (2), name's size, checksum
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name_size,
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.put(header.as_bytes())?;
        self.put(path.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(content)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes)
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.put(&[0; 3][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_layout_that_the_kernel_documents() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("dev").unwrap();
        archive.file("init", 0o755, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[14..22], b"000041ed", "a folder with 755");
        // Header of 110 bytes, "dev" and its zero: 114, padded to 116.
        let second = &bytes[116..];
        assert_eq!(&second[..6], b"070701");
        assert_eq!(&second[14..22], b"000081ed", "a file with 755");
        assert_eq!(&second[54..62], b"00000005", "its size");
        assert_eq!(&second[110..115], b"init\0");
        assert_eq!(&second[116..124], b"hello\0\0\0");
        assert!(String::from_utf8_lossy(&bytes).contains("TRAILER!!!"));
    }
}
