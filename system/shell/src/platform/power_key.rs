//! The power key: a short press and a long one mean different things.

use std::time::Duration;

/// A press that lasts so long is a long one, and counts at once, without waiting for the release.
const LONG: Duration = Duration::from_millis(700);

#[derive(Debug, Default)]
pub(super) enum PowerKey {
    #[default]
    Up,
    /// Down, and not yet for long.
    Down { since: Duration },
    /// Down, and its long press was told.
    Held,
}

impl PowerKey {
    pub(super) fn pressed(&mut self, now: Duration) {
        *self = Self::Down { since: now };
    }

    /// Whether a short press has ended.
    pub(super) fn released(&mut self) -> bool {
        matches!(std::mem::take(self), Self::Down { .. })
    }

    /// Whether a long press has just become one.
    pub(super) fn held(&mut self, now: Duration) -> bool {
        match self {
            Self::Down { since } if now >= *since + LONG => {
                *self = Self::Held;
                true
            }
            _ => false,
        }
    }

    /// When to ask again.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Down { since } => Some(*since + LONG),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_is_either_short_or_long() {
        let mut key = PowerKey::default();
        key.pressed(Duration::ZERO);
        assert!(!key.held(LONG / 2));
        assert!(key.released());
        key.pressed(Duration::ZERO);
        assert_eq!(key.deadline(), Some(LONG));
        assert!(key.held(LONG));
        assert!(!key.held(LONG * 2));
        assert_eq!(key.deadline(), None);
        assert!(!key.released());
    }
}
