//! O(1) deadlines: one first-in-first-out list per kind of time-out.
//!
//! Every deadline of a kind is `now + a constant`, so the list is sorted by construction: arming appends, disarming
//! unlinks, and only the front can be due. Links are kept by slot index, so nothing is allocated per deadline.

/// What may run out. One deadline of each kind per slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// From accept to the complete TLS handshake.
    Handshake,
    /// From accept or the first byte to the complete head.
    Head,
    /// Between requests.
    KeepAlive,
    /// Idle long enough to give its caches back.
    Cool,
    /// The body must have made its minimum progress by then.
    Body,
    /// The peer must have taken bytes by then.
    Write,
    /// The application must have answered by then.
    Request,
    /// A queued request must have been started by then.
    Queue,
    /// Time to send a ping.
    Ping,
    /// The pong must have come by then.
    Pong,
    /// The peer's close frame must have come by then.
    CloseFrame,
    /// The peer must have closed by then.
    Linger,
}

pub(crate) const KINDS: [Kind; 12] = [
    Kind::Handshake,
    Kind::Head,
    Kind::KeepAlive,
    Kind::Cool,
    Kind::Body,
    Kind::Write,
    Kind::Request,
    Kind::Queue,
    Kind::Ping,
    Kind::Pong,
    Kind::CloseFrame,
    Kind::Linger,
];

const NONE: u32 = u32::MAX;

pub(crate) struct Deadlines {
    lists: [List; KINDS.len()],
}

struct List {
    /// Milliseconds; 0 turns the kind off.
    timeout: u64,
    head: u32,
    tail: u32,
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
struct Link {
    /// Milliseconds on the engine's clock; 0 when not armed.
    due: u64,
    previous: u32,
    next: u32,
}

const UNLINKED: Link = Link { due: 0, previous: NONE, next: NONE };

impl Deadlines {
    /// `timeouts` in milliseconds, in the order of [`KINDS`]; 0 is off.
    pub(crate) fn new(timeouts: [u64; KINDS.len()]) -> Self {
        Self { lists: timeouts.map(|timeout| List { timeout, head: NONE, tail: NONE, links: Vec::new() }) }
    }

    /// (Re)starts the deadline of `kind` for `slot` at `now`.
    #[inline]
    pub(crate) fn arm(&mut self, kind: Kind, slot: u32, now: u64) {
        let list = &mut self.lists[kind as usize];
        if list.timeout == 0 {
            return;
        }
        list.unlink(slot);
        if list.links.len() <= slot as usize {
            list.links.resize(slot as usize + 1, UNLINKED);
        }
        let tail = list.tail;
        list.links[slot as usize] = Link { due: now + list.timeout, previous: tail, next: NONE };
        match tail {
            NONE => list.head = slot,
            tail => list.links[tail as usize].next = slot,
        }
        list.tail = slot;
    }

    /// Starts it only if it does not run yet.
    #[inline]
    pub(crate) fn arm_once(&mut self, kind: Kind, slot: u32, now: u64) {
        if !self.is_armed(kind, slot) {
            self.arm(kind, slot, now);
        }
    }

    pub(crate) fn is_armed(&self, kind: Kind, slot: u32) -> bool {
        self.lists[kind as usize].links.get(slot as usize).is_some_and(|link| link.due != 0)
    }

    #[inline]
    pub(crate) fn disarm(&mut self, kind: Kind, slot: u32) {
        self.lists[kind as usize].unlink(slot);
    }

    pub(crate) fn disarm_all(&mut self, slot: u32) {
        for list in &mut self.lists {
            list.unlink(slot);
        }
    }

    /// The earliest deadline of all.
    pub(crate) fn next(&self) -> Option<u64> {
        self.lists.iter().filter_map(List::first_due).min()
    }

    /// Takes one slot whose deadline of `kind` has passed.
    pub(crate) fn pop_due(&mut self, kind: Kind, now: u64) -> Option<u32> {
        let list = &mut self.lists[kind as usize];
        let slot = list.head;
        (list.first_due()? <= now).then(|| {
            list.unlink(slot);
            slot
        })
    }
}

impl List {
    fn first_due(&self) -> Option<u64> {
        (self.head != NONE).then(|| self.links[self.head as usize].due)
    }

    #[inline]
    fn unlink(&mut self, slot: u32) {
        let Some(link) = self.links.get(slot as usize).copied().filter(|link| link.due != 0) else { return };
        match link.previous {
            NONE => self.head = link.next,
            previous => self.links[previous as usize].next = link.next,
        }
        match link.next {
            NONE => self.tail = link.previous,
            next => self.links[next as usize].previous = link.previous,
        }
        self.links[slot as usize] = UNLINKED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines() -> Deadlines {
        let mut timeouts = [0; KINDS.len()];
        timeouts[Kind::KeepAlive as usize] = 100;
        timeouts[Kind::Head as usize] = 10;
        Deadlines::new(timeouts)
    }

    #[test]
    fn deadlines_come_due_in_order_and_rearming_moves_to_the_back() {
        let mut deadlines = deadlines();
        for slot in 0..4 {
            deadlines.arm(Kind::KeepAlive, slot, 1 + u64::from(slot));
        }
        deadlines.arm(Kind::KeepAlive, 0, 50);
        deadlines.disarm(Kind::KeepAlive, 2);
        assert_eq!(deadlines.next(), Some(102));
        assert_eq!(deadlines.pop_due(Kind::KeepAlive, 101), None);
        let due: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(Kind::KeepAlive, 1000)).collect();
        assert_eq!(due, [1, 3, 0]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn kinds_are_independent_and_zero_is_off() {
        let mut deadlines = deadlines();
        deadlines.arm(Kind::Write, 7, 5);
        assert_eq!(deadlines.next(), None);
        deadlines.arm(Kind::KeepAlive, 7, 5);
        deadlines.arm(Kind::Head, 7, 5);
        deadlines.arm_once(Kind::Head, 7, 9);
        assert_eq!(deadlines.next(), Some(15));
        deadlines.disarm_all(7);
        assert_eq!(deadlines.next(), None);
    }
}
