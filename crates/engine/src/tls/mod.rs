//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446) under the HTTP protocols: records in, bytes out, and back.
//!
//! 1. A connection of a TLS listener begins with a [`Tls`] (`crate::accept`). `http::read::pull` reads through
//!    [`read::receive`] then, and `lifecycle::flush` writes through [`Tls::flush`]. Nothing else knows.
//! 2. The handshake runs on the loop's own thread, within [`budget`]'s time per turn. Its end decides the protocol by ALPN
//!    ([`alpn`]).
//! 3. What rustls is configured with is a [`context::TlsContext`], made by Python from the files' contents and replaced as
//!    a whole: connections that exist keep theirs.
//!
//! It does not know what HTTP is, but for the answer to a client that speaks it without TLS, and it opens no files.

pub(crate) mod alpn;
pub(crate) mod budget;
mod certificates;
mod challenge;
pub(crate) mod context;
mod der;
mod failure;
mod keys;
mod name;
pub(crate) mod read;
pub(crate) mod scope;
pub(crate) mod selfsigned;
mod session;
mod tickets;
mod verify;

pub(crate) use failure::Failures;
pub(crate) use session::Tls;

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::Inner;
use crate::io::slots::Key;
use crate::lifecycle;

use rustls::server::danger::ClientCertVerifier;
use rustls::ServerConfig;

/// `timeout_handshake` has passed.
pub(crate) fn handshake_timed_out(inner: &mut Inner, key: Key) {
    failure::tell(inner, key, failure::Reason::Timeout, "the handshake was not complete in time (timeout_handshake)");
    inner.stats.timed_out += 1;
    lifecycle::lose(inner, key, false);
}

/// What the connections of one engine share.
#[derive(Default)]
pub(crate) struct Shared {
    /// For handshakes that begin now.
    pub(crate) config: Option<Arc<ServerConfig>>,
    /// Finds what is wrong with a client certificate that was taken unseen.
    pub(crate) judge: Option<Arc<dyn ClientCertVerifier>>,
    /// Paths and what requests for them get, on every listener (`crate::http::challenge`).
    pub(crate) answers: HashMap<Vec<u8>, String>,
    pub(crate) budget: budget::Budget,
    pub(crate) failures: Failures,
}
