//! What happens when a deadline passes. One place, so that the table in the documentation has one counterpart.

use std::rc::Rc;

use ::h2::Reason;
use pyo3::prelude::*;

use crate::conn::{Closing, Conn, Protocol};
use crate::core::{level, Core, Inner};
use crate::h2;
use crate::http;
use crate::io::clock;
use crate::io::deadlines::{Kind, KINDS};
use crate::io::slots::Key;
use crate::io::socket;
use crate::lifecycle;
use crate::tls;
use crate::ws;

/// How late a deadline may be while others have something to be read, in milliseconds.
const LATE_MS: u64 = 1000;

/// The timer has fired: every deadline that has passed is acted on. Unless `all_read`, what would meet one may have come
/// and wait: then the next turn sees to them, if they are not too late for that.
pub(crate) fn expire(py: Python<'_>, core: &Rc<Core>, all_read: bool) {
    core.with(|inner| {
        inner.poller.clear_timer();
        inner.now = clock::coarse_ms();
        inner.wake_listeners();
        let latest = if all_read { inner.now } else { inner.now.saturating_sub(LATE_MS) };
        for kind in KINDS {
            while let Some(slot) = inner.deadlines.pop_due(kind, latest) {
                if let Some(key) = inner.conns.key_at(slot) {
                    expired(inner, core, kind, key);
                }
            }
        }
    });
    core.settle(py);
}

/// True when the peer has taken something since the deadline was set. The socket alone does not tell: it becomes
/// writable only when a good part of the kernel's buffer, up to megabytes, is free again.
fn takes_bytes(conn: &mut Conn) -> bool {
    let before = conn.unsent;
    conn.unsent = conn.carrier.socket().map_or(0, socket::unsent);
    conn.unsent < before
}

fn expired(inner: &mut Inner, core: &Core, kind: Kind, key: Key) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    match kind {
        Kind::Cool => {
            conn.memo = None;
            if let Protocol::H2(h2) = &mut conn.protocol {
                h2.cool();
            }
            if conn.input.is_empty() {
                conn.input = Vec::new();
            }
            return;
        }
        Kind::Ping => return ws::ping(inner, key),
        Kind::Body => return http::rate::check(inner, core, key),
        Kind::Write if takes_bytes(conn) => return inner.deadlines.arm(Kind::Write, key.index, inner.now),
        _ => {}
    }
    if let Protocol::H2(_) = conn.protocol {
        match kind {
            // The answers of streams that are over are still being taken, see below.
            Kind::KeepAlive | Kind::Linger if !conn.out.is_empty() => {
                return inner.deadlines.arm(kind, key.index, inner.now);
            }
            Kind::KeepAlive => return h2::end(inner, key, Reason::NO_ERROR),
            Kind::Head => return h2::head_timed_out(inner, key),
            _ => {}
        }
    }
    if kind == Kind::Write && h2::is_held_up(inner, key) {
        return inner.deadlines.arm(kind, key.index, inner.now);
    }
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let peer = conn.peer.to_string();
    match kind {
        // The answer is still being taken: that is not idle, and `timeout_write` watches over it.
        Kind::KeepAlive | Kind::Linger if matches!(conn.protocol, Protocol::Idle) && !conn.out.is_empty() => {
            return inner.deadlines.arm(kind, key.index, inner.now);
        }
        // A request has begun, which `timeout_header` watches over.
        Kind::Linger if matches!(conn.protocol, Protocol::Idle) && !conn.input.is_empty() => return,
        Kind::KeepAlive | Kind::CloseFrame | Kind::Linger => {
            if !matches!(conn.protocol, Protocol::Closing(Closing::Lingering)) || kind == Kind::Linger {
                lifecycle::lose(inner, key, false);
            }
            return;
        }
        // The answer is complete, and may still be under way.
        Kind::Head if matches!(conn.protocol, Protocol::Drain(..)) => {
            return lifecycle::close_after_sending(inner, key)
        }
        Kind::Head if conn.input.is_empty() => return lifecycle::lose(inner, key, false),
        Kind::Handshake => return tls::handshake_timed_out(inner, key),
        _ => {}
    }
    inner.stats.timed_out += 1;
    match kind {
        Kind::Head => {
            inner.report(
                level::INFO,
                format!("{peer}: 408, the request head was not complete in time (timeout_header)"),
            );
            lifecycle::refuse(inner, key, 408, "the request head was not complete in time", b"");
        }
        Kind::Write => {
            inner.report(level::INFO, format!("{peer}: closed, the client took no bytes in time (timeout_write)"));
            h2::stalled(inner, key);
        }
        Kind::Request => http::finish::on_timeout(inner, key),
        Kind::Queue => {
            inner.stats.overloaded += 1;
            inner.report(level::WARNING, format!("{peer}: 503, no free place in time (timeout_queue)"));
            lifecycle::refuse(inner, key, 503, "the server is busy", b"retry-after: 1\r\n");
        }
        Kind::Pong => ws::no_pong(inner, key),
        Kind::Handshake | Kind::Cool | Kind::Ping | Kind::Body | Kind::KeepAlive | Kind::CloseFrame | Kind::Linger => {}
    }
}
