//! A call from a program on one device to a service on another, beside round trips of as many bytes;
//! and how long what was copied takes to be there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bus::clipboard::{self, Item};
use bus::{Address, Client};
use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use xtask::bench::table::{Figure, percentile};
use xtask::machine::LIMIT;

use super::peer::{Pair, Threads, Way};
use super::{Run, Two, here, middle, milliseconds, of_other, worst};
use crate::house::Device;

/// Each takes its turn, so that what else the computer does meets them alike.
const TURNS: usize = 10;
/// What is copied, and so what the call answers.
const TEXT: usize = 64;
/// How often something is copied.
const COPIES: usize = 100;

fn text(length: usize) -> Item {
    Item {
        media_type: "text/plain".into(),
        data: vec![b'x'; length].into(),
        secret: false,
    }
}

async fn copy(bus: &Client, item: &Item) -> Result<()> {
    let copied = clipboard::set(bus, item).await?;
    copied.map_err(|reason| anyhow::anyhow!("copying: {reason}"))
}

async fn arrives(bus: &Client, length: usize) -> Result<()> {
    let begin = Instant::now();
    while clipboard::get(bus)
        .await?
        .is_none_or(|item| item.data.len() != length)
    {
        ensure!(begin.elapsed() < LIMIT, "what was copied does not come");
        tokio::time::sleep(super::LOOK_AGAIN).await;
    }
    Ok(())
}

/// The way of a call, and of its bytes alone.
///
/// # Errors
///
/// Fails when the devices or the peers do not answer.
pub fn round_trips(run: &Run, two: &Two) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let calls = run.arguments.calls.max(TURNS);
    let client = of_other(&two.phone, "tablet");
    let (there, back) = run.runtime.block_on(async {
        copy(&here(&two.tablet), &text(TEXT)).await?;
        // The first call connects.
        arrives(&client, TEXT).await?;
        bytes_of_a_call(&two.tablet, folder.path()).await
    })?;
    let bytes = (usize::try_from(there)?, usize::try_from(back)?);
    let mut one = Pair::new(&two.phone, &two.tablet, Threads::One, folder.path())?;
    let mut many = Pair::new(&two.phone, &two.tablet, Threads::Many, folder.path())?;
    let mut times: [Vec<f64>; 5] = Default::default();
    let [ours, iroh_one, iroh_many, tcp, udp] = &mut times;
    for turn in 0..=TURNS {
        if turn == 1 {
            // The first turn was to warm up.
            for times in [
                &mut *ours,
                &mut *iroh_one,
                &mut *iroh_many,
                &mut *tcp,
                &mut *udp,
            ] {
                times.clear();
            }
        }
        let some = calls / TURNS;
        ours.extend(run.runtime.block_on(call(&client, some))?);
        iroh_one.extend(one.round_trips(Way::Iroh, bytes, some)?);
        iroh_many.extend(many.round_trips(Way::Iroh, bytes, some)?);
        tcp.extend(one.round_trips(Way::Tcp, bytes, some)?);
        udp.extend(one.round_trips(Way::Udp, bytes, some)?);
    }
    let (call, iroh) = (middle(ours)?, middle(iroh_one)?.min(middle(iroh_many)?));
    let shown = |times: &[f64]| -> Result<String> {
        let high = percentile(times, 0.95).context("nothing was measured")?;
        Ok(format!(
            "{:.0} µs, 95th percentile {high:.0} µs, worst {:.0} µs",
            middle(times)?,
            worst(times)
        ))
    };
    let name = "a call through the whole path, over plain iroh's round trip";
    Ok(vec![
        Figure::measured(name, call / iroh, "")
            .at_most(3.0)
            .note(format!(
                "{there} bytes there and {back} back; medians of {}, in turns",
                ours.len()
            ))
            .part("a call: program, mesh, mesh, service", shown(ours)?)
            .part("plain iroh, one thread at each end", shown(iroh_one)?)
            .part("plain iroh, more threads", shown(iroh_many)?)
            .part("TCP", shown(tcp)?)
            .part("UDP", shown(udp)?),
    ])
}

/// Calls again and again by one client; microseconds.
async fn call(client: &Client, times: usize) -> Result<Vec<f64>> {
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        let begin = Instant::now();
        let item = clipboard::get(client).await?;
        taken.push(begin.elapsed().as_secs_f64() * 1e6);
        ensure!(
            item.is_some_and(|item| item.data.len() == TEXT),
            "another answer came"
        );
    }
    Ok(taken)
}

/// How many bytes of the bus a call is, there and back: through a socket of our own before the device's.
async fn bytes_of_a_call(device: &Device, folder: &Path) -> Result<(u64, u64)> {
    let (own, its) = (
        bus::socket_path(folder, clipboard::ID),
        bus::socket_path(&device.bus(), clipboard::ID),
    );
    if let Some(parent) = own.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let listener = UnixListener::bind(&own).context("opening a socket to count at")?;
    let (there, back) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&there), Arc::clone(&back));
    tokio::spawn(async move {
        let (caller, _) = listener.accept().await?;
        let (from_caller, to_caller) = caller.into_split();
        let (from_service, to_service) = UnixStream::connect(its).await?.into_split();
        tokio::spawn(count(from_caller, to_service, there));
        tokio::spawn(count(from_service, to_caller, back));
        anyhow::Ok(())
    });
    let client = Client::new(Address::Here(folder.to_owned()));
    let so_far = || {
        let (there, back) = &counts;
        (there.load(Ordering::Relaxed), back.load(Ordering::Relaxed))
    };
    // The first call's connection is not what each call costs.
    call(&client, 1).await?;
    let first = so_far();
    call(&client, 1).await?;
    let second = so_far();
    Ok(((second.0 - first.0) as u64, (second.1 - first.1) as u64))
}

async fn count(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: Arc<AtomicUsize>,
) -> Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        bytes.fetch_add(count, Ordering::Relaxed);
        to.write_all(&buffer[..count]).await?;
    }
}

/// From a copy on one device until a program that watches the other one's clipboard has it.
///
/// # Errors
///
/// Fails when it does not come.
pub fn clipboard(run: &Run, two: &Two) -> Result<Vec<Figure>> {
    let (phone, tablet) = (here(&two.phone), here(&two.tablet));
    let times = run.runtime.block_on(async {
        let mut watch = clipboard::watch(&tablet).await?;
        let mut times = Vec::new();
        for round in 0..COPIES {
            let item = text(200 + round);
            let begin = Instant::now();
            let came = async {
                while let Some(now) = watch.next().await {
                    if now?.is_some_and(|now| now.data.len() == item.data.len()) {
                        return Ok(begin.elapsed());
                    }
                }
                anyhow::bail!("the clipboard ended")
            };
            let (copied, came) =
                futures::future::join(copy(&phone, &item), tokio::time::timeout(LIMIT, came)).await;
            copied?;
            times.push(milliseconds(came.context("it does not come")??));
            // As a person copies: not while the last is still on its way anywhere.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(times)
    })?;
    Ok(vec![
        Figure::measured(
            "copied to available on the other device",
            middle(&times)?,
            "ms",
        )
        .at_most(50.0)
        .part(
            format!("worst of {}", times.len()),
            format!("{:.1} ms", worst(&times)),
        ),
    ])
}
