//! How long one thing may go on before others have their turn.
//!
//! A client that sends without a pause always has more to be read, and with it the loop would never end. What is over at
//! once, as nearly everything is, need not look at the clock. Used by `turn.rs` and `http/read.rs`.

use crate::io::clock;

/// A connection's part of a turn.
pub(crate) const OF_CONNECTION_NS: u64 = 500_000;
/// How long one turn may keep the event loop's other callbacks waiting.
pub(crate) const OF_TURN_NS: u64 = 1_000_000;
/// How many bytes applications may send and receive before the loop's other callbacks, and what a call counts at least.
pub(crate) const OF_STEP: u64 = 1024 * 1024;
pub(crate) const OF_CALL: u64 = 1024;

/// The time begins with the second question.
pub(crate) struct Share {
    nanoseconds: u64,
    questions: u64,
    begun: u64,
}

impl Share {
    #[inline]
    pub(crate) fn of(nanoseconds: u64) -> Self {
        Self { nanoseconds, questions: 0, begun: 0 }
    }

    /// Asked after each piece of work.
    #[inline]
    pub(crate) fn is_used_up(&mut self) -> bool {
        self.questions += 1;
        self.questions > 1 && self.has_lasted(clock::precise_ns())
    }

    fn has_lasted(&mut self, now: u64) -> bool {
        if self.questions == 2 {
            self.begun = now;
        }
        now - self.begun >= self.nanoseconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_is_free_and_the_second_begins() {
        let mut share = Share::of(0);
        assert!(!share.is_used_up());
        assert!(share.is_used_up());
        let mut share = Share::of(u64::MAX);
        assert!(!(0..1000).any(|_| share.is_used_up()));
    }

    #[test]
    fn it_ends_in_time() {
        let mut share = Share::of(1_000_000);
        let begun = clock::precise_ns();
        while !share.is_used_up() {}
        assert!(clock::precise_ns() - begun >= 1_000_000);
    }
}
