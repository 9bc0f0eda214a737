//! The table of suspended requests: up to [`WAITING`], the oldest kept. WebSockets are not among them: waiting is what
//! they do.
//!
//! A request that finds the table full is looked for again when places are free (`refill`, with the beat).

use super::layout::WAITING;
use super::writer::shown;
use super::{text, Board};
use crate::conn::{Conn, Running};
use crate::io::slots::{Key, Slots};

const _: () = assert!(WAITING == u32::BITS as usize);

/// A request's place in the table, if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(Option<u8>);

#[derive(Default)]
pub(super) struct Waiting {
    /// One bit per place.
    taken: u32,
    /// There are suspended requests without a place.
    missed: bool,
}

impl Waiting {
    fn take(&mut self) -> Option<u8> {
        let free = self.taken.trailing_ones();
        if free == u32::BITS {
            self.missed = true;
            return None;
        }
        self.taken |= 1 << free;
        Some(free as u8)
    }
}

impl Board {
    /// The request whose first step ran is suspended. Returns when that step began, and the request's place.
    pub(crate) fn suspended(&mut self) -> (u64, Place) {
        let place = self.waiting.take();
        if let Some(place) = place {
            text::copy(self.slot.current(), self.slot.waiting(place.into()));
        }
        (text::since(self.slot.current()), Place(place))
    }

    /// A suspended request is over.
    pub(crate) fn over(&mut self, place: Place) {
        if let Some(place) = place.0 {
            text::clear(self.slot.waiting(place.into()));
            self.waiting.taken &= !(1 << place);
        }
    }

    pub(super) fn nobody_waits(&mut self) {
        for place in 0..WAITING {
            text::clear(self.slot.waiting(place));
        }
        self.waiting = Waiting::default();
    }

    /// Gives free places to the oldest requests that found none.
    pub(super) fn refill(&mut self, tasks: &mut Slots<Running>, conns: &mut Slots<Conn>) {
        let free = self.waiting.taken.count_zeros() as usize;
        if !self.waiting.missed || free == 0 {
            return;
        }
        let mut without: Vec<(u64, Key)> = Vec::new();
        for key in tasks.keys() {
            match tasks.get_mut(key) {
                Some(running) if running.place == Place(None) && !running.link.websocket => {
                    without.push((running.since, key));
                }
                _ => {}
            }
        }
        self.waiting.missed = without.len() > free;
        if self.waiting.missed {
            without.select_nth_unstable_by_key(free - 1, |(since, _)| *since);
        }
        for (since, key) in without.into_iter().take(free) {
            let Some(running) = tasks.get_mut(key) else { continue };
            let conn = conns.get_mut(running.link.key).filter(|conn| conn.serial == running.link.serial);
            let line =
                conn.and_then(|conn| conn.memo.as_ref()).map_or(&b"an earlier request"[..], |memo| shown(&memo.line));
            if let Some(place) = self.waiting.take() {
                text::write(self.slot.waiting(place.into()), since, line);
                running.place = Place(Some(place));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_once() {
        let mut waiting = Waiting::default();
        let all: Vec<_> = std::iter::from_fn(|| waiting.take()).collect();
        assert_eq!(all, (0..WAITING as u8).collect::<Vec<_>>());
        assert!(waiting.missed);
        waiting.taken &= !(1 << 7);
        assert_eq!((waiting.take(), waiting.take()), (Some(7), None));
    }
}
