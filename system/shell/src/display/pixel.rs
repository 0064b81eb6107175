//! Pixels, and the orders in which displays want their colours.

use slint::platform::software_renderer::{PremultipliedRgbaColor, TargetPixel};

/// A pixel as `XRGB8888`: what practically every display takes without conversion.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::NoUninit)]
pub struct Pixel(u32);

// Displays want the bytes of a pixel blue first, which is how this stores them.
const _: () = assert!(cfg!(target_endian = "little"));

impl Pixel {
    /// From its colours.
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self(0xff00_0000 | (red as u32) << 16 | (green as u32) << 8 | blue as u32)
    }

    /// Red, green and blue.
    pub const fn colours(self) -> [u8; 3] {
        [(self.0 >> 16) as u8, (self.0 >> 8) as u8, self.0 as u8]
    }

    /// As `XRGB8888`.
    pub const fn to_u32(self) -> u32 {
        self.0
    }
}

/// `v * factor / 255` for the two bytes in bits 0–7 and 16–23, rounded to nearest and exact.
#[inline(always)]
const fn scale_two(v: u32, factor: u32) -> u32 {
    let product = v * factor + 0x0080_0080;
    ((product + ((product >> 8) & 0x00ff_00ff)) >> 8) & 0x00ff_00ff
}

impl TargetPixel for Pixel {
    // Two colours a multiplication: half the work of one at a time, and integer arithmetic is what
    // an emulated processor does best.
    #[inline(always)]
    fn blend(&mut self, colour: PremultipliedRgbaColor) {
        let rest = 255 - colour.alpha as u32;
        let red_blue = scale_two(self.0 & 0x00ff_00ff, rest)
            + ((colour.red as u32) << 16 | colour.blue as u32);
        let green = scale_two((self.0 >> 8) & 0x0000_00ff, rest) + colour.green as u32;
        // A premultiplied colour is not larger than its alpha, so no sum overflows its byte; a
        // colour that breaks that rule wraps within its own pixel.
        self.0 = 0xff00_0000 | (red_blue & 0x00ff_00ff) | (green & 0xff) << 8;
    }

    #[inline(always)]
    fn from_rgb(red: u8, green: u8, blue: u8) -> Self {
        Self::new(red, green, blue)
    }
}

/// How a display stores a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Bytes a pixel: 2, 3 or 4.
    pub bytes: usize,
    /// Lowest bit and number of bits of red.
    pub red: (u32, u32),
    /// Lowest bit and number of bits of green.
    pub green: (u32, u32),
    /// Lowest bit and number of bits of blue.
    pub blue: (u32, u32),
}

impl Format {
    /// Four bytes, blue first.
    pub const XRGB8888: Self = Self {
        bytes: 4,
        red: (16, 8),
        green: (8, 8),
        blue: (0, 8),
    };
    /// Two bytes.
    pub const RGB565: Self = Self {
        bytes: 2,
        red: (11, 5),
        green: (5, 6),
        blue: (0, 5),
    };

    /// Whether pixels can be written so.
    pub fn is_valid(&self) -> bool {
        matches!(self.bytes, 2..=4)
            && [self.red, self.green, self.blue].iter().all(|(low, bits)| {
                (1..=16).contains(bits)
                    && low
                        .checked_add(*bits)
                        .is_some_and(|end| end as usize <= self.bytes * 8)
            })
    }

    /// Writes a row. `target` holds at least `row.len() * bytes`.
    pub fn write(&self, row: &[Pixel], target: &mut [u8]) {
        if *self == Self::XRGB8888 {
            let bytes = bytemuck::cast_slice(row);
            target[..bytes.len()].copy_from_slice(bytes);
            return;
        }
        for (pixel, bytes) in row.iter().zip(target.chunks_exact_mut(self.bytes)) {
            let [red, green, blue] = pixel.colours();
            let value = place(red, self.red) | place(green, self.green) | place(blue, self.blue);
            bytes.copy_from_slice(&value.to_le_bytes()[..self.bytes]);
        }
    }
}

/// A colour's upper bits at its place; wider fields repeat it below.
fn place(colour: u8, (low, bits): (u32, u32)) -> u32 {
    let wide = (colour as u32) << 8 | colour as u32;
    (wide >> (16 - bits)) << low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blending_is_within_one_step_of_the_exact_value(under in any::<[u8; 3]>(), over in any::<[u8; 3]>(), alpha in any::<u8>()) {
            let premultiplied = over.map(|c| (c as u32 * alpha as u32 / 255) as u8);
            let mut pixel = Pixel::new(under[0], under[1], under[2]);
            pixel.blend(PremultipliedRgbaColor { red: premultiplied[0], green: premultiplied[1], blue: premultiplied[2], alpha });
            for i in 0..3 {
                let exact = premultiplied[i] as f64 + under[i] as f64 * (255 - alpha) as f64 / 255.0;
                prop_assert!((pixel.colours()[i] as f64 - exact).abs() <= 0.5, "{pixel:?} {exact}");
            }
            prop_assert_eq!(pixel.to_u32() >> 24, 0xff);
        }

        #[test]
        fn a_written_row_reads_back(colours in proptest::collection::vec(any::<[u8; 3]>(), 0..20)) {
            let row: Vec<Pixel> = colours.iter().map(|c| Pixel::new(c[0], c[1], c[2])).collect();
            let mut bytes = vec![0; row.len() * 4];
            Format::XRGB8888.write(&row, &mut bytes);
            for (c, b) in colours.iter().zip(bytes.chunks(4)) {
                prop_assert_eq!([c[2], c[1], c[0]], [b[0], b[1], b[2]]);
            }
            let bgr = Format { bytes: 3, red: (0, 8), green: (8, 8), blue: (16, 8) };
            let mut bytes = vec![0; row.len() * 3];
            bgr.write(&row, &mut bytes);
            for (c, b) in colours.iter().zip(bytes.chunks(3)) {
                prop_assert_eq!(&c[..], b);
            }
        }
    }

    #[test]
    fn white_and_black_stay_so_in_every_format() {
        let formats = [
            Format::XRGB8888,
            Format::RGB565,
            Format {
                bytes: 2,
                red: (10, 5),
                green: (5, 5),
                blue: (0, 5),
            },
            Format {
                bytes: 4,
                red: (20, 10),
                green: (10, 10),
                blue: (0, 10),
            },
        ];
        for format in formats {
            assert!(format.is_valid());
            let mut bytes = vec![0; 2 * format.bytes];
            format.write(
                &[Pixel::new(255, 255, 255), Pixel::new(0, 0, 0)],
                &mut bytes,
            );
            let value = |i: usize| {
                bytes[i * format.bytes..][..format.bytes]
                    .iter()
                    .rev()
                    .fold(0u32, |a, b| a << 8 | *b as u32)
            };
            let mask = [format.red, format.green, format.blue]
                .iter()
                .fold(0u32, |m, (low, bits)| m | ((1 << bits) - 1) << low);
            assert_eq!(
                value(0),
                if format == Format::XRGB8888 {
                    0xffff_ffff
                } else {
                    mask
                }
            );
            assert_eq!(value(1) & mask, 0);
        }
    }

    #[test]
    fn red_is_where_the_format_says() {
        let mut bytes = [0; 2];
        Format::RGB565.write(&[Pixel::new(255, 0, 0)], &mut bytes);
        assert_eq!(u16::from_le_bytes(bytes), 0xf800);
    }

    #[test]
    fn foreign_formats_are_refused() {
        assert!(
            !Format {
                bytes: 1,
                ..Format::RGB565
            }
            .is_valid()
        );
        assert!(
            !Format {
                red: (30, 8),
                ..Format::XRGB8888
            }
            .is_valid()
        );
        assert!(
            !Format {
                red: (u32::MAX, 8),
                ..Format::XRGB8888
            }
            .is_valid()
        );
        assert!(
            !Format {
                blue: (0, 0),
                ..Format::XRGB8888
            }
            .is_valid()
        );
    }
}
