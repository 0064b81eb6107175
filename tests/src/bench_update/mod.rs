//! What `cargo xtask bench update` measures: what a device downloads for a later release, beside what others
//! would ([`peers`]), how long writing it takes beside copying as much, how much memory it needs
//! ([`confined`]), and how long a device takes to restart into it ([`restart`]).
//!
//! Releases are made of the images by the maker's tool, with the development key, and installed by the
//! service's own code ([`device`]). A figure that could not be measured says why and takes nothing else with it.

pub mod confined;
pub mod device;
pub mod peers;
pub mod restart;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use hyper_release::keys;
use hyper_release::make::{self, Image};
use hyper_release::publish::{self, Change};
use release::wave::Wave;
use release::{Chunk, Manifest};
use xtask::bench::table::{Figure, Table, median};
use xtask::bench::update::{Images, Pair, Plan};
use xtask::progress::Progress;

use self::device::{Device, Written};
use self::peers::Downloads;
use crate::bench_mesh::circumstances;

/// The first argument of the program when it is to be a device with little memory.
const WORD: &str = "install";

/// The channel of the releases.
const CHANNEL: &str = "stable";

/// Limits of memory that are tried, in MiB, when the one that is asked for has shown whether it is enough.
const LIMITS: [u64; 9] = [8, 12, 16, 20, 24, 32, 48, 64, 128];
const LIMIT: usize = 5;

/// Does what the command line says: the plan as JSON, or that it is a device, and which.
///
/// # Errors
///
/// Fails when nothing can be measured at all.
pub fn main(arguments: &[String]) -> Result<()> {
    match arguments {
        [first, device] if first == WORD => {
            let device: Device = serde_json::from_str(device).context("reading what to install")?;
            println!("{}", serde_json::to_string(&device.install()?)?);
            Ok(())
        }
        [text] => measure(&serde_json::from_str(text).context("reading what is to be measured")?),
        _ => bail!("it is started by `cargo xtask bench update`"),
    }
}

fn measure(plan: &Plan) -> Result<()> {
    let progress = Progress::default();
    let begin = Instant::now();
    fs::create_dir_all(&plan.folder)
        .with_context(|| format!("making {}", plan.folder.display()))?;
    let mut table = Table {
        circumstances: circumstances(&plan.folder),
        figures: Vec::new(),
    };
    for images in &plan.pairs {
        let name = name(images.pair);
        table
            .circumstances
            .push((name.to_owned(), images.difference.clone()));
        let figures = Releases::make(plan, images, &progress)
            .map(|releases| releases.figures(plan, &progress))
            .unwrap_or_else(|error| vec![Figure::missing(name, "", &format!("{error:#}"))]);
        for figure in &figures {
            progress.note(&figure.line());
        }
        table.figures.extend(figures);
    }
    if plan.restarts {
        let figure = progress.step("restarting into new releases", || {
            restart::figure(&plan.folder.join("restart"), plan.rounds)
        });
        let figure = figure.unwrap_or_else(|error| {
            Figure::missing("restart to a new release", "", &format!("{error:#}"))
        });
        progress.note(&figure.line());
        table.figures.push(figure);
    }
    let _ = fs::remove_dir_all(&plan.folder);
    let took = begin.elapsed().as_secs();
    table
        .circumstances
        .push(("it took".into(), format!("{took} s")));
    print!("{}", table.text());
    if let Some(file) = &plan.json {
        let json = serde_json::to_string_pretty(&table).context("writing the table as JSON")?;
        fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    let missed = table.missed();
    if missed > 0 {
        progress.note(&format!("{missed} figures do not reach what they should."));
    }
    Ok(())
}

fn name(pair: Pair) -> &'static str {
    match pair {
        Pair::Statement => "a statement",
        Pair::Kernel => "a kernel",
        Pair::Packages => "a package",
    }
}

/// The two releases of a pair, in a repository.
struct Releases {
    pair: Pair,
    old: (Image, Manifest),
    new: (Image, Manifest),
    repository: PathBuf,
    folder: PathBuf,
}

impl Releases {
    fn make(plan: &Plan, images: &Images, progress: &Progress) -> Result<Self> {
        let folder = plan.folder.clone();
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let repository = folder.join("repository");
        let (key, root) = (folder.join("key.pem"), folder.join("root.json"));
        fs::write(&key, keys::DEVELOPMENT_KEY).context("writing the development key")?;
        fs::write(&root, keys::DEVELOPMENT_ROOT).context("writing the development root")?;
        let channels = [(CHANNEL.to_owned(), key.clone())];
        run(publish::init(&repository, &root, &channels, &key, &key))?;
        let release = |image: &Path| -> Result<(Image, Manifest)> {
            let image = Image::in_folder(image, &images.product);
            let made = make::make(&image, &repository, "")?;
            run(publish::change(
                &repository,
                CHANNEL,
                &made.name,
                &Change::Publish(Wave::default()),
                &key,
                &key,
            ))?;
            let bytes = fs::read(&made.manifest)
                .with_context(|| format!("reading {}", made.manifest.display()))?;
            Ok((image, Manifest::parse(&bytes)?))
        };
        let what = format!("{}: making two releases", name(images.pair));
        let (old, new) = progress.step(&what, || {
            anyhow::Ok((release(&images.old)?, release(&images.new)?))
        })?;
        Ok(Self {
            pair: images.pair,
            old,
            new,
            repository,
            folder,
        })
    }

    /// All that is measured of them.
    fn figures(&self, plan: &Plan, progress: &Progress) -> Vec<Figure> {
        let name = name(self.pair);
        let missing = |error: anyhow::Error| vec![Figure::missing(name, "", &format!("{error:#}"))];
        let device = match self.device() {
            Ok(device) => device,
            Err(error) => return missing(error),
        };
        let written = progress.step(&format!("{name}: installing"), || {
            device.prepare()?;
            device.install()
        });
        let written = match written {
            Ok(written) => written,
            Err(error) => return missing(error),
        };
        let mut figures = self.downloads(plan, &written, progress);
        let time = progress.step(&format!("{name}: writing a slot, and copying"), || {
            self.time(&device, plan.rounds)
        });
        figures.extend(time.map_or_else(missing, |figure| vec![figure]));
        let memory = progress.step(&format!("{name}: with little memory"), || {
            memory(name, &device)
        });
        figures.extend(memory.map_or_else(missing, |figure| vec![figure]));
        figures
    }

    fn device(&self) -> Result<Device> {
        Device::new(
            &self.folder.join("device"),
            &self.old.0,
            &self.new.0,
            &self.repository,
            &self.new.1.version,
            self.old.1.root.size(),
        )
    }

    /// What is downloaded, beside the peers.
    fn downloads(&self, plan: &Plan, written: &Written, progress: &Progress) -> Vec<Figure> {
        let name = name(self.pair);
        let (old, new) = (&self.old.1, &self.new.1);
        let beside = written.manifest + written.metadata;
        let downloaded = written.chunks + beside;
        let whole = new.download_size("b") + beside;
        let mut share = Figure::measured(
            &format!("{name}: downloaded, of the whole release"),
            100.0 * downloaded as f64 / whole as f64,
            "%",
        )
        .part("downloaded", megabytes(downloaded))
        .part("the whole release, packed", megabytes(whole));
        let mut there: Vec<&Chunk> = old.chunks_of("a").collect();
        for (what, chunks) in [
            ("the root", new.root.chunks.as_slice()),
            ("the boot file", &new.boot.b),
            ("the recovery", &new.recovery),
        ] {
            let is_there = |chunk: &Chunk| there.iter().any(|other| other.hash == chunk.hash);
            let all: u64 = chunks.iter().map(|chunk| u64::from(chunk.stored)).sum();
            let new: u64 = chunks
                .iter()
                .filter(|chunk| !is_there(chunk))
                .map(|chunk| u64::from(chunk.stored))
                .sum();
            // What is there of the one is not fetched for the next.
            there.extend(chunks);
            share = share.part(what, format!("{} of {}", megabytes(new), megabytes(all)));
        }
        share = share
            .part("the manifest", megabytes(written.manifest))
            .part("the metadata", megabytes(written.metadata));
        if self.pair == Pair::Statement {
            share = share.at_most(25.0);
        }
        let Some(bita) = &plan.bita else {
            return vec![share];
        };
        let peers = progress.step(
            &format!("{name}: casync, bita, zstd, xdelta3, bsdiff"),
            || self.peers(bita),
        );
        let mut figures = vec![share];
        match peers {
            Ok(peers) => figures.extend(self.beside(downloaded, &peers)),
            Err(error) => figures.push(Figure::missing(
                &format!("{name}: the peers"),
                "",
                &format!("{error:#}"),
            )),
        }
        figures
    }

    fn peers(&self, bita: &Path) -> Result<Downloads> {
        let slot =
            |(image, manifest): &(Image, Manifest), boot: &Path, to: &str| -> Result<PathBuf> {
                let to = self.folder.join(to);
                let (root, files) = contents(image, manifest, boot)?;
                fs::write(&to, [root, files].concat())
                    .with_context(|| format!("writing {}", to.display()))?;
                Ok(to)
            };
        let old = slot(&self.old, &self.old.0.boot_a, "old.bin")?;
        let new = slot(&self.new, &self.new.0.boot_b, "new.bin")?;
        Ok(peers::downloads(bita, &old, &new, &self.folder))
    }

    fn beside(&self, downloaded: u64, peers: &Downloads) -> Vec<Figure> {
        let name = name(self.pair);
        let compared = |what: &str, by: &[(&str, Result<u64, String>)], beside: Option<u64>| {
            let name = format!("{name}: downloaded, over {what}");
            let mut figure = match beside {
                Some(bytes) => Figure::measured(&name, downloaded as f64 / bytes as f64, ""),
                None => Figure::missing(&name, "", "none of them worked"),
            };
            for (peer, bytes) in by {
                let text = match bytes {
                    Ok(bytes) => megabytes(*bytes),
                    Err(error) => format!("not measured: {error}"),
                };
                figure = figure.part(*peer, text);
            }
            figure
        };
        let least = peers
            .chunks
            .iter()
            .filter_map(|(_, bytes)| bytes.as_ref().ok());
        let mut chunks = compared(
            "the best peer with chunks",
            &peers.chunks,
            least.min().copied(),
        );
        if self.pair == Pair::Statement {
            chunks = chunks.at_most(1.3);
        }
        let bsdiff = peers.patches.iter().find(|(peer, _)| *peer == "bsdiff");
        let bsdiff = bsdiff.and_then(|(_, bytes)| bytes.as_ref().ok());
        vec![chunks, compared("bsdiff", &peers.patches, bsdiff.copied())]
    }

    /// How long a slot takes, beside copying as much: in turns, each from the disk and to the disk.
    fn time(&self, device: &Device, rounds: usize) -> Result<Figure> {
        let (root, boot) = contents(&self.new.0, &self.new.1, &self.new.0.boot_b)?;
        let (mut ours, mut plain, mut steps) =
            (Vec::new(), Vec::new(), [(); 4].map(|()| Vec::new()));
        for _ in 0..rounds.max(1) {
            device.prepare()?;
            let written = device.install()?;
            ours.push(written.seconds);
            for (all, step) in steps.iter_mut().zip(written.steps) {
                all.push(step);
            }
            device.prepare()?;
            plain.push(device.copy(&root, &boot)?);
        }
        let middle = |values: &[f64]| median(values).unwrap_or_default();
        let name = format!(
            "{}: a slot, over reading the old and writing the new",
            name(self.pair)
        );
        let mut figure = Figure::measured(&name, middle(&ours) / middle(&plain), "")
            .at_most(1.5)
            .part("a slot", format!("{:.2} s", middle(&ours)))
            .part("reading and writing", format!("{:.2} s", middle(&plain)));
        for (what, values) in ["comparing", "writing", "verifying", "finishing"]
            .iter()
            .zip(&steps)
        {
            figure = figure.part(*what, format!("{:.2} s", middle(values)));
        }
        Ok(figure)
    }
}

/// The root of an image, and its boot file with its recovery.
fn contents(image: &Image, manifest: &Manifest, boot: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let read = |path: &Path, most: u64, to: &mut Vec<u8>| {
        File::open(path)
            .and_then(|file| file.take(most).read_to_end(to))
            .with_context(|| format!("reading {}", path.display()))
    };
    let (mut root, mut files) = (Vec::new(), Vec::new());
    read(&image.root, manifest.root.size(), &mut root)?;
    read(boot, u64::MAX, &mut files)?;
    if let Some(recovery) = &image.recovery {
        read(recovery, u64::MAX, &mut files)?;
    }
    Ok((root, files))
}

/// The least limit of memory, of those that are tried, under which the release is installed.
fn memory(name: &str, device: &Device) -> Result<Figure> {
    let program = std::env::current_exe().context("asking for this program")?;
    let text = serde_json::to_string(device).context("writing what to install")?;
    let install = |limit: u64| -> Result<Option<Written>> {
        device.prepare()?;
        let output = confined::output(limit << 20, &program, &[WORD, &text])?;
        output
            .map(|output| serde_json::from_str(&output).context("reading what was installed"))
            .transpose()
    };
    let mut found = install(LIMITS[LIMIT])?.map(|written| (LIMITS[LIMIT], written));
    if found.is_some() {
        for limit in LIMITS[..LIMIT].iter().rev() {
            match install(*limit)? {
                Some(written) => found = Some((*limit, written)),
                None => break,
            }
        }
    } else {
        for limit in &LIMITS[LIMIT + 1..] {
            if let Some(written) = install(*limit)? {
                found = Some((*limit, written));
                break;
            }
        }
    }
    let name = format!("{name}: the least limit of memory that is enough");
    Ok(match found {
        Some((limit, written)) => Figure::measured(&name, limit as f64, "MiB")
            .at_most(LIMITS[LIMIT] as f64)
            .part("it took", format!("{:.2} s", written.seconds))
            .part(
                "resident at most, with files",
                format!("{:.1} MiB", written.resident as f64 / f64::from(1 << 20)),
            ),
        None => Figure::missing(&name, "MiB", "none that was tried is enough"),
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{:.3} MB", bytes as f64 / 1e6)
}

fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .context("making a runtime")?
        .block_on(work)
}
