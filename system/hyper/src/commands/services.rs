//! Services and their log.

use std::io::Write;

use anyhow::{Context as _, Result, anyhow};
use bus::services::{Error, Level, LogLine, Service, State};
use futures::StreamExt as _;

use crate::table::{Table, bytes, microseconds, moment};

/// Every service with what it uses.
pub async fn list(bus: &bus::Client, out: &mut impl Write) -> Result<()> {
    let services = bus::services::all(bus).await?;
    let mut table = Table::new(&[
        "SERVICE", "STATE", "PROCESS", "MEMORY", "CPU", "WAKE-UPS", "RESTARTS", "ABOUT",
    ]);
    for service in &services {
        table.row([
            service.name.clone(),
            state(service.state).into(),
            service
                .process
                .map_or("–".into(), |process| process.to_string()),
            bytes(service.memory),
            microseconds(service.cpu_time),
            service.wake_ups.to_string(),
            service.restarts.to_string(),
            service
                .problem
                .clone()
                .unwrap_or_else(|| service.description.clone()),
        ]);
    }
    table.print(out)?;
    // A measure of the sandbox that is lifted should not have to be looked for.
    for service in &services {
        for measure in service
            .sandbox
            .iter()
            .filter(|measure| measure.contains("exception"))
        {
            writeln!(out, "{}: {measure}", service.name)?;
        }
    }
    Ok(())
}

/// One service in full.
pub async fn show(bus: &bus::Client, name: &str, out: &mut impl Write) -> Result<()> {
    let services = bus::services::all(bus).await?;
    let Some(service) = services.iter().find(|service| service.name == name) else {
        let names: Vec<_> = services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        return Err(anyhow!(
            "there is no service {name}; there are {}",
            names.join(", ")
        ));
    };
    let Service {
        description,
        interfaces,
        sandbox,
        problem,
        ..
    } = service;
    writeln!(out, "{name}: {description}")?;
    writeln!(
        out,
        "{}, process {}, {} of memory, {} of processor, {} wake-ups, {} restarts",
        state(service.state),
        service
            .process
            .map_or("none".into(), |process| process.to_string()),
        bytes(service.memory),
        microseconds(service.cpu_time),
        service.wake_ups,
        service.restarts,
    )?;
    if let Some(problem) = problem {
        writeln!(out, "problem: {problem}")?;
    }
    for interface in interfaces {
        writeln!(out, "serves {interface}")?;
    }
    for measure in sandbox {
        writeln!(out, "sandbox: {measure}")?;
    }
    Ok(())
}

/// What came of starting or stopping.
pub fn done(doing: &str, name: &str, result: Result<(), Error>) -> Result<()> {
    result.map_err(|error| anyhow!("{doing} {name}: {}", problem(&error)))
}

/// The newest lines, and then those to come.
pub async fn log(
    bus: &bus::Client,
    service: Option<&str>,
    lines: u32,
    follow: bool,
    out: &mut impl Write,
) -> Result<()> {
    // Followed from before the past is read, so that no line falls between.
    let following = if follow {
        Some(bus::services::follow_log(bus).await?)
    } else {
        None
    };
    let past = bus::services::log(bus, service, lines)
        .await?
        .map_err(|error| anyhow!("reading the log: {}", problem(&error)))?;
    for line in &past {
        print(line, out)?;
    }
    let Some(mut following) = following else {
        return Ok(());
    };
    out.flush()?;
    let newest = past.last().map_or(0, |line| line.time);
    while let Some(line) = following.next().await {
        let line = line.context("following the log")?;
        let shown = line.time <= newest && past.contains(&line);
        if !shown && service.is_none_or(|service| service == line.service) {
            print(&line, out)?;
            out.flush()?;
        }
    }
    Ok(())
}

fn print(line: &LogLine, out: &mut impl Write) -> Result<()> {
    let level = match line.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
        Level::Information => "information",
        Level::Detail => "detail",
    };
    // What a service wrote must not steer the terminal that shows it.
    let text = line
        .text
        .replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
    writeln!(
        out,
        "{}  {}  {level}  {text}",
        moment(line.time),
        line.service
    )?;
    Ok(())
}

fn problem(error: &Error) -> String {
    match error {
        Error::UnknownService(name) => format!("there is no service {name}"),
        Error::Refused(reason) => reason.clone(),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Starting => "starting",
        State::Running => "running",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::BackingOff => "backing off",
        State::Failed => "failed",
        State::Broken => "broken",
    }
}
