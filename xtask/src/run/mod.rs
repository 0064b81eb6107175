//! `cargo xtask run`: build the system, start the device, show it.
//!
//! The running device's files are in `target/hyperos/NAME/run`, where `console`, `log` and `shot`
//! find it. What it stores is on `target/hyperos/NAME/disk.img` and stays; the system on that disk
//! is brought up to date with each run.

mod page;

use std::{
    fs::{self, File, TryLockError},
    io::{BufRead as _, IsTerminal as _, Write as _, stdin, stdout},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    host::{self, Purpose},
    image::{self, Image},
    machine::{self, Accelerator, Console, Machine, Options, Picture, Show},
    paths, process,
    product::Product,
    progress::Progress,
};

/// How long the device has to shut down after Ctrl-C.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// How the image is made.
    pub image: image::Options,
    /// Forget what the device has stored.
    pub fresh: bool,
    /// Start without firmware.
    pub direct: bool,
    /// Show it in a window of its own.
    pub window: bool,
    /// Show it nowhere.
    pub headless: bool,
    /// Take a picture when the device is up, and end.
    pub shot: Option<PathBuf>,
    /// Install missing packages without asking.
    pub yes: bool,
}

/// Builds and runs a product until it ends or Ctrl-C is pressed.
///
/// # Errors
///
/// Fails when it cannot be built or started, and when it does not shut down in order.
pub fn run(root: &Path, product: &Product, request: &Request, progress: &Progress) -> Result<()> {
    let show = match request {
        Request { window: true, .. } => Show::Window,
        Request { headless: true, .. } | Request { shot: Some(_), .. } => Show::Nothing,
        _ => Show::WebSocket,
    };
    let mut purposes = vec![Purpose::Image, Purpose::Run];
    if show == Show::Window {
        purposes.push(Purpose::Window);
    }
    host::ensure(&purposes, request.yes)?;

    let _lock = lock(root, product)?;
    let mut image = image::build(root, product, &request.image, progress)?;
    let disk = image.folder.join("disk.img");
    let folder = folder(root, &product.name)?;
    let variables = image.folder.join("firmware-variables.fd");
    if request.fresh {
        for file in [&disk, &variables] {
            if file.exists() {
                fs::remove_file(file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
    }
    progress.step("bringing the disk up to date", || image.update_disk(&disk))?;

    let mut options = Options::new(&image, &disk, &folder)?;
    options.firmware_variables = variables;
    options.show = show;
    let accelerator = progress.step("looking whether KVM works", accelerator)?;
    options.accelerator = Some(accelerator);
    if request.direct {
        options = options.direct(&image);
    }
    progress.summary("built");

    let stop = stop_on_signals()?;
    let mut machine = Machine::start(options)?;
    image.release();
    let up = progress.step(&format!("starting {}", product.model), || {
        wait_until_up(&mut machine, &stop)
    })?;
    // Others may have the console now.
    machine.console().disconnect();
    if up {
        describe(&image, &machine, accelerator);
        if let Some(path) = &request.shot {
            machine.picture()?.save(path)?;
            println!("The picture is {}", path.display());
        } else {
            let _page = match show {
                Show::WebSocket => Some(show_page(product, &mut machine)?),
                _ => None,
            };
            while machine.is_running()? && !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
    if machine.is_running()? {
        progress.step("shutting down", || machine.shut_down(SHUTDOWN))?;
    }
    Ok(())
}

/// Where the running device of a product has its files.
///
/// # Errors
///
/// Fails when the folder cannot be made.
pub fn folder(root: &Path, product: &str) -> Result<PathBuf> {
    let folder = paths::output(root, product)?.join("run");
    paths::create(&folder)?;
    Ok(folder)
}

/// Keeps two runs from using one disk.
fn lock(root: &Path, product: &Product) -> Result<File> {
    let path = paths::output(root, &product.name)?.join("lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "{} is running already: end it first (Ctrl-C where it was started)",
            product.model
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// What was found the last time since this machine was started, or else what is found now.
///
/// # Errors
///
/// Fails when QEMU cannot be started.
pub fn accelerator() -> Result<Accelerator> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let path = paths::cache()?.join("accelerator");
    let known = fs::read_to_string(&path).unwrap_or_default();
    for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
        if known == format!("{}{accelerator:?}\n", boot) {
            return Ok(accelerator);
        }
    }
    let accelerator = Accelerator::probe()?;
    fs::write(&path, format!("{}{accelerator:?}\n", boot))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(accelerator)
}

fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("preparing for Ctrl-C")?;
    }
    Ok(stop)
}

/// Waits until the device shows its first screen: it is asked over its console, and where it has
/// none the screen itself is watched until it has been drawn and stays. False when stopped before.
fn wait_until_up(machine: &mut Machine, stop: &AtomicBool) -> Result<bool> {
    if machine.options().display.is_none() {
        return Ok(true);
    }
    // A first try of its own on the console: its answer comes when the console is there, so nothing
    // has to be asked twice.
    let console = Console::new(&machine.options().folder);
    let (answered, answer) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut console = console;
        // Ends with the machine, or when nobody is left to tell.
        while let Ok(result) = console.run("call screen.status", machine::LIMIT) {
            if result.code == 0 && answered.send(()).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    let begin = Instant::now();
    let mut last: Option<(Instant, Picture)> = None;
    let up = machine.wait_for("the first screen", |machine| {
        if answer.try_recv().is_ok() {
            return Ok(Some(true));
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Some(false));
        }
        // A picture costs the machine something: not more than one a second, and not at first.
        if begin.elapsed() > Duration::from_secs(30)
            && last
                .as_ref()
                .is_none_or(|(time, _)| time.elapsed() > Duration::from_secs(1))
        {
            let picture = machine.picture()?;
            let drawn = picture.colours(100) >= 100;
            if drawn && last.as_ref().is_some_and(|(_, before)| *before == picture) {
                return Ok(Some(true));
            }
            last = Some((Instant::now(), picture));
        }
        Ok(None)
    })?;
    Ok(up)
}

/// Says what runs.
fn describe(image: &Image, machine: &Machine, accelerator: Accelerator) {
    let kernel = if image.own_kernel {
        "its own kernel"
    } else {
        "Debian's kernel"
    };
    let by = match accelerator {
        Accelerator::Kvm => "by KVM",
        Accelerator::Tcg => "by translation (KVM does not work here)",
    };
    println!("{} runs: {kernel}, emulated {by}.", image.product.model);
    println!("  cargo xtask console   a terminal on it");
    println!(
        "  cargo xtask log       what it says ({})",
        machine.serial_path().display()
    );
    println!("  Ctrl-C                shuts it down");
}

fn show_page(product: &Product, machine: &mut Machine) -> Result<page::Page> {
    let display = product
        .display
        .context("the product has no display to show")?;
    let page = page::Page::serve(product, display, machine.web_socket()?)?;
    println!("\nSee and touch it here: {}\n", page.address());
    Ok(page)
}

/// A terminal on the running device.
///
/// # Errors
///
/// Fails when none runs or it stops answering.
pub fn console(root: &Path, product: &str, line: &[String]) -> Result<i32> {
    let mut console = Console::new(&running(root, product)?);
    if !line.is_empty() {
        return console.stream(&quote(line), Duration::from_secs(24 * 60 * 60), |text| {
            println!("{text}")
        });
    }
    let terminal = stdin().is_terminal();
    if terminal {
        println!(
            "Each line is a command line of `hyper`, run on the device; `--help` lists them. Ctrl-D ends."
        );
    }
    let mut code = 0;
    let mut lines = stdin().lock().lines();
    loop {
        if terminal {
            print!("{product}> ");
            stdout().flush()?;
        }
        let Some(line) = lines.next() else {
            return Ok(code);
        };
        let line = line.context("reading the command line")?;
        if line.trim().is_empty() {
            continue;
        }
        code = console.stream(line.trim(), machine::LIMIT, |text| println!("{text}"))?;
        if terminal && code != 0 {
            println!("(ended with {code})");
        }
    }
}

/// Arguments as one line, quoted as a shell would need them.
fn quote(arguments: &[String]) -> String {
    let plain = |argument: &str| {
        !argument.is_empty()
            && argument.chars().all(|character| {
                character.is_ascii_alphanumeric() || "-_./:=@%+,".contains(character)
            })
    };
    let quoted: Vec<String> = arguments
        .iter()
        .map(|argument| {
            if plain(argument) {
                argument.clone()
            } else {
                format!("'{}'", argument.replace('\'', r"'\''"))
            }
        })
        .collect();
    quoted.join(" ")
}

/// Prints what the running device says, or what the last one said.
///
/// # Errors
///
/// Fails when none has ever run.
pub fn log(root: &Path, product: &str, follow: bool) -> Result<()> {
    let path = folder(root, product)?.join("serial.log");
    if !path.is_file() {
        bail!("no {product} has run yet: `cargo xtask run --device {product}` starts one");
    }
    let mut command = process::tool("tail");
    command.args(["--lines=+1"]).arg(&path);
    if follow {
        command.arg("--follow");
    }
    process::run_visibly(&mut command)
}

/// Takes a picture of the running device's screen.
///
/// # Errors
///
/// Fails when none runs.
pub fn shot(root: &Path, product: &str, to: &Path) -> Result<()> {
    let folder = running(root, product)?;
    let mut viewer = machine::Qmp::connect(&folder.join(machine::VIEWER_SOCKET))?;
    let picture = machine::screen(&mut viewer, &folder)?;
    picture.save(to)
}

fn running(root: &Path, product: &str) -> Result<PathBuf> {
    let folder = folder(root, product)?;
    let path = paths::output(root, product)?.join("lock");
    let running = File::open(&path)
        .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
    if !running {
        bail!("no {product} is running: `cargo xtask run --device {product}` starts one");
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_device_as_they_were_typed() {
        let line = ["call", "settings.set", "\"language\"", "it's", ""].map(str::to_owned);
        assert_eq!(
            quote(&line),
            r#"call settings.set '"language"' 'it'\''s' ''"#
        );
    }
}
