//! `cargo xtask bench`: what the system costs and how quick it is, beside what is usual.
//!
//! Every figure is measured in the same run, on the same computer and in the same emulator as the peer
//! beside it ([`peer`]), and printed whether it is flattering or not. A figure that could not be
//! measured says why and takes nothing else with it. Figures from two runs are comparable only when
//! the circumstances, which stand at the top, are: above all, nothing else may have been running.

pub mod boot;
pub mod device;
pub mod flips;
pub mod mesh;
pub mod peer;
pub mod table;
pub mod update;
pub mod wave;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use self::{
    boot::{Starter, Subject},
    peer::{Peer, PeerKernel},
    table::{Figure, Table},
};
use crate::{
    host::{self, Purpose},
    image::{self, Image},
    machine::Machine,
    process,
    product::Product,
    programs,
    progress::Progress,
};

/// What is measured.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum What {
    /// Devices of a family: how quick they find each other, call each other and send files.
    Mesh(mesh::Arguments),
    /// A later release: what is downloaded for it, and what writing it takes.
    Update(update::Arguments),
}

/// What is measured of one device, where nothing else is said.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Something else than one device.
    #[command(subcommand)]
    pub what: Option<What>,
    /// The product, a file of devices/.
    #[arg(long, default_value = "qemu-phone")]
    pub device: String,
    /// Leave the peer out, which takes long to build and to start.
    #[arg(long)]
    pub no_peers: bool,
    /// How often each system is started; its figure is the median.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Measure only how long starts take, and what the image weighs.
    #[arg(long)]
    pub only_start: bool,
    /// Write the table for programs too.
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Use the programs as they were last built.
    #[arg(long)]
    pub no_build: bool,
}

/// Builds what is measured, measures it and prints the table.
///
/// # Errors
///
/// Fails when something cannot be built.
pub fn execute(root: &Path, arguments: &Arguments, yes: bool, progress: &Progress) -> Result<()> {
    match &arguments.what {
        Some(What::Mesh(arguments)) => return mesh::execute(root, arguments, yes, progress),
        Some(What::Update(arguments)) => return update::execute(root, arguments, yes, progress),
        None => {}
    }
    let mut purposes = vec![Purpose::Image, Purpose::Run];
    if !arguments.no_peers {
        purposes.extend([Purpose::Kernel, Purpose::Peer]);
    }
    host::ensure(&purposes, yes)?;
    let product = Product::load(root, &arguments.device)?;
    let options = image::Options {
        no_build: arguments.no_build,
        ..image::Options::default()
    };
    let image = image::build(root, &product, &options, progress)?;
    let table = run(root, &image, arguments, progress)?;
    if table.missed() > 0 {
        progress.note(&format!(
            "{} figures do not reach what they should.",
            table.missed()
        ));
    }
    Ok(())
}

/// How long the peer may take until it has told its figures: they are taken over two minutes.
const PEER_LIMIT: Duration = Duration::from_secs(600);

/// Measures everything and prints the table.
///
/// # Errors
///
/// Fails when nothing can be measured at all, or the file cannot be written.
pub fn run(
    root: &Path,
    image: &Image,
    arguments: &Arguments,
    progress: &Progress,
) -> Result<Table> {
    let (kernel, _) = image.product.hardware()?;
    let peer = if arguments.no_peers {
        None
    } else {
        Some(Peer::build(root, kernel, progress)?)
    };
    let folder = tempfile::tempdir().context("making a folder for the machines")?;
    let starter = Starter::new(image, peer.as_ref(), folder.path())?;
    let mut table = Table {
        circumstances: circumstances(image, &starter),
        figures: Vec::new(),
    };

    let times = boot::times(&starter, arguments.rounds, progress);
    table.figures.extend(boot::figures(&times));
    tell(&table.figures, progress);
    table.figures.push(root_size(image, peer.as_ref()));
    if !arguments.only_start {
        table.figures.push(widest_root(root, progress));
        table
            .figures
            .extend(running_figures(root, &starter, peer.is_some(), progress));
    }

    print!("{}", table.text());
    if let Some(file) = &arguments.json {
        let json = serde_json::to_string_pretty(&table).context("writing the table as JSON")?;
        fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(table)
}

/// Everything that is asked of systems that have started.
fn running_figures(
    root: &Path,
    starter: &Starter<'_>,
    peer: bool,
    progress: &Progress,
) -> Vec<Figure> {
    let missing =
        |name: &str, error: &anyhow::Error| vec![Figure::missing(name, "", &format!("{error:#}"))];
    let mut figures = own_figures(starter, progress)
        .unwrap_or_else(|error| missing("the running device", &error));
    if peer {
        let idle = progress.step("the idle peer (2 minutes and a half)", || {
            peer_figures(starter)
        });
        let idle = idle.unwrap_or_else(|error| missing("the idle peer", &error));
        tell(&idle, progress);
        figures.extend(idle);
    }
    let bus = bus(root, progress);
    tell(std::slice::from_ref(&bus), progress);
    figures.push(bus);
    figures
}

/// Says figures as they come: a run takes long, and may be cut short. All of them stand in the table.
fn tell(figures: &[Figure], progress: &Progress) {
    for figure in figures {
        progress.note(&figure.line());
    }
}

/// What the figures depend on beside us.
fn circumstances(image: &Image, starter: &Starter<'_>) -> Vec<(String, String)> {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split(':').next_back())
            .unwrap_or("unknown")
            .trim()
            .to_owned()
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let kernel = if image.own_kernel {
        "its own kernel"
    } else {
        "Debian's kernel"
    };
    vec![
        (
            "computer".into(),
            format!(
                "{processors} × {}, load {load} at the start",
                first("/proc/cpuinfo", "model name")
            ),
        ),
        (
            "emulation".into(),
            format!("{:?}, started without firmware", starter.accelerator()),
        ),
        (
            "image".into(),
            format!("{} with {kernel}", image.product.name),
        ),
    ]
}

fn root_size(image: &Image, peer: Option<&Peer>) -> Figure {
    let mut figure =
        Figure::measured("root slot, compressed", image.root.size as f64 / 1e6, "MB").at_most(40.0);
    for part in image.root.parts.iter().take(10) {
        figure = figure.part(
            &part.path,
            format!("{:.2} MB before compression", part.size as f64 / 1e6),
        );
    }
    match peer.map(Peer::root_size) {
        Some(Ok(size)) => figure.note(format!(
            "the peer's root in the same form: {:.0} MB",
            size as f64 / 1e6
        )),
        Some(Err(error)) => {
            figure.note(format!("the peer's root could not be looked at: {error:#}"))
        }
        None => figure,
    }
}

/// The root of the product that has to know every computer's devices, for comparison. The programs are
/// those that were just built.
fn widest_root(root: &Path, progress: &Progress) -> Figure {
    let name = "root slot of pc, compressed";
    let built = Product::load(root, "pc").and_then(|product| {
        let options = image::Options {
            no_build: true,
            ..image::Options::default()
        };
        image::build(root, &product, &options, progress)
    });
    match built {
        Ok(image) => Figure::measured(name, image.root.size as f64 / 1e6, "MB"),
        Err(error) => Figure::missing(name, "MB", &format!("{error:#}")),
    }
}

/// What is asked of our running system, in one start.
fn own_figures(starter: &Starter<'_>, progress: &Progress) -> Result<Vec<Figure>> {
    let mut machine = starter.start(Subject::Ours, "")?;
    machine.wait_for_page("lock")?;
    // A screen that turned itself off would use nothing, and show nothing.
    machine.hyper("settings set display.screen-off-after 0")?;
    unlock(&mut machine)?;
    let mut figures = Vec::new();
    let mut attempt = |name: &str, unit, result: Result<Vec<Figure>>| {
        let new =
            result.unwrap_or_else(|error| vec![Figure::missing(name, unit, &format!("{error:#}"))]);
        tell(&new, progress);
        figures.extend(new);
    };
    let idle = progress.step("the idle device (1 minute and a half)", || {
        device::idle(&mut machine)
    });
    attempt("memory and CPU when idle", "", idle);
    let touch = progress.step("touching", || device::touch(&mut machine));
    attempt("touch to page flip", "ms", touch.map(|figure| vec![figure]));
    let redraw = progress.step("drawing", || device::redraw(&mut machine));
    attempt(
        "a full redraw, CPU",
        "ms",
        redraw.map(|figure| vec![figure]),
    );
    let call = progress.step("calling over the bus inside", || {
        device::call_inside(&mut machine)
    });
    attempt(
        "a bus call inside the device",
        "µs",
        call.map(|figure| vec![figure]),
    );
    let killed = progress.step("killing services", || device::killed(&mut machine));
    attempt(
        "a killed service answers again",
        "ms",
        killed.map(|figure| vec![figure]),
    );
    machine.cut_power()?;
    Ok(figures)
}

/// From the lock screen to the home screen, as a person does it.
fn unlock(machine: &mut Machine) -> Result<()> {
    let (from, to) = (machine.logical(180.0, 700.0), machine.logical(180.0, 250.0));
    machine.wait_for("the home screen", |machine| {
        machine.drag(from, to, Duration::from_millis(250))?;
        thread::sleep(Duration::from_secs(1));
        Ok(machine
            .hyper("call screen.status")?
            .contains("\"home\"")
            .then_some(()))
    })
}

/// What the peer says of itself when it is idle.
fn peer_figures(starter: &Starter<'_>) -> Result<Vec<Figure>> {
    let mut machine = starter.start(Subject::Peer(PeerKernel::Debian), "peer.figures")?;
    let end = Instant::now() + PEER_LIMIT;
    loop {
        let mut figures = peer::Figures::default();
        if let Some(idle) = machine
            .serial_log()
            .lines()
            .find_map(|line| figures.line(line))
        {
            let mut processor =
                Figure::measured("the peer's CPU when idle", idle.processor * 100.0, "%");
            for (name, rate) in &idle.wake_ups {
                if *rate >= 0.05 {
                    processor = processor.part(name, format!("{rate:.2} wake-ups a second"));
                }
            }
            let memory = idle.memory as f64 / f64::from(1 << 20);
            return Ok(vec![
                Figure::measured("the peer's memory when idle", memory, "MiB"),
                processor,
            ]);
        }
        if !machine.is_running()? || Instant::now() > end {
            bail!(machine.evidence("the peer has not told its figures"));
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// How often the bus is measured. Where the kernel places two programs is decided when they start, and they are up
/// to three times as slow to each other when it is not side by side: each measurement starts them anew.
const BUS_ROUNDS: usize = 9;

/// A call over the bus beside bytes over a bare socket, on this computer, by lib/bus's own bench.
fn bus(root: &Path, progress: &Progress) -> Figure {
    let name = "a bus call over a bare socket's round trip, on this computer";
    let rounds = progress.step("the bus", || -> Result<Vec<(f64, f64)>> {
        let measure = || {
            let mut command: Command = programs::cargo(root)?;
            command.args(["bench", "--target", programs::TARGET]);
            command.args(["--package", "bus", "--bench", "round_trip"]);
            ratio(&process::output(&mut command)?)
        };
        (0..BUS_ROUNDS).map(|_| measure()).collect()
    });
    match rounds {
        Ok(mut rounds) => {
            let of = |&(call, bare): &(f64, f64)| call / bare;
            rounds.sort_by(|one, other| of(one).total_cmp(&of(other)));
            let (least, most) = (of(&rounds[0]), of(&rounds[rounds.len() - 1]));
            let (call, bare) = rounds[rounds.len() / 2];
            Figure::measured(name, call / bare, "")
                .at_most(3.0)
                .part("a call", format!("{call:.1} µs"))
                .part("a bare round trip", format!("{bare:.1} µs"))
                .part(
                    format!("of {BUS_ROUNDS} times"),
                    format!("{least:.2}–{most:.2}×"),
                )
        }
        Err(error) => Figure::missing(name, "", &format!("{error:#}")).at_most(3.0),
    }
}

/// The lines `call MICROSECONDS` and `bare MICROSECONDS`.
fn ratio(output: &str) -> Result<(f64, f64)> {
    let find = |key: &str| {
        output.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(key))
                .then(|| words.next()?.parse::<f64>().ok())
                .flatten()
        })
    };
    find("call")
        .zip(find("bare"))
        .filter(|(_, bare)| *bare > 0.0)
        .context("the bench of lib/bus does not print its figures")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_bus_are_found_among_other_lines() {
        let (call, bare) = ratio("warming up\ncall 31.5 µs\nbare 12.0 µs\n").unwrap();
        assert!((call / bare - 2.625).abs() < 1e-9);
        ratio("call 1").unwrap_err();
        ratio("call 1\nbare 0").unwrap_err();
    }
}
