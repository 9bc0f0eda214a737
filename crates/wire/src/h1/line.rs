//! The request line: method, target in one of its four forms, version. RFC 9112 §3, RFC 9112 §2.3.
//!
//! Strict where parsers disagree (one SP, nothing but visible ASCII in the target, no fragment), lenient where every
//! browser is: `| " < > [ ] { } ^ \` and the backtick stay in the target as they came. Deliberately unknown here:
//! fields, decoding of the path, which methods exist. Called by `h1::head`, by `h1::scan`, and by the engine when the
//! fields behind the line repeat those of the previous request.

use memchr::memchr;

use crate::error::{Kind, WireError};
use crate::fields::host::parse_authority;
use crate::fields::token::{is_tchar, table, ByteTable};

/// The protocol versions that are spoken (RFC 9112 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    Http11,
    /// HTTP/2, whose requests are read by `h2::request`; no HTTP/1 request line has it.
    Http2,
}

/// The request target in one of its four forms (RFC 9112 §3.2). Queries come without the question mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'b> {
    /// `/path?query`, the common form (RFC 9112 §3.2.1).
    Origin {
        /// The path as sent, starting with a slash.
        path: &'b [u8],
        /// The query as sent; empty when there is none.
        query: &'b [u8],
    },
    /// `http://authority/path?query` (RFC 9112 §3.2.2).
    Absolute {
        /// `http` or `https`, in the case in which it was sent.
        scheme: &'b [u8],
        /// `host[:port]`, grammar checked.
        authority: &'b [u8],
        /// The path as sent, `/` when it was empty.
        path: &'b [u8],
        /// The query as sent; empty when there is none.
        query: &'b [u8],
    },
    /// `host:port`, only with CONNECT (RFC 9112 §3.2.3).
    Authority(&'b [u8]),
    /// `*`, meant for OPTIONS (RFC 9112 §3.2.4).
    Asterisk,
}

/// A request line taken apart; all parts borrow from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLine<'b> {
    /// The method, a token; case matters (RFC 9110 §9.1).
    pub method: &'b [u8],
    /// What is asked for.
    pub target: Target<'b>,
    /// The version of the message.
    pub version: Version,
}

/// Visible ASCII without the number sign: a fragment is never sent (RFC 9112 §3.2, RFC 3986 §3.5).
static TARGET: ByteTable = table(true, b"!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~");

/// Length of ` HTTP/1.1`.
const VERSION_TAIL: usize = 9;

/// Takes a request line apart; `line` comes without its line end.
#[inline]
pub fn parse_request_line(line: &[u8]) -> Result<RequestLine<'_>, WireError> {
    // The common line ends in one of two known tails, so its target needs one pass and the version a comparison.
    let Some(split) = line.len().checked_sub(VERSION_TAIL) else {
        return Err(refuse(line));
    };
    let (start, tail) = line.split_at(split);
    let version = match tail {
        b" HTTP/1.1" => Version::Http11,
        b" HTTP/1.0" => Version::Http10,
        _ => return Err(refuse(line)),
    };
    let Some(space) = start.iter().position(|&byte| !is_tchar(byte)) else {
        return Err(refuse(line));
    };
    let (method, target) = (&start[..space], &start[space + 1..]);
    if space == 0 || start[space] != b' ' || target.is_empty() || !is_target(target) {
        return Err(refuse(line));
    }
    Ok(RequestLine { method, target: parse_target(method, target)?, version })
}

#[inline]
fn is_target(target: &[u8]) -> bool {
    target.chunks(32).all(|block| block.iter().fold(true, |good, &byte| good & TARGET[byte as usize]))
}

#[inline]
pub(crate) fn parse_target<'b>(method: &[u8], target: &'b [u8]) -> Result<Target<'b>, WireError> {
    if target[0] == b'/' && method != b"CONNECT" {
        let (path, query) = split_query(target);
        return Ok(Target::Origin { path, query });
    }
    parse_rare_target(method, target)
}

#[cold]
fn parse_rare_target<'b>(method: &[u8], target: &'b [u8]) -> Result<Target<'b>, WireError> {
    if method == b"CONNECT" {
        // RFC 9112 §3.2.3: host and port, both.
        return match parse_authority(target) {
            Some(authority) if authority.port.is_some() => Ok(Target::Authority(target)),
            _ => Err(Kind::BadTargetAuthority.into()),
        };
    }
    if target == b"*" {
        return Ok(Target::Asterisk);
    }
    let Some(colon) = memchr(b':', target) else {
        return Err(Kind::BadTarget.into());
    };
    let (scheme, rest) = (&target[..colon], &target[colon + 1..]);
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let Some(hierarchy) = rest.strip_prefix(b"//").filter(|_| known) else {
        return Err(Kind::BadTarget.into());
    };
    let end = hierarchy.iter().position(|&byte| byte == b'/' || byte == b'?').unwrap_or(hierarchy.len());
    let (authority, rest) = hierarchy.split_at(end);
    if parse_authority(authority).is_none() {
        return Err(Kind::BadTargetAuthority.into());
    }
    let (path, query) = split_query(rest);
    Ok(Target::Absolute { scheme, authority, path: if path.is_empty() { b"/" } else { path }, query })
}

#[inline]
fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'?', target) {
        Some(mark) => (&target[..mark], &target[mark + 1..]),
        None => (target, b""),
    }
}

/// The reason why a complete line is not a request line: the leftmost fault.
#[cold]
fn refuse(line: &[u8]) -> WireError {
    if let Err(error) = check_prefix(line) {
        return error;
    }
    let mut parts = line.split(|&byte| byte == b' ');
    let (_method, target, version) = (parts.next(), parts.next(), parts.next());
    let (Some(target), Some(version), None) = (target, version, parts.next()) else {
        return Kind::BadRequestLine.into();
    };
    if target.is_empty() || version.is_empty() {
        return Kind::BadRequestLine.into();
    }
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Kind::UnsupportedVersion.into()
        }
        _ => Kind::BadVersion.into(),
    }
}

/// Refuses the start of a request line that no continuation can mend. `line` may end anywhere before its CR.
///
/// Only method and target are looked at: a wrong version is found when the line is complete.
#[cold]
pub(crate) fn check_prefix(line: &[u8]) -> Result<(), WireError> {
    let method_len = line.iter().position(|&byte| !is_tchar(byte)).unwrap_or(line.len());
    let rest = match line.get(method_len) {
        None => return Ok(()),
        Some(b' ') if method_len > 0 => &line[method_len + 1..],
        Some(_) => return Err(Kind::BadMethod.into()),
    };
    match rest.iter().find(|&&byte| !TARGET[byte as usize]) {
        None | Some(b' ') => Ok(()),
        Some(_) => Err(Kind::BadTargetByte.into()),
    }
}
