//! WebSocket without I/O, the server's role: the opening handshake, frames, messages, closing (RFC 6455) and
//! compression (RFC 7692).
//!
//! Deliberately unknown here: sockets, timers (pings and time-outs belong to the engine), ASGI, and who answers what:
//! this module reports a ping or a close, the caller writes the pong or the close. Called by the engine's connection
//! after an HTTP/1.1 request with `Upgrade: websocket` or an extended CONNECT of HTTP/2.

mod buffer;
mod close;
mod codec;
pub mod connection;
mod event;
mod extension;
mod frame;
pub mod handshake;
pub mod limits;
mod utf8;

pub use close::valid_close_code;
pub use connection::Connection;
pub use event::Event;
pub use frame::{encode_binary, encode_text};
pub use handshake::{accept_key, read_offer, read_offer_of_stream, DeflateOptions, DeflateParams, Offer};
pub use limits::WsLimits;
