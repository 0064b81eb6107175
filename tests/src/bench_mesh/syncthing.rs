//! Syncthing between two devices, told by its own interface on a socket: no discovery, no relay, nobody
//! else.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use xtask::machine::LIMIT;
use xtask::process;

use crate::house::Device;

const PORT: u16 = 22_000;
const FOLDER: &str = "measured";
const KEY: &str = "hyperos-bench";
/// It makes each file durable by itself, and a disk may be slow.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often it is asked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One on each device.
#[derive(Debug)]
pub struct Syncthing {
    from: One,
    to: One,
}

impl Syncthing {
    /// Starts both and has them know each other.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn new(from: &Device, to: &Device) -> Result<Self> {
        let (from, to) = (One::new(from)?, One::new(to)?);
        from.meet(&to)?;
        to.meet(&from)?;
        Ok(Self { from, to })
    }

    /// Brings a folder with so many files over. The time begins when the one that sends has looked
    /// through it and both are connected, and ends when all of it is there and durable; seconds.
    ///
    /// # Errors
    ///
    /// Fails when it is not there for long.
    pub fn bring(&self, folder: &Path, to: &Path, files: usize) -> Result<f64> {
        self.from.share(folder, "sendonly", false, &self.to)?;
        self.to.share(to, "receiveonly", true, &self.from)?;
        let has_all = |status: &Value| {
            status["state"] == "idle"
                && status["localFiles"].as_u64() == Some(files as u64)
                && status["needFiles"].as_u64() == Some(0)
        };
        self.from.wait_for(&self.status(), has_all)?;
        self.from.wait_for("/rest/system/connections", |all| {
            all["connections"][&self.to.id]["connected"] == true
        })?;
        let begin = Instant::now();
        let change = json!({ "paused": false });
        let path = format!("/rest/config/folders/{FOLDER}");
        self.to.ask("PATCH", &path, Some(&change))?;
        self.to.wait_for(&self.status(), has_all)?;
        rustix::fs::syncfs(File::open(to)?)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    fn status(&self) -> String {
        format!("/rest/db/status?folder={FOLDER}")
    }
}

#[derive(Debug)]
struct One {
    process: Child,
    folder: tempfile::TempDir,
    address: String,
    id: String,
}

impl One {
    fn new(device: &Device) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let program = process::find("syncthing").context("syncthing is not installed")?;
        let home = folder.path().join("home");
        let run = |arguments: &[&str]| {
            let mut command = device.inside(&program);
            command
                .args(arguments)
                .arg(format!("--home={}", home.display()))
                .env("HOME", folder.path());
            command
        };
        process::run(&mut run(&[
            "generate",
            "--no-default-folder",
            "--skip-port-probing",
        ]))?;
        let log = File::create(folder.path().join("log"))?;
        let socket = folder.path().join("socket");
        let process = run(&["serve", "--no-browser", "--no-restart", "--no-upgrade"])
            .arg(format!("--gui-address=unix://{}", socket.display()))
            .arg(format!("--gui-apikey={KEY}"))
            .stdout(log.try_clone()?)
            .stderr(log)
            // It starts itself once more: both are ended together.
            .process_group(0)
            .spawn()?;
        let mut one = Self {
            process,
            folder,
            address: format!("tcp://{}:{PORT}", device.address()),
            id: String::new(),
        };
        let status = one.wait_for("/rest/system/status", |status| status["myID"].is_string())?;
        one.id = status["myID"].as_str().unwrap_or_default().to_owned();
        let options = json!({
            "listenAddresses": [one.address],
            "globalAnnounceEnabled": false,
            "localAnnounceEnabled": false,
            "relaysEnabled": false,
            "natEnabled": false,
            "crashReportingEnabled": false,
            "urAccepted": -1,
            "autoUpgradeIntervalH": 0,
            "reconnectionIntervalS": 1,
        });
        one.ask("PATCH", "/rest/config/options", Some(&options))?;
        Ok(one)
    }

    fn place(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn meet(&self, other: &Self) -> Result<()> {
        let device = json!({ "deviceID": other.id, "addresses": [other.address] });
        self.ask("POST", "/rest/config/devices", Some(&device))?;
        Ok(())
    }

    fn share(&self, folder: &Path, kind: &str, paused: bool, with: &Self) -> Result<()> {
        let folder = json!({
            "id": FOLDER,
            "path": folder,
            "type": kind,
            "paused": paused,
            "devices": [{ "deviceID": with.id }],
            "fsWatcherEnabled": false,
        });
        self.ask("POST", "/rest/config/folders", Some(&folder))?;
        Ok(())
    }

    fn wait_for(&self, path: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let begin = Instant::now();
        loop {
            let answer = self.ask("GET", path, None);
            match answer {
                Ok(answer) if is(&answer) => return Ok(answer),
                // It is not there yet; or it is, and not so far.
                Err(_) if begin.elapsed() < LIMIT => {}
                Ok(_) if begin.elapsed() < PATIENCE => {}
                answer => {
                    let log = fs::read_to_string(self.place("log")).unwrap_or_default();
                    let last: Vec<_> = log.lines().rev().take(5).collect();
                    bail!("{path} answers {answer:?} for long; its log ends with {last:?}")
                }
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// One request of HTTP, as simple as there is.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut stream = UnixStream::connect(self.place("socket"))?;
        stream.set_read_timeout(Some(LIMIT))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        read_answer(&answer).with_context(|| format!("{method} {path}"))
    }
}

/// The body of an answer, which may be empty.
fn read_answer(answer: &str) -> Result<Value> {
    let (head, body) = answer.split_once("\r\n\r\n").context("it is cut")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "it answers {status}: {body}");
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(body).with_context(|| format!("it answers {body:?}"))
}

impl Drop for One {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_errors_are_none() {
        let answer = read_answer("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"state\": \"idle\"}").unwrap();
        assert_eq!(answer["state"], "idle");
        assert_eq!(read_answer("HTTP/1.0 200 OK\r\n\r\n").unwrap(), Value::Null);
        let error = read_answer("HTTP/1.0 403 Forbidden\r\n\r\nno").unwrap_err();
        assert!(error.to_string().contains("403"));
        read_answer("HTTP/1.0 200 OK\r\n").unwrap_err();
    }
}
