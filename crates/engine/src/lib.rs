//! `swell._core`: the native part of Swell. Sockets, timers, connections and the ASGI cycle, on the event loop's thread.
//!
//! The house rules of this crate are in README.md beside the manifest. What bytes mean is `swell_wire`'s business.

mod accept;
mod access;
mod board;
mod conn;
mod core;
mod ending;
mod engine;
mod expire;
mod fault;
mod fixed;
mod gather;
mod h2;
mod handoff;
mod http;
mod io;
mod lifecycle;
mod listener;
mod proxy;
mod py;
mod request_id;
mod settings;
mod share;
mod stats;
mod tls;
mod turn;
mod ws;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
fn _core(py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<()> {
    py::callable::prepare(py)?;
    py::awaitable::prepare(py)?;
    py::headers::prepare(py);
    module.add("BUILD_PROFILE", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add("ClientDisconnected", py.get_type::<py::errors::ClientDisconnected>())?;
    module.add("MessageError", py.get_type::<py::errors::MessageError>())?;
    module.add("DURATION_BOUNDS", pyo3::types::PyTuple::new(py, board::BOUNDS)?)?;
    module.add_class::<board::Scoreboard>()?;
    module.add_function(wrap_pyfunction!(handoff::forward::forward_inbox, module)?)?;
    module.add_function(wrap_pyfunction!(http::route::route_of, module)?)?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<tls::context::TlsContext>()?;
    module.add_function(wrap_pyfunction!(tls::selfsigned::self_signed, module)?)?;
    Ok(())
}
