//! Answering the handshake with an ordinary HTTP response: the application's own, or the server's refusal.
//!
//! ASGI, extension `websocket.http.response`. The offered WebSocket becomes an HTTP exchange of the same connection,
//! which `http::send` encodes and which ends the connection. Called by `ws::send` and `ws::close`.

use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;
use swell_wire::h1::body::BodyDecoder;
use swell_wire::h1::cycle::Response;

use super::{State, Ws};
use crate::board::Times;
use crate::conn::{Answering, Exchange, Protocol, RequestBody, Subscription};
use crate::core::{Core, Inner};
use crate::http;
use crate::listener::Role;
use crate::py::callable::Link;
use crate::py::errors::MessageError;
use crate::py::message::Message;

/// `websocket.http.response.*`: the application answers the handshake with an ordinary response.
pub(super) fn deny(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    message: &Message<'_, '_>,
) -> PyResult<*mut ffi::PyObject> {
    let kind = message.kind.strip_prefix("websocket.").unwrap_or(message.kind);
    let offered = core.with(|inner| {
        let conn = inner.conns.get_mut(link.key).filter(|conn| conn.serial == link.serial)?;
        match &conn.protocol {
            Protocol::WebSocket(ws) => Some(matches!(ws.state, State::Offered { .. })),
            _ => None,
        }
    });
    let before = match offered {
        Some(false) => return Err(message.error("the WebSocket was already accepted or closed")),
        Some(true) => core.with(|inner| replace_by_http(inner, link)),
        None => None,
    };
    let result = http::send::deliver(py, core, link, &message.renamed(kind));
    match result {
        Err(error) if error.is_instance_of::<MessageError>(py) => {
            // A wrong message changes nothing: the handshake is still to be answered.
            if let Some(before) = before {
                core.with(|inner| restore(inner, link, before));
            }
            // The rules are HTTP's; the messages have their names here.
            let text = error.value(py).to_string().replace("http.response.", "websocket.http.response.");
            Err(MessageError::new_err(text))
        }
        result => {
            if let Some(mut before) = before {
                core.with(|inner| before.wake_receivers(&mut inner.wakes));
                core.settle(py);
            }
            result
        }
    }
}

/// Turns an offered WebSocket into an HTTP exchange that ends the connection; then runs `then`.
pub(super) fn become_http(inner: &mut Inner, link: Link, then: impl FnOnce(&mut Inner, crate::io::slots::Key)) {
    if let Some(mut before) = replace_by_http(inner, link) {
        before.wake_receivers(&mut inner.wakes);
        then(inner, link.key);
    }
}

/// The same, without waking who waits for the WebSocket, which is returned.
fn replace_by_http(inner: &mut Inner, link: Link) -> Option<Box<Ws>> {
    let now = inner.now;
    let conn = inner.conns.get_mut(link.key)?;
    let secure = inner.listeners.get(conn.listener).is_some_and(|listener| listener.role == Role::Tls);
    let Protocol::WebSocket(ws) = &mut conn.protocol else { return None };
    let (task, record) = (ws.task, ws.record.take());
    let exchange = Box::new(Exchange {
        response: Response::Awaited,
        head: Vec::new(),
        answer: Answering {
            keep_alive: false,
            http10: false,
            head_only: false,
            has_date: false,
            has_server: false,
            secure,
            status: 0,
        },
        body: RequestBody {
            decoder: BodyDecoder::Done,
            whole: None,
            rest: Vec::new(),
            buffered: 0,
            received: 0,
            finished: true,
            continue_owed: false,
            started: now,
            measured: 0,
        },
        gone: false,
        condemned: None,
        subscription: Subscription::Never,
        receivers: Vec::new(),
        senders: Vec::new(),
        task,
        record,
        times: Times::default(),
    });
    match std::mem::replace(&mut conn.protocol, Protocol::Http(exchange)) {
        Protocol::WebSocket(before) => Some(before),
        _ => None,
    }
}

/// Takes [`replace_by_http`] back.
fn restore(inner: &mut Inner, link: Link, mut before: Box<Ws>) {
    let Some(conn) = inner.conns.get_mut(link.key).filter(|conn| conn.serial == link.serial) else { return };
    if let Protocol::Http(exchange) = &mut conn.protocol {
        before.record = exchange.record.take();
        conn.protocol = Protocol::WebSocket(before);
    }
}
