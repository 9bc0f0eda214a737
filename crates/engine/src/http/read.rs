//! From readiness to requests: reads the socket, has heads parsed (`head.rs`), decodes bodies.
//!
//! Bytes are parsed where they were read, in a buffer that is out of the state's reach while the application runs;
//! only what cannot be used yet is copied into the connection's `input`.

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use pyo3::prelude::*;
use swell_wire::error::WireError;
use swell_wire::h1::body::BodyDecoder;
use swell_wire::h2::{opening, Opening};

use super::admit::{admit, admit_queued, too_large, Admission};
use super::head::{self, Parsed};
use super::launch;
use crate::conn::{Carrier, Closing, Conn, Protocol, OUT_HIGH};
use crate::core::{level, Core, Inner, Wake, RECEIVE_SIZE};
use crate::h2;
use crate::io::deadlines::Kind;
use crate::io::poller::Event;
use crate::io::slots::Key;
use crate::io::socket;
use crate::lifecycle::{self, Refused};
use crate::share::{self, Share};
use crate::tls;
use crate::ws;

/// The poller reports a connection.
pub(crate) fn ready(py: Python<'_>, core: &Rc<Core>, key: Key, event: Event) {
    let read = core.with(|inner| {
        let Some(conn) = inner.conns.get_mut(key) else { return false };
        let wanted = event.readable || event.hangup;
        conn.readable |= wanted;
        conn.hangup |= event.hangup;
        if event.writable && !conn.out.is_empty() {
            lifecycle::flush(inner, key);
        }
        wanted
    });
    if read {
        pull(py, core, key);
    } else {
        core.settle(py);
    }
}

/// Processes what waited: bytes kept in `input`, then the socket.
pub(crate) fn resume(py: Python<'_>, core: &Rc<Core>, key: Key) {
    core.with(|inner| {
        // Its place is free for it: nobody else is looked at before.
        if let Some(at) = inner.called.iter().position(|called| *called == key) {
            inner.called.swap_remove(at);
        }
    });
    resume_one(py, core, key);
    core.with(|inner| {
        // A queued request whose turn it was may have come to nothing; its place is the next one's.
        if !inner.queue.is_empty() {
            admit_queued(inner, core.settings.limit_concurrency);
        }
    });
}

fn resume_one(py: Python<'_>, core: &Rc<Core>, key: Key) {
    let waiting = core.with(|inner| {
        let conn = inner.conns.get_mut(key)?;
        conn.again = false;
        Some(std::mem::take(&mut conn.input))
    });
    let Some(waiting) = waiting else { return };
    if !waiting.is_empty() {
        let used = process(py, core, key, &waiting);
        keep(core, key, &waiting[used..]);
    }
    resume_reading(py, core, key);
}

/// Reads on, from the socket or from the stream.
pub(crate) fn resume_reading(py: Python<'_>, core: &Rc<Core>, key: Key) {
    if core.with(|inner| inner.conns.get_mut(key).is_some_and(|conn| conn.parent.is_some())) {
        h2::pull(py, core, key);
    } else {
        pull(py, core, key);
    }
}

/// Reads until the socket is empty or reading must pause.
pub(crate) fn pull(py: Python<'_>, core: &Rc<Core>, key: Key) {
    let mut buffer = core.with(|inner| inner.buffers.pop()).unwrap_or_else(|| vec![0; RECEIVE_SIZE].into_boxed_slice());
    let mut share = Share::of(share::OF_CONNECTION_NS);
    while let Some(read) = core.with(|inner| {
        let conn = inner.conns.get_mut(key)?;
        if !conn.readable || conn.paused() || share.is_used_up() {
            return None;
        }
        if conn.tls.is_some() {
            return Some(tls::read::receive(inner, key, &mut buffer));
        }
        let read = match &conn.carrier {
            Carrier::Socket(fd) => socket::receive(fd.as_raw_fd(), &mut buffer),
            Carrier::Stream(_) | Carrier::Gone => return None,
        };
        match &read {
            Ok(count) => {
                inner.stats.bytes_received += *count as u64;
                inner.passed += *count as u64;
                conn.readable = *count == buffer.len() || conn.hangup;
            }
            Err(_) => conn.readable = false,
        }
        Some(read)
    }) {
        match read {
            Ok(0) => {
                core.with(|inner| end_of_input(inner, key));
                break;
            }
            Ok(count) => received(py, core, key, &buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                core.with(|inner| lifecycle::lose(inner, key, true));
                break;
            }
        }
    }
    core.with(|inner| {
        inner.buffers.push(buffer);
        // What this step produced leaves now, or with that of the next steps.
        if !inner.gathering.is_on() && inner.conns.get_mut(key).is_some_and(|conn| conn.dirty) {
            lifecycle::flush(inner, key);
        }
        if inner.conns.get_mut(key).is_some_and(|conn| conn.readable && !conn.paused()) {
            inner.look_again(key);
        }
    });
    core.settle(py);
}

/// New bytes: joined with those that waited, if there are any.
pub(crate) fn received(py: Python<'_>, core: &Rc<Core>, key: Key, bytes: &[u8]) {
    let waiting = core.with(|inner| {
        let conn = inner.conns.get_mut(key)?;
        if conn.input.is_empty() {
            return None;
        }
        conn.input.extend_from_slice(bytes);
        Some(std::mem::take(&mut conn.input))
    });
    match waiting {
        None => {
            let used = process(py, core, key, bytes);
            keep(core, key, &bytes[used..]);
        }
        Some(mut joined) => {
            let used = process(py, core, key, &joined);
            core.with(|inner| {
                if let Some(conn) = inner.conns.get_mut(key) {
                    joined.drain(..used);
                    // `receive()` may have read on meanwhile and kept what it had no use for.
                    joined.append(&mut conn.input);
                    conn.input = joined;
                }
            });
        }
    }
}

fn keep(core: &Core, key: Key, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    core.with(|inner| {
        if let Some(conn) = inner.conns.get_mut(key) {
            if !conn.carrier.is_gone() && !matches!(conn.protocol, Protocol::Closing(_)) {
                conn.input.extend_from_slice(bytes);
            }
        }
    });
}

/// A step of the connection over the bytes at hand.
enum Step {
    /// So many bytes were used; go on.
    Used(usize),
    /// Nothing more can be done with these bytes now.
    Wait,
    /// A request head; the exchange is set up and its body, if any, follows in the bytes.
    Request(usize, Parsed),
    /// Bytes for an open WebSocket.
    WebSocket,
    /// The connection takes no more bytes.
    Ignore,
}

/// Uses as many of `bytes` as possible. Returns how many.
fn process(py: Python<'_>, core: &Rc<Core>, key: Key, bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut share = Share::of(share::OF_CONNECTION_NS);
    loop {
        let rest = &bytes[at..];
        match core.with(|inner| advance(py, inner, core, key, rest)) {
            Step::Used(count) => at += count,
            Step::Wait => return at,
            Step::Ignore => return bytes.len(),
            Step::WebSocket => {
                at += ws::receive::received(py, core, key, rest);
                return at;
            }
            Step::Request(len, parsed) => {
                at += len;
                launch::request(py, core, key, parsed, &rest[..len], &bytes[at..], &mut at);
                core.settle(py);
                // The next requests wait until the other connections have had their turn.
                if at < bytes.len() && share.is_used_up() {
                    core.with(|inner| inner.look_again(key));
                    return at;
                }
            }
        }
    }
}

/// One step, without Python.
fn advance(py: Python<'_>, inner: &mut Inner, core: &Core, key: Key, bytes: &[u8]) -> Step {
    let Some(conn) = inner.conns.get_mut(key) else { return Step::Ignore };
    if conn.carrier.is_gone() {
        return Step::Ignore;
    }
    match &mut conn.protocol {
        Protocol::Closing(_) => Step::Ignore,
        Protocol::Queued => Step::Wait,
        Protocol::WebSocket(_) => Step::WebSocket,
        Protocol::H2(_) if bytes.is_empty() => Step::Wait,
        Protocol::H2(_) => {
            h2::received(inner, key, bytes);
            Step::Used(bytes.len())
        }
        Protocol::Preface => crate::proxy::preface(inner, key, bytes).map_or(Step::Wait, Step::Used),
        Protocol::Http(exchange) => {
            if exchange.body.decoder.is_done() || bytes.is_empty() {
                return Step::Wait;
            }
            body(py, inner, core, key, bytes)
        }
        Protocol::Drain(decoder, left) => match decoder.decode(bytes) {
            Err(_) => {
                lifecycle::close_after_sending(inner, key);
                Step::Ignore
            }
            Ok(piece) => {
                *left = left.saturating_sub(piece.consumed as u64);
                if piece.done {
                    inner.deadlines.disarm(Kind::Head, key.index);
                    become_idle(inner, key);
                } else if *left == 0 {
                    lifecycle::close_after_sending(inner, key);
                    return Step::Ignore;
                }
                if piece.consumed == 0 && !piece.done {
                    return Step::Wait;
                }
                Step::Used(piece.consumed)
            }
        },
        Protocol::Idle => {
            if bytes.is_empty() || conn.out.len() >= OUT_HIGH {
                return Step::Wait;
            }
            match head::parse(inner, key, bytes) {
                Ok(Some(parsed))
                    if !inner.tls.answers.is_empty() && super::challenge::answered(inner, key, &parsed, bytes) =>
                {
                    Step::Ignore
                }
                Ok(Some(parsed)) if inner.redirects && super::redirect::redirected(inner, key, &parsed, bytes) => {
                    Step::Ignore
                }
                Ok(Some(mut parsed)) => match admit(inner, core, key, &mut parsed, bytes) {
                    Admission::Now => Step::Request(parsed.len, parsed),
                    Admission::Queued => {
                        h2::keep_parsed(inner, key, parsed);
                        Step::Wait
                    }
                    Admission::Refused => Step::Ignore,
                },
                Ok(None) => {
                    inner.deadlines.disarm(Kind::KeepAlive, key.index);
                    inner.deadlines.arm_once(Kind::Head, key.index, inner.now);
                    Step::Wait
                }
                Err(error) => not_http1(inner, key, error, bytes),
            }
        }
    }
}

/// Bytes that begin no HTTP/1 request: the client preface of HTTP/2, or an error.
#[cold]
fn not_http1(inner: &mut Inner, key: Key, error: WireError, bytes: &[u8]) -> Step {
    let conn = inner.conns.get_mut(key);
    let first = conn.as_ref().is_some_and(|conn| conn.serial == 0 && conn.parent.is_none());
    // Over TLS it is ALPN that says HTTP/2 (RFC 9113 §3.2).
    let prior_knowledge = first && inner.h2.http2 && conn.is_some_and(|conn| conn.tls.is_none());
    match opening(bytes) {
        // Who does not begin with the preface would not understand an answer either.
        Opening::Other if first && !inner.h2.http1 => {
            lifecycle::lose(inner, key, false);
            Step::Ignore
        }
        Opening::Http2 if prior_knowledge => {
            h2::begin(inner, key);
            Step::Used(0)
        }
        Opening::Undecided if prior_knowledge => {
            inner.deadlines.arm_once(Kind::Head, key.index, inner.now);
            Step::Wait
        }
        _ => {
            protocol_error(inner, key, error, bytes);
            Step::Ignore
        }
    }
}

/// Body bytes of the current request.
fn body(py: Python<'_>, inner: &mut Inner, core: &Core, key: Key, bytes: &[u8]) -> Step {
    let Some(conn) = inner.conns.get_mut(key) else { return Step::Ignore };
    let Protocol::Http(exchange) = &mut conn.protocol else { return Step::Wait };
    let piece = match exchange.body.decoder.decode(bytes) {
        Ok(piece) => piece,
        Err(error) => {
            protocol_error(inner, key, error, b"");
            return Step::Ignore;
        }
    };
    let data = &bytes[piece.data.clone()];
    let body = &mut exchange.body;
    body.continue_owed = false;
    body.received += data.len() as u64;
    if core.settings.limit_body_size > 0 && body.received > core.settings.limit_body_size {
        too_large(inner, key, b"");
        return Step::Ignore;
    }
    body.put(py, data);
    if piece.done || !data.is_empty() {
        // Each takes what it finds when it runs, and waits again when it finds nothing.
        inner.wakes.extend(exchange.receivers.drain(..).map(Wake::Resume));
    }
    if piece.done {
        inner.deadlines.disarm(Kind::Body, key.index);
    }
    if piece.consumed == 0 && !piece.done {
        return Step::Wait;
    }
    Step::Used(piece.consumed)
}

/// Uses what of `bytes` belongs to the current request's body. Returns how many bytes that is.
pub(crate) fn body_only(py: Python<'_>, core: &Rc<Core>, key: Key, bytes: &[u8]) -> usize {
    core.with(|inner| {
        let mut at = 0;
        while at < bytes.len()
            && inner.conns.get_mut(key).and_then(Conn::exchange).is_some_and(|e| !e.body.decoder.is_done())
        {
            match body(py, inner, core, key, &bytes[at..]) {
                Step::Used(count) => at += count,
                Step::Ignore => return bytes.len(),
                _ => break,
            }
        }
        at
    })
}

/// The peer broke the protocol: one answer, one log line, the end. `head`: what was no request.
pub(crate) fn protocol_error(inner: &mut Inner, key: Key, error: WireError, head: &[u8]) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let text = format!("{}: {}, {} ({})", conn.peer, error.status(), error.reason(), error.section());
    inner.stats.refused += 1;
    inner.report(level::WARNING, text);
    let refused = Refused {
        status: error.status(),
        reason: error.reason(),
        body: "",
        section: error.section(),
        head,
        extra: b"",
    };
    super::finish::refuse_for(inner, key, &refused);
}

/// The peer ended its sending side.
pub(crate) fn end_of_input(inner: &mut Inner, key: Key) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    conn.readable = false;
    match &mut conn.protocol {
        // What is queued for a half-closed peer is still sent, as far as the socket takes it.
        Protocol::Closing(Closing::Sending) => {}
        Protocol::WebSocket(_) => ws::end_of_input(inner, key),
        Protocol::H2(_) => h2::end_of_input(inner, key),
        Protocol::Http(exchange) if conn.parent.is_some() => {
            exchange.body.decoder = BodyDecoder::Done;
            inner.wakes.extend(exchange.receivers.drain(..).map(Wake::Resume));
            inner.deadlines.disarm(Kind::Body, key.index);
        }
        // All answers are complete: a peer that only has nothing more to ask gets them.
        Protocol::Idle | Protocol::Drain(..) if !conn.out.is_empty() => lifecycle::close_after_sending(inner, key),
        _ => {
            if conn.dirty {
                lifecycle::flush(inner, key);
            }
            lifecycle::lose(inner, key, false);
        }
    }
}

/// The exchange is over and the connection stays: wait for the next head, but not for long when the server ends.
pub(crate) fn become_idle(inner: &mut Inner, key: Key) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let old = std::mem::replace(&mut conn.protocol, Protocol::Idle);
    if !conn.input.is_empty() || conn.readable {
        inner.look_again(key);
    }
    inner.deadlines.arm(Kind::KeepAlive, key.index, inner.now);
    inner.deadlines.arm(Kind::Cool, key.index, inner.now);
    if inner.draining {
        inner.deadlines.arm(Kind::Linger, key.index, inner.now);
    }
    if let Protocol::Http(exchange) = old {
        inner.recycle(exchange);
    }
}

/// True when a decoder has more than `budget` bytes to go, as far as it can tell.
pub(crate) fn worth_draining(decoder: &BodyDecoder, budget: u64) -> bool {
    match decoder {
        BodyDecoder::Length(left) => *left <= budget,
        _ => true,
    }
}
