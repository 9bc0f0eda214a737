//! Request heads: parsed from the bytes at hand, or known from the request before on the same connection.

use swell_wire::error::WireError;
use swell_wire::h1::facts::{judge, FieldFacts, Request};
use swell_wire::h1::head::{find_request_line, parse_head, FieldSpan};
use swell_wire::h1::line::{parse_request_line, RequestLine, Version};
use swell_wire::h1::scan::HeadScan;
use swell_wire::h2::request::parse_line;

use crate::conn::Carrier;
use crate::core::Inner;
use crate::io::slots::Key;
use crate::py::headers::Memo;

/// A request head, ready for Python to be made of it.
pub(crate) struct Parsed {
    /// Length of the request line with its CRLF, behind `skipped` bytes.
    pub(crate) skipped: usize,
    pub(crate) line_len: usize,
    pub(crate) len: usize,
    /// What the connection remembers; updated by the launch and given back.
    pub(crate) memo: Option<Box<Memo>>,
    /// The field block equals the remembered one.
    pub(crate) same_block: bool,
    pub(crate) spans: Vec<FieldSpan>,
    pub(crate) facts: FieldFacts,
    pub(crate) request: Request,
    pub(crate) version: Version,
}

/// Takes the line of a request apart, with or without its CRLF.
pub(super) fn request_line(line: &[u8], version: Version) -> Result<RequestLine<'_>, WireError> {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    match version {
        Version::Http2 => parse_line(line),
        Version::Http10 | Version::Http11 => parse_request_line(line),
    }
}

/// Parses a head, over the short cut of the memo where possible.
pub(super) fn parse(inner: &mut Inner, key: Key, bytes: &[u8]) -> Result<Option<Parsed>, WireError> {
    let Inner { conns, limits, spans, .. } = inner;
    let Some(conn) = conns.get_mut(key) else { return Ok(None) };
    if let Carrier::Stream(stream) = &mut conn.carrier {
        return Ok(stream.parsed.take());
    }
    // A head in small pieces is read on where it was left, and parsed once when it is complete.
    if let Some(mut scan) = conn.scan.take() {
        if !scan.advance(bytes, limits)? {
            conn.scan = Some(scan);
            return Ok(None);
        }
    }
    if let Some(memo) = &conn.memo {
        if let Some(line_len) = find_request_line(bytes, limits)? {
            let (line, after) = bytes.split_at(line_len);
            if line_len > 2 && after.starts_with(&memo.block) {
                let (request, version) = if line == memo.line {
                    (memo.request, memo.version)
                } else {
                    let parsed = parse_request_line(&line[..line_len - 2])?;
                    (judge(&parsed, &memo.facts, &memo.block)?, parsed.version)
                };
                let len = line_len + memo.block.len();
                if len > limits.head {
                    return Err(swell_wire::error::Kind::HeadTooLarge.into());
                }
                let facts = memo.facts;
                return Ok(Some(Parsed {
                    skipped: 0,
                    line_len,
                    len,
                    memo: conn.memo.take(),
                    same_block: true,
                    spans: Vec::new(),
                    facts,
                    request,
                    version,
                }));
            }
        }
    }
    let Some(head) = parse_head(bytes, limits, spans)? else {
        let mut scan = HeadScan::default();
        scan.advance(bytes, limits)?;
        conn.scan = Some(scan);
        return Ok(None);
    };
    let request = judge(&head.line, &head.facts, head.block)?;
    Ok(Some(Parsed {
        skipped: head.skipped,
        line_len: head.line_len,
        len: head.len,
        memo: conn.memo.take(),
        same_block: false,
        spans: std::mem::take(spans),
        facts: head.facts,
        request,
        version: head.line.version,
    }))
}
