//! A stream's connection as the rest of the engine uses it: flushing, reading, releasing window, ending.

use std::rc::Rc;

use ::h2::Reason;
use pyo3::prelude::*;

use super::drive::{attend, drive};
use super::stream::{Received, Sent};
use crate::conn::{Carrier, Closing, Conn, Protocol, OUT_LOW};
use crate::core::{Core, Inner};
use crate::http::head::Parsed;
use crate::http::read;
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::lifecycle;
use crate::py::headers::Memo;

/// What a client puts into one DATA frame when it has the window (RFC 9113 §4.2).
const FRAME: usize = 16 * 1024;
/// Memos that a connection keeps for its next streams.
const MEMOS: usize = 32;

/// Hands what waits on a stream's connection to the parent, as far as the client's window goes.
pub(crate) fn flush(inner: &mut Inner, key: Key) {
    let Inner { conns, deadlines, wakes, spare, now, .. } = inner;
    let Some(conn) = conns.get_mut(key) else { return };
    let last = conn.protocol_is_sending_last();
    let Conn { carrier: Carrier::Stream(stream), out, .. } = conn else { return };
    match stream.flush(key.index, out, last) {
        Sent::All => {
            deadlines.disarm(Kind::Write, key.index);
            out.reclaim(spare);
            lifecycle::wake_senders(conn, wakes);
            if conn.waits_for_output() {
                inner.look_again(key);
            }
        }
        Sent::Blocked(moved) => {
            if moved || !deadlines.is_armed(Kind::Write, key.index) {
                deadlines.arm(Kind::Write, key.index, *now);
            }
            if out.len() <= OUT_LOW {
                lifecycle::wake_senders(conn, wakes);
                if conn.waits_for_output() {
                    inner.look_again(key);
                }
            }
        }
        Sent::End => ended(inner, key),
        Sent::Lost => lifecycle::lose(inner, key, true),
    }
    touch_parent(inner, key);
    attend(inner);
}

/// The end of the stream is on its way. Its connection stays until the application has returned, too.
fn ended(inner: &mut Inner, key: Key) {
    touch_parent(inner, key);
    let Inner { conns, wakes, spare, .. } = inner;
    let Some(conn) = conns.get_mut(key) else { return };
    inner.deadlines.disarm_all(key.index);
    lifecycle::wake_senders(conn, wakes);
    conn.out.reclaim(spare);
    conn.readable = false;
    let returned = match conn.carrier.take() {
        Carrier::Stream(stream) => stream.returned,
        Carrier::Socket(_) | Carrier::Gone => true,
    };
    if returned || conn.serial == 0 {
        lifecycle::remove(inner, key);
    } else if !matches!(conn.protocol, Protocol::WebSocket(_)) {
        conn.protocol = Protocol::Closing(Closing::Lingering);
    }
}

fn touch_parent(inner: &mut Inner, key: Key) {
    let Some(parent) = inner.conns.get_mut(key).and_then(|conn| conn.parent) else { return };
    if let Some(Protocol::H2(h2)) = inner.conns.get_mut(parent).map(|conn| &mut conn.protocol) {
        h2.watch.earn();
        inner.mark_dirty(parent);
    }
}

/// Reads what the client has sent on a stream, until there is no more or reading must pause.
pub(crate) fn pull(py: Python<'_>, core: &Rc<Core>, key: Key) {
    while let Some(received) = core.with(|inner| next(inner, key)) {
        match received {
            Received::Nothing => break,
            Received::Data(data) => {
                read::received(py, core, key, &data);
                core.with(|inner| {
                    // What an HTTP application takes is released when it does.
                    if inner.conns.get_mut(key).is_some_and(|conn| conn.exchange().is_none()) {
                        release(inner, key);
                    }
                });
            }
            Received::End => {
                core.with(|inner| read::end_of_input(inner, key));
                break;
            }
            Received::Lost => {
                core.with(|inner| lifecycle::lose(inner, key, false));
                break;
            }
        }
    }
    core.settle(py);
}

fn next(inner: &mut Inner, key: Key) -> Option<Received> {
    let conn = inner.conns.get_mut(key)?;
    let takes = match &conn.protocol {
        Protocol::Http(exchange) => !exchange.body.decoder.is_done(),
        Protocol::WebSocket(_) => true,
        _ => false,
    };
    if !takes || !conn.readable || conn.paused() {
        return None;
    }
    let Carrier::Stream(stream) = &mut conn.carrier else { return None };
    let received = stream.receive(key.index);
    conn.readable = matches!(received, Received::Data(_));
    Some(received)
}

/// The application has taken what came on the stream: the client may send as much again. True when it is to be told.
pub(crate) fn release(inner: &mut Inner, key: Key) -> bool {
    if let Some(Conn { carrier: Carrier::Stream(stream), parent: Some(parent), .. }) = inner.conns.get_mut(key) {
        let released = stream.release();
        let parent = *parent;
        inner.mark_dirty(parent);
        return released;
    }
    false
}

/// The client has no window for a frame of this stream's body: what came before, on this stream or on the connection's
/// others, was not taken.
pub(crate) fn has_no_window(inner: &mut Inner, key: Key) -> bool {
    let held = held_by(inner, key);
    if held + FRAME > inner.h2.stream_window {
        return true;
    }
    let parent = inner.conns.get_mut(key).and_then(|conn| conn.parent);
    let Some(Protocol::H2(h2)) = parent.and_then(|parent| inner.conns.get_mut(parent)).map(|conn| &conn.protocol)
    else {
        return false;
    };
    let streams = h2.streams.clone();
    let held: usize = streams.into_iter().map(|stream| held_by(inner, stream)).sum();
    held + FRAME > inner.h2.connection_window
}

fn held_by(inner: &mut Inner, key: Key) -> usize {
    match inner.conns.get_mut(key) {
        Some(Conn { carrier: Carrier::Stream(stream), .. }) => stream.held(),
        _ => 0,
    }
}

/// What was given to the stream's connection so far leaves, before the stream is cut.
pub(crate) fn cut(inner: &mut Inner, key: Key) {
    let Some(parent) = inner.conns.get_mut(key).and_then(|conn| conn.parent) else { return };
    lifecycle::flush(inner, key);
    drive(inner, parent);
}

/// What waits on a stream waits for the connection's socket, over whose progress its own deadline watches. The client's
/// window says nothing then.
pub(crate) fn is_held_up(inner: &mut Inner, key: Key) -> bool {
    let parent = inner.conns.get_mut(key).and_then(|conn| conn.parent);
    parent.is_some_and(|parent| inner.deadlines.is_armed(Kind::Write, parent.index))
}

/// The client gave no window for too long (CVE-2019-9517).
pub(crate) fn stalled(inner: &mut Inner, key: Key) {
    if let Some(Conn { carrier: Carrier::Stream(stream), .. }) = inner.conns.get_mut(key) {
        if stream.reset(Reason::ENHANCE_YOUR_CALM) {
            inner.stats.h2_resets_sent_stalled += 1;
            inner.count_h2();
        }
    }
    lifecycle::lose(inner, key, true);
}

/// The engine has reset a stream of the connection at `parent`. One that ends, too, sends no reset any more.
pub(crate) fn count_reset(inner: &mut Inner, parent: Key, reason: Reason) {
    let Some(Conn { carrier: Carrier::Socket(_), protocol: Protocol::H2(h2), .. }) = inner.conns.get_mut(parent) else {
        return;
    };
    if !h2.is_open() {
        return;
    }
    if reason == Reason::CANCEL {
        inner.stats.h2_resets_sent_cancelled += 1;
    } else {
        inner.stats.h2_resets_sent_failed += 1;
    }
    inner.count_h2();
}

/// A stream's connection was removed from the table.
pub(crate) fn removed(inner: &mut Inner, key: Key, parent: Key, memo: Option<Box<Memo>>) {
    inner.streams -= 1;
    inner.count_streams();
    let Some(Protocol::H2(h2)) = inner.conns.get_mut(parent).map(|conn| &mut conn.protocol) else { return };
    if let Some(at) = h2.streams.iter().position(|stream| *stream == key) {
        h2.streams.swap_remove(at);
    }
    if h2.memos.len() < MEMOS {
        h2.memos.extend(memo);
    }
    inner.mark_dirty(parent);
}

/// The request has to wait for a place: its head is not parsed again.
pub(crate) fn keep_parsed(inner: &mut Inner, key: Key, mut parsed: Parsed) {
    if let Some(Conn { carrier: Carrier::Stream(stream), memo, .. }) = inner.conns.get_mut(key) {
        parsed.memo = memo.take();
        stream.parsed = Some(parsed);
    }
}
