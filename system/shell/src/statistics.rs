//! How well the screen keeps up, counted all the time: it costs nothing worth mentioning, and a
//! figure that is only taken in a laboratory is not the one that people feel.

use std::collections::VecDeque;
use std::time::Duration;

/// Of one redraw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrawnFrame {
    /// Processor time of the drawing and the copying.
    pub processor_time: Duration,
    /// The share of the screen that was drawn, in thousandths.
    pub share: u32,
}

/// The counters. All times are of `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    frames: u64,
    first_frame: Option<Duration>,
    touch_to_flip: VecDeque<Duration>,
    redraws: VecDeque<DrawnFrame>,
    /// The oldest touch whose effect no frame contains yet.
    touched: Option<Duration>,
    /// The same, of the frame that is on its way.
    on_its_way: Option<Duration>,
}

/// As many of the newest are kept.
const KEPT: usize = 1000;

impl Statistics {
    /// A touch, stamped by the kernel at this time, changed something that will be drawn.
    pub fn touched(&mut self, at: Duration) {
        self.touched.get_or_insert(at);
    }

    /// A frame was drawn with the effect of all touches so far.
    pub fn drawn(&mut self, frame: DrawnFrame) {
        self.on_its_way = self.touched.take();
        keep(&mut self.redraws, frame);
    }

    /// The frame that was drawn is on the display since this time.
    pub fn flipped(&mut self, at: Duration) {
        self.frames += 1;
        if self.first_frame.is_none() {
            self.first_frame = Some(at);
            tracing::info!("the first frame is on the display {at:?} after the kernel began");
        }
        if let Some(touched) = self.on_its_way.take() {
            let time = at.saturating_sub(touched);
            tracing::debug!("a touch was on the display after {time:?}");
            keep(&mut self.touch_to_flip, time);
        }
    }

    /// Forgets what was counted, except when the first frame was.
    pub fn reset(&mut self) {
        *self = Self {
            first_frame: self.first_frame,
            ..Self::default()
        };
    }

    /// Frames on the display.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// When the first frame was on the display.
    pub fn first_frame(&self) -> Option<Duration> {
        self.first_frame
    }

    /// From a touch to the display of its effect, oldest first.
    pub fn touch_to_flip(&self) -> impl Iterator<Item = Duration> + '_ {
        self.touch_to_flip.iter().copied()
    }

    /// Redraws, oldest first.
    pub fn redraws(&self) -> impl Iterator<Item = DrawnFrame> + '_ {
        self.redraws.iter().copied()
    }
}

fn keep<T>(list: &mut VecDeque<T>, value: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn frame() -> DrawnFrame {
        DrawnFrame {
            processor_time: at(5),
            share: 100,
        }
    }

    #[test]
    fn a_touch_counts_until_the_flip_of_the_first_frame_drawn_after_it() {
        let mut statistics = Statistics::default();
        statistics.drawn(frame());
        statistics.touched(at(100)); // while the frame before is on its way
        statistics.touched(at(105));
        statistics.flipped(at(110));
        assert_eq!(statistics.touch_to_flip().count(), 0);
        statistics.drawn(frame());
        statistics.flipped(at(140));
        assert_eq!(statistics.touch_to_flip().collect::<Vec<_>>(), [at(40)]);
        assert_eq!(
            (statistics.frames(), statistics.first_frame()),
            (2, Some(at(110)))
        );
    }

    #[test]
    fn a_reset_forgets_all_but_the_first_frame() {
        let mut statistics = Statistics::default();
        statistics.touched(at(1));
        statistics.drawn(frame());
        statistics.flipped(at(2));
        statistics.reset();
        assert_eq!(
            (statistics.frames(), statistics.first_frame()),
            (0, Some(at(2)))
        );
        assert_eq!(
            statistics.redraws().count() + statistics.touch_to_flip().count(),
            0
        );
    }

    #[test]
    fn only_the_newest_are_kept() {
        let mut statistics = Statistics::default();
        for i in 0..KEPT as u32 + 10 {
            statistics.drawn(DrawnFrame {
                share: i,
                ..frame()
            });
        }
        assert_eq!(statistics.redraws().next().unwrap().share, 10);
        assert_eq!(statistics.redraws().count(), KEPT);
    }
}
