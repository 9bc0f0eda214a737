//! Who the client was, according to trusted proxies: `Forwarded` (RFC 7239) or the `X-Forwarded-*` fields.
//!
//! The walk goes from right to left: the last entry was added by the peer; as long as an entry names an address that
//! is itself trusted, the entry to its left was added by that one. The first address that is not trusted is the client,
//! and everything further left is hearsay. Only one of the two conventions is read, the one that the proxies are
//! known to set: reading both would let a client choose the one that its proxy passes through unchanged.
//!
//! Deliberately unknown here: sockets and scopes. Called by the engine when proxy headers are switched on.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::host::parse_authority;
use super::networks::Networks;
use super::token::trim_ows;
use crate::h1::head::FieldSpan;

/// Which fields the trusted proxies set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Convention {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The scheme under which the client made its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, or `ws` for a WebSocket.
    Http,
    /// `https`, or `wss` for a WebSocket.
    Https,
}

/// What trusted proxies say about the client. `None` means that they say nothing usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forwarded<'b> {
    /// The client's address; port 0 when it was not given.
    pub client: Option<SocketAddr>,
    /// The scheme that the client used.
    pub scheme: Option<Scheme>,
    /// The host that the client asked for, grammar checked.
    pub host: Option<&'b [u8]>,
}

/// Reads the fields of a head. `peer` is the address of the other end of the connection, `None` for a Unix socket.
///
/// Nothing is believed when the peer is not trusted. A malformed entry ends the walk: what lies to its right stands.
#[must_use]
pub fn resolve<'b>(
    convention: Convention,
    peer: Option<IpAddr>,
    block: &'b [u8],
    spans: &[FieldSpan],
    trusted: &Networks,
) -> Forwarded<'b> {
    if !trusted.contains_peer(peer) {
        return Forwarded::default();
    }
    match convention {
        Convention::XForwarded => resolve_x_forwarded(block, spans, trusted),
        Convention::Forwarded => resolve_forwarded(block, spans, trusted),
    }
}

fn resolve_x_forwarded<'b>(block: &'b [u8], spans: &[FieldSpan], trusted: &Networks) -> Forwarded<'b> {
    let mut found = Forwarded::default();
    let mut hop = 0;
    for (index, entry) in from_right(block, spans, b"x-forwarded-for").enumerate() {
        let Some(client) = parse_node(entry) else {
            break;
        };
        found.client = Some(client);
        hop = index;
        if !trusted.contains(client.ip()) {
            break;
        }
    }
    let entries = from_right(block, spans, b"x-forwarded-for").count();
    let beside = |name: &[u8]| {
        // With one value per hop, the one of the proxy that saw the client counts; otherwise the nearest proxy's.
        let aligned = from_right(block, spans, name).count() == entries;
        from_right(block, spans, name).nth(if aligned { hop } else { 0 })
    };
    found.scheme = beside(b"x-forwarded-proto").and_then(parse_scheme);
    found.host = beside(b"x-forwarded-host").filter(|host| parse_authority(host).is_some());
    found
}

fn resolve_forwarded<'b>(block: &'b [u8], spans: &[FieldSpan], trusted: &Networks) -> Forwarded<'b> {
    let mut found = Forwarded::default();
    for entry in from_right(block, spans, b"forwarded") {
        let Some(element) = parse_element(entry) else {
            break;
        };
        found.scheme = element.proto.and_then(parse_scheme).or(found.scheme);
        found.host = element.host.filter(|host| parse_authority(host).is_some()).or(found.host);
        let Some(client) = element.node.and_then(parse_node) else {
            break;
        };
        found.client = Some(client);
        if !trusted.contains(client.ip()) {
            break;
        }
    }
    found
}

/// One element of a `Forwarded` field (RFC 7239 §4), quotes taken off.
#[derive(Default)]
struct Element<'b> {
    node: Option<&'b [u8]>,
    proto: Option<&'b [u8]>,
    host: Option<&'b [u8]>,
}

/// `None` when the element is malformed or names a parameter twice.
fn parse_element(entry: &[u8]) -> Option<Element<'_>> {
    let mut element = Element::default();
    let mut rest = entry;
    while !rest.is_empty() {
        let (pair, behind) = split_outside_quotes(rest, b';');
        rest = behind.unwrap_or_default();
        let pair = trim_ows(pair);
        if pair.is_empty() {
            continue;
        }
        let equals = memchr::memchr(b'=', pair)?;
        let (name, value) = (&pair[..equals], unquote(&pair[equals + 1..])?);
        let place = match name {
            name if name.eq_ignore_ascii_case(b"for") => &mut element.node,
            name if name.eq_ignore_ascii_case(b"proto") => &mut element.proto,
            name if name.eq_ignore_ascii_case(b"host") => &mut element.host,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return None;
        }
    }
    Some(element)
}

fn split_outside_quotes(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let mut quoted = false;
    for (index, &byte) in bytes.iter().enumerate() {
        quoted ^= byte == b'"';
        if byte == separator && !quoted {
            return (&bytes[..index], Some(&bytes[index + 1..]));
        }
    }
    (bytes, None)
}

/// Takes the quotes off. Escapes are refused: no address, scheme or host needs one.
fn unquote(value: &[u8]) -> Option<&[u8]> {
    let inner = match value {
        [b'"', inner @ .., b'"'] => inner,
        plain => plain,
    };
    (!inner.contains(&b'"') && !inner.contains(&b'\\')).then_some(inner)
}

/// The entries of all lines of a list field, the rightmost of the last line first.
fn from_right<'b, 's>(
    block: &'b [u8],
    spans: &'s [FieldSpan],
    name: &'s [u8],
) -> impl Iterator<Item = &'b [u8]> + use<'b, 's> {
    spans.iter().rev().filter(move |span| span.name(block).eq_ignore_ascii_case(name)).flat_map(|span| {
        let mut rest = Some(span.value(block));
        std::iter::from_fn(move || {
            let (before, entry) = rsplit_outside_quotes(rest?);
            rest = before;
            Some(trim_ows(entry))
        })
    })
}

/// Splits at the last comma outside of quotes. An unbalanced quote makes one entry of the whole, which no reader
/// accepts.
fn rsplit_outside_quotes(bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut quoted = false;
    for (index, &byte) in bytes.iter().enumerate().rev() {
        quoted ^= byte == b'"';
        if byte == b',' && !quoted {
            return (Some(&bytes[..index]), &bytes[index + 1..]);
        }
    }
    (None, bytes)
}

fn parse_scheme(value: &[u8]) -> Option<Scheme> {
    let is = |name: &[u8]| value.eq_ignore_ascii_case(name);
    if is(b"http") || is(b"ws") {
        Some(Scheme::Http)
    } else if is(b"https") || is(b"wss") {
        Some(Scheme::Https)
    } else {
        None
    }
}

/// An address with or without port, IPv6 with or without brackets (RFC 7239 §6; bare IPv6 is common in
/// `X-Forwarded-For`). `None` for `unknown` and for obfuscated names.
fn parse_node(node: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(node).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, 0));
    }
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, behind) = rest.split_once(']')?;
            let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) };
            (IpAddr::V6(address.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let (address, port) = text.split_once(':')?;
            (address.parse().ok()?, Some(port))
        }
    };
    Some(SocketAddr::new(address, port.map_or(Some(0), parse_node_port)?))
}

/// A port number; an obfuscated port (`_x`) counts as not given (RFC 7239 §6.3).
fn parse_node_port(port: &str) -> Option<u16> {
    if port.starts_with('_') {
        return Some(0);
    }
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    port.parse().ok()
}
