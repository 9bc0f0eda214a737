//! WebSocket connections between the wire crate's frames and the application. ASGI WebSocket 2.5, RFC 6455.
//!
//! | state    | application may send          | receives                                 |
//! |----------|-------------------------------|------------------------------------------|
//! | Offered  | accept, close (403), a denial | connect, then nothing until it decides   |
//! | Open     | send, close                   | receive; disconnect when the peer leaves |
//! | Closing  | nothing                       | disconnect once the peer has answered    |
//! | Over     | nothing                       | disconnect                               |

pub(crate) mod close;
mod deny;
pub(crate) mod open;
pub(crate) mod receive;
pub(crate) mod send;

use std::collections::VecDeque;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use swell_wire::ws::{Connection, DeflateParams};

use crate::access::Record;
use crate::core::Wake;
use crate::io::slots::Key;

pub(crate) use close::{
    close_for_shutdown, end_of_input, finish_sending, no_pong, over, ping, refuse_for_shutdown, timed_out,
};

/// Bytes of messages that wait for the application before reading pauses.
const QUEUE_BYTES: usize = 1024 * 1024;

/// One WebSocket of one application call.
pub(crate) struct Ws {
    pub(crate) state: State,
    /// Messages that came and were not received yet, with their sizes.
    queue: VecDeque<(Incoming, usize)>,
    queued: usize,
    max_queue: usize,
    /// Futures of `receive()` calls that wait.
    receivers: Vec<Py<PyAny>>,
    pub(crate) senders: Vec<Py<PyAny>>,
    pub(crate) task: Option<Key>,
    /// The peer has closed or failed behind messages that the application has not seen yet.
    ending: Option<Ending>,
    /// The application has returned.
    returned: bool,
    pub(crate) record: Option<Box<Record>>,
    pub(crate) received: u64,
}

pub(crate) enum State {
    Offered {
        accept: [u8; 28],
        deflate: Option<DeflateParams>,
        connect_delivered: bool,
    },
    Open(Box<Connection>),
    /// Our close frame is sent, the peer's is awaited.
    Closing {
        connection: Box<Connection>,
        by: Closer,
    },
    Over {
        code: u16,
        reason: String,
    },
}

/// How the peer has ended a WebSocket.
struct Ending {
    code: u16,
    reason: String,
    /// It broke a rule, and `reason` says which.
    failure: bool,
}

/// Who has closed on our side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closer {
    Application,
    Server,
}

/// A message from the peer as a Python object.
pub(crate) enum Incoming {
    Text(Py<PyString>),
    Binary(Py<PyBytes>),
}

impl Ws {
    fn new(accept: [u8; 28], deflate: Option<DeflateParams>, max_queue: usize, record: Option<Box<Record>>) -> Self {
        Self {
            state: State::Offered { accept, deflate, connect_delivered: false },
            queue: VecDeque::new(),
            queued: 0,
            max_queue,
            receivers: Vec::new(),
            senders: Vec::new(),
            task: None,
            ending: None,
            returned: false,
            record,
            received: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// True when our close frame is written.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closing { .. } | State::Over { .. })
    }

    /// True when no more may be read: the application does not keep up. After a close nothing is queued any more.
    pub(crate) fn paused(&self) -> bool {
        match self.state {
            State::Offered { .. } | State::Open(_) => self.queue.len() >= self.max_queue || self.queued >= QUEUE_BYTES,
            State::Closing { .. } | State::Over { .. } => false,
        }
    }

    /// True when the connection ends after what is queued is sent.
    pub(crate) fn ends_after_sending(&self) -> bool {
        matches!(self.state, State::Over { .. })
    }

    /// The WebSocket is over: whoever waits is told. Returns true when the application is done with it, too.
    pub(crate) fn lost(&mut self, wakes: &mut Vec<Wake>, code: u16, reason: &str) -> bool {
        if !matches!(self.state, State::Over { .. }) {
            let (code, reason) = match self.ending.take() {
                Some(ending) => (ending.code, ending.reason),
                None => (code, reason.to_owned()),
            };
            self.state = State::Over { code, reason };
        }
        self.wake_receivers(wakes);
        wakes.extend(self.senders.drain(..).map(Wake::Resume));
        self.returned
    }

    /// A message has come. It stays in the queue until a receiver's task runs: one that is cancelled before has taken
    /// nothing, and all are woken, so that another takes it.
    fn put(&mut self, message: Incoming, size: usize, wakes: &mut Vec<Wake>) {
        self.queued += size;
        self.queue.push_back((message, size));
        self.wake_receivers(wakes);
    }

    fn wake_receivers(&mut self, wakes: &mut Vec<Wake>) {
        wakes.extend(self.receivers.drain(..).map(Wake::Resume));
    }
}
