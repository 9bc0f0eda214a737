//! Turns of the event loop that take too long, noticed while they last and told to whoever can look at the stack.
//!
//! Two signs, both at the cost of nothing to the loop. A request's first step that goes on: the scoreboard has its
//! begin. And for everything else the beat: when the loop is seen busy and has not come round to the engine for a while,
//! the beat is rung; a loop that goes round answers with its next turn, and one that does not stands still. Durations
//! count from the step's begin, or from the ring: never too long, at most one look too short.
//!
//! A report is one write to a pipe: when it began and the heartbeat at that moment, little-endian, then the request's
//! line if it is known. The turn is over when the heartbeat is another one. A pipe that is full costs the report.

use std::os::fd::RawFd;
use std::time::Duration;

use super::layout::{Slot, Word};
use super::text;
use crate::io::poller::ring;

/// Shorter than this would be nothing but looking.
const REST_MIN: Duration = Duration::from_millis(5);

pub(crate) struct Slow {
    limit: u64,
    /// The engine's; open for as long as the sampler runs, which ends first.
    beat: RawFd,
    /// The writing end of a pipe that does not block.
    report: RawFd,
    /// When the beat was rung, and is not answered yet; 0 otherwise.
    rung: u64,
    /// The heartbeat of the turn that was told.
    told: u64,
}

impl Slow {
    /// None when nothing is to be watched: `seconds` is 0.
    pub(crate) fn new(seconds: f64, beat: RawFd, report: RawFd) -> Option<Self> {
        let limit = (seconds * 1e9) as u64;
        (limit > 0).then_some(Self { limit, beat, report, rung: 0, told: 0 })
    }

    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        vec![self.beat, self.report]
    }

    /// How long to rest between two looks. No turn over the limit and a quarter is missed that began with a request,
    /// none over two limits and a quarter that did not. In idleness it is the waking up that costs: some 30 µs each.
    pub(super) fn rests(&self, active: Duration, idle: Duration) -> (Duration, Duration) {
        let limit = Duration::from_nanos(self.limit);
        (active.min(limit / 4).max(REST_MIN), idle.min(limit).max(REST_MIN))
    }

    pub(super) fn look(&mut self, slot: &Slot, now: u64, busy: bool) {
        let heartbeat = slot.get(Word::HeartbeatNs);
        if heartbeat >= self.rung {
            self.rung = 0;
        }
        if !busy && self.rung == 0 {
            return;
        }
        let step = text::since(slot.current());
        if self.rung == 0 && now.saturating_sub(heartbeat) >= self.limit / 8 {
            self.rung = now;
            ring(self.beat);
        }
        let stands = [step, self.rung].into_iter().filter(|since| *since != 0).min().unwrap_or(now);
        if now.saturating_sub(stands) >= self.limit && self.told != heartbeat {
            self.told = heartbeat;
            self.tell(stands, heartbeat, slot);
        }
    }

    fn tell(&self, begun: u64, heartbeat: u64, slot: &Slot) {
        let line = text::read(slot.current()).map_or_else(String::new, |(line, _)| line);
        let mut message = [begun.to_le_bytes(), heartbeat.to_le_bytes()].concat();
        message.extend_from_slice(line.as_bytes());
        // SAFETY: the buffer is valid for its length. Fewer bytes than PIPE_BUF: all of them are written, or none.
        unsafe { libc::write(self.report, message.as_ptr().cast(), message.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_is_nothing_to_watch() {
        assert!(Slow::new(0.0, -1, -1).is_none());
    }

    #[test]
    fn looks_are_close_enough_for_the_limit() {
        let rests = |milliseconds: f64| {
            let slow = Slow::new(milliseconds / 1000.0, -1, -1).map(|slow| {
                let (active, idle) = slow.rests(Duration::from_millis(50), Duration::from_millis(250));
                (active.as_millis(), idle.as_millis())
            });
            slow.unwrap_or_default()
        };
        assert_eq!(rests(100.0), (25, 100));
        assert_eq!(rests(1000.0), (50, 250));
        assert_eq!(rests(1.0), (5, 5));
    }
}
