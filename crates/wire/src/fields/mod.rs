//! Field syntax and semantics that do not depend on the version of HTTP: RFC 9110 §5, and the fields of proxies.
//!
//! Deliberately unknown here: messages, framing, connections. Called by `h1`, and by the engine for percent-decoding
//! and for the client address behind a proxy.

pub mod forwarded;
pub mod host;
pub mod list;
pub mod networks;
pub mod percent;
pub mod token;
