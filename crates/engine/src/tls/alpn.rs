//! Which protocols a handshake offers (RFC 7301), and what the one that was agreed on leads to. The only place.

use crate::core::Inner;
use crate::io::slots::Key;

/// In our order of preference. A client that names protocols and none of these is refused, as RFC 7301 §3.2 has it; one
/// that names none speaks HTTP/1.1.
pub(crate) fn offered() -> Vec<Vec<u8>> {
    vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()]
}

/// The handshake at `key` is complete.
pub(crate) fn begin(_inner: &mut Inner, _key: Key, _protocol: Option<&[u8]>) {}
