//! A program under a limit of memory that the kernel keeps: a control group of its own, of version 2 or 1,
//! in which all counts that the program makes the kernel hold, files included.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// How long a program may take that has hardly any memory: it is reading its own code again and again.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the kernel sends to who needs more than there is.
const KILLED: i32 = 9;

/// A control group. It is removed when this is dropped.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    fn new(limit: u64) -> Result<Self> {
        let groups = Path::new(GROUPS);
        let name = format!("hyperos-bench-{}", std::process::id());
        let write = |path: PathBuf, text: &str| {
            fs::write(&path, text).with_context(|| format!("writing to {}", path.display()))
        };
        let is_second = groups.join("cgroup.controllers").is_file();
        let group = if is_second {
            write(groups.join("cgroup.subtree_control"), "+memory")?;
            Self(groups.join(name))
        } else {
            Self(groups.join("memory").join(name))
        };
        fs::create_dir(&group.0).with_context(|| format!("making {}", group.0.display()))?;
        let limit = limit.to_string();
        if is_second {
            write(group.0.join("memory.max"), &limit)?;
            write(group.0.join("memory.swap.max"), "0")?;
        } else {
            write(group.0.join("memory.limit_in_bytes"), &limit)?;
            let with_swap = group.0.join("memory.memsw.limit_in_bytes");
            // Where nothing is swapped there is none.
            if with_swap.exists() {
                write(with_swap, &limit)?;
            }
        }
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel needs a moment to see that the last program has ended.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a program prints that runs with no more than `limit` bytes of memory; none where that is too little
/// for it.
///
/// # Errors
///
/// Fails when there can be no such group, and when the program fails for another reason.
pub fn output(limit: u64, program: &Path, arguments: &[&str]) -> Result<Option<String>> {
    let group = Group::new(limit)?;
    let mut child = Command::new("sh")
        // It is in the group before it is the program.
        .args(["-euc", r#"echo $$ >"$1"; shift; exec "$@""#, "sh"])
        .arg(group.0.join("cgroup.procs"))
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let status = wait(&mut child).context("waiting for a program with little memory")?;
    let Some(status) = status else {
        return Ok(None);
    };
    if status.signal() == Some(KILLED) {
        return Ok(None);
    }
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output
            .read_to_string(&mut text)
            .context("reading what it printed")?;
    }
    if !status.success() {
        bail!("{} ended with {status}", program.display());
    }
    Ok(Some(text))
}

/// How it ended; none where it took too long, and was ended.
fn wait(child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}
