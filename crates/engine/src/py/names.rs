//! Interned strings and shared constants, made once per engine.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

macro_rules! names {
    ($($field:ident = $text:literal),* $(,)?) => {
        /// Interned `str` objects: dict keys, attribute names, message types.
        pub(crate) struct Names {
            $(pub(crate) $field: Py<PyString>,)*
            pub(crate) no_bytes: Py<PyBytes>,
        }

        impl Names {
            pub(crate) fn new(py: Python<'_>) -> Self {
                Self {
                    $($field: PyString::intern(py, $text).unbind(),)*
                    no_bytes: PyBytes::new(py, b"").unbind(),
                }
            }
        }
    };
}

names! {
    asgi = "asgi",
    add_done_callback = "add_done_callback",
    body = "body",
    bytes_ = "bytes",
    cancel = "cancel",
    client = "client",
    code = "code",
    count = "count",
    done = "done",
    effective_route_context = "effective_route_context",
    extensions = "extensions",
    fastapi = "fastapi",
    file = "file",
    headers = "headers",
    http = "http",
    http_disconnect = "http.disconnect",
    http_request = "http.request",
    http_version = "http_version",
    http_1_0 = "1.0",
    http_1_1 = "1.1",
    http_2 = "2",
    links = "links",
    method = "method",
    more_body = "more_body",
    more_trailers = "more_trailers",
    offset = "offset",
    path = "path",
    path_format = "path_format",
    path_params = "path_params",
    path_template = "path_template",
    query_string = "query_string",
    raw_path = "raw_path",
    reason = "reason",
    root_path = "root_path",
    route = "route",
    scheme = "scheme",
    server = "server",
    set_result = "set_result",
    state = "state",
    tls = "tls",
    status = "status",
    subprotocol = "subprotocol",
    subprotocols = "subprotocols",
    text = "text",
    trailers = "trailers",
    type_ = "type",
    websocket = "websocket",
    websocket_connect = "websocket.connect",
    websocket_disconnect = "websocket.disconnect",
    websocket_receive = "websocket.receive",
}
