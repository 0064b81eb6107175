//! Command lines over a serial port.
//!
//! How a development image is reached from outside: the virtio-serial port named
//! [`PORT`] carries lines in, and for each line what its command printed and then `[exit N]` on a line of
//! its own. A command that follows something ends when the next line arrives; an empty line does just that.
//! A line that begins with `#` is a mark, which is answered by `[mark …]` with what follows the sign:
//! who connects sends one of its own, and what comes before that was for somebody who left.
//!
//! Words are split as a shell does, quotes included, and nothing else: there is no shell here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use crate::commands::Line;

/// What the port is named on the host.
pub const PORT: &str = "org.hyperos.console";

/// Serves a port, or the console's own port where there is one, or standard input.
pub fn run(port: Option<&Path>) -> Result<()> {
    let found = match port {
        Some(port) => Some(port.to_owned()),
        None => find(Path::new("/sys/class/virtio-ports"), Path::new("/dev"))?,
    };
    let Some(path) = found else {
        return serve(BufReader::new(io::stdin()), io::stdout(), AtEnd::Stop);
    };
    service::log::install();
    let doing = || format!("opening {}", path.display());
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(doing)?;
    raw(&port);
    let lines = BufReader::new(port.try_clone().with_context(doing)?);
    serve(lines, Port(port), AtEnd::Wait)
}

/// Finds the node of the console's port: by the name that `init` gives it, for a sandbox has no
/// `/sys`, or else by asking the kernel.
fn find(class: &Path, nodes: &Path) -> Result<Option<PathBuf>> {
    let named = nodes.join("virtio-ports").join(PORT);
    if named.exists() {
        return Ok(Some(named));
    }
    let Ok(ports) = fs::read_dir(class) else {
        return Ok(None);
    };
    for port in ports {
        let port = port.with_context(|| format!("listing {}", class.display()))?;
        if fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim() == PORT) {
            return Ok(Some(nodes.join(port.file_name())));
        }
    }
    Ok(None)
}

/// A terminal would echo, and turn line ends around; a virtio port is none, and says so.
fn raw(port: &impl AsFd) {
    if let Ok(mut settings) = rustix::termios::tcgetattr(port) {
        settings.make_raw();
        let _ = rustix::termios::tcsetattr(port, rustix::termios::OptionalActions::Now, &settings);
    }
}

/// A port to write to. What is written while nobody is at the other end is dropped, so that the
/// next who comes reads answers to its own lines.
struct Port(File);

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut ready = [PollFd::new(&self.0, PollFlags::OUT)];
        poll(&mut ready, Some(&Timespec::default()))?;
        if ready[0].revents().contains(PollFlags::HUP) {
            return Ok(bytes.len());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written out. A status or a mark stands on a line of its own, whether or not what was printed
/// before it ended its line: who reads them looks at whole lines.
struct Answers<W> {
    out: W,
    within_line: bool,
}

impl<W: Write> Answers<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            within_line: false,
        }
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        if self.within_line {
            writeln!(self)?;
        }
        writeln!(self, "{line}")?;
        self.flush()
    }
}

impl<W: Write> Write for Answers<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        if let Some(last) = bytes[..written].last() {
            self.within_line = *last != b'\n';
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What the end of the input means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum AtEnd {
    /// That there is nothing more to do.
    Stop,
    /// That nobody is at the other end of the port just now.
    Wait,
}

fn serve(
    lines: BufReader<impl io::Read + Send + 'static>,
    out: impl Write,
    end: AtEnd,
) -> Result<()> {
    let mut out = Answers::new(out);
    let (sender, mut receiver) = mpsc::channel(16);
    thread::Builder::new()
        .name("lines".into())
        .spawn(move || read(lines, &sender, end))?;
    let bus = bus::Client::from_environment();
    crate::one_thread()?.block_on(async {
        let mut next = None;
        loop {
            let line = match next.take() {
                Some(line) => line,
                None => match receiver.recv().await {
                    Some(line) => line,
                    None => return Ok(()),
                },
            };
            let (status, interrupted) = run_line(&line, &bus, &mut out, &mut receiver).await?;
            next = interrupted;
            if let Some(status) = status {
                out.line(&format!("[exit {status}]"))?;
            }
        }
    })
}

/// Runs one line. Its status, none for an empty line; and the line that came meanwhile to end it.
async fn run_line(
    line: &str,
    bus: &bus::Client,
    out: &mut Answers<impl Write>,
    lines: &mut mpsc::Receiver<String>,
) -> io::Result<(Option<u8>, Option<String>)> {
    if let Some(mark) = line.strip_prefix('#') {
        out.line(&format!("[mark {mark}]"))?;
        return Ok((None, None));
    }
    let Some(words) = shlex::split(line) else {
        writeln!(out, "hyper: a quote that is not closed")?;
        return Ok((Some(2), None));
    };
    if words.is_empty() {
        return Ok((None, None));
    }
    // The name of the program may be there or not.
    let words = words
        .iter()
        .map(String::as_str)
        .skip(usize::from(words[0] == "hyper"));
    let command = match Line::try_parse_from(std::iter::once("hyper").chain(words)) {
        Ok(line) => line.command,
        Err(error) => {
            write!(out, "{error}")?;
            return Ok((Some(u8::try_from(error.exit_code()).unwrap_or(2)), None));
        }
    };
    // Only what follows something is ended by the next line: whoever sends two lines at once wants both.
    let follows = command.follows();
    let mut interrupted = None;
    let done = tokio::select! {
        done = command.run(bus, out) => done,
        Some(line) = follow_ended(lines, follows) => {
            interrupted = Some(line);
            Ok(())
        }
    };
    let status = match done {
        Ok(()) => 0,
        Err(error) => {
            writeln!(out, "hyper: {error:#}")?;
            1
        }
    };
    Ok((Some(status), interrupted))
}

async fn follow_ended(lines: &mut mpsc::Receiver<String>, follows: bool) -> Option<String> {
    if !follows {
        return std::future::pending().await;
    }
    // The end of the input does not end a command: what it prints is still wanted.
    match lines.recv().await {
        Some(line) => Some(line),
        None => std::future::pending().await,
    }
}

fn read(mut lines: BufReader<impl io::Read>, sender: &mpsc::Sender<String>, end: AtEnd) {
    let mut there = false;
    loop {
        let mut line = Vec::new();
        // A line of any length must not fill the memory.
        match io::Read::take(&mut lines, 64 * 1024).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) if end == AtEnd::Stop => return,
            Ok(0) | Err(_) => {
                // Who was there left: nobody wants to follow any more.
                if std::mem::take(&mut there) && sender.blocking_send(String::new()).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(200));
            }
            Ok(_) => {
                there = true;
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_answered_with_what_it_printed_and_its_status() {
        let input = "api power\n\nhyper api nothing\n#7\ncall 'settings.get\nfrobnicate\n";
        let mut out = Vec::new();
        serve(
            BufReader::new(io::Cursor::new(input)),
            &mut out,
            AtEnd::Stop,
        )
        .unwrap();
        let out = String::from_utf8(out).unwrap();
        let statuses: Vec<_> = out
            .lines()
            .filter(|line| line.starts_with("[exit") || line.starts_with("[mark"))
            .collect();
        assert_eq!(
            statuses,
            ["[exit 0]", "[exit 1]", "[mark 7]", "[exit 2]", "[exit 2]"],
            "{out}"
        );
        assert!(out.contains("power-off: func();"), "{out}");
        assert!(out.contains("there is no interface nothing"), "{out}");
    }

    #[test]
    fn a_status_stands_on_a_line_of_its_own() {
        let mut out = Vec::new();
        let mut answers = Answers::new(&mut out);
        for printed in ["", "whole\n", "cut"] {
            write!(answers, "{printed}").unwrap();
            answers.line("[exit 0]").unwrap();
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "[exit 0]\nwhole\n[exit 0]\ncut\n[exit 0]\n"
        );
    }

    #[test]
    fn the_port_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let class = folder.path().join("class");
        for (port, name) in [("vport0p1", "org.other"), ("vport0p2", PORT)] {
            fs::create_dir_all(class.join(port)).unwrap();
            fs::write(class.join(port).join("name"), format!("{name}\n")).unwrap();
        }
        let nodes = folder.path().join("dev");
        assert_eq!(find(&class, &nodes).unwrap(), Some(nodes.join("vport0p2")));
        assert_eq!(find(&folder.path().join("none"), &nodes).unwrap(), None);
    }
}
