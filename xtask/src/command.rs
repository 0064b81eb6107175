//! The command line of `cargo xtask`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    host::{self, Purpose},
    image, kernel, packages, paths,
    product::Product,
    progress::Progress,
    size::Size,
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
    /// Make a disk image, for a stick or a card.
    Image(ImageArguments),
    /// Build the kernel of a product, which starts in a third of the time of Debian's.
    Kernel {
        /// The product, a file of devices/.
        #[arg(long, default_value = "qemu-phone")]
        device: String,
    },
    /// Bring devices/packages.lock up to what the machine's apt offers today.
    Lock,
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
    /// Where the image goes; target/hyperos/NAME/NAME.img if nothing is said.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Does what the command line says.
///
/// # Errors
///
/// Fails with what could not be done, and why.
pub fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let root = paths::repository()?;
    let progress = Progress::default();
    match arguments.command {
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
                    command_line: Vec::new(),
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
        Command::Kernel { device } => {
            host::ensure(&[Purpose::Image, Purpose::Kernel], arguments.yes)?;
            let product = Product::load(&root, &device)?;
            let (kernel, _) = product.hardware()?;
            let image = kernel::build(&root, kernel, &progress)?;
            progress.summary(&format!("{} is ready", image.display()));
        }
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
    for part in image.root.parts.iter().take(10) {
        println!("  {:>9}  {}", Size(part.size).to_string(), part.path);
    }
}
