//! The hardware watchdog: a device that hangs is reset.
//!
//! It is armed as the first thing that process 1 does in the initramfs, and then told now and then,
//! from the one loop in which everything meets, that this loop still turns. It is opened once and
//! never closed: a node can be open once, and the kernel takes a closed one for an error.
//! What hangs before process 1 runs is not seen by it: a panic of the kernel ends by `panic=`, and a
//! firmware that cannot load a boot file goes on to the next.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::log::Level;
use crate::system::SharedLog;

/// The first of the device's watchdogs.
const NODE: &str = "/dev/watchdog";

/// How long the loop may not turn. Long enough for a machine that is emulated by a busy one.
pub const STANDARD: Duration = Duration::from_secs(120);

/// How long the end of the system may take, storage that is slow to be written included.
const END: Duration = Duration::from_secs(600);

/// The watchdog, once it is open.
static OPEN: Mutex<Option<Watchdog>> = Mutex::new(None);

/// Arms the watchdog, or gives it this limit from now on. False where there is none, or none yet.
pub fn arm(limit: Duration) -> bool {
    // What is in it is whole at any time.
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if open.is_none() {
        *open = Watchdog::open();
    }
    if let Some(watchdog) = &mut *open {
        watchdog.set_limit(limit);
        watchdog.tell();
    }
    open.is_some()
}

/// Tells the watchdog for ever that the loop turns. Where there is none yet, its driver may come.
pub async fn keep(limit: Duration, log: SharedLog) {
    let mut said = false;
    loop {
        if arm(limit) && !said {
            let text = format!("a hang of {} s ends in a reset", limit.as_secs());
            log.say(Level::Information, text);
            said = true;
        }
        tokio::time::sleep(limit / 4).await;
    }
}

/// Gives the end of the system its own time.
pub fn allow_for_the_end() {
    arm(END);
}

#[derive(Debug)]
struct Watchdog(File);

impl Watchdog {
    fn open() -> Option<Self> {
        let file = File::options().write(true).open(NODE).ok()?;
        Some(Self(file))
    }

    fn set_limit(&self, limit: Duration) {
        /// `_IOWR('W', 6, int)`
        const SET_TIMEOUT: u32 = (3 << 30) | (4 << 16) | ((b'W' as u32) << 8) | 6;
        let mut seconds = libc::c_int::try_from(limit.as_secs()).unwrap_or(libc::c_int::MAX);
        // SAFETY: WDIOC_SETTIMEOUT reads and writes one `int`, which is what is passed. A driver
        // that cannot is left with its own time.
        unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                SET_TIMEOUT as libc::Ioctl,
                &raw mut seconds,
            );
        }
    }

    fn tell(&mut self) {
        // Any byte: each one says that this program is there.
        let _ = self.0.write_all(b"\0");
    }
}
