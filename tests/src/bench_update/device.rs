//! A device that runs the old release of a pair, in a folder: files stand for its disks. What installs the
//! new one is all of the service's own code but the bus.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use hyper_release::keys;
use hyper_release::make::Image;
use release::repository::{Files, Folder, Repository};
use release::{Manifest, Version};
use serde::{Deserialize, Serialize};
use update::install::{Disks, Installation, Step};
use update::source::Source;
use update::supply::Supply;

/// How much is read or written at once where files are copied.
const PIECE: usize = 1 << 20;

/// A device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Device {
    folder: PathBuf,
    repository: PathBuf,
    version: Version,
    /// How long the root partition and the boot partition of the other slot are.
    other: (u64, u64),
}

/// What an installation took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Written {
    /// Bytes of ranges of packs.
    pub chunks: u64,
    /// Bytes of the manifest.
    pub manifest: u64,
    /// Bytes of the repository's metadata.
    pub metadata: u64,
    /// Seconds from the beginning of the installation to its end.
    pub seconds: f64,
    /// Of which so many were for: comparing, writing, verifying, finishing.
    pub steps: [f64; 4],
    /// The most memory that was resident at once, in bytes, with what is mapped of files.
    pub resident: u64,
}

impl Device {
    /// A device in `folder` that runs `old`, has never run anything else, and may have `version` from
    /// `repository`, which is made of `new`.
    ///
    /// # Errors
    ///
    /// Fails when the images cannot be read, or the folder cannot be written.
    pub fn new(
        folder: &Path,
        old: &Image,
        new: &Image,
        repository: &Path,
        version: &Version,
        old_size: u64,
    ) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let esp = old.boot_a.with_file_name("esp.img");
        let length = |path: &Path| {
            fs::metadata(path)
                .map(|about| about.len())
                .with_context(|| format!("looking at {}", path.display()))
        };
        let device = Self {
            folder: folder.to_owned(),
            repository: repository.to_owned(),
            version: version.clone(),
            other: (length(&new.root)?, length(&esp)?),
        };
        let disks = device.disks();
        let mut root = File::open(&old.root)
            .with_context(|| format!("opening {}", old.root.display()))?
            .take(old_size);
        let mut to = File::create(&disks.root).context("making the root that runs")?;
        std::io::copy(&mut root, &mut to).context("copying the root that runs")?;
        fs::copy(&esp, &disks.esp).context("copying the boot partition that runs")?;
        let mut files = File::create(device.old_boot()).context("making the old boot files")?;
        for path in [Some(&old.boot_a), old.recovery.as_ref()]
            .into_iter()
            .flatten()
        {
            let mut file =
                File::open(path).with_context(|| format!("opening {}", path.display()))?;
            std::io::copy(&mut file, &mut files)
                .with_context(|| format!("copying {}", path.display()))?;
        }
        Ok(device)
    }

    fn disks(&self) -> Disks {
        let path = |name: &str| self.folder.join(name);
        Disks {
            root: path("root"),
            esp: path("esp"),
            other_root: path("other-root"),
            other_esp: path("other-esp"),
            boot_file: path("boot-file"),
        }
    }

    /// The boot file and the recovery that run, one behind the other.
    fn old_boot(&self) -> PathBuf {
        self.folder.join("old-boot")
    }

    /// Fills the other slot with zeros, as if it had never been written, and makes sure that whatever is
    /// read next comes from the disk.
    ///
    /// # Errors
    ///
    /// Fails when the disk does.
    pub fn prepare(&self) -> Result<()> {
        let disks = self.disks();
        for (path, length) in [
            (&disks.other_root, self.other.0),
            (&disks.other_esp, self.other.1),
        ] {
            let mut file =
                File::create(path).with_context(|| format!("making {}", path.display()))?;
            std::io::copy(&mut std::io::repeat(0).take(length), &mut file)
                .with_context(|| format!("filling {}", path.display()))?;
        }
        for folder in [&self.folder, &self.repository.join("packs")] {
            for entry in
                fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?
            {
                let path = entry?.path();
                if path.is_file() {
                    let file =
                        File::open(&path).with_context(|| format!("opening {}", path.display()))?;
                    file.sync_all()
                        .with_context(|| format!("writing {} out", path.display()))?;
                    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
                        .with_context(|| format!("forgetting {}", path.display()))?;
                }
            }
        }
        Ok(())
    }

    /// Installs the new release into the other slot.
    ///
    /// # Errors
    ///
    /// Fails when the repository is not believed, or the installation fails.
    pub fn install(&self) -> Result<Written> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .context("making a runtime")?;
        runtime.block_on(async {
            let files = Arc::new(Counting::new(&self.repository));
            let root = keys::DEVELOPMENT_ROOT.as_ref();
            let repository = Repository::load(root, files.clone(), None).await?;
            let offers = repository.offers();
            let offer = offers
                .iter()
                .find(|offer| offer.terms.version == self.version)
                .with_context(|| format!("the repository has no release {}", self.version))?;
            let manifest = repository.manifest(offer).await?;
            let (chunks, times) = self.write(&manifest).await?;
            let step = |from: usize, to: usize| (times[to] - times[from]).as_secs_f64();
            Ok(Written {
                chunks,
                manifest: files.targets.load(Ordering::Relaxed),
                metadata: files.metadata.load(Ordering::Relaxed),
                seconds: step(0, 4),
                steps: [step(0, 1), step(1, 2), step(2, 3), step(3, 4)],
                resident: resident().context("/proc/self/status says no VmHWM")?,
            })
        })
    }

    /// Bytes of packs, and when it began with each step and when it ended.
    async fn write(&self, manifest: &Manifest) -> Result<(u64, [Instant; 5])> {
        let mut supply = Supply::new(vec![Source::Folder(self.repository.clone())]);
        let mut begun: HashMap<u8, Instant> = HashMap::new();
        let number = |step: Step| match step {
            Step::Comparing => 0,
            Step::Writing => 1,
            Step::Verifying => 2,
            Step::Finishing => 3,
        };
        begun.insert(0, Instant::now());
        Installation {
            manifest,
            slot: "b",
            disks: &self.disks(),
            supply: &mut supply,
            observe: &mut |progress| {
                begun
                    .entry(number(progress.step))
                    .or_insert_with(Instant::now);
            },
            cancelled: &AtomicBool::new(false),
        }
        .run()
        .await
        .context("installing the release")?;
        let end = Instant::now();
        ensure!(
            begun.len() == 4,
            "the installation has not told all its steps"
        );
        let problems = &supply.problems;
        ensure!(
            problems.is_empty(),
            "the repository is broken: {problems:?}"
        );
        Ok((
            supply.downloaded,
            [begun[&0], begun[&1], begun[&2], begun[&3], end],
        ))
    }

    /// Reads the old slot and writes `root` and `boot` to the other one, durably, and nothing else. Gives the
    /// seconds.
    ///
    /// # Errors
    ///
    /// Fails when the disk does.
    pub fn copy(&self, root: &[u8], boot: &[u8]) -> Result<f64> {
        let disks = self.disks();
        let old_boot = self.old_boot();
        let begin = Instant::now();
        let mut piece = vec![0; PIECE];
        for path in [&disks.root, &old_boot] {
            let mut file =
                File::open(path).with_context(|| format!("opening {}", path.display()))?;
            while file
                .read(&mut piece)
                .with_context(|| format!("reading {}", path.display()))?
                > 0
            {}
        }
        for (path, content) in [(&disks.other_root, root), (&disks.other_esp, boot)] {
            let write = || -> std::io::Result<()> {
                let mut file = File::options().write(true).open(path)?;
                file.rewind()?;
                for piece in content.chunks(PIECE) {
                    file.write_all(piece)?;
                }
                file.sync_all()
            };
            write().with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(begin.elapsed().as_secs_f64())
    }
}

/// Counts what is read of a repository.
#[derive(Debug)]
struct Counting {
    files: Folder,
    metadata: AtomicU64,
    targets: AtomicU64,
}

impl Counting {
    fn new(folder: &Path) -> Self {
        Self {
            files: Folder(folder.to_owned()),
            metadata: AtomicU64::new(0),
            targets: AtomicU64::new(0),
        }
    }
}

#[async_trait]
impl Files for Counting {
    async fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let read = self.files.read(path, most).await?;
        let count = if path.starts_with("targets/") {
            &self.targets
        } else {
            &self.metadata
        };
        let length = read.as_ref().map_or(0, Vec::len) as u64;
        count.fetch_add(length, Ordering::Relaxed);
        Ok(read)
    }
}

/// The most memory of this process that was resident at once.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
