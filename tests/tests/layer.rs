//! The system as a layer, as `cargo xtask run --device desktop` starts it: the same programs and
//! manifests as on a device, by an ordinary process and without a screen.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use xtask::{
    image::{self, Options},
    machine::LIMIT,
    paths,
    product::Product,
    programs,
    progress::Progress,
};

const LOOK_AGAIN: Duration = Duration::from_millis(50);

struct Layer {
    init: Child,
    folder: tempfile::TempDir,
}

impl Layer {
    fn start(services: &[String]) -> Result<Self> {
        let root = paths::repository()?;
        let mut product = Product::load(&root, "desktop")?;
        product.services = services.to_vec();
        let folder = tempfile::tempdir()?;
        let options = Options::default();
        let built = if options.no_build {
            programs::built(&root)?
        } else {
            programs::build(&root)?
        };
        image::stage_layer(
            &root,
            &product,
            &options,
            &built,
            &folder.path().join("stage"),
            &Progress::default(),
        )?;
        let init = Self::command(folder.path())
            .spawn()
            .context("starting init")?;
        Ok(Self { init, folder })
    }

    fn command(folder: &Path) -> Command {
        let mut command = Command::new(folder.join("stage/system/init"));
        command
            .arg("--layer")
            .args([Path::new("--system"), &folder.join("stage/system")])
            .args([Path::new("--data"), &folder.join("data")])
            .args([Path::new("--run"), &folder.join("run")])
            .stdin(Stdio::null());
        command
    }

    /// What a command line of `hyper` prints, once it succeeds.
    fn hyper(&mut self, line: &[&str]) -> Result<String> {
        let begin = Instant::now();
        loop {
            let output = Command::new(self.folder.path().join("stage/system/hyper"))
                .args(line)
                .env("HYPER_BUS", self.folder.path().join("run/bus"))
                .output()?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            if begin.elapsed() > LIMIT || self.init.try_wait()?.is_some() {
                bail!(
                    "`hyper {}` fails: {}",
                    line.join(" "),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// The processes of services, by what their table says.
    fn processes(&mut self) -> Result<Vec<Pid>> {
        let table = self.hyper(&["services"])?;
        Ok(table
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(2)?.parse().ok())
            .filter_map(Pid::from_raw)
            .collect())
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // Ended already, unless a check failed.
        let _ = kill_process(Pid::from_child(&self.init), Signal::TERM);
        let _ = self.init.wait();
    }
}

#[test]
fn services_answer_in_a_layer_and_end_with_it() {
    let root = paths::repository().unwrap();
    let mut services = Product::load(&root, "desktop").unwrap().services;
    assert!(services.iter().any(|service| service == "shell"));
    // There is no desktop here to open its window on.
    services.retain(|service| service != "shell");
    check(&services).unwrap();
}

fn check(services: &[String]) -> Result<()> {
    let mut layer = Layer::start(services)?;
    layer.hyper(&["settings", "set", "appearance.accent", "ember"])?;
    let accent = layer.hyper(&["settings", "get", "appearance.accent"])?;
    ensure!(
        accent.trim() == "ember",
        "a setting was set and is {accent:?}"
    );
    layer.hyper(&["time"])?;
    // The layer is a device of a family as any other, if only of its own.
    let family = layer.hyper(&["family"])?;
    ensure!(
        family.contains("this device"),
        "the layer is not a device of its family:\n{family}"
    );
    layer.hyper(&["clipboard", "set", "from the desktop"])?;
    let deadline = Instant::now() + LIMIT;
    let table = loop {
        let table = layer.hyper(&["services"])?;
        let runs = |service: &String| {
            let mut lines = table.lines();
            lines.any(|line| line.starts_with(service.as_str()) && line.contains("running"))
        };
        match services.iter().find(|service| !runs(service)) {
            None => break table,
            Some(service) => ensure!(
                Instant::now() < deadline,
                "{service} does not run:\n{table}"
            ),
        }
        thread::sleep(LOOK_AGAIN);
    };

    let second = Layer::command(layer.folder.path()).output()?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(
        !second.status.success() && said.contains("already"),
        "a second layer in the same folders ended with {} and said {said:?}",
        second.status
    );

    let processes = layer.processes()?;
    ensure!(
        processes.len() > services.len(),
        "only {processes:?} run:\n{table}"
    );
    kill_process(Pid::from_child(&layer.init), Signal::INT)?;
    let status = layer.init.wait()?;
    ensure!(status.success(), "the layer ended with {status}");
    for process in processes {
        ensure!(
            test_kill_process(process).is_err(),
            "process {process:?} outlived the layer"
        );
    }
    let kept: PathBuf = layer.folder.path().join("data/settings");
    ensure!(
        fs::read_dir(&kept).is_ok_and(|mut files| files.next().is_some()),
        "{} holds no settings",
        kept.display()
    );
    Ok(())
}
