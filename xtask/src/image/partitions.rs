//! The partitions of an image's disk.
//!
//! The table is the same bytes every time: identifiers come from hashing names, not from chance. A disk that
//! recovery installs on has identifiers of its own.

use ::partitions::{Guid, Sizes, Table};
use sha2::{Digest as _, Sha256};

pub use ::partitions::{Layout, Partition};

use crate::product::Disk;

/// The layout that a product asks for.
pub(super) fn layout(disk: Disk) -> Layout {
    Layout::new(Sizes {
        boot_slot: disk.boot_slot.0,
        root_slot: disk.root_slot.0,
        data: disk.data.0,
    })
}

/// The table of a disk of a product.
pub(super) fn table(layout: &Layout, product: &str) -> Table {
    layout.table(|name| identifier(product, name))
}

/// An identifier in the form of a random UUID, from what it identifies.
#[must_use]
pub fn identifier(product: &str, what: &str) -> Guid {
    let hash = Sha256::digest(format!("HyperOS {product} {what}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    ::partitions::identifier(bytes)
}

/// An identifier as text, for tools that ask for it so.
#[must_use]
pub fn identifier_text(guid: &Guid) -> String {
    let field = |range: std::ops::Range<usize>, reversed: bool| {
        let mut bytes = guid[range].to_vec();
        if reversed {
            bytes.reverse();
        }
        verity::hexadecimal(&bytes)
    };
    [
        field(0..4, true),
        field(4..6, true),
        field(6..8, true),
        field(8..10, false),
        field(10..16, false),
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{process, size::Size};

    #[test]
    fn a_partition_has_the_identifier_that_its_name_gives_it() {
        let mebibyte = |count: u64| Size(count << 20);
        let layout = layout(Disk {
            boot_slot: mebibyte(3),
            root_slot: mebibyte(5),
            data: mebibyte(7),
        });
        let disk = tempfile::NamedTempFile::new().unwrap();
        let mut file = disk.reopen().unwrap();
        file.set_len(layout.size()).unwrap();
        table(&layout, "test").write(&mut file).unwrap();
        let dump = process::output(process::tool("sfdisk").arg("--dump").arg(disk.path())).unwrap();
        assert!(
            dump.to_lowercase()
                .contains(&identifier_text(&identifier("test", "root-a"))),
            "{dump}"
        );
    }
}
