//! The time at the start of a log line: RFC 3339, local time with its offset, milliseconds.
//!
//! The clock is read once per batch of lines and the text up to the second is made once per second. The clock is the
//! coarse one (a tick of the kernel, 1 to 10 ms); durations are measured with another.

use std::mem::MaybeUninit;

use crate::io::clock;

#[derive(Default)]
pub(crate) struct Stamp {
    second: u64,
    /// `2026-01-02T14:04:31.`
    start: String,
    /// `+02:00`
    offset: String,
    rendered: Vec<u8>,
}

impl Stamp {
    /// The next line belongs to another batch.
    #[inline]
    pub(crate) fn outdate(&mut self) {
        self.rendered.clear();
    }

    /// Appends the time.
    #[inline]
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        if self.rendered.is_empty() {
            self.render();
        }
        out.extend_from_slice(&self.rendered);
    }

    fn render(&mut self) {
        let (second, millisecond) = clock::unix_ms();
        if second != self.second || self.start.is_empty() {
            self.second = second;
            let offset = local_offset(second);
            let local = second.saturating_add_signed(offset);
            let (year, month, day, _) = clock::civil(local / 86_400);
            let (hour, minute, part) = (local / 3600 % 24, local / 60 % 60, local % 60);
            self.start = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{part:02}.");
            let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() / 60);
            self.offset = format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60);
        }
        self.rendered.extend_from_slice(self.start.as_bytes());
        let digit = |value: u32| b'0' + (value % 10) as u8;
        self.rendered.extend_from_slice(&[digit(millisecond / 100), digit(millisecond / 10), digit(millisecond)]);
        self.rendered.extend_from_slice(self.offset.as_bytes());
    }
}

/// Seconds that local time is ahead of UTC.
fn local_offset(second: u64) -> i64 {
    let time = second as libc::time_t;
    let mut local = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call, and a zeroed tm is a valid one.
    unsafe {
        libc::localtime_r(&time, local.as_mut_ptr());
        local.assume_init().tm_gmtoff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_batch_has_one_time() {
        let mut stamp = Stamp::default();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        stamp.write(&mut first);
        stamp.write(&mut second);
        assert_eq!(first, second);
        assert_eq!(first.len(), "2026-01-02T14:04:31.123+02:00".len());
        assert_eq!(&first[19..20], b".");
    }
}
