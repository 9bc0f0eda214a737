//! `receive()` of an HTTP exchange: body pieces, then `http.disconnect`.
//!
//! ASGI HTTP 2.5, "Request" and "Disconnect". A message is taken when the awaitable is stepped.

use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use swell_wire::h1::response;

use crate::conn::{Conn, Subscription, BODY_HIGH};
use crate::core::{Core, Handles};
use crate::h2;
use crate::lifecycle;
use crate::py::awaitable::{self, Answer};
use crate::py::callable::{no_argument, Link};

pub(crate) fn call(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    arguments: &[*mut ffi::PyObject],
) -> PyResult<*mut ffi::PyObject> {
    no_argument("receive", arguments)?;
    awaitable::ask(py, core, link, step)
}

enum Found {
    Disconnected,
    Body(Option<Py<PyBytes>>, bool),
    /// The socket may have more.
    Pull,
    Nothing,
}

fn step(py: Python<'_>, core: &Rc<Core>, link: Link) -> PyResult<Answer> {
    let mut found = look(py, core, link);
    if let Found::Pull = found {
        if core.with(|inner| inner.pass(0)) {
            core.with(|inner| inner.look_again(link.key));
            core.schedule(py);
        } else {
            // No head can come out of this: the exchange is not over.
            super::read::resume_reading(py, core, link.key);
            found = look(py, core, link);
        }
    }
    match found {
        Found::Disconnected => Ok(Answer::Ready(disconnect(py, &core.py)?.into_ptr())),
        Found::Body(body, more) => Ok(Answer::Ready(request(py, &core.py, body, more)?.into_ptr())),
        Found::Pull | Found::Nothing => {
            // A future whose waiter gave up stays behind until somebody looks.
            let waiting = core.with(|inner| {
                current(inner.conns.get_mut(link.key), link)
                    .and_then(Conn::exchange)
                    .map(|exchange| std::mem::take(&mut exchange.receivers))
            });
            let mut waiting = waiting.unwrap_or_default();
            waiting.retain(|future| !core.is_done(future.bind(py)).unwrap_or(true));
            let future = core.future(py)?;
            waiting.push(future.clone().unbind());
            let placed = core.with(|inner| match current(inner.conns.get_mut(link.key), link) {
                Some(conn) => match conn.exchange() {
                    Some(exchange) if !exchange.gone => {
                        exchange.receivers.append(&mut waiting);
                        true
                    }
                    _ => false,
                },
                None => false,
            });
            if placed {
                Ok(Answer::Retry(future.unbind()))
            } else {
                Ok(Answer::Ready(disconnect(py, &core.py)?.into_ptr()))
            }
        }
    }
}

fn current(conn: Option<&mut Conn>, link: Link) -> Option<&mut Conn> {
    conn.filter(|conn| conn.serial == link.serial)
}

fn look(py: Python<'_>, core: &Rc<Core>, link: Link) -> Found {
    let (found, resume) = core.with(|inner| {
        let Some(conn) = current(inner.conns.get_mut(link.key), link) else { return (Found::Disconnected, false) };
        let readable = conn.readable;
        let Some(exchange) = conn.exchange() else { return (Found::Disconnected, false) };
        if let Some(board) = &inner.board {
            board.stepped(&mut exchange.times);
        }
        if let Some(record) = &mut exchange.record {
            // Where tasks are not started at once, this is the first that is seen of the application.
            record.stepped();
        }
        let dismissed = exchange.subscription == Subscription::Dismissed;
        let body = &mut exchange.body;
        if exchange.gone || (dismissed && body.finished) {
            return (Found::Disconnected, false);
        }
        if body.finished {
            return (Found::Nothing, false);
        }
        let done = body.decoder.is_done();
        if done || body.buffered > 0 {
            let was_full = body.buffered >= BODY_HIGH;
            body.finished = done;
            let piece = body.take(py);
            // The window leaves with the parent of a stream, which may be outside of a turn.
            let released = conn.parent.is_some() && h2::release(inner, link.key);
            let resume = was_full && !done && readable;
            if resume {
                inner.look_again(link.key);
            }
            return (Found::Body(piece, !done), resume || released);
        }
        if dismissed {
            return (Found::Disconnected, false);
        }
        // Who has the final status is asked for nothing any more, and may keep the body to itself (RFC 9110 §10.1.1).
        if body.continue_owed && exchange.response.replaceable() {
            if readable {
                // A client that has sent the body unasked is not asked for it (RFC 9110 §10.1.1).
                return (Found::Pull, false);
            }
            body.continue_owed = false;
            conn.put_interim(response::CONTINUE);
            let stream = conn.parent.is_some();
            inner.board.iter().for_each(|board| board.responded(100));
            lifecycle::flush(inner, link.key);
            // What a stream flushes leaves with its parent, which may be outside of a turn.
            return (Found::Nothing, stream);
        }
        (if readable { Found::Pull } else { Found::Nothing }, false)
    });
    if resume {
        core.schedule(py);
    }
    found
}

/// `{"type": "http.request", …}`
pub(crate) fn request<'py>(
    py: Python<'py>,
    handles: &Handles,
    body: Option<Py<PyBytes>>,
    more: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let message = handles.empty_request.bind(py).copy()?;
    if let Some(body) = body {
        message.set_item(handles.names.body.bind(py), body.bind(py))?;
    }
    if more {
        message.set_item(handles.names.more_body.bind(py), pyo3::types::PyBool::new(py, true))?;
    }
    Ok(message.into_any())
}

/// `{"type": "http.disconnect"}`
pub(crate) fn disconnect<'py>(py: Python<'py>, handles: &Handles) -> PyResult<Bound<'py, PyAny>> {
    let message = PyDict::new(py);
    message.set_item(handles.names.type_.bind(py), handles.names.http_disconnect.bind(py))?;
    Ok(message.into_any())
}
