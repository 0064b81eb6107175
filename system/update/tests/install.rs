//! Installations on files that stand for disks.

#[path = "../../../hyper-release/tests/common/boot_file.rs"]
mod boot_file;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use release::manifest::FORMAT;
use release::{Boot, Chunk, Manifest, Pack, Root, Version, chunk, hexadecimal};
use update::esp;
use update::install::{Disks, Error, Installation, Progress, Step};
use update::source::Source;
use update::supply::Supply;

const BLOCKS: u64 = 512;
const ESP: u64 = 40 << 20;

/// A device in a folder: slot a runs an old root, slot b is empty.
struct Device {
    folder: tempfile::TempDir,
    disks: Disks,
}

impl Device {
    fn new(old_root: &[u8], old_boot: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let disks = Disks {
            root: path("root"),
            esp: path("esp"),
            other_root: path("other-root"),
            other_esp: path("other-esp"),
            boot_file: path("boot-file"),
        };
        fs::write(&disks.root, old_root).unwrap();
        for (path, size) in [
            (&disks.esp, ESP),
            (&disks.other_esp, ESP),
            (&disks.other_root, (BLOCKS + 16) * 4096),
        ] {
            File::create(path).unwrap().set_len(size).unwrap();
        }
        let mut esp = File::options()
            .read(true)
            .write(true)
            .open(&disks.esp)
            .unwrap();
        let old_recovery = &recovery()[..150_000];
        let mut files: [(&str, &mut dyn Read); 2] = [
            (esp::BOOT_FILE, &mut &*old_boot),
            (esp::RECOVERY, &mut &*old_recovery),
        ];
        esp::make(&mut esp, ESP, &mut files).unwrap();
        Self { folder, disks }
    }

    fn install(&self, manifest: &Manifest, sources: &[&Path]) -> (Result<(), Error>, Supply) {
        self.install_watched(manifest, sources, &mut |_| {}, &AtomicBool::new(false))
    }

    fn install_watched(
        &self,
        manifest: &Manifest,
        sources: &[&Path],
        observe: &mut dyn FnMut(Progress),
        cancelled: &AtomicBool,
    ) -> (Result<(), Error>, Supply) {
        let sources = sources
            .iter()
            .map(|path| Source::Folder((*path).to_owned()));
        let mut supply = Supply::new(sources.collect());
        let done = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(
                Installation {
                    manifest,
                    slot: "b",
                    disks: &self.disks,
                    supply: &mut supply,
                    observe,
                    cancelled,
                }
                .run(),
            );
        (done, supply)
    }

    /// The root of the other slot as dm-verity would find it: data whose tree comes to the root hash.
    fn holds(&self, manifest: &Manifest, root: &[u8], boot: &[u8]) {
        let slot = fs::read(&self.disks.other_root).unwrap();
        assert_eq!(&slot[..root.len()], root);
        let tree = verity::Tree::build(root, &manifest.root.salt()).unwrap();
        let mut expected = Vec::new();
        tree.write(&mut expected).unwrap();
        assert_eq!(&slot[root.len()..root.len() + expected.len()], expected);
        assert_eq!(self.boot_file().unwrap(), boot);
        assert_eq!(self.file(esp::RECOVERY).unwrap(), recovery());
        let left = fs::read_dir(self.folder.path()).unwrap().flatten();
        let left: Vec<_> = left
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name.starts_with("boot-file"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    fn boot_file(&self) -> std::io::Result<Vec<u8>> {
        self.file(esp::BOOT_FILE)
    }

    fn file(&self, path: &str) -> std::io::Result<Vec<u8>> {
        let mut disk = File::open(&self.disks.other_esp)?;
        esp::with_file(&mut disk, path, |file| {
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            content
        })
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut chance = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| chance.u8(..)).collect()
}

/// What stands beside the boot file. The half of it is on the device already.
fn recovery() -> Vec<u8> {
    noise(300_000, 5)
}

/// An old root, and a new one of which a fifth is new.
fn roots() -> (Vec<u8>, Vec<u8>) {
    let old = noise(BLOCKS as usize * 4096, 1);
    let mut new = old.clone();
    let fifth = new.len() / 5;
    new[fifth..2 * fifth].copy_from_slice(&noise(fifth, 2));
    (old, new)
}

/// A PE program with a command line and something to carry.
fn boot_file(slot: &str, root: &[u8], content: &[u8]) -> Vec<u8> {
    let hash = verity::Tree::build(root, &[0xab]).unwrap().root_hash;
    let mut file = boot_file::of_root(slot, &hash, BLOCKS);
    file.extend_from_slice(content);
    file
}

/// A release with its one pack in a folder.
fn release(folder: &Path, root: &[u8], boot: &[u8]) -> Manifest {
    let mut packed = Vec::new();
    let mut cut = |data: &[u8]| -> Vec<Chunk> {
        chunk::cut(data)
            .map(|cut| {
                let cut = cut.unwrap();
                let stored = hyper_release::make::pack(&cut.data).unwrap();
                let offset = packed.len() as u64;
                packed.extend_from_slice(&stored);
                Chunk {
                    hash: cut.hash,
                    length: cut.data.len() as u32,
                    pack: 0,
                    offset,
                    stored: stored.len() as u32,
                }
            })
            .collect()
    };
    let (chunks, boot, recovery) = (cut(root), cut(boot), cut(&recovery()));
    let pack = Pack {
        hash: hexadecimal(&chunk::hash(&packed)),
        size: packed.len() as u64,
    };
    let path = folder.join(pack.path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, packed).unwrap();
    let hash = verity::Tree::build(root, &[0xab]).unwrap().root_hash;
    let manifest = Manifest {
        format: FORMAT,
        product: "phone".into(),
        edition: "global".into(),
        version: Version::new(0, 2, 0),
        built: 0,
        development: false,
        notes: String::new(),
        root: Root {
            hash: hexadecimal(&hash),
            salt: "ab".into(),
            blocks: BLOCKS,
            chunks,
        },
        boot: Boot {
            a: boot.clone(),
            b: boot,
        },
        recovery,
        packs: vec![pack],
    };
    Manifest::parse(&manifest.to_json().unwrap()).unwrap()
}

fn repository(name: &Path) -> PathBuf {
    name.join("repository")
}

#[test]
fn what_the_running_slot_has_is_not_fetched() {
    let (old, new) = roots();
    let kernel = noise(600_000, 3);
    let device = Device::new(&old, &boot_file("a", &old, &kernel));
    let boot = boot_file("b", &new, &kernel);
    let folder = repository(device.folder.path());
    let manifest = release(&folder, &new, &boot);
    let (done, supply) = device.install(&manifest, &[&folder]);
    done.unwrap();
    device.holds(&manifest, &new, &boot);
    let fifth = new.len() as u64 / 5;
    assert!(
        (fifth..fifth + 512_000).contains(&supply.downloaded),
        "{} of {} bytes were fetched",
        supply.downloaded,
        new.len()
    );
    assert_eq!(
        fs::read(&device.disks.root).unwrap(),
        old,
        "the slot that runs"
    );
}

#[test]
fn what_boot_file_and_recovery_share_is_fetched_once() {
    let (old, new) = roots();
    let boot = boot_file("b", &new, &noise(900_000, 6));
    let mut fetched = Vec::new();
    for shares in [false, true] {
        let device = Device::new(&old, &boot_file("a", &old, b""));
        let folder = repository(device.folder.path());
        let mut manifest = release(&folder, &new, &boot);
        manifest.recovery = if shares {
            manifest.boot.b.clone()
        } else {
            Vec::new()
        };
        let (done, supply) = device.install(&manifest, &[&folder]);
        done.unwrap();
        assert_eq!(device.boot_file().unwrap(), boot);
        if shares {
            assert_eq!(device.file(esp::RECOVERY).unwrap(), boot);
        }
        fetched.push(supply.downloaded);
    }
    assert_eq!(fetched[0], fetched[1]);
}

#[test]
fn a_break_costs_only_what_was_under_way() {
    let (old, new) = roots();
    let device = Device::new(&old, &boot_file("a", &old, b""));
    let boot = boot_file("b", &new, &noise(300_000, 4));
    let folder = repository(device.folder.path());
    let manifest = release(&folder, &new, &boot);
    let whole = Device::new(&old, &boot_file("a", &old, b""))
        .install(&manifest, &[&folder])
        .1
        .downloaded;
    let mut fetched = 0;
    let mut breaks = 0;
    loop {
        // Each try is ended a bit later than the one before: at first before anything is written.
        let cancelled = AtomicBool::new(false);
        let mut steps = 0;
        let most = 2 + breaks * 9;
        let mut observe = |_: Progress| {
            steps += 1;
            if steps > most {
                cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        };
        let (done, supply) =
            device.install_watched(&manifest, &[&folder], &mut observe, &cancelled);
        fetched += supply.downloaded;
        match done {
            Ok(()) => break,
            Err(Error::Cancelled) => {
                breaks += 1;
                device.boot_file().unwrap_err();
            }
            Err(error) => panic!("{error}"),
        }
    }
    device.holds(&manifest, &new, &boot);
    assert!(breaks > 3, "it was broken only {breaks} times");
    // What had come with the chunk that was under way comes once more.
    assert!(
        fetched <= whole + breaks * (1 << 20),
        "{fetched} bytes were fetched in {breaks} tries, {whole} in one"
    );
}

#[test]
fn a_source_that_lies_or_lacks_is_left_for_the_next() {
    let (old, new) = roots();
    let device = Device::new(&old, &boot_file("a", &old, b""));
    let boot = boot_file("b", &new, b"new");
    let good = repository(device.folder.path());
    let manifest = release(&good, &new, &boot);
    let bad = device.folder.path().join("bad");
    let path = bad.join(manifest.packs[0].path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut bytes = fs::read(good.join(manifest.packs[0].path())).unwrap();
    let half = bytes.len() / 4;
    bytes[half] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let empty = device.folder.path().join("empty");
    let short = device.folder.path().join("short");
    let path = short.join(manifest.packs[0].path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &bytes[..100]).unwrap();
    let (done, supply) = device.install(&manifest, &[&empty, &short, &bad, &good]);
    done.unwrap();
    device.holds(&manifest, &new, &boot);
    let named: Vec<_> = supply
        .problems
        .iter()
        .map(|problem| problem.source.as_str())
        .collect();
    assert_eq!(
        &named[..2],
        [empty.to_str().unwrap(), short.to_str().unwrap()]
    );

    let (done, _) = Device::new(&old, b"").install(&manifest, &[&empty]);
    let error = done.unwrap_err().to_string();
    assert!(
        error.contains("empty") && error.contains("does not have the file"),
        "{error}"
    );
}

#[test]
fn a_boot_file_that_starts_something_else_is_never_put_in_place() {
    let (old, new) = roots();
    for boot in [
        boot_file("a", &new, b""),
        boot_file("b", &old, b""),
        b"no boot file at all".to_vec(),
    ] {
        let device = Device::new(&old, &boot_file("a", &old, b""));
        let folder = repository(device.folder.path());
        let manifest = release(&folder, &new, &boot);
        let (done, _) = device.install(&manifest, &[&folder]);
        assert!(matches!(done, Err(Error::BootFile(_))), "{done:?}");
        device.boot_file().unwrap_err();
    }
}

#[test]
fn a_release_for_a_larger_disk_is_refused_before_anything_is_written() {
    let (old, new) = roots();
    let device = Device::new(&old, &boot_file("a", &old, b""));
    let boot = boot_file("b", &new, b"");
    let folder = repository(device.folder.path());
    let manifest = release(&folder, &new, &boot);
    let other = File::options()
        .write(true)
        .open(&device.disks.other_root)
        .unwrap();
    other.set_len(BLOCKS * 4096).unwrap();
    other.write_all_at(b"before", 0).unwrap();
    let (done, _) = device.install(&manifest, &[&folder]);
    assert!(
        matches!(
            done,
            Err(Error::Room {
                what: "the root",
                ..
            })
        ),
        "{done:?}"
    );
    assert!(
        fs::read(&device.disks.other_root)
            .unwrap()
            .starts_with(b"before")
    );
}

#[test]
fn progress_goes_through_all_steps_up_to_the_whole() {
    let (old, new) = roots();
    let device = Device::new(&old, &boot_file("a", &old, b""));
    let boot = boot_file("b", &new, b"");
    let folder = repository(device.folder.path());
    let manifest = release(&folder, &new, &boot);
    let mut seen = Vec::new();
    let mut observe = |progress: Progress| seen.push(progress);
    let never = AtomicBool::new(false);
    let (done, _) = device.install_watched(&manifest, &[&folder], &mut observe, &never);
    done.unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done));
    let mut steps: Vec<Step> = seen.iter().map(|progress| progress.step).collect();
    steps.dedup();
    assert_eq!(
        steps,
        [
            Step::Comparing,
            Step::Writing,
            Step::Verifying,
            Step::Finishing
        ]
    );
    let last = seen.last().unwrap();
    assert_eq!(last.done, last.total);
}
