//! How connections end, and how bytes leave them.

use std::borrow::Cow;
use std::os::fd::AsRawFd;

use ::h2::Reason;
use swell_wire::h1::cycle::{HeadFraming, Response};
use swell_wire::h1::response;

use crate::access::Refusal;
use crate::board::Board;
use crate::conn::{Carrier, Closing, Conn, Exchange, Protocol, OUT_LOW};
use crate::core::{Inner, Wake};
use crate::fixed::FixedFields;
use crate::h2;
use crate::http::count::Ended;
use crate::io::deadlines::{Deadlines, Kind};
use crate::io::outbuf::{Flushed, OutBuf};
use crate::io::slots::Key;
use crate::io::socket;
use crate::py::callable::Link;
use crate::ws;

/// Ends a connection at once; `reset` makes the peer see an error instead of an end.
/// A running application is told, and its slot stays until it returns.
pub(crate) fn lose(inner: &mut Inner, key: Key, reset: bool) {
    leave_queue(inner, key);
    let Some(conn) = inner.conns.get_mut(key) else { return };
    inner.deadlines.disarm_all(key.index);
    let parent = conn.parent;
    let mut sent = None;
    match conn.carrier.take() {
        Carrier::Socket(fd) => {
            if let (Some(tls), false, true) = (&mut conn.tls, reset, conn.out.is_empty()) {
                tls.close(fd.as_raw_fd());
            }
            if reset {
                socket::reset_on_close(&fd);
            }
        }
        Carrier::Stream(mut stream) => {
            let orderly = !reset && conn.out.is_empty() && matches!(conn.protocol, Protocol::WebSocket(_));
            if !(orderly && stream.end()) {
                let reason = if reset { Reason::INTERNAL_ERROR } else { Reason::CANCEL };
                sent = stream.reset(reason).then_some(reason);
            }
        }
        Carrier::Gone => {}
    }
    conn.out.clear();
    conn.input = Vec::new();
    conn.readable = false;
    if let Some(parent) = parent {
        if let Some(reason) = sent {
            h2::count_reset(inner, parent, reason);
        }
        inner.mark_dirty(parent);
    }
    let Some(conn) = inner.conns.get_mut(key) else { return };
    match &mut conn.protocol {
        Protocol::Http(exchange) => {
            exchange.gone = true;
            inner.wakes.extend(exchange.receivers.drain(..).map(Wake::Resume));
            inner.wakes.extend(exchange.senders.drain(..).map(Wake::Resume));
            if exchange.task.is_none() {
                // It is in its first step, or over: whoever runs it sees `gone`.
                return;
            }
            crate::http::finish::on_disconnect(inner, key);
        }
        Protocol::WebSocket(ws) => {
            ws::close::log_end(ws, &mut inner.access);
            let over = ws.lost(&mut inner.wakes, 1006, "");
            if over {
                remove(inner, key);
            }
        }
        Protocol::H2(h2) => {
            for stream in std::mem::take(&mut h2.streams) {
                lose(inner, stream, reset);
            }
            remove(inner, key);
        }
        _ => remove(inner, key),
    }
}

/// A request that waited for a place under the concurrency limit gives its place in the queue up.
fn leave_queue(inner: &mut Inner, key: Key) {
    if inner.conns.get_mut(key).is_some_and(|conn| matches!(conn.protocol, Protocol::Queued)) {
        inner.queue.retain(|waiting| *waiting != key);
    }
}

/// Frees the slot.
pub(crate) fn remove(inner: &mut Inner, key: Key) {
    inner.deadlines.disarm_all(key.index);
    if let Some(conn) = inner.conns.remove(key) {
        // The client tuple and the like are plain objects, but their end is not ours to run inside a borrow.
        let Conn { client, server, memo, mut out, parent, protocol, .. } = conn;
        // It counts itself among those that are open.
        drop(protocol);
        out.reclaim(&mut inner.spare);
        inner.wakes.push(Wake::Drop(client));
        inner.wakes.extend(server.map(Wake::Drop));
        match parent {
            Some(parent) => h2::removed(inner, key, parent, memo),
            None => drop(memo),
        }
        inner.count_connections();
    }
}

/// Sends what waits. A head that is still held goes first: its application waits for something else.
pub(crate) fn flush(inner: &mut Inner, key: Key) {
    if inner.conns.get_mut(key).is_some_and(|conn| matches!(conn.protocol, Protocol::H2(_))) {
        h2::drive(inner, key);
    }
    let Inner { conns, deadlines, wakes, spare, stats, now, fixed, draining, board, .. } = inner;
    let Some(conn) = conns.get_mut(key) else { return };
    conn.dirty = false;
    if let Protocol::Http(exchange) = &mut conn.protocol {
        if let Response::Held(_) = exchange.response {
            if let Some(framing) = exchange.response.release_head() {
                conn.out.lend(spare);
                encode_head(exchange, &mut conn.carrier, &mut conn.out, framing, fixed, *draining, spare, board);
            }
        }
    }
    match &conn.carrier {
        Carrier::Socket(_) => {}
        Carrier::Stream(_) => return h2::flush(inner, key),
        Carrier::Gone => return,
    }
    if conn.out.is_empty() {
        if conn.protocol_is_sending_last() {
            finish_sending(inner, key);
        }
        return;
    }
    let Some(outcome) = conn.send_waiting() else { return };
    match outcome {
        Ok((count, Flushed::All)) => {
            stats.bytes_sent += count;
            taken(deadlines, key, *now);
            conn.out.reclaim(spare);
            wake_senders(conn, wakes);
            // There may be more than the output takes at a time.
            let more = matches!(&conn.protocol, Protocol::H2(h2) if h2.has_more());
            if conn.protocol_is_sending_last() {
                finish_sending(inner, key);
            } else if conn.waits_for_output() {
                inner.look_again(key);
            }
            if more {
                inner.mark_dirty(key);
            }
        }
        Ok((count, Flushed::More)) => {
            stats.bytes_sent += count;
            taken(deadlines, key, *now);
            // It is flushed when it has its turn, and not with the others before.
            conn.dirty = true;
            inner.look_again(key);
        }
        Ok((count, Flushed::Blocked)) => {
            stats.bytes_sent += count;
            if count > 0 || !deadlines.is_armed(Kind::Write, key.index) {
                conn.unsent = conn.carrier.socket().map_or(0, socket::unsent);
                deadlines.arm(Kind::Write, key.index, *now);
            }
            if conn.out.len() <= OUT_LOW {
                wake_senders(conn, wakes);
                if conn.waits_for_output() {
                    inner.look_again(key);
                }
            }
        }
        Err(_) => lose(inner, key, true),
    }
}

/// The peer takes what it is sent: idleness begins when it has taken all of it.
fn taken(deadlines: &mut Deadlines, key: Key, now: u64) {
    if deadlines.is_armed(Kind::Write, key.index) {
        deadlines.disarm(Kind::Write, key.index);
        if deadlines.is_armed(Kind::KeepAlive, key.index) {
            deadlines.arm(Kind::KeepAlive, key.index, now);
        }
    }
}

pub(crate) fn wake_senders(conn: &mut Conn, wakes: &mut Vec<Wake>) {
    match &mut conn.protocol {
        Protocol::Http(exchange) => wakes.extend(exchange.senders.drain(..).map(Wake::Resume)),
        Protocol::WebSocket(ws) => wakes.extend(ws.senders.drain(..).map(Wake::Resume)),
        _ => {}
    }
}

/// Encodes a head where it leaves: into the connection's bytes, or as the fields of a stream.
#[inline]
pub(crate) fn put_head(
    carrier: &mut Carrier,
    out: &mut OutBuf,
    spare: &mut Vec<Vec<u8>>,
    encode: impl FnOnce(&mut Vec<u8>),
) {
    let Carrier::Stream(stream) = carrier else { return out.write(encode) };
    let mut text = spare.pop().unwrap_or_default();
    encode(&mut text);
    let body = stream.begin_response(&text);
    out.write(|out| out.extend_from_slice(body));
    text.clear();
    spare.push(text);
}

/// Appends the held head to the output, framed.
#[expect(clippy::too_many_arguments, reason = "parts of the state that are borrowed one by one")]
pub(crate) fn encode_head(
    exchange: &mut Exchange,
    carrier: &mut Carrier,
    out: &mut OutBuf,
    framing: HeadFraming,
    fixed: &FixedFields,
    draining: bool,
    spare: &mut Vec<Vec<u8>>,
    board: &Option<Board>,
) {
    let answer = &mut exchange.answer;
    // A body that was announced with an expectation and never asked for may or may not come (RFC 9110 §10.1.1).
    if draining || framing == HeadFraming::AddClose || exchange.body.continue_owed {
        answer.keep_alive = false;
    }
    let (answer, mut head) = (*answer, std::mem::take(&mut exchange.head));
    put_head(carrier, out, spare, |bytes| {
        bytes.extend_from_slice(&head);
        fixed.append(bytes, answer.has_server, answer.has_date);
        if answer.secure {
            bytes.extend_from_slice(&fixed.secure);
        }
        response::end_head(bytes, framing, !answer.keep_alive, answer.http10);
    });
    if let Some(record) = &mut exchange.record {
        record.head_sent();
    }
    if let Some(board) = board {
        board.responded(answer.status);
    }
    head.clear();
    if spare.len() < 64 {
        spare.push(head);
    }
}

impl Conn {
    /// Reading may have paused while the peer did not take its answers.
    pub(crate) fn waits_for_output(&self) -> bool {
        match self.protocol {
            Protocol::WebSocket(_) | Protocol::H2(_) => self.readable,
            Protocol::Idle => self.readable || !self.input.is_empty(),
            _ => false,
        }
    }

    pub(crate) fn protocol_is_sending_last(&self) -> bool {
        match &self.protocol {
            Protocol::Closing(Closing::Sending) => true,
            Protocol::WebSocket(ws) => ws.ends_after_sending(),
            _ => false,
        }
    }
}

/// Everything was sent on a connection that is to end: shut down our side and let the peer finish (RFC 9112 §9.6).
fn finish_sending(inner: &mut Inner, key: Key) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    if let Protocol::WebSocket(_) = conn.protocol {
        ws::finish_sending(inner, key);
        return;
    }
    if conn.carrier.is_gone() {
        return;
    }
    conn.end_sending();
    conn.protocol = Protocol::Closing(Closing::Lingering);
    conn.input = Vec::new();
    conn.readable |= conn.hangup;
    let readable = conn.readable;
    inner.deadlines.arm(Kind::Linger, key.index, inner.now);
    if readable {
        inner.look_again(key);
    }
}

/// Ends the connection after what is queued is sent.
pub(crate) fn close_after_sending(inner: &mut Inner, key: Key) {
    leave_queue(inner, key);
    let Some(conn) = inner.conns.get_mut(key) else { return };
    for kind in [Kind::Head, Kind::KeepAlive, Kind::Body, Kind::Request, Kind::Queue] {
        inner.deadlines.disarm(kind, key.index);
    }
    let before = std::mem::replace(&mut conn.protocol, Protocol::Closing(Closing::Sending));
    if let Protocol::Http(exchange) = before {
        inner.recycle(exchange);
    }
    inner.mark_dirty(key);
}

/// The server's own answer, and why.
pub(crate) struct Refused<'a> {
    pub(crate) status: u16,
    /// For the client and the log; may be empty.
    pub(crate) reason: &'a str,
    /// What the client gets instead of the reason, as it is. Empty: the reason.
    pub(crate) body: &'a str,
    /// The rule that the request broke, `RFC 9112 §3.2`. Empty: the section of the status.
    pub(crate) section: &'a str,
    /// What came of the request, when there is no exchange. Empty: what the connection has kept.
    pub(crate) head: &'a [u8],
    /// Further response fields, encoded.
    pub(crate) extra: &'a [u8],
}

/// Where a status that the server gives by itself is defined.
fn section(status: u16) -> &'static str {
    match status {
        408 => "RFC 9110 §15.5.9",
        413 => "RFC 9110 §15.5.14",
        503 => "RFC 9110 §15.6.4",
        504 => "RFC 9110 §15.6.5",
        _ => "",
    }
}

/// The server's own answer to a request that the application does not get to answer; the connection ends after it.
pub(crate) fn refuse(inner: &mut Inner, key: Key, status: u16, reason: &str, extra: &[u8]) {
    refuse_for(inner, key, &Refused { status, reason, body: "", section: "", head: b"", extra });
}

/// [`refuse`] with everything that the log can say.
pub(crate) fn refuse_for(inner: &mut Inner, key: Key, refused: &Refused<'_>) {
    let Refused { status, reason, extra, .. } = *refused;
    let Some(conn) = inner.conns.get_mut(key) else { return };
    if conn.carrier.is_gone() {
        return;
    }
    let head_only = match &mut conn.protocol {
        Protocol::Http(exchange) => {
            inner.wakes.extend(exchange.receivers.drain(..).map(Wake::Resume));
            inner.wakes.extend(exchange.senders.drain(..).map(Wake::Resume));
            conn.refused = true;
            exchange.answer.head_only
        }
        _ => false,
    };
    let text = match (refused.body, reason) {
        ("", "") => format!("{}\n", response::reason_phrase(status)),
        ("", reason) => format!("{}: {reason}\n", response::reason_phrase(status)),
        (body, _) => body.to_owned(),
    };
    conn.out.lend(&mut inner.spare);
    let fixed = &inner.fixed.rendered;
    let mut extra = Cow::from(extra);
    if let (Some(ids), Some(id), Protocol::Http(_)) = (&inner.request_ids, &conn.request_id, &conn.protocol) {
        ids.append(extra.to_mut(), id);
    }
    put_head(&mut conn.carrier, &mut conn.out, &mut inner.spare, |out| {
        response::plain_answer(out, status, &text, &extra, fixed, head_only)
    });
    if let Some(board) = &inner.board {
        board.responded(status);
        if let Protocol::Http(exchange) = &mut conn.protocol {
            let answered = board.answered(&mut exchange.times, status);
            let link = Link { key, serial: conn.serial, websocket: false };
            inner.ended.extend(answered.map(|answered| Ended { link, running: exchange.task, answered }));
        }
    }
    if let Some(access) = &mut inner.access {
        let section = if refused.section.is_empty() { section(status) } else { refused.section };
        let refusal = Refusal { reason, section };
        let sent = if head_only { 0 } else { text.len() as u64 };
        match &mut conn.protocol {
            Protocol::Http(exchange) => {
                if let Some(record) = exchange.record.take() {
                    access.write_refused(record, status, (exchange.body.received, sent), refusal);
                }
            }
            _ => {
                let head = if refused.head.is_empty() { &conn.input } else { refused.head };
                access.refused(head, &conn.peer, status, sent, refusal);
            }
        }
    }
    close_after_sending(inner, key);
}
