//! From a parsed head to a running application: scope, `receive`, `send`, task.

use std::rc::Rc;

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use swell_wire::h1::body::BodyDecoder;
use swell_wire::h1::cycle::Response;
use swell_wire::h1::line::Version;

use super::head::{request_line, Parsed};
use super::{count, finish, receive, send};
use crate::access::{AccessLog, Record};
use crate::board::{Board, Labels, Times};
use crate::conn::{Answering, Conn, Exchange, Protocol, RequestBody, Running, Subscription};
use crate::core::{level, Core, Inner, Wake};
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::io::socket::Address;
use crate::lifecycle;
use crate::listener::Role;
use crate::proxy;
use crate::py::callable::{self, Action, Link};
use crate::py::headers::{self, Memo, REMEMBER_MAX};
use crate::py::message::type_name;
use crate::py::repeated::{Lent, Repeated};
use crate::py::scope::{line_parts, Details};
use crate::request_id;
use crate::tls;
use crate::ws;

/// Makes the scope, sets the exchange up, takes the body bytes that are here already, and runs the application.
/// `head` is the head's bytes, `after` what follows them; `at` is advanced over the body bytes used.
pub(crate) fn request(
    py: Python<'_>,
    core: &Rc<Core>,
    key: Key,
    mut parsed: Parsed,
    head: &[u8],
    after: &[u8],
    at: &mut usize,
) {
    let memo = match remember(py, core, &mut parsed, head) {
        Ok(memo) => memo,
        Err(error) => return broken(py, core, key, error),
    };
    if parsed.request.websocket && core.settings.websockets {
        if let Err(error) = ws::open::open(py, core, key, memo) {
            broken(py, core, key, error);
        }
        return;
    }
    match open(py, core, key, &parsed, memo) {
        Ok(Some((link, scope, lent))) => {
            // Body bytes that came with the head are in place before the application asks for them.
            *at += take_body(py, core, key, after);
            start(py, core, link, scope.as_any(), receive::call, send::call);
            if let Some(lent) = lent {
                keep(core, link, scope, lent);
            }
        }
        Ok(None) => {}
        Err(error) => broken(py, core, key, error),
    }
}

/// Updates the connection's memo with this head.
fn remember(py: Python<'_>, core: &Core, parsed: &mut Parsed, head: &[u8]) -> PyResult<Box<Memo>> {
    let (line, block) = head[parsed.skipped..].split_at(parsed.line_len);
    let mut memo = match (parsed.memo.take(), parsed.same_block) {
        (Some(mut memo), true) => {
            memo.repeated = true;
            memo
        }
        (before, _) => {
            let spans = std::mem::take(&mut parsed.spans);
            let fields = headers::tuples(py, block, &spans, before.as_deref())?;
            Box::new(Memo {
                line: line.to_vec(),
                request: parsed.request,
                version: parsed.version,
                parts: parts(py, core, line, parsed.version)?,
                block: block.to_vec(),
                forwarded: headers::has_forwarding(block, &spans),
                spans,
                facts: parsed.facts,
                fields,
                repeated: false,
                scope: None,
            })
        }
    };
    if memo.line != line {
        memo.parts = parts(py, core, line, parsed.version)?;
        memo.line.clear();
        memo.line.extend_from_slice(line);
        memo.repeated = false;
        memo.scope = None;
    }
    memo.request = parsed.request;
    memo.version = parsed.version;
    Ok(memo)
}

fn parts(py: Python<'_>, core: &Core, line: &[u8], version: Version) -> PyResult<headers::LineParts> {
    let parsed =
        request_line(line, version).map_err(|error| pyo3::exceptions::PyValueError::new_err(error.reason()))?;
    Ok(line_parts(py, &core.py.names, &parsed, &core.settings.root_path))
}

/// An exchange, its scope and, when that may come back, what it consists of.
type Opened<'py> = (Link, Bound<'py, PyDict>, Option<Lent>);

/// Makes the scope and puts the exchange into the connection. None when the connection is gone.
fn open<'py>(
    py: Python<'py>,
    core: &Rc<Core>,
    key: Key,
    parsed: &Parsed,
    mut memo: Box<Memo>,
) -> PyResult<Option<Opened<'py>>> {
    let Some((templates, client, server, trusted, secure)) = core.with(|inner| {
        let conn = inner.conns.get_mut(key)?;
        let listener = inner.listeners.get(conn.listener)?;
        let templates = Rc::clone(&listener.templates);
        let server = conn.server.as_ref().map(|server| server.bind(py).clone());
        Some((
            templates,
            conn.client.bind(py).clone(),
            server,
            conn.trusted.then(|| conn.peer.ip()),
            listener.role == Role::Tls,
        ))
    }) else {
        return Ok(None);
    };
    let names = &core.py.names;
    let (mut forwarded, mut https) = (None, secure);
    let state = shared_state(py, core);
    let kept = match &mut memo.scope {
        Some(repeated) => repeated.take(names, state)?,
        None => None,
    };
    let (scope, lent) = match kept {
        Some((scope, lent)) => (scope.into_bound(py), Some(lent)),
        None => {
            let scope = match &memo.scope {
                Some(repeated) => repeated.copy(py)?,
                None => {
                    let mut details =
                        Details { client, server, scheme: None, version: memo.version, subprotocols: None };
                    if let Some(peer) = trusted.filter(|_| memo.forwarded) {
                        proxy::apply(py, core, &memo, peer, &mut details)?;
                        forwarded = forwarded_client(core, key, &details.client);
                        if let Some(scheme) = &details.scheme {
                            https = scheme.to_str()? == "https";
                        }
                    }
                    let scope = templates.scope(py, names, &memo.parts, details)?;
                    if memo.repeated && !memo.forwarded {
                        memo.scope = Some(Repeated::new(&scope)?);
                    }
                    scope
                }
            };
            let secure = if secure { tls::scope::extension(py, core, key)? } else { None };
            let lent =
                templates.fill(&scope, names, &headers::list(py, &memo.fields)?, state, secure.as_ref(), false)?;
            (scope, lent.filter(|_| memo.scope.is_some()))
        }
    };
    let id = identify(py, core, &memo, &scope)?;
    let request = parsed.request;
    let link = core.with(|inner| {
        let Inner { conns, access, board, moment, draining, .. } = inner;
        let draining = *draining;
        let conn = conns.get_mut(key)?;
        conn.serial = conn.serial.wrapping_add(1);
        let limit = core.settings.limit_requests_per_connection;
        let record = record(access, &memo, &conn.peer, forwarded.as_deref(), id.as_deref());
        conn.request_id = id;
        let times = board.as_mut().map_or_else(Times::default, |board| {
            let labels = Labels::of(&memo.line, memo.version, https);
            board.begin(moment.now(), &memo.line, labels, conn.carrier.socket())
        });
        let exchange = Exchange {
            response: Response::Awaited,
            head: Vec::new(),
            answer: Answering {
                keep_alive: request.keep_alive
                    && !draining
                    && core.settings.timeout_keep_alive > 0.0
                    && (limit == 0 || u64::from(conn.serial) < limit),
                http10: memo.version == Version::Http10,
                head_only: memo.parts.head_only,
                has_date: false,
                has_server: false,
                secure,
                status: 0,
            },
            body: RequestBody {
                decoder: BodyDecoder::new(request.body),
                whole: None,
                rest: Vec::new(),
                buffered: 0,
                received: 0,
                finished: false,
                continue_owed: request.expect_continue,
                started: inner.now,
                measured: 0,
            },
            gone: false,
            condemned: None,
            subscription: if memo.line.starts_with(b"GET ") { Subscription::Possible } else { Subscription::Never },
            receivers: Vec::new(),
            senders: Vec::new(),
            task: None,
            record,
            times,
        };
        if !exchange.body.decoder.is_done() {
            inner.deadlines.arm(Kind::Body, key.index, inner.now);
        }
        inner.deadlines.arm(Kind::Request, key.index, inner.now);
        conn.protocol = Protocol::Http(match inner.exchanges.pop() {
            Some(mut place) => {
                *place = exchange;
                place
            }
            None => Box::new(exchange),
        });
        if memo.block.len() <= REMEMBER_MAX {
            conn.memo = Some(memo);
        }
        Some(Link { key, serial: conn.serial, websocket: false })
    });
    Ok(link.map(|link| (link, scope, lent)))
}

/// The application may have let go of its scope: then the next request can have it.
fn keep(core: &Core, link: Link, scope: Bound<'_, PyDict>, lent: Lent) {
    let back = core.with(|inner| {
        let conn = inner.conns.get_mut(link.key).filter(|conn| conn.serial == link.serial);
        match conn.and_then(|conn| conn.memo.as_deref_mut()) {
            Some(Memo { scope: Some(repeated), fields, .. }) => repeated.keep(scope, lent, fields),
            _ => Some(scope),
        }
    });
    drop(back);
}

/// The lifespan's state, unless the scope gets a state of its own with the request's id.
pub(crate) fn shared_state<'a, 'py>(py: Python<'py>, core: &'a Core) -> Option<&'a Bound<'py, PyDict>> {
    match core.request_ids {
        None => core.py.state.as_ref().map(|state| state.bind(py)),
        Some(_) => None,
    }
}

/// Gives the request an id, if requests get ids.
pub(crate) fn identify(
    py: Python<'_>,
    core: &Core,
    memo: &Memo,
    scope: &Bound<'_, PyDict>,
) -> PyResult<Option<Box<str>>> {
    let Some(ids) = &core.request_ids else { return Ok(None) };
    let id = ids.assign(memo);
    request_id::into_scope(py, core, scope, &id)?;
    Ok(Some(id))
}

/// The client for the access log, where a trusted proxy names another than the peer.
pub(crate) fn forwarded_client(core: &Core, key: Key, client: &Bound<'_, PyAny>) -> Option<String> {
    let same =
        core.with(|inner| inner.access.is_none() || inner.conns.get_mut(key).is_none_or(|conn| conn.client.is(client)));
    if same {
        return None;
    }
    let (host, port): (String, u16) = client.extract().ok()?;
    // Proxies that name no port leave 0.
    Some(match (host.contains(':'), port) {
        (_, 0) => host,
        (true, _) => format!("[{host}]:{port}"),
        (false, _) => format!("{host}:{port}"),
    })
}

/// The access log's record of a request, if there is an access log.
#[inline]
pub(crate) fn record(
    access: &mut Option<AccessLog>,
    memo: &Memo,
    peer: &Address,
    forwarded: Option<&str>,
    id: Option<&str>,
) -> Option<Box<Record>> {
    let access = access.as_mut()?;
    let mut record = match forwarded {
        None => access.begin(memo, peer),
        Some(client) => access.begin_forwarded(memo, peer, client),
    };
    if let Some(id) = id {
        access.identify(&mut record, id);
    }
    Some(record)
}

/// Feeds the bytes behind the head to the body decoder. Returns how many it used.
fn take_body(py: Python<'_>, core: &Rc<Core>, key: Key, bytes: &[u8]) -> usize {
    if bytes.is_empty()
        || core
            .with(|inner| inner.conns.get_mut(key).and_then(|c| c.exchange()).is_none_or(|e| e.body.decoder.is_done()))
    {
        return 0;
    }
    super::read::body_only(py, core, key, bytes)
}

/// Runs the application for the exchange at `link`.
pub(crate) fn start(
    py: Python<'_>,
    core: &Rc<Core>,
    link: Link,
    scope: &Bound<'_, PyAny>,
    receive: Action,
    send: Action,
) {
    core.with(|inner| {
        inner.active += usize::from(!link.websocket);
        inner.websockets += usize::from(link.websocket);
        inner.stats.requests += 1;
        inner.count_active();
        if inner.stats.requests == core.settings.limit_max_requests {
            inner.wakes.extend(inner.retire.take().map(Wake::Call));
        }
    });
    let stepped = step(py, core, link, scope, receive, send);
    core.with(|inner| {
        inner.moment.pass();
        inner.board.iter().for_each(Board::end_step);
    });
    match stepped {
        Ok(Stepped::Done(task)) => finish::task_over(py, core, link, &task),
        Ok(Stepped::Suspended) => {}
        Err(error) => finish::raised(py, core, link, error),
    }
    if !link.websocket {
        count::stepped(core, link, scope);
    }
}

/// The access log measures up to the first step.
pub(crate) fn stepped(inner: &mut Inner, link: Link) {
    let record = match inner.conns.get_mut(link.key).filter(|conn| conn.serial == link.serial) {
        Some(Conn { protocol: Protocol::Http(exchange), .. }) => &mut exchange.record,
        Some(Conn { protocol: Protocol::WebSocket(ws), .. }) => &mut ws.record,
        _ => return,
    };
    if let Some(record) = record {
        record.stepped();
    }
}

enum Stepped<'py> {
    Done(Bound<'py, PyAny>),
    Suspended,
}

fn step<'py>(
    py: Python<'py>,
    core: &Rc<Core>,
    link: Link,
    scope: &Bound<'py, PyAny>,
    receive: Action,
    send: Action,
) -> PyResult<Stepped<'py>> {
    let handles = &core.py;
    let receive = callable::new(py, core, link, receive)?;
    let send = callable::new(py, core, link, send)?;
    let arguments = [scope.as_ptr(), receive.as_ptr(), send.as_ptr()];
    // SAFETY: all objects are alive; three positional arguments.
    let mut coroutine = unsafe {
        let result =
            ffi::PyObject_Vectorcall(handles.application.as_ptr(), arguments.as_ptr(), 3, std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, result)?
    };
    // SAFETY: a type check on a live object.
    if unsafe { ffi::PyCoro_CheckExact(coroutine.as_ptr()) } == 0 {
        // SAFETY: a type check on a live object; a generator may be a coroutine of the old kind.
        let generator = unsafe { ffi::PyGen_CheckExact(coroutine.as_ptr()) } != 0;
        if !generator && !coroutine.hasattr("__await__")? {
            return Err(PyTypeError::new_err(format!(
                "an ASGI application returns an awaitable when it is called with scope, receive and send; this one \
                 returned {}",
                type_name(&coroutine)
            )));
        }
        coroutine = handles.as_coroutine.bind(py).call1((coroutine,))?;
    }
    if core.settings.access_log && handles.starter.is_eager() {
        core.with(|inner| stepped(inner, link));
    }
    let task = match handles.starter.start(&coroutine) {
        Ok(task) => task,
        Err(error) => {
            // KeyboardInterrupt or SystemExit: the request is answered like any other failure, the loop then ends.
            if !error.is_instance_of::<PyException>(py) {
                core.set_fatal(error.clone_ref(py));
            }
            return Err(error);
        }
    };
    if handles.starter.is_done(&task)? {
        return Ok(Stepped::Done(task));
    }
    let running = core.with(|inner| {
        let (since, place) = match &mut inner.board {
            Some(board) if !link.websocket => board.suspended(),
            _ => Default::default(),
        };
        let task = task.clone().unbind();
        let scope = (inner.board.is_some() && !link.websocket).then(|| scope.clone().unbind());
        let running = inner.tasks.insert(Running { task, link, cancelled: false, since, place, scope });
        if let Some(conn) = inner.conns.get_mut(link.key).filter(|conn| conn.serial == link.serial) {
            match &mut conn.protocol {
                Protocol::Http(exchange) => exchange.task = Some(running),
                Protocol::WebSocket(ws) => ws.task = Some(running),
                _ => {}
            }
            // What the first step has produced leaves now: the application waits for something else.
            inner.mark_dirty(link.key);
        }
        running
    });
    let over =
        callable::new(py, core, Link { key: running, serial: 0, websocket: link.websocket }, finish::suspended_over)?;
    task.call_method1(handles.names.add_done_callback.bind(py), (over,))?;
    core.with(|inner| finish::catch_up_on_disconnect(inner, link));
    Ok(Stepped::Suspended)
}

/// Python objects could not be made (out of memory): the request cannot be served.
fn broken(py: Python<'_>, core: &Rc<Core>, key: Key, error: PyErr) {
    let error = error.into_value(py).into_any();
    core.with(|inner| {
        inner.wakes.push(Wake::Report {
            level: level::ERROR,
            text: "a request could not be handed to the application".into(),
            error: Some(error),
        });
        lifecycle::lose(inner, key, true);
        lifecycle::remove(inner, key);
    });
    core.settle(py);
}
