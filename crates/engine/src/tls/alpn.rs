//! Which protocols a handshake offers (RFC 7301), and what the one that was agreed on leads to. The only place.

use super::challenge;
use crate::core::Inner;
use crate::h2;
use crate::io::slots::Key;
use crate::lifecycle;

const H2: &[u8] = b"h2";
const HTTP1: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// In our order of preference. A client that names protocols and none of these is refused, as RFC 7301 §3.2 has it; one
/// that names none speaks HTTP/1.1. `challenged`: authorities ask for what only they may see.
pub(crate) fn offered(options: &h2::Options, challenged: bool) -> Vec<Vec<u8>> {
    let http2 = options.http2.then_some(H2);
    let http1 = HTTP1.into_iter().filter(|_| options.http1);
    let challenge = challenged.then_some(challenge::PROTOCOL);
    http2.into_iter().chain(http1).chain(challenge).map(<[u8]>::to_vec).collect()
}

/// The handshake at `key` is complete.
pub(crate) fn begin(inner: &mut Inner, key: Key, protocol: Option<&[u8]>) {
    match protocol {
        Some(H2) => h2::begin(inner, key),
        // Everything was said in the handshake (RFC 8737 §3).
        Some(challenge::PROTOCOL) => lifecycle::close_after_sending(inner, key),
        _ => {}
    }
}
