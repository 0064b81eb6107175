//! What of a file is not empty, as a stream: the file system of a new `/data` is a gigabyte, of which half a
//! megabyte says something.
//!
//! The stream has, for each block of 4096 bytes that is not all zeros, its number as 8 bytes, the least
//! significant first, and the block.

use std::io::{self, Read, Seek, SeekFrom, Write};

const BLOCK: usize = 4096;

/// Writes what of `file` is not empty to `stream`. A last block that is not whole is filled up with zeros.
///
/// # Errors
/// When one cannot be read, or the other written.
pub fn pack(file: &mut impl Read, stream: &mut impl Write) -> io::Result<()> {
    let mut block = Vec::with_capacity(BLOCK);
    for number in 0_u64.. {
        block.clear();
        if file.by_ref().take(BLOCK as u64).read_to_end(&mut block)? == 0 {
            break;
        }
        if block.iter().any(|&byte| byte != 0) {
            block.resize(BLOCK, 0);
            stream.write_all(&number.to_le_bytes())?;
            stream.write_all(&block)?;
        }
    }
    Ok(())
}

/// Writes the blocks of `stream` to their places in `file`, of which `size` bytes are written at the most. What lies between
/// them has to be empty already.
///
/// # Errors
/// When one cannot be read, or the other written, or a place is beyond `size`.
pub fn unpack(stream: &mut impl Read, file: &mut (impl Write + Seek), size: u64) -> io::Result<()> {
    let mut piece = Vec::with_capacity(8 + BLOCK);
    loop {
        piece.clear();
        let most = (8 + BLOCK) as u64;
        match stream.by_ref().take(most).read_to_end(&mut piece)? {
            0 => return Ok(()),
            length if length < 8 + BLOCK => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        let mut number = [0; 8];
        number.copy_from_slice(&piece[..8]);
        let at = u64::from_le_bytes(number).checked_mul(BLOCK as u64);
        let at = at
            .filter(|at| {
                size.checked_sub(BLOCK as u64)
                    .is_some_and(|last| *at <= last)
            })
            .ok_or_else(|| io::Error::other("a block lies beyond the end"))?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&piece[8..])?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_packed_is_what_comes_back(
            blocks in proptest::collection::vec(proptest::option::of(any::<u8>()), 0..20),
        ) {
            let file: Vec<u8> = blocks
                .iter()
                .flat_map(|byte| [byte.unwrap_or(0); BLOCK])
                .collect();
            let mut stream = Vec::new();
            pack(&mut file.as_slice(), &mut stream).unwrap();
            let said = blocks.iter().filter(|byte| byte.unwrap_or(0) != 0).count();
            prop_assert_eq!(stream.len(), said * (8 + BLOCK));
            let mut back = Cursor::new(vec![0; file.len()]);
            unpack(&mut stream.as_slice(), &mut back, file.len() as u64).unwrap();
            prop_assert!(*back.get_ref() == file);
        }

        #[test]
        fn nothing_is_written_beyond_the_end(
            number in any::<u64>(),
            size in 0..40_000u64,
            cut in 0..4105usize,
        ) {
            let mut stream = number.to_le_bytes().to_vec();
            stream.resize(8 + BLOCK, 1);
            stream.truncate(8 + BLOCK - cut.min(8 + BLOCK));
            let mut file = Cursor::new(Vec::new());
            let fits = number < size / BLOCK as u64;
            let unpacked = unpack(&mut stream.as_slice(), &mut file, size);
            prop_assert_eq!(unpacked.is_ok(), stream.is_empty() || (cut == 0 && fits));
            prop_assert!(file.get_ref().len() as u64 <= size);
        }
    }
}
