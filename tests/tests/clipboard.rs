//! What was copied on one device is pasted on another: the real programs, each device in a network
//! namespace of its own.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use system_tests::house::{Device, House};

/// A phone and a tablet of the owner, and a TV that belongs to the home.
struct Home {
    phone: Device,
    tablet: Device,
    tv: Device,
}

impl Home {
    fn new(house: &Arc<House>) -> Result<Self> {
        let home = Self {
            phone: Device::new(house)?,
            tablet: Device::new(house)?,
            tv: Device::new(house)?,
        };
        home.phone.takes_in(&home.tablet, "tablet", "owner")?;
        home.phone.takes_in(&home.tv, "tv", "shared")?;
        home.tablet.sees("tv")?;
        home.tv.sees("tablet")?;
        Ok(home)
    }
}

fn copy(on: &Device, text: &str) -> Result<()> {
    copy_as(on, &[], text.as_bytes()).with_context(|| format!("copying {text:?}"))
}

fn copy_as(on: &Device, what: &[&str], data: &[u8]) -> Result<()> {
    let mut command = on.command(&[&["clipboard", "set"], what].concat());
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("it reads")?;
    input.write_all(data)?;
    drop(input);
    ensure!(child.wait()?.success(), "it was not copied");
    Ok(())
}

fn pastes(on: &Device, text: &str) -> Result<()> {
    on.hyper_until(&["clipboard", "get"], |pasted| pasted == text)?;
    Ok(())
}

/// Bytes of memory that a service has.
fn memory(device: &Device, service: &str) -> Result<u64> {
    let process = device.process(service)?.as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("VmRSS")?.parse::<u64>()? * 1024)
}

#[test]
fn what_is_copied_on_one_device_is_pasted_on_the_owner_s_others() {
    let Some(house) = House::new(&["mesh", "clipboard"]).unwrap() else {
        return;
    };
    check(&house).unwrap();
}

fn check(house: &Arc<House>) -> Result<()> {
    let home = Home::new(house)?;
    let (phone, tablet, tv) = (&home.phone, &home.tablet, &home.tv);
    let empty = phone.try_hyper(&["clipboard", "get"])?;
    ensure!(!empty.status.success(), "nothing was copied yet");

    both_directions(phone, tablet)?;
    pictures_and_secrets(phone, tablet)?;
    ensure!(
        !tv.try_hyper(&["clipboard", "get"])?.status.success(),
        "the TV has what the owner's devices have"
    );
    a_shared_device_is_refused(phone, tv)?;
    the_last_of_many(phone, tablet)?;
    apart_and_together(phone, tablet)?;
    after_a_restart(phone, tablet)?;

    // Taken away on one, it is away on all.
    phone.hyper(&["clipboard", "clear"])?;
    let begin = Instant::now();
    while tablet.try_hyper(&["clipboard", "get"])?.status.success() {
        ensure!(begin.elapsed() < xtask::machine::LIMIT, "it stays");
    }
    Ok(())
}

fn both_directions(phone: &Device, tablet: &Device) -> Result<()> {
    copy(phone, "from the phone")?;
    pastes(tablet, "from the phone")?;
    copy(tablet, "from the tablet: ä 字 \n\t\"'")?;
    pastes(phone, "from the tablet: ä 字 \n\t\"'")?;
    // The largest there is, and one byte more.
    let largest = "x".repeat(512 * 1024);
    copy(phone, &largest)?;
    pastes(tablet, &largest)?;
    let mut longer = phone.command(&["clipboard", "set"]);
    let mut child = longer
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("it reads")?;
    input.write_all(format!("{largest}y").as_bytes())?;
    drop(input);
    let refused = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && said.contains("524289 bytes"),
        "{said}"
    );
    pastes(phone, &largest)?;
    how_long_it_takes(phone, tablet)
}

/// What is no text comes as it is, and what is secret says so and goes by itself.
fn pictures_and_secrets(phone: &Device, tablet: &Device) -> Result<()> {
    let watch = tablet.follow(&["clipboard", "watch"])?;
    // A picture has every byte there is, and ends that would be lost in text.
    let picture: Vec<u8> = (0..=255).cycle().take(100_000).chain(*b"\r\n\0").collect();
    copy_as(phone, &["--type", "image/png"], &picture)?;
    let length = picture.len();
    watch.next(|line| line == format!("image/png {length} bytes"))?;
    let pasted = tablet.try_hyper(&["clipboard", "get"])?;
    ensure!(
        pasted.status.success() && pasted.stdout == picture,
        "another picture came"
    );
    copy_as(tablet, &["--secret"], b"hunter2")?;
    watch.next(|line| line == "text/plain 7 bytes, secret")?;
    pastes(phone, "hunter2")?;
    // An image is not called text.
    let mut command = phone.command(&["clipboard", "set"]);
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    child
        .stdin
        .take()
        .context("it reads")?
        .write_all(&picture)?;
    ensure!(!child.wait()?.success(), "bytes were copied as text");
    pastes(phone, "hunter2")
}

/// Says how long it takes from a copy on one device to a paste on the other, with the start of the
/// program that copies.
fn how_long_it_takes(phone: &Device, tablet: &Device) -> Result<()> {
    let watch = tablet.follow(&["clipboard", "watch"])?;
    watch.next(|_| true)?;
    let mut times: Vec<Duration> = Vec::new();
    for length in 100..150 {
        let begin = Instant::now();
        phone.hyper(&["clipboard", "set", &"x".repeat(length)])?;
        let (at, _) = watch.next(|line| line == format!("text/plain {length} bytes"))?;
        times.push(at.saturating_duration_since(begin));
    }
    times.sort();
    eprintln!(
        "copied → there: median {:?}, worst of {} {:?}",
        times[times.len() / 2],
        times.len(),
        times[times.len() - 1]
    );
    Ok(())
}

fn a_shared_device_is_refused(phone: &Device, tv: &Device) -> Result<()> {
    copy(tv, "on the TV")?;
    let phone_id = phone.id()?;
    for call in [
        &["call", &phone_id, "clipboard.get"][..],
        &["call", &phone_id, "copies.exchange", "none"][..],
        &["call", &phone_id, "clipboard.clear"][..],
    ] {
        let refused = tv.try_hyper(call)?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(
            !refused.status.success() && said.contains("does not allow"),
            "{call:?}: {said}"
        );
    }
    pastes(tv, "on the TV")?;
    let on_the_phone = phone.hyper(&["clipboard", "get"])?;
    ensure!(
        !on_the_phone.contains("TV"),
        "the phone has what the TV copied"
    );
    Ok(())
}

fn the_last_of_many(phone: &Device, tablet: &Device) -> Result<()> {
    let before = [memory(phone, "clipboard")?, memory(tablet, "clipboard")?];
    let many = "{media-type: \"text/plain\", data: [109, 97, 110, 121], secret: false}";
    phone.hyper(&["call", "--times", "100000", "clipboard.set", many])?;
    copy(phone, "the last of many")?;
    let begin = Instant::now();
    pastes(tablet, "the last of many")?;
    let lag = begin.elapsed();
    let after = [memory(phone, "clipboard")?, memory(tablet, "clipboard")?];
    eprintln!("100,000 changes: there {lag:?} after the last; memory {before:?} → {after:?}");
    for (before, after) in before.into_iter().zip(after) {
        ensure!(
            after < before + 4 * 1024 * 1024,
            "100,000 changes left {after} bytes of memory where there were {before}"
        );
    }
    Ok(())
}

/// Both copy while they cannot reach each other.
fn apart_and_together(phone: &Device, tablet: &Device) -> Result<()> {
    phone.plug(false)?;
    copy(phone, "first on the phone")?;
    copy(tablet, "one on the tablet")?;
    copy(tablet, "two on the tablet")?;
    copy(tablet, "three on the tablet")?;
    phone.plug(true)?;
    // More was copied on the tablet: that is later, whatever clocks say.
    pastes(phone, "three on the tablet")?;
    pastes(tablet, "three on the tablet")
}

/// A device whose service starts anew knows nothing, and asks; and what is copied on it then wins.
fn after_a_restart(phone: &Device, tablet: &Device) -> Result<()> {
    tablet.kill("clipboard")?;
    pastes(tablet, "three on the tablet")?;
    copy(tablet, "after the restart")?;
    pastes(phone, "after the restart")
}
