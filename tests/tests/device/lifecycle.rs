//! Start, restart and end of the shared device.

use std::{process::Command, time::Instant};

use anyhow::{Result, ensure};
use xtask::{
    image::partitions::Partition,
    machine::{LIMIT, Machine},
    process,
};

use crate::shared::Shared;

/// How long the system gives itself to shut down; the machine's own end comes on top, and the
/// slowness of emulation.
const SHUTDOWN: std::time::Duration = LIMIT;

pub fn starts_to_the_lock_screen(phone: &mut Shared) -> Result<()> {
    let machine = phone.machine()?;
    machine.wait_for_page("lock")?;
    let picture = machine.picture()?;
    let display = machine.options().display.expect("a phone has a display");
    ensure!(
        (picture.width, picture.height) == (display.width, display.height),
        machine.evidence(&format!(
            "the screen is {picture:?} where the product says {display:?}"
        ))
    );
    ensure!(
        picture.colours(100) >= 100,
        machine.evidence(&format!(
            "the lock screen has only {} colours",
            picture.colours(100)
        ))
    );
    let about = machine.hyper("call device.about")?;
    ensure!(
        about.contains("firmware: true"),
        "it was not started by firmware: {about}"
    );
    Ok(())
}

pub fn every_service_runs(phone: &mut Shared) -> Result<()> {
    let services = phone.phone()?.image.product.services.clone();
    wait_until_they_run(phone.machine()?, &services)
}

/// Waits until these services are as they are when all is well.
pub fn wait_until_they_run(machine: &mut Machine, services: &[String]) -> Result<()> {
    for service in services {
        // Those that wait for a first call get it.
        if ["settings", "network", "time", "update"].contains(&service.as_str()) {
            machine.hyper(service)?;
        }
    }
    for service in services {
        // What fetches has nothing to do before there is something to fetch.
        let state = if service == "fetch" {
            "waiting"
        } else {
            "running"
        };
        machine.wait_for_answer("services", |table| is_in_state(table, service, state))?;
    }
    Ok(())
}

/// Whether the table of services says that `service` is in `state`.
pub fn is_in_state(table: &str, service: &str, state: &str) -> bool {
    table.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(service) && words.any(|word| word == state)
    })
}

pub fn a_killed_service_answers_again(phone: &mut Shared) -> Result<()> {
    let machine = phone.machine()?;
    machine.hyper("settings")?;
    machine.hyper("kill settings")?;
    // A call that still reaches the dying process ends with it.
    machine.wait_for_answer("services settings", |service| {
        service.contains(" 1 restarts")
    })?;
    // Every later one waits for the new process: nobody has to try again.
    machine.hyper("settings")?;
    machine.wait_for_answer("services", |table| {
        is_in_state(table, "settings", "running")
    })?;
    let service = machine.hyper("services settings")?;
    ensure!(
        service.contains(" 1 restarts"),
        "settings was killed once, and that is not what is counted: {service}"
    );
    Ok(())
}

pub fn settings_survive_a_restart(phone: &mut Shared) -> Result<()> {
    let machine = phone.machine()?;
    machine.hyper("settings set appearance.accent moss")?;
    machine.hyper("restart")?;
    // The console ends with the device that it belongs to.
    machine.console().disconnect();
    let reset = machine.qmp().event("RESET", Instant::now() + LIMIT)?;
    ensure!(
        reset.is_some(),
        machine.evidence("the device did not restart")
    );
    machine.wait_for_page("lock")?;
    let value = machine.hyper("settings get appearance.accent")?;
    ensure!(
        value.contains("moss"),
        "the setting that was made before the restart is now {value}"
    );
    machine.hyper("settings reset appearance.accent")?;
    Ok(())
}

pub fn shuts_down_clean(phone: &mut Shared) -> Result<()> {
    phone.machine()?.wait_for_page("lock")?;
    let mut machine = phone.take_machine()?;
    machine.hyper("power-off")?;
    machine.wait_for_end(SHUTDOWN)?;

    let phone = phone.phone()?;
    let Partition { offset, .. } = phone.image.layout.partition("data");
    let superblock = process::output(
        Command::new("dumpe2fs")
            .arg("-h")
            .arg(format!("{}?offset={offset}", phone.disk.display()))
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin"),
    )?;
    ensure!(
        superblock
            .lines()
            .any(|line| line.starts_with("Filesystem state:") && line.ends_with("clean"))
            && !superblock.contains("needs_recovery"),
        "the data partition was not left clean:\n{superblock}"
    );
    Ok(())
}
