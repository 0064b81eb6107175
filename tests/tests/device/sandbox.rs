//! What each service can do, seen from inside of its sandbox.
//!
//! The device tries it (`hyper probe`); here stands what may come of it: what the manifest lists and
//! nothing else. The manifests are read from the device's own image, and everything that they give
//! to one service must have been tried in the sandbox of each other one, so that a probe that
//! forgets something fails too.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use xtask::{machine::Machine, paths};

use crate::shared::Shared;

/// What of a manifest says what the service may touch.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    serves: Vec<String>,
    #[serde(default)]
    calls: BTreeSet<String>,
    #[serde(default)]
    access: Access,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Access {
    devices: BTreeSet<String>,
    network: bool,
    capabilities: BTreeSet<String>,
}

/// What was tried, and whether it was allowed.
#[derive(Debug)]
struct Attempt {
    allowed: bool,
    what: String,
}

/// The services of the product with their manifests, from where the image takes them.
fn manifests(phone: &mut Shared) -> Result<Vec<(String, Manifest)>> {
    let services = phone.phone()?.image.product.services.clone();
    let root = paths::repository()?;
    let mut folders: Vec<_> = fs::read_dir(root.join("system"))?
        .map(|entry| Ok(entry?.path().join("services")))
        .collect::<Result<_>>()?;
    folders.sort();
    services
        .into_iter()
        .map(|name| {
            let file = format!("{name}.toml");
            let path = folders
                .iter()
                .map(|folder| folder.join(&file))
                .find(|path| path.is_file())
                .with_context(|| format!("no crate in system/ has a manifest {file}"))?;
            let text = fs::read_to_string(&path)?;
            let manifest =
                toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
            Ok((name, manifest))
        })
        .collect()
}

/// Reads the table of `hyper probe`: `yes` or `no`, what was tried, and the answer, two spaces apart.
fn attempts(table: &str) -> Vec<Attempt> {
    table
        .lines()
        .filter_map(|line| {
            let (word, rest) = line.split_once(' ')?;
            let allowed = match word {
                "yes" => true,
                "no" => false,
                _ => return None,
            };
            let what = rest.trim_start().split("  ").next()?.to_owned();
            Some(Attempt { allowed, what })
        })
        .collect()
}

impl Manifest {
    /// Whether the service `name` may do it.
    fn allows(&self, name: &str, what: &str) -> bool {
        let access = &self.access;
        let holds = |capability: &str| access.capabilities.contains(capability);
        let (verb, object) = what.split_once(' ').unwrap_or((what, ""));
        match verb {
            "list" | "write" => ["/data", "/run"]
                .into_iter()
                .any(|place| object.trim_start_matches("in ") == format!("{place}/{name}")),
            "connect" => object
                .strip_prefix("/run/bus/")
                .is_some_and(|interface| self.calls.contains(interface)),
            "open" => device_group(object).is_some_and(|group| access.devices.contains(group)),
            "hold" => holds(object),
            _ => match what {
                "socket for TCP"
                | "socket for UDP"
                | "socket for TCP over IPv6"
                | "socket for links" => access.network,
                "socket for raw IPv4" | "socket for raw packets" => {
                    access.network && holds("net-raw")
                }
                "socket for kernel events" => !access.devices.is_empty(),
                "bind a port of the system" => access.network && holds("net-bind-service"),
                "change a link" => access.network && holds("net-admin"),
                "system call clock_settime" | "system call settimeofday" => holds("sys-time"),
                _ => false,
            },
        }
    }
}

/// The group in a manifest that gives a device node.
fn device_group(node: &str) -> Option<&'static str> {
    [
        ("/dev/dri/", "dri"),
        ("/dev/input/", "input"),
        ("/dev/fb", "framebuffer"),
        ("/dev/virtio-ports/", "console"),
        ("/dev/rtc", "rtc"),
        ("/dev/watchdog", "watchdog"),
        ("/dev/slots/", "slots"),
    ]
    .into_iter()
    .find_map(|(start, group)| node.starts_with(start).then_some(group))
}

pub fn every_sandbox_holds_its_service_to_its_manifest(phone: &mut Shared) -> Result<()> {
    let manifests = manifests(phone)?;
    let machine = phone.machine()?;
    for (name, manifest) in &manifests {
        let table = machine.hyper(&format!("probe {name}"))?;
        let attempts = attempts(&table);
        let tried: BTreeSet<_> = attempts
            .iter()
            .map(|attempt| attempt.what.as_str())
            .collect();
        for (other, of_other) in &manifests {
            let folders = [
                format!("list /data/{other}"),
                format!("write in /run/{other}"),
            ];
            let sockets = of_other
                .serves
                .iter()
                .map(|id| format!("connect /run/bus/{id}"));
            for what in folders.into_iter().chain(sockets) {
                ensure!(
                    tried.contains(what.as_str()),
                    "in the sandbox of {name} `{what}` was not tried:\n{table}"
                );
            }
        }
        for attempt in &attempts {
            let expected = manifest.allows(name, &attempt.what);
            // What a manifest gives may still be missing on this device, or busy.
            ensure!(
                expected || !attempt.allowed,
                "the sandbox of {name} allows `{}`, which is not in its manifest:\n{table}",
                attempt.what
            );
        }
        for own in [
            format!("write in /data/{name}"),
            format!("write in /run/{name}"),
        ] {
            ensure!(
                attempts.iter().any(|one| one.allowed && one.what == own),
                "the sandbox of {name} keeps it from its own: {own}\n{table}"
            );
        }
        is_logged(machine, name, &attempts)?;
    }
    Ok(())
}

/// Every system call that was refused by name stands in the log of the service.
fn is_logged(machine: &mut Machine, name: &str, attempts: &[Attempt]) -> Result<()> {
    let refused: Vec<_> = attempts
        .iter()
        .filter(|attempt| !attempt.allowed)
        .filter_map(|attempt| attempt.what.strip_prefix("system call "))
        .collect();
    ensure!(
        refused.len() > 30,
        "only {} system calls were refused to {name}",
        refused.len()
    );
    machine.wait_for_answer(&format!("log -n 1000 {name}"), |log| {
        refused
            .iter()
            .all(|call| log.contains(&format!("refused: the system call {call} of process")))
    })?;
    Ok(())
}

pub fn a_memory_hungry_service_costs_only_itself(phone: &mut Shared) -> Result<()> {
    let services = phone.phone()?.image.product.services.clone();
    let machine = phone.machine()?;
    let others = |machine: &mut Machine| -> Result<Vec<String>> {
        services
            .iter()
            .filter(|name| *name != "settings")
            .map(|name| restarts_and_process(machine, name))
            .collect()
    };
    machine.hyper("settings get appearance.accent")?;
    let before = (restarts_and_process(machine, "settings")?, others(machine)?);
    let how = machine.hyper("probe settings --exhaust")?;
    ensure!(
        how.contains("it used up its 16 MiB of memory"),
        "the program that takes all memory ended otherwise: {how}"
    );
    // The next call finds it started again, as its manifest says.
    machine.wait_for_answer("settings get appearance.accent", |answer| {
        !answer.is_empty()
    })?;
    let after = (restarts_and_process(machine, "settings")?, others(machine)?);
    ensure!(
        before.0 != after.0,
        "`settings` is still the process that had no memory left: {}",
        after.0
    );
    ensure!(
        before.1 == after.1,
        "services that took no memory were touched: {:?}, before {:?}",
        after.1,
        before.1
    );
    let log = machine.hyper("log -n 200 init")?;
    ensure!(
        log.contains("settings: it used up its 16 MiB of memory and was ended by the kernel"),
        "the log does not say what became of `settings`: {log}"
    );
    Ok(())
}

/// The process of a service, and how often it was started again, in words.
fn restarts_and_process(machine: &mut Machine, name: &str) -> Result<String> {
    let text = machine.hyper(&format!("services {name}"))?;
    let words: Vec<_> = text
        .lines()
        .nth(1)
        .with_context(|| format!("`services {name}` answered {text}"))?
        .split(", ")
        .filter(|part| part.starts_with("process ") || part.ends_with(" restarts"))
        .collect();
    ensure!(words.len() == 2, "`services {name}` answered {text}");
    Ok(words.join(", "))
}
