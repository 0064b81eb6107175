//! What `cargo xtask bench mesh` measures: devices of a family, beside what is usual.
//!
//! Devices are the real programs in network namespaces ([`House`]); TCP, UDP and
//! plain endpoints of iroh ([`peer`]), scp, tar over ssh ([`ssh`]) and Syncthing ([`syncthing`]) run in
//! the same namespaces, in the same run, in turns with ours. All share this computer's processors: what
//! moves bytes by four programs has less of them than what does by two. A figure that could not be
//! measured says why and takes nothing else with it.

pub mod cables;
pub mod calls;
pub mod family;
pub mod files;
pub mod peer;
pub mod screen;
pub mod ssh;
pub mod syncthing;
pub mod usage;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use bus::{Address, Client};
use futures::StreamExt as _;
use tokio::runtime::Runtime;
use xtask::bench::mesh::{Arguments, Part};
use xtask::bench::table::{Figure, Table, median};
use xtask::machine::LIMIT;
use xtask::progress::Progress;

use crate::house::{Device, House};

/// How often something is looked at again that nobody tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Does what the command line says: the arguments as JSON, or one end of a [`peer`].
///
/// # Errors
///
/// Fails when nothing can be measured at all.
pub fn main(arguments: &[String]) -> Result<()> {
    match arguments {
        [first, rest @ ..] if first == peer::WORD => peer::run(rest),
        [text] => measure(serde_json::from_str(text).context("reading what is to be measured")?),
        _ => bail!("it is started by `cargo xtask bench mesh`"),
    }
}

/// What every measurement needs.
#[derive(Debug)]
pub struct Run {
    arguments: Arguments,
    progress: Progress,
    runtime: Runtime,
}

impl Run {
    fn is_asked_for(&self, part: Part) -> bool {
        self.arguments.only.is_empty() || self.arguments.only.contains(&part)
    }

    /// Measures something, and says at once what came out.
    fn take(
        &self,
        figures: &mut Vec<Figure>,
        what: &str,
        measure: impl FnOnce() -> Result<Vec<Figure>>,
    ) {
        let new = self
            .progress
            .step(what, measure)
            .unwrap_or_else(|error| vec![Figure::missing(what, "", &format!("{error:#}"))]);
        for figure in &new {
            self.progress.note(&figure.line());
        }
        figures.extend(new);
    }
}

fn measure(arguments: Arguments) -> Result<()> {
    let run = Run {
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("making a runtime")?,
        progress: Progress::default(),
        arguments,
    };
    let begin = Instant::now();
    let mut table = Table {
        circumstances: circumstances(&std::env::temp_dir()),
        figures: Vec::new(),
    };
    let two = [
        Part::Start,
        Part::Cable,
        Part::Call,
        Part::Clipboard,
        Part::File,
        Part::Files,
    ];
    if two.into_iter().any(|part| run.is_asked_for(part)) {
        two_devices(&run, &mut table.figures)?;
    }
    if run.is_asked_for(Part::Screen) {
        run.take(&mut table.figures, "another device's screen", || {
            screen::figures(&run)
        });
    }
    if run.is_asked_for(Part::Family) {
        run.take(&mut table.figures, "a large family", || {
            family::figures(&run)
        });
    }
    let took = begin.elapsed().as_secs();
    table
        .circumstances
        .push(("it took".into(), format!("{took} s")));
    print!("{}", table.text());
    if let Some(file) = &run.arguments.json {
        let json = serde_json::to_string_pretty(&table).context("writing the table as JSON")?;
        fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    let missed = table.missed();
    if missed > 0 {
        run.progress
            .note(&format!("{missed} figures do not reach what they should."));
    }
    Ok(())
}

/// A phone and a tablet of one owner.
#[derive(Debug)]
pub struct Two {
    /// Sends and calls.
    pub phone: Device,
    /// Receives and answers.
    pub tablet: Device,
}

fn two_devices(run: &Run, figures: &mut Vec<Figure>) -> Result<()> {
    let house = run.progress.step("laying the wires", || {
        house(&["mesh", "clipboard", "files"])
    })?;
    let two = run.progress.step("pairing two devices", || {
        let two = Two {
            phone: Device::new(&house)?,
            tablet: Device::new(&house)?,
        };
        two.phone.takes_in(&two.tablet, "tablet", "owner")?;
        anyhow::Ok(two)
    })?;
    if run.is_asked_for(Part::Start) {
        run.take(figures, "starts", || cables::starts(run, &two));
    }
    if run.is_asked_for(Part::Call) {
        run.take(figures, "calls", || calls::round_trips(run, &two));
    }
    if run.is_asked_for(Part::Clipboard) {
        run.take(figures, "the clipboard", || calls::clipboard(run, &two));
    }
    if run.is_asked_for(Part::File) || run.is_asked_for(Part::Files) {
        files::figures(run, &two, figures);
    }
    if run.is_asked_for(Part::Cable) {
        run.take(figures, "cables pulled and plugged in", || {
            cables::cables(run, &two)
        });
    }
    Ok(())
}

fn house(services: &[&str]) -> Result<Arc<House>> {
    House::new(services)?.context("there can be no network namespaces here: see above")
}

/// What figures depend on beside us; files are in `folder`.
pub(crate) fn circumstances(folder: &Path) -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let information = read("/proc/cpuinfo");
    let model = information
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("unknown");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let place = rustix::fs::statfs(folder).map_or_else(
        |error| error.to_string(),
        |about| match about.f_type {
            0x0102_1994 => "tmpfs, in memory".to_owned(),
            0xEF53 => "ext4".to_owned(),
            other => format!("a file system of type {other:#x}"),
        },
    );
    vec![
        (
            "computer".into(),
            format!("{processors} × {model}, load {load} at the start, for all devices and peers"),
        ),
        (
            "kernel".into(),
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        ("files".into(), format!("{place} ({})", folder.display())),
    ]
}

/// A client of a device's own services.
#[must_use]
pub fn here(device: &Device) -> Client {
    Client::new(Address::Here(device.bus()))
}

/// A client, as of a program on a device, of another device of its family.
#[must_use]
pub fn of_other(device: &Device, other: &str) -> Client {
    Client::new(Address::Device {
        bus: device.bus(),
        device: other.to_owned(),
    })
}

/// Waits until a device sees its family as it should be, and answers when that was. A service that is
/// not there yet is waited for.
///
/// # Errors
///
/// Fails when it does not for long.
pub async fn family_until(
    bus: &Client,
    is: impl Fn(&[bus::family::Device]) -> bool,
) -> Result<Instant> {
    let seen = async {
        loop {
            if let Ok(mut lists) = bus::family::watch(bus).await {
                while let Some(Ok(list)) = lists.next().await {
                    if is(&list) {
                        return Instant::now();
                    }
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(LIMIT, seen)
        .await
        .context("the family is not as it should be, for long")
}

/// Milliseconds since 1970, as devices say when they saw each other.
fn clock() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn middle(values: &[f64]) -> Result<f64> {
    median(values).context("nothing was measured")
}
