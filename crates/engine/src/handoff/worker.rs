//! Hand-off as the engine's state does it: with its own load, its scoreboard and its poller.

use std::os::fd::{AsRawFd, OwnedFd};

use super::decide::{can_help, Load};
use super::{Handoff, Peers, Taken};
use crate::accept;
use crate::board::Board;
use crate::core::{level, Inner};
use crate::io::clock;
use crate::listener::Accepting;
use crate::turn::INBOX;

/// A connection that another worker has accepted.
pub(crate) struct Arrived {
    /// None when it is not ours any more.
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) listener: usize,
    /// It is to be subtracted from what is on its way to this worker ([`Inner::arrived`]).
    pub(crate) counted: bool,
}

/// The other workers, now (precise nanoseconds).
struct Others<'a> {
    board: &'a Board,
    now: u64,
}

impl Peers for Others<'_> {
    fn load(&self, slot: usize) -> Option<Load> {
        self.board.peer_load(slot, self.now).map(|peer| Load {
            connections: peer.connections.saturating_add(peer.incoming),
            busy: peer.busy as f32 / 1_000.0,
            cost_us: u32::try_from(peer.cost_us).unwrap_or(u32::MAX),
            step_us: u32::try_from(peer.step_us).unwrap_or(u32::MAX),
        })
    }

    fn add_incoming(&self, slot: usize) {
        self.board.add_incoming(slot, 1);
    }

    fn remove_incoming(&self, slot: usize) {
        self.board.remove_incoming(slot, 1);
    }
}

/// `now`: engine milliseconds.
fn own_load(handoff: &mut Handoff, board: &Board, open: u64, now: u64) -> Load {
    let own = board.own_load();
    Load {
        connections: open.saturating_add(own.incoming),
        busy: own.busy as f32 / 1_000.0,
        cost_us: handoff.slowness.cost_us(now),
        step_us: handoff.slowness.step_us(now),
    }
}

impl Inner {
    /// Gives a connection that nothing was read from to another worker, if one should have it. The descriptor comes
    /// back when it is to stay here.
    pub(crate) fn hand_on(&mut self, listener: usize, hops: u8, fd: OwnedFd) -> Option<OwnedFd> {
        let leaving = self.is_leaving();
        let open = self.connections() as u64;
        let (Some(handoff), Some(board)) = (&mut self.handoff, &self.board) else { return Some(fd) };
        let own = own_load(handoff, board, open, self.now);
        let others = Others { board, now: clock::precise_ns() };
        let kept = handoff.hand_on(&others, own, leaving, listener, hops, fd);
        if kept.is_none() {
            self.stats.handed_over += 1;
        }
        kept
    }

    /// The next connection of the inbox. None when there is nothing to take now.
    pub(crate) fn take(&mut self, ended: bool) -> Option<Arrived> {
        let handoff = self.handoff.as_mut()?;
        match handoff.take(ended) {
            Taken::Connection { fd, listener, hops, counted } => {
                self.stats.taken_over += 1;
                let fd = if listener >= self.listeners.len() {
                    self.report(
                        level::ERROR,
                        format!("dropped a connection of another worker: it has a listener {listener}, this one not"),
                    );
                    None
                } else if self.is_leaving() {
                    self.hand_on(listener, hops, fd)
                } else {
                    Some(fd)
                };
                Some(Arrived { fd, listener, counted })
            }
            Taken::Malformed(malformed) => {
                self.report(
                    level::ERROR,
                    format!("dropped what came instead of another worker's connection: {malformed}"),
                );
                Some(Arrived { fd: None, listener: 0, counted: false })
            }
            Taken::Nothing => None,
            Taken::NoRoom(error) => {
                self.stop_taking(Accepting::Resting);
                self.wake_later();
                accept::report_refused(self, &error);
                None
            }
            Taken::Ended => {
                self.stop_taking(Accepting::No);
                if let Some(handoff) = &mut self.handoff {
                    handoff.close_inbox();
                }
                None
            }
        }
    }

    /// What [`Inner::take`] has brought is among our connections, or is no more.
    pub(crate) fn arrived(&self, counted: bool) {
        if let (true, Some(handoff), Some(board)) = (counted, &self.handoff, &self.board) {
            board.remove_incoming(handoff.own(), 1);
        }
    }

    /// The end of this worker has begun: others serve what comes now.
    fn is_leaving(&self) -> bool {
        self.draining
            || self.listeners.iter().all(|listener| listener.fd.is_none())
            || self.board.as_ref().is_some_and(Board::is_leaving)
    }

    /// A turn is over that began at `started` (precise nanoseconds) and with so many requests counted.
    #[inline]
    pub(crate) fn turned(&mut self, started: u64, requests: u64) {
        let begun = (self.stats.requests - requests) as u32;
        if let (Some(handoff), Some(board), true) = (&mut self.handoff, &self.board, begun > 0) {
            handoff.slowness.turned(clock::precise_ns() - started, begun, self.now);
            board.cost(handoff.slowness.cost_us(self.now), handoff.slowness.step_us(self.now));
        }
    }

    /// The engine's timer has fired, so late. What fades with time is told anew, and whether others need help with
    /// accepting is looked at.
    pub(crate) fn beaten(&mut self, late: u64) {
        let open = self.connections() as u64;
        let (Some(handoff), Some(board)) = (&mut self.handoff, &self.board) else { return };
        handoff.slowness.late(late, self.now);
        board.cost(handoff.slowness.cost_us(self.now), handoff.slowness.step_us(self.now));
        let now = clock::precise_ns();
        let help = board.is_ready() && {
            handoff.look_around(&Others { board, now });
            let own = own_load(handoff, board, open, self.now);
            can_help(&own, &handoff.loads) || handoff.reachable().any(|slot| board.is_stuck(slot, now))
        };
        self.help(help);
    }

    /// Watches the inbox, if there is one.
    pub(crate) fn begin_taking(&mut self) -> std::io::Result<()> {
        if let Some(handoff) = &mut self.handoff {
            if let (Some(inbox), true) = (&handoff.inbox, handoff.watched != Accepting::Yes) {
                self.poller.add_listener(inbox.as_raw_fd(), INBOX)?;
                handoff.watched = Accepting::Yes;
            }
        }
        Ok(())
    }

    fn stop_taking(&mut self, until: Accepting) {
        let Some(handoff) = &mut self.handoff else { return };
        if let (Some(inbox), Accepting::Yes) = (&handoff.inbox, handoff.watched) {
            // What is registered can be removed.
            let _ = self.poller.remove(inbox.as_raw_fd());
            handoff.watched = until;
        }
    }
}
