//! A display that only keeps its picture: for tests, and for pictures without a screen.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Canvas, Display, Presented, Rectangle, Region};

/// A display in memory. Like a real one it takes over only what it is told to be damaged, so a
/// wrong damage region shows in its picture.
pub struct Memory {
    shown: Canvas,
    lit: bool,
}

impl Memory {
    /// A black one.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            shown: Canvas::new(width, height),
            lit: true,
        }
    }

    /// What is on it: black while it is off.
    pub fn picture(&self) -> Picture {
        let (width, height) = self.size();
        let pixels = if self.lit {
            self.shown
                .pixels()
                .iter()
                .flat_map(|pixel| pixel.colours())
                .collect()
        } else {
            vec![0; width as usize * height as usize * 3]
        };
        Picture {
            width,
            height,
            pixels,
        }
    }
}

impl Display for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn size(&self) -> (u32, u32) {
        (self.shown.width(), self.shown.height())
    }

    fn frame_time(&self) -> Duration {
        Duration::from_nanos(16_666_667)
    }

    fn present(&mut self, canvas: &Canvas, damage: &Region) -> io::Result<Presented> {
        let width = self.shown.width() as usize;
        for part in damage.rectangles() {
            let part =
                part.intersection(Rectangle::of_size(self.shown.width(), self.shown.height()));
            for (y, row) in canvas.rows(part) {
                let start = y as usize * width + part.x as usize;
                self.shown.pixels_mut()[start..start + row.len()].copy_from_slice(row);
            }
        }
        Ok(Presented::Complete)
    }

    fn set_lit(&mut self, lit: bool) -> io::Result<()> {
        self.lit = lit;
        Ok(())
    }
}

/// A picture of a screen.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Red, green and blue, row by row.
    pub pixels: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture {{ {} × {} }}", self.width, self.height)
    }
}

impl Picture {
    /// A colour that differs by no more than this in any channel looks the same.
    const TOLERANCE: u8 = 8;

    /// The colours at a place.
    pub fn at(&self, x: u32, y: u32) -> [u8; 3] {
        let start = (y as usize * self.width as usize + x as usize) * 3;
        [
            self.pixels[start],
            self.pixels[start + 1],
            self.pixels[start + 2],
        ]
    }

    /// The share of pixels, 0 to 1, that look different. Pictures of different sizes share nothing.
    pub fn difference(&self, other: &Self) -> f32 {
        if (self.width, self.height) != (other.width, other.height) {
            return 1.0;
        }
        let differ = |(a, b): (&[u8], &[u8])| {
            a.iter()
                .zip(b)
                .any(|(a, b)| a.abs_diff(*b) > Self::TOLERANCE)
        };
        let count = self
            .pixels
            .chunks_exact(3)
            .zip(other.pixels.chunks_exact(3))
            .filter(|pair| differ(*pair))
            .count();
        count as f32 / (self.pixels.len() / 3).max(1) as f32
    }

    /// Writes it as a PNG file.
    pub fn save_png(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let file = io::BufWriter::new(std::fs::File::create(path)?);
        let mut encoder = png::Encoder::new(file, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        Ok(())
    }

    /// Reads one that [`Picture::save_png`] wrote.
    pub fn load_png(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = io::BufReader::new(std::fs::File::open(path)?);
        let mut reader = png::Decoder::new(file).read_info()?;
        let size = reader
            .output_buffer_size()
            .ok_or_else(|| io::Error::other("the picture is too large"))?;
        let mut pixels = vec![0; size];
        let info = reader.next_frame(&mut pixels)?;
        if info.color_type != png::ColorType::Rgb || info.bit_depth != png::BitDepth::Eight {
            return Err(io::Error::other("the picture is not 8-bit RGB"));
        }
        pixels.truncate(info.buffer_size());
        Ok(Self {
            width: info.width,
            height: info.height,
            pixels,
        })
    }
}
