//! What an engine writes into its slot, from the loop's thread: plain stores, no locked instruction.
//!
//! Numbers that others decide by (connections, requests in flight) are written when they change, and so is the line of
//! the request whose first step runs; the other counters once per turn, from the engine's own.

use std::io;
use std::os::fd::OwnedFd;

use super::arrival::Arrivals;
use super::beat::Beat;
use super::layout::{Histogram, Slot, Word, CLEARED};
use super::map::{Map, OwnSlot};
use super::sampler::Sampler;
use super::series::{Labels, Series};
use super::slow::Slow;
use super::text;
use super::waiting::Waiting;
use crate::io::clock;
use crate::stats::Stats;

/// An engine's place on the scoreboard.
pub(crate) struct Board {
    pub(super) slot: OwnSlot,
    pub(super) arrivals: Arrivals,
    pub(super) beat: Beat,
    pub(super) waiting: Waiting,
    pub(super) series: Series,
    pub(super) turns: u64,
    /// The first step is made where the request is started, and not by a later pass of the loop.
    eager: bool,
    process: u32,
    _sampler: Sampler,
}

/// What an exchange remembers for the scoreboard: precise nanoseconds, 0 for "nothing (more) to count".
#[derive(Clone, Copy, Default)]
pub(crate) struct Times {
    started: u64,
    /// When the request had come, while its first step has not been seen.
    arrived: u64,
    labels: Labels,
}

/// A request that has got its response.
#[derive(Clone, Copy)]
pub(crate) struct Answered {
    pub(super) started: u64,
    pub(super) labels: Labels,
}

impl Board {
    /// Begins in a slot, from zero. To be called on the event loop's thread.
    ///
    /// # Errors
    /// When the sampler's thread cannot be started.
    pub(super) fn new(slot: OwnSlot, eager: bool, slow: Option<Slow>) -> io::Result<Self> {
        for at in CLEARED.into_iter().flatten() {
            slot.store(at, 0);
        }
        let (now, process) = (clock::precise_ns(), std::process::id());
        slot.set(Word::StartedNs, now);
        slot.set(Word::HeartbeatNs, now);
        slot.set(Word::Pid, u64::from(process));
        let sampler = Sampler::start(slot.again(), slow)?;
        Ok(Self {
            slot,
            arrivals: Arrivals::new(now),
            beat: Beat::new(now),
            waiting: Waiting::default(),
            series: Series::default(),
            turns: 0,
            eager,
            process,
            _sampler: sampler,
        })
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
        self.arrivals.turn(now);
        self.slot.set(Word::HeartbeatNs, now);
        self.slot.set(Word::Turns, self.turns);
    }

    /// The loop runs the engine outside of a turn, at `now`: what is started has come over the application, not the network.
    pub(crate) fn outside(&mut self, now: u64) {
        self.arrivals.turn(now);
    }

    /// All connections, and those of them that speak HTTP/2.
    #[inline]
    pub(crate) fn connections(&self, open: usize, h2: usize) {
        self.slot.set(Word::Connections, open as u64);
        self.slot.set(Word::H2Open, h2 as u64);
    }

    /// A stream has come or gone: those that are open, and all so far.
    #[inline]
    pub(crate) fn streams(&self, open: usize, all: u64) {
        self.slot.set(Word::H2StreamsOpen, open as u64);
        self.slot.store(Word::H2 as usize + 1, all);
    }

    /// Something of HTTP/2 was counted that is rare.
    #[cold]
    pub(crate) fn count_h2(&self, stats: &Stats) {
        for (at, count) in stats.of_h2().into_iter().enumerate() {
            self.slot.store(Word::H2 as usize + at, count);
        }
    }

    /// An application was called or has returned: all calls so far, and those that work now.
    #[inline]
    pub(crate) fn working(&self, requests: u64, active: usize, websockets: usize) {
        self.slot.set(Word::Requests, requests);
        self.slot.set(Word::InFlight, active as u64);
        self.slot.set(Word::Websockets, websockets as u64);
    }

    /// A request that waited for a place under the concurrency limit gets one; it had come at `since`.
    #[inline]
    pub(crate) fn was_queued(&mut self, since: Option<u64>) {
        self.arrivals.queued = since;
    }

    /// The application is about to be called, at `now` (precise nanoseconds), for the request with this line (its CRLF
    /// included).
    #[inline]
    pub(crate) fn begin(&mut self, now: u64, line: &[u8], labels: Labels, socket: Option<&OwnedFd>) -> Times {
        text::write(self.slot.current(), now, shown(line));
        let queued = self.arrivals.queued.take();
        let mut times = Times {
            started: queued.unwrap_or(now),
            arrived: queued.unwrap_or_else(|| self.arrivals.arrived(now, socket)),
            labels,
        };
        if self.eager {
            self.slot.count(Histogram::DispatchDelay, now.saturating_sub(times.arrived));
            times.arrived = 0;
        }
        times
    }

    /// The first step is over.
    #[inline]
    pub(crate) fn end_step(&self) {
        text::clear(self.slot.current());
    }

    /// Where first steps are not made at once: the application is seen to run.
    #[inline]
    pub(crate) fn stepped(&self, times: &mut Times) {
        if times.arrived != 0 {
            let now = clock::precise_ns();
            self.slot.count(Histogram::DispatchDelay, now.saturating_sub(std::mem::take(&mut times.arrived)));
        }
    }

    /// The head of a response, interim ones included, is on its way.
    #[inline]
    pub(crate) fn responded(&self, status: u16) {
        if let class @ 1..=5 = status / 100 {
            self.slot.add(Word::Responses as usize + usize::from(class) - 1, 1);
        }
    }

    /// The response is complete. What is returned, once, is to be counted with [`Board::count_request`].
    #[inline]
    pub(crate) fn answered(&self, times: &mut Times, status: u16) -> Option<Answered> {
        let started = std::mem::take(&mut times.started);
        (started != 0).then(|| Answered { started, labels: times.labels.with_status(status) })
    }

    /// The engine's counters, once per turn.
    #[inline]
    pub(crate) fn publish(&self, stats: &Stats) {
        let slot = &self.slot;
        slot.set(Word::Accepted, stats.accepted);
        slot.set(Word::HandedOver, stats.handed_over);
        slot.set(Word::TakenOver, stats.taken_over);
        slot.set(Word::Refused, stats.refused + stats.overloaded);
        slot.set(Word::Overloaded, stats.overloaded);
        slot.set(Word::EngineFaults, stats.engine_faults);
        slot.set(Word::WebsocketsOpened, stats.websockets);
        for (at, count) in stats.of_handshakes().into_iter().enumerate() {
            slot.store(Word::Handshakes as usize + at, count);
        }
        slot.set(Word::TimedOut, stats.timed_out);
        slot.set(Word::ApplicationErrors, stats.application_errors);
        slot.set(Word::BytesReceived, stats.bytes_received);
        slot.set(Word::BytesSent, stats.bytes_sent);
    }

    /// False in a fork of the worker: it has the slot in its memory, too, and must leave it alone.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// The engine closes: the last counters, and nothing is open any more.
    pub(crate) fn end(mut self, stats: &Stats) {
        self.publish(stats);
        self.connections(0, 0);
        self.streams(0, stats.h2_streams);
        self.working(stats.requests, 0, 0);
        self.end_step();
        self.nobody_waits();
    }
}

/// Method and target of a request line.
#[inline]
pub(super) fn shown(line: &[u8]) -> &[u8] {
    const REST: usize = b" HTTP/1.1\r\n".len();
    const REST_2: usize = b" HTTP/2\r\n".len();
    let rest = if line.get(line.len().saturating_sub(REST_2)) == Some(&b' ') { REST_2 } else { REST };
    &line[..line.len().saturating_sub(rest)]
}
