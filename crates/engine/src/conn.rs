//! One connection: what carries it, what came in and was not used yet, what goes out, and which protocol it speaks now.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use swell_wire::h1::body::BodyDecoder;
use swell_wire::h1::cycle::Response;
use swell_wire::h1::scan::HeadScan;

use crate::access::Record;
use crate::board::{Place, Times};
use crate::h2::{Stream, H2};
use crate::io::outbuf::{Flushed, OutBuf};
use crate::io::slots::Key;
use crate::io::socket::{self, Address};
use crate::py::callable::Link;
use crate::py::headers::Memo;
use crate::tls::Tls;
use crate::ws::Ws;

pub(crate) struct Conn {
    pub(crate) carrier: Carrier,
    /// The HTTP/2 connection that this one is a stream of.
    pub(crate) parent: Option<Key>,
    pub(crate) peer: Address,
    /// The listener's position; it decides the scope template.
    pub(crate) listener: usize,
    /// `scope["client"]`.
    pub(crate) client: Py<PyAny>,
    /// `scope["server"]` when it is not the listener's.
    pub(crate) server: Option<Py<PyAny>>,
    /// The peer may speak for others (`Forwarded`, `X-Forwarded-*`).
    pub(crate) trusted: bool,

    /// None without TLS.
    pub(crate) tls: Option<Box<Tls>>,

    /// Bytes that came before they could be used.
    pub(crate) input: Vec<u8>,
    /// How far an incomplete head in `input` was read.
    pub(crate) scan: Option<HeadScan>,
    /// The socket may have more to read: an edge was seen and `WouldBlock` was not.
    pub(crate) readable: bool,
    /// The peer has ended its side or is gone, as the poller tells once: reading goes on after a short read, up to the end.
    pub(crate) hangup: bool,
    pub(crate) out: OutBuf,
    /// Bytes that the kernel had not got rid of when the write deadline was set.
    pub(crate) unsent: u32,
    /// It is in the engine's list of connections to flush.
    pub(crate) dirty: bool,
    /// It is in the engine's list of connections that go on, in this turn or the next.
    pub(crate) again: bool,
    /// The server has answered in the application's place: for the application the client is gone.
    pub(crate) refused: bool,
    pub(crate) memo: Option<Box<Memo>>,
    /// When the head was complete of a request that waits for a place (the precise clock's nanoseconds).
    pub(crate) queued_at: Option<u64>,
    /// The id of the last request.
    pub(crate) request_id: Option<Box<str>>,
    /// Counts exchanges, so that objects of an earlier one go stale.
    pub(crate) serial: u32,
    pub(crate) protocol: Protocol,
}

impl Conn {
    /// One of which nothing was read yet.
    pub(crate) fn new(
        carrier: Carrier,
        peer: Address,
        listener: usize,
        client: Py<PyAny>,
        server: Option<Py<PyAny>>,
        trusted: bool,
    ) -> Self {
        Self {
            carrier,
            parent: None,
            peer,
            listener,
            client,
            server,
            trusted,
            tls: None,
            input: Vec::new(),
            scan: None,
            readable: false,
            hangup: false,
            out: OutBuf::default(),
            unsent: 0,
            dirty: false,
            again: false,
            refused: false,
            memo: None,
            queued_at: None,
            request_id: None,
            serial: 0,
            protocol: Protocol::Idle,
        }
    }
}

/// What carries the connection's bytes.
pub(crate) enum Carrier {
    Socket(OwnedFd),
    /// A stream of the connection at `Conn::parent`.
    Stream(Box<Stream>),
    /// The transport is gone while the application still works on the exchange.
    Gone,
}

/// What the connection is doing.
pub(crate) enum Protocol {
    /// Waiting for a PROXY protocol preface.
    Preface,
    /// Waiting for a request head, or in the middle of one.
    Idle,
    /// A complete head waits for a free place under the concurrency limit.
    Queued,
    Http(Box<Exchange>),
    /// The answer is complete and the rest of the request body is read and dropped.
    Drain(BodyDecoder, u64),
    WebSocket(Box<Ws>),
    /// The streams are connections of their own.
    H2(Box<H2>),
    /// Nothing is processed any more: what is queued goes out, then the connection ends.
    Closing(Closing),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Bytes are still to be sent.
    Sending,
    /// Our side is shut down; what the peer still sends is dropped until it ends.
    Lingering,
}

/// One HTTP request and its response.
pub(crate) struct Exchange {
    pub(crate) response: Response,
    /// The encoded head while `response` holds it.
    pub(crate) head: Vec<u8>,
    pub(crate) answer: Answering,
    pub(crate) body: RequestBody,
    /// The client has gone.
    pub(crate) gone: bool,
    /// A time-out or shutdown has decided that the application is cancelled.
    pub(crate) condemned: Option<u16>,
    pub(crate) subscription: Subscription,
    /// Futures of `receive()` calls that wait.
    pub(crate) receivers: Vec<Py<PyAny>>,
    /// Futures of `send()` calls that wait for the socket.
    pub(crate) senders: Vec<Py<PyAny>>,
    /// The task's place among the suspended ones.
    pub(crate) task: Option<Key>,
    pub(crate) record: Option<Box<Record>>,
    /// For the scoreboard.
    pub(crate) times: Times,
}

/// A stream of events (HTML standard, §9.2) and the end of the server. Its client, who asks with GET, comes again by itself
/// when the stream ends; whoever sends something and gets a stream of events as the answer does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscription {
    /// The request was no GET.
    Never,
    /// The response decides.
    Possible,
    /// The response is such a stream.
    Running,
    /// The application has been told to end it, and need not end it well.
    Dismissed,
}

/// What the request demands of its response.
#[derive(Clone, Copy)]
pub(crate) struct Answering {
    pub(crate) keep_alive: bool,
    pub(crate) http10: bool,
    pub(crate) head_only: bool,
    /// `Date`, `Server`: given by the application.
    pub(crate) has_date: bool,
    pub(crate) has_server: bool,
    /// It goes over TLS.
    pub(crate) secure: bool,
    /// Of the response that is held or was begun.
    pub(crate) status: u16,
}

/// The request body between the socket and the application.
pub(crate) struct RequestBody {
    pub(crate) decoder: BodyDecoder,
    /// The first piece, when nothing waits before it: it is delivered without another copy.
    pub(crate) whole: Option<Py<PyBytes>>,
    /// Further pieces, joined.
    pub(crate) rest: Vec<u8>,
    /// `whole` and `rest`, in bytes.
    pub(crate) buffered: usize,
    /// All bytes so far.
    pub(crate) received: u64,
    /// `more_body: False` was delivered.
    pub(crate) finished: bool,
    /// `100 Continue` is owed before the first wait for the body.
    pub(crate) continue_owed: bool,
    /// When the current rate measurement began (engine milliseconds), and the bytes received before.
    pub(crate) started: u64,
    pub(crate) measured: u64,
}

/// Reading pauses when this much of a body waits for the application.
pub(crate) const BODY_HIGH: usize = 64 * 1024;
/// `send()` waits when this much waits for the socket …
pub(crate) const OUT_HIGH: u64 = 64 * 1024;
/// … until it is down to this.
pub(crate) const OUT_LOW: u64 = 16 * 1024;
/// An unread request body up to this size is read and dropped to keep the connection.
pub(crate) const DRAIN_MAX: u64 = 64 * 1024;
/// Pipelined bytes kept beside a request that is being answered.
pub(crate) const PIPELINE_MAX: usize = 64 * 1024;

impl Carrier {
    #[inline]
    pub(crate) fn socket(&self) -> Option<&OwnedFd> {
        match self {
            Self::Socket(fd) => Some(fd),
            Self::Stream(_) | Self::Gone => None,
        }
    }

    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }

    /// Leaves nothing behind.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Gone)
    }
}

impl Conn {
    /// True when no more may be read for now. The poller may still report a connection that an earlier step of the same
    /// turn has ended: of it nothing is read any more.
    pub(crate) fn paused(&self) -> bool {
        if self.carrier.is_gone() {
            return true;
        }
        match &self.protocol {
            Protocol::Preface | Protocol::Drain(..) | Protocol::Closing(Closing::Lingering) => false,
            // The next request waits until earlier answers are taken, and those behind it until it has its turn.
            Protocol::Idle => self.out.len() >= OUT_HIGH || (self.again && !self.input.is_empty()),
            Protocol::Closing(Closing::Sending) => true,
            Protocol::Queued => self.input.len() >= PIPELINE_MAX,
            Protocol::Http(exchange) if exchange.body.decoder.is_done() => self.input.len() >= PIPELINE_MAX,
            Protocol::Http(exchange) => exchange.body.buffered >= BODY_HIGH,
            Protocol::H2(h2) => self.out.len() >= OUT_HIGH || h2.is_full(),
            Protocol::WebSocket(ws) => ws.paused() || self.input.len() >= PIPELINE_MAX || self.out.len() >= OUT_HIGH,
        }
    }

    /// Sends what waits, as far as the socket takes it. None when there is no socket.
    #[inline]
    pub(crate) fn send_waiting(&mut self) -> Option<io::Result<(u64, Flushed)>> {
        let fd = self.carrier.socket()?.as_raw_fd();
        Some(match &mut self.tls {
            None => self.out.flush(fd),
            Some(tls) => tls.flush(&mut self.out, fd),
        })
    }

    /// Says that nothing follows. Everything was sent.
    pub(crate) fn end_sending(&mut self) {
        let Some(fd) = self.carrier.socket() else { return };
        let fd = fd.as_raw_fd();
        if let Some(tls) = &mut self.tls {
            tls.close(fd);
        }
        socket::shut_down_sending(fd);
    }

    /// Appends an interim response (RFC 9110 §15.2).
    pub(crate) fn put_interim(&mut self, encoded: &[u8]) {
        match &mut self.carrier {
            Carrier::Stream(stream) => stream.inform(encoded),
            Carrier::Socket(_) | Carrier::Gone => self.out.write(|out| out.extend_from_slice(encoded)),
        }
    }

    pub(crate) fn exchange(&mut self) -> Option<&mut Exchange> {
        match &mut self.protocol {
            Protocol::Http(exchange) => Some(exchange),
            _ => None,
        }
    }
}

impl RequestBody {
    /// Takes what is buffered. The result is None when nothing is.
    pub(crate) fn take(&mut self, py: Python<'_>) -> Option<Py<PyBytes>> {
        if self.buffered == 0 {
            return None;
        }
        let whole = self.whole.take();
        let rest = std::mem::take(&mut self.rest);
        self.buffered = 0;
        match whole {
            Some(whole) if rest.is_empty() => Some(whole),
            Some(whole) => {
                let mut joined = whole.as_bytes(py).to_vec();
                joined.extend_from_slice(&rest);
                Some(PyBytes::new(py, &joined).unbind())
            }
            None => Some(PyBytes::new(py, &rest).unbind()),
        }
    }

    pub(crate) fn put(&mut self, py: Python<'_>, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if self.buffered == 0 {
            self.whole = Some(PyBytes::new(py, data).unbind());
        } else {
            self.rest.extend_from_slice(data);
        }
        self.buffered += data.len();
    }
}

/// A suspended application task.
pub(crate) struct Running {
    pub(crate) task: Py<PyAny>,
    pub(crate) link: Link,
    /// The engine has cancelled it, and has said why.
    pub(crate) cancelled: bool,
    /// When it was started (precise nanoseconds), and its place among those that the scoreboard names.
    pub(crate) since: u64,
    pub(crate) place: Place,
    /// Where the scoreboard finds the route; a WebSocket has none.
    pub(crate) scope: Option<Py<PyAny>>,
}
