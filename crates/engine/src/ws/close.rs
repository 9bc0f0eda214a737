//! How WebSockets end: by either side, by time, by shutdown, by the application's return. RFC 6455 §5.5.1, §7.

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use pyo3::prelude::*;

use super::deny::become_http;
use super::{Closer, Ending, State, Ws};
use crate::access::{AccessLog, End};
use crate::conn::{Closing, Conn, Protocol};
use crate::core::{level, Core, Inner};
use crate::h2;
use crate::http::finish;
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::io::socket;
use crate::lifecycle;
use crate::py::callable::Link;

/// Sends our close frame and waits for the peer's.
pub(super) fn start(inner: &mut Inner, key: Key, by: Closer, code: u16, reason: &str) {
    let Inner { conns, spare, .. } = inner;
    let Some(Conn { protocol: Protocol::WebSocket(ws), out, .. }) = conns.get_mut(key) else { return };
    let state = std::mem::replace(&mut ws.state, State::Over { code, reason: String::new() });
    let State::Open(mut connection) = state else {
        ws.state = state;
        return;
    };
    out.lend(spare);
    out.write(|out| connection.send_close(code, reason, out));
    ws.state = State::Closing { connection, by };
    // Reading may have paused on messages that nobody takes any more.
    inner.look_again(key);
    inner.deadlines.disarm(Kind::Ping, key.index);
    inner.deadlines.disarm(Kind::Pong, key.index);
    inner.deadlines.arm(Kind::CloseFrame, key.index, inner.now);
    inner.mark_dirty(key);
}

/// The peer has closed or broken the protocol: it gets our close frame, unless it has it already.
pub(super) fn end(inner: &mut Inner, key: Key, ending: Ending) {
    let Inner { conns, spare, .. } = inner;
    let Some(Conn { protocol: Protocol::WebSocket(ws), out, .. }) = conns.get_mut(key) else { return };
    let Ending { code, reason, failure } = ending;
    match &mut ws.state {
        State::Open(connection) => {
            out.lend(spare);
            out.write(|out| connection.send_close(code, if failure { &reason } else { "" }, out));
        }
        State::Closing { .. } => {}
        State::Offered { .. } | State::Over { .. } => return,
    }
    if failure {
        let text = format!("{}: WebSocket closed with {code}, {reason}", finish::name(inner, key));
        inner.report(level::INFO, text);
    }
    ended(inner, key, code, &reason);
}

/// Both close frames are on their way, or the peer broke the protocol: the connection ends after what is queued.
fn ended(inner: &mut Inner, key: Key, code: u16, reason: &str) {
    let Inner { conns, wakes, access, .. } = inner;
    let Some(Conn { protocol: Protocol::WebSocket(ws), .. }) = conns.get_mut(key) else { return };
    let returned = ws.lost(wakes, code, reason);
    log_end(ws, access);
    inner.deadlines.disarm_all(key.index);
    inner.mark_dirty(key);
    if returned {
        lifecycle::close_after_sending(inner, key);
    }
}

/// The access log's line, once. A peer that left without a close frame has the code 1006 (RFC 6455 §7.1.5).
pub(crate) fn log_end(ws: &mut Ws, access: &mut Option<AccessLog>) {
    if let (Some(record), Some(access)) = (ws.record.take(), access) {
        let end = match &ws.state {
            State::Offered { .. } => End::Disconnected,
            State::Open(_) | State::Closing { .. } => {
                End::WebSocket(ws.ending.as_ref().map_or(1006, |ending| ending.code))
            }
            State::Over { code, .. } => End::WebSocket(*code),
        };
        access.write(record, ws.received, end);
    }
}

/// Everything is sent on a WebSocket that is over: the server ends the connection first (RFC 6455 §7.1.1).
pub(crate) fn finish_sending(inner: &mut Inner, key: Key) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    if !conn.carrier.is_gone() {
        conn.end_sending();
        inner.deadlines.arm_once(Kind::Linger, key.index, inner.now);
    }
}

/// The peer has ended its side of the connection.
pub(crate) fn end_of_input(inner: &mut Inner, key: Key) {
    lifecycle::lose(inner, key, false);
}

/// Time to see whether the peer is still there.
pub(crate) fn ping(inner: &mut Inner, key: Key) {
    let Inner { conns, spare, deadlines, now, .. } = inner;
    let Some(Conn { protocol: Protocol::WebSocket(ws), out, .. }) = conns.get_mut(key) else { return };
    let State::Open(connection) = &mut ws.state else { return };
    out.lend(spare);
    let payload = (*now as u32).to_be_bytes();
    out.write(|out| connection.send_ping(&payload, out));
    deadlines.arm(Kind::Pong, key.index, *now);
    // Without a limit on the answer, pings still go out to keep the path open.
    if !deadlines.is_armed(Kind::Pong, key.index) {
        deadlines.arm(Kind::Ping, key.index, *now);
    }
    inner.mark_dirty(key);
}

/// The pong did not come: the peer is told, should it still be there, and is not waited for.
pub(crate) fn no_pong(inner: &mut Inner, key: Key) {
    if has_unread(inner, key) {
        // The pong may be among it: reading is paused, or the loop was blocked.
        return inner.deadlines.arm(Kind::Ping, key.index, inner.now);
    }
    let text = format!("{}: WebSocket closed with 1011, no pong in time (ws_ping_timeout)", finish::name(inner, key));
    inner.report(level::INFO, text);
    start(inner, key, Closer::Server, 1011, "no pong in time");
    if let Inner { conns, access: Some(access), .. } = inner {
        if let Some(Conn { protocol: Protocol::WebSocket(ws), .. }) = conns.get_mut(key) {
            if let Some(record) = ws.record.take() {
                access.write(record, ws.received, End::WebSocket(1011));
            }
        }
    }
    lifecycle::flush(inner, key);
    h2::cut(inner, key);
    lifecycle::lose(inner, key, false);
}

/// Something may have come that was not looked at, on the connection itself or on the one that it is a stream of.
fn has_unread(inner: &mut Inner, key: Key) -> bool {
    let Some(conn) = inner.conns.get_mut(key) else { return false };
    let in_socket = |fd: &OwnedFd| socket::has_input(fd.as_raw_fd());
    match conn.parent {
        _ if conn.paused() || conn.readable || conn.carrier.socket().is_some_and(in_socket) => true,
        Some(parent) => has_unread(inner, parent),
        None => false,
    }
}

/// `timeout_request` has passed before the application has accepted or refused.
pub(crate) fn timed_out(inner: &mut Inner, key: Key) {
    let Some(Conn { protocol: Protocol::WebSocket(ws), serial, .. }) = inner.conns.get_mut(key) else { return };
    let link = Link { key, serial: *serial, websocket: true };
    if let Some(running) = ws.task {
        finish::cancel(inner, running);
    }
    become_http(inner, link, |inner, key| {
        lifecycle::refuse(inner, key, 504, "the application did not answer in time", b"");
    });
}

/// The server ends: a handshake that waits for the application is refused.
pub(crate) fn refuse_for_shutdown(inner: &mut Inner, key: Key) {
    let Some(Conn { protocol: Protocol::WebSocket(ws), serial, .. }) = inner.conns.get_mut(key) else { return };
    let link = Link { key, serial: *serial, websocket: true };
    if let State::Offered { .. } = ws.state {
        become_http(inner, link, |inner, key| lifecycle::refuse(inner, key, 503, "the server is ending", b""));
    }
}

/// The server ends: an open WebSocket is closed.
pub(crate) fn close_for_shutdown(inner: &mut Inner, key: Key, code: u16) {
    start(inner, key, Closer::Server, code, "server is restarting");
    lifecycle::flush(inner, key);
}

/// The application has returned or raised.
pub(crate) fn over(py: Python<'_>, core: &Rc<Core>, link: Link, error: Option<PyErr>) {
    let gone = core.with(|inner| {
        let Some(Conn { protocol: Protocol::WebSocket(ws), .. }) = inner.conns.get_mut(link.key) else { return true };
        ws.returned = true;
        matches!(ws.state, State::Over { .. })
    });
    let failed = error.is_some();
    if let Some(error) = error {
        finish::report(py, core, link, error, gone);
    }
    core.with(|inner| {
        let Some(conn) = inner.conns.get_mut(link.key) else { return };
        let is_there = !conn.carrier.is_gone();
        let Protocol::WebSocket(ws) = &mut conn.protocol else { return };
        match ws.state {
            State::Offered { .. } => {
                if !failed {
                    let text = "the application returned without accepting or closing the WebSocket";
                    let text = format!("{}: {text}", finish::name(inner, link.key));
                    inner.report(level::ERROR, text);
                }
                become_http(inner, link, |inner, key| lifecycle::refuse(inner, key, 500, "", b""));
            }
            State::Open(_) if failed => start(inner, link.key, Closer::Server, 1011, "internal error"),
            State::Open(_) => start(inner, link.key, Closer::Server, 1000, ""),
            State::Closing { .. } => {}
            State::Over { .. } if conn.parent.is_some() && is_there => lifecycle::close_after_sending(inner, link.key),
            State::Over { .. } if is_there => {
                // Keeps the deadline that runs: the peer has until then to end its side.
                let lingering = conn.out.is_empty();
                conn.protocol = Protocol::Closing(if lingering { Closing::Lingering } else { Closing::Sending });
                inner.deadlines.arm_once(Kind::Linger, link.key.index, inner.now);
                if lingering {
                    if let Some(conn) = inner.conns.get_mut(link.key) {
                        conn.end_sending();
                    }
                }
            }
            State::Over { .. } => lifecycle::remove(inner, link.key),
        }
    });
    core.settle(py);
    core.schedule_if_needed(py);
}
