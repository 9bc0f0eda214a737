//! The slots of the other workers, as an engine sees them: is there somebody with less to do?

use std::sync::atomic::Ordering;

use super::layout::{Slot, Word, LEAVING, READY};
use super::Board;

/// What a worker that takes connections has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerLoad {
    /// Connections that it has.
    pub(crate) connections: u64,
    /// Connections on their way to it.
    pub(crate) incoming: u64,
    /// How busy its loop was in the last second or so, in thousandths.
    pub(crate) busy: u64,
    /// What a request costs the others on its loop, in microseconds.
    pub(crate) cost_us: u64,
}

impl Board {
    /// The load of the worker in `slot`. None unless it is ready to take connections. Five loads.
    pub(crate) fn peer_load(&self, slot: usize) -> Option<PeerLoad> {
        let slot = self.map().slot(slot)?;
        (slot.get(Word::State) == READY).then(|| load(slot))
    }

    /// This engine's own, whatever its state.
    pub(crate) fn own_load(&self) -> PeerLoad {
        load(self.slot())
    }

    /// The parent has begun this worker's end.
    pub(crate) fn is_leaving(&self) -> bool {
        LEAVING.contains(&self.slot().get(Word::State))
    }

    /// What a request costs the others on this engine's loop, in microseconds.
    #[inline]
    pub(crate) fn cost(&self, us: u32) {
        self.slot().set(Word::CostUs, u64::from(us));
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
    }
}

/// The one word that several processes write.
fn change(slot: &Slot, work: impl Fn(u64) -> u64) {
    let word = &slot.0[Word::Incoming as usize];
    // The closure always has a value, so this cannot fail.
    let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| Some(work(u64::from_le(value)).to_le()));
}
