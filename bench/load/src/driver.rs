//! The closed loop: one thread, one epoll, N connections, each with at most one batch outstanding.
//!
//! Connections are registered once, edge-triggered, so a steady-state exchange costs one `recv`, one `send` and its
//! share of an `epoll_wait`. What the bytes mean is the `Protocol`'s business. Called by `run` and `idle`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::net::{self, sockopt, AddressFamily, SocketFlags, SocketType};
use rustix::time::Timespec;

use crate::fault::{Fault, FaultCounts};
use crate::histogram::Histogram;

/// One `recv` takes at most this many bytes.
const RECEIVE_BYTES: usize = 256 * 1024;
/// Events taken from one `epoll_wait`.
const EVENTS: usize = 256;
/// A run with more faults than this has failed; going on would only be a reconnect storm.
const MAX_FAULTS: u64 = 1000;
/// `epoll_wait` returns at least this often, so that deadlines are seen.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How often connections are searched for overdue responses.
const OVERDUE_SCAN: Duration = Duration::from_millis(500);

/// What the protocol wants after it has seen bytes (or the end) of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Verified responses or messages that ended here.
    pub(crate) completed: u64,
    /// Send the template now.
    pub(crate) send_template: bool,
    /// This connection has done its work: replace it.
    pub(crate) reconnect: bool,
    /// Call `begin` of this connection next.
    pub(crate) resume: Option<usize>,
}

/// Bytes to meaning, for one kind of load.
pub(crate) trait Protocol {
    /// One connection's state.
    type Conn;
    /// The state of a new connection.
    fn open(&mut self, index: usize) -> Self::Conn;
    /// Bytes that are the same for every exchange: sent without a copy.
    fn template(&self) -> &[u8];
    /// The connection is there, or has been resumed: start an exchange, by the template or by bytes in `out`.
    fn begin(&mut self, conn: &mut Self::Conn, out: &mut Vec<u8>) -> Event;
    /// Bytes came in; bytes to send go to `out`.
    fn receive(&mut self, conn: &mut Self::Conn, data: &[u8], out: &mut Vec<u8>) -> Result<Event, Fault>;
    /// The peer ended the connection.
    fn ended(&mut self, conn: &mut Self::Conn) -> Result<Event, Fault>;
    /// Something is outstanding, so that silence is a fault.
    fn waits(&self, conn: &Self::Conn) -> bool;
    /// The connection is about to be thrown away after a fault.
    fn lost(&mut self, _conn: &Self::Conn) {}
    /// The connection whose sending started the exchange that completes on `index`.
    fn origin(&self, index: usize) -> usize {
        index
    }
}

/// When to stop.
#[derive(Clone, Copy)]
pub(crate) struct Until {
    /// At this time, whatever has been reached.
    pub(crate) deadline: Instant,
    /// At this many completed exchanges.
    pub(crate) completed: u64,
}

/// What was counted since the last reset.
pub(crate) struct Stats {
    /// Verified exchanges.
    pub(crate) completed: u64,
    /// Failed ones.
    pub(crate) faults: FaultCounts,
    /// Connections replaced without a fault (announced closes).
    pub(crate) reconnects: u64,
    /// Start to completion of each exchange.
    pub(crate) latency: Histogram,
}

struct Slot<C> {
    stream: Option<TcpStream>,
    connected: bool,
    conn: C,
    out: Vec<u8>,
    out_sent: usize,
    /// Bytes of the template that are still to be sent.
    template_left: usize,
    /// The start of the exchange under way; the first one of a connection starts with connecting.
    since: Instant,
    generation: u32,
}

/// All connections of one run.
pub(crate) struct Driver<P: Protocol> {
    protocol: P,
    address: SocketAddrV4,
    epoll: OwnedFd,
    slots: Vec<Slot<P::Conn>>,
    buffer: Box<[u8]>,
    response_limit: Duration,
    last_scan: Instant,
    /// Counts since the last `reset`.
    pub(crate) stats: Stats,
}

impl<P: Protocol> Driver<P> {
    /// A driver without connections.
    pub(crate) fn new(protocol: P, address: SocketAddrV4, response_limit: Duration) -> std::io::Result<Self> {
        let stats = Stats { completed: 0, faults: FaultCounts::default(), reconnects: 0, latency: Histogram::new() };
        Ok(Self {
            protocol,
            address,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: Vec::new(),
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            response_limit,
            last_scan: Instant::now(),
            stats,
        })
    }

    /// Adds `count` connections and starts to connect them.
    pub(crate) fn add(&mut self, count: usize) {
        for _ in 0..count {
            let index = self.slots.len();
            let conn = self.protocol.open(index);
            self.slots.push(Slot {
                stream: None,
                connected: false,
                conn,
                out: Vec::new(),
                out_sent: 0,
                template_left: 0,
                since: Instant::now(),
                generation: 0,
            });
            self.connect(index);
        }
    }

    /// Forgets the counts, and dates every outstanding exchange from now (the caller may have paused).
    pub(crate) fn reset(&mut self) {
        self.stats.completed = 0;
        self.stats.reconnects = 0;
        self.stats.faults = FaultCounts::default();
        self.stats.latency.clear();
        let now = Instant::now();
        for slot in &mut self.slots {
            slot.since = now;
        }
    }

    /// Starts an exchange on connection `index`, which has none outstanding.
    pub(crate) fn resume(&mut self, index: usize) {
        self.slots[index].since = Instant::now();
        self.begin(index);
    }

    /// Runs until one of the limits is reached or the run has failed.
    pub(crate) fn run(&mut self, until: Until) -> std::io::Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        while self.stats.completed < until.completed && self.stats.faults.total() < MAX_FAULTS {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&TICK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let data = event.data.u64();
                let (index, generation) = ((data & 0xFFFF_FFFF) as usize, (data >> 32) as u32);
                // A connection replaced earlier in this batch may still have an event here.
                if self.slots[index].generation == generation {
                    self.handle(index, event.flags);
                }
            }
            let now = Instant::now();
            if now >= until.deadline {
                break;
            }
            if now - self.last_scan > OVERDUE_SCAN {
                self.last_scan = now;
                self.drop_overdue(now);
            }
        }
        Ok(())
    }

    fn handle(&mut self, index: usize, flags: epoll::EventFlags) {
        if !self.slots[index].connected {
            let failed = match self.slots[index].stream.as_ref().map(TcpStream::take_error) {
                Some(Ok(None)) => flags.contains(epoll::EventFlags::ERR),
                _ => true,
            };
            if failed {
                return self.fail(index, Fault::Connect);
            }
            if !flags.contains(epoll::EventFlags::OUT) {
                return;
            }
            self.slots[index].connected = true;
            self.begin(index);
        } else if flags.contains(epoll::EventFlags::OUT) {
            self.flush(index);
        }
        let readable =
            epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(readable) {
            self.read(index, flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP));
        }
    }

    /// Reads until the socket is drained. A short read means drained, unless the peer's end is yet to be seen.
    fn read(&mut self, index: usize, ending: bool) {
        let generation = self.slots[index].generation;
        loop {
            let slot = &mut self.slots[index];
            let Some(stream) = &mut slot.stream else { return };
            let result = match stream.read(&mut self.buffer) {
                Ok(0) => self.protocol.ended(&mut slot.conn),
                Ok(count) => {
                    let result = self.protocol.receive(&mut slot.conn, &self.buffer[..count], &mut slot.out);
                    let drained = count < self.buffer.len() && !ending;
                    match result {
                        Ok(event) => self.follow(index, event),
                        Err(fault) => return self.fail(index, fault),
                    }
                    if drained || self.slots[index].generation != generation {
                        return;
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => Err(Fault::Closed),
            };
            return match result {
                Ok(event) => self.follow(index, event),
                Err(fault) => self.fail(index, fault),
            };
        }
    }

    fn follow(&mut self, index: usize, event: Event) {
        if event.completed > 0 {
            let now = Instant::now();
            let origin = self.protocol.origin(index);
            let took = now - self.slots[origin].since;
            for _ in 0..event.completed {
                self.stats.latency.record(took);
            }
            self.stats.completed += event.completed;
            if event.send_template || !self.slots[index].out.is_empty() {
                self.slots[index].since = now;
            }
        }
        if event.reconnect {
            self.stats.reconnects += 1;
            return self.replace(index);
        }
        if event.send_template {
            self.slots[index].template_left = self.protocol.template().len();
        }
        self.flush(index);
        if let Some(other) = event.resume {
            self.resume(other);
        }
    }

    fn begin(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let event = self.protocol.begin(&mut slot.conn, &mut slot.out);
        self.follow(index, event);
    }

    /// Sends what is waiting; what does not fit goes when the socket is writable again.
    fn flush(&mut self, index: usize) {
        let template = self.protocol.template();
        let slot = &mut self.slots[index];
        let Some(stream) = &mut slot.stream else { return };
        if !slot.connected {
            return;
        }
        loop {
            let piece = if slot.template_left > 0 {
                &template[template.len() - slot.template_left..]
            } else {
                &slot.out[slot.out_sent..]
            };
            if piece.is_empty() {
                slot.out.clear();
                slot.out_sent = 0;
                return;
            }
            match stream.write(piece) {
                Ok(count) if slot.template_left > 0 => slot.template_left -= count,
                Ok(count) => slot.out_sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The reading side reports what happened, after any response that came before.
                Err(_) => return,
            }
        }
    }

    fn fail(&mut self, index: usize, fault: Fault) {
        self.stats.faults.add(fault);
        self.protocol.lost(&self.slots[index].conn);
        if self.stats.faults.total() < MAX_FAULTS {
            self.replace(index);
        } else {
            self.slots[index].stream = None;
        }
    }

    fn replace(&mut self, index: usize) {
        self.slots[index].stream = None;
        self.slots[index].conn = self.protocol.open(index);
        self.connect(index);
    }

    fn connect(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        slot.connected = false;
        slot.out.clear();
        slot.out_sent = 0;
        slot.template_left = 0;
        slot.since = Instant::now();
        let data = (index as u64) | (u64::from(slot.generation) << 32);
        match start_connect(&self.epoll, self.address, data) {
            Ok(stream) => slot.stream = Some(stream),
            Err(_) => self.stats.faults.add(Fault::Connect),
        }
    }

    fn drop_overdue(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let since = self.slots[self.protocol.origin(index)].since;
            let waits = !slot.connected || self.protocol.waits(&slot.conn);
            if waits && now.saturating_duration_since(since) > self.response_limit {
                self.fail(index, Fault::Timeout);
            }
        }
    }
}

fn start_connect(epoll: &OwnedFd, address: SocketAddrV4, data: u64) -> rustix::io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    epoll::add(epoll, &socket, epoll::EventData::new_u64(data), interest)?;
    Ok(TcpStream::from(socket))
}
