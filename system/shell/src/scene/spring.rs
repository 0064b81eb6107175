//! How a panel settles: a critically damped spring between closed and open.
//!
//! While a finger holds it the spring is where the finger is. Let go, it runs to one of its two ends
//! with the speed that the finger gave it; caught, it stops where it is. It is solved exactly for
//! each step, so a slow screen shows the same motion with fewer pictures.

use std::time::Duration;

/// Per second. A critically damped spring of this rate is within 1 % of its end after 280 ms.
const RATE: f32 = 24.0;
/// How far ahead a release looks: a flick counts as much as a long pull.
const LOOK_AHEAD: f32 = 0.15;
/// Closer than this to its end, and slower than that, a spring is at rest.
const REST: (f32, f32) = (0.0015, 0.03);

/// A value from 0 (closed) to 1 (open) that is held or settles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spring {
    at: f32,
    /// Per second.
    speed: f32,
    /// 0 or 1.
    target: f32,
    held: Option<Hold>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Hold {
    began_at: f32,
    moved: Option<Duration>,
}

impl Spring {
    /// At rest, open or closed.
    pub fn resting(open: bool) -> Self {
        let at = f32::from(u8::from(open));
        Self {
            at,
            speed: 0.0,
            target: at,
            held: None,
        }
    }

    /// Where it is, from 0 to 1.
    pub fn at(&self) -> f32 {
        self.at
    }

    /// Whether it is open, or on its way there.
    pub fn is_opening(&self) -> bool {
        self.target > 0.5
    }

    /// Whether neither a finger nor its own force moves it.
    pub fn is_resting(&self) -> bool {
        self.held.is_none() && self.at == self.target
    }

    /// Whether a finger has it.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Sends it to an end. What holds it is let go.
    pub fn send(&mut self, open: bool) {
        self.held = None;
        self.target = f32::from(u8::from(open));
    }

    /// Puts it at an end without moving there.
    pub fn place(&mut self, open: bool) {
        *self = Self::resting(open);
    }

    /// A finger catches it where it is.
    pub fn catch(&mut self) {
        self.speed = 0.0;
        self.held = Some(Hold {
            began_at: self.at,
            moved: None,
        });
    }

    /// The finger is this far from where it caught it.
    pub fn pull(&mut self, by: f32, now: Duration) {
        let Some(hold) = &mut self.held else { return };
        let to = (hold.began_at + by).clamp(0.0, 1.0);
        if let Some(before) = hold.moved {
            let passed = now.saturating_sub(before).as_secs_f32();
            if passed > 0.0 {
                // The newest movement weighs most; a single jump does not decide.
                self.speed = self.speed * 0.4 + (to - self.at) / passed * 0.6;
            }
        }
        hold.moved = Some(now);
        self.at = to;
    }

    /// The finger lets go: it goes on to the end that it was heading for.
    pub fn release(&mut self, now: Duration) {
        let Some(hold) = self.held.take() else { return };
        // A finger that rested before it let go gives no speed.
        if hold
            .moved
            .is_none_or(|moved| now.saturating_sub(moved) > Duration::from_millis(90))
        {
            self.speed = 0.0;
        }
        self.speed = self.speed.clamp(-12.0, 12.0);
        self.target = if self.at + self.speed * LOOK_AHEAD > 0.5 {
            1.0
        } else {
            0.0
        };
    }

    /// Lets time pass. Does nothing while it is held or rests.
    pub fn step(&mut self, passed: Duration) {
        if self.held.is_some() || self.at == self.target {
            return;
        }
        let t = passed.as_secs_f32();
        let away = self.at - self.target;
        let pull = self.speed + RATE * away;
        let decay = (-RATE * t).exp();
        self.at = self.target + (away + pull * t) * decay;
        self.speed = (self.speed - RATE * pull * t) * decay;
        let crossed = (self.at - self.target) * away <= 0.0;
        let close = (self.at - self.target).abs() < REST.0 && self.speed.abs() < REST.1;
        if crossed || close {
            self.at = self.target;
            self.speed = 0.0;
        }
        self.at = self.at.clamp(0.0, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Spring;
    use proptest::prelude::*;
    use std::time::Duration;

    const FRAME: Duration = Duration::from_millis(16);

    #[test]
    fn it_is_open_after_300_ms() {
        let mut spring = Spring::resting(false);
        spring.send(true);
        for _ in 0..19 {
            spring.step(FRAME);
        }
        assert!(spring.at() > 0.99, "{}", spring.at());
    }

    #[test]
    fn one_long_step_and_many_short_ones_meet() {
        let (mut slow, mut quick) = (Spring::resting(true), Spring::resting(true));
        slow.send(false);
        quick.send(false);
        slow.step(FRAME * 8);
        for _ in 0..8 {
            quick.step(FRAME);
        }
        assert!((slow.at() - quick.at()).abs() < 0.001);
    }

    #[test]
    fn a_flick_opens_what_a_slow_pull_of_the_same_length_leaves_closed() {
        let pull = |frame: u64| {
            let mut spring = Spring::resting(false);
            spring.catch();
            for i in 1..=5 {
                spring.pull(i as f32 * 0.05, Duration::from_millis(i * frame));
            }
            spring.release(Duration::from_millis(5 * frame + 1));
            spring.is_opening()
        };
        assert!(pull(16));
        assert!(!pull(80));
    }

    proptest! {
        #[test]
        fn whatever_happens_it_stays_within_and_comes_to_rest(
            pulls in prop::collection::vec((-2.0f32..2.0, 0u64..200), 0..20),
            open in any::<bool>(),
        ) {
            let mut spring = Spring::resting(open);
            let mut now = Duration::ZERO;
            spring.catch();
            for (by, wait) in pulls {
                now += Duration::from_millis(wait);
                spring.pull(by, now);
                prop_assert!((0.0..=1.0).contains(&spring.at()));
            }
            spring.release(now);
            for _ in 0..200 {
                spring.step(FRAME);
                prop_assert!((0.0..=1.0).contains(&spring.at()));
            }
            prop_assert!(spring.is_resting());
        }
    }
}
