//! Frames from the peer, and the application's `receive()`.

use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use swell_wire::ws::Event;

use super::{close, Ending, Incoming, State, Ws};
use crate::conn::{Conn, Protocol};
use crate::core::{Core, Handles, Inner};
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::py::awaitable::{self, Answer};
use crate::py::callable::Link;

/// Takes bytes of an accepted WebSocket. Returns how many; the rest has to wait.
pub(crate) fn received(py: Python<'_>, core: &Rc<Core>, key: Key, bytes: &[u8]) -> usize {
    let mut at = 0;
    while core.with(|inner| one(py, inner, key, bytes, &mut at)) {}
    core.settle(py);
    let ending = core.with(|inner| match inner.conns.get_mut(key) {
        Some(Conn { protocol: Protocol::WebSocket(ws), serial, .. }) if ws.ending.is_some() => Some(*serial),
        _ => None,
    });
    if let Some(serial) = ending {
        if let Err(error) = core.soon(py, Link { key, serial, websocket: true }, end_now) {
            error.write_unraisable(py, None);
        }
    }
    at
}

/// The peer has ended the WebSocket. Messages before that are the application's to answer: when some are waiting,
/// the tasks that have just been woken for them run first. Returns false, for [`one`].
fn end_or_wait(inner: &mut Inner, key: Key, ending: Ending) -> bool {
    if let Some(Conn { protocol: Protocol::WebSocket(ws), .. }) = inner.conns.get_mut(key) {
        if matches!(ws.state, State::Open(_)) && !ws.queue.is_empty() {
            ws.ending = Some(ending);
        } else {
            close::end(inner, key, ending);
        }
    }
    false
}

/// The callback after those tasks.
fn end_now(py: Python<'_>, core: &Rc<Core>, link: Link, _: &[*mut ffi::PyObject]) -> PyResult<*mut ffi::PyObject> {
    core.with(|inner| {
        if let Some(ending) = current(inner, link).and_then(|ws| ws.ending.take()) {
            close::end(inner, link.key, ending);
        }
    });
    core.settle(py);
    core.schedule_if_needed(py);
    Ok(py.None().into_ptr())
}

/// One event. False when nothing more comes of these bytes now.
fn one(py: Python<'_>, inner: &mut Inner, key: Key, bytes: &[u8], at: &mut usize) -> bool {
    let Inner { conns, wakes, deadlines, spare, now, .. } = inner;
    let Some(conn) = conns.get_mut(key) else {
        *at = bytes.len();
        return false;
    };
    let Conn { protocol: Protocol::WebSocket(ws), out, .. } = conn else {
        *at = bytes.len();
        return false;
    };
    if ws.paused() {
        return false;
    }
    let before = *at;
    let (connection, open) = match &mut ws.state {
        // Nothing is read before the application has decided.
        State::Offered { .. } => return false,
        State::Over { .. } => {
            *at = bytes.len();
            return false;
        }
        State::Open(connection) => (connection, true),
        State::Closing { connection, .. } => (connection, false),
    };
    let event = connection.receive(bytes, at);
    ws.received += (*at - before) as u64;
    let message = match event {
        None => return false,
        // After our close frame the application takes no more messages.
        Some(Event::Text(_) | Event::Binary(_)) if !open => return true,
        Some(Event::Text(text)) => (Incoming::Text(PyString::new(py, text).unbind()), text.len()),
        Some(Event::Binary(data)) => (Incoming::Binary(PyBytes::new(py, data).unbind()), data.len()),
        Some(Event::Ping(payload)) => {
            let payload = payload.to_vec();
            out.lend(spare);
            out.write(|out| connection.send_pong(&payload, out));
            inner.mark_dirty(key);
            return true;
        }
        Some(Event::Pong(_)) => {
            if deadlines.is_armed(Kind::Pong, key.index) {
                deadlines.disarm(Kind::Pong, key.index);
                deadlines.arm(Kind::Ping, key.index, *now);
            }
            return true;
        }
        Some(Event::Close { code, reason }) => {
            let ending = Ending { code, reason: reason.to_owned(), failure: false };
            return end_or_wait(inner, key, ending);
        }
        Some(Event::Failure { code, reason }) => {
            let ending = Ending { code, reason: reason.to_owned(), failure: true };
            return end_or_wait(inner, key, ending);
        }
    };
    let (message, size) = message;
    ws.put(message, size, wakes);
    true
}

pub(crate) fn call(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    _: &[*mut ffi::PyObject],
) -> PyResult<*mut ffi::PyObject> {
    awaitable::ask(py, core, link, step)
}

enum Found {
    Connect,
    Message(Incoming),
    Disconnected(u16, String),
    Nothing,
}

fn current(inner: &mut Inner, link: Link) -> Option<&mut Ws> {
    match &mut inner.conns.get_mut(link.key).filter(|conn| conn.serial == link.serial)?.protocol {
        Protocol::WebSocket(ws) => Some(ws),
        _ => None,
    }
}

fn look(inner: &mut Inner, link: Link) -> Found {
    let Some(ws) = current(inner, link) else { return Found::Disconnected(1006, String::new()) };
    if let State::Offered { connect_delivered, .. } = &mut ws.state {
        return if std::mem::replace(connect_delivered, true) { Found::Nothing } else { Found::Connect };
    }
    let was_paused = ws.paused();
    if let Some((message, size)) = ws.queue.pop_front() {
        ws.queued -= size;
        if was_paused && !ws.paused() {
            inner.look_again(link.key);
        }
        return Found::Message(message);
    }
    match &ws.state {
        State::Over { code, reason } => Found::Disconnected(*code, reason.clone()),
        _ => Found::Nothing,
    }
}

fn step(py: Python<'_>, core: &Rc<Core>, link: Link) -> PyResult<Answer> {
    let handles = &core.py;
    let found = core.with(|inner| look(inner, link));
    core.schedule_if_needed(py);
    let message = match found {
        Found::Connect => {
            let message = PyDict::new(py);
            message.set_item(handles.names.type_.bind(py), handles.names.websocket_connect.bind(py))?;
            message.into_any()
        }
        Found::Message(incoming) => message(py, handles, incoming)?,
        Found::Disconnected(code, reason) => disconnect(py, handles, code, &reason)?,
        Found::Nothing => {
            let future = core.future(py)?;
            let mut waiting =
                core.with(|inner| current(inner, link).map_or_else(Vec::new, |ws| std::mem::take(&mut ws.receivers)));
            // Who was cancelled waits no more; an application that polls with a time-out leaves one of these each time.
            waiting.retain(|earlier| !core.is_done(earlier.bind(py)).unwrap_or(true));
            waiting.push(future.clone().unbind());
            core.with(|inner| {
                if let Some(ws) = current(inner, link) {
                    ws.receivers.append(&mut waiting);
                }
            });
            return Ok(Answer::Retry(future.unbind()));
        }
    };
    Ok(Answer::Ready(message.into_ptr()))
}

/// `{"type": "websocket.receive", …}` with the one key that applies.
pub(crate) fn message<'py>(py: Python<'py>, handles: &Handles, incoming: Incoming) -> PyResult<Bound<'py, PyAny>> {
    let names = &handles.names;
    let message = PyDict::new(py);
    message.set_item(names.type_.bind(py), names.websocket_receive.bind(py))?;
    match incoming {
        Incoming::Text(text) => message.set_item(names.text.bind(py), text.into_bound(py))?,
        Incoming::Binary(data) => message.set_item(names.bytes_.bind(py), data.into_bound(py))?,
    }
    Ok(message.into_any())
}

/// `{"type": "websocket.disconnect", "code": …, "reason": …}`
pub(crate) fn disconnect<'py>(
    py: Python<'py>,
    handles: &Handles,
    code: u16,
    reason: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let names = &handles.names;
    let message = PyDict::new(py);
    message.set_item(names.type_.bind(py), names.websocket_disconnect.bind(py))?;
    message.set_item(names.code.bind(py), code)?;
    message.set_item(names.reason.bind(py), reason)?;
    Ok(message.into_any())
}
