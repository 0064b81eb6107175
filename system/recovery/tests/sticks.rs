//! Releases on sticks: found, chosen, refused.

#[path = "../../../hyper-release/tests/common/boot_file.rs"]
mod boot_file;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hyper_release::publish::{self, Change};
use hyper_release::{keys, make};
use recovery::offer::{Looked, Wanted, look};
use release::wave::Wave;
use update::stick::{self, Stick};

const STICK: u64 = 8 << 20;

/// What a maker has, in a folder.
struct Maker {
    folder: tempfile::TempDir,
}

impl Maker {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let maker = Self { folder };
        fs::write(maker.path("key.pem"), keys::DEVELOPMENT_KEY).unwrap();
        fs::write(maker.path("root.json"), keys::DEVELOPMENT_ROOT).unwrap();
        let key = maker.path("key.pem");
        let channels = ["stable", "nightly"].map(|name| (name.to_owned(), key.clone()));
        publish::init(
            &maker.path("repository"),
            &maker.path("root.json"),
            &channels,
            &key,
            &key,
        )
        .await
        .unwrap();
        maker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn publish(&self, version: &str, edition: &str, channel: &str) {
        let folder = self.path(&format!("image of {version}"));
        fs::create_dir_all(folder.join("stage/system")).unwrap();
        let mut root: Vec<u8> = version.bytes().cycle().take(16 * 4096).collect();
        let tree = verity::Tree::build(root.as_slice(), &[0xab]).unwrap();
        tree.write(&mut root).unwrap();
        fs::write(folder.join("root.img"), root).unwrap();
        for (slot, name) in [("a", "boot.efi"), ("b", "boot-b.efi")] {
            let boot_file = boot_file::of_root(slot, &tree.root_hash, 16);
            fs::write(folder.join(name), boot_file).unwrap();
        }
        fs::write(folder.join("recovery.efi"), [7; 9000]).unwrap();
        let about = format!(
            "version = {version:?}\nedition = {edition:?}\ndevelopment = false\nbuilt = 1767225600\n"
        );
        fs::write(folder.join("stage/system/release.toml"), about).unwrap();
        let image = make::Image::in_folder(&folder, "phone");
        let made = make::make(&image, &self.path("repository"), "New.").unwrap();
        let (key, publish) = (self.path("key.pem"), Change::Publish(Wave::default()));
        publish::change(
            &self.path("repository"),
            channel,
            &made.name,
            &publish,
            &key,
            &key,
        )
        .await
        .unwrap();
    }

    /// A stick with the repository as it is now, after `doctor` had it.
    fn stick(&self, name: &str, doctor: impl Fn(&Path, &mut Vec<u8>)) {
        let folder = self.path("sticks");
        fs::create_dir_all(&folder).unwrap();
        let mut disk = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(folder.join(name))
            .unwrap();
        disk.set_len(STICK).unwrap();
        fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new()).unwrap();
        let system = fatfs::FileSystem::new(disk, fatfs::FsOptions::new()).unwrap();
        {
            let to = system.root_dir().create_dir(stick::FOLDER).unwrap();
            copy(&self.path("repository"), &to, &doctor);
        }
        system.unmount().unwrap();
    }

    fn sticks(&self) -> Vec<Stick> {
        stick::plugged_in(&self.path("sticks"))
    }

    async fn look(&self) -> Looked {
        let wanted = Wanted {
            product: "phone".into(),
            edition: "global".into(),
        };
        look(self.sticks(), keys::DEVELOPMENT_ROOT.as_ref(), &wanted).await
    }
}

fn copy(from: &Path, to: &fatfs::Dir<'_, fs::File>, doctor: &impl Fn(&Path, &mut Vec<u8>)) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            copy(&entry.path(), &to.create_dir(&name).unwrap(), doctor);
        } else {
            let mut content = fs::read(entry.path()).unwrap();
            doctor(&entry.path(), &mut content);
            to.create_file(&name).unwrap().write_all(&content).unwrap();
        }
    }
}

fn as_it_is(_: &Path, _: &mut Vec<u8>) {}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(test);
}

#[test]
fn the_newest_for_this_device_is_found_on_whichever_stick() {
    run(async {
        let maker = Maker::new().await;
        maker.publish("0.2.0", "global", "stable").await;
        maker.stick("sda1", as_it_is);
        maker.publish("0.3.0", "global", "stable").await;
        // Neither for another edition nor of another channel than the usual one.
        maker.publish("0.4.0", "china", "stable").await;
        maker.publish("0.5.0", "global", "nightly").await;
        maker.stick("sdb1", as_it_is);
        let looked = maker.look().await;
        assert!(looked.problems.is_empty(), "{:?}", looked.problems);
        let found = looked.found.unwrap();
        assert_eq!(found.manifest.version.to_string(), "0.3.0");
        assert_eq!(found.stick.to_string(), "stick sdb1");
        assert!(!found.manifest.recovery.is_empty());
    });
}

#[test]
fn a_stick_with_another_channel_alone_will_do_and_one_for_another_device_not() {
    run(async {
        let maker = Maker::new().await;
        maker.publish("0.4.0", "china", "stable").await;
        maker.stick("sda1", as_it_is);
        let looked = maker.look().await;
        assert!(looked.found.is_none());
        assert!(
            looked.problems[0].contains("stick sda1: it has no release for phone"),
            "{:?}",
            looked.problems
        );
        maker.publish("0.5.0", "global", "nightly").await;
        maker.stick("sda1", as_it_is);
        let found = maker.look().await.found.unwrap();
        assert_eq!(found.manifest.version.to_string(), "0.5.0");
    });
}

#[test]
fn whatever_is_doctored_is_refused_by_name_and_a_good_stick_beside_it_is_taken() {
    run(async {
        let maker = Maker::new().await;
        maker.publish("0.2.0", "global", "stable").await;
        // One byte of each file that says what a release is.
        for part in [
            "timestamp.json",
            "snapshot.json",
            "targets.json",
            "stable.json",
            "targets/",
        ] {
            maker.stick("sda1", |path, content| {
                let path = path.to_str().unwrap();
                if path.ends_with(part) || path.contains(part) {
                    let at = content.len() / 2;
                    content[at] ^= 1;
                }
            });
            let looked = maker.look().await;
            assert!(looked.found.is_none(), "{part}");
            assert!(
                looked.problems[0].starts_with("stick sda1: "),
                "{part}: {:?}",
                looked.problems
            );
        }
        maker.stick("sdb1", as_it_is);
        let looked = maker.look().await;
        assert_eq!(looked.found.unwrap().stick.to_string(), "stick sdb1");
        assert_eq!(looked.problems.len(), 1);
    });
}
