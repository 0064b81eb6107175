//! The clock that runs, and the one that runs while the device is off.

use std::{
    fs::File,
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    ioctl::{Setter, ioctl, opcode},
    time::{ClockId, Timespec, clock_settime},
};

use super::ntp::Moment;

const HARDWARE: &str = "/dev/rtc0";

/// A clock that can be read and corrected.
pub trait Clock: Send + 'static {
    /// What it says.
    fn now(&self) -> Moment;
    /// Sets it.
    fn step(&mut self, to: Moment) -> io::Result<()>;
    /// Lets it make up for so many nanoseconds little by little: positive when it is behind.
    fn slew(&mut self, offset: i64) -> io::Result<()>;
    /// Writes what it says where it survives the device being off.
    fn keep(&mut self) -> io::Result<()>;
}

/// The clock of this device.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// What the clock says, in nanoseconds since 1970.
pub fn now() -> Moment {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as Moment,
        Err(before) => -(before.duration().as_nanos() as Moment),
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        now()
    }

    fn step(&mut self, to: Moment) -> io::Result<()> {
        let seconds = i64::try_from(to.div_euclid(1_000_000_000))
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: to.rem_euclid(1_000_000_000) as _,
        };
        Ok(clock_settime(ClockId::Realtime, time)?)
    }

    fn slew(&mut self, offset: i64) -> io::Result<()> {
        // SAFETY: the structure is numbers only, for which zero is a value.
        let mut request: libc::timex = unsafe { std::mem::zeroed() };
        request.modes = libc::ADJ_OFFSET_SINGLESHOT;
        request.offset = offset / 1000; // microseconds
        // SAFETY: the pointer is to a whole structure that lives as long as the call.
        match unsafe { libc::adjtimex(&raw mut request) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    fn keep(&mut self) -> io::Result<()> {
        let clock = File::open(HARDWARE)?;
        let time = HardwareTime::at(now().div_euclid(1_000_000_000) as i64);
        const SET: rustix::ioctl::Opcode = opcode::write::<HardwareTime>(b'p', 0x0a);
        // SAFETY: RTC_SET_TIME takes a pointer to a `struct rtc_time`, which HardwareTime is.
        unsafe { ioctl(&clock, Setter::<SET, _>::new(time))? };
        Ok(())
    }
}

/// The kernel's `struct rtc_time`: UTC, as such clocks count.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HardwareTime {
    second: i32,
    minute: i32,
    hour: i32,
    day: i32,
    /// From 0.
    month: i32,
    /// Since 1900.
    year: i32,
    // What follows is not read when the clock is set.
    day_of_week: i32,
    day_of_year: i32,
    summer: i32,
}

impl HardwareTime {
    fn at(seconds: i64) -> HardwareTime {
        let (days, second) = (
            seconds.div_euclid(86_400),
            seconds.rem_euclid(86_400) as i32,
        );
        // The calendar repeats every 400 years (146,097 days); years here begin in March, so that
        // the odd day is the last.
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = (day - (153 * month + 2) / 5 + 1) as i32;
        let month = if month < 10 { month + 2 } else { month - 10 } as i32;
        let year = (year + era * 400) as i32 + i32::from(month < 2);
        HardwareTime {
            second: second % 60,
            minute: second / 60 % 60,
            hour: second / 3600,
            day,
            month,
            year: year - 1900,
            day_of_week: 0,
            day_of_year: 0,
            summer: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, (1970, 1, 1)),
            (951_782_400, (2000, 2, 29)),
            (951_868_800, (2000, 3, 1)),
            (1_767_225_599, (2025, 12, 31)),
            (1_767_225_600, (2026, 1, 1)),
            (4_107_542_400, (2100, 3, 1)),
            (4_107_542_399, (2100, 2, 28)),
        ] {
            let time = HardwareTime::at(seconds);
            assert_eq!(
                (time.year + 1900, time.month + 1, time.day),
                date,
                "{seconds}"
            );
        }
        let time = HardwareTime::at(1_767_225_599);
        assert_eq!((time.hour, time.minute, time.second), (23, 59, 59));
    }

    #[test]
    fn the_request_is_the_kernels() {
        // RTC_SET_TIME, as <linux/rtc.h> makes it.
        assert_eq!(opcode::write::<HardwareTime>(b'p', 0x0a), 0x4024_700a);
    }
}
