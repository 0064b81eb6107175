//! Where the partitions of a new disk lie.

use crate::{ALIGNMENT, EFI_SYSTEM, Guid, LINUX, SECTOR, TABLE_SECTORS, Table};

/// The names of a device's partitions, in the order in which they lie.
pub const NAMES: [&str; 5] = ["esp-a", "esp-b", "root-a", "root-b", "data"];

/// How large they are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Each of `esp-a` and `esp-b`.
    pub boot_slot: u64,
    /// Each of `root-a` and `root-b`.
    pub root_slot: u64,
    /// `data`, at the least.
    pub data: u64,
}

/// Where a partition is. Both in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name, by which the device finds it.
    pub name: &'static str,
    /// Where it begins.
    pub offset: u64,
    /// How large it is.
    pub size: u64,
    /// What the table says that it is.
    kind: Guid,
}

/// The partitions of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In the order in which they lie.
    pub partitions: Vec<Partition>,
}

impl Layout {
    /// The layout with partitions of these sizes.
    #[must_use]
    pub fn new(sizes: Sizes) -> Self {
        let mut offset = ALIGNMENT;
        let of = |name| match name {
            "esp-a" | "esp-b" => (sizes.boot_slot, EFI_SYSTEM),
            "root-a" | "root-b" => (sizes.root_slot, LINUX),
            _ => (sizes.data, LINUX),
        };
        let partitions = NAMES.map(|name| {
            let (size, kind) = of(name);
            let size = size.next_multiple_of(ALIGNMENT);
            let partition = Partition {
                name,
                offset,
                size,
                kind,
            };
            offset += size;
            partition
        });
        Self {
            partitions: partitions.to_vec(),
        }
    }

    /// The partition `name`.
    ///
    /// # Panics
    ///
    /// Panics when there is none of that name: the names are ours and fixed.
    #[must_use]
    pub fn partition(&self, name: &str) -> &Partition {
        self.partitions
            .iter()
            .find(|partition| partition.name == name)
            .expect("a partition of the layout")
    }

    /// The size of the smallest disk on which it has room, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let end = self
            .partitions
            .last()
            .map_or(0, |partition| partition.offset + partition.size);
        // The second copy of the table lies behind the last partition.
        (end + TABLE_SECTORS * SECTOR).next_multiple_of(ALIGNMENT)
    }

    /// The table of a disk of that size. `identify` gives identifiers, by the name of what they are of: a
    /// partition, or `disk`.
    #[must_use]
    pub fn table(&self, mut identify: impl FnMut(&str) -> Guid) -> Table {
        let disk = identify("disk");
        let mut table = Table::empty(disk, self.size() / SECTOR);
        for partition in &self.partitions {
            let first = partition.offset / SECTOR;
            table.add(
                partition.name,
                partition.kind,
                identify(partition.name),
                first..=first + partition.size / SECTOR - 1,
            );
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_do_not_overlap_and_are_aligned() {
        let layout = Layout::new(Sizes {
            boot_slot: 3 << 20,
            root_slot: (5 << 20) - 1,
            data: 7 << 20,
        });
        for pair in layout.partitions.windows(2) {
            assert_eq!(pair[0].offset + pair[0].size, pair[1].offset);
            assert_eq!(pair[1].offset % ALIGNMENT, 0);
        }
        assert_eq!(layout.partition("root-a").size, 5 << 20);
        assert_eq!(layout.partition("data").size, 7 << 20);
        let names: Vec<_> = layout.partitions.iter().map(|one| one.name).collect();
        assert_eq!(names, NAMES);
    }
}
