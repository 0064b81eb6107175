//! Devices that come and go while services run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tokio::io::unix::AsyncFd;

use super::System;
use crate::device::backlight::Backlight;
use crate::device::module::Modules;
use crate::device::node::{self, Node};
use crate::device::uevent::{Received, Uevent, UeventSocket};
use crate::log::Level;
use crate::manifest::DeviceGroup;
use crate::supervise::State;

/// The next message of the kernel; never, without a socket.
pub(super) async fn next(events: Option<&AsyncFd<UeventSocket>>) -> Result<Received> {
    let Some(events) = events else {
        return std::future::pending().await;
    };
    loop {
        let mut ready = events.readable().await?;
        match ready.get_inner().receive()? {
            Some(received) => return Ok(received),
            None => ready.clear_ready(),
        }
    }
}

impl System {
    /// Gives every present device its driver and its node the right owner.
    pub(super) fn begin_devices(&mut self) {
        if self.place.layer {
            return;
        }
        match Modules::open(&self.place.system.join("modules")) {
            Ok(modules) => self.modules = modules,
            Err(error) => self
                .log
                .say(Level::Error, format!("devices get no drivers: {error:#}")),
        }
        self.look_at_devices();
    }

    /// Takes in a message of the kernel.
    pub(super) fn device_event(&mut self, received: Result<Received>) {
        match received {
            Ok(Received::Event(event)) => self.take_event(&event),
            Ok(Received::Lost) => {
                self.log.say(
                    Level::Warning,
                    "events of devices were lost; looking at all devices",
                );
                self.look_at_devices();
            }
            Ok(Received::Other) => {}
            Err(error) => self.log.say(Level::Error, format!("{error:#}")),
        }
    }

    fn take_event(&mut self, event: &Uevent) {
        if event.action == "add"
            && let (Some(modules), Some(modalias)) = (&mut self.modules, event.get("MODALIAS"))
        {
            let problems = modules.load_for(modalias);
            self.say_problems(problems);
        }
        if let Some(backlight) = Backlight::of_event(event) {
            for process in self.processes_given(DeviceGroup::Backlight) {
                self.give(process, &backlight);
            }
        }
        let Some(node) = Node::of_event(event) else {
            return;
        };
        let gone = event.action == "remove";
        if !gone {
            self.make_node(Path::new("/dev"), &node);
        }
        for folder in self.sandbox_folders(node.group) {
            if gone {
                node.remove(&folder);
            } else {
                self.make_node(&folder, &node);
            }
        }
    }

    fn look_at_devices(&mut self) {
        if let Some(modules) = &mut self.modules {
            let problems = modules.load_for_present(Path::new("/sys/devices"));
            self.say_problems(problems);
        }
        for group in DeviceGroup::ALL {
            for node in node::present(Path::new("/sys/class"), group) {
                self.make_node(Path::new("/dev"), &node);
                for folder in self.sandbox_folders(group) {
                    self.make_node(&folder, &node);
                }
            }
        }
    }

    /// A device may have come while a service's sandbox was being made: now it has all.
    pub(super) fn complete_devices(&self, service: usize) {
        let Some(folder) = self.sandbox_folder(service) else {
            return;
        };
        let Ok(manifest) = &self.services[service].manifest else {
            return;
        };
        for &group in &manifest.access.devices {
            for node in node::present(Path::new("/sys/class"), group) {
                self.make_node(&folder, &node);
            }
        }
    }

    /// Whether a service that is given displays runs: the shell.
    pub(super) fn has_screen(&self) -> bool {
        self.services.iter().any(|entry| {
            let shows = entry
                .manifest
                .as_ref()
                .is_ok_and(|manifest| manifest.access.devices.contains(&DeviceGroup::Input));
            shows && entry.state() == State::Running
        })
    }

    /// The `/dev` of each running service that is given a group of devices.
    fn sandbox_folders(&self, group: DeviceGroup) -> Vec<PathBuf> {
        let processes = self.processes_given(group).into_iter();
        processes.map(folder_of).collect()
    }

    /// The `/dev` of a service whose program runs, from outside of its sandbox.
    fn sandbox_folder(&self, service: usize) -> Option<PathBuf> {
        self.running(service).map(folder_of)
    }

    /// The process of each running service that is given a group of devices.
    fn processes_given(&self, group: DeviceGroup) -> Vec<u32> {
        let given = |service: &usize| {
            self.services[*service]
                .manifest
                .as_ref()
                .is_ok_and(|manifest| manifest.access.devices.contains(&group))
        };
        (0..self.services.len())
            .filter(given)
            .filter_map(|service| self.running(service))
            .collect()
    }

    /// The process of a service whose program runs in its sandbox.
    fn running(&self, service: usize) -> Option<u32> {
        let process = self.services[service].process.as_ref()?;
        (process.announced && !self.place.layer).then_some(process.id)
    }

    fn give(&self, process: u32, backlight: &Backlight) {
        let given = Command::new(&self.program)
            .arg("give")
            .arg(process.to_string())
            .arg(backlight.folder())
            .spawn();
        // It is taken in with all others when it ends.
        if let Err(error) = given {
            let text = format!(
                "giving {} to a service: {error}",
                backlight.folder().display()
            );
            self.log.say(Level::Warning, text);
        }
    }

    fn make_node(&self, folder: &Path, node: &Node) {
        if let Err(error) = node.make(folder) {
            self.log.say(Level::Warning, format!("{error:#}"));
        }
    }

    fn say_problems(&self, problems: Vec<anyhow::Error>) {
        for problem in problems {
            self.log.say(Level::Warning, format!("{problem:#}"));
        }
    }
}

/// The `/dev` of a process.
fn folder_of(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root/dev"))
}
