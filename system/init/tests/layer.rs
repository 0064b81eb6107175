//! The whole of supervision with real processes, as an ordinary user may run it: `init --layer`
//! over a folder of manifests, spoken to over the bus.
//!
//! Waits are for events; their limit only ends a test that would never end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bus::services::{Service, State};

/// Beyond this a test has failed.
const LIMIT: Duration = Duration::from_secs(60);

struct Layer {
    process: Child,
    bus: bus::Client,
    folder: tempfile::TempDir,
}

impl Layer {
    /// Starts a layer with these services: name and what stands in its manifest beside the
    /// description, the program and the user.
    async fn start(services: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("system/services")).unwrap();
        std::fs::copy(test_service(), path("system/test_service")).unwrap();
        std::fs::write(
            path("system/release.toml"),
            "version = \"0\"\ndevelopment = true\n",
        )
        .unwrap();
        std::fs::write(
            path("system/product.toml"),
            "name = \"desktop\"\nmodel = \"A desk\"\n",
        )
        .unwrap();
        for (user, (name, text)) in (1001..).zip(services) {
            let head = format!(
                "description = \"A test\"\nprogram = \"/system/test_service\"\nuser = {user}\n"
            );
            std::fs::write(
                path("system/services").join(format!("{name}.toml")),
                head + text,
            )
            .unwrap();
        }
        let process = Command::new(env!("CARGO_BIN_EXE_init"))
            .arg("--layer")
            .args([
                Path::new("--system"),
                &path("system"),
                Path::new("--data"),
                &path("data"),
            ])
            .args([Path::new("--run"), &path("run")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bus = bus::Client::new(bus::Address::Here(path("run/bus"))).with_deadline(LIMIT);
        let layer = Self {
            process,
            bus,
            folder,
        };
        let begun = Instant::now();
        while bus::services::all(&layer.bus).await.is_err() {
            assert!(begun.elapsed() < LIMIT, "the layer does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        layer
    }

    async fn service(&self, name: &str) -> Service {
        let all = bus::services::all(&self.bus).await.unwrap();
        all.into_iter()
            .find(|service| service.name == name)
            .unwrap()
    }

    async fn until(&self, name: &str, holds: impl Fn(&Service) -> bool) -> Service {
        let begun = Instant::now();
        loop {
            let service = self.service(name).await;
            if holds(&service) {
                return service;
            }
            assert!(begun.elapsed() < LIMIT, "still {service:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn order(&self, order: &str) -> Result<Vec<String>, String> {
        match bus::names::resolve(&self.bus, order).await {
            Ok(answer) => answer,
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks until there is an answer, as callers of a service that was just ended have to.
    async fn insist(&self, order: &str) -> Vec<String> {
        let begun = Instant::now();
        loop {
            match self.order(order).await {
                Ok(answer) => return answer,
                Err(error) => assert!(begun.elapsed() < LIMIT, "{error}"),
            }
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("data/log")
    }

    /// Asks the layer to end and waits for that.
    fn end(&mut self) {
        let process = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The example of this crate that is a service, which cargo builds beside the tests.
fn test_service() -> PathBuf {
    let init = Path::new(env!("CARGO_BIN_EXE_init"));
    init.parent().unwrap().join("examples/test_service")
}

const NAMES: &str = "arguments = [\"serve\"]\nserves = [\"hyper:network/names@1.0.0\"]\n";

#[tokio::test]
async fn the_first_call_starts_a_service_and_a_killed_one_answers_again() {
    let layer = Layer::start(&[("names", NAMES)]).await;
    assert_eq!(layer.service("names").await.state, State::Waiting);
    let first = layer.order("process").await.unwrap();
    let service = layer
        .until("names", |service| service.state == State::Running)
        .await;
    assert_eq!(
        service.process.map(|process| process.to_string()),
        first.first().cloned()
    );
    bus::faults::signal(&layer.bus, "names", 9)
        .await
        .unwrap()
        .unwrap();
    layer
        .until("names", |service| {
            service.restarts == 1 && service.state == State::Running
        })
        .await;
    assert_ne!(layer.insist("process").await, first);
    let problem = layer.service("names").await.problem;
    assert_eq!(problem.as_deref(), Some("it was ended by SIGKILL"));
}

#[tokio::test]
async fn a_service_that_hangs_is_killed_and_answers_again() {
    let text = format!("{NAMES}[health]\nevery = \"100 ms\"\nwithin = \"500 ms\"\n");
    let layer = Layer::start(&[("names", text.as_str())]).await;
    let first = layer.order("process").await.unwrap();
    // Until it has answered its first question, it may take much longer.
    layer
        .until("names", |service| service.state == State::Running)
        .await;
    layer.order("hang").await.unwrap_err();
    assert_ne!(layer.insist("process").await, first);
    let service = layer.until("names", |service| service.restarts > 0).await;
    assert!(
        service
            .problem
            .is_some_and(|problem| problem.contains("hung"))
    );
}

#[tokio::test]
async fn bad_ends_back_off_and_a_broken_manifest_costs_only_itself() {
    let fail = "arguments = [\"fail\"]\nstart = \"boot\"\n[restart]\nfirst-delay = \"1 ms\"\nlongest-delay = \"2 ms\"\n";
    let layer = Layer::start(&[("broken", "users = 3"), ("fails", fail), ("names", NAMES)]).await;
    let broken = layer.service("broken").await;
    assert_eq!(broken.state, State::Broken);
    assert!(
        broken
            .problem
            .is_some_and(|problem| problem.contains("broken.toml:4:1: unknown field"))
    );
    let failed = layer
        .until("fails", |service| service.state == State::Failed)
        .await;
    assert!(failed.restarts >= 9);
    assert_eq!(failed.problem.as_deref(), Some("it ended with exit code 1"));
    layer.order("process").await.unwrap();
}

#[tokio::test]
async fn the_end_is_in_order_within_its_deadline_and_the_log_is_bounded() {
    let stubborn =
        "arguments = [\"stubborn\"]\nstart = \"boot\"\ncalls = [\"hyper:network/names@1.0.0\"]\n";
    let mut layer = Layer::start(&[("names", NAMES), ("stubborn", stubborn)]).await;
    layer.order("talk").await.unwrap();
    layer
        .until("stubborn", |service| service.state == State::Running)
        .await;
    let processes: Vec<_> = bus::services::all(&layer.bus)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|service| service.process)
        .collect();
    assert_eq!(processes.len(), 3);
    layer.end();
    for process in processes {
        assert!(
            !Path::new(&format!("/proc/{process}/exe")).exists(),
            "{process} is left"
        );
    }
    let files: Vec<_> = std::fs::read_dir(layer.log()).unwrap().flatten().collect();
    assert!(files.len() as u32 <= init::log::FILES);
    assert!(
        files
            .iter()
            .all(|file| file.metadata().unwrap().len() <= init::log::FILE_SIZE)
    );
    let text = std::fs::read_to_string(layer.log().join("0.log")).unwrap();
    assert!(
        text.contains("5 stubborn not now"),
        "it was not asked to end"
    );
    assert!(text.contains("init stubborn: killed") || text.contains("init turning off"));
}
