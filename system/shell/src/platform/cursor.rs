//! The mouse's arrow. It is drawn into the canvas last and taken out before the next drawing, so
//! the renderer never sees it; it exists only once a mouse has moved.

use slint::platform::software_renderer::{PremultipliedRgbaColor, TargetPixel};

use crate::display::{Canvas, Pixel, Rectangle, Region};

/// `#` the arrow, `.` its outline.
const SHAPE: [&str; 17] = [
    ".          ",
    "..         ",
    ".#.        ",
    ".##.       ",
    ".###.      ",
    ".####.     ",
    ".#####.    ",
    ".######.   ",
    ".#######.  ",
    ".########. ",
    ".#####.....",
    ".##.##.    ",
    ".#. .##.   ",
    "..  .##.   ",
    ".    .##.  ",
    "     .##.  ",
    "      ..   ",
];

#[derive(Default)]
pub(super) struct Cursor {
    /// Where the arrow is to point at, in pixels; none while there is no mouse.
    position: Option<(f32, f32)>,
    /// What is under the arrow that stands in the canvas.
    under: Option<(Rectangle, Vec<Pixel>)>,
}

impl Cursor {
    pub(super) fn position(&self) -> Option<(f32, f32)> {
        self.position
    }

    pub(super) fn move_to(&mut self, position: Option<(f32, f32)>) {
        self.position = position;
    }

    /// Takes the arrow out of the canvas.
    pub(super) fn lift(&mut self, canvas: &mut Canvas, damage: &mut Region) {
        if let Some((place, pixels)) = self.under.take() {
            for (row, saved) in pixels.chunks_exact(place.width as usize).enumerate() {
                let start = (place.y as usize + row) * canvas.width() as usize + place.x as usize;
                canvas.pixels_mut()[start..start + saved.len()].copy_from_slice(saved);
            }
            damage.add(place);
        }
    }

    /// Draws the arrow into the canvas.
    pub(super) fn put(&mut self, canvas: &mut Canvas, scale: f32, damage: &mut Region) {
        let Some((x, y)) = self.position else { return };
        let size = scale.round().clamp(1.0, 6.0) as u32;
        let place = Rectangle {
            x: x.max(0.0) as u32,
            y: y.max(0.0) as u32,
            width: SHAPE[0].len() as u32 * size,
            height: SHAPE.len() as u32 * size,
        }
        .intersection(Rectangle::of_size(canvas.width(), canvas.height()));
        if place.is_empty() {
            return;
        }
        let saved = canvas
            .rows(place)
            .flat_map(|(_, row)| row.iter().copied())
            .collect();
        let width = canvas.width() as usize;
        for y in 0..place.height {
            let shape = SHAPE[(y / size) as usize].as_bytes();
            for x in 0..place.width {
                let colour = match shape[(x / size) as usize] {
                    b'#' => PremultipliedRgbaColor {
                        red: 20,
                        green: 22,
                        blue: 26,
                        alpha: 255,
                    },
                    b'.' => PremultipliedRgbaColor {
                        red: 255,
                        green: 255,
                        blue: 255,
                        alpha: 255,
                    },
                    _ => continue,
                };
                canvas.pixels_mut()[(place.y + y) as usize * width + (place.x + x) as usize]
                    .blend(colour);
            }
        }
        self.under = Some((place, saved));
        damage.add(place);
    }

    /// Forgets the arrow in a canvas that is gone.
    pub(super) fn forget(&mut self) {
        self.under = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifting_restores_what_was_under_it_even_at_the_edge() {
        let mut canvas = Canvas::new(40, 30);
        for (i, pixel) in canvas.pixels_mut().iter_mut().enumerate() {
            *pixel = Pixel::new(i as u8, (i / 7) as u8, 99);
        }
        let before = canvas.pixels().to_vec();
        let mut cursor = Cursor::default();
        for position in [(3.0, 3.0), (35.5, 28.0), (-4.0, -4.0), (400.0, 2.0)] {
            let mut damage = Region::new();
            cursor.move_to(Some(position));
            cursor.put(&mut canvas, 1.5, &mut damage);
            assert_eq!(canvas.pixels() == before, damage.is_empty());
            cursor.lift(&mut canvas, &mut damage);
            assert!(canvas.pixels() == before);
        }
    }

    #[test]
    fn the_shape_is_a_rectangle() {
        assert!(SHAPE.iter().all(|row| row.len() == SHAPE[0].len()));
    }
}
