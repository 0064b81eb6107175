//! The best display that this machine has now, or soon.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::Display;
use super::drm::Drm;
use super::framebuffer::Framebuffer;

/// How long a mode setting driver is waited for while the firmware's framebuffer could be used: it
/// replaces that one later anyway.
const WITH_FRAMEBUFFER: Duration = Duration::from_millis(300);

/// A display that was found.
pub struct Found {
    /// It.
    pub display: Box<dyn Display>,
    /// Whether a better one may come: this is only the firmware's framebuffer.
    pub provisional: bool,
}

/// Opens the best display, as soon as there is one, waiting at most so long.
pub fn open(patience: Duration) -> io::Result<Found> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let begin = Instant::now();
    loop {
        // Watched before looked at, so that nothing comes in between unseen.
        for folder in ["/dev", "/dev/dri"] {
            // The second one may not exist yet: then the first one tells when it does.
            let _ = inotify::add_watch(&watch, folder, WatchFlags::CREATE | WatchFlags::ATTRIB);
        }
        let error = match Drm::open() {
            Ok(display) => {
                return Ok(Found {
                    display: Box::new(display),
                    provisional: false,
                });
            }
            Err(error) => error,
        };
        let framebuffer = Path::new("/dev/fb0").exists();
        let patience = if framebuffer {
            patience.min(WITH_FRAMEBUFFER)
        } else {
            patience
        };
        let waited = begin.elapsed();
        if waited >= patience {
            return match Framebuffer::open() {
                Ok(display) => Ok(Found {
                    display: Box::new(display),
                    provisional: true,
                }),
                Err(other) => Err(io::Error::new(
                    error.kind(),
                    format!(
                        "no display could be opened: {error}; /dev/fb0: {other}. Check that the display's driver is in this product"
                    ),
                )),
            };
        }
        let left = patience - waited;
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut seen = [0; 4096];
        while rustix::io::read(&watch, &mut seen).is_ok_and(|length| length > 0) {}
    }
}
