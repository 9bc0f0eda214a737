//! Encoding responses: status line, fields, framing, chunks, interim responses. RFC 9112 §4, §6, §7.1; RFC 9110 §15.
//!
//! Everything is appended to one buffer that the engine owns, so head and body leave in one write. The caller has
//! already decided the framing (`cycle`); this file knows bytes only.

use super::cycle::{HeadFraming, Write};
use crate::fields::token::{is_field_value, is_token};

/// What the encoder noticed about a field that the application sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// Nothing of interest.
    Plain,
    /// `Content-Length` with this value; written.
    Length(u64),
    /// `Transfer-Encoding`: not written, framing is the server's (ASGI HTTP, "Response Start").
    Dropped,
    /// `Connection: close`: not written here, the head's end writes it.
    Close,
    /// `Date`: the server's own is not added.
    Date,
    /// `Server`: the server's own is not added.
    Server,
    /// `Content-Type: text/event-stream`, with or without parameters; written.
    EventStream,
}

/// A field that must not go on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// The name is not a token (RFC 9110 §5.1).
    Name,
    /// The value has a CR, LF, NUL or another control character, or leading or trailing white space (RFC 9110 §5.5).
    Value,
    /// `Content-Length` is not a decimal number (RFC 9110 §8.6).
    Length,
}

impl FieldError {
    /// One plain sentence.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Name => "a header name must be a token: letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 §5.1)",
            Self::Value => "a header value must not hold CR, LF, NUL or other control characters (RFC 9110 §5.5)",
            Self::Length => "content-length must be a decimal number of bytes (RFC 9110 §8.6)",
        }
    }
}

/// Appends the status line. `status` is 100 to 999.
#[inline]
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends one field after checking it, or nothing when the server writes that field itself.
///
/// # Errors
/// A [`FieldError`]; nothing is appended then.
#[inline]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<Noticed, FieldError> {
    if !is_token(name) {
        return Err(FieldError::Name);
    }
    let value = trim(value);
    if !is_field_value(value) {
        return Err(FieldError::Value);
    }
    // By length first: most names match none.
    let noticed = match name.len() {
        4 if name.eq_ignore_ascii_case(b"date") => Noticed::Date,
        6 if name.eq_ignore_ascii_case(b"server") => Noticed::Server,
        12 if is_event_stream(value) && name.eq_ignore_ascii_case(b"content-type") => Noticed::EventStream,
        10 if name.eq_ignore_ascii_case(b"connection") => {
            if has_token(value, b"close") {
                return Ok(Noticed::Close);
            }
            // Keep-alive is the server's to say; anything else is hop-by-hop and passes (an upgrade answer).
            if value.eq_ignore_ascii_case(b"keep-alive") {
                return Ok(Noticed::Plain);
            }
            Noticed::Plain
        }
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            Noticed::Length(parse_length(value).ok_or(FieldError::Length)?)
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return Ok(Noticed::Dropped),
        _ => Noticed::Plain,
    };
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(noticed)
}

/// Appends the framing and connection fields and the empty line that ends the head.
/// `close`: this is the last response on the connection. `keep_alive`: an HTTP/1.0 client asked for it (RFC 9112 §9.3).
#[inline]
pub fn end_head(out: &mut Vec<u8>, framing: HeadFraming, close: bool, keep_alive: bool) {
    match framing {
        HeadFraming::AsGiven | HeadFraming::AddClose => {}
        HeadFraming::AddLength(length) => {
            out.extend_from_slice(b"content-length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        HeadFraming::AddChunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if close || framing == HeadFraming::AddClose {
        out.extend_from_slice(b"connection: close\r\n");
    } else if keep_alive {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends what precedes the bytes of one body event: nothing, or a chunk's size line.
#[inline]
pub fn before_body(out: &mut Vec<u8>, write: Write, length: u64) {
    if length > 0 && matches!(write, Write::Chunk | Write::ChunkAndEnd | Write::ChunkAndTrailers) {
        hexadecimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends what follows the bytes of one body event: nothing, a chunk's end, the last chunk.
#[inline]
pub fn after_body(out: &mut Vec<u8>, write: Write, length: u64) {
    if matches!(write, Write::Plain | Write::Drop) {
        return;
    }
    if length > 0 {
        out.extend_from_slice(b"\r\n");
    }
    match write {
        Write::ChunkAndEnd => out.extend_from_slice(b"0\r\n\r\n"),
        Write::ChunkAndTrailers => out.extend_from_slice(b"0\r\n"),
        Write::Chunk | Write::Plain | Write::Drop => {}
    }
}

/// The interim response that asks for the body (RFC 9110 §10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A complete answer made by the server itself: plain text, the connection closes after it.
pub fn plain_answer(out: &mut Vec<u8>, status: u16, text: &str, extra: &[u8], server_fields: &[u8], head_only: bool) {
    status_line(out, status);
    out.extend_from_slice(server_fields);
    out.extend_from_slice(b"content-type: text/plain; charset=utf-8\r\n");
    out.extend_from_slice(extra);
    end_head(out, HeadFraming::AddLength(text.len() as u64), true, false);
    if !head_only {
        out.extend_from_slice(text.as_bytes());
    }
}

/// True for statuses whose responses never have a body (RFC 9110 §6.4.1).
#[must_use]
pub fn bodiless_status(status: u16) -> bool {
    status < 200 || status == 204 || status == 304
}

/// Appends `number` in decimal.
#[inline]
pub fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn hexadecimal(out: &mut Vec<u8>, number: u64) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number >> (place * 4)) as usize & 15]);
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| match byte {
        b'0'..=b'9' => Some(sum * 10 + u64::from(byte - b'0')),
        _ => None,
    })
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| trim(part).eq_ignore_ascii_case(token))
}

fn is_event_stream(value: &[u8]) -> bool {
    let name = b"text/event-stream";
    value.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        && matches!(value.get(name.len()), None | Some(b';' | b' ' | b'\t'))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The reason phrase registered for `status`, empty for an unknown one (RFC 9110 §15, RFC 9112 §4).
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a Teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc9112_4_status_lines() {
        assert_eq!(encoded(|out| status_line(out, 200)), "HTTP/1.1 200 OK\r\n");
        assert_eq!(encoded(|out| status_line(out, 404)), "HTTP/1.1 404 Not Found\r\n");
        assert_eq!(encoded(|out| status_line(out, 599)), "HTTP/1.1 599 \r\n");
    }

    #[test]
    fn rfc9110_5_fields_are_checked_and_noticed() {
        let mut out = Vec::new();
        assert_eq!(field(&mut out, b"x-a", b" b "), Ok(Noticed::Plain));
        assert_eq!(field(&mut out, b"content-length", b"12"), Ok(Noticed::Length(12)));
        assert_eq!(field(&mut out, b"Connection", b"foo, Close"), Ok(Noticed::Close));
        assert_eq!(field(&mut out, b"transfer-encoding", b"chunked"), Ok(Noticed::Dropped));
        for (value, noticed) in [
            (&b"text/event-stream"[..], Noticed::EventStream),
            (b"Text/Event-Stream ; charset=utf-8", Noticed::EventStream),
            (b"text/event-stream2", Noticed::Plain),
            (b"text/html", Noticed::Plain),
        ] {
            assert_eq!(field(&mut Vec::new(), b"Content-Type", value), Ok(noticed));
        }
        assert_eq!(out, b"x-a: b\r\ncontent-length: 12\r\n");
        for (name, value, error) in [
            (&b"x a"[..], &b"b"[..], FieldError::Name),
            (b"", b"b", FieldError::Name),
            (b"x:", b"b", FieldError::Name),
            (b"x\r\n", b"b", FieldError::Name),
            (b"x", b"a\r\nb: c", FieldError::Value),
            (b"x", b"a\nb", FieldError::Value),
            (b"x", b"a\0", FieldError::Value),
            (b"content-length", b"+5", FieldError::Length),
            (b"content-length", b"", FieldError::Length),
            (b"content-length", b"99999999999999999999", FieldError::Length),
        ] {
            assert_eq!(field(&mut out, name, value), Err(error), "{name:?}: {value:?}");
        }
        assert_eq!(out, b"x-a: b\r\ncontent-length: 12\r\n");
    }

    #[test]
    fn rfc9112_7_1_chunks() {
        let event = |write, data: &str| {
            encoded(|out| {
                before_body(out, write, data.len() as u64);
                out.extend_from_slice(data.as_bytes());
                after_body(out, write, data.len() as u64);
            })
        };
        assert_eq!(event(Write::Chunk, "hello world, hello"), "12\r\nhello world, hello\r\n");
        assert_eq!(event(Write::Chunk, ""), "");
        assert_eq!(event(Write::ChunkAndEnd, ""), "0\r\n\r\n");
        assert_eq!(event(Write::ChunkAndEnd, "a"), "1\r\na\r\n0\r\n\r\n");
        assert_eq!(event(Write::ChunkAndTrailers, "a"), "1\r\na\r\n0\r\n");
        assert_eq!(event(Write::Plain, "a"), "a");
    }

    #[test]
    fn heads_end_with_framing_and_connection() {
        assert_eq!(encoded(|out| end_head(out, HeadFraming::AddLength(0), false, false)), "content-length: 0\r\n\r\n");
        assert_eq!(encoded(|out| end_head(out, HeadFraming::AddClose, false, false)), "connection: close\r\n\r\n");
        assert_eq!(encoded(|out| end_head(out, HeadFraming::AsGiven, false, true)), "connection: keep-alive\r\n\r\n");
        assert_eq!(
            encoded(|out| end_head(out, HeadFraming::AddChunked, true, true)),
            "transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
    }
}
