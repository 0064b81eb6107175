//! A maker with keys and a repository, and images to make releases of.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod boot_file;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_release::keys;
use hyper_release::make::{self, Image};
use hyper_release::publish::{self, Change, Keys, in_days};
use release::repository::{Error, Folder, Offer, Repository};
use release::wave::Wave;

/// A maker with keys, a repository with two channels, and a device that believes its first root.
pub struct World {
    folder: tempfile::TempDir,
    /// The first root, which the device believes.
    pub root: Vec<u8>,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for key in [
            "root-1", "root-2", "root-3", "targets", "online", "online-2", "stable", "beta",
            "thief",
        ] {
            keys::make(&folder.path().join(format!("{key}.pem"))).unwrap();
        }
        let mut world = Self {
            folder,
            root: Vec::new(),
        };
        let root = world.path("root-a.json");
        publish::root(
            &root,
            &world.keys(&["root-1", "root-2"], "online"),
            None,
            &[],
            in_days(100),
        )
        .await
        .unwrap();
        world.root = fs::read(&root).unwrap();
        let channels = ["stable", "beta"].map(|channel| (channel.to_owned(), world.key(channel)));
        publish::init(
            &world.repository(),
            &root,
            &channels,
            &world.key("targets"),
            &world.key("online"),
        )
        .await
        .unwrap();
        fs::create_dir(world.path("memory")).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.pem"))
    }

    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    pub fn metadata(&self, name: &str) -> PathBuf {
        self.repository().join("metadata").join(name)
    }

    pub fn keys(&self, root: &[&str], online: &str) -> Keys {
        Keys {
            root: root.iter().map(|name| self.key(name)).collect(),
            threshold: root.len() as u64,
            targets: self.key("targets"),
            online: self.key(online),
        }
    }

    /// Makes a release out of some bytes and lets everyone of a channel have it.
    pub async fn publish(&self, version: &str, channel: &str) -> String {
        let image = image(&self.path(&format!("image-{version}")), version, false);
        let made = make::make(&image, &self.repository(), "New.").unwrap();
        self.change(&made.name, channel, &Change::Publish(Wave::default()))
            .await
            .unwrap();
        made.name
    }

    pub async fn change(&self, name: &str, channel: &str, change: &Change) -> anyhow::Result<()> {
        publish::change(
            &self.repository(),
            channel,
            name,
            change,
            &self.key(channel),
            &self.key("online"),
        )
        .await
    }

    /// What a device that remembers makes of the repository.
    pub async fn device(&self) -> Result<Repository, Error> {
        let files = Arc::new(Folder(self.repository()));
        Repository::load(&self.root, files, Some(&self.path("memory"))).await
    }

    pub async fn offers(&self) -> Vec<Offer> {
        self.device().await.unwrap().offers()
    }
}

/// An image of random bytes with boot files that name its root.
pub fn image(folder: &Path, version: &str, development: bool) -> Image {
    fs::create_dir_all(folder.join("stage/system")).unwrap();
    let seed = version.bytes().map(u64::from).sum::<u64>();
    // The first half is the same in all versions.
    let mut state = 1_u64;
    let mut root = Vec::new();
    while root.len() < 64 * 4096 {
        if root.len() == 32 * 4096 {
            state = seed;
        }
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        root.extend_from_slice(&state.to_le_bytes());
    }
    let tree = verity::Tree::build(root.as_slice(), &[0xab]).unwrap();
    tree.write(&mut root).unwrap();
    fs::write(folder.join("root.img"), root).unwrap();
    for (slot, name) in [("a", "boot.efi"), ("b", "boot-b.efi")] {
        let boot_file = boot_file::of_root(slot, &tree.root_hash, 64);
        fs::write(folder.join(name), boot_file).unwrap();
    }
    fs::write(
        folder.join("stage/system/release.toml"),
        format!("version = {version:?}\nedition = \"global\"\ndevelopment = {development}\nbuilt = 1767225600\n"),
    )
    .unwrap();
    Image::in_folder(folder, "phone")
}

/// Runs a test to its end.
pub fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}
