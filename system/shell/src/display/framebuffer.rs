//! A display behind `/dev/fb0`: what the firmware set up, where no real driver binds. It has no
//! flips, no damage and mostly no way to turn the light off, but it is always there.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use memmap2::{MmapMut, MmapOptions};
use rustix::ioctl::{Getter, IntegerSetter, Opcode, ioctl};

use super::pixel::Format;
use super::{Canvas, Display, Presented, Rectangle, Region};

/// `struct fb_bitfield`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Field {
    offset: u32,
    length: u32,
    most_significant_right: u32,
}

/// `struct fb_var_screeninfo`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Variable {
    width: u32,
    height: u32,
    virtual_size: [u32; 2],
    offset: [u32; 2],
    bits: u32,
    grey: u32,
    red: Field,
    green: Field,
    blue: Field,
    alpha: Field,
    rest: [u32; 20],
}

/// `struct fb_fix_screeninfo`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Fixed {
    name: [u8; 16],
    memory_start: usize,
    memory_length: u32,
    kind: u32,
    kind_auxiliary: u32,
    visual: u32,
    steps: [u16; 3],
    pitch: u32,
    registers_start: usize,
    registers_length: u32,
    acceleration: u32,
    capabilities: u16,
    reserved: [u16; 2],
}

const _: () = assert!(size_of::<Variable>() == 160);
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Fixed>() == 80);

const FBIOGET_VSCREENINFO: Opcode = 0x4600;
const FBIOGET_FSCREENINFO: Opcode = 0x4602;
const FBIOBLANK: Opcode = 0x4611;
const FB_BLANK_UNBLANK: usize = 0;
const FB_BLANK_POWERDOWN: usize = 4;

/// A display behind `/dev/fb0`.
pub struct Framebuffer {
    file: File,
    name: String,
    geometry: Geometry,
    memory: MmapMut,
    lit: bool,
}

/// Where and how pixels lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    width: u32,
    height: u32,
    pitch: usize,
    /// Of the first visible pixel, in bytes.
    start: usize,
    length: usize,
    format: Format,
}

impl Framebuffer {
    /// Opens `/dev/fb0`.
    pub fn open() -> io::Result<Self> {
        Self::open_at(Path::new("/dev/fb0"))
    }

    fn open_at(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        // SAFETY: the kernel fills exactly these structures, in which any bytes are valid.
        let (variable, fixed) = unsafe {
            (
                ioctl(&file, Getter::<FBIOGET_VSCREENINFO, Variable>::new())?,
                ioctl(&file, Getter::<FBIOGET_FSCREENINFO, Fixed>::new())?,
            )
        };
        let geometry = Geometry::of(&variable, &fixed)?;
        // SAFETY: a device's memory of the length that its driver states, which cannot shrink.
        let memory = unsafe { MmapOptions::new().len(geometry.length).map_mut(&file) }?;
        let kind = String::from_utf8_lossy(
            fixed
                .name
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default(),
        )
        .into_owned();
        Ok(Self {
            file,
            name: format!("{} ({kind})", path.display()),
            geometry,
            memory,
            lit: true,
        })
    }
}

impl Geometry {
    fn of(variable: &Variable, fixed: &Fixed) -> io::Result<Self> {
        let unsupported = |what: String| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                format!("its pixels cannot be written: {what}"),
            )
        };
        let field = |field: Field| (field.offset, field.length);
        let format = Format {
            bytes: variable.bits.div_ceil(8) as usize,
            red: field(variable.red),
            green: field(variable.green),
            blue: field(variable.blue),
        };
        // Packed pixels of true or direct colour.
        if fixed.kind != 0
            || !matches!(fixed.visual, 2 | 4)
            || variable.bits % 8 == 1
            || !format.is_valid()
        {
            return Err(unsupported(format!(
                "{} bits, {format:?}, kind {}, visual {}",
                variable.bits, fixed.kind, fixed.visual
            )));
        }
        let pitch = fixed.pitch as usize;
        let start =
            variable.offset[1] as usize * pitch + variable.offset[0] as usize * format.bytes;
        let length = fixed.memory_length as usize;
        let row = variable.width as usize * format.bytes;
        let end = (variable.height as usize).checked_sub(1).and_then(|rows| {
            rows.checked_mul(pitch)?
                .checked_add(start)?
                .checked_add(row)
        });
        if variable.width == 0 || row > pitch || end.is_none_or(|end| end > length) {
            return Err(unsupported(format!(
                "{} × {} at a pitch of {pitch} in {length} bytes",
                variable.width, variable.height
            )));
        }
        Ok(Self {
            width: variable.width,
            height: variable.height,
            pitch,
            start,
            length,
            format,
        })
    }

    fn write(&self, memory: &mut [u8], canvas: &Canvas, part: Rectangle) {
        let part = part.intersection(Rectangle::of_size(self.width, self.height));
        for (y, row) in canvas.rows(part) {
            let start = self.start + y as usize * self.pitch + part.x as usize * self.format.bytes;
            if let Some(target) = memory.get_mut(start..start + row.len() * self.format.bytes) {
                self.format.write(row, target);
            }
        }
    }
}

impl Display for Framebuffer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn size(&self) -> (u32, u32) {
        (self.geometry.width, self.geometry.height)
    }

    fn frame_time(&self) -> Duration {
        Duration::from_secs(1) / 60
    }

    fn present(&mut self, canvas: &Canvas, damage: &Region) -> io::Result<Presented> {
        if self.lit {
            for part in damage.rectangles() {
                self.geometry.write(&mut self.memory, canvas, *part);
            }
        }
        Ok(Presented::Complete)
    }

    fn set_lit(&mut self, lit: bool) -> io::Result<()> {
        self.lit = lit;
        let blank = if lit {
            FB_BLANK_UNBLANK
        } else {
            FB_BLANK_POWERDOWN
        };
        // SAFETY: takes a plain number.
        let answer = unsafe {
            ioctl(
                self.file.as_fd(),
                IntegerSetter::<FBIOBLANK>::new_usize(blank),
            )
        };
        if answer.is_err() && !lit {
            // A firmware's framebuffer cannot be turned off, only painted black.
            let geometry = self.geometry;
            let black = Canvas::new(geometry.width, geometry.height);
            geometry.write(
                &mut self.memory,
                &black,
                Rectangle::of_size(geometry.width, geometry.height),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::Pixel;
    use proptest::prelude::*;

    fn firmware() -> (Variable, Fixed) {
        let field = |offset| Field {
            offset,
            length: 8,
            most_significant_right: 0,
        };
        let variable = Variable {
            width: 4,
            height: 3,
            bits: 32,
            red: field(16),
            green: field(8),
            blue: field(0),
            ..Variable::default()
        };
        (
            variable,
            Fixed {
                pitch: 20,
                memory_length: 60,
                visual: 2,
                ..Fixed::default()
            },
        )
    }

    #[test]
    fn a_part_is_written_where_it_belongs_and_nowhere_else() {
        let (variable, fixed) = firmware();
        let geometry = Geometry::of(&variable, &fixed).unwrap();
        let mut canvas = Canvas::new(4, 3);
        canvas.pixels_mut().fill(Pixel::new(1, 2, 3));
        let mut memory = vec![0; geometry.length];
        geometry.write(
            &mut memory,
            &canvas,
            Rectangle {
                x: 1,
                y: 1,
                width: 2,
                height: 9,
            },
        );
        for (i, pixel) in memory.chunks(4).enumerate() {
            let (x, y) = (i % 5, i / 5);
            let inside = (1..3).contains(&x) && y >= 1;
            assert_eq!(
                pixel,
                if inside { [3, 2, 1, 255] } else { [0; 4] },
                "{x} {y}"
            );
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused_with_the_reason() {
        let (variable, fixed) = firmware();
        let refused = |variable: Variable, fixed: Fixed| {
            Geometry::of(&variable, &fixed).unwrap_err().to_string()
        };
        assert!(
            refused(
                Variable {
                    bits: 8,
                    ..variable
                },
                fixed
            )
            .contains("8 bits")
        );
        assert!(refused(variable, Fixed { visual: 3, ..fixed }).contains("visual 3"));
        assert!(
            refused(
                variable,
                Fixed {
                    memory_length: 55,
                    ..fixed
                }
            )
            .contains("55 bytes")
        );
        assert!(
            refused(
                Variable {
                    height: 0,
                    ..variable
                },
                fixed
            )
            .contains("× 0")
        );
    }

    proptest! {
        #[test]
        fn no_stated_geometry_leads_outside_the_memory(
            width in 0u32..200, height in 0u32..200, pitch in 0u32..2000, length in 0u32..100_000,
            bits in 0u32..40, offset in any::<[u8; 2]>(), fields in any::<[(u8, u8); 3]>(),
        ) {
            let field = |i: usize| Field { offset: fields[i].0.into(), length: fields[i].1.into(), most_significant_right: 0 };
            let variable = Variable {
                width, height, bits, offset: offset.map(u32::from),
                red: field(0), green: field(1), blue: field(2), ..Variable::default()
            };
            let fixed = Fixed { pitch, memory_length: length, visual: 2, ..Fixed::default() };
            if let Ok(geometry) = Geometry::of(&variable, &fixed) {
                let mut memory = vec![0; geometry.length];
                geometry.write(&mut memory, &Canvas::new(width, height), Rectangle::of_size(width, height));
            }
        }
    }
}
