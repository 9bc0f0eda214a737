//! Handing accepted connections to less loaded workers, and taking what others hand to this one.
//!
//! | file | what |
//! |---|---|
//! | `decide.rs` | keep it or hand it on: a pure function of loads |
//! | `slowness.rs` | what a request costs the others on a loop: one of the loads' numbers |
//! | `message.rs` | what accompanies a connection |
//! | `worker.rs` | all of it with the engine's state: own load, scoreboard, poller |
//! | `forward.rs` | a dead worker's unread connections, moved on by the parent |
//!
//! A worker has the sending ends of all workers' inboxes. Right after `accept`, before anything was read, it compares its
//! load with the others' on the scoreboard. To hand on, it adds one to the receiver's `incoming`, sends a copy of the
//! descriptor and closes its own. The receiver subtracts it again when the connection is among its own, so that at any
//! moment everybody sees it once, and a thousand decisions made within a millisecond see each other.
//!
//! Invariants: a descriptor has one owner at any time ([`OwnedFd`], or the message in the queue). A connection that
//! cannot be sent is kept. What is in an inbox outlives both workers: the parent has both ends. A connection that was
//! handed to this worker stays, unless this worker leaves by now; it moves [`HOPS_MAX`] times at most.
//!
//! What waits in the queue of a listener is nobody's yet, and a worker that holds its loop does not accept. So the others
//! look, with each beat, whether there is one whose requests take long or whose heart has stopped; if so, they accept from its
//! listeners as well (`crate::listener`). An ordinary worker's listeners are left alone: every helper is woken for every
//! connection.
//!
//! Called by `crate::accept`. Knows nothing of Python and of what a connection will say.

pub(crate) mod decide;
pub(crate) mod forward;
mod message;
pub(crate) mod slowness;
mod worker;

pub(crate) use self::worker::Arrived;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use self::decide::{decide, Load};
use self::message::{Header, Malformed, SIZE};
use self::slowness::Slowness;
use crate::io::passing;
use crate::listener::Accepting;

/// Workers that leave all at once must not pass a connection around for ever.
const HOPS_MAX: u8 = 4;
/// Bytes that may wait in one inbox, as far as the system allows: it doubles the number and counts about 770 for a message.
/// So 550 connections wait before senders keep what they have.
const QUEUE_BYTES: libc::c_int = 212_992;

/// The others, as the scoreboard shows them.
pub(crate) trait Peers {
    /// The load of the worker in `slot`; None when it takes no connections.
    fn load(&self, slot: usize) -> Option<Load>;
    /// Connections on their way to `slot`: one more, or one less.
    fn add_incoming(&self, slot: usize);
    fn remove_incoming(&self, slot: usize);
}

pub(crate) struct Handoff {
    own: usize,
    inbox: Option<OwnedFd>,
    /// Whether the poller watches the inbox.
    watched: Accepting,
    pub(crate) slowness: Slowness,
    /// By slot; None for this worker's own and for slots without an inbox.
    outboxes: Vec<Option<OwnedFd>>,
    /// Where the search for the least loaded begins, so that equals take turns.
    first: usize,
    slots: Vec<usize>,
    loads: Vec<Load>,
}

/// What a look into the inbox has brought.
pub(crate) enum Taken {
    Connection {
        fd: OwnedFd,
        listener: usize,
        hops: u8,
        counted: bool,
    },
    Malformed(Malformed),
    /// Nothing is there now.
    Nothing,
    /// This process may not open another descriptor; what is there stays there.
    NoRoom(io::Error),
    /// Nothing will come any more.
    Ended,
}

/// Duplicates of descriptors that Python owns.
fn duplicate(fd: RawFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the caller's descriptor is open during this call; a duplicate is kept.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()).transpose()
}

impl Handoff {
    /// Duplicates the descriptors; negative numbers stand for none.
    pub(crate) fn new(own: usize, inbox: RawFd, outboxes: &[RawFd]) -> io::Result<Self> {
        let outboxes = outboxes
            .iter()
            .enumerate()
            .map(|(slot, fd)| duplicate(if slot == own { -1 } else { *fd }))
            .collect::<io::Result<Vec<_>>>()?;
        for outbox in outboxes.iter().flatten() {
            passing::prepare_sender(outbox, QUEUE_BYTES);
        }
        Ok(Self {
            own,
            inbox: duplicate(inbox)?,
            watched: Accepting::No,
            slowness: Slowness::default(),
            outboxes,
            first: own,
            slots: Vec::new(),
            loads: Vec::new(),
        })
    }

    /// This worker's slot.
    pub(crate) fn own(&self) -> usize {
        self.own
    }

    /// The slots of the others.
    fn reachable(&self) -> impl Iterator<Item = usize> + '_ {
        self.outboxes.iter().enumerate().filter_map(|(slot, outbox)| outbox.as_ref().map(|_| slot))
    }

    fn close_inbox(&mut self) {
        self.inbox = None;
    }

    /// Hands the connection on if another worker should have it. The descriptor comes back when it is to stay here.
    pub(crate) fn hand_on(
        &mut self,
        peers: &impl Peers,
        own: Load,
        leaving: bool,
        listener: usize,
        hops: u8,
        fd: OwnedFd,
    ) -> Option<OwnedFd> {
        if hops >= HOPS_MAX {
            return Some(fd);
        }
        self.look_around(peers);
        while let Some(at) = decide(own, leaving, &self.loads) {
            let slot = self.slots[at];
            let header = Header {
                listener: listener as u32,
                sender: self.own as u32,
                counted: true,
                hops: hops.wrapping_add(1),
            };
            peers.add_incoming(slot);
            let sent = self.outboxes[slot]
                .as_ref()
                .is_some_and(|outbox| passing::send(outbox.as_raw_fd(), &header.encode(), fd.as_fd()).is_ok());
            if sent {
                return None;
            }
            // Its queue is full, or nobody has its other end: the next best is asked.
            peers.remove_incoming(slot);
            self.slots.swap_remove(at);
            self.loads.swap_remove(at);
        }
        Some(fd)
    }

    /// Reads the others' loads, beginning with another one each time.
    fn look_around(&mut self, peers: &impl Peers) {
        let Self { outboxes, slots, loads, first, .. } = self;
        slots.clear();
        loads.clear();
        let count = outboxes.len();
        *first = if *first + 1 >= count { 0 } else { *first + 1 };
        for slot in (*first..count).chain(0..*first) {
            if outboxes[slot].is_none() {
                continue;
            }
            if let Some(load) = peers.load(slot) {
                slots.push(slot);
                loads.push(load);
            }
        }
    }

    /// Takes one message from the inbox. `ended`: the poller says that no sender is left.
    pub(crate) fn take(&mut self, ended: bool) -> Taken {
        let Some(inbox) = &self.inbox else { return Taken::Nothing };
        // A descriptor for which there is no place would be lost on its way in.
        if let Err(error) = inbox.try_clone() {
            return Taken::NoRoom(error);
        }
        let mut bytes = [0; SIZE];
        let message = match passing::receive(inbox.as_raw_fd(), &mut bytes, false) {
            Ok(message) if message.length == 0 && message.descriptor.is_none() && ended => return Taken::Ended,
            Ok(message) => message,
            Err(_) if ended => return Taken::Ended,
            Err(_) => return Taken::Nothing,
        };
        match (Header::decode(&bytes, message.length), message.descriptor) {
            (Ok(header), Some(fd)) if !message.cut => {
                Taken::Connection { fd, listener: header.listener as usize, hops: header.hops, counted: header.counted }
            }
            (Ok(_), _) => Taken::Malformed(Malformed::Descriptors),
            (Err(malformed), _) => Taken::Malformed(malformed),
        }
    }
}

#[cfg(test)]
mod tests;
