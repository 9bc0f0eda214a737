//! The grammar of `Host` and of an authority without userinfo: RFC 9110 §7.2, RFC 3986 §3.2.
//!
//! Narrower than the RFC on purpose: the host must not be empty (RFC 9110 §4.2.1), commas are refused because they
//! are what two merged `Host` lines look like, and IPvFuture literals are refused because none exist. Deliberately
//! unknown here: names that resolve, default ports, which hosts are served. Called by `h1::line`, `h1::facts` and
//! `fields::forwarded`.

use std::net::Ipv6Addr;

use super::percent::hex_digit;
use super::token::{table, ByteTable};

/// `unreserved` and `sub-delims` without the comma; percent-encoded bytes are checked apart.
static REG_NAME: ByteTable = table(true, b"-._~!$&'()*+;=");

/// A host and, when one was given, its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'b> {
    /// The host as written; an IPv6 literal keeps its brackets.
    pub host: &'b [u8],
    /// The port; `None` when absent or empty (`example.com:`).
    pub port: Option<u16>,
}

/// Splits `host[:port]`; `None` when the bytes are not of that form.
#[inline]
#[must_use]
pub fn parse_authority(bytes: &[u8]) -> Option<Authority<'_>> {
    let host_len = match bytes.first()? {
        b'[' => ip_literal_len(bytes)?,
        _ => reg_name_len(bytes)?,
    };
    let (host, rest) = bytes.split_at(host_len);
    let port = match rest {
        [] => None,
        [b':', digits @ ..] => parse_port(digits)?,
        _ => return None,
    };
    Some(Authority { host, port })
}

/// The length of the registered name or IPv4 address at the start, up to a colon or the end; never zero.
#[inline]
fn reg_name_len(bytes: &[u8]) -> Option<usize> {
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        if REG_NAME[byte as usize] {
            index += 1;
        } else if byte == b'%' {
            hex_digit(*bytes.get(index + 1)?)?;
            hex_digit(*bytes.get(index + 2)?)?;
            index += 3;
        } else {
            break;
        }
    }
    (index > 0).then_some(index)
}

/// The length of a bracketed IPv6 address at the start, brackets included (RFC 3986 §3.2.2; no zone identifiers).
fn ip_literal_len(bytes: &[u8]) -> Option<usize> {
    // 45 characters are the longest textual IPv6 address.
    let close = bytes.iter().take(47).position(|&byte| byte == b']')?;
    let inside = std::str::from_utf8(&bytes[1..close]).ok()?;
    inside.parse::<Ipv6Addr>().ok()?;
    Some(close + 1)
}

/// The port behind a colon. The outer `None` is an error; an empty port is allowed and means none.
fn parse_port(digits: &[u8]) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    if digits.len() > 5 {
        return None;
    }
    let mut port: u32 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    u16::try_from(port).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<(&str, Option<u16>)> {
        parse_authority(text.as_bytes()).map(|a| (std::str::from_utf8(a.host).unwrap(), a.port))
    }

    #[test]
    fn rfc9110_7_2_hosts_with_and_without_port() {
        assert_eq!(split("example.com"), Some(("example.com", None)));
        assert_eq!(split("example.com:8080"), Some(("example.com", Some(8080))));
        assert_eq!(split("example.com:"), Some(("example.com", None)));
        assert_eq!(split("127.0.0.1:65535"), Some(("127.0.0.1", Some(65535))));
        assert_eq!(split("my_service.internal"), Some(("my_service.internal", None)));
        assert_eq!(split("a%41"), Some(("a%41", None)));
    }

    #[test]
    fn rfc3986_3_2_2_ip_literals() {
        assert_eq!(split("[::1]"), Some(("[::1]", None)));
        assert_eq!(split("[2001:db8::1]:443"), Some(("[2001:db8::1]", Some(443))));
        for bad in ["[::1", "[]", "[::g]", "[::1]x", "[fe80::1%25eth0]", "[v1.x]", "::1", "[127.0.0.1]"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn attack_12_host_that_is_not_a_host() {
        for bad in [
            "",
            ":80",
            "user@example.com",
            "example.com/path",
            "a,b",
            "a b",
            "a?b",
            "a#b",
            "a\\b",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:000080",
            "a%",
            "a%4",
            "a%zz",
            "http://a",
            "a\u{e9}",
            "a\t",
            "a\"",
            "<a>",
        ] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
