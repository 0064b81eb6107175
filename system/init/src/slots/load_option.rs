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

/// The recovery that stands beside it.
pub const RECOVERY: &str = r"\EFI\HYPEROS\RECOVERY.EFI";

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

/// The entry that starts a file of a partition.
pub fn encode(description: &str, partition: &Partition, file: &str) -> Vec<u8> {
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
    let file = utf16(file);
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

/// What an entry is called.
pub fn description(option: &[u8]) -> Option<String> {
    let (description, _) = split(option)?;
    let units: Vec<u16> = description
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .collect();
    String::from_utf16(&units).ok()
}

/// The description, without its end, and the device path.
fn split(option: &[u8]) -> Option<(&[u8], &[u8])> {
    let path_length = usize::from(u16::from_le_bytes(option.get(4..6)?.try_into().ok()?));
    let rest = option.get(6..)?;
    let end = 2 * rest.chunks_exact(2).position(|unit| unit == [0, 0])?;
    Some((&rest[..end], rest.get(end + 2..)?.get(..path_length)?))
}

/// The identifier of the partition of which an entry starts `file`; none for any other entry.
pub fn partition_of(option: &[u8], file: &str) -> Option<[u8; 16]> {
    let (_, mut path) = split(option)?;
    let mut identifier = None;
    loop {
        let size = usize::from(u16::from_le_bytes(path.get(2..4)?.try_into().ok()?));
        let node = path.get(..size).filter(|node| node.len() >= 4)?;
        match (node[0], node[1]) {
            (4, 1) if size == 42 => identifier = node[24..40].try_into().ok(),
            (4, 4) if node[4..] == utf16(file) => return identifier,
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
        let option = encode("HyperOS b", &partition, FILE);
        assert_eq!(partition_of(&option, FILE), Some(partition.identifier));
        assert_eq!(partition_of(&option, r"\EFI\OTHER.EFI"), None);
        assert_eq!(description(&option).as_deref(), Some("HyperOS b"));
        assert_eq!(&option[..4], [1, 0, 0, 0]);
        // As `efibootmgr -v` shows it: HD(2,GPT,…,0x800,0x20000)/File(…)
        let path_length = usize::from(u16::from_le_bytes([option[4], option[5]]));
        assert_eq!(option.len(), 6 + 2 * ("HyperOS b".len() + 1) + path_length);
        assert_eq!(path_length, 42 + 4 + 2 * (FILE.len() + 1) + 4);
    }

    proptest! {
        #[test]
        fn no_bytes_end_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = partition_of(&bytes, FILE);
            let _ = description(&bytes);
        }
    }
}
