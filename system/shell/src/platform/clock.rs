//! The time by which everything on the screen moves.

use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The kernel's monotonic clock, or one that only a test moves.
#[derive(Debug)]
pub(super) enum Clock {
    Kernel,
    Manual(Cell<Duration>),
}

impl Clock {
    /// As `CLOCK_MONOTONIC` has it, which also stamps the events of input devices and displays.
    pub(super) fn now(&self) -> Duration {
        match self {
            Self::Kernel => read(ClockId::Monotonic),
            Self::Manual(now) => now.get(),
        }
    }
}

/// Processor time of this thread.
pub(super) fn processor_time() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        time.tv_sec.max(0).unsigned_abs(),
        time.tv_nsec.clamp(0, 999_999_999) as u32,
    )
}
