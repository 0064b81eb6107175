//! The command line of `cargo xtask`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    bench, desktop, fuzz,
    host::{self, Purpose},
    image::{self, Signer},
    kernel, packages, paths, process,
    product::Product,
    programs,
    progress::Progress,
    reproduce, run,
    size::Size,
    soak, test,
};

/// Builds, starts, tests and measures HyperOS.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    /// Install missing Debian packages without asking.
    #[arg(long, global = true)]
    yes: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the system, start a device and show it.
    Run(RunArguments),
    /// A terminal on the running device; with arguments, one command line of `hyper`.
    Console {
        /// The product, a file of devices/.
        #[arg(long, default_value = "qemu-phone")]
        device: String,
        /// A command line to run there.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        line: Vec<String>,
    },
    /// Print what the device says.
    Log {
        /// The product, a file of devices/.
        #[arg(long, default_value = "qemu-phone")]
        device: String,
        /// Go on printing.
        #[arg(short, long)]
        follow: bool,
    },
    /// Take a picture of the running device's screen.
    Shot {
        /// The product, a file of devices/.
        #[arg(long, default_value = "qemu-phone")]
        device: String,
        /// Where it goes, a PNG file.
        file: PathBuf,
    },
    /// Make a disk image, for a stick or a card.
    Image(ImageArguments),
    /// The maker's tool: make, sign, publish and check releases (`cargo xtask release --help`).
    #[command(disable_help_flag = true)]
    Release {
        /// What `hyper-release` is to do.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the kernel of a product, which starts in a third of the time of Debian's.
    Kernel {
        /// The product, a file of devices/.
        #[arg(long, default_value = "qemu-phone")]
        device: String,
    },
    /// Measure what the system costs and how quick it is, beside a peer.
    Bench(bench::Arguments),
    /// Everything that has to hold before a change lands.
    Test {
        /// Leave out the tests that start machines.
        #[arg(long)]
        no_machines: bool,
    },
    /// What is too long for every change: thousands of power cuts, ten quiet minutes, fuzzing, two builds.
    Soak,
    /// Look for inputs that break what reads them, guided by coverage.
    Fuzz {
        /// How many seconds each target is given.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Build the image twice, in two folders, and compare.
    Reproduce,
    /// Bring devices/packages.lock up to what the machine's apt offers today.
    Lock,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The product, a file of devices/. Given more than once, the devices share a network.
    #[arg(long, default_value = "qemu-phone")]
    device: Vec<String>,
    /// The edition, a file of editions/.
    #[arg(long, default_value = "global")]
    edition: String,
    /// Forget what the device has stored.
    #[arg(long)]
    fresh: bool,
    /// Start without firmware: quicker, but updates need it.
    #[arg(long)]
    direct: bool,
    /// Show it in a window of its own.
    #[arg(long, conflicts_with = "headless")]
    window: bool,
    /// Show it nowhere.
    #[arg(long)]
    headless: bool,
    /// Take a picture when its first screen is up, and end.
    #[arg(long, value_name = "FILE.png")]
    shot: Option<PathBuf>,
    /// Use the programs as they were last built.
    #[arg(long)]
    no_build: bool,
    /// Add an argument to the kernel's command line.
    #[arg(long, value_name = "ARGUMENT")]
    kernel_argument: Vec<String>,
}

#[derive(Debug, Args)]
struct ImageArguments {
    /// The product, a file of devices/.
    #[arg(long, default_value = "qemu-phone")]
    device: String,
    /// The edition, a file of editions/.
    #[arg(long, default_value = "global")]
    edition: String,
    /// Make a release image: no open console, and the product's own kernel.
    #[arg(long)]
    release: bool,
    /// Use the programs as they were last built.
    #[arg(long)]
    no_build: bool,
    /// Call it this version instead of the tree's.
    #[arg(long)]
    version: Option<String>,
    /// The keys that the device believes for its updates: a file made by `hyper-release root`.
    #[arg(long, value_name = "ROOT.json")]
    update_root: Option<PathBuf>,
    /// Sign the boot files for secure boot with this key (PEM). Keep it outside of this tree.
    #[arg(long, value_name = "KEY.pem", requires = "boot_certificate")]
    boot_key: Option<PathBuf>,
    /// The certificate of that key (PEM), which the firmware is to be given.
    #[arg(long, value_name = "CERTIFICATE.pem", requires = "boot_key")]
    boot_certificate: Option<PathBuf>,
    /// Where the image goes; target/hyperos/NAME/NAME.img if nothing is said.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Does what the command line says.
///
/// # Errors
///
/// Fails with what could not be done, and why.
pub fn execute() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let root = paths::repository()?;
    let progress = Progress::default();
    match arguments.command {
        Command::Run(options) => {
            let products = options
                .device
                .iter()
                .map(|name| Product::load(&root, name))
                .collect::<Result<Vec<_>>>()?;
            let image = image::Options {
                edition: options.edition,
                development: true,
                no_build: options.no_build,
                command_line: options.kernel_argument,
                ..image::Options::default()
            };
            if let [product] = products.as_slice()
                && product.is_layer()
            {
                desktop::run(
                    &root,
                    product,
                    &image,
                    options.fresh,
                    arguments.yes,
                    &progress,
                )?;
                return Ok(ExitCode::SUCCESS);
            }
            let request = run::Request {
                image,
                fresh: options.fresh,
                direct: options.direct,
                window: options.window,
                headless: options.headless,
                shot: options.shot,
                yes: arguments.yes,
            };
            run::run(&root, &products, &request, &progress)?;
        }
        Command::Console { device, line } => {
            let code = run::console(&root, &device, &line)?;
            return Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from));
        }
        Command::Log { device, follow } => run::log(&root, &device, follow)?,
        Command::Shot { device, file } => run::shot(&root, &device, &file)?,
        Command::Image(options) => {
            host::ensure(&[Purpose::Image], arguments.yes)?;
            let product = Product::load(&root, &options.device)?;
            let image = image::build(
                &root,
                &product,
                &image::Options {
                    edition: options.edition,
                    development: !options.release,
                    no_build: options.no_build,
                    version: options.version,
                    update_root: options.update_root,
                    signer: options
                        .boot_key
                        .zip(options.boot_certificate)
                        .map(|(key, certificate)| Signer { key, certificate }),
                    ..image::Options::default()
                },
                &progress,
            )?;
            let to = options
                .output
                .unwrap_or_else(|| image.folder.join(format!("{}.img", product.name)));
            progress.step("writing the disk", || image.write_disk(&to))?;
            report(&image);
            progress.summary(&format!("{} is ready", to.display()));
        }
        Command::Release { arguments } => {
            let mut cargo = programs::cargo(&root)?;
            cargo
                .args(["run", "--release", "--quiet", "--target", programs::TARGET])
                .args(["--package", "hyper-release", "--"])
                .args(arguments)
                .current_dir(std::env::current_dir()?);
            process::run_visibly(&mut cargo)?;
        }
        Command::Kernel { device } => {
            host::ensure(&[Purpose::Image, Purpose::Kernel], arguments.yes)?;
            let product = Product::load(&root, &device)?;
            let (kernel, _) = product.hardware()?;
            let image = kernel::build(&root, kernel, &progress)?;
            progress.summary(&format!("{} is ready", image.display()));
        }
        Command::Bench(options) => bench::execute(&root, &options, arguments.yes, &progress)?,
        Command::Test { no_machines } => test::run(&root, no_machines, arguments.yes, &progress)?,
        Command::Soak => soak::run(&root, arguments.yes, &progress)?,
        Command::Fuzz { seconds } => {
            host::ensure(&[Purpose::Image, Purpose::Fuzz], arguments.yes)?;
            fuzz::run(&root, seconds, &progress)?;
        }
        Command::Reproduce => reproduce::run(&root, &progress)?,
        Command::Lock => packages::update_lock(&root)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how large the root is, and what makes it so.
fn report(image: &image::Image) {
    println!(
        "root slot: {} compressed, {} before. Its largest parts, before compression:",
        Size(image.root.size),
        Size(image.root.parts.iter().map(|part| part.size).sum())
    );
    let recovery = image.folder.join(image::recovery::FILE);
    if let Ok(file) = recovery.metadata() {
        println!(
            "recovery: {}, of which {} is the kernel",
            Size(file.len()),
            Size(image.kernel.metadata().map_or(0, |kernel| kernel.len()))
        );
    }
    for part in image.root.parts.iter().take(10) {
        println!("  {:>9}  {}", Size(part.size).to_string(), part.path);
    }
}
