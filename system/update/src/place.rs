//! Putting chunks into their places, and taking them from wherever they are at hand.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};

use release::{Chunk, Hash, chunk};

/// Something that is read and written at places.
pub trait Storage: Read + Write + Seek {}
impl<S: Read + Write + Seek> Storage for S {}

/// Something that is read at places.
pub trait Readable: Read + Seek {}
impl<S: Read + Seek> Readable for S {}

/// Data of this device that has chunks of a release: the root that runs, the boot file of the slot
/// that runs, what is already put together of the release.
pub struct Stock<'a> {
    data: &'a mut dyn Readable,
    places: HashMap<Hash, (u64, u32)>,
}

impl<'a> Stock<'a> {
    /// Cuts all of `data` and remembers where the wanted chunks are.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be read.
    pub fn look(data: &'a mut dyn Readable, wanted: &HashSet<Hash>) -> io::Result<Self> {
        data.seek(SeekFrom::Start(0))?;
        let mut places = HashMap::new();
        for cut in chunk::cut(&mut *data) {
            let cut = cut?;
            if wanted.contains(&cut.hash) {
                // No chunk is longer than `chunk::LARGEST`.
                places.insert(cut.hash, (cut.offset, cut.data.len() as u32));
            }
        }
        Ok(Self { data, places })
    }

    /// Data that consists of these chunks, one behind the other.
    pub fn of(data: &'a mut dyn Readable, chunks: &[Chunk]) -> Self {
        let mut places = HashMap::new();
        let mut offset = 0;
        for chunk in chunks {
            places.insert(chunk.hash, (offset, chunk.length));
            offset += u64::from(chunk.length);
        }
        Self { data, places }
    }

    /// How many of the wanted chunks it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A chunk, unless it is not here or no longer what it was.
    pub fn take(&mut self, wanted: &Chunk) -> Option<Vec<u8>> {
        let &(offset, length) = self.places.get(&wanted.hash)?;
        if length != wanted.length {
            return None;
        }
        read_chunk(self.data, offset, wanted)
    }
}

/// The chunk at a place, if it is there already.
pub fn read_chunk(
    data: &mut (impl Read + Seek + ?Sized),
    offset: u64,
    wanted: &Chunk,
) -> Option<Vec<u8>> {
    let mut bytes = vec![0; wanted.length as usize];
    data.seek(SeekFrom::Start(offset)).ok()?;
    data.read_exact(&mut bytes).ok()?;
    (chunk::hash(&bytes) == wanted.hash).then_some(bytes)
}

/// Writes a chunk to its place.
///
/// # Errors
///
/// Fails when the storage does.
pub fn write_chunk(
    storage: &mut (impl Storage + ?Sized),
    offset: u64,
    data: &[u8],
) -> io::Result<()> {
    storage.seek(SeekFrom::Start(offset))?;
    storage.write_all(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_chunk_that_changed_since_it_was_seen_is_not_taken() {
        let mut chance = fastrand::Rng::with_seed(1);
        let data: Vec<u8> = (0..300_000).map(|_| chance.u8(..)).collect();
        let cuts: Vec<_> = chunk::cut(data.as_slice()).map(Result::unwrap).collect();
        let entry = |cut: &chunk::Cut| Chunk {
            hash: cut.hash,
            length: cut.data.len() as u32,
            pack: 0,
            offset: 0,
            stored: 1,
        };
        let wanted = cuts.iter().map(|cut| cut.hash).collect();
        let mut disk = Cursor::new(data);
        let mut stock = Stock::look(&mut disk, &wanted).unwrap();
        assert_eq!(stock.len(), cuts.len());
        assert_eq!(stock.take(&entry(&cuts[1])).unwrap(), cuts[1].data);
        let places = std::mem::take(&mut stock.places);
        disk.get_mut()[cuts[1].offset as usize] ^= 1;
        let mut stock = Stock {
            data: &mut disk,
            places,
        };
        assert_eq!(stock.take(&entry(&cuts[1])), None);
        assert_eq!(stock.take(&entry(&cuts[2])).unwrap(), cuts[2].data);
    }
}
