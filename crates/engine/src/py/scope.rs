//! `scope` dictionaries: a copy of a template with every key in place, then the values of one request.
//!
//! ASGI HTTP and WebSocket 2.5, "Connection Scope". The template is made per listener.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use swell_wire::fields::percent::decode_path;
use swell_wire::h1::line::{RequestLine, Target, Version};

use super::headers::LineParts;
use super::names::Names;
use super::repeated::{Lent, Own};

/// Scope templates of one listener.
pub(crate) struct Templates {
    asgi: Py<PyDict>,
    http: Py<PyDict>,
    websocket: Py<PyDict>,
    http_extensions: Py<PyDict>,
    websocket_extensions: Py<PyDict>,
}

/// What differs from connection to connection, or is said by a proxy, beside the request line.
pub(crate) struct Details<'py> {
    pub(crate) client: Bound<'py, PyAny>,
    pub(crate) server: Option<Bound<'py, PyAny>>,
    /// None: the listener's own.
    pub(crate) scheme: Option<Bound<'py, PyString>>,
    pub(crate) version: Version,
    /// Of a WebSocket.
    pub(crate) subprotocols: Option<Bound<'py, PyList>>,
}

const HTTP_EXTENSIONS: [&str; 4] =
    ["http.response.pathsend", "http.response.zerocopysend", "http.response.early_hint", "http.response.trailers"];
const WEBSOCKET_EXTENSIONS: [&str; 1] = ["websocket.http.response"];

impl Templates {
    pub(crate) fn new(
        py: Python<'_>,
        names: &Names,
        server: &Bound<'_, PyAny>,
        root_path: &str,
        state: bool,
        secure: bool,
    ) -> PyResult<Self> {
        let extensions = |list: &[&str]| -> PyResult<Py<PyDict>> {
            let all = PyDict::new(py);
            for name in list {
                all.set_item(*name, PyDict::new(py))?;
            }
            Ok(all.unbind())
        };
        let asgi = PyDict::new(py);
        asgi.set_item("version", "3.0")?;
        asgi.set_item("spec_version", "2.5")?;
        let template = |kind: &Py<PyString>, scheme: &str| -> PyResult<Bound<'_, PyDict>> {
            let scope = PyDict::new(py);
            scope.set_item(&names.type_, kind)?;
            scope.set_item(&names.asgi, py.None())?;
            scope.set_item(&names.http_version, &names.http_1_1)?;
            scope.set_item(&names.server, server)?;
            scope.set_item(&names.client, py.None())?;
            scope.set_item(&names.scheme, scheme)?;
            scope.set_item(&names.root_path, root_path)?;
            if kind.is(&names.http) {
                scope.set_item(&names.method, "GET")?;
            } else {
                scope.set_item(&names.subprotocols, py.None())?;
            }
            for key in [&names.path, &names.raw_path, &names.query_string, &names.headers, &names.extensions] {
                scope.set_item(key, py.None())?;
            }
            if state {
                scope.set_item(&names.state, py.None())?;
            }
            Ok(scope)
        };
        Ok(Self {
            asgi: asgi.unbind(),
            http: template(&names.http, if secure { "https" } else { "http" })?.unbind(),
            websocket: template(&names.websocket, if secure { "wss" } else { "ws" })?.unbind(),
            http_extensions: extensions(&HTTP_EXTENSIONS)?,
            websocket_extensions: extensions(&WEBSOCKET_EXTENSIONS)?,
        })
    }

    /// How many keys a scope has.
    pub(crate) fn size(&self, py: Python<'_>) -> usize {
        self.http.bind(py).len()
    }

    /// A scope without what each request gets anew. Requests with equal heads on one connection may share it.
    pub(crate) fn scope<'py>(
        &self,
        py: Python<'py>,
        names: &Names,
        parts: &LineParts,
        details: Details<'py>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let template = match details.subprotocols {
            None => &self.http,
            Some(_) => &self.websocket,
        };
        let scope = template.bind(py).copy()?;
        match &details.subprotocols {
            None => scope.set_item(names.method.bind(py), parts.method.bind(py))?,
            Some(subprotocols) => scope.set_item(names.subprotocols.bind(py), subprotocols)?,
        }
        scope.set_item(names.path.bind(py), parts.path.bind(py))?;
        scope.set_item(names.raw_path.bind(py), parts.raw_path.bind(py))?;
        scope.set_item(names.query_string.bind(py), parts.query_string.bind(py))?;
        scope.set_item(names.client.bind(py), details.client)?;
        match details.version {
            Version::Http11 => {}
            Version::Http10 => scope.set_item(names.http_version.bind(py), names.http_1_0.bind(py))?,
            Version::Http2 => scope.set_item(names.http_version.bind(py), names.http_2.bind(py))?,
        }
        if let Some(server) = details.server {
            scope.set_item(names.server.bind(py), server)?;
        }
        if let Some(scheme) = details.scheme {
            scope.set_item(names.scheme.bind(py), scheme)?;
        }
        Ok(scope)
    }

    /// Gives a scope what an application may change, and what is therefore each request's own; `state` is the
    /// lifespan's, `tls` the request's.
    #[inline]
    pub(crate) fn fill<'py>(
        &self,
        scope: &Bound<'py, PyDict>,
        names: &Names,
        headers: &Bound<'py, PyList>,
        state: Option<&Bound<'py, PyDict>>,
        tls: Option<&Bound<'py, PyDict>>,
        websocket: bool,
    ) -> PyResult<Option<Lent>> {
        let py = scope.py();
        scope.set_item(names.headers.bind(py), headers)?;
        // The empty dicts that say "offered" are shared: there is nothing to put into them, and making them anew would be
        // 6 % of a small request's own instructions.
        let extensions = if websocket { &self.websocket_extensions } else { &self.http_extensions };
        let extensions = extensions.bind(py).copy()?;
        if let Some(tls) = tls {
            extensions.set_item(names.tls.bind(py), tls)?;
        }
        scope.set_item(names.extensions.bind(py), &extensions)?;
        let asgi = self.asgi.bind(py).copy()?;
        scope.set_item(names.asgi.bind(py), &asgi)?;
        let copy = state.map(PyDictMethods::copy).transpose()?;
        if let Some(state) = &copy {
            scope.set_item(names.state.bind(py), state)?;
        }
        let own = Own { headers, asgi: &asgi, extensions: &extensions, tls, state: copy.as_ref().zip(state) };
        Ok(Lent::of(scope, &own))
    }
}

/// The request line's values. `path` is percent-decoded and read as UTF-8; what is not UTF-8 becomes U+FFFD.
pub(crate) fn line_parts(py: Python<'_>, names: &Names, line: &RequestLine<'_>, root_path: &str) -> LineParts {
    let (path, query): (&[u8], &[u8]) = match line.target {
        Target::Origin { path, query } | Target::Absolute { path, query, .. } => (path, query),
        Target::Authority(authority) => (authority, b""),
        Target::Asterisk => (b"*", b""),
    };
    let mut decoded = Vec::with_capacity(root_path.len() + path.len());
    decoded.extend_from_slice(root_path.as_bytes());
    if path.contains(&b'%') {
        decode_path(path, &mut decoded);
    } else {
        decoded.extend_from_slice(path);
    }
    let raw_path = if root_path.is_empty() {
        PyBytes::new(py, path)
    } else {
        PyBytes::new(py, &[root_path.as_bytes(), path].concat())
    };
    LineParts {
        method: method(py, line.method),
        head_only: line.method == b"HEAD",
        path: PyString::new(py, &String::from_utf8_lossy(&decoded)).unbind(),
        raw_path: raw_path.unbind(),
        query_string: if query.is_empty() { names.no_bytes.clone_ref(py) } else { PyBytes::new(py, query).unbind() },
    }
}

/// Methods are tokens and so ASCII; the usual ones are interned.
fn method(py: Python<'_>, method: &[u8]) -> Py<PyString> {
    match method {
        b"GET" => pyo3::intern!(py, "GET").clone().unbind(),
        b"POST" => pyo3::intern!(py, "POST").clone().unbind(),
        b"HEAD" => pyo3::intern!(py, "HEAD").clone().unbind(),
        b"PUT" => pyo3::intern!(py, "PUT").clone().unbind(),
        b"PATCH" => pyo3::intern!(py, "PATCH").clone().unbind(),
        b"DELETE" => pyo3::intern!(py, "DELETE").clone().unbind(),
        b"OPTIONS" => pyo3::intern!(py, "OPTIONS").clone().unbind(),
        other => PyString::new(py, &String::from_utf8_lossy(&other.to_ascii_uppercase())).unbind(),
    }
}
