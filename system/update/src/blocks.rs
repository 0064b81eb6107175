//! A disk that is read and written by large blocks, of which the last few stay in memory.
//!
//! A FAT file system of the size of a boot partition has clusters of 512 bytes, and for each of them a
//! number in a table elsewhere. Without this, each is a call of its own to the kernel.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// How large a block is.
const SIZE: usize = 64 << 10;

/// So many are kept: of the tables, of the folder and of the file.
const MOST: usize = 8;

/// Such a disk. What was written reaches it when [`Write::flush`] returns; without that it may not.
pub(crate) struct Blocks<D: Read + Write + Seek> {
    disk: D,
    position: u64,
    /// That which was used last is the last.
    blocks: Vec<Block>,
}

struct Block {
    number: u64,
    /// Shorter than a block where the disk ends in it.
    data: Vec<u8>,
    is_changed: bool,
}

impl<D: Read + Write + Seek> Blocks<D> {
    /// Nothing is read yet. It stands at the beginning.
    pub(crate) fn new(disk: D) -> Self {
        Self {
            disk,
            position: 0,
            blocks: Vec::with_capacity(MOST),
        }
    }

    /// The block at the present position, and where in it that is.
    fn here(&mut self) -> io::Result<(&mut Block, usize)> {
        let number = self.position / SIZE as u64;
        let within = (self.position % SIZE as u64) as usize;
        let place = self.blocks.iter().position(|block| block.number == number);
        let block = match place {
            Some(place) => self.blocks.remove(place),
            None => {
                if self.blocks.len() == MOST {
                    write_back(&mut self.disk, &mut self.blocks[0])?;
                    self.blocks.remove(0);
                }
                self.disk.seek(SeekFrom::Start(number * SIZE as u64))?;
                let mut data = Vec::with_capacity(SIZE);
                (&mut self.disk).take(SIZE as u64).read_to_end(&mut data)?;
                Block {
                    number,
                    data,
                    is_changed: false,
                }
            }
        };
        self.blocks.push(block);
        let last = self.blocks.len() - 1;
        Ok((&mut self.blocks[last], within))
    }
}

fn write_back(disk: &mut (impl Write + Seek), block: &mut Block) -> io::Result<()> {
    if block.is_changed {
        disk.seek(SeekFrom::Start(block.number * SIZE as u64))?;
        disk.write_all(&block.data)?;
        block.is_changed = false;
    }
    Ok(())
}

impl<D: Read + Write + Seek> Read for Blocks<D> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let (block, within) = self.here()?;
        let there = block.data.get(within..).unwrap_or_default();
        let count = there.len().min(to.len());
        to[..count].copy_from_slice(&there[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl<D: Read + Write + Seek> Write for Blocks<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let (block, within) = self.here()?;
        let count = bytes.len().min(SIZE - within);
        let end = within + count;
        if block.data.len() < end {
            block.data.resize(end, 0);
        }
        block.data[within..end].copy_from_slice(&bytes[..count]);
        block.is_changed = true;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        // In the order of the disk, which likes that best.
        let mut changed: Vec<&mut Block> = self.blocks.iter_mut().collect();
        changed.sort_by_key(|block| block.number);
        for block in changed {
            write_back(&mut self.disk, block)?;
        }
        self.disk.flush()
    }
}

impl<D: Read + Write + Seek> Seek for Blocks<D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => {
                self.flush()?;
                self.disk.seek(SeekFrom::End(0))?.checked_add_signed(by)
            }
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    /// Longer than all blocks that are kept, and no whole number of them.
    const LENGTH: usize = (MOST + 3) * SIZE + 1000;

    #[derive(Clone, Debug)]
    enum Step {
        Read(u64, usize),
        Write(u64, Vec<u8>),
        Flush,
    }

    fn step() -> impl Strategy<Value = Step> {
        let place = 0..LENGTH as u64;
        prop_oneof![
            (place.clone(), 1..3 * SIZE).prop_map(|(place, count)| Step::Read(place, count)),
            (place, any::<u8>(), 1..3 * SIZE)
                .prop_map(|(place, byte, count)| Step::Write(place, vec![byte; count])),
            Just(Step::Flush),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_as_the_disk_itself(steps in proptest::collection::vec(step(), 1..60)) {
            let content: Vec<u8> = (0..LENGTH).map(|number| (number / 7) as u8).collect();
            let mut plain = Cursor::new(content.clone());
            let mut blocks = Blocks::new(Cursor::new(content));
            for step in steps {
                match step {
                    Step::Read(place, count) => {
                        let (mut one, mut other) = (Vec::new(), Vec::new());
                        plain.seek(SeekFrom::Start(place)).unwrap();
                        (&mut plain).take(count as u64).read_to_end(&mut one).unwrap();
                        blocks.seek(SeekFrom::Start(place)).unwrap();
                        (&mut blocks).take(count as u64).read_to_end(&mut other).unwrap();
                        prop_assert_eq!(one, other);
                        prop_assert_eq!(plain.stream_position().unwrap(), blocks.stream_position().unwrap());
                    }
                    Step::Write(place, bytes) => {
                        plain.seek(SeekFrom::Start(place)).unwrap();
                        plain.write_all(&bytes).unwrap();
                        blocks.seek(SeekFrom::Start(place)).unwrap();
                        blocks.write_all(&bytes).unwrap();
                    }
                    Step::Flush => {
                        blocks.flush().unwrap();
                        prop_assert_eq!(plain.get_ref(), blocks.disk.get_ref());
                    }
                }
            }
            prop_assert_eq!(plain.seek(SeekFrom::End(-5)).unwrap(), blocks.seek(SeekFrom::End(-5)).unwrap());
            prop_assert_eq!(plain.into_inner(), blocks.disk.into_inner());
        }
    }

    #[test]
    fn a_disk_that_fails_says_so_at_the_latest_when_all_is_to_be_there() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Ok(0)
            }
        }
        impl Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Seek for Failing {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(0)
            }
        }
        let mut blocks = Blocks::new(Failing);
        blocks.write_all(&[1; 100]).unwrap();
        for _ in 0..2 {
            let error = blocks.flush().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        let mut blocks = Blocks::new(Failing);
        let error = blocks.write_all(&vec![1; (MOST + 1) * SIZE]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
