//! An emulated device: started, looked at, touched, asked, and ended.
//!
//! The tests and benchmarks start machines through this. A machine's folder holds what is left of
//! it: `serial.log` (what kernel and `init` said), `qemu.log`, and pictures. Whatever waits does so
//! for an event, with a limit so long that only a machine that hangs exceeds it; the error then
//! names the logs and a picture taken at that moment.

mod accelerator;
mod arguments;
mod console;
mod input;
mod lines;
mod network;
mod options;
mod picture;
mod qmp;

use std::{
    fs,
    io::ErrorKind,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

pub use self::{
    accelerator::Accelerator,
    console::{Answer, Console},
    input::Point,
    network::{Network, Port, SharedNetwork},
    options::{Boot, Disk, Options, Show},
    picture::Picture,
    qmp::Qmp,
};

/// How long a device may take to start, or to do anything else that is waited for, on the slowest
/// machine that tests run on.
pub const LIMIT: Duration = Duration::from_secs(180);

/// How much of the console log stands in an error.
const LAST_LINES: usize = 12;

/// Between two looks at something that has no event of its own.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A running machine. It ends when this is dropped, as if its power were cut.
#[derive(Debug)]
pub struct Machine {
    options: Options,
    qemu: Child,
    qmp: Qmp,
    console: Console,
    started: Instant,
}

impl Machine {
    /// Starts a machine. It has begun to run when this returns, and nothing more.
    ///
    /// # Errors
    ///
    /// Fails when QEMU cannot be started or does not accept the machine.
    pub fn start(options: Options) -> Result<Self> {
        let folder = &options.folder;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        for socket in [
            arguments::QMP_SOCKET,
            arguments::VIEWER_SOCKET,
            console::SOCKET,
        ] {
            match fs::remove_file(folder.join(socket)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("removing {socket} of {}", folder.display()));
                }
                _ => {}
            }
        }
        let variables = match &options.boot {
            Boot::Firmware => Some(Path::new(arguments::FIRMWARE_VARIABLES)),
            Boot::SecureBoot(variables) => Some(variables.as_path()),
            Boot::Direct { .. } => None,
        };
        if let Some(from) = variables
            && !options.firmware_variables.exists()
        {
            fs::copy(from, &options.firmware_variables).with_context(|| {
                format!("copying {} (of the Debian package ovmf)", from.display())
            })?;
        }
        let log = fs::File::create(folder.join("qemu.log")).context("creating qemu.log")?;
        let arguments = arguments::arguments(&options)?;
        let started = Instant::now();
        let mut qemu = Command::new("qemu-system-x86_64")
            .args(arguments)
            // Sockets are named relative to it: see `Lines::connect`.
            .current_dir(folder)
            // A group of its own: Ctrl-C is for us, who then shut the machine down.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting qemu-system-x86_64 (of the Debian package qemu-system-x86)")?;
        match connect(&mut qemu, folder) {
            Ok(qmp) => Ok(Self {
                console: Console::new(folder),
                options,
                qemu,
                qmp,
                started,
            }),
            Err(error) => {
                let _ = qemu.kill();
                let _ = qemu.wait();
                Err(error)
            }
        }
    }

    /// What it was started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The moment before QEMU was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The protocol of QEMU.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// The process of QEMU.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.qemu.id()
    }

    /// What kernel and `init` have said so far.
    #[must_use]
    pub fn serial_log(&self) -> String {
        fs::read(self.serial_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Where that is kept.
    #[must_use]
    pub fn serial_path(&self) -> PathBuf {
        self.options.folder.join(arguments::SERIAL_LOG)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// Fails when the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self
            .qemu
            .try_wait()
            .context("asking for QEMU's state")?
            .is_none())
    }

    /// The console of the device.
    pub fn console(&mut self) -> &mut Console {
        &mut self.console
    }

    /// Runs a command line of `hyper` on the device and returns what it prints.
    ///
    /// # Errors
    ///
    /// Fails when it does not answer, or with another exit code than 0.
    pub fn hyper(&mut self, line: &str) -> Result<String> {
        let answer = self.console.run(line, LIMIT)?;
        if answer.code != 0 {
            bail!(
                "`hyper {line}` ended with {}: {}",
                answer.code,
                answer.output.trim()
            );
        }
        Ok(answer.output)
    }

    /// What is on the screen.
    ///
    /// # Errors
    ///
    /// Fails when QEMU cannot take the picture.
    pub fn picture(&mut self) -> Result<Picture> {
        screen(&mut self.qmp, &self.options.folder)
    }

    /// What is on the screen once it has been the same for `still`.
    ///
    /// # Errors
    ///
    /// Fails as [`Machine::wait_for`] does.
    pub fn still_picture(&mut self, still: Duration) -> Result<Picture> {
        let mut last = self.picture()?;
        self.wait_for("a screen on which nothing moves", |machine| {
            thread::sleep(still);
            let picture = machine.picture()?;
            if picture == last {
                return Ok(Some(picture));
            }
            last = picture;
            Ok(None)
        })
    }

    /// The port on the loopback where its screen is served by VNC over a web socket.
    ///
    /// # Errors
    ///
    /// Fails when it was not started with [`Show::WebSocket`].
    pub fn web_socket(&mut self) -> Result<u16> {
        let servers = self.qmp.execute("query-vnc-servers", json!({}))?;
        servers
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|server| server["server"].as_array().into_iter().flatten())
            .find(|address| address["websocket"] == true)
            .and_then(|address| address["service"].as_str()?.parse().ok())
            .context("the machine's screen is not served over a web socket")
    }

    /// Waits until `condition` yields something.
    ///
    /// # Errors
    ///
    /// Fails, naming the logs and a picture, when the machine ends before, when `condition` fails,
    /// and when it has yielded nothing within [`LIMIT`].
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match condition(self) {
                Ok(Some(result)) => return Ok(result),
                Ok(None) => {}
                Err(error) => {
                    return Err(error.context(self.evidence(&format!("waiting for {what}"))));
                }
            }
            if !self.is_running()? {
                bail!(self.evidence(&format!("the machine ended while it was waited for {what}")));
            }
            if Instant::now() > deadline {
                bail!(self.evidence(&format!("{what} has not come within {} s", LIMIT.as_secs())));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until a command line of `hyper` succeeds and `accept` is content with what it prints. A
    /// question that a device loses, because it restarts meanwhile, is put again.
    ///
    /// # Errors
    ///
    /// Fails as [`Machine::wait_for`] does, and says what was printed last.
    pub fn wait_for_answer(&mut self, line: &str, accept: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = "nothing".to_owned();
        let right =
            self.wait_for(
                &format!("the right answer to `hyper {line}`"),
                |machine| match machine.console.run(line, LIMIT / 6) {
                    Ok(answer) if answer.code == 0 && accept(&answer.output) => {
                        Ok(Some(answer.output))
                    }
                    Ok(answer) => {
                        last = answer.output;
                        Ok(None)
                    }
                    Err(error) => {
                        last = format!("{error:#}");
                        Ok(None)
                    }
                },
            );
        right.with_context(|| format!("the last answer to `hyper {line}` was: {}", last.trim()))
    }

    /// Waits until the screen shows `page` and is lit, by asking the shell.
    ///
    /// # Errors
    ///
    /// Fails as [`Machine::wait_for`] does.
    pub fn wait_for_page(&mut self, page: &str) -> Result<()> {
        let quoted = format!("\"{page}\"");
        self.wait_for_answer("call screen.status", |answer| answer.contains(&quoted))
            .map(drop)
    }

    /// Says where to look for what went wrong, the logs and a picture of this moment, and what was said last:
    /// whoever reads it may not have the machine on which it happened.
    pub fn evidence(&mut self, what: &str) -> String {
        let path = self.options.folder.join("failure.png");
        let picture = match self.picture().and_then(|picture| picture.save(&path)) {
            Ok(()) => path.display().to_string(),
            Err(error) => format!("none ({error:#})"),
        };
        let log = self.serial_log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
        format!(
            "{what} (console log: {}; picture: {picture}); it ends with\n  {last}\n",
            self.serial_path().display()
        )
    }

    /// Waits until the machine has ended by itself.
    ///
    /// # Errors
    ///
    /// Fails when it has not within `limit`.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.is_running()? {
            if Instant::now() > deadline {
                bail!(self.evidence(&format!(
                    "the machine has not ended within {} s",
                    limit.as_secs()
                )));
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Presses the power button of the machine's case.
    ///
    /// # Errors
    ///
    /// Fails when QEMU refuses.
    pub fn press_power(&mut self) -> Result<()> {
        self.qmp.execute("system_powerdown", json!({})).map(drop)
    }

    /// Shuts the device down in order: asks it over its console, or presses its power button when
    /// it has none.
    ///
    /// # Errors
    ///
    /// Fails when it has not ended within `limit`; it then still runs.
    pub fn shut_down(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let asked = self.console.run("power-off", limit / 3);
        if !asked.is_ok_and(|answer| answer.code == 0) && self.is_running()? {
            self.press_power()?;
        }
        self.wait_for_end(deadline.saturating_duration_since(Instant::now()))
    }

    /// Cuts the power.
    ///
    /// # Errors
    ///
    /// Fails when QEMU cannot be ended.
    pub fn cut_power(mut self) -> Result<()> {
        self.qemu.kill().context("ending QEMU")?;
        self.qemu.wait().context("waiting for QEMU's end").map(drop)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself, and then neither does anything.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// What is on the screen of the machine at the other end of `qmp`, by way of a file in `folder`.
///
/// # Errors
///
/// Fails when QEMU cannot take the picture.
pub fn screen(qmp: &mut Qmp, folder: &Path) -> Result<Picture> {
    let file = tempfile::Builder::new()
        .prefix("screen")
        .tempfile_in(folder)
        .context("making a file for the picture")?;
    qmp.execute("screendump", json!({ "filename": file.path() }))?;
    Picture::from_ppm(
        &fs::read(file.path()).with_context(|| format!("reading {}", file.path().display()))?,
    )
}

/// The socket in a machine's folder by which others than who started it look at it.
pub const VIEWER_SOCKET: &str = arguments::VIEWER_SOCKET;

/// What kernel and `init` say on the serial port, in a machine's folder.
pub const SERIAL_LOG: &str = arguments::SERIAL_LOG;

/// Connects to a QEMU that has just been started.
fn connect(qemu: &mut Child, folder: &Path) -> Result<Qmp> {
    let socket = folder.join(arguments::QMP_SOCKET);
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Ok(qmp) = Qmp::connect(&socket) {
            return Ok(qmp);
        }
        if let Some(status) = qemu.try_wait()? {
            let log = fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
            bail!(
                "QEMU did not accept the machine and ended with {status}:\n{}",
                log.trim()
            );
        }
        if Instant::now() > deadline {
            bail!("QEMU does not open {}", socket.display());
        }
        thread::sleep(Duration::from_millis(10));
    }
}
