//! A large family on one switch: how soon a change is everywhere, and what each device costs while
//! nothing happens.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bus::{Client, home};
use futures::future;
use rustix::process::Pid;
use xtask::bench::table::Figure;

use super::{Run, family_until, here, house, middle, milliseconds, usage, worst};
use crate::house::{Device, Packets};

/// How often a device is called something else.
const CHANGES: usize = 10;
/// Connections that pairing made and nobody keeps end meanwhile, before idle devices are watched: they do
/// a minute after they were used, and are looked at twice a minute.
const CALM: Duration = Duration::from_secs(100);

/// All that is asked of it.
///
/// # Errors
///
/// Fails when the family does not come together.
pub fn figures(run: &Run) -> Result<Vec<Figure>> {
    let count = run.arguments.devices.max(2);
    let house = house(&["mesh", "state"])?;
    let mut devices = vec![Device::new(&house)?];
    for number in 1..count {
        let device = Device::new(&house)?;
        devices[0].takes_in(&device, &format!("device-{number}"), "owner")?;
        devices.push(device);
        if number % 8 == 0 {
            run.progress.note(&format!("{} devices", number + 1));
        }
    }
    let clients: Vec<Client> = devices.iter().map(here).collect();
    run.runtime
        .block_on(each(&clients, |client| async move {
            let all = |list: &[bus::family::Device]| {
                list.len() == count && list.iter().all(|device| device.online)
            };
            family_until(client, all).await
        }))
        .context("not every device sees every other one")?;

    let mut figures = run.runtime.block_on(changes(&clients))?;
    run.progress.note(&format!(
        "watching {count} idle devices for {} s",
        run.arguments.idle
    ));
    thread::sleep(CALM);
    let processes = devices
        .iter()
        .map(|device| device.process("mesh"))
        .collect::<Result<Vec<_>>>()?;
    let (before, packets) = (processor(&processes)?, house.packets()?);
    let begin = Instant::now();
    thread::sleep(Duration::from_secs(run.arguments.idle.max(1)));
    let seconds = begin.elapsed().as_secs_f64();
    let (after, packets_after) = (processor(&processes)?, house.packets()?);
    let rate = |count: fn(&Packets) -> u64| -> Vec<f64> {
        let pairs = packets.iter().zip(&packets_after);
        pairs
            .map(|(before, after)| (count(after) - count(before)) as f64 / seconds)
            .collect()
    };
    let (sent, received) = (
        rate(|packets| packets.sent),
        rate(|packets| packets.received),
    );
    let shares: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| (after - before) / seconds * 100.0)
        .collect();
    let memory = processes
        .iter()
        .map(|process| Ok(usage::memory(*process)? as f64 / 1e6))
        .collect::<Result<Vec<_>>>()?;
    let of = format!("worst of {count}");
    figures.extend([
        Figure::measured("memory of each mesh (PSS), worst", worst(&memory), "MB")
            .at_most(15.0)
            .part("median", format!("{:.1} MB", middle(&memory)?)),
        Figure::measured("processor of each idle mesh", middle(&shares)?, "%")
            .at_most(0.2)
            .note(format!("of one, over {seconds:.0} s"))
            .part(&*of, format!("{:.3} %", worst(&shares))),
        Figure::measured(
            "packets that each idle device sends, a second",
            middle(&sent)?,
            "/s",
        )
        .at_most(2.0)
        .part(&*of, format!("{:.2} /s", worst(&sent)))
        .part(
            "packets that come to it, those to all too",
            format!(
                "{:.2} /s, worst {:.2} /s",
                middle(&received)?,
                worst(&received)
            ),
        ),
    ]);
    Ok(figures)
}

fn processor(processes: &[Pid]) -> Result<Vec<f64>> {
    processes
        .iter()
        .map(|process| usage::processor(*process))
        .collect()
}

/// Does something with each device at once.
async fn each<'a, T, F>(clients: &'a [Client], does: impl Fn(&'a Client) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    future::try_join_all(clients.iter().map(does)).await
}

/// The first device calls the last one something else, again and again, until everybody does.
async fn changes(clients: &[Client]) -> Result<Vec<Figure>> {
    let (mut times, mut halves) = (Vec::new(), Vec::new());
    let first = clients.first().context("there is a first device")?;
    let last = clients.last().context("there is a last device")?;
    let list = bus::family::devices(last).await?;
    let own = list.into_iter().find(|device| device.here);
    let id = own.context("it has an id")?.id;
    for number in 0..CHANGES {
        let name = format!("Name {number}");
        let begin = Instant::now();
        let rename = async {
            let renamed = home::rename(first, &id, &name).await?;
            renamed.map_err(|error| anyhow::anyhow!("calling it {name}: {error:?}"))
        };
        let known = |client| {
            let (id, name) = (&id, &name);
            async move {
                let is = |list: &[bus::family::Device]| {
                    let mut called = list.iter();
                    called.any(|device| device.id == *id && device.name == *name)
                };
                family_until(client, is).await
            }
        };
        let (renamed, known) = future::join(rename, each(clients, known)).await;
        renamed?;
        let mut times_of_all: Vec<f64> = known?
            .into_iter()
            .map(|at| milliseconds(at - begin))
            .collect();
        times_of_all.sort_by(f64::total_cmp);
        times.push(worst(&times_of_all));
        halves.push(middle(&times_of_all)?);
    }
    Ok(vec![
        Figure::measured(
            &format!(
                "a change is on all of {} devices, worst of {CHANGES}",
                clients.len()
            ),
            worst(&times),
            "ms",
        )
        .at_most(2000.0)
        .part("median", format!("{:.0} ms", middle(&times)?))
        .part("on half of them", format!("{:.0} ms", middle(&halves)?)),
    ])
}
