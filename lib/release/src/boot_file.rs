//! The file that the firmware starts, as far as an update looks into it.
//!
//! It is a PE program with the kernel, the initramfs and the command line as sections. The command
//! line names the slot and the root hash: it is what binds the boot file to a root.

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

use crate::{Hash, parse_hash};

/// No command line is longer: the kernel takes 2 KiB on x86.
const LONGEST_COMMAND_LINE: u64 = 16 << 10;
/// A PE program of ours has fewer than twenty.
const MOST_SECTIONS: u16 = 96;
const SECTION_HEADER: u64 = 40;

/// Why a boot file is refused.
#[derive(Debug, Error)]
pub enum Error {
    /// It cannot be read.
    #[error("reading the boot file: {0}")]
    Read(#[from] io::Error),
    /// It is no PE program with a command line.
    #[error("the boot file is broken: {0}")]
    Broken(&'static str),
    /// It starts something else than the root that it came with.
    #[error("the boot file says {key}={found} where {expected} was expected")]
    Other {
        /// The parameter of the command line.
        key: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
}

/// The command line in a boot file.
///
/// # Errors
///
/// Fails when it cannot be read or has none.
pub fn command_line(mut file: impl Read + Seek) -> Result<String, Error> {
    let mut head = [0; 64];
    read_at(&mut file, 0, &mut head)?;
    if &head[..2] != b"MZ" {
        return Err(Error::Broken("it is no program for UEFI"));
    }
    let header = u64::from(u32_at(&head, 0x3c));
    let mut coff = [0; 24];
    read_at(&mut file, header, &mut coff)?;
    if &coff[..4] != b"PE\0\0" {
        return Err(Error::Broken("it is no PE program"));
    }
    let sections = u16_at(&coff, 6);
    if sections > MOST_SECTIONS {
        return Err(Error::Broken("it has too many sections"));
    }
    let table = header + 24 + u64::from(u16_at(&coff, 20));
    for number in 0..u64::from(sections) {
        let mut section = [0; SECTION_HEADER as usize];
        read_at(&mut file, table + number * SECTION_HEADER, &mut section)?;
        if &section[..8] == b".cmdline" {
            // Behind the content there is padding up to what the file keeps of it.
            let (size, kept) = (u32_at(&section, 8), u32_at(&section, 16));
            let length = u64::from(size.min(kept));
            if length > LONGEST_COMMAND_LINE {
                return Err(Error::Broken("its command line is too long"));
            }
            let mut text = vec![0; length as usize];
            read_at(&mut file, u64::from(u32_at(&section, 20)), &mut text)?;
            let text = String::from_utf8(text)
                .map_err(|_| Error::Broken("its command line is no text"))?;
            return Ok(text.trim_end_matches('\0').to_owned());
        }
    }
    Err(Error::Broken("it has no command line"))
}

/// What a boot file has to say of the root that it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// `a` or `b`.
    pub slot: &'a str,
    /// The root hash.
    pub hash: Hash,
    /// The salt, in hexadecimal, or `-`.
    pub salt: &'a str,
    /// How many blocks of data the root has.
    pub blocks: u64,
}

impl Expected<'_> {
    /// Whether a command line says this and nothing else of the root.
    ///
    /// # Errors
    ///
    /// Fails, naming the parameter, when it does not.
    pub fn check(&self, command_line: &str) -> Result<(), Error> {
        let compare = |key: &'static str, expected: &str| {
            let found: Vec<&str> = command_line
                .split_ascii_whitespace()
                .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='))
                .collect();
            if found == [expected] {
                Ok(())
            } else {
                Err(Error::Other {
                    key,
                    expected: expected.to_owned(),
                    found: found.join(" and "),
                })
            }
        };
        compare("hyper.slot", self.slot)?;
        compare("hyper.root-hash", &crate::hexadecimal(&self.hash))?;
        compare("hyper.root-salt", self.salt)?;
        compare("hyper.root-blocks", &self.blocks.to_string())
    }
}

/// The root hash, salt and number of blocks that a command line names, for whoever makes a release.
#[must_use]
pub fn root_of(command_line: &str) -> Option<(Hash, String, u64)> {
    let value = |key: &str| {
        command_line
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    Some((
        parse_hash(value("hyper.root-hash")?)?,
        value("hyper.root-salt")?.to_owned(),
        value("hyper.root-blocks")?.parse().ok()?,
    ))
}

fn read_at(file: &mut (impl Read + Seek), at: u64, to: &mut [u8]) -> Result<(), Error> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(to).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Broken("it ends within its headers"),
        _ => Error::Read(error),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// The least PE program that has a command line.
    fn program(command_line: &str) -> Vec<u8> {
        let mut file = vec![0; 512];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 64;
        file[64..68].copy_from_slice(b"PE\0\0");
        file[70] = 1; // sections
        let section = 64 + 24;
        file[section..section + 8].copy_from_slice(b".cmdline");
        let length = command_line.len() as u32;
        file[section + 8..section + 12].copy_from_slice(&length.to_le_bytes());
        file[section + 16..section + 20].copy_from_slice(&512_u32.to_le_bytes());
        file[section + 20..section + 24].copy_from_slice(&512_u32.to_le_bytes());
        file.extend_from_slice(command_line.as_bytes());
        file.resize(1024, 0);
        file
    }

    #[test]
    fn a_command_line_is_found_and_compared() {
        let hash = [0xab; 32];
        let text = format!(
            "hyper.slot=b hyper.root-hash={} hyper.root-salt=cd hyper.root-blocks=12 quiet",
            crate::hexadecimal(&hash)
        );
        let found = command_line(Cursor::new(program(&text))).unwrap();
        assert_eq!(found, text);
        let expected = Expected {
            slot: "b",
            hash,
            salt: "cd",
            blocks: 12,
        };
        expected.check(&found).unwrap();
        assert_eq!(root_of(&found), Some((hash, "cd".to_owned(), 12)));
        for other in [
            text.replace("slot=b", "slot=a"),
            text.replace("blocks=12", "blocks=13"),
            text.replace("salt=cd", "salt=ce"),
            text.replace("hyper.root-hash=ab", "hyper.root-hash=bb"),
            format!("{text} hyper.slot=b"),
            String::new(),
        ] {
            expected.check(&other).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn no_bytes_end_the_reading(mut bytes in proptest::collection::vec(any::<u8>(), 0..700), magic: bool) {
            if magic && bytes.len() > 70 {
                bytes[..2].copy_from_slice(b"MZ");
                bytes[0x3c..0x40].copy_from_slice(&64_u32.to_le_bytes());
                bytes[64..68].copy_from_slice(b"PE\0\0");
            }
            let _ = command_line(Cursor::new(bytes));
        }
    }
}
