//! Requests on a port that speaks no TLS and only says where the one is that does.
//!
//! The answer is 308: method and body stay what they are (RFC 9110 §15.4.9). Called by `read` when there is such a port.

use swell_wire::fields::host::parse_authority;
use swell_wire::h1::line::Target;

use super::head::{request_line, Parsed};
use crate::core::Inner;
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::lifecycle;
use crate::listener::Role;

/// Where `https` is when nobody names a port (RFC 9110 §4.2.2).
const HTTPS: u16 = 443;

/// Answers the request if its listener is one of those. `bytes` begin with its head.
pub(super) fn redirected(inner: &mut Inner, key: Key, parsed: &Parsed, bytes: &[u8]) -> bool {
    let Some(conn) = inner.conns.get_mut(key) else { return false };
    let Some(Role::Redirect(port)) = inner.listeners.get(conn.listener).map(|listener| listener.role) else {
        return false;
    };
    for kind in [Kind::Head, Kind::KeepAlive, Kind::Cool] {
        inner.deadlines.disarm(kind, key.index);
    }
    match location(parsed, bytes, port) {
        Some(location) => {
            let extra = [b"location: ", location.as_slice(), b"\r\n"].concat();
            lifecycle::refuse(inner, key, 308, "this server speaks https", &extra);
        }
        None => lifecycle::refuse(inner, key, 400, "the request names no host, and this server speaks https", b""),
    }
    true
}

fn location(parsed: &Parsed, bytes: &[u8], port: u16) -> Option<Vec<u8>> {
    let (line, block) = bytes[parsed.skipped..].split_at_checked(parsed.line_len)?;
    let spans = match &parsed.memo {
        Some(memo) if parsed.same_block => &memo.spans,
        _ => &parsed.spans,
    };
    let line = request_line(line, parsed.version).ok()?;
    let named = spans.iter().find(|span| span.name(block).eq_ignore_ascii_case(b"host")).map(|span| span.value(block));
    let (authority, path, query): (_, &[u8], &[u8]) = match line.target {
        Target::Origin { path, query } => (named?, path, query),
        Target::Absolute { authority, path, query, .. } => (authority, path, query),
        Target::Authority(_) | Target::Asterisk => (named?, b"/", b""),
    };
    let host = parse_authority(authority)?.host;
    if host.is_empty() {
        return None;
    }
    let mut location = [b"https://", host].concat();
    if port != HTTPS {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    location.extend_from_slice(path);
    if !query.is_empty() {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    Some(location)
}
