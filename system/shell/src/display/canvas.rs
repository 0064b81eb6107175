//! The picture in memory, and parts of it.

use super::Pixel;

/// A part of the screen, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rectangle {
    /// Of the left edge.
    pub x: u32,
    /// Of the upper edge.
    pub y: u32,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Rectangle {
    /// From the upper left corner.
    pub const fn of_size(width: u32, height: u32) -> Self {
        Self {
            x: 0,
            y: 0,
            width,
            height,
        }
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// The smallest one that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let x = self.x.min(other.x);
        let y = self.y.min(other.y);
        let right = (self.x + self.width).max(other.x + other.width);
        let bottom = (self.y + self.height).max(other.y + other.height);
        Self {
            x,
            y,
            width: right - x,
            height: bottom - y,
        }
    }

    /// What both have in common.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let x = self.x.max(other.x);
        let y = self.y.max(other.y);
        let right = (self.x.saturating_add(self.width)).min(other.x.saturating_add(other.width));
        let bottom = (self.y.saturating_add(self.height)).min(other.y.saturating_add(other.height));
        if right <= x || bottom <= y {
            return Self::default();
        }
        Self {
            x,
            y,
            width: right - x,
            height: bottom - y,
        }
    }

    /// Pixels in it.
    pub const fn area(&self) -> u64 {
        self.width as u64 * self.height as u64
    }
}

/// Parts of the screen: a few rectangles, which may overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Region {
    rectangles: Vec<Rectangle>,
}

impl Region {
    /// More parts than this are joined: copying a little more is cheaper than keeping long lists.
    const MOST: usize = 8;

    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more part.
    pub fn add(&mut self, rectangle: Rectangle) {
        if rectangle.is_empty()
            || self
                .rectangles
                .iter()
                .any(|r| r.intersection(rectangle) == rectangle)
        {
            return;
        }
        self.rectangles.retain(|r| rectangle.intersection(*r) != *r);
        self.rectangles.push(rectangle);
        if self.rectangles.len() > Self::MOST {
            let all = self.bounds();
            self.rectangles.clear();
            self.rectangles.push(all);
        }
    }

    /// All parts of another region.
    pub fn extend(&mut self, other: &Self) {
        for rectangle in &other.rectangles {
            self.add(*rectangle);
        }
    }

    /// Its parts.
    pub fn rectangles(&self) -> &[Rectangle] {
        &self.rectangles
    }

    /// The smallest rectangle that holds it.
    pub fn bounds(&self) -> Rectangle {
        self.rectangles
            .iter()
            .copied()
            .fold(Rectangle::default(), Rectangle::union)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.rectangles.is_empty()
    }

    /// Pixels in it; those in two parts count twice.
    pub fn area(&self) -> u64 {
        self.rectangles.iter().map(Rectangle::area).sum()
    }

    /// Leaves nothing.
    pub fn clear(&mut self) {
        self.rectangles.clear();
    }
}

impl From<Rectangle> for Region {
    fn from(rectangle: Rectangle) -> Self {
        let mut region = Self::new();
        region.add(rectangle);
        region
    }
}

/// The picture that the renderer keeps up to date.
#[derive(Debug, Clone, Default)]
pub struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<Pixel>,
    /// What the pixels were when [`Canvas::keep_only`] was last called.
    kept: Vec<Pixel>,
}

impl Canvas {
    /// A black one.
    pub fn new(width: u32, height: u32) -> Self {
        let pixels = vec![Pixel::default(); width as usize * height as usize];
        Self {
            width,
            height,
            kept: pixels.clone(),
            pixels,
        }
    }

    /// In pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// In pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Row by row, without gaps.
    pub fn pixels(&self) -> &[Pixel] {
        &self.pixels
    }

    /// Row by row, without gaps.
    pub fn pixels_mut(&mut self) -> &mut [Pixel] {
        &mut self.pixels
    }

    /// Keeps what was drawn in these parts, and puts all other pixels back to what they were after
    /// the last call.
    pub fn keep_only(&mut self, parts: impl IntoIterator<Item = Rectangle>) {
        let width = self.width as usize;
        for part in parts {
            let part = part.intersection(Rectangle::of_size(self.width, self.height));
            for y in part.y..part.y + part.height {
                let start = y as usize * width + part.x as usize;
                let row = start..start + part.width as usize;
                self.kept[row.clone()].copy_from_slice(&self.pixels[row]);
            }
        }
        self.pixels.copy_from_slice(&self.kept);
    }

    /// The pixels of a part, row by row, each with its row number.
    pub fn rows(&self, part: Rectangle) -> impl Iterator<Item = (u32, &[Pixel])> {
        let part = part.intersection(Rectangle::of_size(self.width, self.height));
        (part.y..part.y + part.height).map(move |y| {
            let start = y as usize * self.width as usize + part.x as usize;
            (y, &self.pixels[start..start + part.width as usize])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_drawn_elsewhere_is_put_back() {
        let mut canvas = Canvas::new(4, 2);
        let ink = Pixel::new(1, 2, 3);
        canvas.pixels_mut().fill(ink);
        let left = Rectangle {
            x: 0,
            y: 0,
            width: 2,
            height: 9,
        };
        canvas.keep_only([left]);
        let none = Pixel::default();
        assert_eq!(
            canvas.pixels(),
            [ink, ink, none, none, ink, ink, none, none]
        );
    }

    fn rectangle() -> impl Strategy<Value = Rectangle> {
        (0u32..40, 0u32..40, 0u32..40, 0u32..40).prop_map(|(x, y, width, height)| Rectangle {
            x,
            y,
            width,
            height,
        })
    }

    fn holds(r: &Rectangle, x: u32, y: u32) -> bool {
        x >= r.x && y >= r.y && x < r.x + r.width && y < r.y + r.height
    }

    proptest! {
        #[test]
        fn a_region_loses_no_pixel_that_was_added(parts in proptest::collection::vec(rectangle(), 0..24)) {
            let mut region = Region::new();
            for part in &parts {
                region.add(*part);
            }
            prop_assert!(region.rectangles().len() <= Region::MOST);
            for x in 0..80 {
                for y in 0..80 {
                    if parts.iter().any(|r| holds(r, x, y)) {
                        prop_assert!(region.rectangles().iter().any(|r| holds(r, x, y)));
                        prop_assert!(holds(&region.bounds(), x, y));
                    }
                }
            }
        }

        #[test]
        fn an_intersection_holds_what_both_hold(a in rectangle(), b in rectangle()) {
            let both = a.intersection(b);
            for x in 0..80 {
                for y in 0..80 {
                    prop_assert_eq!(holds(&both, x, y), holds(&a, x, y) && holds(&b, x, y));
                }
            }
        }

        #[test]
        fn rows_stay_within_the_canvas(part in rectangle()) {
            let canvas = Canvas::new(30, 20);
            let read: usize = canvas.rows(part).map(|(_, row)| row.len()).sum();
            prop_assert_eq!(read as u64, part.intersection(Rectangle::of_size(30, 20)).area());
        }
    }
}
