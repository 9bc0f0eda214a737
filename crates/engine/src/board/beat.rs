//! The engine's beat: a timer of its own, so that an idle loop comes round to the engine, too, and the heartbeat of a
//! worker whose loop is free is never old. How late a beat is tells how long the loop kept others waiting.

use super::layout::{Histogram, Word};
use super::Board;
use crate::core::Core;
use crate::core::Inner;
use crate::io::clock;

/// Between two beats, in nanoseconds: without and with other turns since the last one.
const IDLE: u64 = 1_000_000_000;
const ACTIVE: u64 = 100_000_000;

pub(super) struct Beat {
    /// When the next one is due, by the precise clock.
    due: u64,
    beats: u64,
    /// Turns up to the last beat's.
    turns: u64,
}

impl Beat {
    pub(super) fn new(now: u64) -> Self {
        Self { due: now + ACTIVE, beats: 0, turns: 0 }
    }
}

impl Board {
    /// When the next beat is due.
    pub(crate) fn next_beat(&self) -> u64 {
        self.beat.due
    }

    /// Returns how late it is, in nanoseconds; None when it was rung before its time, to see whether the loop comes.
    fn beat(&mut self) -> Option<u64> {
        let now = clock::precise_ns();
        if now < self.beat.due {
            // A turn without any work, like the beat's own.
            self.beat.turns += 1;
            self.beat.beats += 1;
            self.slot.set(Word::Beats, self.beat.beats);
            return None;
        }
        let late = now.saturating_sub(self.beat.due);
        self.slot.count(Histogram::LoopLag, late);
        // The beat's own turn is no activity.
        let active = self.turns > self.beat.turns + 1;
        self.beat.turns = self.turns;
        self.beat.beats += 1;
        self.slot.set(Word::Beats, self.beat.beats);
        self.beat.due = now + if active { ACTIVE } else { IDLE };
        Some(late)
    }
}

/// The beat's timer has fired.
pub(crate) fn beat(core: &Core) {
    core.with(|inner| {
        let Inner { board: Some(board), poller, tasks, conns, .. } = inner else { return };
        poller.clear_beat();
        let late = board.beat();
        poller.beat_at(board.next_beat());
        let Some(late) = late else { return };
        board.refill(tasks, conns);
        inner.beaten(late);
    });
}
