//! A boot entry of the firmware (`EFI_LOAD_OPTION`): what it is called, and which file of which
//! partition it starts.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | attributes; 1 is active |
//! | 2 | length of the device path |
//! | … | the description, UTF-16, ended by zero |
//! | … | the device path: a partition by its identifier, a file, the end |
//! | … | data for the program, which we have none of |

/// The file that firmware starts on an EFI system partition when it is told nothing else, and the
/// one that our entries name too.
pub const FILE: &str = r"\EFI\BOOT\BOOTX64.EFI";

const ACTIVE: u32 = 1;

/// A partition, as a device path has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the table, from 1.
    pub number: u32,
    /// Its first block.
    pub start: u64,
    /// How many blocks it has.
    pub length: u64,
    /// Its own identifier, as it stands in the table.
    pub identifier: [u8; 16],
}

/// The entry that starts [`FILE`] of a partition.
pub fn encode(description: &str, partition: &Partition) -> Vec<u8> {
    let mut path = Vec::new();
    // Media device path, hard drive.
    path.extend_from_slice(&[4, 1, 42, 0]);
    path.extend_from_slice(&partition.number.to_le_bytes());
    path.extend_from_slice(&partition.start.to_le_bytes());
    path.extend_from_slice(&partition.length.to_le_bytes());
    path.extend_from_slice(&partition.identifier);
    // The table is a GPT, and the identifier a GUID.
    path.extend_from_slice(&[2, 2]);
    // Media device path, file.
    let file = utf16(FILE);
    path.extend_from_slice(&[4, 4]);
    path.extend_from_slice(&length(file.len() + 4));
    path.extend_from_slice(&file);
    // The end of the whole path.
    path.extend_from_slice(&[0x7f, 0xff, 4, 0]);

    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend_from_slice(&length(path.len()));
    option.extend_from_slice(&utf16(description));
    option.extend_from_slice(&path);
    option
}

/// The identifier of the partition whose [`FILE`] an entry starts; none for any other entry.
pub fn partition_of(option: &[u8]) -> Option<[u8; 16]> {
    let path_length = usize::from(u16::from_le_bytes(option.get(4..6)?.try_into().ok()?));
    let description = option.get(6..)?;
    let end = description
        .chunks_exact(2)
        .position(|unit| unit == [0, 0])?;
    let mut path = description.get((end + 1) * 2..)?.get(..path_length)?;
    let mut identifier = None;
    loop {
        let size = usize::from(u16::from_le_bytes(path.get(2..4)?.try_into().ok()?));
        let node = path.get(..size).filter(|node| node.len() >= 4)?;
        match (node[0], node[1]) {
            (4, 1) if size == 42 => identifier = node[24..40].try_into().ok(),
            (4, 4) if node[4..] == utf16(FILE) => return identifier,
            (0x7f, _) => return None,
            _ => {}
        }
        path = &path[size..];
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn length(bytes: usize) -> [u8; 2] {
    // Our paths and descriptions are short.
    u16::try_from(bytes).unwrap_or(u16::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_names_the_partition_that_it_starts() {
        let partition = Partition {
            number: 2,
            start: 2048,
            length: 131_072,
            identifier: *b"0123456789abcdef",
        };
        let option = encode("HyperOS b", &partition);
        assert_eq!(partition_of(&option), Some(partition.identifier));
        assert_eq!(&option[..4], [1, 0, 0, 0]);
        // As `efibootmgr -v` shows it: HD(2,GPT,…,0x800,0x20000)/File(…)
        let path_length = usize::from(u16::from_le_bytes([option[4], option[5]]));
        assert_eq!(option.len(), 6 + 2 * ("HyperOS b".len() + 1) + path_length);
        assert_eq!(path_length, 42 + 4 + 2 * (FILE.len() + 1) + 4);
    }

    proptest! {
        #[test]
        fn no_bytes_end_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = partition_of(&bytes);
        }
    }
}
