//! The ASGI TLS extension (version 0.2): what `scope["extensions"]["tls"]` says of a connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use rustls::pki_types::{CertificateDer, UnixTime};

use super::certificates::{pem, Identity};
use super::{name, Shared};
use crate::core::{Core, Inner};
use crate::io::slots::Key;
use crate::tls::Tls;

/// What is known of a connection, without Python.
struct Facts {
    identity: Option<Arc<Identity>>,
    chain: Vec<CertificateDer<'static>>,
    trouble: Option<String>,
    version: Option<u16>,
    suite: Option<u16>,
}

enum Found {
    /// Made by an earlier request.
    Made(Py<PyDict>),
    New(Facts),
}

/// A dict for one request; None without TLS.
pub(crate) fn extension<'py>(py: Python<'py>, core: &Rc<Core>, key: Key) -> PyResult<Option<Bound<'py, PyDict>>> {
    // A stream is as secure as the connection that carries it.
    let on = core.with(|inner| inner.conns.get_mut(key).and_then(|conn| conn.parent)).unwrap_or(key);
    let found = core.with(|inner| {
        let Inner { conns, tls: shared, .. } = inner;
        let tls = conns.get_mut(on)?.tls.as_ref()?;
        match &tls.scope {
            Some(made) => Some(Found::Made(made.clone_ref(py))),
            None => facts(tls, shared).map(Found::New),
        }
    });
    match found {
        None => Ok(None),
        Some(Found::Made(made)) => made.bind(py).copy().map(Some),
        Some(Found::New(facts)) => {
            let made = make(py, facts)?;
            let copy = made.copy()?;
            core.with(|inner| {
                if let Some(tls) = inner.conns.get_mut(on).and_then(|conn| conn.tls.as_mut()) {
                    tls.scope = Some(made.unbind());
                }
            });
            Ok(Some(copy))
        }
    }
}

fn facts(tls: &Tls, shared: &Shared) -> Option<Facts> {
    let session = tls.session()?;
    let chain = session.peer_certificates().unwrap_or_default().to_vec();
    let trouble = match (chain.split_first(), &shared.judge) {
        (Some((leaf, others)), Some(judge)) => {
            let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
            judge.verify_client_cert(leaf, others, now).err().map(|error| error.to_string())
        }
        _ => None,
    };
    Some(Facts {
        identity: tls.identity.clone(),
        chain,
        trouble,
        version: session.protocol_version().map(u16::from),
        suite: session.negotiated_cipher_suite().map(|suite| u16::from(suite.suite())),
    })
}

fn make(py: Python<'_>, facts: Facts) -> PyResult<Bound<'_, PyDict>> {
    let Facts { identity, chain, trouble, version, suite } = facts;
    let dict = PyDict::new(py);
    dict.set_item("server_cert", identity.as_ref().map(|identity| identity.pem.as_str()))?;
    dict.set_item("client_cert_chain", PyTuple::new(py, chain.iter().map(pem))?)?;
    dict.set_item("client_cert_name", chain.first().and_then(|leaf| name::subject(leaf)))?;
    dict.set_item("client_cert_error", trouble)?;
    dict.set_item("tls_version", version)?;
    dict.set_item("cipher_suite", suite)?;
    Ok(dict)
}
