//! The opening handshake: from the upgrade request to the application's call, and the application's answer.

use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use swell_wire::h1::line::Version;
use swell_wire::ws::{accept_key, read_offer, read_offer_of_stream, DeflateOptions};

use super::{receive, send, Ws};
use crate::board::Labels;
use crate::conn::Protocol;
use crate::core::{Core, Inner};
use crate::http::launch;
use crate::http::read::protocol_error;
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::lifecycle::{self, Refused};
use crate::proxy;
use crate::py::callable::Link;
use crate::py::headers::{self, Memo};
use crate::py::scope::Details;
use crate::tls;

/// Calls the application with a websocket scope.
///
/// # Errors
/// When Python objects cannot be made.
pub(crate) fn open(py: Python<'_>, core: &Rc<Core>, key: Key, memo: Box<Memo>) -> PyResult<()> {
    let options = DeflateOptions { enabled: core.settings.ws_per_message_deflate, ..DeflateOptions::default() };
    let fields = memo.spans.iter().map(|span| (span.name(&memo.block), span.value(&memo.block)));
    let offer = match memo.version {
        Version::Http2 => read_offer_of_stream(fields, &options),
        Version::Http10 | Version::Http11 => read_offer(fields, &options),
    };
    let offer = match offer {
        Ok(offer) => offer,
        Err(error) => {
            core.with(|inner| {
                if error.status() == 426 {
                    inner.stats.refused += 1;
                    let (reason, section, head) = (error.reason(), error.section(), &memo.line[..]);
                    let extra = b"sec-websocket-version: 13\r\n";
                    lifecycle::refuse_for(inner, key, &Refused { status: 426, reason, body: "", section, head, extra });
                } else {
                    protocol_error(inner, key, error, &memo.line);
                }
            });
            return Ok(());
        }
    };
    let Some((templates, client, server, trusted)) = core.with(|inner| {
        let conn = inner.conns.get_mut(key)?;
        let templates = Rc::clone(&inner.listeners.get(conn.listener)?.templates);
        let server = conn.server.as_ref().map(|server| server.bind(py).clone());
        Some((templates, conn.client.bind(py).clone(), server, conn.trusted.then(|| conn.peer.ip())))
    }) else {
        return Ok(());
    };
    let mut details = Details {
        client,
        server,
        scheme: None,
        version: memo.version,
        subprotocols: Some(PyList::new(py, &offer.subprotocols)?),
    };
    if let Some(peer) = trusted.filter(|_| memo.forwarded) {
        proxy::apply(py, core, &memo, peer, &mut details)?;
    }
    let forwarded = launch::forwarded_client(core, key, &details.client);
    let names = &core.py.names;
    let scope = templates.scope(py, names, &memo.parts, details)?;
    let secure = tls::scope::extension(py, core, key)?;
    let state = launch::shared_state(py, core);
    templates.fill(&scope, names, &headers::list(py, &memo.fields)?, state, secure.as_ref(), true)?;
    let id = launch::identify(py, core, &memo, &scope)?;
    let (accept, deflate) = (accept_key(offer.key), offer.deflate);
    let link = core.with(|inner| {
        let Inner { conns, access, board, moment, .. } = inner;
        let conn = conns.get_mut(key)?;
        let record = launch::record(access, &memo, &conn.peer, forwarded.as_deref(), id.as_deref());
        conn.request_id = id;
        if let Some(board) = board {
            // Its length is no response time: it is of no series.
            board.begin(moment.now(), &memo.line, Labels::default(), conn.carrier.socket());
        }
        conn.serial = conn.serial.wrapping_add(1);
        conn.protocol = Protocol::WebSocket(Box::new(Ws::new(accept, deflate, core.settings.ws_max_queue, record)));
        conn.memo = Some(memo);
        inner.deadlines.arm(Kind::Request, key.index, inner.now);
        Some(Link { key, serial: conn.serial, websocket: true })
    });
    if let Some(link) = link {
        launch::start(py, core, link, &scope.into_any(), receive::call, send::call);
    }
    Ok(())
}
