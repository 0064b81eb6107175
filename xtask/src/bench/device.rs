//! Figures of our own system while it runs, asked over its console.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    table::{Figure, median, percentile},
    wave,
};
use crate::machine::Machine;

/// How long the idle device is watched.
const IDLE: Duration = Duration::from_secs(60);

/// How long a device that has just started may still have something to do.
const SETTLING: Duration = Duration::from_secs(30);

/// How often the bus is asked inside the device.
const CALLS: usize = 500;

/// Between two touches.
const BETWEEN_TOUCHES: Duration = Duration::from_millis(900);

/// How often the screen is touched and drawn anew.
const TOUCHES: usize = 40;
const REDRAWS: usize = 20;

/// What is killed, each once: one that ends again and again is started again later and later, as its
/// manifest says. Each serves an interface of its own name.
const KILLED: [&str; 3] = ["settings", "network", "time"];

/// In logical pixels: an app on the home screen, and the arrow that leads back from it.
const APP: (f64, f64) = (60.0, 460.0);
const BACK: (f64, f64) = (32.0, 60.0);

/// Asks and reads the answer.
fn call(machine: &mut Machine, line: &str) -> Result<Value> {
    let answer = machine.hyper(line)?;
    wave::read(answer.trim()).with_context(|| format!("in the answer to `hyper {line}`"))
}

fn number(value: &Value, field: &str) -> Result<f64> {
    value[field]
        .as_f64()
        .with_context(|| format!("there is no number {field:?} in {value}"))
}

/// What programs used so far, by name.
type Used = BTreeMap<String, (f64, f64)>;

fn used(machine: &mut Machine) -> Result<Used> {
    let services = call(machine, "call services.all")?;
    let services = services.as_array().context("services.all gives no list")?;
    services
        .iter()
        .map(|service| {
            let name = service["name"].as_str().context("a service has no name")?;
            Ok((
                name.to_owned(),
                (number(service, "cpu-time")?, number(service, "wake-ups")?),
            ))
        })
        .collect()
}

/// Processor time that QEMU has used so far, in seconds: what the idle device costs this computer.
fn host_processor(machine: &Machine) -> Result<f64> {
    let path = format!("/proc/{}/stat", machine.process());
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name stands in brackets and may contain anything; the times are the 12th and 13th field
    // after it, in ticks of 10 ms.
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<f64>().ok())
    };
    let (user, system) = ticks(11)
        .zip(ticks(12))
        .with_context(|| format!("{path} is not as proc(5) says"))?;
    Ok((user + system) / 100.0)
}

/// Memory, processor time and wake-ups of the device that nobody touches.
///
/// # Errors
///
/// Fails when the device does not answer.
pub fn idle(machine: &mut Machine) -> Result<Vec<Figure>> {
    thread::sleep(SETTLING);
    let before = call(machine, "call device.usage")?;
    let used_before = used(machine)?;
    let host_before = host_processor(machine)?;
    thread::sleep(IDLE);
    let host = (host_processor(machine)? - host_before) / IDLE.as_secs_f64();
    let used_after = used(machine)?;
    let after = call(machine, "call device.usage")?;

    let memory = (number(&after, "memory-total")? - number(&after, "memory-available")?)
        / f64::from(1 << 20);
    let seconds = (number(&after, "uptime")? - number(&before, "uptime")?) / 1e6;
    let busy = (number(&after, "cpu-busy")? - number(&before, "cpu-busy")?) / 1e6 / seconds;
    let mut processor = Figure::measured("CPU when idle on the home screen", busy * 100.0, "%")
        .at_most(1.0)
        .note(format!(
            "share of one core over {seconds:.0} s, kernel and these questions included; QEMU itself used {:.1} %",
            host * 100.0
        ));
    for (name, (time, wake_ups)) in &used_after {
        let (time_before, wake_ups_before) = used_before.get(name).copied().unwrap_or_default();
        processor = processor.part(
            name,
            format!(
                "{:.2} wake-ups a second, {:.3} %",
                (wake_ups - wake_ups_before) / seconds,
                (time - time_before) / 1e4 / seconds
            ),
        );
    }
    Ok(vec![
        Figure::measured("memory used when idle", memory, "MiB").at_most(80.0),
        processor,
    ])
}

/// From a touch to the page flip that shows what it did, by the device's own clock.
///
/// # Errors
///
/// Fails when the device does not answer.
pub fn touch(machine: &mut Machine) -> Result<Figure> {
    let name = "touch to page flip, median";
    machine.wait_for_page("home")?;
    machine.hyper("call screen.reset-statistics")?;
    for touch in 0..TOUCHES {
        let (x, y) = if touch % 2 == 0 { APP } else { BACK };
        let place = machine.logical(x, y);
        machine.tap(place)?;
        // The next finger comes when the last one's traces are gone, as a person's does.
        thread::sleep(BETWEEN_TOUCHES);
    }
    machine
        .wait_for_page("home")
        .context("an app was opened and left again by touch")?;
    let statistics = call(machine, "call screen.statistics")?;
    let times: Vec<f64> = statistics["touch-to-flip"]
        .as_array()
        .context("screen.statistics has no touch-to-flip")?
        .iter()
        .filter_map(Value::as_f64)
        .map(|microseconds| microseconds / 1000.0)
        .collect();
    // Each finger shows where it is, at the least.
    if times.len() < TOUCHES {
        let reason = format!("{TOUCHES} touches led to {} page flips", times.len());
        return Ok(Figure::missing(name, "ms", &reason).at_most(80.0));
    }
    let (Some(middle), Some(late)) = (median(&times), percentile(&times, 0.95)) else {
        return Ok(Figure::missing(name, "ms", "no touch led to a page flip").at_most(80.0));
    };
    let verdict = if late <= 120.0 { "met" } else { "NOT MET" };
    let mut figure = Figure::measured(name, middle, "ms").at_most(80.0);
    if late > 120.0 {
        figure.met = Some(false);
    }
    Ok(figure
        .part(
            "95th percentile",
            format!("{late:.1} ms, ≤ 120 ms, {verdict}"),
        )
        .part("flips after a touch", times.len().to_string()))
}

/// Processor time of drawing the whole screen.
///
/// # Errors
///
/// Fails when the device does not answer.
pub fn redraw(machine: &mut Machine) -> Result<Figure> {
    let name = "a full redraw, CPU";
    machine.hyper("call screen.reset-statistics")?;
    for _ in 0..REDRAWS {
        machine.hyper("call screen.redraw")?;
    }
    let statistics = call(machine, "call screen.statistics")?;
    let redraws = statistics["redraws"]
        .as_array()
        .context("screen.statistics has no redraws")?;
    let whole: Vec<f64> = redraws
        .iter()
        .filter(|redraw| redraw[1].as_f64().is_some_and(|share| share >= 990.0))
        .filter_map(|redraw| redraw[0].as_f64())
        .map(|microseconds| microseconds / 1000.0)
        .collect();
    Ok(match median(&whole) {
        Some(middle) => Figure::measured(name, middle, "ms")
            .at_most(60.0)
            .part("redraws of the whole screen", whole.len().to_string()),
        None => Figure::missing(name, "ms", "no redraw covered the whole screen").at_most(60.0),
    })
}

/// From the moment before a service is killed until it has answered again, by the device's own clock: the
/// console's program asks for the one and then for the other. The kill answers when the process is gone, so
/// no answer can be the old process's.
///
/// # Errors
///
/// Fails when the device does not answer.
pub fn killed(machine: &mut Machine) -> Result<Figure> {
    let name = "a killed service answers again";
    let mut times = Vec::new();
    for service in KILLED {
        // The first time the console's own code is translated for it, which no restart has to do with.
        machine.hyper(&format!("health {service}"))?;
        let answer = machine.hyper(&format!("kill {service} --until {service}"))?;
        let time: f64 = answer
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("there is no time in {answer:?}"))?;
        times.push(time);
    }
    let Some(middle) = median(&times) else {
        return Ok(Figure::missing(name, "ms", "nothing was killed"));
    };
    let figure = Figure::measured(name, middle, "ms")
        .at_most(100.0)
        .note("median; from before the kill to its first answer, inside the device");
    Ok(KILLED
        .into_iter()
        .zip(times)
        .fold(figure, |figure, (service, time)| {
            figure.part(service, format!("{time:.1} ms"))
        }))
}

/// A call over the bus inside the device, by its own clock: the console's program asks `settings`
/// for a value, over a connection that is kept.
///
/// # Errors
///
/// Fails when the device does not answer.
pub fn call_inside(machine: &mut Machine) -> Result<Figure> {
    let answer = machine.hyper(&format!(
        "call --times {CALLS} settings.get '\"appearance.accent\"'"
    ))?;
    let figure = answer
        .split_whitespace()
        .zip(answer.split_whitespace().skip(1))
        .find(|(_, unit)| unit.trim_end_matches(',') == "µs")
        .and_then(|(number, _)| number.parse().ok());
    let time: f64 = figure.with_context(|| format!("there is no time in {answer:?}"))?;
    Ok(Figure::measured("a bus call inside the device", time, "µs")
        .note(format!("median of {CALLS}, one after the other")))
}
