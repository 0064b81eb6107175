//! How long until two devices that know each other are connected: after a start of the service, and
//! after a cable was pulled and plugged in again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bus::services::State;
use bus::{Client, clipboard, services};
use futures::future;
use rustix::process::{Signal, kill_process};
use xtask::bench::table::Figure;
use xtask::machine::LIMIT;

use super::{
    LOOK_AGAIN, Run, Two, clock, family_until, here, middle, milliseconds, of_other, worst,
};
use crate::house::Device;

const SERVICE: &str = "mesh";
/// How long a cable is out at least once everybody knows; in each round a second more, up to five, for
/// what is tried meanwhile is tried after pauses.
const OUT: Duration = Duration::from_secs(1);
/// A cable that is out so long is no reason to end a connection.
const SHORTLY_OUT: Duration = Duration::from_secs(2);

/// From the start of the service to a connection to a device that was known. They take turns, for of
/// two devices the one with the lesser key connects first.
///
/// # Errors
///
/// Fails when they do not connect.
pub fn starts(run: &Run, two: &Two) -> Result<Vec<Figure>> {
    let rounds = run.arguments.rounds.max(1);
    let turn = |round: usize| [&two.tablet, &two.phone][round % 2];
    let (mut connected, mut called, mut killed) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (to_connection, to_answer) = run.runtime.block_on(start(turn(round)))?;
        connected.push(milliseconds(to_connection));
        called.push(milliseconds(to_answer));
    }
    for round in 0..rounds.div_ceil(5) {
        let time = run.runtime.block_on(start_after_kill(turn(round)))?;
        killed.push(milliseconds(time));
    }
    let all = connected.len();
    let shown = |times: &[f64]| -> Result<String> {
        let (median, worst, all) = (middle(times)?, worst(times), times.len());
        Ok(format!("{median:.0} ms, worst of {all} {worst:.0} ms"))
    };
    Ok(vec![
        Figure::measured("service start to connected", middle(&connected)?, "ms")
            .at_most(500.0)
            .part("until the first call is answered", shown(&called)?)
            .part("from a kill of the service", shown(&killed)?),
        Figure::measured(
            &format!("the same, worst of {all}"),
            worst(&connected),
            "ms",
        )
        .at_most(2000.0),
    ])
}

/// Whether the other device is connected, as one sees it whose service was just started: it was last
/// seen when the connection was made.
fn is_connected(list: &[bus::family::Device]) -> bool {
    let mut others = list.iter().filter(|device| !device.here);
    others.any(|device| device.online && device.last_seen.is_some())
}

async fn state(bus: &Client) -> Result<State> {
    let all = services::all(bus).await?;
    let service = all.into_iter().find(|service| service.name == SERVICE);
    Ok(service.context("there is no mesh")?.state)
}

async fn state_until(bus: &Client, is: impl Fn(State) -> bool) -> Result<()> {
    let begin = Instant::now();
    while !is(state(bus).await?) {
        ensure!(begin.elapsed() < LIMIT, "mesh stays as it is");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

async fn ask_to_start(bus: &Client) -> Result<()> {
    let started = services::start(bus, SERVICE).await?;
    started.map_err(|error| anyhow::anyhow!("starting mesh: {error:?}"))
}

/// The service ends in order and is started again; the other device's end of the connection may be
/// there still.
async fn start(device: &Device) -> Result<(Duration, Duration)> {
    let bus = here(device);
    let stopped = services::stop(&bus, SERVICE).await?;
    stopped.map_err(|error| anyhow::anyhow!("stopping mesh: {error:?}"))?;
    state_until(&bus, |state| matches!(state, State::Stopped)).await?;
    let begin = Instant::now();
    let (asked, connected) =
        future::join(ask_to_start(&bus), family_until(&bus, is_connected)).await;
    asked?;
    let connected = connected.context("it does not find the other device")?;
    let other = other(&bus).await?;
    let answered = clipboard::get(&of_other(device, &other)).await;
    let answer = begin.elapsed();
    answered.context("calling the other device")?;
    Ok((connected - begin, answer))
}

/// The id of the other device.
async fn other(bus: &Client) -> Result<String> {
    let list = bus::family::devices(bus).await?;
    let other = list.into_iter().find(|device| !device.here);
    Ok(other.context("it has no other device")?.id)
}

/// Killed, and started at once: the other device has a connection that nobody is at the end of.
async fn start_after_kill(device: &Device) -> Result<Duration> {
    let bus = here(device);
    state_until(&bus, |state| matches!(state, State::Running)).await?;
    let process = device.process(SERVICE)?;
    let begin = Instant::now();
    kill_process(process, Signal::KILL)?;
    state_until(&bus, |state| !matches!(state, State::Running)).await?;
    // It would be started by itself, after a pause that grows with every kill.
    let (asked, connected) =
        future::join(ask_to_start(&bus), family_until(&bus, is_connected)).await;
    asked?;
    Ok(connected? - begin)
}

/// From the cable's return to a connection, as both devices see it.
///
/// # Errors
///
/// Fails when they do not connect.
pub fn cables(run: &Run, two: &Two) -> Result<Vec<Figure>> {
    let rounds = run.arguments.rounds.div_ceil(5).max(1);
    let (mut times, mut short) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let more = Duration::from_secs(round as u64 % 5);
        times.push(milliseconds(run.runtime.block_on(lost(two, OUT + more))?));
        short.push(milliseconds(run.runtime.block_on(shortly(two))?));
    }
    let shortly = format!("{:.0} ms, worst {:.0} ms", middle(&short)?, worst(&short));
    let figure = Figure::measured("link back up to connected again", middle(&times)?, "ms")
        .at_most(500.0)
        .part(
            format!("worst of {}", times.len()),
            format!("{:.0} ms", worst(&times)),
        )
        .part("after 2 s without it, until a call is answered", shortly);
    Ok(vec![figure])
}

/// Out until both have lost their connection, and then some.
async fn lost(two: &Two, more: Duration) -> Result<Duration> {
    let both = [here(&two.phone), here(&two.tablet)];
    for bus in &both {
        family_until(bus, is_connected).await?;
    }
    let before = clock();
    two.tablet.plug(false)?;
    // When a connection ends that is when the other device was seen last.
    let seen_since = |list: &[bus::family::Device], moment: u64| {
        let mut others = list.iter().filter(|device| !device.here);
        others.any(|device| device.online && device.last_seen >= Some(moment))
    };
    for bus in &both {
        family_until(bus, |list| {
            let mut others = list.iter().filter(|device| !device.here);
            others.any(|device| device.last_seen >= Some(before))
        })
        .await
        .context("the connection is not lost")?;
    }
    tokio::time::sleep(more).await;
    let (moment, begin) = (clock(), Instant::now());
    two.tablet.plug(true)?;
    let mut connected = begin;
    for bus in &both {
        let at = family_until(bus, |list| seen_since(list, moment))
            .await
            .context("they do not connect again")?;
        connected = connected.max(at);
    }
    Ok(connected - begin)
}

/// Out for a moment: the connection outlives that, and a call is answered again.
async fn shortly(two: &Two) -> Result<Duration> {
    let tablet = of_other(&two.phone, "tablet").with_deadline(LIMIT);
    clipboard::get(&tablet).await?;
    two.tablet.plug(false)?;
    tokio::time::sleep(SHORTLY_OUT).await;
    let begin = Instant::now();
    two.tablet.plug(true)?;
    clipboard::get(&tablet).await?;
    Ok(begin.elapsed())
}
