//! The application's `send()` on a WebSocket: accept, messages and close.

use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;
use swell_wire::h1::response;
use swell_wire::ws::{valid_close_code, Connection, WsLimits};

use super::deny::{become_http, deny};
use super::{close, Closer, State};
use crate::conn::{Conn, Protocol, OUT_HIGH};
use crate::core::{Core, Inner};
use crate::io::deadlines::Kind;
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
    message::read(py, &core.py.names, arguments, |message| match message.kind {
        "websocket.send" => send(py, core, link, message),
        "websocket.accept" => accept(py, core, link, message),
        "websocket.close" => close_message(py, core, link, message),
        "websocket.http.response.start" | "websocket.http.response.body" => deny(py, core, link, message),
        other => Err(message.error(&format!(
            "unknown message type {other:?}; a WebSocket takes websocket.accept, websocket.send, websocket.close or \
                 websocket.http.response.start"
        ))),
    })
}

enum Refused {
    Gone,
    Wrong(&'static str),
}

fn with_ws<R>(
    core: &Core,
    link: Link,
    message: &Message<'_, '_>,
    work: impl FnOnce(&mut Inner) -> Result<R, Refused>,
) -> PyResult<R> {
    let result = core.with(|inner| {
        let conn = inner.conns.get_mut(link.key).filter(|conn| conn.serial == link.serial);
        match conn {
            Some(Conn { protocol: Protocol::WebSocket(_), carrier, .. }) if !carrier.is_gone() => work(inner),
            Some(Conn { protocol: Protocol::Http(_), .. }) => {
                Err(Refused::Wrong("the WebSocket was denied with an HTTP response"))
            }
            _ => Err(Refused::Gone),
        }
    });
    result.map_err(|refused| match refused {
        Refused::Gone => ClientDisconnected::new_err("the client has disconnected"),
        Refused::Wrong(rule) => message.error(rule),
    })
}

fn send(py: Python<'_>, core: &Rc<Core>, link: Link, message: &Message<'_, '_>) -> PyResult<*mut ffi::PyObject> {
    let names = &core.py.names;
    let data = message.bytes(&names.bytes_)?;
    let text = message.text(&names.text)?;
    let text = match &text {
        Some(text) => {
            Some(text.to_str().map_err(|_| message.error("text must be encodable as UTF-8 (RFC 6455 §5.6)"))?)
        }
        None => None,
    };
    if text.is_some() == data.is_some() {
        return Err(message.error("exactly one of the keys \"bytes\" and \"text\" must be given"));
    }
    let length = text.map_or_else(|| data.as_ref().map_or(0, |data| data.as_bytes().len()), str::len) as u64;
    let full = with_ws(core, link, message, |inner| {
        let Inner { conns, spare, .. } = inner;
        let Some(Conn { protocol: Protocol::WebSocket(ws), out, .. }) = conns.get_mut(link.key) else {
            return Err(Refused::Gone);
        };
        let connection = match &mut ws.state {
            State::Open(connection) => connection,
            State::Offered { .. } => return Err(Refused::Wrong("send websocket.accept first")),
            State::Closing { by: Closer::Application, .. } => {
                return Err(Refused::Wrong("websocket.close was already sent"))
            }
            State::Closing { by: Closer::Server, .. } => return Err(Refused::Gone),
            State::Over { .. } => return Err(Refused::Gone),
        };
        out.lend(spare);
        let before = out.len();
        out.write(|out| match (text, &data) {
            (Some(text), _) => connection.send_text(text.as_bytes(), out),
            (None, Some(data)) => connection.send_binary(data.as_bytes(), out),
            (None, None) => {}
        });
        let after = out.len();
        if let Some(record) = &mut ws.record {
            record.bytes_out += after - before;
        }
        inner.mark_dirty(link.key);
        if after < OUT_HIGH {
            return Ok(false);
        }
        lifecycle::flush(inner, link.key);
        Ok(inner.conns.get_mut(link.key).is_some_and(|conn| !conn.carrier.is_gone() && conn.out.len() >= OUT_HIGH))
    })?;
    core.schedule(py);
    if full {
        let future = core.future(py)?;
        let kept = future.clone().unbind();
        core.with(|inner| {
            if let Some(Conn { protocol: Protocol::WebSocket(ws), .. }) = inner.conns.get_mut(link.key) {
                ws.senders.push(kept);
            }
        });
        return awaitable::wait(py, &future);
    }
    if core.with(|inner| inner.pass(length)) {
        return core.give_way(py);
    }
    Ok(awaitable::done())
}

fn accept(py: Python<'_>, core: &Rc<Core>, link: Link, message: &Message<'_, '_>) -> PyResult<*mut ffi::PyObject> {
    let names = &core.py.names;
    let subprotocol = message.text(&names.subprotocol)?;
    let mut fields = Vec::new();
    if let Some(subprotocol) = &subprotocol {
        let text = subprotocol.to_str().map_err(|_| message.error("subprotocol must be ASCII (RFC 6455 §4.1)"))?;
        response::field(&mut fields, b"sec-websocket-protocol", text.as_bytes())
            .map_err(|error| message.error(&format!("subprotocol: {}", error.explain())))?;
    }
    let mut reserved = None;
    message.each_header(&names.headers, |name, value| {
        for own in [&b"sec-websocket-accept"[..], b"sec-websocket-extensions", b"upgrade", b"connection"] {
            if name.eq_ignore_ascii_case(own) {
                reserved = Some(String::from_utf8_lossy(own).into_owned());
                return Ok(());
            }
        }
        if name.eq_ignore_ascii_case(b"sec-websocket-protocol") && subprotocol.is_some() {
            return Err(message.error("sec-websocket-protocol: give it as \"subprotocol\" or as a header, not both"));
        }
        response::field(&mut fields, name, value).map(drop).map_err(|error| {
            message.error(&format!("headers: {}: {:?}", error.explain(), String::from_utf8_lossy(name)))
        })
    })?;
    if let Some(name) = reserved {
        return Err(message.error(&format!("headers: {name} is the server's to send (RFC 6455 §4.2.2)")));
    }
    let limits = WsLimits {
        message: core.settings.ws_max_size,
        frames_per_message: core.settings.ws_max_fragments,
        inflate_ratio: core.settings.ws_inflate_ratio,
    };
    with_ws(core, link, message, |inner| {
        let Inner { conns, spare, fixed, deadlines, stats, now, .. } = inner;
        let Some(Conn { protocol: Protocol::WebSocket(ws), carrier, out, parent, .. }) = conns.get_mut(link.key) else {
            return Err(Refused::Gone);
        };
        // RFC 8441 §5
        let status = if parent.is_some() { 200 } else { 101 };
        let (accept, deflate) = match &ws.state {
            State::Offered { accept, deflate, .. } => (*accept, *deflate),
            State::Over { .. } => return Err(Refused::Gone),
            _ => return Err(Refused::Wrong("the WebSocket was already accepted")),
        };
        out.lend(spare);
        lifecycle::put_head(carrier, out, spare, |out| {
            response::status_line(out, 101);
            out.extend_from_slice(b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ");
            out.extend_from_slice(&accept);
            out.extend_from_slice(b"\r\n");
            if let Some(deflate) = &deflate {
                out.extend_from_slice(b"sec-websocket-extensions: ");
                deflate.write_response_value(out);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(&fields);
            fixed.append(out, false, false);
            out.extend_from_slice(b"\r\n");
        });
        ws.state = State::Open(Box::new(Connection::new(deflate, limits)));
        if let Some(record) = &mut ws.record {
            record.status = status;
            record.head_sent();
        }
        stats.websockets += 1;
        if let Some(board) = &inner.board {
            board.responded(status);
        }
        deadlines.disarm(Kind::Request, link.key.index);
        deadlines.arm(Kind::Ping, link.key.index, *now);
        // Frames may have come with the handshake.
        inner.look_again(link.key);
        inner.mark_dirty(link.key);
        Ok(())
    })?;
    core.schedule(py);
    Ok(awaitable::done())
}

fn close_message(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    message: &Message<'_, '_>,
) -> PyResult<*mut ffi::PyObject> {
    let names = &core.py.names;
    let code = message.integer(&names.code)?.unwrap_or(1000);
    let reason = message.text(&names.reason)?;
    let reason = match &reason {
        Some(reason) => {
            reason.to_str().map_err(|_| message.error("reason must be encodable as UTF-8 (RFC 6455 §5.5.1)"))?
        }
        None => "",
    };
    let code = u16::try_from(code).ok().filter(|code| valid_close_code(*code) || *code == 1005).ok_or_else(|| {
        message.error(&format!(
            "code must be one that may be sent: 1000–1003, 1007–1014, 3000–4999, not {code} (RFC 6455 §7.4)"
        ))
    })?;
    if reason.len() > 123 {
        return Err(message.error("reason must fit a close frame: at most 123 bytes of UTF-8 (RFC 6455 §5.5)"));
    }
    let denied = with_ws(core, link, message, |inner| {
        let Some(Conn { protocol: Protocol::WebSocket(ws), .. }) = inner.conns.get_mut(link.key) else {
            return Err(Refused::Gone);
        };
        match &ws.state {
            State::Offered { .. } => Ok(true),
            State::Open(_) => {
                close::start(inner, link.key, Closer::Application, code, reason);
                Ok(false)
            }
            State::Closing { by: Closer::Application, .. } => Err(Refused::Wrong("websocket.close was already sent")),
            State::Closing { by: Closer::Server, .. } => Err(Refused::Gone),
            State::Over { .. } => Err(Refused::Gone),
        }
    });
    match denied {
        Ok(true) => {
            core.with(|inner| become_http(inner, link, |inner, key| lifecycle::refuse(inner, key, 403, "", b"")))
        }
        Ok(false) => {}
        // Closing what the peer has closed already is no error (ASGI WebSocket, "Close").
        Err(error) if error.is_instance_of::<ClientDisconnected>(py) => return Ok(awaitable::done()),
        Err(error) => return Err(error),
    }
    core.schedule(py);
    if !core.in_turn.get() {
        core.settle(py);
    }
    Ok(awaitable::done())
}
