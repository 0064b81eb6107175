//! Network and time.

use std::io::Write;

use anyhow::Result;
use bus::network::LinkKind;
use bus::time::Source;

use crate::table::{Table, moment};

/// How the network stands.
pub async fn network(bus: &bus::Client, out: &mut impl Write) -> Result<()> {
    let state = bus::network::status(bus).await?;
    let mut table = Table::new(&["LINK", "KIND", "CONNECTED", "ADDRESSES", "GATEWAYS", "FROM"]);
    for link in state.links {
        let kind = match link.kind {
            LinkKind::Ethernet => "ethernet",
            LinkKind::Wireless => "wireless",
            LinkKind::Loopback => "loopback",
            LinkKind::Other => "other",
        };
        let connected = if link.connected { "yes" } else { "no" };
        let list = |items: Vec<String>| {
            if items.is_empty() {
                "–".into()
            } else {
                items.join(" ")
            }
        };
        table.row([
            link.name,
            kind.into(),
            connected.into(),
            list(link.addresses),
            list(link.gateways),
            list(link.sources),
        ]);
    }
    table.print(out)?;
    writeln!(out, "online: {}", if state.online { "yes" } else { "no" })?;
    writeln!(out, "name servers: {}", state.name_servers.join(" "))?;
    writeln!(out, "time servers: {}", state.time_servers.join(" "))?;
    Ok(())
}

/// What time it is, and who says so.
pub async fn time(bus: &bus::Client, out: &mut impl Write) -> Result<()> {
    let state = bus::time::status(bus).await?;
    let source = match state.source {
        Source::HardwareClock => "the clock of this device".into(),
        Source::Server(server) => format!("server {server}"),
        Source::Owner => "the owner".into(),
    };
    writeln!(out, "{} UTC, by {source}", moment(state.now))?;
    if let Some(time) = state.synchronised {
        let offset = state
            .offset
            .map_or(String::new(), |offset| format!(", it was {offset} ms off"));
        writeln!(
            out,
            "compared with a server at {} UTC{offset}",
            moment(time)
        )?;
    }
    if let Some(problem) = state.problem {
        writeln!(out, "problem: {problem}")?;
    }
    Ok(())
}
