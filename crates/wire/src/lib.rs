//! Bytes to events and back, for HTTP and WebSocket: no Python, no sockets, no clock.
//!
//! Called by the engine, which owns every buffer; nothing in here allocates per request on the steady path.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod error;
pub mod fields;
pub mod h1;
pub mod h2;
pub mod limits;
pub mod proxy;
pub mod ws;
