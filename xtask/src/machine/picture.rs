//! What is on a machine's screen.

use std::{fs, io::BufWriter, path::Path};

use anyhow::{Context as _, Result, bail};

/// A picture: rows from the top, three bytes a pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Red, green and blue of each pixel.
    pub pixels: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Picture({} × {})", self.width, self.height)
    }
}

impl Picture {
    /// Reads the binary PPM form, which QEMU writes.
    ///
    /// # Errors
    ///
    /// Fails when `bytes` are something else.
    pub fn from_ppm(bytes: &[u8]) -> Result<Self> {
        let mut fields = [0_u32; 3];
        let mut rest = bytes
            .strip_prefix(b"P6")
            .context("the picture is no binary PPM")?;
        for field in &mut fields {
            let start = rest
                .iter()
                .position(u8::is_ascii_digit)
                .context("the picture's head ends early")?;
            let length = rest[start..]
                .iter()
                .position(|byte| !byte.is_ascii_digit())
                .unwrap_or(0);
            *field = std::str::from_utf8(&rest[start..start + length])?
                .parse()
                .context("in the picture's head")?;
            rest = &rest[start + length..];
        }
        let [width, height, maximum] = fields;
        let pixels = rest.get(1..).unwrap_or_default().to_vec();
        if maximum != 255 || pixels.len() != width as usize * height as usize * 3 {
            bail!(
                "the picture of {width} × {height} has {} bytes, of up to {maximum}",
                pixels.len()
            );
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Writes it as PNG.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file =
            fs::File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.pixels))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// The colour of a pixel.
    ///
    /// # Panics
    ///
    /// Panics outside the picture.
    #[must_use]
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = (y as usize * self.width as usize + x as usize) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// How many colours it has, up to `limit`: a screen on which nothing has been drawn has one.
    #[must_use]
    pub fn colours(&self, limit: usize) -> usize {
        let mut seen = std::collections::HashSet::new();
        for pixel in self.pixels.chunks_exact(3) {
            seen.insert(pixel);
            if seen.len() >= limit {
                break;
            }
        }
        seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_qemu_is_read_and_kept_as_png() {
        let picture = Picture::from_ppm(b"P6\n2 1\n255\n\x01\x02\x03\x0a\x20\x30").unwrap();
        assert_eq!(picture.pixel(1, 0), [10, 32, 48]);
        assert_eq!(picture.colours(10), 2);
        let file = tempfile::NamedTempFile::new().unwrap();
        picture.save(file.path()).unwrap();
        let decoder = png::Decoder::new(std::io::BufReader::new(
            fs::File::open(file.path()).unwrap(),
        ));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, picture.pixels);
    }

    #[test]
    fn a_torn_picture_is_refused() {
        for bytes in [
            &b"P5\n1 1\n255\n\0\0\0"[..],
            b"P6\n2 1\n255\n\0\0\0",
            b"P6\n",
            b"",
        ] {
            Picture::from_ppm(bytes).unwrap_err();
        }
    }
}
