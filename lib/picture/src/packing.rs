//! Colours as bytes and back, by the chunks of the QOI format (qoiformat.org), version 1.0, of an image of
//! three channels, without its header and its end.
//!
//! Screens are flat areas with a little text: a run of one colour is a byte for 62 pixels, and what is smoothed at an
//! edge is mostly in the table of colours that were there before.

use crate::Colours;

const INDEX: u8 = 0b0000_0000;
const DIFF: u8 = 0b0100_0000;
const LUMA: u8 = 0b1000_0000;
const RUN: u8 = 0b1100_0000;
const RGB: u8 = 0b1111_1110;
/// The two highest bits, which say what a chunk is.
const KIND: u8 = 0b1100_0000;
/// The longest run of one byte: the two numbers above are for whole colours.
const LONGEST_RUN: u8 = 62;

/// Bytes that are no colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end before all pixels have one.
    #[error("the colours of a part end early")]
    Short,
    /// There is something left when all pixels have one.
    #[error("a part has more colours than pixels")]
    Long,
    /// A chunk of another kind of image.
    #[error("a part has a colour that is not opaque")]
    Alpha,
}

/// A colour with its alpha, as the table has it: what was never put there is not even opaque.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Pixel {
    colours: Colours,
    opaque: bool,
}

/// What both sides remember of the colours before.
struct Memory {
    table: [Pixel; 64],
    last: Pixel,
}

impl Memory {
    fn new() -> Self {
        Self {
            table: [Pixel::default(); 64],
            last: Pixel {
                colours: [0; 3],
                opaque: true,
            },
        }
    }

    fn place(pixel: Pixel) -> usize {
        let [red, green, blue] = pixel.colours.map(usize::from);
        let alpha = if pixel.opaque { 255 } else { 0 };
        (red * 3 + green * 5 + blue * 7 + alpha * 11) % 64
    }
}

/// The bytes of some colours.
pub fn pack(colours: impl IntoIterator<Item = Colours>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut memory = Memory::new();
    let mut run = 0;
    for colours in colours {
        let pixel = Pixel {
            colours,
            opaque: true,
        };
        if pixel == memory.last {
            run += 1;
            if run == LONGEST_RUN {
                bytes.push(RUN | (run - 1));
                run = 0;
            }
            continue;
        }
        if run > 0 {
            bytes.push(RUN | (run - 1));
            run = 0;
        }
        let place = Memory::place(pixel);
        if memory.table[place] == pixel {
            bytes.push(INDEX | place as u8);
        } else {
            memory.table[place] = pixel;
            different(colours, memory.last.colours, &mut bytes);
        }
        memory.last = pixel;
    }
    if run > 0 {
        bytes.push(RUN | (run - 1));
    }
    bytes
}

/// A colour by what it differs in from the one before.
fn different(now: Colours, before: Colours, bytes: &mut Vec<u8>) {
    let difference = |channel: usize| now[channel].wrapping_sub(before[channel]);
    let (red, green, blue) = (difference(0), difference(1), difference(2));
    let two = |difference: u8| difference.wrapping_add(2);
    if [red, green, blue].iter().all(|one| two(*one) < 4) {
        bytes.push(DIFF | two(red) << 4 | two(green) << 2 | two(blue));
        return;
    }
    let wide = green.wrapping_add(32);
    let beside = |difference: u8| difference.wrapping_sub(green).wrapping_add(8);
    if wide < 64 && beside(red) < 16 && beside(blue) < 16 {
        bytes.extend([LUMA | wide, beside(red) << 4 | beside(blue)]);
    } else {
        bytes.extend([RGB, now[0], now[1], now[2]]);
    }
}

/// Reads colours back, runs as runs: calls `put` with each colour and how many pixels have it, together at most `pixels`.
pub(crate) fn unpack(
    bytes: &[u8],
    pixels: usize,
    mut put: impl FnMut(Colours, usize),
) -> Result<(), Malformed> {
    let mut memory = Memory::new();
    let mut bytes = bytes.iter().copied();
    let mut left = pixels;
    while left > 0 {
        let first = bytes.next().ok_or(Malformed::Short)?;
        let mut next = || bytes.next().ok_or(Malformed::Short);
        let mut count = 1;
        let before = memory.last.colours;
        let mut pixel = memory.last;
        match first {
            RGB => pixel.colours = [next()?, next()?, next()?],
            0xff => return Err(Malformed::Alpha),
            _ => match first & KIND {
                INDEX => {
                    pixel = memory.table[usize::from(first)];
                    if !pixel.opaque {
                        return Err(Malformed::Alpha);
                    }
                }
                DIFF => {
                    let by = |shift: u8| (first >> shift & 3).wrapping_sub(2);
                    pixel.colours = moved(before, [by(4), by(2), by(0)]);
                }
                LUMA => {
                    let second = next()?;
                    let green = (first & !KIND).wrapping_sub(32);
                    let by = |shift: u8| (second >> shift & 15).wrapping_sub(8).wrapping_add(green);
                    pixel.colours = moved(before, [by(4), green, by(0)]);
                }
                _ => count = usize::from(first & !KIND) + 1,
            },
        }
        if count > left {
            return Err(Malformed::Long);
        }
        memory.table[Memory::place(pixel)] = pixel;
        memory.last = pixel;
        put(pixel.colours, count);
        left -= count;
    }
    match bytes.next() {
        Some(_) => Err(Malformed::Long),
        None => Ok(()),
    }
}

fn moved(before: Colours, by: Colours) -> Colours {
    std::array::from_fn(|channel| before[channel].wrapping_add(by[channel]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpacked(bytes: &[u8], pixels: usize) -> Result<Vec<Colours>, Malformed> {
        let mut all = Vec::new();
        unpack(bytes, pixels, |colours, count| {
            all.extend(std::iter::repeat_n(colours, count));
        })?;
        Ok(all)
    }

    /// Colours as screens have them: runs, neighbours, and some that are seen again.
    fn screen() -> impl Strategy<Value = Vec<Colours>> {
        let piece = prop_oneof![
            (any::<Colours>(), 1usize..200).prop_map(|(colour, count)| vec![colour; count]),
            (any::<Colours>(), any::<Vec<[i8; 3]>>()).prop_map(|(colour, steps)| {
                let mut now = colour;
                let mut step = |by: [i8; 3]| {
                    now = std::array::from_fn(|channel| {
                        now[channel].wrapping_add_signed(by[channel] / 24)
                    });
                    now
                };
                steps.into_iter().map(&mut step).collect()
            }),
            prop::collection::vec(
                prop::sample::select(vec![[0, 0, 0], [255, 255, 255], [26, 166, 160]]),
                0..100
            ),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked_as_it_was(colours in screen()) {
            let bytes = pack(colours.iter().copied());
            prop_assert!(bytes.len() <= colours.len() * 4);
            prop_assert_eq!(unpacked(&bytes, colours.len()), Ok(colours.clone()));
            // Neither fewer pixels nor more fit.
            prop_assert_eq!(unpacked(&bytes, colours.len() + 1), Err(Malformed::Short));
            if !colours.is_empty() {
                prop_assert_eq!(unpacked(&bytes, colours.len() - 1), Err(Malformed::Long));
            }
        }

        #[test]
        fn any_bytes_give_as_many_pixels_as_asked_for_or_none(bytes: Vec<u8>, pixels in 0usize..4000) {
            if let Ok(colours) = unpacked(&bytes, pixels) {
                prop_assert_eq!(colours.len(), pixels);
            }
        }
    }

    #[test]
    fn a_flat_area_is_a_byte_for_sixty_two_pixels() {
        let bytes = pack(vec![[0x1a, 0xa6, 0xa0]; 62 * 1000 + 1]);
        assert_eq!(bytes.len(), 4 + 1000);
        assert!(unpacked(&bytes, 62_001).is_ok());
    }

    /// The example of each kind of chunk, computed by hand from the format's own document.
    #[test]
    fn it_is_the_published_format() {
        let colours = [
            [0, 0, 0],
            [0, 0, 1],
            [10, 14, 13],
            [200, 100, 50],
            [0, 0, 1],
        ];
        let expected = [
            // As before the first one: a run of one.
            0xc0, // Blue one more: 01 10 10 11.
            0x6b,
            // Green by 14, red by 4 less than that, blue by 2 less: 10 101110, 0100 0110.
            0xae, 0x46, // A whole colour.
            0xfe, 200, 100, 50, // The place of the second: (7 + 255 · 11) mod 64.
            60,
        ];
        assert_eq!(pack(colours), expected);
        assert_eq!(unpacked(&expected, 5), Ok(colours.to_vec()));
    }

    #[test]
    fn what_was_never_in_the_table_is_no_colour() {
        assert_eq!(unpacked(&[0x05], 1), Err(Malformed::Alpha));
        assert_eq!(unpacked(&[0xff, 1, 2, 3, 4], 1), Err(Malformed::Alpha));
    }
}
