//! Exceptions that the application can meet. Exported by `swell._core`.

use pyo3::exceptions::{PyOSError, PyRuntimeError};

pyo3::create_exception!(
    swell._core,
    ClientDisconnected,
    PyOSError,
    "The client has gone: what `send()` was given cannot be delivered any more (ASGI HTTP 2.4)."
);

pyo3::create_exception!(
    swell._core,
    MessageError,
    PyRuntimeError,
    "The application sent an ASGI message that is malformed or comes at the wrong time. The text names the message, the key and the rule."
);
