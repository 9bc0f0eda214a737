//! Taking connections from a listener.

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::conn::{Conn, Protocol};
use crate::core::{level, Core};
use crate::io::deadlines::Kind;
use crate::io::outbuf::OutBuf;
use crate::io::socket::{self, Address};
use crate::lifecycle;
use crate::listener::Accepting;

/// Connections taken per visit, so that one flood does not starve the others.
const BATCH: usize = 16;

pub(crate) fn accept(py: Python<'_>, core: &Rc<Core>, listener: usize) {
    for _ in 0..BATCH {
        let Some((fd, wildcard)) = core.with(|inner| {
            let listener = inner.listeners.get(listener)?;
            let fd = listener.fd.as_ref().filter(|_| listener.accepting == Accepting::Yes)?;
            Some((fd.as_raw_fd(), listener.wildcard))
        }) else {
            return;
        };
        let (fd, peer) = match socket::accept(fd) {
            Ok(accepted) => accepted,
            Err(error) => return refused(core, listener, &error),
        };
        let built = python_addresses(py, &peer, wildcard.then(|| socket::local_address(fd.as_raw_fd())).flatten());
        let Ok((client, server)) = built else { continue };
        core.with(|inner| {
            let raw = fd.as_raw_fd();
            let trusted = core.settings.trusts(peer.ip());
            let preface = core.settings.expects_preface(peer.ip());
            let key = inner.conns.insert(Conn {
                fd: Some(fd),
                peer,
                listener,
                client,
                server,
                trusted,
                input: Vec::new(),
                scan: None,
                readable: false,
                out: OutBuf::default(),
                unsent: 0,
                dirty: false,
                refused: false,
                memo: None,
                queued_at: None,
                request_id: None,
                serial: 0,
                protocol: if preface { Protocol::Preface } else { Protocol::Idle },
            });
            if inner.poller.add_connection(raw, key.to_bits()).is_err() {
                lifecycle::remove(inner, key);
                return;
            }
            inner.stats.accepted += 1;
            inner.count_connections();
            inner.deadlines.arm(Kind::Head, key.index, inner.now);
        });
    }
}

/// An error of `accept`: nothing there, or no resources, which is waited out instead of tried again at once.
fn refused(core: &Core, listener: usize, error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
    {
        return;
    }
    core.with(|inner| {
        inner.rest(listener);
        if inner.now.saturating_sub(inner.last_accept_report) > 10_000 || inner.last_accept_report == 0 {
            inner.last_accept_report = inner.now;
            inner.report(
                level::ERROR,
                format!("cannot accept connections: {error}; trying again (raise the open file limit: ulimit -n)"),
            );
        }
    });
}

/// `scope["client"]` and, for listeners bound to all addresses, `scope["server"]`.
fn python_addresses(
    py: Python<'_>,
    peer: &Address,
    local: Option<Address>,
) -> PyResult<(Py<PyAny>, Option<Py<PyAny>>)> {
    let client = match peer {
        Address::Inet(_) => python_address(py, peer)?,
        Address::Unix(_) => py.None(),
    };
    Ok((client, local.map(|local| python_address(py, &local)).transpose()?))
}

/// `(host, port)`; a Unix socket is `(path, None)`.
pub(crate) fn python_address(py: Python<'_>, address: &Address) -> PyResult<Py<PyAny>> {
    let tuple = match address {
        Address::Inet(address) => (address.ip().to_canonical().to_string(), address.port()).into_pyobject(py)?,
        Address::Unix(path) => (path, py.None()).into_pyobject(py)?,
    };
    let tuple: Bound<'_, PyTuple> = tuple;
    Ok(tuple.into_any().unbind())
}
