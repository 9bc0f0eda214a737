//! `send()` of an HTTP exchange: the application's messages become bytes on the connection.
//!
//! ASGI HTTP 2.5: response start, body, trailers, early hints, pathsend and zerocopysend. The order is kept by
//! `swell_wire::h1::cycle`; the encoding by `swell_wire::h1::response`.

use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use swell_wire::h1::cycle::{BodyStep, Held, Violation};
use swell_wire::h1::response::{self, bodiless_status, Noticed};

use super::{files, finish};
use crate::conn::{Carrier, Conn, Exchange, Subscription, DRAIN_MAX, OUT_HIGH};
use crate::core::{Core, Inner};
use crate::io::outbuf::PIN_FROM;
use crate::lifecycle;
use crate::py::awaitable;
use crate::py::callable::Link;
use crate::py::errors::ClientDisconnected;
use crate::py::message::{self, Message};

pub(crate) fn call(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    arguments: &[*mut ffi::PyObject],
) -> PyResult<*mut ffi::PyObject> {
    message::read(py, &core.py.names, arguments, |message| deliver(py, core, link, message))
}

/// One message of an HTTP response.
pub(crate) fn deliver(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    message: &Message<'_, '_>,
) -> PyResult<*mut ffi::PyObject> {
    match message.kind {
        "http.response.start" => start(py, core, link, message),
        "http.response.body" => body(py, core, link, message),
        "http.response.trailers" => trailers(py, core, link, message),
        "http.response.early_hint" => early_hint(py, core, link, message),
        "http.response.pathsend" => files::path(py, core, link, message),
        "http.response.zerocopysend" => files::zero_copy(py, core, link, message),
        other => Err(message.error(&format!(
            "unknown message type {other:?}; an HTTP response is http.response.start, then http.response.body"
        ))),
    }
}

/// Looks the exchange up and works on it.
///
/// # Errors
/// [`ClientDisconnected`] when the client has gone or was refused meanwhile, `MessageError` when the response is already
/// complete or `work` finds a violation.
pub(crate) fn with_exchange<R>(
    core: &Core,
    link: Link,
    message: &Message<'_, '_>,
    work: impl FnOnce(&mut Inner) -> Result<R, Violation>,
) -> PyResult<R> {
    let result = core.with(|inner| {
        let Some(conn) = inner.conns.get_mut(link.key) else { return Err(None) };
        if conn.serial != link.serial {
            return Err(Some(Violation::AfterEnd));
        }
        let refused = conn.refused;
        match conn.exchange() {
            None if refused => Err(None),
            None => Err(Some(Violation::AfterEnd)),
            Some(exchange) if exchange.gone => Err(None),
            Some(_) => work(inner).map_err(Some),
        }
    });
    result.map_err(|violation| match violation {
        Some(violation) => message.error(&violation.explain()),
        None => ClientDisconnected::new_err("the client has disconnected"),
    })
}

fn start(py: Python<'_>, core: &Rc<Core>, link: Link, message: &Message<'_, '_>) -> PyResult<*mut ffi::PyObject> {
    let names = &core.py.names;
    let status = message.required(&names.status)?;
    let status: u16 = status
        .extract()
        .ok()
        .filter(|status| (200..=999).contains(status))
        .ok_or_else(|| message.error(&format!("status must be an integer from 200 to 999, not {status}")))?;
    let mut head = core.with(|inner| inner.spare.pop()).unwrap_or_default();
    response::status_line(&mut head, status);
    let (mut length, mut close, mut has_date, mut has_server) = (None, false, false, false);
    let (mut two_lengths, mut events) = (false, false);
    let listed = message.encode_headers(&names.headers, &mut head, |noticed| {
        match noticed {
            // RFC 9110 §8.6: a 204 carries none.
            Noticed::Length(_) if status == 204 => return false,
            Noticed::Length(value) => {
                two_lengths |= length.replace(value).is_some_and(|before| before != value);
            }
            Noticed::Close => close = true,
            Noticed::Date => has_date = true,
            Noticed::Server => has_server = true,
            Noticed::EventStream => events = status == 200,
            Noticed::Plain | Noticed::Dropped => {}
        }
        true
    })?;
    let trailers = message.flag(&names.trailers, 2 + usize::from(listed))?;
    if two_lengths {
        return Err(message.error("headers: two different content-length values (RFC 9110 §8.6)"));
    }
    with_exchange(core, link, message, |inner| {
        let Some(conn) = inner.conns.get_mut(link.key) else { return Ok(()) };
        if let (Some(ids), Some(id)) = (&core.request_ids, &conn.request_id) {
            ids.append(&mut head, id);
        }
        let Some(exchange) = conn.exchange() else { return Ok(()) };
        if let Some(board) = &inner.board {
            board.stepped(&mut exchange.times);
        }
        let held = Held {
            length,
            trailers,
            bodiless: exchange.answer.head_only || bodiless_status(status),
            chunked: !exchange.answer.http10,
        };
        exchange.response.start(held)?;
        exchange.head = head;
        exchange.answer.keep_alive &= !close;
        exchange.answer.has_date = has_date;
        exchange.answer.has_server = has_server;
        exchange.answer.status = status;
        if events && exchange.subscription == Subscription::Possible {
            exchange.subscription = Subscription::Running;
        }
        if let Some(record) = &mut exchange.record {
            record.status = status;
        }
        inner.mark_dirty(link.key);
        Ok(())
    })?;
    core.schedule(py);
    Ok(awaitable::done())
}

fn current(inner: &mut Inner, link: Link) -> Option<&mut Exchange> {
    inner.conns.get_mut(link.key).and_then(Conn::exchange)
}

fn body(py: Python<'_>, core: &Rc<Core>, link: Link, message: &Message<'_, '_>) -> PyResult<*mut ffi::PyObject> {
    let names = &core.py.names;
    let body = message.bytes(&names.body)?;
    let last = !message.flag(&names.more_body, 1 + usize::from(body.is_some()))?;
    let data = body.as_ref().map_or(&b""[..], |body| body.as_bytes());
    let complete = with_exchange(core, link, message, |inner| {
        event(inner, link, data.len() as u64, last, |conn| {
            match &body {
                // A subclass may have a destructor, which must not run when the buffer lets go of it.
                Some(body) if data.len() >= PIN_FROM && body.is_exact_instance_of::<PyBytes>() => {
                    conn.out.pin(body.clone().unbind(), data.as_ptr(), data.len());
                }
                _ => conn.out.write(|out| out.extend_from_slice(data)),
            }
        })
    })?;
    sent(py, core, link, data.len() as u64, complete)
}

/// Encodes one body event of `length` bytes, which `put` appends. Returns whether the response is complete.
pub(crate) fn event(
    inner: &mut Inner,
    link: Link,
    length: u64,
    last: bool,
    put: impl FnOnce(&mut Conn),
) -> Result<bool, Violation> {
    let Inner { conns, spare, fixed, draining, board, .. } = inner;
    let Some(conn) = conns.get_mut(link.key) else { return Ok(false) };
    let Some(exchange) = conn.exchange() else { return Ok(false) };
    let BodyStep { head, write, complete } = exchange.response.body(length, last)?;
    if complete && !super::read::worth_draining(&exchange.body.decoder, DRAIN_MAX) {
        // What is left of the request is too much to read for the sake of the next one (RFC 9112 §9.6).
        exchange.answer.keep_alive = false;
    }
    if let (Some(record), true) = (&mut exchange.record, write != swell_wire::h1::cycle::Write::Drop) {
        record.bytes_out += length;
    }
    if let Some(framing) = head {
        let Conn { carrier, out, protocol, .. } = conn;
        if let crate::conn::Protocol::Http(exchange) = protocol {
            out.lend(spare);
            lifecycle::encode_head(exchange, carrier, out, framing, fixed, *draining, spare, board);
        }
    } else {
        conn.out.lend(spare);
    }
    // On a stream, frames delimit the body.
    let chunks = conn.parent.is_none();
    if chunks {
        conn.out.write(|out| response::before_body(out, write, length));
    }
    if write != swell_wire::h1::cycle::Write::Drop && length > 0 {
        put(conn);
    }
    if chunks {
        conn.out.write(|out| response::after_body(out, write, length));
    }
    if complete {
        finish::conclude(inner, link.key);
    }
    Ok(complete)
}

/// What follows an event: the bytes leave now, or with the turn; a full connection makes the application wait.
pub(crate) fn sent(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    length: u64,
    complete: bool,
) -> PyResult<*mut ffi::PyObject> {
    let full = core.with(|inner| {
        inner.mark_dirty(link.key);
        if complete {
            if !core.in_turn.get() {
                lifecycle::flush(inner, link.key);
            }
            return false;
        }
        let Some(conn) = inner.conns.get_mut(link.key) else { return false };
        if conn.out.len() < OUT_HIGH {
            return false;
        }
        lifecycle::flush(inner, link.key);
        inner.conns.get_mut(link.key).is_some_and(|conn| !conn.carrier.is_gone() && conn.out.len() >= OUT_HIGH)
    });
    if full {
        // A client that takes nothing has a deadline, for which the timer is to be set. A stream's bytes leave with its parent.
        core.schedule(py);
        let future = core.future(py)?;
        let kept = future.clone().unbind();
        core.with(|inner| {
            if let Some(exchange) = current(inner, link) {
                exchange.senders.push(kept);
            }
        });
        return awaitable::wait(py, &future);
    }
    if !complete && core.with(|inner| inner.pass(length)) {
        return core.give_way(py);
    }
    core.schedule_if_needed(py);
    if !core.in_turn.get() {
        core.settle(py);
    }
    Ok(awaitable::done())
}

fn trailers(py: Python<'_>, core: &Rc<Core>, link: Link, message: &Message<'_, '_>) -> PyResult<*mut ffi::PyObject> {
    let names = &core.py.names;
    let mut fields = Vec::new();
    message.encode_headers(&names.headers, &mut fields, |noticed| !matches!(noticed, Noticed::Length(_)))?;
    let last = !message.flag(&names.more_trailers, 1)?;
    let complete = with_exchange(core, link, message, |inner| {
        let Some(conn) = inner.conns.get_mut(link.key) else { return Ok(false) };
        let Some(exchange) = conn.exchange() else { return Ok(false) };
        if exchange.response.trailers(last)? {
            match &mut conn.carrier {
                Carrier::Stream(stream) => stream.add_trailers(&fields),
                Carrier::Socket(_) | Carrier::Gone => conn.out.write(|out| {
                    out.extend_from_slice(&fields);
                    if last {
                        out.extend_from_slice(b"\r\n");
                    }
                }),
            }
        }
        if last {
            finish::conclude(inner, link.key);
        }
        Ok(last)
    })?;
    sent(py, core, link, 0, complete)
}

/// 103 with `Link` fields, before the response starts (RFC 8297); HTTP/1.0 clients get none (RFC 9110 §15.2).
fn early_hint(py: Python<'_>, core: &Rc<Core>, link: Link, message: &Message<'_, '_>) -> PyResult<*mut ffi::PyObject> {
    let names = &core.py.names;
    let mut hint = Vec::new();
    response::status_line(&mut hint, 103);
    for item in message.required(&names.links)?.try_iter()? {
        let item = item?;
        let value: Bound<'_, PyBytes> =
            message::as_bytes(&item).ok_or_else(|| message.wrong(&names.links, "an iterable of bytes", &item))?;
        response::field(&mut hint, b"link", value.as_bytes())
            .map_err(|error| message.error(&format!("links: {}", error.explain())))?;
    }
    hint.extend_from_slice(b"\r\n");
    with_exchange(core, link, message, |inner| {
        let Some(conn) = inner.conns.get_mut(link.key) else { return Ok(()) };
        let Some(exchange) = conn.exchange() else { return Ok(()) };
        if exchange.response != swell_wire::h1::cycle::Response::Awaited {
            return Err(Violation::StartTwice);
        }
        if !exchange.answer.http10 {
            conn.put_interim(&hint);
            inner.board.iter().for_each(|board| board.responded(103));
            lifecycle::flush(inner, link.key);
        }
        Ok(())
    })?;
    // What a stream flushes leaves with its parent.
    core.schedule_if_needed(py);
    core.settle(py);
    Ok(awaitable::done())
}
