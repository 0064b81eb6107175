//! Trying a service's sandbox.

use std::io::Write;

use anyhow::{Result, anyhow};

use crate::table::Table;

/// Everything that was tried in the sandbox of a service, and what came of it.
pub async fn run(bus: &bus::Client, service: &str, out: &mut impl Write) -> Result<()> {
    let attempts = bus::faults::probe(bus, service)
        .await?
        .map_err(|reason| anyhow!("trying the sandbox of {service}: {reason}"))?;
    let mut table = Table::new(&["ALLOWED", "WHAT", "ANSWER"]);
    for attempt in attempts {
        let allowed = if attempt.allowed { "yes" } else { "no" };
        table.row([allowed.into(), attempt.what, attempt.answer]);
    }
    Ok(table.print(out)?)
}

/// How a program ended that took all of a service's memory.
pub async fn exhaust(bus: &bus::Client, service: &str, out: &mut impl Write) -> Result<()> {
    let how = bus::faults::exhaust(bus, service)
        .await?
        .map_err(|reason| anyhow!("taking the memory of {service}: {reason}"))?;
    writeln!(out, "{how}")?;
    Ok(())
}
