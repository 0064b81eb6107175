//! The screen of another device, put together from the parts that it sends.

use crate::packing::{self, Malformed};
use crate::{LONGEST_EDGE, MOST_PARTS, MOST_PIXELS};

/// Where something stands, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// From the left edge.
    pub x: u32,
    /// From the upper edge.
    pub y: u32,
    /// To the right of that.
    pub width: u32,
    /// Down from that.
    pub height: u32,
}

/// A part as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Where it is.
    pub place: Place,
    /// Its colours, packed.
    pub packed: &'a [u8],
}

/// Why a picture is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No screen is of that size.
    #[error("no screen has {0} × {1} pixels")]
    Size(u32, u32),
    /// It has more parts, or they cover more, than a picture may.
    #[error("a picture has more parts than it may")]
    TooMuch,
    /// A part is empty or not on the screen.
    #[error("a part of a picture is not on the screen")]
    Outside,
    /// A part cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What is on the other screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canvas {
    width: u32,
    height: u32,
    /// Red, green and blue, row by row.
    pixels: Vec<u8>,
}

impl Canvas {
    /// In pixels; none before the first picture.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Red, green and blue of each pixel, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Forgets all that was seen.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Puts a picture in, of a screen of that size, and answers where something changed. What is refused may have
    /// been put in partly.
    pub fn put(
        &mut self,
        width: u32,
        height: u32,
        parts: &[Part<'_>],
    ) -> Result<Vec<Place>, Unfit> {
        let edges = 1..=LONGEST_EDGE;
        let area = width as usize * height as usize;
        if !edges.contains(&width) || !edges.contains(&height) || area > MOST_PIXELS {
            return Err(Unfit::Size(width, height));
        }
        let covered: u64 = parts
            .iter()
            .map(|part| u64::from(part.place.width) * u64::from(part.place.height))
            .fold(0, u64::saturating_add);
        if parts.len() > MOST_PARTS || covered > 2 * area as u64 {
            return Err(Unfit::TooMuch);
        }
        let within = |at: u32, long: u32, edge: u32| long > 0 && at < edge && long <= edge - at;
        let inside = |place: &Place| {
            within(place.x, place.width, width) && within(place.y, place.height, height)
        };
        if !parts.iter().all(|part| inside(&part.place)) {
            return Err(Unfit::Outside);
        }
        if self.size() != (width, height) {
            *self = Self {
                width,
                height,
                pixels: vec![0; area * 3],
            };
        }
        for part in parts {
            self.put_part(part)?;
        }
        Ok(parts.iter().map(|part| part.place).collect())
    }

    /// Puts in a part that lies within the canvas.
    fn put_part(&mut self, part: &Part<'_>) -> Result<(), Malformed> {
        let place = part.place;
        let (wide, high) = (place.width as usize, place.height as usize);
        let begin = place.y as usize * self.width as usize + place.x as usize;
        let stride = self.width as usize;
        let pixels = &mut self.pixels;
        let (mut row, mut column) = (0, 0);
        packing::unpack(part.packed, wide * high, |colours, mut count| {
            while count > 0 {
                let here = count.min(wide - column);
                let start = (begin + row * stride + column) * 3;
                for pixel in pixels[start..start + here * 3].chunks_exact_mut(3) {
                    pixel.copy_from_slice(&colours);
                }
                count -= here;
                column += here;
                if column == wide {
                    (row, column) = (row + 1, 0);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack;
    use proptest::prelude::*;

    fn part(place: Place, packed: &[u8]) -> Part<'_> {
        Part { place, packed }
    }

    #[test]
    fn parts_stand_where_they_say_and_the_rest_stays() {
        let mut canvas = Canvas::default();
        let all = Place {
            width: 4,
            height: 3,
            ..Place::default()
        };
        let ground = pack([[9, 9, 9]; 12]);
        canvas.put(4, 3, &[part(all, &ground)]).unwrap();
        let small = Place {
            x: 1,
            y: 1,
            width: 2,
            height: 2,
        };
        let ink = pack([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]);
        assert_eq!(canvas.put(4, 3, &[part(small, &ink)]), Ok(vec![small]));
        let row = |y: usize| canvas.pixels()[y * 12..][..12].to_vec();
        assert_eq!(row(0), [9; 12]);
        assert_eq!(row(1), [9, 9, 9, 1, 2, 3, 4, 5, 6, 9, 9, 9]);
        assert_eq!(row(2), [9, 9, 9, 7, 8, 9, 10, 11, 12, 9, 9, 9]);
    }

    #[test]
    fn another_size_forgets_what_was_there() {
        let mut canvas = Canvas::default();
        let one = Place {
            width: 1,
            height: 1,
            ..Place::default()
        };
        let ink = pack([[7, 7, 7]]);
        canvas.put(1, 1, &[part(one, &ink)]).unwrap();
        canvas.put(2, 1, &[]).unwrap();
        assert_eq!((canvas.size(), canvas.pixels()), ((2, 1), &[0; 6][..]));
    }

    #[test]
    fn what_no_screen_sends_is_refused_and_changes_no_size() {
        let mut canvas = Canvas::default();
        canvas.put(20, 10, &[]).unwrap();
        let before = canvas.clone();
        for (width, height) in [
            (0, 10),
            (10, 0),
            (8193, 1),
            (8192, 1025),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(
                canvas.put(width, height, &[]),
                Err(Unfit::Size(width, height))
            );
        }
        let place = |x, y, width, height| Place {
            x,
            y,
            width,
            height,
        };
        let ink = pack([[7, 7, 7]]);
        for outside in [
            place(20, 0, 1, 1),
            place(0, 10, 1, 1),
            place(19, 0, 2, 1),
            place(0, 0, 0, 1),
            place(u32::MAX, 0, 1, 1),
            place(u32::MAX, u32::MAX, 2, 2),
        ] {
            assert_eq!(
                canvas.put(20, 10, &[part(outside, &ink)]),
                Err(Unfit::Outside),
                "{outside:?}"
            );
        }
        let whole = part(place(0, 0, 20, 10), &ink);
        assert_eq!(canvas.put(20, 10, &[whole; 3]), Err(Unfit::TooMuch));
        let one = part(place(0, 0, 1, 1), &ink);
        assert_eq!(
            canvas.put(20, 10, &[one; MOST_PARTS + 1]),
            Err(Unfit::TooMuch)
        );
        let huge = part(place(0, 0, u32::MAX, u32::MAX), &ink);
        assert_eq!(canvas.put(20, 10, &[huge; 2]), Err(Unfit::TooMuch));
        assert_eq!(canvas, before);
        // A part that claims more than it has.
        assert_eq!(
            canvas.put(20, 10, &[whole]),
            Err(Unfit::Malformed(Malformed::Short))
        );
        assert_eq!(canvas.size(), (20, 10));
    }

    proptest! {
        /// Whatever is sent: it is taken or refused, and the canvas has as many pixels as its size says.
        #[test]
        fn any_picture_leaves_a_whole_canvas(
            pictures in prop::collection::vec(
                (0u32..40, 0u32..40, prop::collection::vec((0u32..50, 0u32..50, 0u32..50, 0u32..50, any::<Vec<u8>>()), 0..4)),
                0..8),
        ) {
            let mut canvas = Canvas::default();
            for (width, height, parts) in pictures {
                let before = canvas.size();
                let parts: Vec<_> = parts.iter().map(|(x, y, wide, high, packed)| {
                    part(Place { x: *x, y: *y, width: *wide, height: *high }, packed)
                }).collect();
                let put = canvas.put(width, height, &parts);
                prop_assert!(canvas.size() == before || canvas.size() == (width, height));
                prop_assert_eq!(canvas.pixels().len() as u32, canvas.size().0 * canvas.size().1 * 3);
                if let Ok(places) = put {
                    prop_assert_eq!(places.len(), parts.len());
                }
            }
        }

        /// Parts of a screen that changes, put together, are the screen.
        #[test]
        fn what_is_sent_in_parts_is_the_whole(
            width in 1u32..30, height in 1u32..30,
            changes in prop::collection::vec((0u32..30, 0u32..30, 1u32..30, 1u32..30, any::<[u8; 3]>()), 0..20),
        ) {
            let mut screen = vec![[0u8; 3]; (width * height) as usize];
            let mut canvas = Canvas::default();
            canvas.put(width, height, &[]).unwrap();
            for (x, y, wide, high, colours) in changes {
                let (x, y) = (x.min(width - 1), y.min(height - 1));
                let place = Place { x, y, width: wide.min(width - x), height: high.min(height - y) };
                let mut sent = Vec::new();
                for row in place.y..place.y + place.height {
                    for column in place.x..place.x + place.width {
                        let pixel = &mut screen[(row * width + column) as usize];
                        *pixel = if (row + column) % 3 == 0 { *pixel } else { colours };
                        sent.push(*pixel);
                    }
                }
                canvas.put(width, height, &[part(place, &pack(sent))]).unwrap();
            }
            prop_assert_eq!(canvas.pixels(), screen.as_flattened());
        }
    }
}
