//! What the fields of a head mean for framing and connection: RFC 9112 §6, RFC 9110 §7.2, §7.6.1, §7.8, §10.1.1.
//!
//! Two steps. [`FieldFacts`] is what the fields say by themselves; it depends on nothing but the field block, so the
//! engine may keep it for the next request with an equal block. [`judge`] adds the rules that need method and version.
//! Deliberately unknown here: the WebSocket handshake beyond its two fields (`ws::handshake`). Called by `h1::head`
//! and by the engine.

use super::head::{slice, FieldSpan};
use super::line::{RequestLine, Target, Version};
use crate::error::{Kind, WireError};
use crate::fields::host::parse_authority;
use crate::fields::list::members;
use crate::fields::token::is_token;
use crate::limits::CONTENT_LENGTH_DIGITS;

/// How the body of a message is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// `content-length`.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// By the stream that carries it (RFC 9113 §8.1), with the length that was announced.
    Stream(Option<u64>),
}

/// The `host` field (RFC 9110 §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// There is none; an error for HTTP/1.1.
    Missing,
    /// One, with the span of its value in the field block; grammar checked.
    One(u32, u32),
}

/// What the fields alone say, before method and version are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldFacts {
    /// How the body is delimited.
    pub framing: Framing,
    /// `connection` names `close`.
    pub connection_close: bool,
    /// `connection` names `keep-alive`.
    pub connection_keep_alive: bool,
    /// `expect` names `100-continue`.
    pub expect_continue: bool,
    /// `expect` names anything else, or nothing.
    pub expect_other: bool,
    /// `connection` names `upgrade` and `upgrade` names `websocket`.
    pub upgrade_websocket: bool,
    /// The `host` field.
    pub host: Host,
}

/// What a request means for the connection, all rules applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// How the body is delimited.
    pub body: Framing,
    /// Whether the client wants the connection to stay open (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 (Continue)` before it sends the body; never for HTTP/1.0 and never without
    /// a body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Whether this is a request to switch to WebSocket: GET, HTTP/1.1, no body (RFC 6455 §4.1). Anything less is
    /// an ordinary request, as RFC 9110 §7.8 allows.
    pub websocket: bool,
}

/// Fields seen so far that only mean something together.
#[derive(Default)]
struct Seen {
    content_length: Option<u64>,
    transfer_encoding: bool,
    connection_upgrade: bool,
    websocket: bool,
}

/// Reads the facts out of the fields.
#[inline]
pub(crate) fn collect(block: &[u8], spans: &[FieldSpan]) -> Result<FieldFacts, WireError> {
    let mut facts = FieldFacts {
        framing: Framing::None,
        connection_close: false,
        connection_keep_alive: false,
        expect_continue: false,
        expect_other: false,
        upgrade_websocket: false,
        host: Host::Missing,
    };
    let mut seen = Seen::default();
    for span in spans {
        // The length alone rules out nearly every other field.
        match span.name.1 - span.name.0 {
            4 | 6 | 7 | 10 | 14 | 17 => read_field(block, span, &mut facts, &mut seen)?,
            _ => {}
        }
    }
    facts.upgrade_websocket = seen.connection_upgrade && seen.websocket;
    facts.framing = match (seen.content_length, seen.transfer_encoding) {
        (None, false) => Framing::None,
        (Some(length), false) => Framing::Length(length),
        (None, true) => Framing::Chunked,
        (Some(_), true) => return Err(Kind::LengthAndCoding.into()),
    };
    Ok(facts)
}

#[inline]
fn read_field(block: &[u8], span: &FieldSpan, facts: &mut FieldFacts, seen: &mut Seen) -> Result<(), WireError> {
    let (name, value) = (slice(block, span.name), slice(block, span.value));
    if name.eq_ignore_ascii_case(b"host") {
        if facts.host != Host::Missing {
            return Err(Kind::HostTwice.into());
        }
        if parse_authority(value).is_none() {
            return Err(Kind::HostBad.into());
        }
        facts.host = Host::One(span.value.0, span.value.1);
    } else if name.eq_ignore_ascii_case(b"connection") {
        for option in members(value) {
            facts.connection_close |= option.eq_ignore_ascii_case(b"close");
            facts.connection_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            seen.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    } else if name.eq_ignore_ascii_case(b"content-length") {
        if seen.content_length.is_some() {
            return Err(Kind::ContentLengthTwice.into());
        }
        seen.content_length = Some(parse_content_length(value)?);
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if seen.transfer_encoding {
            return Err(Kind::TransferEncodingTwice.into());
        }
        check_transfer_encoding(value)?;
        seen.transfer_encoding = true;
    } else if name.eq_ignore_ascii_case(b"expect") {
        for expectation in members(value) {
            let known = expectation.eq_ignore_ascii_case(b"100-continue");
            facts.expect_continue |= known;
            facts.expect_other |= !known;
        }
    } else if name.eq_ignore_ascii_case(b"upgrade") {
        seen.websocket |= members(value).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
    }
    Ok(())
}

/// RFC 9110 §8.6: digits and nothing else; no sign, no list, no whitespace inside.
#[inline]
fn parse_content_length(value: &[u8]) -> Result<u64, WireError> {
    if value.is_empty() || value.len() > CONTENT_LENGTH_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return Err(Kind::ContentLengthBad.into());
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// RFC 9112 §6.1, §6.3: `chunked`, once, and nothing else. A well-formed list of other codings that does end in
/// `chunked` is something that could be implemented; everything else leaves the end of the message unknown.
#[inline]
fn check_transfer_encoding(value: &[u8]) -> Result<(), WireError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let last = members(value).last().unwrap_or_default();
    let before = members(value).count() - 1;
    let sound = members(value).take(before).all(|coding| is_token(coding) && !coding.eq_ignore_ascii_case(b"chunked"));
    Err(if sound && last.eq_ignore_ascii_case(b"chunked") {
        Kind::TransferEncodingUnknown.into()
    } else {
        Kind::TransferEncodingBad.into()
    })
}

/// Applies the rules that need method, target and version. `block` is the field block that the facts were read from.
#[inline]
pub fn judge(line: &RequestLine<'_>, facts: &FieldFacts, block: &[u8]) -> Result<Request, WireError> {
    let http11 = line.version == Version::Http11;
    if facts.framing == Framing::Chunked && !http11 {
        return Err(Kind::TransferEncodingOn10.into());
    }
    if facts.host == Host::Missing && http11 {
        return Err(Kind::HostMissing.into());
    }
    match line.target {
        Target::Origin { .. } => {}
        Target::Absolute { authority, .. } => check_host_matches(authority, facts.host, block)?,
        Target::Asterisk if line.method == b"OPTIONS" => {}
        Target::Asterisk => return Err(Kind::AsteriskMethod.into()),
        Target::Authority(_) => return Err(Kind::ConnectRefused.into()),
    }
    if facts.expect_other {
        return Err(Kind::ExpectationUnknown.into());
    }
    let has_body = !matches!(facts.framing, Framing::None | Framing::Length(0));
    Ok(Request {
        body: facts.framing,
        keep_alive: !facts.connection_close && (http11 || facts.connection_keep_alive),
        expect_continue: facts.expect_continue && http11 && has_body,
        websocket: facts.upgrade_websocket && http11 && !has_body && line.method == b"GET",
    })
}

/// RFC 9112 §3.2.2: a client sends the authority of an absolute target as its host field, so a difference is either an
/// attack on whoever looks at the other one, or a broken client.
#[cold]
fn check_host_matches(authority: &[u8], host: Host, block: &[u8]) -> Result<(), WireError> {
    match host {
        Host::One(start, end) if !slice(block, (start, end)).eq_ignore_ascii_case(authority) => {
            Err(Kind::HostMismatch.into())
        }
        _ => Ok(()),
    }
}
