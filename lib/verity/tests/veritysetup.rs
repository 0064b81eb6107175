//! The kernel's own tool accepts the trees, and refuses data that was changed.

use std::{
    fs,
    io::Write as _,
    process::{Command, Output},
};

use verity::{BLOCK_SIZE, Tree, hexadecimal};

const SALT: [u8; 32] = *b"thirty-two bytes, as is our salt";

/// Data whose blocks all differ.
fn data(blocks: usize) -> Vec<u8> {
    (0..blocks * BLOCK_SIZE)
        .map(|index| (index / BLOCK_SIZE * 31 + index % 251) as u8)
        .collect()
}

/// Asks `veritysetup`; none where it is not installed.
fn verify(tree: &Tree, image: &[u8]) -> Output {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    let path = file.path();
    let program = ["/usr/sbin/veritysetup", "/sbin/veritysetup"]
        .into_iter()
        .find(|program| fs::metadata(program).is_ok())
        .expect("veritysetup is part of the Debian package cryptsetup-bin");
    Command::new(program)
        .args(["verify", "--no-superblock", "--hash=sha256", "--format=1"])
        .args(["--data-block-size=4096", "--hash-block-size=4096"])
        .arg(format!("--data-blocks={}", tree.data_blocks))
        .arg(format!(
            "--hash-offset={}",
            tree.data_blocks * BLOCK_SIZE as u64
        ))
        .arg(format!("--salt={}", hexadecimal(&SALT)))
        .args([path, path])
        .arg(hexadecimal(&tree.root_hash))
        .output()
        .unwrap()
}

fn image(data: &[u8], tree: &Tree) -> Vec<u8> {
    let mut image = data.to_vec();
    tree.write(&mut image).unwrap();
    image
}

#[test]
fn trees_of_every_height_are_accepted() {
    // One block of hashes holds 128: these are two, three and four levels, and the edges between.
    for blocks in [2, 127, 128, 129, 128 * 128, 128 * 128 + 1] {
        let data = data(blocks);
        let tree = Tree::build(&data[..], &SALT).unwrap();
        let image = image(&data, &tree);
        assert_eq!(
            image.len() as u64,
            (tree.data_blocks + tree.blocks()) * BLOCK_SIZE as u64
        );
        let output = verify(&tree, &image);
        assert!(
            output.status.success(),
            "{blocks} blocks: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_flipped_bit_in_data_or_tree_is_refused() {
    let data = data(300);
    let tree = Tree::build(&data[..], &SALT).unwrap();
    let good = image(&data, &tree);
    for place in [
        0,
        150 * BLOCK_SIZE + 7,
        data.len() - 1,
        data.len() + 3,
        data.len() + BLOCK_SIZE,
    ] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert!(
            !verify(&tree, &bad).status.success(),
            "a flipped bit at byte {place} was accepted"
        );
    }
}

#[test]
fn one_block_is_its_own_tree() {
    let tree = Tree::build(&data(1)[..], &SALT).unwrap();
    assert_eq!(tree.blocks(), 0);
    assert_eq!(tree.data_blocks, 1);
}

#[test]
fn data_that_ends_within_a_block_is_an_error() {
    let error = Tree::build(&data(2)[..5000], &SALT).unwrap_err();
    assert!(
        error.to_string().contains("904 bytes into a block"),
        "{error}"
    );
    Tree::build(&[][..], &SALT).unwrap_err();
}
