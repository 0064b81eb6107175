//! When a picture was on the display, seen from outside the machine.
//!
//! The same question is put to every system that is measured: when was what it shows in the end first
//! on the display? QEMU notes each flush of the emulated display with the time
//! (`-trace virtio_gpu_cmd_res_flush`), which is the completed page flip and costs the guest nothing.
//! After each, the host takes a picture. When the display has not changed for a while, the last
//! picture is what the system shows, and the first flush from which on every picture looked like it
//! is when it was there. So neither system has to be believed about itself, a first frame that is
//! black or without its clock does not count, and neither does one that later changes.
//!
//! A picture is taken a few milliseconds after its flush, so a flush in quick succession could be
//! credited with the next one's picture: an error of that many milliseconds at most, the same for all.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};

use crate::machine::Picture;

/// QEMU's arguments that make it note each flush in its log.
pub const ARGUMENTS: [&str; 4] = ["-trace", "virtio_gpu_cmd_res_flush", "-msg", "timestamp=on"];

/// Pixels that differ visibly, as a share of all, up to which two pictures are the same. What the
/// status bar adds when the network is there (0.1 %) does not make another picture; a clock (0.8 %),
/// a panel or a card does.
const SAME: f64 = 0.005;

/// How long the display must not change until it counts as settled.
const SETTLED: Duration = Duration::from_secs(8);

/// How long to wait before looking for new flushes. QEMU's own time stamps are used, so this is no
/// part of any figure.
const LOOK_AGAIN: Duration = Duration::from_millis(4);

/// The share of pixels that differ by more than rounding; 1 for pictures of different shapes.
fn difference(one: &Picture, other: &Picture) -> f64 {
    if (one.width, one.height) != (other.width, other.height) || one.pixels.is_empty() {
        return 1.0;
    }
    let pairs = one.pixels.chunks_exact(3).zip(other.pixels.chunks_exact(3));
    let differing = pairs
        .filter(|(a, b)| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 24))
        .count();
    differing as f64 / (one.pixels.len() / 3) as f64
}

/// The flushes in a log that QEMU writes to, as they come.
#[derive(Debug)]
pub struct Flushes {
    log: File,
    /// The beginning of a line whose end is not written yet.
    partial: String,
}

impl Flushes {
    /// Follows the log of a machine that was started with [`ARGUMENTS`].
    ///
    /// # Errors
    ///
    /// Fails when it cannot be opened.
    pub fn follow(log: &Path) -> Result<Self> {
        let log = File::open(log).with_context(|| format!("opening {}", log.display()))?;
        Ok(Self {
            log,
            partial: String::new(),
        })
    }

    /// Leaves out what was noted until now, as of the start before this one.
    ///
    /// # Errors
    ///
    /// Fails when the log cannot be read.
    pub fn forget(&mut self) -> Result<()> {
        self.new_ones().map(drop)
    }

    /// The times of those that were noted since the last call.
    fn new_ones(&mut self) -> Result<Vec<SystemTime>> {
        let mut bytes = Vec::new();
        self.log
            .read_to_end(&mut bytes)
            .context("reading QEMU's log")?;
        self.partial.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.partial.rfind('\n') else {
            return Ok(Vec::new());
        };
        let rest = self.partial.split_off(end + 1);
        let lines = std::mem::replace(&mut self.partial, rest);
        Ok(lines.lines().filter_map(time_of_flush).collect())
    }
}

/// `PID@SECONDS.MICROSECONDS:virtio_gpu_cmd_res_flush …`
fn time_of_flush(line: &str) -> Option<SystemTime> {
    let (stamp, event) = line.split_once(':')?;
    if !event.starts_with("virtio_gpu_cmd_res_flush") {
        return None;
    }
    let (_, time) = stamp.split_once('@')?;
    let (seconds, microseconds) = time.split_once('.')?;
    let since = Duration::from_secs(seconds.parse().ok()?)
        .checked_add(Duration::from_micros(microseconds.parse().ok()?))?;
    UNIX_EPOCH.checked_add(since)
}

/// When a machine showed what it shows in the end.
#[derive(Clone, Debug)]
pub struct Shown {
    /// From the start of the machine to the first page flip at all.
    pub first_flip: Duration,
    /// From the start of the machine to the page flip that brought what it shows in the end.
    pub complete: Duration,
    /// What it shows in the end.
    pub picture: Picture,
}

/// Waits until the display has settled and tells when it was complete.
///
/// # Errors
///
/// Fails when nothing has settled within `limit`, or a picture cannot be taken, which is also how it
/// shows that the machine has ended.
pub fn watch(
    started: SystemTime,
    flushes: &mut Flushes,
    limit: Duration,
    mut picture: impl FnMut() -> Result<Picture>,
) -> Result<Shown> {
    let mut seen: Vec<(SystemTime, Picture)> = Vec::new();
    let mut first = None;
    let end = Instant::now() + limit;
    let mut changed = Instant::now();
    while changed.elapsed() < SETTLED || seen.last().is_none_or(|(_, last)| last.colours(2) < 2) {
        if Instant::now() > end {
            bail!("the display did not settle within {} s", limit.as_secs());
        }
        let new = flushes.new_ones()?;
        let (Some(earliest), Some(latest)) = (new.first(), new.last()) else {
            thread::sleep(LOOK_AGAIN);
            continue;
        };
        first.get_or_insert(*earliest);
        let now = picture()?;
        // Compared with what the last change brought, so that small changes cannot add up unseen.
        if seen
            .last()
            .is_none_or(|(_, last)| difference(last, &now) > SAME)
        {
            changed = Instant::now();
            seen.push((*latest, now));
        }
    }
    let (Some(first), Some((complete, picture))) = (first, settled(seen)) else {
        bail!("the display showed nothing");
    };
    Ok(Shown {
        first_flip: first.duration_since(started).unwrap_or_default(),
        complete: complete.duration_since(started).unwrap_or_default(),
        picture,
    })
}

/// The first of the pictures at the end that are all the same, with the last one.
fn settled(mut seen: Vec<(SystemTime, Picture)>) -> Option<(SystemTime, Picture)> {
    let (mut time, last) = seen.pop()?;
    for (earlier, picture) in seen.iter().rev() {
        if difference(picture, &last) > SAME {
            break;
        }
        time = *earlier;
    }
    Some((time, last))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn plain(value: u8) -> Picture {
        let mut pixels = vec![value; 30_000];
        pixels[0] = 255 - value;
        Picture {
            width: 100,
            height: 100,
            pixels,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_line_of_the_trace_gives_its_time() {
        assert_eq!(
            time_of_flush(
                "4711@1700000000.000042:virtio_gpu_cmd_res_flush res 0x2, w 540, h 1200, x 0, y 0"
            ),
            Some(UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042))
        );
        for other in [
            "",
            "qemu: warning: x",
            "1@2.3:virtio_gpu_cmd_set_scanout id 0",
            "x@y.z:virtio_gpu_cmd_res_flush",
        ] {
            assert_eq!(time_of_flush(other), None, "{other}");
        }
    }

    #[test]
    fn flushes_are_found_as_the_log_grows_even_mid_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut log = file.reopen().unwrap();
        let mut flushes = Flushes::follow(file.path()).unwrap();
        assert_eq!(flushes.new_ones().unwrap(), []);
        log.write_all(b"qemu: hello\n1@3.000000:virtio_gpu_cmd_res_flush res 0x1\n1@4.00")
            .unwrap();
        assert_eq!(flushes.new_ones().unwrap(), [at(3)]);
        log.write_all(b"0000:virtio_gpu_cmd_res_flush res 0x1\n")
            .unwrap();
        assert_eq!(flushes.new_ones().unwrap(), [at(4)]);
    }

    #[test]
    fn the_display_is_complete_when_it_first_shows_what_it_shows_in_the_end() {
        let seen = vec![
            (at(1), plain(0)),
            (at(2), plain(9)),
            (at(3), plain(100)),
            (at(4), plain(110)),
        ];
        assert_eq!(settled(seen).unwrap().0, at(3));
        // What looks right and changes again was not it.
        let seen = vec![(at(1), plain(100)), (at(2), plain(0)), (at(3), plain(100))];
        assert_eq!(settled(seen).unwrap().0, at(3));
        assert!(settled(Vec::new()).is_none());
    }

    #[test]
    fn a_picture_that_cannot_be_taken_ends_the_watch() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.reopen()
            .unwrap()
            .write_all(b"1@3.000000:virtio_gpu_cmd_res_flush res 0x1\n")
            .unwrap();
        let mut flushes = Flushes::follow(file.path()).unwrap();
        let limit = Duration::from_secs(60);
        let error = watch(SystemTime::now(), &mut flushes, limit, || {
            bail!("QEMU has ended")
        })
        .unwrap_err();
        assert!(error.to_string().contains("ended"), "{error}");
    }
}
