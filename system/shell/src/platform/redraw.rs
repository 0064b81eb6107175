//! When to draw: one small state machine, without any clock or display of its own.
//!
//! ```text
//!            request              drawn: pending             flipped
//!   Idle ─────────────▶ Dirty ─────────────────────▶ Flipping ───────▶ Idle
//!    ▲                  ▲  │                          │    ▲
//!    └──────────────────│──┘                 request  │    │ (only once)
//!      drawn: complete  │                             ▼    │
//!                       └─────────────────────── FlippingDirty
//!                               flipped
//!   any ── dark ──▶ Dark ── lit ──▶ Dirty
//! ```
//!
//! Principles: never draw while a frame is on its way, for it would show nothing sooner; draw the
//! first frame after a pause at once, and then no more often than the display shows; while nothing
//! changes, ask for no wake-up at all.

use std::time::Duration;

/// What the loop is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Draw now.
    Draw,
    /// Ask again at this time.
    At(Duration),
    /// Nothing, until something happens.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Dark,
    Idle,
    Dirty,
    Flipping { since: Duration },
    FlippingDirty { since: Duration },
}

/// The state of drawing. Times are of any one clock that never goes back.
#[derive(Debug, Clone)]
pub struct Redraw {
    state: State,
    /// The time between two frames of the display.
    frame_time: Duration,
    /// When the frame after the last one may be drawn.
    not_before: Duration,
}

impl Redraw {
    /// A driver that has not reported a flip for so long never will: drawing goes on without.
    pub const LONGEST_FLIP: Duration = Duration::from_secs(1);

    /// The pause after a frame that could not be shown.
    pub const AFTER_FAILURE: Duration = Duration::from_millis(250);

    /// Of a lit display on which nothing has been drawn.
    pub fn new(frame_time: Duration) -> Self {
        Self {
            state: State::Dirty,
            frame_time,
            not_before: Duration::ZERO,
        }
    }

    /// Something that is on the screen changed.
    pub fn request(&mut self) {
        self.state = match self.state {
            State::Idle => State::Dirty,
            State::Flipping { since } => State::FlippingDirty { since },
            same => same,
        };
    }

    /// Whether a frame is asked for and not drawn yet.
    pub fn is_requested(&self) -> bool {
        matches!(self.state, State::Dirty | State::FlippingDirty { .. })
    }

    /// Whether a frame is on its way to the display.
    pub fn is_flipping(&self) -> bool {
        matches!(
            self.state,
            State::Flipping { .. } | State::FlippingDirty { .. }
        )
    }

    /// What to do at this time.
    pub fn next(&self, now: Duration) -> Next {
        match self.state {
            State::Dark | State::Idle => Next::Wait,
            State::Dirty if now >= self.not_before => Next::Draw,
            State::Dirty => Next::At(self.not_before),
            State::Flipping { since } | State::FlippingDirty { since } => {
                Next::At(since + Self::LONGEST_FLIP)
            }
        }
    }

    /// A frame was drawn, begun at this time, and the display has it already.
    pub fn drawn(&mut self, begun: Duration) {
        if self.state == State::Dirty {
            self.state = State::Idle;
            self.not_before = begun + self.frame_time;
        }
    }

    /// A frame was drawn, begun at this time, and is on its way to the display.
    pub fn drawn_pending(&mut self, begun: Duration) {
        if self.state == State::Dirty {
            self.state = State::Flipping { since: begun };
            self.not_before = begun + self.frame_time;
        }
    }

    /// A frame was drawn but could not be shown at this time: it is tried again a little later.
    pub fn failed(&mut self, now: Duration) {
        self.not_before = now + Self::AFTER_FAILURE;
    }

    /// The frame on its way is on the display.
    pub fn flipped(&mut self) {
        self.state = match self.state {
            State::Flipping { .. } => State::Idle,
            State::FlippingDirty { .. } => State::Dirty,
            same => same,
        };
    }

    /// Whether the frame on its way is overdue.
    pub fn is_overdue(&self, now: Duration) -> bool {
        match self.state {
            State::Flipping { since } | State::FlippingDirty { since } => {
                now >= since + Self::LONGEST_FLIP
            }
            _ => false,
        }
    }

    /// The display was turned off: nothing is drawn until it is lit.
    pub fn dark(&mut self) {
        self.state = State::Dark;
    }

    /// The display was lit, or is another one: everything is to be drawn.
    pub fn lit(&mut self, frame_time: Duration) {
        self.frame_time = frame_time;
        self.not_before = Duration::ZERO;
        self.state = State::Dirty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Duration = Duration::from_millis(16);

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn an_idle_screen_asks_for_no_wake_up() {
        let mut redraw = Redraw::new(FRAME);
        assert_eq!(redraw.next(at(0)), Next::Draw);
        redraw.drawn_pending(at(0));
        redraw.flipped();
        assert_eq!(redraw.next(at(1)), Next::Wait);
        assert_eq!(redraw.next(at(100_000)), Next::Wait);
    }

    #[test]
    fn nothing_is_drawn_while_a_frame_is_on_its_way() {
        let mut redraw = Redraw::new(FRAME);
        redraw.drawn_pending(at(0));
        redraw.request();
        assert_eq!(redraw.next(at(30)), Next::At(Redraw::LONGEST_FLIP));
        redraw.flipped();
        assert_eq!(redraw.next(at(30)), Next::Draw);
    }

    #[test]
    fn the_first_frame_after_a_pause_is_drawn_at_once_and_the_next_at_the_display_s_pace() {
        let mut redraw = Redraw::new(FRAME);
        redraw.drawn(at(0));
        redraw.request();
        assert_eq!(redraw.next(at(100)), Next::Draw);
        redraw.drawn(at(100));
        redraw.request();
        assert_eq!(redraw.next(at(105)), Next::At(at(116)));
        assert_eq!(redraw.next(at(116)), Next::Draw);
    }

    #[test]
    fn a_dark_screen_draws_nothing_and_a_lit_one_everything() {
        let mut redraw = Redraw::new(FRAME);
        redraw.drawn_pending(at(0));
        redraw.dark();
        redraw.request();
        redraw.flipped();
        assert_eq!(redraw.next(at(50)), Next::Wait);
        redraw.lit(FRAME);
        assert_eq!(redraw.next(at(50)), Next::Draw);
    }

    #[test]
    fn a_driver_that_reports_no_flip_does_not_stop_the_screen() {
        let mut redraw = Redraw::new(FRAME);
        redraw.drawn_pending(at(0));
        assert!(!redraw.is_overdue(at(999)));
        assert!(redraw.is_overdue(at(1000)));
    }

    #[test]
    fn a_frame_that_could_not_be_shown_is_tried_again() {
        let mut redraw = Redraw::new(FRAME);
        redraw.failed(at(100));
        assert_eq!(redraw.next(at(100)), Next::At(at(350)));
        assert_eq!(redraw.next(at(350)), Next::Draw);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Request,
        Flip,
        Pass(u64),
        Dark,
        Lit,
    }

    proptest! {
        /// Whatever happens in whatever order: no frame is begun while one is on its way or the
        /// display is dark, none sooner than the display shows, and no request is forgotten.
        #[test]
        fn every_order_of_events_keeps_the_promises(
            steps in proptest::collection::vec(
                prop_oneof![
                    4 => Just(Step::Request), 3 => Just(Step::Flip), 4 => (0u64..30).prop_map(Step::Pass),
                    1 => Just(Step::Dark), 1 => Just(Step::Lit),
                ], 0..200),
            pending in any::<bool>(),
        ) {
            let mut redraw = Redraw::new(FRAME);
            let (mut now, mut on_its_way, mut dark, mut wanted) = (at(0), false, false, true);
            let mut last: Option<Duration> = None;
            for step in steps {
                match step {
                    Step::Request => { redraw.request(); wanted |= !dark; }
                    Step::Flip if on_its_way => { redraw.flipped(); on_its_way = false; }
                    Step::Flip => {}
                    Step::Pass(milliseconds) => now += at(milliseconds),
                    Step::Dark => { redraw.dark(); dark = true; on_its_way = false; wanted = false; }
                    Step::Lit => { redraw.lit(FRAME); dark = false; on_its_way = false; wanted = true; last = None; }
                }
                match redraw.next(now) {
                    Next::Draw => {
                        prop_assert!(!on_its_way && !dark && wanted);
                        prop_assert!(last.is_none_or(|last| now >= last + FRAME));
                        if pending { redraw.drawn_pending(now); on_its_way = true; } else { redraw.drawn(now); }
                        last = Some(now);
                        wanted = false;
                    }
                    Next::At(time) => prop_assert!(wanted || on_its_way, "woken at {time:?} for nothing"),
                    Next::Wait => prop_assert!(!wanted),
                }
            }
        }
    }
}
