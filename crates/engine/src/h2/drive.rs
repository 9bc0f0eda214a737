//! The parent connection: bytes of the socket into the `h2` crate and back, new streams, errors, the end.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use ::h2::{Error, Reason};
use swell_wire::h2::watch::{Excess, Watch};

use super::shim::{Shim, OUTPUT_HIGH};
use super::wake::{self, waker};
use super::{open, Counted, State, H2};
use crate::conn::{Carrier, Protocol};
use crate::core::{level, Inner};
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::lifecycle;

/// How long counts of the watch are kept, in milliseconds.
const PERIOD_MS: u64 = 10_000;

/// What polling a connection has come to.
enum Outcome {
    Going,
    /// GOAWAY was exchanged and every stream is over.
    Ended,
    Failed(Error),
}

/// The connection at `key` speaks HTTP/2 from its next byte on, the client's preface.
pub(crate) fn begin(inner: &mut Inner, key: Key) {
    let Inner { conns, h2, now, h2_open, .. } = inner;
    let Some(conn) = conns.get_mut(key) else { return };
    let shim = Shim::default();
    let pipe = Rc::clone(&shim.0);
    conn.protocol = Protocol::H2(Box::new(H2 {
        state: State::Opening(h2.builder.handshake(shim)),
        pipe,
        watch: Watch::new(h2.resets_max, h2.overhead_max),
        period: *now,
        streams: Vec::new(),
        half_closed: false,
        begun: 0,
        memos: Vec::new(),
        accepted: Vec::new(),
        _counted: Counted::new(h2_open),
    }));
    inner.stats.h2_connections += 1;
    inner.count_h2();
    inner.count_connections();
}

/// Bytes have come on the socket.
pub(crate) fn received(inner: &mut Inner, key: Key, bytes: &[u8]) {
    let now = inner.now;
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let Protocol::H2(h2) = &mut conn.protocol else { return };
    if now.saturating_sub(h2.period) >= PERIOD_MS {
        h2.period = now;
        h2.watch.renew();
    }
    if let Err(excess) = h2.watch.observe(bytes) {
        return refuse(inner, key, excess);
    }
    h2.pipe.borrow_mut().put(bytes);
    drive(inner, key);
}

/// The time for a header section is over.
pub(crate) fn head_timed_out(inner: &mut Inner, key: Key) {
    let Some(Protocol::H2(h2)) = inner.conns.get_mut(key).map(|conn| &mut conn.protocol) else { return };
    let incomplete = h2.watch.in_header_section();
    end(inner, key, if incomplete { Reason::ENHANCE_YOUR_CALM } else { Reason::NO_ERROR });
}

/// A flood: the connection ends before anybody acts on it (RFC 9113 §10.5).
fn refuse(inner: &mut Inner, key: Key, excess: Excess) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let text = format!("{}: HTTP/2 connection closed, {} (RFC 9113 §10.5)", conn.peer, excess.explain());
    inner.stats.refused += 1;
    match excess {
        Excess::Resets => inner.stats.h2_closed_resets += 1,
        Excess::Pieces => inner.stats.h2_closed_pieces += 1,
        Excess::Overhead => inner.stats.h2_closed_overhead += 1,
    }
    inner.count_h2();
    inner.report(level::WARNING, text);
    end(inner, key, Reason::ENHANCE_YOUR_CALM);
}

/// Ends the connection with a GOAWAY; streams under way are lost.
pub(crate) fn end(inner: &mut Inner, key: Key, reason: Reason) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let Protocol::H2(h2) = &mut conn.protocol else { return };
    match &mut h2.state {
        State::Open(connection) => connection.abrupt_shutdown(reason),
        // Before the preface nobody understands a GOAWAY.
        State::Opening(_) | State::Over => return lifecycle::lose(inner, key, false),
    }
    drive(inner, key);
    // Nothing was flushed while the socket is full: then it ends without a word.
    if inner.conns.get_mut(key).is_some_and(|conn| matches!(conn.protocol, Protocol::H2(_))) {
        lifecycle::lose(inner, key, false);
    }
}

/// The client has ended its side. As over HTTP/1.1 it still gets the answers that need no waiting.
pub(crate) fn end_of_input(inner: &mut Inner, key: Key) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let Protocol::H2(h2) = &mut conn.protocol else { return };
    if !h2.half_closed && !h2.streams.is_empty() {
        // Requests that came right before wait for their turn, which is before that of this connection.
        h2.half_closed = true;
        conn.readable = true;
        return inner.look_again(key);
    }
    for stream in h2.streams.clone() {
        lifecycle::flush(inner, stream);
    }
    lifecycle::flush(inner, key);
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let Protocol::H2(h2) = &conn.protocol else { return };
    if conn.out.is_empty() {
        return lifecycle::lose(inner, key, false);
    }
    for stream in h2.streams.clone() {
        lifecycle::lose(inner, stream, false);
    }
    lifecycle::close_after_sending(inner, key);
}

/// The server ends: no new streams, those under way are finished (RFC 9113 §6.8).
pub(crate) fn drain(inner: &mut Inner, key: Key) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let Protocol::H2(h2) = &mut conn.protocol else { return };
    if let State::Open(connection) = &mut h2.state {
        connection.graceful_shutdown();
    }
    inner.mark_dirty(key);
}

/// Lets the connection act on what was received and write what it has. Called when either may have changed.
pub(crate) fn drive(inner: &mut Inner, key: Key) {
    let Inner { conns, spare, draining, .. } = inner;
    let Some(conn) = conns.get_mut(key) else { return };
    let Protocol::H2(h2) = &mut conn.protocol else { return };
    {
        let mut pipe = h2.pipe.borrow_mut();
        pipe.output = spare.pop().unwrap_or_default();
        pipe.room = OUTPUT_HIGH.saturating_sub(usize::try_from(conn.out.len()).unwrap_or(OUTPUT_HIGH));
        pipe.stuffed = false;
    }
    let outcome = h2.poll(key.index, *draining);
    let mut output = std::mem::take(&mut h2.pipe.borrow_mut().output);
    let wrote = !output.is_empty();
    if wrote {
        conn.out.append(&mut output);
    }
    if output.capacity() > 0 && spare.len() < 64 {
        spare.push(output);
    }
    let mut accepted = std::mem::take(&mut h2.accepted);
    if wrote {
        inner.mark_dirty(key);
    }
    for (request, respond) in accepted.drain(..) {
        open::open(inner, key, request, respond);
    }
    if let Some(Protocol::H2(h2)) = inner.conns.get_mut(key).map(|conn| &mut conn.protocol) {
        h2.accepted = accepted;
    }
    attend(inner);
    match outcome {
        Outcome::Going => keep_time(inner, key),
        Outcome::Ended => finish(inner, key),
        Outcome::Failed(error) => {
            fail(inner, key, &error);
            finish(inner, key);
        }
    }
}

impl H2 {
    fn poll(&mut self, slot: u32, draining: bool) -> Outcome {
        let waker = waker(slot);
        let context = &mut Context::from_waker(&waker);
        loop {
            match &mut self.state {
                State::Opening(handshake) => match Pin::new(handshake).poll(context) {
                    Poll::Pending => return Outcome::Going,
                    Poll::Ready(Ok(mut connection)) => {
                        if draining {
                            connection.graceful_shutdown();
                        }
                        self.state = State::Open(connection);
                    }
                    Poll::Ready(Err(error)) => return Outcome::Failed(error),
                },
                State::Open(connection) => match connection.poll_accept(context) {
                    Poll::Pending => return Outcome::Going,
                    Poll::Ready(Some(Ok(stream))) => self.accepted.push(stream),
                    Poll::Ready(Some(Err(error))) => return Outcome::Failed(error),
                    Poll::Ready(None) => return Outcome::Ended,
                },
                State::Over => return Outcome::Ended,
            }
        }
    }

    /// So many streams were begun that the connection is to end.
    pub(super) fn retire(&mut self) {
        if let State::Open(connection) = &mut self.state {
            connection.graceful_shutdown();
        }
    }
}

/// Looks after the streams that were woken.
pub(super) fn attend(inner: &mut Inner) {
    for slot in wake::take() {
        let Some(key) = inner.conns.key_at(slot) else { continue };
        let Some(conn) = inner.conns.get_mut(key) else { continue };
        match (&mut conn.carrier, &conn.protocol) {
            (Carrier::Stream(stream), _) => {
                if let Some(reason) = stream.reset_by(slot) {
                    count_reset_received(inner, reason);
                    lifecycle::lose(inner, key, false);
                    continue;
                }
                conn.readable = true;
                inner.look_again(key);
                inner.mark_dirty(key);
            }
            (_, Protocol::H2(_)) => inner.mark_dirty(key),
            _ => {}
        }
    }
}

/// The client has reset a stream; without a reason the connection is lost, which is counted elsewhere.
pub(super) fn count_reset_received(inner: &mut Inner, reason: Option<Reason>) {
    match reason {
        Some(Reason::CANCEL | Reason::NO_ERROR) => inner.stats.h2_resets_received_cancel += 1,
        Some(_) => inner.stats.h2_resets_received_other += 1,
        None => return,
    }
    inner.count_h2();
}

/// The deadlines of a connection that goes on: for a header section that is not complete, and for having no streams.
fn keep_time(inner: &mut Inner, key: Key) {
    let Inner { conns, deadlines, now, draining, .. } = inner;
    let Some(Protocol::H2(h2)) = conns.get_mut(key).map(|conn| &mut conn.protocol) else { return };
    if let State::Opening(_) = h2.state {
        return;
    }
    if h2.watch.in_header_section() {
        deadlines.arm_once(Kind::Head, key.index, *now);
    } else if h2.begun > 0 {
        // Until then it runs from the start of the connection.
        deadlines.disarm(Kind::Head, key.index);
    }
    for (kind, wanted) in [(Kind::KeepAlive, true), (Kind::Cool, true), (Kind::Linger, *draining)] {
        if wanted && h2.streams.is_empty() {
            deadlines.arm_once(kind, key.index, *now);
        } else {
            deadlines.disarm(kind, key.index);
        }
    }
}

/// Says why a connection fails, if it is the client's doing.
fn fail(inner: &mut Inner, key: Key, error: &Error) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let peer = &conn.peer;
    if error.is_library() {
        let text = format!("{peer}: HTTP/2 connection closed, {error}");
        inner.stats.refused += 1;
        inner.stats.h2_closed_protocol += 1;
        inner.count_h2();
        inner.report(level::WARNING, text);
    } else {
        let text = format!("{peer}: HTTP/2 connection ended, {error}");
        inner.report(level::DEBUG, text);
    }
}

/// Nothing more is processed: streams that are left are lost, what was written still leaves.
fn finish(inner: &mut Inner, key: Key) {
    let Some(Protocol::H2(h2)) = inner.conns.get_mut(key).map(|conn| &mut conn.protocol) else { return };
    h2.state = State::Over;
    for stream in h2.streams.clone() {
        lifecycle::lose(inner, stream, true);
    }
    if inner.conns.get_mut(key).is_some_and(|conn| matches!(conn.protocol, Protocol::H2(_))) {
        lifecycle::close_after_sending(inner, key);
    }
}
