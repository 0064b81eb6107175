//! A screen as large as there is room for it: smaller ones are averages of what lies under each pixel, larger ones
//! repeat.

use crate::{Canvas, Place};

/// A canvas in another size, kept up to date where it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fitted {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Fitted {
    /// In pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Red, green and blue of each pixel, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Takes over what changed at these places of the canvas, and everything where it, or the room, has another size
    /// than before.
    pub fn follow(&mut self, canvas: &Canvas, changed: &[Place], room: (u32, u32)) {
        let size = fit(canvas.size(), room);
        if size != self.size() {
            self.width = size.0;
            self.height = size.1;
            self.pixels = vec![0; size.0 as usize * size.1 as usize * 3];
            let (width, height) = canvas.size();
            let all = Place {
                width,
                height,
                ..Place::default()
            };
            self.take(canvas, all);
            return;
        }
        for place in changed {
            self.take(canvas, *place);
        }
    }

    fn take(&mut self, canvas: &Canvas, place: Place) {
        let (width, height) = canvas.size();
        if self.pixels.is_empty() || width == 0 || height == 0 {
            return;
        }
        let columns = touched(place.x, place.width, width, self.width);
        let rows = touched(place.y, place.height, height, self.height);
        let under_columns: Vec<_> = columns
            .clone()
            .map(|column| under(column, width, self.width))
            .collect();
        for row in rows {
            let under_rows = under(row, height, self.height);
            let start = (row as usize * self.width as usize + columns.start as usize) * 3;
            let target = &mut self.pixels[start..][..under_columns.len() * 3];
            for (pixel, under_columns) in target.chunks_exact_mut(3).zip(&under_columns) {
                pixel.copy_from_slice(&average(canvas, under_columns, &under_rows));
            }
        }
    }
}

type Range = std::ops::Range<u32>;

/// As large as fits into the room, of the same shape.
fn fit((width, height): (u32, u32), room: (u32, u32)) -> (u32, u32) {
    if width == 0 || height == 0 || room.0 == 0 || room.1 == 0 {
        return (0, 0);
    }
    let by = |edge: u32, share: (u32, u32)| {
        (u64::from(edge) * u64::from(share.0) / u64::from(share.1)).max(1) as u32
    };
    // No larger than a screen may be, however large the room says to be.
    let room = (
        room.0.min(crate::LONGEST_EDGE),
        room.1.min(crate::LONGEST_EDGE),
    );
    if u64::from(width) * u64::from(room.1) > u64::from(height) * u64::from(room.0) {
        (room.0, by(height, (room.0, width)))
    } else {
        (by(width, (room.1, height)), room.1)
    }
}

/// Which pixels of `fitted` have something of these of `whole` under them.
fn touched(at: u32, long: u32, whole: u32, fitted: u32) -> Range {
    let scale = |at: u64| at * u64::from(fitted) / u64::from(whole);
    let end = u64::from(at) + u64::from(long);
    let first = scale(u64::from(at)).saturating_sub(1) as u32;
    first..(scale(end).saturating_add(1) as u32).min(fitted)
}

/// Which pixels of `whole` lie under this of `fitted`: at least one.
fn under(at: u32, whole: u32, fitted: u32) -> Range {
    let scale = |at: u32| (u64::from(at) * u64::from(whole) / u64::from(fitted)) as u32;
    let first = scale(at).min(whole - 1);
    first..scale(at + 1).clamp(first + 1, whole)
}

fn average(canvas: &Canvas, columns: &Range, rows: &Range) -> [u8; 3] {
    let stride = canvas.size().0 as usize;
    let mut sum = [0u32; 3];
    for row in rows.clone() {
        let start = (row as usize * stride + columns.start as usize) * 3;
        for pixel in canvas.pixels()[start..][..columns.len() * 3].chunks_exact(3) {
            for (sum, colour) in sum.iter_mut().zip(pixel) {
                *sum += u32::from(*colour);
            }
        }
    }
    let count = (columns.len() * rows.len()) as u32;
    sum.map(|sum| ((sum + count / 2) / count) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Part, pack};
    use proptest::prelude::*;

    fn canvas(width: u32, height: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Canvas {
        let mut canvas = Canvas::default();
        let place = Place {
            x: 0,
            y: 0,
            width,
            height,
        };
        let colours = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let packed = pack(colours.map(|(x, y)| colour(x, y)));
        canvas
            .put(
                width,
                height,
                &[Part {
                    place,
                    packed: &packed,
                }],
            )
            .unwrap();
        canvas
    }

    #[test]
    fn it_is_as_large_as_fits() {
        assert_eq!(fit((1280, 720), (540, 1000)), (540, 303));
        assert_eq!(fit((540, 1200), (540, 1000)), (450, 1000));
        assert_eq!(fit((180, 180), (1280, 720)), (720, 720));
        assert_eq!(fit((8192, 1), (10, 10)), (10, 1));
        assert_eq!(fit((0, 0), (10, 10)), (0, 0));
        assert_eq!(fit((10, 10), (0, 10)), (0, 0));
    }

    #[test]
    fn smaller_is_the_average_and_larger_repeats() {
        let chequered = canvas(4, 2, |x, y| {
            if (x + y) % 2 == 0 {
                [0; 3]
            } else {
                [200, 100, 50]
            }
        });
        let mut fitted = Fitted::default();
        fitted.follow(&chequered, &[], (2, 1));
        assert_eq!(fitted.pixels(), [100, 50, 25, 100, 50, 25]);
        fitted.follow(&chequered, &[], (8, 4));
        assert_eq!(
            &fitted.pixels()[..12],
            [0, 0, 0, 0, 0, 0, 200, 100, 50, 200, 100, 50]
        );
    }

    proptest! {
        /// What follows change by change is what is fitted anew.
        #[test]
        fn what_follows_is_what_is_fitted_anew(
            size in (1u32..40, 1u32..40), room in (1u32..60, 1u32..60),
            changes in prop::collection::vec((0u32..40, 0u32..40, 1u32..40, 1u32..40, any::<[u8; 3]>()), 0..12),
        ) {
            let (width, height) = size;
            let mut canvas = canvas(width, height, |x, y| [x as u8 * 5, y as u8 * 5, 90]);
            let mut fitted = Fitted::default();
            fitted.follow(&canvas, &[], room);
            for (x, y, wide, high, colours) in changes {
                let (x, y) = (x.min(width - 1), y.min(height - 1));
                let place = Place { x, y, width: wide.min(width - x), height: high.min(height - y) };
                let packed = pack(std::iter::repeat_n(colours, (place.width * place.height) as usize));
                let changed = canvas.put(width, height, &[Part { place, packed: &packed }]).unwrap();
                fitted.follow(&canvas, &changed, room);
                let mut anew = Fitted::default();
                anew.follow(&canvas, &[], room);
                prop_assert_eq!(&fitted, &anew);
            }
        }
    }
}
