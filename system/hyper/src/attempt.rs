//! `hyper attempt`: tries, from inside the sandbox of a service, what no service should be able to
//! do. Process 1 of a development image runs it there (`hyper probe SERVICE` asks for that).
//!
//! Every attempt is one line: `yes` or `no`, what was tried, what came of it, with tabs between.
//! `yes` is not a failure by itself: a manifest may allow it, and whoever asked compares. Three
//! kinds of things are tried:
//!
//! - what the **manifests** give to one service and keep from the others, of which the arguments are
//!   a list: folders, sockets, device nodes, the network, capabilities (`access`);
//! - **system calls** that no service has a use for (`calls`): these are refused by name, and each
//!   refusal must stand in the log;
//! - ways **around** the sandbox (`access::escapes`).
//!
//! Nothing that is tried does harm when it is allowed, beyond the life of this process.

mod access;
mod calls;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What there is to try, beside what always is.
#[derive(Debug, Default, clap::Args)]
pub struct Temptations {
    /// Folders of services
    #[arg(long = "folder")]
    folders: Vec<PathBuf>,
    /// Sockets of services
    #[arg(long = "socket")]
    sockets: Vec<PathBuf>,
    /// Device nodes
    #[arg(long = "device")]
    devices: Vec<PathBuf>,
    /// Take memory until the kernel says no, and do nothing else
    #[arg(long)]
    exhaust: bool,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attempt {
    allowed: bool,
    what: String,
    answer: String,
}

impl Attempt {
    /// Allowed when it succeeded.
    fn new(what: impl Into<String>, result: io::Result<()>) -> Self {
        Self {
            allowed: result.is_ok(),
            what: what.into(),
            answer: result.map_or_else(|error| error.to_string(), |()| "done".into()),
        }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let word = if self.allowed { "yes" } else { "no" };
        writeln!(out, "{word}\t{}\t{}", self.what, self.answer)
    }
}

/// Tries everything, and prints what came of it.
pub fn run(temptations: &Temptations) -> ExitCode {
    if temptations.exhaust {
        exhaust();
    }
    let mut attempts = access::listed(
        &temptations.folders,
        &temptations.sockets,
        &temptations.devices,
    );
    attempts.extend(access::network());
    attempts.extend(access::power());
    attempts.extend(access::escapes());
    attempts.extend(calls::all());
    let mut out = io::stdout().lock();
    let printed = attempts
        .iter()
        .try_for_each(|attempt| attempt.print(&mut out))
        .and_then(|()| out.flush());
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hyper: printing what came of the attempts: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes memory for good, until somebody ends this.
fn exhaust() -> ! {
    let mut taken = Vec::new();
    loop {
        // Written to, so that it is not only promised.
        taken.push(vec![1u8; 1 << 20]);
        std::hint::black_box(&taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_a_line() {
        let mut out = Vec::new();
        let refused = Err(io::Error::from_raw_os_error(libc::EPERM));
        Attempt::new("folder /data/a", refused)
            .print(&mut out)
            .unwrap();
        Attempt::new("folder /data/b", Ok(()))
            .print(&mut out)
            .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "no\tfolder /data/a\tOperation not permitted (os error 1)\n\
             yes\tfolder /data/b\tdone\n"
        );
    }

    #[test]
    fn an_ordinary_folder_is_reached_and_one_that_is_not_there_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let tried = access::listed(&[folder.path().to_owned(), missing], &[], &[]);
        let allowed: Vec<_> = tried.iter().map(|attempt| attempt.allowed).collect();
        assert_eq!(allowed, [true, true, false, false]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
