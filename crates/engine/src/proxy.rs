//! What trusted proxies say about the client: the PROXY protocol's preface and the forwarding fields.
//!
//! Both are off for everyone who is not in a configured network. The parsing is the wire crate's.

use pyo3::prelude::*;
use pyo3::types::PyString;
use swell_wire::fields::forwarded::{resolve, Scheme};
use swell_wire::proxy::parse;

use crate::accept::python_address;
use crate::conn::Protocol;
use crate::core::{Core, Inner, Wake};
use crate::http::read::protocol_error;
use crate::io::slots::Key;
use crate::io::socket::Address;
use crate::lifecycle;
use crate::py::headers::Memo;
use crate::py::scope::Details;

/// Takes the PROXY preface from the start of a connection. None: more bytes are needed, or the connection has ended.
pub(crate) fn preface(inner: &mut Inner, key: Key, bytes: &[u8]) -> Option<usize> {
    // SAFETY: the engine runs only with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let (preface, used) = match parse(bytes) {
        Ok(found) => found?,
        Err(error) => {
            protocol_error(inner, key, error, b"");
            return None;
        }
    };
    let conn = inner.conns.get_mut(key)?;
    if let Some(source) = preface.source {
        conn.peer = Address::Inet(source);
        // A tuple of str and int; making it runs no Python code.
        let Ok(client) = python_address(py, &conn.peer) else {
            lifecycle::lose(inner, key, true);
            return None;
        };
        let old = std::mem::replace(&mut conn.client, client);
        inner.wakes.push(Wake::Drop(old));
    }
    if let Some(destination) = preface.destination {
        if let Ok(server) = python_address(py, &Address::Inet(destination)) {
            inner.wakes.extend(conn.server.replace(server).map(Wake::Drop));
        }
    }
    conn.protocol = Protocol::Idle;
    Some(used)
}

/// Puts what the trusted peer's fields say into the scope. Returns the host that the client asked for, if they say it.
pub(crate) fn apply<'py>(
    py: Python<'py>,
    core: &Core,
    memo: &Memo,
    peer: Option<std::net::IpAddr>,
    details: &mut Details<'py>,
) -> PyResult<()> {
    let settings = &core.settings;
    let said = resolve(settings.convention(), peer, &memo.block, &memo.spans, &settings.forwarders);
    if let Some(client) = said.client {
        details.client = python_address(py, &Address::Inet(client))?.into_bound(py);
    }
    if let Some(scheme) = said.scheme {
        let websocket = details.subprotocols.is_some();
        details.scheme = Some(PyString::intern(
            py,
            match (scheme, websocket) {
                (Scheme::Http, false) => "http",
                (Scheme::Https, false) => "https",
                (Scheme::Http, true) => "ws",
                (Scheme::Https, true) => "wss",
            },
        ));
    }
    Ok(())
}
