//! HTTP/1.1 and HTTP/1.0 messages: RFC 9112. See `README.md` in this folder for the data path.
//!
//! Deliberately unknown here: sockets, time, the application. Called by the engine.

pub mod body;
pub mod cycle;
pub mod facts;
pub mod head;
pub mod line;
pub mod response;
pub mod scan;
mod trailer;
