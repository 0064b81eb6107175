//! OpenSSH between two devices: a server on a configuration of its own, with keys that are thrown away.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xtask::machine::LIMIT;
use xtask::process;

use crate::house::Device;

const PORT: u16 = 22_022;

/// A server on one device, and what the other needs to reach it.
#[derive(Debug)]
pub struct Ssh {
    server: Child,
    folder: tempfile::TempDir,
    address: String,
}

impl Ssh {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Fails when OpenSSH is not installed, or does not start.
    pub fn new(from: &Device, to: &Device) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let place = folder.path();
        for key in ["host", "user"] {
            let mut command = process::tool("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
            process::run(command.arg(place.join(key)))?;
        }
        let address = to.address();
        let host = fs::read_to_string(place.join("host.pub"))?;
        let known = format!("[{address}]:{PORT} {host}");
        fs::write(place.join("known"), known)?;
        // The folder is one of everybody's; the keys in it are good for this run.
        let configuration = format!(
            "ListenAddress {address}:{PORT}\nHostKey {0}/host\nAuthorizedKeysFile {0}/user.pub\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n\
             PrintMotd no\nSubsystem sftp internal-sftp\n",
            place.display()
        );
        fs::write(place.join("sshd"), configuration)?;
        // Debian's server wants this place for the part of it that nobody is to trust.
        let empty = Path::new("/run/sshd");
        if !empty.exists() {
            fs::DirBuilder::new().mode(0o755).create(empty)?;
        }
        let sshd = process::find("sshd").context("sshd is not installed (openssh-server)")?;
        let server = to
            .inside(sshd)
            .args(["-D", "-e", "-f"])
            .arg(place.join("sshd"))
            .stderr(fs::File::create(place.join("log"))?)
            .spawn()?;
        let ssh = Self {
            server,
            folder,
            address,
        };
        let begin = Instant::now();
        while let Err(error) = process::run(ssh.line(from, "ssh").arg(ssh.host()).arg("true")) {
            let log = fs::read_to_string(ssh.place("log")).unwrap_or_default();
            ensure!(
                begin.elapsed() < LIMIT && !log.contains("fatal"),
                "sshd does not answer: {error:#}\n{log}"
            );
            thread::sleep(Duration::from_millis(50));
        }
        Ok(ssh)
    }

    fn place(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn host(&self) -> String {
        format!("root@{}", self.address)
    }

    fn options(&self) -> Vec<String> {
        let file = |name: &str| self.place(name).display().to_string();
        let mut options = vec!["-F".into(), "none".into(), "-i".into(), file("user")];
        for option in [
            "BatchMode=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "LogLevel=ERROR".to_owned(),
            format!("UserKnownHostsFile={}", file("known")),
            format!("Port={PORT}"),
        ] {
            options.extend(["-o".to_owned(), option]);
        }
        options
    }

    fn line(&self, from: &Device, program: &str) -> Command {
        let mut command = from.inside(program);
        command.args(self.options());
        command
    }

    /// Copies a file by scp, and makes it durable; seconds.
    ///
    /// # Errors
    ///
    /// Fails when it is not copied.
    pub fn copy(&self, from: &Device, file: &Path, to: &Path) -> Result<f64> {
        let begin = Instant::now();
        let target = format!("{}:{}", self.host(), to.display());
        process::run(self.line(from, "scp").arg("-q").arg(file).arg(target))?;
        rustix::fs::syncfs(fs::File::open(to)?)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Copies a folder by tar over ssh, and makes it durable; seconds.
    ///
    /// # Errors
    ///
    /// Fails when it is not copied.
    pub fn tar(&self, from: &Device, folder: &Path, to: &Path) -> Result<f64> {
        let begin = Instant::now();
        let mut packs = from
            .inside("tar")
            .arg("-C")
            .arg(folder)
            .args(["-cf", "-", "."])
            .stdout(Stdio::piped())
            .spawn()?;
        let packed = packs.stdout.take().context("it has an output")?;
        let unpack = format!("tar -C '{}' -xf -", to.display());
        let status = self
            .line(from, "ssh")
            .arg(self.host())
            .arg(unpack)
            .stdin(packed)
            .status()?;
        ensure!(status.success(), "ssh ended with {status}");
        let status = packs.wait()?;
        ensure!(status.success(), "tar ended with {status}");
        rustix::fs::syncfs(fs::File::open(to)?)?;
        Ok(begin.elapsed().as_secs_f64())
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
