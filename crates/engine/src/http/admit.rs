//! Whether a request may start: the limits of running requests, of the queue before them and of the body's length.
//!
//! Called by `read` for every complete head, and by `finish` when a place becomes free. Time limits are `expire`'s.

use swell_wire::error::Kind as Rule;
use swell_wire::h1::facts::Framing;
use swell_wire::h1::line::Version;

use super::finish;
use super::head::Parsed;
use crate::conn::{Conn, Protocol};
use crate::core::{level, Core, Inner};
use crate::io::clock;
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::lifecycle::{self, Refused};

/// What becomes of a request whose head is complete.
pub(super) enum Admission {
    Now,
    /// It is parsed again when there is a place.
    Queued,
    /// It is answered.
    Refused,
}

/// Decides whether the request may start now: the concurrency limit and its queue.
pub(super) fn admit(inner: &mut Inner, core: &Core, key: Key, parsed: &mut Parsed, head: &[u8]) -> Admission {
    let settings = &core.settings;
    inner.deadlines.disarm(Kind::Head, key.index);
    inner.deadlines.disarm(Kind::KeepAlive, key.index);
    inner.deadlines.disarm(Kind::Cool, key.index);
    if inner.draining {
        inner.deadlines.disarm(Kind::Linger, key.index);
    }
    if !inner.h2.http1 && parsed.version != Version::Http2 {
        super::read::protocol_error(inner, key, Rule::OnlyHttp2.into(), head);
        return Admission::Refused;
    }
    let peer = |conn: &Conn| conn.peer.to_string();
    let taken = inner.active + inner.called.len();
    if settings.limit_concurrency > 0 && taken >= settings.limit_concurrency {
        let Some(conn) = inner.conns.get_mut(key) else { return Admission::Refused };
        conn.memo = parsed.memo.take();
        if inner.queue.len() >= settings.limit_queue {
            let text = format!("{}: 503, {taken} requests are being served (limit_concurrency)", peer(conn));
            inner.stats.overloaded += 1;
            inner.report(level::WARNING, text);
            let (reason, extra) = ("the server is busy", b"retry-after: 1\r\n");
            lifecycle::refuse_for(inner, key, &Refused { status: 503, reason, body: "", section: "", head, extra });
            return Admission::Refused;
        }
        conn.protocol = Protocol::Queued;
        conn.queued_at = (inner.access.is_some() || inner.board.is_some()).then(clock::precise_ns);
        inner.queue.push_back(key);
        inner.deadlines.arm(Kind::Queue, key.index, inner.now);
        return Admission::Queued;
    }
    if let Framing::Length(length) | Framing::Stream(Some(length)) = parsed.request.body {
        if settings.limit_body_size > 0 && length > settings.limit_body_size {
            too_large(inner, key, head);
            return Admission::Refused;
        }
    }
    if inner.access.is_some() || inner.board.is_some() {
        let queued_at = inner.conns.get_mut(key).and_then(|conn| conn.queued_at.take());
        if let Some(access) = &mut inner.access {
            access.arrived(queued_at);
        }
        if let Some(board) = &mut inner.board {
            board.was_queued(queued_at);
        }
    }
    Admission::Now
}

/// Calls requests that waited for a place, which is theirs from now on: others come between this and their turn.
pub(crate) fn admit_queued(inner: &mut Inner, limit: usize) {
    while inner.active + inner.called.len() < limit {
        let Some(key) = inner.queue.pop_front() else { return };
        if let Some(conn) = inner.conns.get_mut(key) {
            if let Protocol::Queued = conn.protocol {
                conn.protocol = Protocol::Idle;
                inner.deadlines.disarm(Kind::Queue, key.index);
                inner.called.push(key);
                inner.look_again(key);
            }
        }
    }
}

/// The body is larger than allowed, as announced or as it comes.
pub(super) fn too_large(inner: &mut Inner, key: Key, head: &[u8]) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let text =
        format!("{}: 413, the request body is larger than the limit (limit_body_size, RFC 9110 §15.5.14)", conn.peer);
    inner.stats.refused += 1;
    inner.report(level::WARNING, text);
    let reason = "the request body is larger than the limit";
    finish::refuse_for(inner, key, &Refused { status: 413, reason, body: "", section: "", head, extra: b"" });
}
