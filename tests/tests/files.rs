//! Files go from one device to another: the real programs, each device in a network namespace of its
//! own, through whatever may happen on the way.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use system_tests::house::{Device, House};

/// Long enough, with a cable of so many megabits a second, that something can happen while it is on
/// its way, however busy the machine is.
const LARGE: u64 = 128 * 1024 * 1024;
const SLOW: u32 = 150;

/// A phone and a tablet of one owner, and a folder of things to send.
struct Home {
    phone: Device,
    tablet: Device,
    things: tempfile::TempDir,
}

impl Home {
    fn new() -> Result<Option<Self>> {
        let Some(house) = House::new(&["mesh", "files"])? else {
            return Ok(None);
        };
        let home = Self {
            phone: Device::new(&house)?,
            tablet: Device::new(&house)?,
            things: tempfile::tempdir()?,
        };
        home.phone.takes_in(&home.tablet, "tablet", "owner")?;
        Ok(Some(home))
    }

    fn thing(&self, name: &str) -> PathBuf {
        self.things.path().join(name)
    }

    fn arrived(&self, name: &str) -> PathBuf {
        self.tablet.data().join("files").join(name)
    }

    /// Sends something and waits until it has arrived.
    fn send(&self, path: &Path) -> Result<String> {
        let output = self
            .phone
            .try_hyper(&["send", "tablet", &path.to_string_lossy()])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "sending {}: {said}",
            path.display()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Sends something that cannot arrive, and answers what is said.
    fn send_in_vain(&self, path: &Path) -> Result<String> {
        let output = self
            .phone
            .try_hyper(&["send", "tablet", &path.to_string_lossy()])?;
        ensure!(!output.status.success(), "{} was sent", path.display());
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What is on the tablet of deliveries that have not arrived.
    fn unfinished(&self) -> usize {
        fs::read_dir(self.arrived(".arriving")).map_or(0, Iterator::count)
    }
}

/// A file of bytes that repeat nowhere.
fn make(path: &Path, length: u64, seed: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut buffer = vec![0; 1 << 20];
    let mut left = length;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left)?);
        chance.fill(&mut buffer[..most]);
        file.write_all(&buffer[..most])?;
        left -= most as u64;
    }
    Ok(())
}

fn digest(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(digest.finalize().to_vec());
        }
        digest.update(&buffer[..count]);
    }
}

/// Every file and folder below a folder; of files, the digest.
fn tree(folder: &Path) -> Result<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let below = path.strip_prefix(folder)?.to_owned();
            if path.is_dir() {
                found.insert(below, None);
                folders.push(path);
            } else {
                found.insert(below, Some(digest(&path)?));
            }
        }
    }
    Ok(found)
}

/// The number of a field of the last delivery in what `transfer.all` answers.
fn field(device: &Device, name: &str) -> Result<u64> {
    let all = device.hyper(&["call", "transfer.all"])?;
    let value = all.rsplit(&format!(" {name}: ")).next();
    let digits = value.and_then(|value| value.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .context("a number")?
        .parse()
        .with_context(|| format!("{name} in {all}"))
}

/// Waits until the last delivery is on its way and so many bytes of it have arrived.
fn wait_for_bytes(device: &Device, bytes: u64) -> Result<()> {
    device.hyper_until(&["call", "transfer.all"], |all| {
        let last = all.rsplit("{id: ").next().unwrap_or_default();
        let done = last.split(" done: ").nth(1);
        let digits = done.and_then(|done| done.split(',').next());
        let done = digits.and_then(|digits| digits.parse().ok());
        last.contains("phase: running") && done.is_some_and(|done: u64| done >= bytes)
    })?;
    Ok(())
}

#[test]
fn a_folder_arrives_as_it_was_and_takes_nobody_s_place() {
    let Some(home) = Home::new().unwrap() else {
        return;
    };
    a_folder_arrives(&home).unwrap();
    nothing_arrives_by_a_name_that_leads_elsewhere(&home).unwrap();
}

fn a_folder_arrives(home: &Home) -> Result<()> {
    let trip = home.thing("trip");
    fs::create_dir_all(trip.join("day 1/empty"))?;
    fs::create_dir_all(trip.join("音乐/.hidden"))?;
    for number in 0..300 {
        let path = trip.join(format!("day 1/note {number}.txt"));
        fs::write(path, format!("{number}\n").repeat(number))?;
    }
    fs::write(trip.join("音乐/.hidden/empty"), "")?;
    make(&trip.join("音乐/夜曲.flac"), 20_000_003, 1)?;
    make(&trip.join("small.bin"), 128 * 1024, 2)?;
    make(&trip.join("less small.bin"), 128 * 1024 + 1, 3)?;
    let as_it_was = tree(&trip)?;
    std::os::unix::fs::symlink("/etc/passwd", trip.join("link"))?;

    let said = home.send(&trip)?;
    ensure!(
        said.contains("100 %") && said.contains("left out: 1"),
        "{said}"
    );
    ensure!(
        tree(&home.arrived("trip"))? == as_it_was,
        "it is not what it was"
    );
    home.send(&trip)?;
    ensure!(
        tree(&home.arrived("trip (2)"))? == as_it_was,
        "nor the second time"
    );
    ensure!(
        tree(&home.arrived("trip"))? == as_it_was,
        "the first was changed"
    );
    let files = home.tablet.hyper(&["transfer", "files"])?;
    ensure!(
        files.contains("trip/") && files.contains("trip (2)/"),
        "{files}"
    );
    for device in [&home.phone, &home.tablet] {
        let list = device.hyper_until(&["transfer"], |list| list.contains("finished"))?;
        ensure!(list.matches("finished").count() == 2, "{list}");
    }
    // And on from there, by its name alone.
    home.tablet
        .hyper(&["send", &home.phone.id()?, "trip (2)"])?;
    let back = home.phone.data().join("files/trip (2)");
    ensure!(
        tree(&back)? == as_it_was,
        "it is not what it was, back again"
    );

    let missing = home.send_in_vain(&home.thing("missing"))?;
    ensure!(missing.contains("missing"), "{missing}");
    let link = home.send_in_vain(&trip.join("link"))?;
    ensure!(link.contains("symbolic link"), "{link}");
    let own = home.send_in_vain(Path::new(".state/to-send"))?;
    ensure!(own.contains("was not received"), "{own}");
    ensure!(home.unfinished() == 0, "something is left over");
    home.tablet.hyper(&["transfer", "delete", "trip (2)"])?;
    ensure!(!home.arrived("trip (2)").exists());
    for name in ["..", "../files", ".state", "trip/day 1"] {
        let deleted = home.tablet.try_hyper(&["transfer", "delete", name])?;
        ensure!(!deleted.status.success(), "{name} was deleted");
    }
    Ok(())
}

/// What a sender could say that is none of ours.
fn nothing_arrives_by_a_name_that_leads_elsewhere(home: &Home) -> Result<()> {
    let delivery = "0123456789abcdef0123456789abcdef";
    let list = |bytes: &[u8]| format!("{bytes:?}");
    let contents = list(&Sha256::digest(b"x"));
    let call = |function: &str, arguments: &[&str]| {
        let function = format!("arrivals.{function}");
        let line = [&["call", "tablet", &function], arguments].concat();
        let output = home.phone.try_hyper(&line)?;
        ensure!(
            !output.stdout.is_empty(),
            "{line:?} has no answer: {output:?}"
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let summary = |name: &str, bytes: u64| {
        format!("{{names: [{name:?}], files: 1, folders: 0, bytes: {bytes}, contents: {contents}}}")
    };
    let quoted = format!("{delivery:?}");
    let refused = call("begin", &[&quoted, &summary("../evil", 1)])?;
    ensure!(refused.contains("err(refused"), "{refused}");
    for id in ["../evil", "", "0123"] {
        let refused = call("begin", &[&format!("{id:?}"), &summary("x", 1)])?;
        ensure!(refused.contains("err(refused"), "{id}: {refused}");
    }
    for path in [
        "../evil",
        "../../evil",
        "/tmp/evil",
        "a/../../../evil",
        "..",
        "a//b",
        "a/./b",
    ] {
        let fresh = call("begin", &[&quoted, &summary("x", 1)])?;
        ensure!(fresh.contains("ok(fresh)"), "{fresh}");
        let digest = list(&Sha256::digest(b"x"));
        let file = format!("{{path: {path:?}, modified: 0, data: [120], digest: {digest}}}");
        let batch = format!("{{delivery: {quoted}, folders: [], files: [{file}]}}");
        let refused = call("put", &[&batch])?;
        ensure!(refused.contains("err(refused"), "{path}: {refused}");
        ensure!(home.unfinished() == 0, "{path}: it is over");
    }
    for evil in [
        home.arrived("evil"),
        home.arrived("../evil"),
        home.arrived(".arriving/evil"),
        PathBuf::from("/tmp/evil"),
    ] {
        ensure!(!evil.exists(), "{} is there", evil.display());
    }
    // A local program is no device that sends.
    let local = home
        .tablet
        .try_hyper(&["call", "arrivals.begin", &quoted, &summary("x", 1)])?;
    let local = String::from_utf8_lossy(&local.stdout).into_owned();
    ensure!(local.contains("only another device"), "{local}");
    // More than was said is not taken, and everything is given back.
    call("begin", &[&quoted, &summary("x", 1)])?;
    let opening = format!("{{delivery: {quoted}, path: \"x\", size: 1000, offset: 0}}");
    ensure!(call("open", &[&opening])?.contains("ok"));
    let piece = format!("{{delivery: {quoted}, offset: 0, data: [1, 2, 3]}}");
    let more = call("write", &[&piece])?;
    ensure!(more.contains("more bytes than it said"), "{more}");
    ensure!(home.unfinished() == 0, "something is left over");
    Ok(())
}

#[test]
fn what_is_interrupted_goes_on_where_it_was() {
    let Some(mut home) = Home::new().unwrap() else {
        return;
    };
    interrupted(&mut home).unwrap();
}

fn interrupted(home: &mut Home) -> Result<()> {
    home.tablet.slow(SLOW)?;
    type Harm = fn(&mut Home) -> Result<()>;
    let harms: [(&str, Harm); 5] = [
        ("mesh killed there", |home| home.tablet.kill("mesh")),
        ("mesh killed here", |home| home.phone.kill("mesh")),
        ("files killed there", |home| home.tablet.kill("files")),
        ("the cable pulled", |home| {
            home.tablet.plug(false)?;
            // A short interruption would cost nothing at all.
            home.phone.hyper_until(&["transfer"], |list| {
                list.lines()
                    .last()
                    .is_some_and(|line| line.contains("waits"))
            })?;
            home.tablet.plug(true)
        }),
        ("the sender turned off and on", |home| {
            home.phone.stop();
            let list = home
                .tablet
                .hyper_until(&["transfer"], |list| list.contains("waits"))?;
            ensure!(list.contains("from"), "{list}");
            home.phone.start()
        }),
    ];
    for (number, (what, harm)) in harms.into_iter().enumerate() {
        let name = format!("large {number}");
        let path = home.thing(&name);
        make(&path, LARGE, number as u64)?;
        let sending = home
            .phone
            .follow(&["send", "tablet", &path.to_string_lossy()])?;
        wait_for_bytes(&home.tablet, LARGE / 8)?;
        harm(home).context(what)?;
        ensure!(
            !home.arrived(&name).exists(),
            "{what}: it was there already"
        );
        home.phone.hyper_until(&["transfer"], |list| {
            list.lines()
                .last()
                .is_some_and(|line| line.contains("finished"))
        })?;
        drop(sending);
        ensure!(
            digest(&home.arrived(&name))? == digest(&path)?,
            "{what}: another file"
        );
        let (resumed, carried) = (
            field(&home.phone, "resumed")?,
            field(&home.phone, "carried")?,
        );
        eprintln!("{what}: {resumed} bytes were there already, {carried} were sent of {LARGE}");
        ensure!(
            resumed >= LARGE / 8,
            "{what}: it began anew ({resumed} were there)"
        );
        // What was under way when it broke is sent again, and no more.
        ensure!(
            carried < LARGE + LARGE / 16,
            "{what}: {carried} bytes were sent"
        );
        ensure!(home.unfinished() == 0, "{what}: something is left over");
        fs::remove_file(path)?;
        home.tablet.hyper(&["transfer", "delete", &name])?;
    }
    Ok(())
}

#[test]
fn what_cannot_arrive_leaves_nothing() {
    let Some(mut home) = Home::new().unwrap() else {
        return;
    };
    home.tablet.slow(SLOW).unwrap();
    a_file_that_changes(&home).unwrap();
    taken_back(&home).unwrap();
    a_full_disk(&mut home).unwrap();
}

fn append(path: &Path) -> Result<()> {
    Ok(OpenOptions::new()
        .append(true)
        .open(path)?
        .write_all(b"more")?)
}

fn a_file_that_changes(home: &Home) -> Result<()> {
    // Changed once: what arrives is what it is then.
    let path = home.thing("changing");
    make(&path, LARGE, 1)?;
    let sending = home
        .phone
        .follow(&["send", "tablet", &path.to_string_lossy()])?;
    wait_for_bytes(&home.tablet, LARGE / 8)?;
    append(&path)?;
    sending.next(|line| line.contains("finished"))?;
    ensure!(
        digest(&home.arrived("changing"))? == digest(&path)?,
        "not what it became"
    );
    home.tablet.hyper(&["transfer", "delete", "changing"])?;

    // Changed again and again: it is given up, and said.
    let ends = Arc::new(AtomicBool::new(false));
    let changes = {
        let (path, ends) = (path.clone(), Arc::clone(&ends));
        thread::spawn(move || -> Result<()> {
            while !ends.load(Ordering::Relaxed) {
                append(&path)?;
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        })
    };
    let said = home.send_in_vain(&path);
    ends.store(true, Ordering::Relaxed);
    changes
        .join()
        .map_err(|_| anyhow::anyhow!("the changes ended"))??;
    let said = said?;
    ensure!(said.contains("was changed each time"), "{said}");
    ensure!(!home.arrived("changing").exists() && home.unfinished() == 0);
    Ok(())
}

fn taken_back(home: &Home) -> Result<()> {
    fs::write(home.thing("small"), "small")?;
    for device in [&home.phone, &home.tablet] {
        let path = home.thing("unwanted");
        make(&path, LARGE, 2)?;
        let sending = home
            .phone
            .follow(&["send", "tablet", &path.to_string_lossy()])?;
        wait_for_bytes(&home.tablet, LARGE / 16)?;
        let id = field_of_list(device)?;
        device.hyper(&["transfer", "cancel", &id])?;
        for device in [&home.phone, &home.tablet] {
            device.hyper_until(&["transfer"], |list| {
                list.lines()
                    .last()
                    .is_some_and(|line| line.contains("taken back"))
            })?;
        }
        drop(sending);
        ensure!(!home.arrived("unwanted").exists() && home.unfinished() == 0);
        // Whoever took it back, it does not come again after a restart.
        home.tablet.kill("files")?;
        home.phone.kill("files")?;
        home.phone.hyper(&["transfer"])?;
        home.send(&home.thing("small"))?;
        ensure!(!home.arrived("unwanted").exists() && home.unfinished() == 0);
    }
    Ok(())
}

/// The id of the last delivery.
fn field_of_list(device: &Device) -> Result<String> {
    let list = device.hyper(&["transfer"])?;
    let id = list
        .lines()
        .last()
        .and_then(|line| line.split_whitespace().next());
    Ok(id.context("a delivery")?.to_owned())
}

/// A mount that goes when it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, options: &str) -> Result<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(at)
            .status()?;
        ensure!(status.success(), "mount ended with {status}");
        Ok(Self(at.to_owned()))
    }

    fn used(&self) -> Result<(u64, u64)> {
        let space = rustix::fs::statvfs(&self.0)?;
        Ok((
            space.f_blocks - space.f_bfree,
            space.f_files - space.f_ffree,
        ))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn a_full_disk(home: &mut Home) -> Result<()> {
    home.tablet.stop();
    let small = Mounted::new(&home.arrived(""), "size=32m,nr_inodes=60")?;
    home.tablet.start()?;
    home.phone.sees("tablet")?;
    let fits = home.thing("fits.bin");
    make(&fits, 1_000_000, 4)?;
    home.send(&fits)?;
    let before = small.used()?;

    // Seen at the beginning.
    let path = home.thing("too large");
    make(&path, 64 << 20, 3)?;
    let said = home.send_in_vain(&path)?;
    ensure!(said.contains("not enough space"), "{said}");
    // Seen on the way: there is space for the bytes, but not for so many files.
    let many = home.thing("many");
    fs::create_dir(&many)?;
    for number in 0..500 {
        fs::write(many.join(number.to_string()), "x".repeat(1000))?;
    }
    let said = home.send_in_vain(&many)?;
    ensure!(said.contains("not enough space"), "{said}");
    let list = home.tablet.hyper(&["transfer"])?;
    ensure!(list.matches("not enough space").count() == 2, "{list}");

    ensure!(home.unfinished() == 0 && !home.arrived("many").exists());
    ensure!(small.used()? == before, "not all space was given back");
    ensure!(
        digest(&home.arrived("fits.bin"))? == digest(&fits)?,
        "what was there is torn"
    );
    home.send(&fits)?;
    ensure!(home.arrived("fits (2).bin").exists());
    home.tablet.stop();
    Ok(())
}
