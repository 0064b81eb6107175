//! What others do with a device that `cargo xtask run` has started: its terminal, its log, its
//! screen.

use std::{
    fs::File,
    fs::TryLockError,
    io::{BufRead as _, IsTerminal as _, Write as _, stdin, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::device::folder;
use crate::{
    machine::{self, Console},
    paths, process,
};

/// For what ends when the person wants it to.
const ENDLESS: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a device that runs may take to say anything at all.
const ANSWER: Duration = Duration::from_secs(30);

/// A terminal on the running device.
///
/// # Errors
///
/// Fails when none runs or it stops answering.
pub fn console(root: &Path, product: &str, line: &[String]) -> Result<i32> {
    let mut console = Console::new(&running(root, product)?);
    if !line.is_empty() {
        return console.stream(&quote(line), ENDLESS, |text| println!("{text}"));
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

/// Prints the log of the running device. Of one that does not run, or has no console, what its
/// kernel and `init` said on the serial port is all that there is.
///
/// # Errors
///
/// Fails when none has ever run.
pub fn log(root: &Path, product: &str, follow: bool) -> Result<()> {
    let folder = folder(root, product)?;
    let path = folder.join(machine::SERIAL_LOG);
    if !path.is_file() {
        bail!("no {product} has run yet: `cargo xtask run --device {product}` starts one");
    }
    if is_running(root, product)? {
        let mut console = Console::new(&folder);
        match console.run("call device.about", ANSWER) {
            Ok(_) => {
                let line = if follow { "log --follow" } else { "log" };
                console.stream(line, ENDLESS, |text| println!("{text}"))?;
                return Ok(());
            }
            Err(error) => eprintln!("{error:#}. On its serial port it said:"),
        }
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
    if !is_running(root, product)? {
        bail!("no {product} is running: `cargo xtask run --device {product}` starts one");
    }
    folder(root, product)
}

fn is_running(root: &Path, product: &str) -> Result<bool> {
    let path = paths::output(root, product)?.join("lock");
    Ok(
        File::open(&path)
            .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock))),
    )
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
