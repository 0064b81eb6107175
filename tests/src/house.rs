//! Several devices on one switch, each in a network namespace of its own and with the real programs:
//! `init` runs the services as a layer, from the manifests of the products.
//!
//! It needs root and `ip` (iproute2).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use xtask::{
    image::{self, Options},
    machine::LIMIT,
    paths,
    product::Product,
    programs,
    progress::Progress,
};

/// How often something is looked at again that nobody tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status()?;
    ensure!(status.success(), "`ip {arguments}` ended with {status}");
    Ok(())
}

/// What devices run from: programs, and the manifests of services.
#[derive(Debug)]
pub struct Stage(tempfile::TempDir);

impl Stage {
    /// These services of the product `desktop`, from the sources in `root` and the programs in `built`.
    ///
    /// # Errors
    ///
    /// Fails when something of it is not there.
    pub fn new(root: &Path, built: &Path, services: &[&str]) -> Result<Arc<Self>> {
        let mut product = Product::load(root, "desktop")?;
        product.services = services.iter().map(ToString::to_string).collect();
        let stage = tempfile::tempdir()?;
        let (options, progress) = (Options::default(), Progress::default());
        image::stage_layer(root, &product, &options, built, stage.path(), &progress)?;
        Ok(Arc::new(Self(stage)))
    }

    fn system(&self) -> PathBuf {
        self.0.path().join("system")
    }
}

/// A switch with devices. There is no router: no device has a route to anywhere else.
#[derive(Debug)]
pub struct House {
    switch: String,
    stage: Arc<Stage>,
    ports: AtomicU32,
}

impl House {
    /// A house whose devices have these services. None, with a word, where tests may not make one.
    ///
    /// # Errors
    ///
    /// Fails when the programs cannot be built or the switch cannot be made.
    pub fn new(services: &[&str]) -> Result<Option<Arc<Self>>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let ip_runs = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
        if !rustix::process::geteuid().is_root() || ip_runs.is_err() {
            // Straight to the terminal: the test harness hides what a passing test prints.
            std::io::stderr().write_all(b"SKIPPED: this test needs root and ip (iproute2)\n")?;
            return Ok(None);
        }
        let root = paths::repository()?;
        let built = if Options::default().no_build {
            programs::built(&root)?
        } else {
            programs::build(&root)?
        };
        let stage = Stage::new(&root, &built, services)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let switch = format!("house-{}-{number}", std::process::id());
        ip(&format!("netns add {switch}"))?;
        let house = Self {
            switch,
            stage,
            ports: AtomicU32::new(0),
        };
        let switch = &house.switch;
        ip(&format!("-n {switch} link add switch type bridge"))?;
        ip(&format!("-n {switch} link set switch up"))?;
        Ok(Some(Arc::new(house)))
    }
}

/// What has come and gone through a cable since it was laid, seen from the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// Packets that the device sent.
    pub sent: u64,
    /// Packets that came to it, those for everybody too.
    pub received: u64,
}

impl House {
    /// The packets of each device, in the order in which they were plugged in.
    ///
    /// # Errors
    ///
    /// Fails when `ip` does.
    pub fn packets(&self) -> Result<Vec<Packets>> {
        let line = format!("-n {} -s -j link", self.switch);
        let output = Command::new("ip").args(line.split(' ')).output()?;
        ensure!(
            output.status.success(),
            "`ip {line}` ended with {}",
            output.status
        );
        packets_in(&output.stdout, self.ports.load(Ordering::Relaxed))
    }
}

/// The packets of the ports of a switch, in what `ip -s -j link` prints there.
fn packets_in(links: &[u8], ports: u32) -> Result<Vec<Packets>> {
    let links: Vec<serde_json::Value> =
        serde_json::from_slice(links).context("reading what ip prints")?;
    (1..=ports)
        .map(|port| {
            let name = format!("port{port}");
            let link = links.iter().find(|link| link["ifname"] == name.as_str());
            let count = |way: &str| link?["stats64"][way]["packets"].as_u64();
            // What the switch receives the device has sent.
            let (sent, received) = (count("rx"), count("tx"));
            let counted = sent.zip(received);
            let (sent, received) = counted.with_context(|| format!("{name} is not counted"))?;
            Ok(Packets { sent, received })
        })
        .collect()
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.switch));
    }
}

/// One device of a house.
#[derive(Debug)]
pub struct Device {
    house: Arc<House>,
    stage: Arc<Stage>,
    namespace: String,
    port: u32,
    folder: tempfile::TempDir,
    init: Option<Child>,
}

impl Device {
    /// Plugs a device in and starts it.
    ///
    /// # Errors
    ///
    /// Fails when its namespace cannot be made or its `init` does not start.
    pub fn new(house: &Arc<House>) -> Result<Self> {
        Self::running(house, &house.stage)
    }

    /// As [`Device::new`], running what stands there.
    ///
    /// # Errors
    ///
    /// As [`Device::new`].
    pub fn running(house: &Arc<House>, stage: &Arc<Stage>) -> Result<Self> {
        let port = house.ports.fetch_add(1, Ordering::Relaxed) + 1;
        let (switch, there) = (&house.switch, format!("{}-{port}", house.switch));
        ip(&format!("netns add {there}"))?;
        let mut device = Self {
            house: Arc::clone(house),
            stage: Arc::clone(stage),
            namespace: there,
            port,
            folder: tempfile::tempdir()?,
            init: None,
        };
        let there = &device.namespace;
        ip(&format!("-n {there} link set lo up"))?;
        ip(&format!(
            "link add eth0 netns {there} type veth peer name port{port} netns {switch}"
        ))?;
        ip(&format!("-n {switch} link set port{port} master switch"))?;
        ip(&format!("-n {there} addr add 10.78.0.{port}/24 dev eth0"))?;
        ip(&format!("-n {there} link set eth0 up"))?;
        device.plug(true)?;
        device.start()?;
        Ok(device)
    }

    /// Plugs its cable in or out.
    ///
    /// # Errors
    ///
    /// Fails when `ip` does.
    pub fn plug(&self, there: bool) -> Result<()> {
        let to = if there { "up" } else { "down" };
        ip(&format!(
            "-n {} link set port{} {to}",
            self.house.switch, self.port
        ))
    }

    /// Lets so much through its cable towards it, a second, that what is sent to it takes its time.
    ///
    /// # Errors
    ///
    /// Fails when `tc` does, which is part of iproute2.
    pub fn slow(&self, megabits: u32) -> Result<()> {
        let arguments = format!(
            "-n {} qdisc add dev port{} root tbf rate {megabits}mbit burst 256kb latency 50ms",
            self.house.switch, self.port
        );
        let status = Command::new("tc").args(arguments.split(' ')).status()?;
        ensure!(status.success(), "`tc {arguments}` ended with {status}");
        Ok(())
    }

    /// A command that runs beside the device, in its network namespace.
    pub fn inside<S: AsRef<OsStr>>(&self, program: S) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("10.78.0.{}", self.port)
    }

    /// Where it keeps what `/data` holds on a device.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where its sockets are.
    #[must_use]
    pub fn bus(&self) -> PathBuf {
        self.folder.path().join("run/bus")
    }

    fn system(&self, file: &str) -> PathBuf {
        self.stage.system().join(file)
    }

    /// Starts its services.
    ///
    /// # Errors
    ///
    /// Fails when `init` cannot be run.
    pub fn start(&mut self) -> Result<()> {
        let log = File::create(self.folder.path().join("log"))?;
        let init = Command::new("ip")
            .args(["netns", "exec", &self.namespace])
            .arg(self.system("init"))
            .arg("--layer")
            .args([Path::new("--system"), &self.stage.system()])
            .args([Path::new("--data"), &self.data()])
            .args([Path::new("--run"), &self.folder.path().join("run")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting init")?;
        self.init = Some(init);
        self.hyper(&["services"])?;
        Ok(())
    }

    /// Ends its services, as somebody does who turns it off.
    pub fn stop(&mut self) {
        if let Some(mut init) = self.init.take() {
            let _ = kill_process(Pid::from_child(&init), Signal::TERM);
            let _ = init.wait();
        }
    }

    /// Stops it, and has it run what stands there from now on; none for what its house is for.
    ///
    /// # Errors
    ///
    /// As [`Device::start`].
    pub fn restart_with(&mut self, stage: Option<&Arc<Stage>>) -> Result<()> {
        self.stop();
        self.stage = Arc::clone(stage.unwrap_or(&self.house.stage));
        self.start()
    }

    /// A command line of `hyper`, to be run.
    pub fn command<S: AsRef<OsStr>>(&self, line: &[S]) -> Command {
        let mut command = Command::new(self.system("hyper"));
        command
            .args(line)
            .env("HYPER_BUS", self.bus())
            .stdin(Stdio::null());
        command
    }

    /// What a command line comes to, whatever that is. One that does not end is ended.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be run.
    pub fn try_hyper<S: AsRef<OsStr>>(&self, line: &[S]) -> Result<Output> {
        let child = self
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let process = Pid::from_child(&child);
        let (done, waits) = mpsc::channel::<()>();
        let watch = thread::spawn(move || {
            if let Err(mpsc::RecvTimeoutError::Timeout) = waits.recv_timeout(LIMIT) {
                let _ = kill_process(process, Signal::KILL);
            }
        });
        let output = child.wait_with_output();
        drop(done);
        let _ = watch.join();
        Ok(output?)
    }

    /// What a command line prints, once it succeeds.
    ///
    /// # Errors
    ///
    /// Fails when it does not succeed for long.
    pub fn hyper(&self, line: &[&str]) -> Result<String> {
        self.hyper_until(line, |_| true)
    }

    /// What a command line prints, once that is as it should be.
    ///
    /// # Errors
    ///
    /// Fails when it is not for long.
    pub fn hyper_until(&self, line: &[&str], is: impl Fn(&str) -> bool) -> Result<String> {
        let begin = Instant::now();
        loop {
            let output = self.try_hyper(line)?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && is(&text) {
                return Ok(text);
            }
            if begin.elapsed() > LIMIT {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!(
                    "`hyper {}` answers {text:?} {:?}\nthe log of {}:\n{log}",
                    line.join(" "),
                    String::from_utf8_lossy(&output.stderr),
                    self.namespace,
                );
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Runs a command line that follows something; its lines come as they are printed.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be run.
    pub fn follow(&self, line: &[&str]) -> Result<Following> {
        let mut child = self.command(line).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("it has an output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Following { child, lines })
    }

    /// The id of this device.
    ///
    /// # Errors
    ///
    /// Fails when the family does not answer.
    pub fn id(&self) -> Result<String> {
        let table = self.hyper_until(&["family"], |table| table.contains("this device"))?;
        let line = table.lines().find(|line| line.contains("this device"));
        let id = line.and_then(|line| line.split_whitespace().last());
        Ok(id.context("it has an id")?.to_owned())
    }

    /// The process of a service.
    ///
    /// # Errors
    ///
    /// Fails when it does not run.
    pub fn process(&self, service: &str) -> Result<Pid> {
        let runs = |table: &str| process_in(table, service).is_some();
        let table = self.hyper_until(&["services"], runs)?;
        process_in(&table, service).with_context(|| format!("{service} does not run"))
    }

    /// Kills a service, and answers when it is gone.
    ///
    /// # Errors
    ///
    /// Fails when it does not run.
    pub fn kill(&self, service: &str) -> Result<()> {
        let process = self.process(service)?;
        kill_process(process, Signal::KILL)?;
        let gone = |table: &str| process_in(table, service) != Some(process);
        self.hyper_until(&["services"], gone)?;
        Ok(())
    }

    /// Takes another device into the family, by its PIN.
    ///
    /// # Errors
    ///
    /// Fails when they do not come together.
    pub fn takes_in(&self, other: &Self, name: &str, role: &str) -> Result<()> {
        let id = other.id()?;
        let opened = other.hyper(&["family", "open"])?;
        let pin = opened.split_whitespace().nth(1).context("it shows a PIN")?;
        self.hyper_until(&["family", "nearby"], |ids| ids.contains(&id))?;
        let pair = [
            "family", "pair", &id, "--pin", pin, "--name", name, "--as", role,
        ];
        self.hyper(&pair)?;
        for device in [self, other] {
            device.sees(name)?;
        }
        Ok(())
    }

    /// Waits until a device is there: this one, or one that is online.
    ///
    /// # Errors
    ///
    /// Fails when it does not come.
    pub fn sees(&self, name: &str) -> Result<()> {
        self.hyper_until(&["family"], |table| {
            table.lines().any(|line| {
                line.split_whitespace().next() == Some(name)
                    && (line.contains("online") || line.contains("this device"))
            })
        })?;
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop();
        let _ = ip(&format!("netns del {}", self.namespace));
    }
}

/// The process of a service, by the table of services.
fn process_in(table: &str, service: &str) -> Option<Pid> {
    let mut words = table
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut words| (words.next() == Some(service)).then_some(words))?;
    Pid::from_raw(words.nth(1)?.parse().ok()?)
}

/// A command line that goes on.
#[derive(Debug)]
pub struct Following {
    child: Child,
    lines: mpsc::Receiver<(Instant, String)>,
}

impl Following {
    /// The next line that is as it should be, and when it came.
    ///
    /// # Errors
    ///
    /// Fails when it does not come for long.
    pub fn next(&self, is: impl Fn(&str) -> bool) -> Result<(Instant, String)> {
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (at, line) = self
                .lines
                .recv_timeout(left)
                .context("waiting for a line")?;
            if is(&line) {
                return Ok((at, line));
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_from_the_device_and_in_the_order_of_ports() {
        let links = br#"[{"ifname": "lo", "stats64": {"rx": {"packets": 9}, "tx": {"packets": 9}}},
            {"ifname": "port2", "stats64": {"rx": {"packets": 3}, "tx": {"packets": 4}}},
            {"ifname": "port1", "stats64": {"rx": {"packets": 1}, "tx": {"packets": 2}}}]"#;
        let packets = packets_in(links, 2).unwrap();
        let numbers: Vec<_> = packets.iter().map(|p| (p.sent, p.received)).collect();
        assert_eq!(numbers, [(1, 2), (3, 4)]);
        assert!(
            packets_in(links, 3)
                .unwrap_err()
                .to_string()
                .contains("port3")
        );
    }
}
