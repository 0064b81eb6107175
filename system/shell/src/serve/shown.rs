//! What a watcher has been sent, so that what is drawn anew and looks as before is not sent again.
//!
//! The toolkit draws a part of the screen when something that it shows was set, also to what it was; and
//! services tell the screen the same thing more than once.

use crate::display::{Pixel, Rectangle};
use crate::platform::Captured;

/// The pixels that a watcher has.
#[derive(Debug, Default)]
pub(super) struct Shown {
    size: (u32, u32),
    pixels: Vec<Pixel>,
}

impl Shown {
    /// The watcher has nothing any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What of this the watcher does not have, and is about to be sent: of each part the rows from the
    /// first to the last that differ. None where it has all of it.
    pub(super) fn lacks(&mut self, captured: Captured) -> Option<Captured> {
        let Captured { size, parts } = captured;
        let is_new = self.size != size;
        if is_new {
            self.size = size;
            self.pixels = vec![Pixel::default(); size.0 as usize * size.1 as usize];
        }
        let parts: Vec<_> = parts
            .into_iter()
            .filter_map(|(place, pixels)| self.take(place, pixels, is_new))
            .collect();
        (!parts.is_empty()).then_some(Captured { size, parts })
    }

    fn take(
        &mut self,
        place: Rectangle,
        mut pixels: Vec<Pixel>,
        is_new: bool,
    ) -> Option<(Rectangle, Vec<Pixel>)> {
        let width = place.width as usize;
        let mut differing: Option<(usize, usize)> = None;
        for (index, row) in pixels.chunks_exact(width.max(1)).enumerate() {
            let begin = (place.y as usize + index) * self.size.0 as usize + place.x as usize;
            let Some(had) = self.pixels.get_mut(begin..begin + width) else {
                break;
            };
            if is_new || had != row {
                had.copy_from_slice(row);
                let (first, _) = differing.unwrap_or((index, index));
                differing = Some((first, index));
            }
        }
        let (first, last) = differing?;
        pixels.truncate((last + 1) * width);
        pixels.drain(..first * width);
        let place = Rectangle {
            y: place.y + first as u32,
            height: (last - first + 1) as u32,
            ..place
        };
        Some((place, pixels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn captured(size: (u32, u32), place: Rectangle, colours: &[u8]) -> Captured {
        let pixels = colours.iter().map(|&grey| Pixel::new(grey, grey, grey));
        Captured {
            size,
            parts: vec![(place, pixels.collect())],
        }
    }

    #[test]
    fn what_looks_as_before_is_not_sent_again_and_of_the_rest_the_rows_that_differ() {
        let all = Rectangle::of_size(2, 4);
        let first = captured((2, 4), all, &[0; 8]);
        let mut shown = Shown::default();
        assert_eq!(
            shown.lacks(first.clone()),
            Some(first.clone()),
            "black counts too"
        );
        assert_eq!(shown.lacks(first.clone()), None);
        let next = captured((2, 4), all, &[0, 0, 0, 1, 0, 0, 0, 0]);
        let row = Rectangle {
            y: 1,
            height: 1,
            ..all
        };
        assert_eq!(
            shown.lacks(next.clone()),
            Some(captured((2, 4), row, &[0, 1]))
        );
        assert_eq!(shown.lacks(next.clone()), None);
        shown.forget();
        assert_eq!(shown.lacks(next.clone()), Some(next));
        let turned = captured((4, 2), Rectangle::of_size(4, 2), &[0; 8]);
        assert_eq!(shown.lacks(turned.clone()), Some(turned));
    }

    proptest! {
        /// Whoever puts in what is sent, and nothing else, sees what there is.
        #[test]
        fn what_is_sent_makes_the_screen(
            steps in proptest::collection::vec((0u32..7, 0u32..7, 1u32..8, 1u32..8, 0u8..3), 1..40)
        ) {
            let size = (8, 8);
            let mut screen = vec![Pixel::default(); 64];
            let mut seen = screen.clone();
            let mut shown = Shown::default();
            let first = Captured { size, parts: vec![(Rectangle::of_size(8, 8), screen.clone())] };
            shown.lacks(first).unwrap();
            for (x, y, width, height, grey) in steps {
                let place = Rectangle { x, y, width: width.min(8 - x), height: height.min(8 - y) };
                let mut pixels = Vec::new();
                for row in place.y..place.y + place.height {
                    for column in place.x..place.x + place.width {
                        screen[(row * 8 + column) as usize] = Pixel::new(grey, 0, 0);
                        pixels.push(Pixel::new(grey, 0, 0));
                    }
                }
                let before = seen == screen;
                let sent = shown.lacks(Captured { size, parts: vec![(place, pixels)] });
                prop_assert_eq!(sent.is_none(), before);
                for (place, pixels) in sent.into_iter().flat_map(|sent| sent.parts) {
                    for (index, pixel) in pixels.into_iter().enumerate() {
                        let (row, column) = (index as u32 / place.width, index as u32 % place.width);
                        seen[((place.y + row) * 8 + place.x + column) as usize] = pixel;
                    }
                }
                prop_assert!(seen == screen);
            }
        }
    }
}
