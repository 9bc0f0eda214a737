//! The slots of the other workers, as an engine sees them: is there somebody with less to do?

use std::sync::atomic::Ordering;

use super::layout::{Slot, Word, LEAVING, READY, STUCK};
use super::Board;

/// A heart that has not beaten for so long has stopped: an idle worker's beats once a second.
const STOPPED_NS: u64 = 1_500_000_000;

/// What a worker that takes connections has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerLoad {
    /// Connections that it has.
    pub(crate) connections: u64,
    /// Connections on their way to it.
    pub(crate) incoming: u64,
    /// How busy its loop was in the last second or so, in thousandths.
    pub(crate) busy: u64,
    /// What a request costs the others on its loop, and the part of it that is its first step, in microseconds.
    pub(crate) cost_us: u64,
    pub(crate) step_us: u64,
}

impl Board {
    /// The load of the worker in `slot`. None unless it is ready to take connections and its loop comes round. `now`:
    /// precise nanoseconds. Seven loads.
    pub(crate) fn peer_load(&self, slot: usize, now: u64) -> Option<PeerLoad> {
        let slot = self.map().slot(slot)?;
        let beats = now.saturating_sub(slot.get(Word::HeartbeatNs)) <= STOPPED_NS;
        (beats && slot.get(Word::State) == READY).then(|| load(slot))
    }

    /// This engine's own, whatever its state.
    pub(crate) fn own_load(&self) -> PeerLoad {
        load(self.slot())
    }

    /// The parent has begun this worker's end.
    pub(crate) fn is_leaving(&self) -> bool {
        LEAVING.contains(&self.slot().get(Word::State))
    }

    /// This worker takes connections.
    pub(crate) fn is_ready(&self) -> bool {
        self.slot().get(Word::State) == READY
    }

    /// The loop of the worker in `slot` does not come round, or is found not to. `now`: precise nanoseconds.
    pub(crate) fn is_stuck(&self, slot: usize, now: u64) -> bool {
        let Some(slot) = self.map().slot(slot) else { return false };
        match slot.get(Word::State) {
            READY => now.saturating_sub(slot.get(Word::HeartbeatNs)) > STOPPED_NS,
            state => state == STUCK,
        }
    }

    /// What a request costs the others on this engine's loop, and the part of it that is its first step, in microseconds.
    #[inline]
    pub(crate) fn cost(&self, us: u32, step_us: u32) {
        self.slot().set(Word::CostUs, u64::from(us));
        self.slot().set(Word::StepUs, u64::from(step_us));
    }

    /// `count` connections are on their way to `slot`.
    pub(crate) fn add_incoming(&self, slot: usize, count: u64) {
        if let Some(slot) = self.map().slot(slot) {
            change(slot, |incoming| incoming.saturating_add(count));
        }
    }

    /// They have arrived, or do not go there after all. Never below 0: the slot may have been reset meanwhile.
    pub(crate) fn remove_incoming(&self, slot: usize, count: u64) {
        if let Some(slot) = self.map().slot(slot) {
            change(slot, |incoming| incoming.saturating_sub(count));
        }
    }
}

fn load(slot: &Slot) -> PeerLoad {
    PeerLoad {
        connections: slot.get(Word::Connections),
        incoming: slot.get(Word::Incoming),
        busy: slot.get(Word::Busy),
        cost_us: slot.get(Word::CostUs),
        step_us: slot.get(Word::StepUs),
    }
}

/// The one word that several processes write.
fn change(slot: &Slot, work: impl Fn(u64) -> u64) {
    let word = &slot.0[Word::Incoming as usize];
    // The closure always has a value, so this cannot fail.
    let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| Some(work(u64::from_le(value)).to_le()));
}
