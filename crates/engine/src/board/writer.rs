//! What an engine writes into its slot, from the loop's thread: plain stores, no locked instruction.
//!
//! Numbers that others decide by (connections, requests in flight) are written when they change; the other counters
//! once per turn, from the engine's own.

use std::sync::Arc;

use super::layout::{Slot, Word, CLEARED};
use super::map::{Map, OwnSlot};
use crate::io::clock;
use crate::stats::Stats;

/// An engine's place on the scoreboard.
pub(crate) struct Board {
    slot: OwnSlot,
    turns: u64,
}

impl Board {
    /// Begins in the slot, from zero. None when there is no such slot.
    pub(super) fn new(map: &Arc<Map>, index: usize) -> Option<Self> {
        let slot = OwnSlot::new(map, index)?;
        for at in CLEARED.into_iter().flatten() {
            slot.store(at, 0);
        }
        let now = clock::precise_ns();
        slot.set(Word::StartedNs, now);
        slot.set(Word::HeartbeatNs, now);
        slot.set(Word::Pid, u64::from(std::process::id()));
        Some(Self { slot, turns: 0 })
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(super) fn map(&self) -> &Map {
        self.slot.map()
    }

    /// The loop has come round to the engine, at `now` (precise nanoseconds).
    #[inline]
    pub(crate) fn turn(&mut self, now: u64) {
        self.turns += 1;
        self.slot.set(Word::HeartbeatNs, now);
        self.slot.set(Word::Turns, self.turns);
    }

    #[inline]
    pub(crate) fn connections(&self, open: usize) {
        self.slot.set(Word::Connections, open as u64);
    }

    /// A request has begun or ended; so many applications work now.
    #[inline]
    pub(crate) fn in_flight(&self, requests: u64, active: usize) {
        self.slot.set(Word::Requests, requests);
        self.slot.set(Word::InFlight, active as u64);
    }

    /// The engine's counters, once per turn.
    #[inline]
    pub(crate) fn publish(&self, stats: &Stats) {
        let slot = &self.slot;
        slot.set(Word::Accepted, stats.accepted);
        slot.set(Word::HandedOver, stats.handed_over);
        slot.set(Word::TakenOver, stats.taken_over);
        slot.set(Word::Refused, stats.refused + stats.overloaded);
        slot.set(Word::TimedOut, stats.timed_out);
        slot.set(Word::ApplicationErrors, stats.application_errors);
        slot.set(Word::BytesReceived, stats.bytes_received);
        slot.set(Word::BytesSent, stats.bytes_sent);
    }
}
