//! A request head, from its first byte to the empty line: RFC 9112 §2.2, RFC 9112 §3, RFC 9112 §5.
//!
//! The fields are found by `httparse`, which is fast and says yes to more than RFC 9112 allows (lines that end in a
//! bare LF, several empty lines in front); this module adds the missing rules. When anything is incomplete or wrong,
//! `h1::scan` decides. Deliberately unknown here: rules that depend on method and version (`h1::facts::judge`).
//! Called by the engine once per head.

use std::mem::MaybeUninit;

use httparse::{Header, Status};
use memchr::memchr;

use super::facts::{collect, FieldFacts};
use super::line::{parse_request_line, RequestLine};
use super::scan::HeadScan;
use crate::error::{Kind, WireError};
use crate::limits::{HeadLimits, FIELDS_CAP};

/// Where one field stands: start and end offsets into the field block; the value comes without surrounding whitespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpan {
    /// The name as sent.
    pub name: (u32, u32),
    /// The value; start and end are equal when it is empty.
    pub value: (u32, u32),
}

impl FieldSpan {
    /// The name as sent. Empty when `block` is not the block that the span was made for.
    #[inline]
    #[must_use]
    pub fn name<'b>(&self, block: &'b [u8]) -> &'b [u8] {
        slice(block, self.name)
    }

    /// The value. Empty when `block` is not the block that the span was made for.
    #[inline]
    #[must_use]
    pub fn value<'b>(&self, block: &'b [u8]) -> &'b [u8] {
        slice(block, self.value)
    }
}

/// The bytes of one span; empty instead of a panic when the span is not one of this block.
#[inline]
pub(crate) fn slice(block: &[u8], (start, end): (u32, u32)) -> &[u8] {
    block.get(start as usize..end as usize).unwrap_or_default()
}

/// A complete request head. Everything borrows from the input.
#[derive(Debug, Clone, Copy)]
pub struct Head<'b> {
    /// The request line.
    pub line: RequestLine<'b>,
    /// Bytes of the empty line in front of the request line: 0 or 2.
    pub skipped: usize,
    /// Bytes of the request line with its CRLF.
    pub line_len: usize,
    /// The field lines with their CRLFs and the final CRLF. An equal block has equal spans and facts.
    pub block: &'b [u8],
    /// Bytes of the whole head: `skipped + line_len + block.len()`.
    pub len: usize,
    /// What the fields say about connection and framing.
    pub facts: FieldFacts,
}

/// Finds the end of the line at `buf[0]` and returns its length with CRLF; `None` means that more bytes are needed.
///
/// Nothing but the line end and the limit is checked on success. An empty line has length 2.
#[inline]
pub fn find_request_line(buf: &[u8], limits: &HeadLimits) -> Result<Option<usize>, WireError> {
    let reach = &buf[..buf.len().min(limits.head)];
    match complete_line(reach, limits) {
        Some(len) => Ok(Some(len)),
        None => HeadScan::default().advance(buf, limits).map(|_| None),
    }
}

/// Parses a request head at the start of `buf`; `None` means that more bytes are needed.
///
/// `spans` is cleared and filled with one entry per field line, in order. A head that is already wrong or too long is
/// refused without waiting for its end; the answer does not depend on how the bytes were cut into segments.
pub fn parse_head<'b>(
    buf: &'b [u8],
    limits: &HeadLimits,
    spans: &mut Vec<FieldSpan>,
) -> Result<Option<Head<'b>>, WireError> {
    spans.clear();
    let window = &buf[..buf.len().min(limits.head)];
    let skipped = if window.starts_with(b"\r\n") { 2 } else { 0 };
    let message = &window[skipped..];
    let Some(line_len) = complete_line(message, limits) else {
        return incomplete(buf, limits);
    };
    let Ok(line) = parse_request_line(&message[..line_len - 2]) else {
        return incomplete(buf, limits);
    };

    let mut headers: [MaybeUninit<Header<'b>>; FIELDS_CAP] = [const { MaybeUninit::uninit() }; FIELDS_CAP];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(message, &mut headers[..limits.fields_capped()]);
    let Ok(Status::Complete(end)) = parsed else {
        return incomplete(buf, limits);
    };
    let block = &message[line_len..end];
    let base = block.as_ptr() as usize;
    let span = |part: &[u8]| {
        let start = (part.as_ptr() as usize).wrapping_sub(base) as u32;
        (start, start + part.len() as u32)
    };
    // httparse ends lines at LF with or without CR: each line must be preceded by both, and so must the last one.
    let mut good = block == b"\r\n" || block.ends_with(b"\r\n\r\n");
    for header in request.headers.iter() {
        let name = span(header.name.as_bytes());
        good &= name.0 == 0 || slice(block, (name.0.wrapping_sub(2), name.0)) == b"\r\n";
        spans.push(FieldSpan { name, value: span(header.value) });
    }
    if !good {
        return incomplete(buf, limits);
    }
    let facts = collect(block, spans)?;
    Ok(Some(Head { line, skipped, line_len, block, len: skipped + end, facts }))
}

/// The length of the line at the start with its CRLF, when it is complete, well ended and within the limit.
#[inline]
fn complete_line(message: &[u8], limits: &HeadLimits) -> Option<usize> {
    let lf = memchr(b'\n', &message[..message.len().min(limits.request_line.saturating_add(2))])?;
    (lf > 0 && message[lf - 1] == b'\r').then_some(lf + 1)
}

/// The verdict on a head that the fast path did not accept.
#[cold]
fn incomplete<'b>(buf: &[u8], limits: &HeadLimits) -> Result<Option<Head<'b>>, WireError> {
    if HeadScan::default().advance(buf, limits)? {
        // Both readers know the same rules; should they ever differ, the stricter one is right.
        return Err(Kind::FieldBadValue.into());
    }
    Ok(None)
}
