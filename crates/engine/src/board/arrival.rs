//! When did a request arrive? The kernel had it before the loop came round to ask.
//!
//! What a turn finds has come since the turn before asked, or shortly before it was due to. While turns follow each other
//! closely, the turn's own begin is exact enough. After a longer pause (the loop was idle, or something blocked it) the
//! kernel says when the connection's last bytes came (`TCP_INFO`, 0.5 µs, in ticks of its clock); that is asked for a
//! few requests of such a turn, which for its others is close enough. So it costs nothing under load, and a blocked
//! loop shows in every request that waited for it, those in the accept queue included.

use std::os::fd::OwnedFd;

use crate::io::{clock, socket};

/// Requests of one turn that the kernel is asked about.
const ASKED_MAX: u32 = 4;

pub(super) struct Arrivals {
    /// When the present turn began.
    polled: u64,
    /// How long nobody had asked before: the present turn, the one before it (a connection accepted by the one is read
    /// by the other).
    pauses: [u64; 2],
    asked: u32,
    /// How long before `polled` the last request that was asked about had come.
    late: u64,
    /// The kernel's tick, in nanoseconds: what is shorter cannot be measured.
    tick: u64,
    /// When the next request to start had come, if it waited for a place.
    pub(super) queued: Option<u64>,
}

impl Arrivals {
    pub(super) fn new(now: u64) -> Self {
        Self { polled: now, pauses: [0; 2], asked: 0, late: 0, tick: clock::tick_ns(), queued: None }
    }

    #[inline]
    pub(super) fn turn(&mut self, now: u64) {
        self.pauses = [now.saturating_sub(self.polled), self.pauses[0]];
        self.polled = now;
        self.asked = 0;
        self.late = 0;
    }

    /// When the request on `socket` that is started `now` had come. Never later than the turn began.
    #[inline]
    pub(super) fn arrived(&mut self, now: u64, socket: Option<&OwnedFd>) -> u64 {
        if self.pauses[0].max(self.pauses[1]) >= self.tick {
            self.ask(now, socket);
        }
        self.polled.saturating_sub(self.late)
    }

    #[cold]
    fn ask(&mut self, now: u64, socket: Option<&OwnedFd>) {
        if self.asked < ASKED_MAX {
            self.asked += 1;
            let ago = socket.and_then(socket::last_received_ms).unwrap_or(0) * 1_000_000;
            // One tick may lie between two events that follow each other at once; two are a tick at least.
            self.late = if ago >= 2 * self.tick {
                self.polled.saturating_sub(now.saturating_sub(ago - self.tick / 2)).min(self.pauses[0] + self.pauses[1])
            } else {
                0
            };
        }
    }
}
