//! What is done about a clock that is off, and when to look again.

use std::time::Duration;

/// What is off by less is not worth a jump, even the first time.
pub const FIRST: Duration = Duration::from_millis(10);

/// What is off by less is bent, not set.
pub const BENT: Duration = Duration::from_millis(500);

/// How long to wait after the first comparison that went well.
const FIRST_PAUSE: Duration = Duration::from_secs(64);
/// How long to wait in the end.
const LONGEST_PAUSE: Duration = Duration::from_secs(2048);
/// How long to wait after the first that failed.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// How long to wait when it always fails.
const LONGEST_RETRY: Duration = Duration::from_secs(1024);

/// What to do about a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// Set it.
    Step,
    /// Let it run a little faster or slower until it is right.
    Slew,
}

/// What to do about a clock that is off by so much.
pub fn correction(offset: i64, first: bool) -> Correction {
    let off = Duration::from_nanos(offset.unsigned_abs());
    if off >= if first { FIRST } else { BENT } {
        Correction::Step
    } else {
        Correction::Slew
    }
}

/// When to look again.
#[derive(Clone, Debug, Default)]
pub struct Rhythm {
    successes: u32,
    failures: u32,
}

impl Rhythm {
    /// The pause after a comparison that went well.
    pub fn succeeded(&mut self) -> Duration {
        self.failures = 0;
        let pause = FIRST_PAUSE * (1 << self.successes.min(10));
        self.successes += 1;
        pause.min(LONGEST_PAUSE)
    }

    /// The pause after one that did not.
    pub fn failed(&mut self) -> Duration {
        let pause = FIRST_RETRY * (1 << self.failures.min(10));
        self.failures += 1;
        pause.min(LONGEST_RETRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: i64 = 1_000_000;

    #[test]
    fn the_first_time_it_is_set_and_later_bent() {
        assert_eq!(correction(9 * MILLISECOND, true), Correction::Slew);
        assert_eq!(correction(-10 * MILLISECOND, true), Correction::Step);
        assert_eq!(correction(-499 * MILLISECOND, false), Correction::Slew);
        assert_eq!(correction(500 * MILLISECOND, false), Correction::Step);
        assert_eq!(correction(i64::MIN, false), Correction::Step);
    }

    #[test]
    fn a_server_is_asked_less_and_less() {
        let mut rhythm = Rhythm::default();
        let pauses: Vec<_> = (0..20).map(|_| rhythm.succeeded()).collect();
        assert!(pauses.is_sorted() && pauses[19] == LONGEST_PAUSE);
        let retries: Vec<_> = (0..40).map(|_| rhythm.failed()).collect();
        assert!(retries.is_sorted() && retries[0] == FIRST_RETRY && retries[39] == LONGEST_RETRY);
    }
}
