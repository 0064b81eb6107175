//! Devices of a family with slots in files, and a maker of releases for them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bus::pairing::Membership;
use bus::pieces::{Handler, Piece, Whereabouts};
use bus::{Address, Caller, Client, Outgoing, Server};
use futures::{StreamExt as _, stream};
use hyper_release::make::{self, Image};
use hyper_release::publish::Change;
use release::Version;
use release::repository::Standing;
use release::wave::Wave;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use update::archive::{Archive, TIMESTAMP};
use update::family::Family;
use update::find::{Basis, Device as About, Wish, find};
use update::install::{Disks, Installation};
use update::pieces::Pieces;
use update::shelf::{Shelf, Store};
use update::source::Source;
use update::supply::{Problem, Supply};
use update::{esp, fetch};

use crate::common::{self, Device, Network, PATIENCE};
use crate::maker::{World, boot_file};
use crate::mirror::Mirror;

const ESP: u64 = 40 << 20;
const SALT: [u8; 1] = [0xab];

/// A maker with a repository of releases that have three quarters of their root in common with nothing
/// that a device has.
pub struct Maker {
    world: World,
    blocks: usize,
    old: Vec<u8>,
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

impl Maker {
    pub async fn new(megabytes: usize) -> Self {
        let blocks = megabytes * 256;
        Self {
            world: World::new().await,
            blocks,
            old: noise(blocks * 4096, 1),
        }
    }

    pub fn repository(&self) -> PathBuf {
        self.world.repository()
    }

    fn root(&self, version: &str) -> Vec<u8> {
        let mut root = self.old.clone();
        let quarter = root.len() / 4;
        let seed = version.bytes().map(u64::from).sum();
        root[quarter..].copy_from_slice(&noise(3 * quarter, seed));
        root
    }

    /// A PE program with the command line for a slot and something to carry.
    fn boot_file(&self, version: &str, slot: &str) -> Vec<u8> {
        let root = self.root(version);
        let hash = verity::Tree::build(root.as_slice(), &SALT)
            .unwrap()
            .root_hash;
        let mut file = boot_file::of_root(slot, &hash, self.blocks as u64);
        file.extend_from_slice(&noise(1 << 20, 7));
        file
    }

    /// Makes a release and lets everyone have it.
    pub async fn publish(&self, version: &str) {
        let folder = self.world.path(&format!("image of {version}"));
        fs::create_dir_all(folder.join("stage/system")).unwrap();
        let mut root = self.root(version);
        let tree = verity::Tree::build(root.as_slice(), &SALT).unwrap();
        tree.write(&mut root).unwrap();
        fs::write(folder.join("root.img"), root).unwrap();
        for (slot, name) in [("a", "boot.efi"), ("b", "boot-b.efi")] {
            fs::write(folder.join(name), self.boot_file(version, slot)).unwrap();
        }
        fs::write(folder.join("recovery.efi"), recovery()).unwrap();
        let about = format!(
            "version = {version:?}\nedition = \"global\"\ndevelopment = false\nbuilt = 1767225600\n"
        );
        fs::write(folder.join("stage/system/release.toml"), about).unwrap();
        let image = Image::in_folder(&folder, "phone");
        let made = make::make(&image, &self.repository(), "New.").unwrap();
        let publish = Change::Publish(Wave::default());
        self.world
            .change(&made.name, "stable", &publish)
            .await
            .unwrap();
    }

    pub async fn withdraw(&self, version: &str) {
        let name = format!("phone.global.{version}");
        let change = Change::Stand(Standing::Withdrawn);
        self.world.change(&name, "stable", &change).await.unwrap();
    }

    /// The repository as it is now.
    pub fn copy(&self, name: &str) -> PathBuf {
        fn copy(from: &Path, to: &Path) {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                let to = to.join(entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    copy(&entry.path(), &to);
                } else {
                    fs::copy(entry.path(), to).unwrap();
                }
            }
        }
        let to = self.world.path(name);
        copy(&self.repository(), &to);
        to
    }
}

/// A mirror beyond the home's switch.
pub fn outside(network: &Arc<Network>, folder: &Path) -> Mirror {
    let switch = network.switch.clone();
    common::ip(&format!("-n {switch} addr add {OUTSIDE}/24 dev switch"));
    let folder = folder.to_owned();
    // Whoever listens stays in the namespace in which it began to.
    let listening = std::thread::spawn(move || {
        common::enter(&switch);
        let listener = TcpListener::bind((OUTSIDE, 0)).unwrap();
        Mirror::listening(&folder, listener).unwrap()
    });
    listening.join().unwrap()
}

const OUTSIDE: &str = "10.77.0.254";

pub fn address(mirror: &Mirror) -> String {
    format!("http://{OUTSIDE}:{}", mirror.port())
}

/// How a device answers the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    Honest,
    /// Changes a byte of each chunk.
    OtherChunks,
    /// Changes a byte of each manifest.
    OtherManifests,
    /// Says that its metadata is newer than it is.
    OtherMetadata,
    /// Sends metadata without end.
    EndlessMetadata,
}

/// What a device gives to others, and how.
#[derive(Clone)]
struct Giving {
    archive: Archive,
    shelf: Arc<Shelf>,
    manners: Manners,
    /// How often it was asked to wait for something.
    waited_for: Arc<watch::Sender<usize>>,
}

/// By the folder of the device: what serves a device is made from that alone.
static GIVING: LazyLock<Mutex<HashMap<PathBuf, Giving>>> = LazyLock::new(Mutex::default);

fn services(folder: &Path) -> Server {
    let bus = folder.join("bus");
    let shared = format!("{}{}", bus::carry::SHARED, bus::pieces::ID);
    let mut server = Server::bind(&bus, &[bus::fetch::ID, bus::pieces::ID, &shared]).unwrap();
    let here = Client::new(Address::Here(bus));
    server.serve(fetch::interface(fetch::agent(here, Path::new("/nowhere"))));
    let mut all = GIVING.lock().unwrap();
    let giving = all.entry(folder.to_owned()).or_insert_with(|| Giving {
        archive: Archive::open(&folder.join("data/update/repository")).unwrap(),
        shelf: Arc::default(),
        manners: Manners::Honest,
        waited_for: Arc::new(watch::Sender::new(0)),
    });
    let pieces = Pieces::new(giving.archive.clone(), Arc::clone(&giving.shelf));
    let mannered = Mannered(pieces, folder.to_owned(), giving.waited_for.clone());
    server.serve(bus::pieces::interface(mannered));
    server
}

struct Mannered(Pieces, PathBuf, Arc<watch::Sender<usize>>);

impl Mannered {
    fn manners(&self) -> Manners {
        GIVING.lock().unwrap()[&self.1].manners
    }
}

fn changed(piece: Piece) -> Piece {
    match piece {
        Piece::Data(data) => {
            let mut data = data.to_vec();
            let middle = data.len() / 2;
            data[middle] ^= 1;
            Piece::Data(data.into())
        }
        other => other,
    }
}

impl Handler for Mannered {
    async fn look(&self, caller: Caller, hashes: Vec<u8>) -> Vec<Whereabouts> {
        self.0.look(caller, hashes).await
    }

    async fn chunks(&self, caller: Caller, hashes: Vec<u8>, patience: u32) -> Outgoing<Piece> {
        if patience > 0 {
            self.2.send_modify(|count| *count += 1);
        }
        let answer = self.0.chunks(caller, hashes, patience).await;
        match self.manners() {
            Manners::OtherChunks => Box::pin(answer.map(changed)),
            _ => answer,
        }
    }

    async fn file(&self, caller: Caller, path: String, patience: u32) -> Outgoing<Piece> {
        let manners = self.manners();
        let answer = self.0.file(caller, path.clone(), patience).await;
        match manners {
            Manners::OtherManifests if path.starts_with("targets/") => {
                Box::pin(answer.map(changed))
            }
            Manners::OtherMetadata if path == TIMESTAMP => Box::pin(answer.map(|piece| {
                let Piece::Data(data) = piece else {
                    return piece;
                };
                let mut metadata: serde_json::Value = serde_json::from_slice(&data).unwrap();
                metadata["signed"]["version"] = 1000.into();
                Piece::Data(serde_json::to_vec(&metadata).unwrap().into())
            })),
            Manners::EndlessMetadata if path == TIMESTAMP => {
                Box::pin(stream::repeat(Piece::Data(vec![b' '; 60_000].into())))
            }
            _ => answer,
        }
    }
}

/// What came of an update.
#[derive(Debug)]
pub struct Done {
    pub source: String,
    pub downloaded: u64,
    pub from_family: u64,
    pub problems: Vec<Problem>,
    pub time: Duration,
}

/// Why none came.
#[derive(Debug)]
pub struct Failed {
    #[allow(dead_code, reason = "read by people")]
    pub reason: String,
    pub problems: Vec<Problem>,
}

/// A device with two slots, of which the one that runs holds an old root.
pub struct Home {
    pub device: Device,
    folder: tempfile::TempDir,
    giving: Giving,
    cancelled: Arc<AtomicBool>,
}

impl Home {
    pub fn new(network: &Arc<Network>, name: &str, manners: Manners) -> Self {
        let device = Device::with(network, name, Some(services));
        let giving = {
            let mut all = GIVING.lock().unwrap();
            let giving = all.get_mut(&device.folder).unwrap();
            giving.manners = manners;
            giving.clone()
        };
        fs::create_dir_all(device.folder.join("data/update/metadata")).unwrap();
        Self {
            device,
            folder: tempfile::tempdir().unwrap(),
            giving,
            cancelled: Arc::default(),
        }
    }

    pub async fn takes_in(&self, other: &Self, membership: Membership) {
        self.device.takes_in(&other.device, membership).await;
    }

    fn disks(&self, slot: &str) -> Disks {
        let path = |name: &str| self.folder.path().join(name);
        Disks {
            root: path("root"),
            esp: path("esp"),
            other_root: path(&format!("root-{slot}")),
            other_esp: path(&format!("esp-{slot}")),
            boot_file: path("boot-file"),
        }
    }

    /// Begins to get the newest release into a slot, from these mirrors and folders and from the family.
    pub fn begins_to_update(
        &self,
        maker: &Maker,
        sources: &[String],
        slot: &'static str,
    ) -> JoinHandle<Result<Done, Failed>> {
        let disks = self.disks(slot);
        fs::write(&disks.root, &maker.old).unwrap();
        File::create(&disks.esp).unwrap().set_len(ESP).unwrap();
        let tree = maker.blocks as u64 / 64 + 16;
        for (path, size) in [
            (&disks.other_esp, ESP),
            (&disks.other_root, (maker.blocks as u64 + tree) * 4096),
        ] {
            File::create(path).unwrap().set_len(size).unwrap();
        }
        let (root, sources) = (maker.world.root.clone(), sources.to_vec());
        let folder = self.device.folder.clone();
        let (giving, cancelled) = (self.giving.clone(), Arc::clone(&self.cancelled));
        tokio::task::spawn_blocking(move || {
            let work = update(&root, &sources, &folder, &giving, &disks, slot, &cancelled);
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(work)
        })
    }

    pub async fn updates(
        &self,
        maker: &Maker,
        sources: &[String],
        slot: &'static str,
    ) -> Result<Done, Failed> {
        let update = self.begins_to_update(maker, sources, slot);
        let done = tokio::time::timeout(PATIENCE * 2, update).await;
        done.expect("it comes to an end").unwrap()
    }

    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Waits until it is fetching something from outside.
    pub async fn fetches(&self, maker: &Maker) {
        let chunks: Vec<_> = release::chunk::cut(maker.root("0.2.0").as_slice())
            .chain(release::chunk::cut(
                maker.boot_file("0.2.0", "b").as_slice(),
            ))
            .map(|cut| cut.unwrap().hash)
            .collect();
        let fetching = async {
            let shelf = &self.giving.shelf;
            while !chunks
                .iter()
                .any(|hash| shelf.whereabouts(hash) == Whereabouts::Fetching)
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let fetching = tokio::time::timeout(PATIENCE, fetching).await;
        fetching.expect("it fetches something");
    }

    /// Waits until so many questions have waited here for what is on its way.
    pub async fn is_waited_for(&self, times: usize) {
        let mut waited_for = self.giving.waited_for.subscribe();
        let waited = tokio::time::timeout(PATIENCE, waited_for.wait_for(|count| *count >= times));
        waited.await.expect("it is waited for").unwrap();
    }

    /// Forgets what is not on its disks, as when it is restarted into the release.
    pub fn begins_anew(&self, slot: &str) {
        let shelf = &self.giving.shelf;
        let disks = self.disks(slot);
        let (root, esp, beside) = (
            Store::File(disks.other_root),
            Store::BootFile(disks.other_esp.clone()),
            Store::Recovery(disks.other_esp),
        );
        let archive = Archive::open(&self.device.folder.join("data/update/repository")).unwrap();
        for store in [&root, &esp, &beside] {
            shelf.forget(store);
        }
        for (_, manifest) in archive.manifests() {
            shelf.add_all(&root, &manifest.root.chunks);
            shelf.add_all(&esp, manifest.boot.of(slot).unwrap());
            shelf.add_all(&beside, &manifest.recovery);
        }
        archive.stock(shelf);
    }

    /// The slot is as dm-verity and the firmware would find it.
    pub fn holds(&self, maker: &Maker, version: &str, slot: &str) {
        let disk = fs::read(self.disks(slot).other_root).unwrap();
        let root = maker.root(version);
        assert!(disk[..root.len()] == root, "{}: the root", self.device.name);
        let tree = verity::Tree::build(root.as_slice(), &SALT).unwrap();
        let mut expected = Vec::new();
        tree.write(&mut expected).unwrap();
        assert!(
            disk[root.len()..root.len() + expected.len()] == expected,
            "{}: the hash tree",
            self.device.name
        );
        assert!(
            self.boot_file(slot).unwrap() == maker.boot_file(version, slot),
            "{}: the boot file",
            self.device.name
        );
        assert!(
            self.file(slot, esp::RECOVERY).unwrap() == recovery(),
            "{}: the recovery",
            self.device.name
        );
    }

    pub fn boot_file(&self, slot: &str) -> std::io::Result<Vec<u8>> {
        self.file(slot, esp::BOOT_FILE)
    }

    fn file(&self, slot: &str, path: &str) -> std::io::Result<Vec<u8>> {
        let mut disk = File::open(self.disks(slot).other_esp)?;
        esp::with_file(&mut disk, path, |file| {
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            content
        })
    }
}

/// What stands beside the boot file, the same in every version.
fn recovery() -> Vec<u8> {
    noise(300_000, 11)
}

/// What the service does when its owner asks for the installation, on these disks.
async fn update(
    root: &[u8],
    sources: &[String],
    folder: &Path,
    giving: &Giving,
    disks: &Disks,
    slot: &str,
    cancelled: &Arc<AtomicBool>,
) -> Result<Done, Failed> {
    let begun = Instant::now();
    let bus = folder.join("bus");
    let here = Client::new(Address::Here(bus.clone()));
    let sources: Vec<_> = sources
        .iter()
        .map(|source| Source::parse(source, &here).unwrap())
        .collect();
    let family = Family::new(&bus, Arc::clone(&giving.shelf), Arc::clone(cancelled));
    let about = About {
        product: "phone".into(),
        edition: "global".into(),
        installed: Version::new(0, 1, 0),
        channel: "stable".into(),
        seed: vec![1],
        now: 1_800_000_000,
    };
    let memory = folder.join("data/update/metadata");
    let basis = Basis {
        root,
        memory: Some(&memory),
        archive: Some(&giving.archive),
        family: Some(&family),
    };
    let search = find(&about, &sources, &basis, &Wish::Turn).await;
    let mut problems = search.problems;
    let Some(found) = search.found else {
        let reason = "nothing was found".to_owned();
        return Err(Failed { reason, problems });
    };
    let source = found.source.name();
    let mut supply = Supply::new(sources).with_family(family, &found.manifest);
    let done = Installation {
        manifest: &found.manifest,
        slot,
        disks,
        supply: &mut supply,
        observe: &mut |_| {},
        cancelled,
    }
    .run()
    .await;
    let completed = match &done {
        Ok(()) => supply.complete(&found.manifest, &giving.archive).await,
        Err(error) => Err(error.to_string()),
    };
    problems.append(&mut supply.problems);
    completed.map_err(|reason| Failed {
        reason,
        problems: problems.clone(),
    })?;
    Ok(Done {
        source,
        downloaded: supply.downloaded,
        from_family: supply.from_family,
        problems,
        time: begun.elapsed(),
    })
}

/// Waits until each of these sees all the others.
pub async fn all_see_each_other(homes: &[&Home]) {
    for home in homes {
        for other in homes {
            if other.device.name != home.device.name {
                home.device.sees(&other.device.name).await;
            }
        }
    }
}
