//! A request's pseudo-header fields and fields, as the request line and field block that the engine keeps of every
//! request: RFC 9113 §8.2.3, §8.3.1, RFC 8441 §4.
//!
//! One form for both protocols: what reads a head (the scope, the memo, the access log, forwarding fields) is the same
//! code. `:authority` becomes the first field, `host`; cookies become one field. Deliberately unknown here: HPACK and
//! what the `h2` crate refuses by itself: malformed names and values, unknown or repeated pseudo-header fields, fields
//! that concern a connection. Called by the engine once per stream.

use crate::error::{Kind, WireError};
use crate::h1::facts::{collect, FieldFacts, Framing, Request};
use crate::h1::head::FieldSpan;
use crate::h1::line::{parse_target, RequestLine, Target, Version};
use crate::limits::HeadLimits;

/// The pseudo-header fields of a request (RFC 9113 §8.3.1).
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `:method`
    pub method: &'a [u8],
    /// `:path`, with the query.
    pub path: &'a [u8],
    /// `:authority`
    pub authority: Option<&'a [u8]>,
    /// `:protocol` (RFC 8441 §4)
    pub protocol: Option<&'a [u8]>,
    /// The stream ends with its header section: there is no body.
    pub ended: bool,
}

/// What a composed head means.
#[derive(Debug, Clone, Copy)]
pub struct Composed {
    /// Bytes of the request line with its CRLF.
    pub line_len: usize,
    /// What the fields say.
    pub facts: FieldFacts,
    /// What the request means.
    pub request: Request,
}

/// The end of a request line.
const TAIL: &[u8] = b" HTTP/2\r\n";

/// Takes the line of a composed head apart; `line` comes without its line end.
///
/// # Errors
/// When it is no such line; [`compose`] makes none of these.
pub fn parse_line(line: &[u8]) -> Result<RequestLine<'_>, WireError> {
    let start = line.strip_suffix(b" HTTP/2").ok_or(Kind::BadRequestLine)?;
    let space = start.iter().position(|&byte| byte == b' ').ok_or(Kind::BadRequestLine)?;
    let (method, target) = (&start[..space], &start[space + 1..]);
    Ok(RequestLine { method, target: read_target(method, target)?, version: Version::Http2 })
}

/// CONNECT with a protocol has a path like any other request (RFC 8441 §4).
fn read_target<'b>(method: &[u8], target: &'b [u8]) -> Result<Target<'b>, WireError> {
    match target.first() {
        Some(b'/') => parse_target(b"", target),
        Some(b'*') if target.len() == 1 && method == b"OPTIONS" => Ok(Target::Asterisk),
        Some(b'*') if target.len() == 1 => Err(Kind::AsteriskMethod.into()),
        _ => Err(Kind::BadPath.into()),
    }
}

/// Appends the head to `text`, which is empty, and where its fields stand to `spans`. `fields` goes over them anew.
///
/// # Errors
/// The rule that the request breaks, with the status to answer on its stream.
pub fn compose<'a, Fields: Iterator<Item = (&'a [u8], &'a [u8])>>(
    asked: &Asked<'_>,
    fields: impl Fn() -> Fields,
    limits: &HeadLimits,
    text: &mut Vec<u8>,
    spans: &mut Vec<FieldSpan>,
) -> Result<Composed, WireError> {
    text.extend_from_slice(asked.method);
    text.push(b' ');
    text.extend_from_slice(asked.path);
    text.extend_from_slice(TAIL);
    let line_len = text.len();
    let websocket = match (asked.method, asked.protocol) {
        (b"CONNECT", Some(b"websocket")) if !asked.ended => true,
        (b"CONNECT", Some(protocol)) if protocol != b"websocket" => return Err(Kind::ProtocolUnknown.into()),
        (b"CONNECT", _) => return Err(Kind::ConnectRefused.into()),
        _ => false,
    };
    if line_len - 2 > limits.request_line {
        return Err(Kind::RequestLineTooLong.into());
    }
    read_target(asked.method, asked.path)?;
    let mut block = Block { text, start: line_len, spans };
    let host = fields().find(|(name, _)| *name == b"host").map(|(_, value)| value);
    match (asked.authority, host) {
        (None, None) => return Err(Kind::AuthorityMissing.into()),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(Kind::AuthorityMismatch.into());
        }
        (Some(host), _) | (None, Some(host)) => block.add(b"host", host),
    }
    let mut cookies = false;
    let mut hosts = 0;
    for (name, value) in fields() {
        match name {
            b"host" => hosts += 1,
            b"cookie" if cookies => {}
            b"cookie" => {
                cookies = true;
                block.add_joined(name, fields().filter(|(other, _)| *other == b"cookie").map(|(_, value)| value));
            }
            _ => block.add(name, value),
        }
        if block.spans.len() > limits.fields {
            return Err(Kind::TooManyFields.into());
        }
        if block.text.len() + 2 > limits.head {
            return Err(Kind::HeadTooLarge.into());
        }
    }
    if block.text.len() + 2 > limits.head {
        return Err(Kind::HeadTooLarge.into());
    }
    if hosts > 1 {
        return Err(Kind::HostTwice.into());
    }
    block.text.extend_from_slice(b"\r\n");
    let facts = collect(&text[line_len..], spans)?;
    let request = judge(asked, &facts, websocket)?;
    Ok(Composed { line_len, facts, request })
}

/// The rules that need the pseudo-header fields.
fn judge(asked: &Asked<'_>, facts: &FieldFacts, websocket: bool) -> Result<Request, WireError> {
    if facts.expect_other {
        return Err(Kind::ExpectationUnknown.into());
    }
    let length = match facts.framing {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    Ok(Request {
        body: if asked.ended || websocket { Framing::None } else { Framing::Stream(length) },
        keep_alive: false,
        expect_continue: facts.expect_continue && !asked.ended,
        websocket,
    })
}

struct Block<'b> {
    text: &'b mut Vec<u8>,
    start: usize,
    spans: &'b mut Vec<FieldSpan>,
}

impl Block<'_> {
    fn at(&self) -> u32 {
        (self.text.len() - self.start) as u32
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        self.add_joined(name, std::iter::once(value));
    }

    /// One field of several values. Only cookies are joined, and those with a semicolon (RFC 9113 §8.2.3).
    fn add_joined<'v>(&mut self, name: &[u8], values: impl Iterator<Item = &'v [u8]>) {
        let begin = self.at();
        self.text.extend_from_slice(name);
        let name = (begin, self.at());
        self.text.extend_from_slice(b": ");
        let begin = self.at();
        for (count, value) in values.enumerate() {
            if count > 0 {
                self.text.extend_from_slice(b"; ");
            }
            self.text.extend_from_slice(value);
        }
        self.spans.push(FieldSpan { name, value: (begin, self.at()) });
        self.text.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked<'_> =
        Asked { method: b"GET", path: b"/a?b", authority: Some(b"example.org"), protocol: None, ended: true };

    fn composed(asked: &Asked<'_>, fields: &[(&str, &str)]) -> Result<(String, Request), WireError> {
        let (mut text, mut spans) = (Vec::new(), Vec::new());
        let fields = || fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let composed = compose(asked, fields, &HeadLimits::default(), &mut text, &mut spans)?;
        let block = &text[composed.line_len..];
        for span in &spans {
            assert!(block.windows(2).any(|pair| pair == b": ") && !span.name(block).is_empty());
        }
        Ok((String::from_utf8(text).unwrap(), composed.request))
    }

    fn refused(asked: &Asked<'_>, fields: &[(&str, &str)]) -> Kind {
        composed(asked, fields).unwrap_err().kind()
    }

    #[test]
    fn the_authority_is_the_first_field_and_cookies_are_one() {
        let fields = [("accept", "*/*"), ("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2")];
        let (text, request) = composed(&GET, &fields).unwrap();
        assert_eq!(text, "GET /a?b HTTP/2\r\nhost: example.org\r\naccept: */*\r\ncookie: a=1; b=2\r\nx-y: z\r\n\r\n");
        assert_eq!(request.body, Framing::None);
    }

    #[test]
    fn the_host_field_may_stand_in_for_the_authority_but_not_contradict_it() {
        let absent = Asked { authority: None, ..GET };
        let (text, _) = composed(&absent, &[("accept", "*/*"), ("host", "h")]).unwrap();
        assert_eq!(text, "GET /a?b HTTP/2\r\nhost: h\r\naccept: */*\r\n\r\n");
        assert!(composed(&GET, &[("host", "EXAMPLE.org")]).is_ok());
        assert_eq!(refused(&absent, &[]), Kind::AuthorityMissing);
        assert_eq!(refused(&GET, &[("host", "other")]), Kind::AuthorityMismatch);
        assert_eq!(refused(&GET, &[("host", "example.org"), ("host", "example.org")]), Kind::HostTwice);
        assert_eq!(refused(&Asked { authority: Some(b"a b"), ..GET }, &[]), Kind::HostBad);
    }

    #[test]
    fn a_body_ends_with_its_stream() {
        let post = Asked { method: b"POST", ended: false, ..GET };
        assert_eq!(composed(&post, &[]).unwrap().1.body, Framing::Stream(None));
        let (_, request) = composed(&post, &[("content-length", "7"), ("expect", "100-continue")]).unwrap();
        assert_eq!((request.body, request.expect_continue), (Framing::Stream(Some(7)), true));
        assert_eq!(refused(&post, &[("content-length", "7x")]), Kind::ContentLengthBad);
        assert_eq!(refused(&post, &[("expect", "tea")]), Kind::ExpectationUnknown);
    }

    #[test]
    fn connect_is_for_websockets_only() {
        let connect = Asked { method: b"CONNECT", ended: false, protocol: Some(b"websocket"), ..GET };
        assert!(composed(&connect, &[]).unwrap().1.websocket);
        assert_eq!(refused(&Asked { protocol: Some(b"tea"), ..connect }, &[]), Kind::ProtocolUnknown);
        assert_eq!(refused(&Asked { protocol: None, ..connect }, &[]), Kind::ConnectRefused);
        assert_eq!(refused(&Asked { ended: true, ..connect }, &[]), Kind::ConnectRefused);
    }

    #[test]
    fn targets_are_paths_or_for_options_an_asterisk() {
        assert_eq!(refused(&Asked { path: b"*", ..GET }, &[]), Kind::AsteriskMethod);
        assert_eq!(refused(&Asked { path: b"a", ..GET }, &[]), Kind::BadPath);
        assert_eq!(refused(&Asked { path: b"", ..GET }, &[]), Kind::BadPath);
        assert!(composed(&Asked { path: b"*", method: b"OPTIONS", ..GET }, &[]).is_ok());
        let line = parse_line(b"GET /a?b HTTP/2").unwrap();
        assert_eq!((line.method, line.target), (&b"GET"[..], Target::Origin { path: b"/a", query: b"b" }));
    }

    #[test]
    fn the_limits_of_a_head_hold() {
        let long = vec![b'x'; HeadLimits::default().request_line];
        let path = [b"/", &long[..]].concat();
        assert_eq!(refused(&Asked { path: &path, ..GET }, &[]), Kind::RequestLineTooLong);
        let many = vec![("a", "b"); HeadLimits::default().fields];
        assert_eq!(refused(&GET, &many), Kind::TooManyFields);
        assert!(composed(&GET, &many[1..]).is_ok());
        let big = "x".repeat(40_000);
        assert_eq!(refused(&GET, &[("a", &big), ("b", &big)]), Kind::HeadTooLarge);
        let authority = big.repeat(2);
        assert_eq!(refused(&Asked { authority: Some(authority.as_bytes()), ..GET }, &[]), Kind::HeadTooLarge);
    }
}
