//! Requests that are answered with a text that Python has given for their path: what a certificate authority asks for to
//! see that this server is the one of a name (HTTP-01, RFC 8555 §8.3).
//!
//! On every listener, before redirects and before the application: the authority begins on port 80 without TLS and
//! follows redirects. Called by `read` while there are such texts.

use swell_wire::h1::line::Target;

use super::head::{request_line, Parsed};
use crate::core::Inner;
use crate::io::deadlines::Kind;
use crate::io::slots::Key;
use crate::lifecycle::{self, Refused};

/// Answers the request if its path is one of those. `bytes` begin with its head.
pub(super) fn answered(inner: &mut Inner, key: Key, parsed: &Parsed, bytes: &[u8]) -> bool {
    let Some(head) = bytes.get(parsed.skipped..parsed.len) else { return false };
    let Some(text) = wanted(inner, parsed, head) else { return false };
    for kind in [Kind::Head, Kind::KeepAlive, Kind::Cool] {
        inner.deadlines.disarm(kind, key.index);
    }
    let answer = Refused { status: 200, reason: "", body: &text, section: "", head, extra: b"" };
    lifecycle::refuse_for(inner, key, &answer);
    true
}

fn wanted(inner: &Inner, parsed: &Parsed, head: &[u8]) -> Option<String> {
    let line = request_line(head.get(..parsed.line_len)?, parsed.version).ok()?;
    let (Target::Origin { path, .. } | Target::Absolute { path, .. }) = line.target else { return None };
    if line.method != b"GET" {
        return None;
    }
    inner.tls.answers.get(path).cloned()
}
