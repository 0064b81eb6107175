//! Interfaces by name.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use bus::dynamic::{Answer, Api, Returns, is_error, text};
use futures::StreamExt as _;

/// Prints all interfaces, or one with its documentation.
pub fn print(interface: Option<&str>, out: &mut impl Write) -> Result<()> {
    let api = Api::new()?;
    if let Some(name) = interface {
        let interface = api.interface(name)?;
        writeln!(out, "// {}\n{}", interface.id, interface.text)?;
        return Ok(());
    }
    for interface in api.interfaces() {
        writeln!(out, "{}\n    {}", interface.id, interface.summary)?;
        for function in interface.functions {
            writeln!(out, "    {function}")?;
        }
    }
    Ok(())
}

/// Asks on an interface's own socket, where each service answers for itself, whether it is well.
pub async fn healthy(interface: &str) -> Result<()> {
    let interface = Api::new()?.interface(interface)?;
    let socket = bus::socket_path(&bus::folder(), &interface.id);
    bus::check_health(&socket, bus::DEADLINE)
        .await?
        .map_err(|reason| anyhow!("the service behind {} is not well: {reason}", interface.id))
}

/// Calls a function again and again and prints how long a call takes.
pub async fn time(
    bus: &bus::Client,
    function: &str,
    arguments: &[String],
    times: u32,
    out: &mut impl Write,
) -> Result<()> {
    let function = Api::new()?.function(function)?;
    let arguments = function.arguments(arguments)?;
    let mut taken = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        if let Answer::Stream(_) = function.call(bus, &arguments).await? {
            bail!("a stream has no one answer whose time could be told");
        }
        taken.push(begin.elapsed());
    }
    taken.sort_unstable();
    let Some(median) = taken.get(taken.len() / 2) else {
        bail!("it was called no times");
    };
    let microseconds = median.as_secs_f64() * 1e6;
    writeln!(out, "{microseconds:.1} µs is the median of {times} calls").context("printing")
}

/// The device of a call where one is named, the function and its arguments. What is a function of this
/// system is never taken for a device.
pub fn split<'a>(first: &'a str, rest: &'a [String]) -> (Option<&'a str>, &'a str, &'a [String]) {
    let known = |name: &str| Api::new().is_ok_and(|api| api.function(name).is_ok());
    match rest {
        [function, arguments @ ..] if !known(first) && known(function) => {
            (Some(first), function, arguments)
        }
        _ => (None, first, rest),
    }
}

/// Whether a function answers a stream.
pub fn answers_stream(function: &str) -> bool {
    Api::new()
        .and_then(|api| api.function(function))
        .is_ok_and(|function| matches!(function.returns(), Returns::Stream(_)))
}

/// Calls a function and prints its answer in WAVE; a stream line by line, to its end. An answer
/// that is an error is printed and is the command's failure.
pub async fn call(
    bus: &bus::Client,
    function: &str,
    arguments: &[String],
    out: &mut impl Write,
) -> Result<()> {
    let name = function;
    let function = Api::new()?.function(name)?;
    let arguments = function.arguments(arguments)?;
    match function.call(bus, &arguments).await? {
        Answer::Nothing => {}
        Answer::Value(value) => {
            writeln!(out, "{}", text(&value))?;
            if is_error(&value) {
                bail!("{name} answered an error");
            }
        }
        Answer::Stream(mut items) => {
            while let Some(item) = items.next().await {
                writeln!(out, "{}", text(&item?))?;
                out.flush().context("printing")?;
            }
        }
    }
    Ok(())
}
