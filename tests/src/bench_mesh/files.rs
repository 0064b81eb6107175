//! Files from one device to another: a large one, and many small ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use bus::transfer::{self, Phase};
use futures::StreamExt as _;
use rustix::process::Pid;
use xtask::bench::mesh::Part;
use xtask::bench::table::Figure;

use super::peer::{Pair, Threads, Way};
use super::ssh::Ssh;
use super::syncthing::Syncthing;
use super::{Run, Two, here, middle, usage};

/// Small files are up to so long, and so many in a folder.
const LONGEST_SMALL: usize = 8192;
const IN_A_FOLDER: usize = 100;
/// What is compared, read and written at once.
const PIECE: usize = 1 << 20;

/// What is sent, and where peers put what they receive.
struct Things {
    folder: tempfile::TempDir,
}

impl Things {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for files")?;
        fs::create_dir(folder.path().join("received-by-ssh"))?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Everything that was written is on the disk: nobody pays for what another has left.
    fn settle(&self) -> Result<()> {
        Ok(rustix::fs::syncfs(File::open(self.folder.path())?)?)
    }
}

/// What was asked for of both.
pub fn figures(run: &Run, two: &Two, figures: &mut Vec<Figure>) {
    let things = match Things::new() {
        Ok(things) => things,
        Err(error) => {
            figures.push(Figure::missing("files", "", &format!("{error:#}")));
            return;
        }
    };
    let ssh = if run.arguments.no_peers {
        None
    } else {
        Some(Ssh::new(&two.phone, &two.tablet))
    };
    let ssh = ssh.as_ref();
    if run.is_asked_for(Part::File) {
        run.take(figures, "a large file", || large(run, two, &things, ssh));
    }
    if run.is_asked_for(Part::Files) {
        run.take(figures, "small files", || small(run, two, &things, ssh));
    }
}

/// A file of bytes that repeat nowhere.
fn make(path: &Path, length: u64, chance: &mut fastrand::Rng) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    let mut buffer = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left)?);
        chance.fill(&mut buffer[..most]);
        file.write_all(&buffer[..most])?;
        left -= most as u64;
    }
    Ok(())
}

/// Sends something, and answers after how many seconds all of it is there, verified and durable.
async fn send(two: &Two, path: &Path) -> Result<f64> {
    let phone = here(&two.phone);
    let mut lists = transfer::watch(&phone).await?;
    let begin = Instant::now();
    let path = path.to_string_lossy().into_owned();
    let id = transfer::send(&phone, "tablet", &[path])
        .await?
        .map_err(|reason| anyhow::anyhow!("sending: {reason}"))?;
    while let Some(list) = lists.next().await {
        match list?
            .into_iter()
            .find(|one| one.id == id)
            .map(|one| one.phase)
        {
            Some(Phase::Finished) => return Ok(begin.elapsed().as_secs_f64()),
            Some(Phase::Failed(problem)) => bail!("it does not arrive: {problem:?}"),
            Some(Phase::Cancelled) => bail!("it was taken back"),
            _ => {}
        }
    }
    bail!("the service ended")
}

async fn delete(two: &Two, name: &str) -> Result<()> {
    transfer::delete(&here(&two.tablet), name)
        .await?
        .map_err(|reason| anyhow::anyhow!("deleting {name}: {reason}"))
}

/// Where the processors' time goes: the services that have a part in it, on both devices.
struct Work(Vec<(String, Pid, f64)>);

impl Work {
    fn begin(two: &Two) -> Result<Self> {
        let mut work = Vec::new();
        for (device, name) in [(&two.phone, "sends"), (&two.tablet, "receives")] {
            for service in ["files", "mesh"] {
                let process = device.process(service)?;
                let what = format!("{service} of the device that {name}");
                work.push((what, process, usage::processor(process)?));
            }
        }
        Ok(Self(work))
    }

    /// Seconds of each, since then.
    fn end(self) -> Result<Vec<(String, f64)>> {
        let since = |(what, process, before): (String, Pid, f64)| -> Result<_> {
            Ok((what, usage::processor(process)? - before))
        };
        self.0.into_iter().map(since).collect()
    }
}

/// Values by name, one for each repetition.
#[derive(Default)]
struct Values(BTreeMap<&'static str, Vec<f64>>);

impl Values {
    fn add(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    fn middle(&self, name: &str) -> Result<f64> {
        middle(self.0.get(name).map(Vec::as_slice).unwrap_or_default())
    }
}

const OURS: &str = "ours: sent, verified, durable";
const IROH_ONE: &str = "plain iroh, memory to memory, one thread at each end";
const IROH_MANY: &str = "plain iroh, memory to memory, more threads";
const IROH_FILE: &str = "plain iroh, file to file and durable, not verified";
const TCP: &str = "TCP, memory to memory";
const TCP_FILE: &str = "TCP, file to file and durable, not verified";
const SCP: &str = "scp, durable";

fn large(run: &Run, two: &Two, things: &Things, ssh: Option<&Result<Ssh>>) -> Result<Vec<Figure>> {
    let bytes = run.arguments.file_size << 20;
    let path = things.path("large");
    make(&path, bytes, &mut fastrand::Rng::with_seed(1))?;
    let place = things.folder.path();
    let mut one = Pair::new(&two.phone, &two.tablet, Threads::One, place)?;
    let mut many = Pair::new(&two.phone, &two.tablet, Threads::Many, place)?;
    let received = things.path("received-by-ssh").join("large");
    let mut values = Values::default();
    let mut work = Vec::new();
    for _ in 0..run.arguments.repeats.max(1) {
        things.settle()?;
        let before = Work::begin(two)?;
        let time = run.runtime.block_on(send(two, &path))?;
        work = before.end()?;
        values.add(OURS, bytes as f64 / time);
        let arrived = two.tablet.data().join("files/large");
        ensure!(is_same(&path, &arrived)?, "another file has arrived");
        run.runtime.block_on(delete(two, "large"))?;
        values.add(IROH_ONE, one.stream(Way::Iroh, bytes, None)?);
        values.add(IROH_MANY, many.stream(Way::Iroh, bytes, None)?);
        values.add(TCP, one.stream(Way::Tcp, bytes, None)?);
        things.settle()?;
        values.add(IROH_FILE, many.stream(Way::Iroh, bytes, Some(&path))?);
        things.settle()?;
        values.add(TCP_FILE, many.stream(Way::Tcp, bytes, Some(&path))?);
        fs::remove_file(things.path("received"))?;
        if let Some(Ok(ssh)) = ssh {
            things.settle()?;
            let time = ssh.copy(&two.phone, &path, &received)?;
            values.add(SCP, bytes as f64 / time);
            fs::remove_file(&received)?;
        }
    }
    let ours = values.middle(OURS)?;
    let iroh = values.middle(IROH_ONE)?.max(values.middle(IROH_MANY)?);
    let name = format!(
        "{} MiB, verified: speed over a plain iroh stream's",
        run.arguments.file_size
    );
    let mut figure = Figure::measured(&name, ours / iroh, "").at_least(0.85);
    for name in [OURS, IROH_ONE, IROH_MANY, IROH_FILE, TCP, TCP_FILE, SCP] {
        if let Ok(value) = values.middle(name) {
            figure = figure.part(name, speed(value));
        }
    }
    if let Ok(scp) = values.middle(SCP) {
        figure = figure.part("ours over scp", format!("{:.2}×", ours / scp));
    }
    if let Some(Err(error)) = ssh {
        figure = figure.note(format!("without scp: {error:#}"));
    }
    if !run.arguments.no_peers {
        let synced = by_syncthing(two, &path, |to| is_same(&path, &to.join("large")));
        figure = figure.part(
            SYNCTHING,
            match synced {
                Ok(time) => speed(bytes as f64 / time),
                Err(error) => format!("not measured: {error:#}"),
            },
        );
    }
    for (what, seconds) in work {
        let share = format!(
            "{:.2} s for a GiB",
            seconds * (1u64 << 30) as f64 / bytes as f64
        );
        figure = figure.part(format!("processor time of {what}"), share);
    }
    fs::remove_file(&path)?;
    Ok(vec![figure])
}

const SYNCTHING: &str = "Syncthing, which had looked through it before; durable";

fn speed(bytes_a_second: f64) -> String {
    format!("{:.0} MiB/s", bytes_a_second / f64::from(1 << 20))
}

/// Has Syncthing bring something over, and answers how many seconds that takes.
fn by_syncthing(
    two: &Two,
    what: &Path,
    is_there: impl FnOnce(&Path) -> Result<bool>,
) -> Result<f64> {
    let (from, to) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let folder = if what.is_dir() {
        what.to_owned()
    } else {
        let name = what.file_name().context("a file has a name")?;
        fs::hard_link(what, from.path().join(name))?;
        from.path().to_owned()
    };
    let pair = Syncthing::new(&two.phone, &two.tablet)?;
    let time = pair.bring(&folder, to.path(), count(&folder)?)?;
    ensure!(is_there(to.path())?, "it has brought something else");
    // What it keeps there of its own.
    let _ = fs::remove_dir_all(folder.join(".stfolder"));
    Ok(time)
}

fn is_same(one: &Path, other: &Path) -> Result<bool> {
    let open =
        |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
    let (mut one, mut other) = (open(one)?, open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..count])?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

/// Folders of small files.
fn make_many(folder: &Path, files: usize) -> Result<u64> {
    let mut chance = fastrand::Rng::with_seed(2);
    let mut bytes = 0;
    for number in 0..files {
        let within = folder.join(format!("folder {}", number / IN_A_FOLDER));
        if number % IN_A_FOLDER == 0 {
            fs::create_dir_all(&within)?;
        }
        let length = chance.usize(..LONGEST_SMALL) as u64;
        make(&within.join(format!("file {number}")), length, &mut chance)?;
        bytes += length;
    }
    Ok(bytes)
}

/// How many files are below a folder, but what is hidden in it.
fn count(folder: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        files += if entry.file_type()?.is_dir() {
            count(&entry.path())?
        } else {
            1
        };
    }
    Ok(files)
}

/// Whether each file below one folder is the same below another one, and there is none beside.
fn are_same(one: &Path, other: &Path) -> Result<bool> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(one.join(&folder))? {
            let entry = entry?;
            let below = folder.join(entry.file_name());
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(below);
            } else if !is_same(&one.join(&below), &other.join(&below))? {
                return Ok(false);
            }
        }
    }
    Ok(count(one)? == count(other)?)
}

const TAR: &str = "tar | ssh tar, durable";

fn small(run: &Run, two: &Two, things: &Things, ssh: Option<&Result<Ssh>>) -> Result<Vec<Figure>> {
    let files = run.arguments.files.max(1);
    let many = things.path("many");
    let bytes = make_many(&many, files)?;
    let received = things.path("received-by-ssh").join("many");
    let mut values = Values::default();
    let mut work = Vec::new();
    for _ in 0..run.arguments.repeats.max(1) {
        things.settle()?;
        let before = Work::begin(two)?;
        let time = run.runtime.block_on(send(two, &many))?;
        work = before.end()?;
        values.add(OURS, time);
        let arrived = two.tablet.data().join("files/many");
        ensure!(are_same(&many, &arrived)?, "other files have arrived");
        run.runtime.block_on(delete(two, "many"))?;
        if let Some(Ok(ssh)) = ssh {
            fs::create_dir(&received)?;
            things.settle()?;
            values.add(TAR, ssh.tar(&two.phone, &many, &received)?);
            ensure!(are_same(&many, &received)?, "tar brought other files");
            fs::remove_dir_all(&received)?;
        }
    }
    let ours = values.middle(OURS)?;
    let name = format!("{files} small files: speed over tar | ssh tar's");
    let mut figure = match values.middle(TAR) {
        Ok(tar) => Figure::measured(&name, tar / ours, "").at_least(0.7),
        Err(_) => {
            let why = match ssh {
                Some(Err(error)) => format!("{error:#}"),
                _ => "the peers were left out".to_owned(),
            };
            Figure::missing(&name, "", &why).at_least(0.7)
        }
    };
    let size = format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    figure = figure.part("all of them together", size);
    let shown = |time: f64| format!("{time:.2} s, {:.0} files a second", files as f64 / time);
    for name in [OURS, TAR] {
        if let Ok(time) = values.middle(name) {
            figure = figure.part(name, shown(time));
        }
    }
    if !run.arguments.no_peers {
        let synced = by_syncthing(two, &many, |to| are_same(&many, to));
        let synced = synced.map_or_else(|error| format!("not measured: {error:#}"), shown);
        figure = figure.part(SYNCTHING, synced);
    }
    for (what, seconds) in work {
        figure = figure.part(
            format!("processor time of {what}"),
            format!("{seconds:.2} s"),
        );
    }
    fs::remove_dir_all(&many)?;
    Ok(vec![figure])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_more_less_or_other_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        for place in [&one, &other] {
            make_many(place, 150).unwrap();
        }
        assert_eq!(count(&one).unwrap(), 150);
        assert!(are_same(&one, &other).unwrap());
        // What Syncthing leaves is not counted.
        fs::create_dir(other.join(".stfolder")).unwrap();
        assert!(are_same(&one, &other).unwrap());
        let file = other.join("folder 1/file 149");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, [&whole[..], b"x"].concat()).unwrap();
        assert!(!are_same(&one, &other).unwrap());
        fs::write(&file, &whole).unwrap();
        fs::write(other.join("more"), "").unwrap();
        assert!(!are_same(&one, &other).unwrap());
        fs::remove_file(other.join("more")).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(are_same(&one, &other).is_err());
    }

    #[test]
    fn another_byte_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let mut bytes = vec![1; PIECE + 10];
        fs::write(&one, &bytes).unwrap();
        fs::write(&other, &bytes).unwrap();
        assert!(is_same(&one, &other).unwrap());
        bytes[PIECE + 5] = 2;
        fs::write(&other, &bytes).unwrap();
        assert!(!is_same(&one, &other).unwrap());
    }
}
