//! HTTP/2 connections: RFC 9113, and WebSocket over them, RFC 8441. See README.md in this folder.
//!
//! Every stream is a connection of its own in the engine's table, whose carrier is not a socket but a stream of the
//! parent connection. So admission, deadlines, limits, the ASGI cycle, WebSockets and the access log are the same code
//! as for HTTP/1.1; this folder moves bytes between streams and the parent.
//!
//! Frames, HPACK and flow control are the `h2` crate's, polled over two buffers in memory.

pub(crate) mod chunk;
mod drive;
mod open;
mod settings;
mod shim;
pub(crate) mod stream;
mod streams;
mod wake;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ::h2::server::{Connection, Handshake, SendResponse};
use ::h2::RecvStream;
use http::Request;
use swell_wire::h2::watch::Watch;

use self::chunk::Chunk;
use self::shim::{Pipe, Shim};
use crate::io::slots::Key;
use crate::py::headers::Memo;

pub(crate) use self::drive::{begin, drain, drive, end, end_of_input, head_timed_out, received};
pub(crate) use self::settings::Options;
pub(crate) use self::stream::Stream;
pub(crate) use self::streams::{
    count_reset, cut, flush, has_no_window, is_held_up, keep_parsed, pull, release, removed, stalled,
};

/// A connection that speaks HTTP/2: the parent of its streams.
pub(crate) struct H2 {
    state: State,
    pipe: Rc<RefCell<Pipe>>,
    watch: Watch,
    /// When the watch's period began (engine milliseconds).
    period: u64,
    /// The connections of the streams, with those whose client has gone and whose application still runs.
    pub(crate) streams: Vec<Key>,
    /// The client sends nothing more.
    half_closed: bool,
    /// Streams so far.
    begun: u64,
    /// Memos of finished streams, for the next ones.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept: connections hold them")]
    memos: Vec<Box<Memo>>,
    /// Streams that the last poll has brought.
    accepted: Vec<(Request<RecvStream>, SendResponse<Chunk>)>,
    _counted: Counted,
}

/// Counts a connection for as long as it speaks HTTP/2.
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

enum State {
    /// Our settings are sent, the client's preface is awaited.
    Opening(Handshake<Shim, Chunk>),
    Open(Connection<Shim, Chunk>),
    Over,
}

impl H2 {
    /// True when no more may be read: what was read waits for room to answer.
    pub(crate) fn is_full(&self) -> bool {
        self.pipe.borrow().waiting() >= crate::conn::PIPELINE_MAX
    }

    /// Neither before the client's preface nor at the end.
    fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Frames wait for room in the output.
    pub(crate) fn has_more(&self) -> bool {
        self.pipe.borrow().stuffed
    }

    /// The connection idles: what it keeps to be quick is given back.
    pub(crate) fn cool(&mut self) {
        self.memos = Vec::new();
        self.pipe.borrow_mut().relax();
    }
}
