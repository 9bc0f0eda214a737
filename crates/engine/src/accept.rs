//! Connections begin: accepted from a listener, or taken over from another worker.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::conn::{Carrier, Conn, Protocol};
use crate::core::{level, Core, Inner};
use crate::handoff::Arrived;
use crate::io::deadlines::Kind;
use crate::io::socket::{self, Address};
use crate::lifecycle;
use crate::listener::Role;
use crate::tls::Tls;

/// Connections taken per visit, so that one flood does not starve the others.
const BATCH: usize = 16;

/// What is taken out of a listener's queue at the end, in batches: more than any backlog holds, and an end even if clients
/// come as fast as they are accepted.
const LAST_BATCHES: usize = 1024;

/// Accepts everybody who waits already, before accepting ends: their connections are made, as far as they can tell.
pub(crate) fn accept_queued(py: Python<'_>, core: &Rc<Core>) {
    for listener in 0..core.with(|inner| inner.listeners.len()) {
        let _ = (0..LAST_BATCHES).all(|_| accept(py, core, listener));
    }
}

/// Accepts a batch. False when nobody waits any more, or nobody can be accepted.
pub(crate) fn accept(py: Python<'_>, core: &Rc<Core>, listener: usize) -> bool {
    for _ in 0..BATCH {
        let Some(fd) = core.with(|inner| {
            let listener = inner.listeners.get(listener)?;
            listener.fd.as_ref().filter(|_| listener.accepting.is_watched()).map(AsRawFd::as_raw_fd)
        }) else {
            return false;
        };
        let (fd, peer) = match socket::accept(fd) {
            Ok((stranger, _)) if core.settings.owner_only && !socket::peer_is_owner(stranger.as_raw_fd()) => continue,
            Ok(accepted) => accepted,
            Err(error) => {
                refused(core, listener, &error);
                return false;
            }
        };
        let kept = core.with(|inner| {
            inner.stats.accepted += 1;
            inner.hand_on(listener, 0, fd)
        });
        if let Some(fd) = kept {
            begin(py, core, listener, fd, peer);
        }
    }
    true
}

/// Takes connections that other workers have handed to this one. `ended`: no sender is left.
pub(crate) fn take(py: Python<'_>, core: &Rc<Core>, ended: bool) {
    for _ in 0..BATCH {
        match core.with(|inner| inner.take(ended)) {
            None => return,
            Some(Arrived { fd, listener, counted }) => {
                // A client that has reset the connection meanwhile has no address, and needs no answer.
                if let Some((fd, peer)) = with_peer(fd) {
                    begin(py, core, listener, fd, peer);
                }
                core.with(|inner| inner.arrived(counted));
            }
        }
    }
}

fn with_peer(fd: Option<OwnedFd>) -> Option<(OwnedFd, Address)> {
    let fd = fd?;
    let peer = socket::peer_address(fd.as_raw_fd())?;
    Some((fd, peer))
}

/// A connection of this worker's begins. Nothing was read from it yet.
fn begin(py: Python<'_>, core: &Rc<Core>, listener: usize, fd: OwnedFd, peer: Address) {
    let (wildcard, tls) = core
        .with(|inner| inner.listeners.get(listener).map(|listener| (listener.wildcard, listener.role == Role::Tls)))
        .unwrap_or_default();
    let local = wildcard.then(|| socket::local_address(fd.as_raw_fd())).flatten();
    // Without memory for its addresses there is none for a connection.
    let Ok((client, server)) = python_addresses(py, &peer, local) else { return };
    core.with(|inner| {
        let raw = fd.as_raw_fd();
        let trusted = core.settings.trusts(peer.ip());
        let preface = core.settings.expects_preface(peer.ip());
        let key = inner.conns.insert(Conn {
            tls: tls.then(|| Box::new(Tls::new())),
            protocol: if preface { Protocol::Preface } else { Protocol::Idle },
            ..Conn::new(Carrier::Socket(fd), peer, listener, client, server, trusted)
        });
        if inner.poller.add_connection(raw, key.to_bits()).is_err() {
            lifecycle::remove(inner, key);
            return;
        }
        inner.count_connections();
        let first = if tls { Kind::Handshake } else { Kind::Head };
        inner.deadlines.arm(first, key.index, inner.now);
        if inner.draining {
            // It may still send a request, like those that had only just come when the end began.
            inner.deadlines.arm(Kind::Linger, key.index, inner.now);
        }
    });
}

/// An error of `accept`: nothing there, or no resources, which is waited out instead of tried again at once.
fn refused(core: &Core, listener: usize, error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
    {
        return;
    }
    core.with(|inner| {
        inner.rest(listener);
        report_refused(inner, error);
    });
}

/// Says why connections have to wait, every ten seconds at most.
pub(crate) fn report_refused(inner: &mut Inner, error: &io::Error) {
    if inner.now.saturating_sub(inner.last_accept_report) > 10_000 || inner.last_accept_report == 0 {
        inner.last_accept_report = inner.now;
        inner.report(
            level::ERROR,
            format!("cannot accept connections: {error}; trying again (raise the open file limit: ulimit -n)"),
        );
    }
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
