//! Releases on a device with firmware: installed, tried, kept, given up.
//!
//! One machine goes through a life of updates, each into the slot that does not run:
//!
//! | release | what it is | what becomes of it |
//! |---|---|---|
//! | 0.2.0 | as it should be, after a mirror that lies; the device does it all by itself | kept |
//! | 0.3.0 | its kernel is none | the firmware starts the one before |
//! | 0.4.0 | hangs in the initramfs | the watchdog resets the device |
//! | 0.5.0 | its initramfs is empty | the kernel panics and restarts |
//! | 0.6.0 | from a stick, without a network; its shell ends as soon as it starts | its time is over, and it says so |
//! | 0.7.0 | as it should be, after mirrors that are old, end early and stall | kept |
//! | 0.2.0 | older, at the owner's word | kept |

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use system_tests::mirror::{Manner, Mirror};
use system_tests::releases::{self, Releases, forget_resets, restart, wait_for_reset};
use xtask::machine::{LIMIT, Machine, Options};
use xtask::process;

use crate::shared::Shared;

/// The watchdog of a release that is made to hang, in seconds.
const WATCHDOG: &str = "hyper.watchdog=15";

pub fn releases_are_tried_and_kept_or_given_up(phone: &mut Shared) -> Result<()> {
    let folder = Shared::folder("update")?;
    let phone = phone.phone()?;
    let releases = Releases::new(phone, &folder)?;
    let mirror = Mirror::start(releases.repository())?;
    let liar = Mirror::start(releases.repository())?;
    liar.behave(Manner::Lying);
    releases.publish("0.2.0", &[], |_, _| Ok(()))?;

    let disk = folder.join("disk.img");
    phone.image.write_disk(&disk)?;
    // A stick with nothing on it yet.
    let stick = folder.join("stick.img");
    fs::File::create(&stick)?.set_len(STICK)?;
    let mut options = Options::new(&phone.image, &disk, &folder)?;
    options.arguments.extend([
        "-drive".into(),
        format!(
            "id=stick,if=none,format=raw,readonly=on,file={}",
            stick.display()
        ),
        "-device".into(),
        "virtio-blk-pci,drive=stick".into(),
    ]);
    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    machine.wait_for_answer("update", |status| {
        status.contains("0.1.0 runs in slot a")
            && status.contains("the firmware starts slot a by itself")
    })?;
    machine.hyper("settings set appearance.accent moss")?;

    // The liar is asked first and serves metadata as it is; what it does to chunks is noticed. That
    // there are mirrors is all that the device has to be told.
    machine.wait_for_answer("network", |answer| answer.contains("online: yes"))?;
    machine.hyper(&format!(
        "settings set update.mirrors {} {}",
        liar.address(),
        mirror.address()
    ))?;
    releases::wait_until_ready(&mut machine, "0.2.0")?;
    let status = machine.hyper("update")?;
    ensure!(
        status.contains(&format!("{} was not used", liar.address())),
        "the mirror that lies is not named: {status}"
    );
    restarts_at_night(&mut machine)?;
    kept(&mut machine, "0.2.0", "b")?;
    // From here on it does what it is told and nothing else.
    releases::follow(&mut machine, &mirror)?;
    let accent = machine.hyper("settings get appearance.accent")?;
    ensure!(accent.contains("moss"), "the setting is now {accent}");

    // A mirror that serves what was true until now, for ever.
    let past = folder.join("past");
    process::run(
        Command::new("cp")
            .arg("--recursive")
            .args([releases.repository(), &past]),
    )?;

    releases.publish("0.3.0", &[], |image, _| {
        let kernel = image.folder.join("kernel");
        image.kernel = kernel.clone();
        fs::write(kernel, vec![0x5a; 4 << 20]).context("writing a kernel that is none")
    })?;
    mirror.take_sent();
    releases::install(&mut machine, "0.3.0")?;
    restart(&mut machine)?;
    given_up(&mut machine, "0.3.0", ("0.2.0", "b"), "did not come up")?;

    releases.publish("0.4.0", &["hyper.bench=display-only", WATCHDOG], |_, _| {
        Ok(())
    })?;
    releases::install(&mut machine, "0.4.0")?;
    restart(&mut machine)?;
    given_up(&mut machine, "0.4.0", ("0.2.0", "b"), "did not come up")?;

    releases.publish("0.5.0", &[], |image, _| {
        image.initramfs = image.folder.join("initramfs.cpio");
        fs::write(&image.initramfs, [0; 512]).context("writing an initramfs with nothing in it")
    })?;
    releases::install(&mut machine, "0.5.0")?;
    restart(&mut machine)?;
    given_up(&mut machine, "0.5.0", ("0.2.0", "b"), "did not come up")?;

    releases.publish("0.6.0", &[], |_, system| {
        fs::copy(system.join("hyper"), system.join("shell")).context("breaking the shell")?;
        let product = system.join("product.toml");
        let text = fs::read_to_string(&product)?.replace("within = \"5 min\"", "within = \"20 s\"");
        fs::write(product, text).context("shortening the trial")
    })?;
    // Without any network: what is on the stick goes the same way.
    copy_to_stick(releases.repository(), &stick)?;
    machine.hyper("settings set network.enabled false")?;
    machine.hyper("settings reset update.mirrors")?;
    mirror.take_sent();
    machine.hyper("call update.install")?;
    releases::wait_until_ready(&mut machine, "0.6.0")?;
    ensure!(mirror.take_sent() == 0, "something came from the mirror");
    machine.hyper("settings set network.enabled true")?;
    restart(&mut machine)?;
    given_up(
        &mut machine,
        "0.6.0",
        ("0.2.0", "b"),
        "the shell does not answer",
    )?;

    releases.publish("0.7.0", &[], |_, _| Ok(()))?;
    let (old, short, slow) = (
        Mirror::start(&past)?,
        Mirror::start(releases.repository())?,
        Mirror::start(releases.repository())?,
    );
    short.behave(Manner::Truncating);
    slow.behave(Manner::Stalling);
    machine.hyper(&format!(
        "settings set update.mirrors {} {} {} {}",
        old.address(),
        short.address(),
        slow.address(),
        mirror.address()
    ))?;
    releases::install(&mut machine, "0.7.0")?;
    let status = machine.hyper("update")?;
    for reason in [
        format!("{} was not used: it is older than", old.address()),
        format!("{} was not used: packs/", short.address()),
        format!("{} was not used: packs/", slow.address()),
    ] {
        ensure!(
            status.contains(&reason),
            machine.evidence(&format!("it does not say {reason:?}: {status}"))
        );
    }
    restart(&mut machine)?;
    kept(&mut machine, "0.7.0", "a")?;

    // Nothing leads back to an older release but the owner's word.
    machine.hyper("call update.check")?;
    machine.wait_for_answer("call update.status", |status| {
        status.contains("phase: current")
    })?;
    releases::install_older(&mut machine, "0.2.0")?;
    restart(&mut machine)?;
    kept(&mut machine, "0.2.0", "b")?;
    let accent = machine.hyper("settings get appearance.accent")?;
    ensure!(accent.contains("moss"), "the setting is now {accent}");
    machine.shut_down(LIMIT)
}

/// How large the stick is, in bytes.
pub const STICK: u64 = 512 << 20;

/// Makes a file system on the stick, as an owner would, with a repository on it.
pub fn copy_to_stick(repository: &Path, stick: &Path) -> Result<()> {
    process::run(process::tool("mkfs.vfat").args(["-F", "32"]).arg(stick))?;
    process::run(
        process::tool("mcopy")
            .args(["-s", "-i"])
            .args([stick, repository])
            .arg("::/hyperos"),
    )
}

/// Has it be night where the device is, and lets it restart by itself.
fn restarts_at_night(machine: &mut Machine) -> Result<()> {
    forget_resets(machine)?;
    machine.hyper(&format!("settings set time.zone {}", zone_at_three()?))?;
    // Somebody looks at it.
    machine.hyper("settings set display.screen-off-after 0")?;
    machine.hyper("call screen.power true")?;
    machine.hyper("settings set update.automatic restart")?;
    machine.wait_for_answer("log update", |log| log.contains("but the screen is on"))?;
    machine.hyper("call screen.power false")?;
    // What it goes by changes, so it looks again before its time.
    machine.hyper("settings set update.automatic install")?;
    machine.hyper("settings set update.automatic restart")?;
    wait_for_reset(machine).map(drop)
}

/// A time zone in which it is between three and four at night now.
fn zone_at_three() -> Result<String> {
    let hours = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 3600;
    // Hours east of Greenwich, from -9 to 14; the names of these zones count to the west.
    let east = (27 - (hours % 24) as i32) % 24;
    Ok(match if east > 14 { east - 24 } else { east } {
        0 => "Etc/UTC".to_owned(),
        east => format!("Etc/GMT{:+}", -east),
    })
}

/// Waits until a release was tried and is what the firmware starts.
pub fn kept(machine: &mut Machine, version: &str, slot: &str) -> Result<()> {
    machine.wait_for_page("lock")?;
    machine.wait_for_answer("update", |status| {
        status.contains(&format!("{version} runs in slot {slot}"))
            && status.contains(&format!("{version} was tried and kept"))
            && status.contains(&format!("the firmware starts slot {slot} by itself"))
    })?;
    Ok(())
}

/// Waits until a release was tried and given up, for this reason; `runs` is the one before, with its
/// slot.
pub fn given_up(
    machine: &mut Machine,
    version: &str,
    (runs, slot): (&str, &str),
    reason: &str,
) -> Result<()> {
    // Whether the device resets a second time depends on how far the release comes; what runs in
    // the end does not.
    machine.console().disconnect();
    let status = machine.wait_for_answer("update", |status| {
        status.contains(&format!("{runs} runs in slot"))
            && status.contains(&format!("{version} was tried and given up"))
    })?;
    ensure!(
        status.contains(reason)
            && status.contains(&format!("the firmware starts slot {slot} by itself"))
            && !status.contains("is ready"),
        machine.evidence(&format!("not what was expected of {version}: {status}"))
    );
    machine.wait_for_page("lock")
}
