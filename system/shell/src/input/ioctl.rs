//! Questions to an event device: what it has, and in which range.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, Setter, ioctl, opcode};

/// `EVIOCG…`: fills a buffer with an answer of at most its length.
struct Question<'a> {
    number: u8,
    answer: &'a mut [u8],
}

// SAFETY: the opcode carries the length of `answer`, the kernel writes no more than that into it,
// and any bytes are valid there.
unsafe impl Ioctl for Question<'_> {
    type Output = usize;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::from_components(Direction::Read, b'E', self.number, self.answer.len())
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        self.answer.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<usize> {
        Ok(usize::try_from(out).unwrap_or(0))
    }
}

fn ask(device: impl AsFd, number: u8, answer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `Question` is sound for every `EVIOCG` number, all of which only write their answer.
    Ok(unsafe { ioctl(device, Question { number, answer }) }?)
}

/// A set of numbers, as the kernel's bit fields have it.
#[derive(Debug, Clone, Default)]
pub struct Bits(Vec<u8>);

impl Bits {
    /// Whether a number is in it.
    pub fn has(&self, number: u16) -> bool {
        self.0
            .get(usize::from(number / 8))
            .is_some_and(|byte| byte & (1 << (number % 8)) != 0)
    }

    #[cfg(test)]
    pub(super) fn of(numbers: &[u16]) -> Self {
        let mut bytes = vec![0; 96];
        for number in numbers {
            bytes[usize::from(number / 8)] |= 1 << (number % 8);
        }
        Self(bytes)
    }
}

fn bits(device: impl AsFd, number: u8) -> Bits {
    // The kernel's highest number is KEY_MAX, 0x2ff.
    let mut bytes = vec![0; 96];
    match ask(device, number, &mut bytes) {
        Ok(_) => Bits(bytes),
        Err(_) => Bits::default(),
    }
}

/// The keys or axes of a kind that a device has: none when it does not answer.
pub fn codes(device: impl AsFd, kind: u16) -> Bits {
    bits(device, 0x20 + kind as u8)
}

/// What kind of device it says to be, `INPUT_PROP_…`.
pub fn properties(device: impl AsFd) -> Bits {
    bits(device, 0x09)
}

/// What it is called.
pub fn name(device: impl AsFd) -> String {
    let mut bytes = [0; 128];
    match ask(device, 0x06, &mut bytes) {
        Ok(_) => CStr::from_bytes_until_nul(&bytes)
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// The least and the largest value of an axis.
pub fn range(device: impl AsFd, axis: u16) -> io::Result<(i32, i32)> {
    // struct input_absinfo: value, minimum, maximum, fuzz, flat, resolution.
    let mut bytes = [0; 24];
    ask(device, 0x40 + axis as u8, &mut bytes)?;
    let number =
        |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Ok((number(4), number(8)))
}

/// Makes the device stamp its events with the monotonic clock, by which displays stamp flips.
pub fn stamp_with_monotonic_clock(device: impl AsFd) -> io::Result<()> {
    const EVIOCSCLOCKID: Opcode = opcode::write::<i32>(b'E', 0xa0);
    const CLOCK_MONOTONIC: i32 = 1;
    // SAFETY: the kernel reads one int and keeps nothing of it.
    Ok(unsafe { ioctl(device, Setter::<EVIOCSCLOCKID, i32>::new(CLOCK_MONOTONIC)) }?)
}
