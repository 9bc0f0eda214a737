//! The end of an exchange, from either side: the response is complete, the application has returned or raised, the
//! client has gone, time is up.

use std::collections::HashSet;
use std::rc::Rc;

use pyo3::exceptions::asyncio::CancelledError;
use pyo3::exceptions::PyBaseExceptionGroup;
use pyo3::ffi;
use pyo3::prelude::*;
use swell_wire::h1::cycle::Response;

use super::count::{self, Ended};
use super::{admit, read};
use crate::access::End;
use crate::conn::{Carrier, Conn, Exchange, Protocol, Subscription, DRAIN_MAX};
use crate::core::{level, Core, Inner, Wake};
use crate::ending;
use crate::h2;
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::lifecycle::{self, Refused};
use crate::py::callable::Link;
use crate::ws;

/// The response is completely encoded: decide what the connection does next.
pub(crate) fn conclude(inner: &mut Inner, key: Key) {
    let Inner { conns, wakes, deadlines, access, board, draining, ended, .. } = inner;
    let Some(conn) = conns.get_mut(key) else { return };
    let Protocol::Http(exchange) = &mut conn.protocol else { return };
    wake_receivers(exchange, wakes);
    wakes.extend(exchange.senders.drain(..).map(Wake::Resume));
    deadlines.disarm(Kind::Request, key.index);
    deadlines.disarm(Kind::Body, key.index);
    if let (Some(record), Some(access)) = (exchange.record.take(), access) {
        access.write(record, exchange.body.received, End::Complete);
    }
    if let Some(board) = board {
        let answered = board.answered(&mut exchange.times, exchange.answer.status);
        let link = Link { key, serial: conn.serial, websocket: false };
        ended.extend(answered.map(|answered| Ended { link, running: exchange.task, answered }));
    }
    // While the server ends, this is so if the head left before that.
    let keep_alive = exchange.answer.keep_alive;
    let decoder = std::mem::replace(&mut exchange.body.decoder, swell_wire::h1::body::BodyDecoder::Done);
    if keep_alive && decoder.is_done() {
        read::become_idle(inner, key);
    } else if keep_alive && !*draining && read::worth_draining(&decoder, DRAIN_MAX) {
        conn.protocol = Protocol::Drain(decoder, DRAIN_MAX);
        deadlines.arm(Kind::Head, key.index, inner.now);
        inner.look_again(key);
    } else {
        lifecycle::close_after_sending(inner, key);
    }
}

/// Whoever waits in `receive()` looks again.
pub(crate) fn wake_receivers(exchange: &mut Exchange, wakes: &mut Vec<Wake>) {
    wakes.extend(exchange.receivers.drain(..).map(Wake::Resume));
}

/// A task that finished within its first step.
pub(crate) fn task_over(py: Python<'_>, core: &Rc<Core>, link: Link, task: &Bound<'_, PyAny>) {
    match core.py.starter.exception(task) {
        Ok(outcome) if outcome.is_none() => over(py, core, link, None, false),
        Ok(outcome) => over(py, core, link, Some(PyErr::from_value(outcome)), false),
        // Raised for a cancelled task.
        Err(cancelled) => over(py, core, link, Some(cancelled), false),
    }
}

/// The application raised before there was a task.
pub(crate) fn raised(py: Python<'_>, core: &Rc<Core>, link: Link, error: PyErr) {
    over(py, core, link, Some(error), false);
}

/// The done-callback of a task that was suspended.
pub(crate) fn suspended_over(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    _: &[*mut ffi::PyObject],
) -> PyResult<*mut ffi::PyObject> {
    let running = core.with(|inner| {
        let running = inner.tasks.remove(link.key)?;
        if let Some(board) = &mut inner.board {
            board.over(running.place);
        }
        Some(running)
    });
    if let Some(running) = running {
        let task = running.task.bind(py);
        if running.cancelled && !running.link.websocket && task.call_method0("cancelled")?.is_truthy()? {
            over(py, core, running.link, None, true);
        } else {
            task_over(py, core, running.link, task);
        }
        if let Some(scope) = &running.scope {
            count::stepped(core, running.link, scope.bind(py));
        }
        core.schedule_if_needed(py);
    }
    Ok(py.None().into_ptr())
}

/// The application is done with the exchange at `link`, well or not; `cancelled` by the engine, which has said why.
fn over(py: Python<'_>, core: &Rc<Core>, link: Link, error: Option<PyErr>, cancelled: bool) {
    let limit = core.settings.limit_concurrency;
    let situation = core.with(|inner| {
        inner.active -= usize::from(!link.websocket);
        inner.websockets -= usize::from(link.websocket);
        inner.count_active();
        if limit > 0 {
            admit::admit_queued(inner, limit);
        }
        let conn = inner.conns.get_mut(link.key).filter(|conn| conn.serial == link.serial)?;
        if let Carrier::Stream(stream) = &mut conn.carrier {
            stream.returned = true;
        }
        match &mut conn.protocol {
            Protocol::Http(exchange) => Some(Situation::Http {
                complete: exchange.response == Response::Complete,
                replaceable: exchange.response.replaceable(),
                gone: exchange.gone,
                condemned: exchange.condemned.is_some(),
                dismissed: exchange.subscription == Subscription::Dismissed,
            }),
            Protocol::WebSocket(_) => Some(Situation::WebSocket),
            Protocol::Closing(_) if conn.parent.is_some() && conn.carrier.is_gone() => Some(Situation::Ended),
            _ => None,
        }
    });
    match situation {
        Some(Situation::WebSocket) => return ws::over(py, core, link, error),
        Some(Situation::Http { complete, replaceable, gone, condemned, dismissed }) => {
            let mut failed = false;
            if let Some(error) = error {
                failed = !report(py, core, link, error, gone || condemned || dismissed);
            } else if !complete && !gone && !cancelled && !dismissed {
                let text = if replaceable {
                    "the application returned without sending a response".to_owned()
                } else {
                    "the application returned before the end of the response body".to_owned()
                };
                core.with(|inner| {
                    let text = format!("{}: {text}", name(inner, link.key));
                    inner.report(level::ERROR, text);
                });
            }
            core.with(|inner| {
                if gone {
                    log_end(inner, link.key, End::Disconnected);
                    lifecycle::remove(inner, link.key);
                } else if replaceable {
                    refuse(inner, link.key, 500, "");
                } else if dismissed && !failed {
                    ending::end_stream(inner, link.key);
                } else if !complete {
                    abort(inner, link.key);
                }
            });
        }
        // The exchange is over; what the application does afterwards concerns its log only.
        Some(Situation::Ended) | None => {
            if let Some(error) = error {
                report(py, core, link, error, false);
            }
            if let Some(Situation::Ended) = situation {
                core.with(|inner| lifecycle::remove(inner, link.key));
            }
        }
    }
    core.settle(py);
}

enum Situation {
    Http {
        complete: bool,
        replaceable: bool,
        gone: bool,
        condemned: bool,
        dismissed: bool,
    },
    WebSocket,
    /// A stream whose response is complete and sent.
    Ended,
}

/// What the log calls the exchange.
pub(crate) fn name(inner: &mut Inner, key: Key) -> String {
    let Some(conn) = inner.conns.get_mut(key) else { return "a request".into() };
    match &conn.memo {
        Some(memo) => {
            let line = memo.line.strip_suffix(b"\r\n").unwrap_or(&memo.line);
            let line = line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/2")).unwrap_or(line);
            format!("{} {}", conn.peer, line.escape_ascii())
        }
        None => conn.peer.to_string(),
    }
}

/// Logs an exception that left the application. One that the disconnect caused is no error; returns whether that was it.
pub(crate) fn report(py: Python<'_>, core: &Core, link: Link, error: PyErr, gone: bool) -> bool {
    let cancelled = error.is_instance_of::<CancelledError>(py);
    let value = error.into_value(py).into_any();
    let quiet = if cancelled { gone } else { led_by_disconnect(value.bind(py), &mut HashSet::new(), CHAIN_MAX) };
    core.with(|inner| {
        let conn = inner.conns.get_mut(link.key);
        let name = match conn.map(|conn| (conn.serial == link.serial, conn.peer.to_string(), conn.request_id.clone())) {
            Some((true, _, Some(id))) => format!("{} id={id}", name(inner, link.key)),
            Some((true, _, None)) => name(inner, link.key),
            // The connection has gone on to another request.
            Some((false, peer, _)) => format!("{peer} an earlier request"),
            None => "a request".into(),
        };
        if quiet {
            let text = format!("{name}: the application ended after the client had gone");
            inner.wakes.push(Wake::Report { level: level::DEBUG, text, error: Some(value) });
            return;
        }
        inner.stats.application_errors += 1;
        let text = if cancelled {
            format!("{name}: the application was cancelled")
        } else {
            format!("{name}: exception in the ASGI application")
        };
        inner.wakes.push(Wake::Report { level: level::ERROR, text, error: Some(value) });
    });
    quiet
}

/// How far a chain of causes is followed.
const CHAIN_MAX: u32 = 32;

/// True when an exception only says that the client has gone: ours, a framework's word for it, one raised from such an
/// exception, or a group of nothing else. Ours is raised as well when an application answers an error of its own, such as a
/// 500, to a client that has gone: then that error decides.
///
/// `seen`: an exception that was taken out of a group and raised has the group as its context, and so leads to itself.
/// What comes up again adds nothing to the verdict.
fn led_by_disconnect(error: &Bound<'_, PyAny>, seen: &mut HashSet<*mut ffi::PyObject>, depth: u32) -> bool {
    if !seen.insert(error.as_ptr()) {
        return true;
    }
    if depth == 0 {
        return false;
    }
    let before = |link: &str| error.getattr(link).ok().filter(|before| !before.is_none());
    if error.is_instance_of::<PyBaseExceptionGroup>() {
        let parts = error.getattr("exceptions").and_then(|parts| parts.try_iter()?.collect::<PyResult<Vec<_>>>());
        return parts.is_ok_and(|parts| parts.iter().all(|part| led_by_disconnect(part, seen, depth - 1)));
    }
    if let Some(cause) = before("__cause__") {
        return led_by_disconnect(&cause, seen, depth - 1);
    }
    // Starlette's `ClientDisconnect` and `WebSocketDisconnect`, and their like.
    let named = error.get_type().name().is_ok_and(|name| name.to_string_lossy().contains("Disconnect"));
    let cancelled = error.is_instance_of::<CancelledError>();
    if !named && !cancelled {
        return false;
    }
    before("__context__").is_none_or(|context| led_by_disconnect(&context, seen, depth - 1))
}

/// Replaces a response of which nothing was sent by the server's own; later, cuts the connection.
pub(crate) fn refuse(inner: &mut Inner, key: Key, status: u16, reason: &str) {
    refuse_for(inner, key, &Refused { status, reason, body: "", section: "", head: b"", extra: b"" });
}

/// [`refuse`] with everything that the log can say.
pub(crate) fn refuse_for(inner: &mut Inner, key: Key, refused: &Refused<'_>) {
    let Some(conn) = inner.conns.get_mut(key) else { return };
    match conn.exchange() {
        Some(exchange) if !exchange.response.replaceable() => abort(inner, key),
        _ => lifecycle::refuse_for(inner, key, refused),
    }
}

/// Cuts a response that cannot be completed: the client must not take it for whole. A missing end of the body says so by
/// itself and what was sent so far may arrive; where the end of the connection would be the end, it is reset instead.
fn abort(inner: &mut Inner, key: Key) {
    log_end(inner, key, End::Aborted);
    let Some(conn) = inner.conns.get_mut(key) else { return };
    let mut reset = false;
    if let Some(exchange) = conn.exchange() {
        reset = exchange.response.ends_with_connection();
        if !exchange.response.replaceable() {
            // What the socket does not take now is lost with the connection.
            let _ = conn.send_waiting();
        }
    }
    if conn.parent.is_some() {
        h2::cut(inner, key);
        reset = true;
    }
    lifecycle::lose(inner, key, reset);
    lifecycle::remove(inner, key);
}

/// The access log's line of an exchange that has no ordinary end, once.
pub(crate) fn log_end(inner: &mut Inner, key: Key, end: End) {
    let Inner { conns, access, .. } = inner;
    if let (Some(exchange), Some(access)) = (conns.get_mut(key).and_then(Conn::exchange), access) {
        if let Some(record) = exchange.record.take() {
            access.write(record, exchange.body.received, end);
        }
    }
}

/// The client has gone while the application works.
pub(crate) fn on_disconnect(inner: &mut Inner, key: Key) {
    if !inner.cancel_on_disconnect {
        return;
    }
    let Some(running) = inner.conns.get_mut(key).and_then(Conn::exchange).and_then(|exchange| exchange.task) else {
        return;
    };
    cancel(inner, running);
}

/// The client may have gone during the first step, when there was no task to cancel yet.
pub(crate) fn catch_up_on_disconnect(inner: &mut Inner, link: Link) {
    let gone = inner.conns.get_mut(link.key).and_then(Conn::exchange).is_some_and(|exchange| exchange.gone);
    if gone {
        on_disconnect(inner, link.key);
    }
}

pub(crate) fn cancel(inner: &mut Inner, running: Key) {
    if let Some(running) = inner.tasks.get_mut(running) {
        running.cancelled = true;
        // SAFETY: the engine runs only with the GIL held.
        let py = unsafe { Python::assume_attached() };
        inner.wakes.push(Wake::Cancel(running.task.clone_ref(py)));
    }
}

/// `timeout_request` has passed: 504 when nothing was sent yet, the end of the connection otherwise.
pub(crate) fn on_timeout(inner: &mut Inner, key: Key) {
    let text = format!("{}: 504, the application did not answer in time (timeout_request)", name(inner, key));
    inner.report(level::ERROR, text);
    let Some(exchange) = inner.conns.get_mut(key).and_then(Conn::exchange) else {
        return ws::timed_out(inner, key);
    };
    exchange.condemned = Some(504);
    if let Some(running) = exchange.task {
        cancel(inner, running);
    }
    refuse(inner, key, 504, "the application did not answer in time");
}
