//! Boot files that name a root, and hold no kernel.

/// The least PE program with the command line of a slot, whose root has so many blocks and this hash.
pub fn of_root(slot: &str, hash: &[u8], blocks: u64) -> Vec<u8> {
    let line = format!(
        "hyper.slot={slot} hyper.root-hash={} hyper.root-salt=ab hyper.root-blocks={blocks}",
        release::hexadecimal(hash)
    );
    let mut file = vec![0; 512];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 64;
    file[64..68].copy_from_slice(b"PE\0\0");
    file[70] = 1;
    file[88..96].copy_from_slice(b".cmdline");
    file[96..100].copy_from_slice(&(line.len() as u32).to_le_bytes());
    file[104..108].copy_from_slice(&512_u32.to_le_bytes());
    file[108..112].copy_from_slice(&512_u32.to_le_bytes());
    file.extend_from_slice(line.as_bytes());
    file.resize(1024, 0);
    file
}
