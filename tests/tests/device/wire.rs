//! The wire of the shared device, captured from its power-on: what was sent while it was set up,
//! walked over, made to fail and restarted service by service, and then while nobody touched it.
//!
//! `WIRE_IDLE_SECONDS` says how long that is; `cargo xtask soak` asks for ten minutes.

use std::{env, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use system_tests::wire::{self, packet::Hardware};

use crate::{lifecycle::is_in_state, shared::Shared};

/// What QEMU's first network card is given.
const CARD: Hardware = Hardware([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);

/// What QEMU's network gives to the first machine in it.
const ADDRESS: &str = "10.0.2.15";

pub fn nothing_is_contacted_but_what_the_network_offered(phone: &mut Shared) -> Result<()> {
    let idle = match env::var("WIRE_IDLE_SECONDS") {
        Ok(text) => text.parse().context("WIRE_IDLE_SECONDS is no number")?,
        Err(_) => 20,
    };
    let services = phone.phone()?.image.product.services.clone();
    let machine = phone.machine()?;
    let connected = |text: &str| text.contains(ADDRESS);
    machine.wait_for_answer("network", connected)?;
    // The console is who is asked to.
    for service in services.iter().filter(|service| *service != "console") {
        machine.hyper(&format!("call services.restart '\"{service}\"'"))?;
        // One that is started by a call waits for the next.
        machine.wait_for_answer("services", |table| {
            ["running", "waiting"]
                .iter()
                .any(|state| is_in_state(table, service, state))
        })?;
    }
    machine.wait_for_answer("network", connected)?;
    // Time that passes is what is tested here: whoever calls home does so when nobody looks.
    thread::sleep(Duration::from_secs(idle));

    let path = phone.capture()?;
    let capture = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let report = wire::examine(&capture, CARD)?;
    println!("{report}");
    ensure!(
        report
            .destinations
            .keys()
            .any(|destination| destination.contains("DHCP")),
        "the phone never asked for an address: this capture shows nothing"
    );
    ensure!(
        report.violations.is_empty(),
        "packets went where nobody offered to be (the capture: {}):\n{report}",
        path.display()
    );
    Ok(())
}
