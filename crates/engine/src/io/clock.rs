//! The engine's clocks: a coarse monotonic one for deadlines, a precise one for measurements, and the rendered `Date`.

use std::mem::MaybeUninit;

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: zero is a valid timespec, and the pointer is valid for one; a thread's clock fails when the thread is gone.
    unsafe {
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    }
}

#[cfg(target_os = "linux")]
const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
#[cfg(not(target_os = "linux"))]
const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// Milliseconds since an arbitrary start, a few milliseconds coarse, never 0.
#[inline]
pub(crate) fn coarse_ms() -> u64 {
    let time = read(COARSE);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000 + 1
}

/// Nanoseconds since an arbitrary start.
#[inline]
pub(crate) fn precise_ns() -> u64 {
    read_ns(libc::CLOCK_MONOTONIC)
}

/// The precise time of where steps meet: what ends the one begins the next, so that one reading of the clock does for both.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl Moment {
    /// It was `now` a moment ago, in nanoseconds.
    pub(crate) fn at(now: u64) -> Self {
        Self(now)
    }

    /// Something was done that may have taken long.
    #[inline]
    pub(crate) fn pass(&mut self) {
        self.0 = 0;
    }

    /// Nanoseconds, read now if need be.
    #[inline]
    pub(crate) fn now(&mut self) -> u64 {
        if self.0 == 0 {
            self.0 = precise_ns();
        }
        self.0
    }

    /// Nanoseconds, read later than `before` was.
    #[inline]
    pub(crate) fn after(&mut self, before: Self) -> u64 {
        if *self == before {
            self.pass();
        }
        self.now()
    }
}

/// What a clock says, in nanoseconds.
#[inline]
pub(crate) fn read_ns(clock: libc::clockid_t) -> u64 {
    let time = read(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The processor time that this process has used.
pub(crate) fn process_cpu_ns() -> u64 {
    read_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The clock of the calling thread's processor time, for other threads to read; where there is none, the process's.
pub(crate) fn thread_cpu_clock() -> libc::clockid_t {
    #[cfg(target_os = "linux")]
    {
        let mut clock = MaybeUninit::uninit();
        // SAFETY: the calling thread lives; a successful call fills the identifier.
        unsafe {
            if libc::pthread_getcpuclockid(libc::pthread_self(), clock.as_mut_ptr()) == 0 {
                return clock.assume_init();
            }
        }
    }
    libc::CLOCK_PROCESS_CPUTIME_ID
}

/// How long the kernel's tick is: its own coarse clocks go by it.
pub(crate) fn tick_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    // SAFETY: the pointer is valid for one timespec; a failure leaves it as it is.
    unsafe { libc::clock_getres(COARSE, &mut time) };
    (time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64).max(1_000_000)
}

/// Seconds since 1970-01-01 UTC.
#[inline]
pub(crate) fn unix_seconds() -> u64 {
    #[cfg(target_os = "linux")]
    return read(libc::CLOCK_REALTIME_COARSE).tv_sec as u64;
    #[cfg(not(target_os = "linux"))]
    return read(libc::CLOCK_REALTIME).tv_sec as u64;
}

/// Seconds since 1970-01-01 UTC and the milliseconds behind them.
#[inline]
pub(crate) fn unix_ms() -> (u64, u32) {
    #[cfg(target_os = "linux")]
    let time = read(libc::CLOCK_REALTIME_COARSE);
    #[cfg(not(target_os = "linux"))]
    let time = read(libc::CLOCK_REALTIME);
    (time.tv_sec as u64, time.tv_nsec as u32 / 1_000_000)
}

/// Year, month (1..), day (1..), weekday (0 = Monday) of a day counted from 1970-01-01 (proleptic Gregorian calendar).
pub(crate) fn civil(days: u64) -> (u64, usize, u64, usize) {
    // Counted from 0000-03-01, so that the leap day is the last of its year; eras are 400 years.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month as usize, day, ((days + 3) % 7) as usize)
}

/// An IMF-fixdate, 29 bytes (RFC 9110 §5.6.7).
pub(crate) fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, weekday) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT", DAYS[weekday], MONTHS[month - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_5_6_7_dates() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(951_782_399), "Mon, 28 Feb 2000 23:59:59 GMT");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http_date(4_102_444_799), "Thu, 31 Dec 2099 23:59:59 GMT");
    }
}
