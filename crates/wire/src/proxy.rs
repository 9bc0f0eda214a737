//! The PROXY protocol, versions 1 and 2: the preface by which a load balancer says whose connection it passes on.
//!
//! Read once, before the first byte of HTTP, and only from peers that are configured to send it; then it is required,
//! because an optional preface could be forged by every client (PROXY protocol §2). Addresses of other families than
//! IPv4 and IPv6 over a stream are read over. Deliberately unknown here: who may send a preface, and the meaning of
//! TLVs; their lengths are checked, a checksum TLV is not verified. Called by the engine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memchr;

use crate::error::{Kind, WireError};
use crate::limits::{PROXY_V1, PROXY_V2};

/// What a preface says. Both are `None` when it describes no client: health checks of the load balancer itself,
/// unknown transports, Unix sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preface {
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// The address that the client connected to.
    pub destination: Option<SocketAddr>,
}

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEADER: usize = 16;

/// Reads a preface of either version at the start of `buf` and returns it with its length; `None` means that more bytes
/// are needed. Bytes that cannot become a preface are refused at once.
pub fn parse(buf: &[u8]) -> Result<Option<(Preface, usize)>, WireError> {
    if starts_alike(buf, V1_START) {
        return if buf.len() < V1_START.len() { Ok(None) } else { parse_v1(buf) };
    }
    if starts_alike(buf, V2_START) {
        return if buf.len() < V2_START.len() { Ok(None) } else { parse_v2(buf) };
    }
    Err(Kind::ProxyPreface.into())
}

/// Whether `buf` starts with `start`, as far as it goes.
fn starts_alike(buf: &[u8], start: &[u8]) -> bool {
    buf.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

/// PROXY protocol §2.1: `PROXY TCP4 source destination source-port destination-port CRLF`.
fn parse_v1(buf: &[u8]) -> Result<Option<(Preface, usize)>, WireError> {
    let window = &buf[..buf.len().min(PROXY_V1)];
    let Some(lf) = memchr(b'\n', window) else {
        return if buf.len() >= PROXY_V1 { Err(Kind::ProxyTooLong.into()) } else { Ok(None) };
    };
    let line = window[..lf].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let preface = line.and_then(parse_v1_line).ok_or(Kind::ProxyAddress)?;
    Ok(Some((preface, lf + 1)))
}

fn parse_v1_line(line: &str) -> Option<Preface> {
    let mut parts = line.split(' ').skip(1);
    let family = parts.next()?;
    if family == "UNKNOWN" {
        // Whatever follows on the line is to be ignored.
        return Some(Preface::default());
    }
    let mut address = || -> Option<IpAddr> {
        let text = parts.next()?;
        match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let (source_port, destination_port) = (parse_v1_port(parts.next()?)?, parse_v1_port(parts.next()?)?);
    if parts.next().is_some() {
        return None;
    }
    Some(Preface {
        source: Some(SocketAddr::new(source, source_port)),
        destination: Some(SocketAddr::new(destination, destination_port)),
    })
}

/// Decimal digits without sign or leading zero.
fn parse_v1_port(text: &str) -> Option<u16> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    if plain {
        text.parse().ok()
    } else {
        None
    }
}

/// PROXY protocol §2.2: signature, version and command, family and transport, length, addresses, TLVs.
fn parse_v2(buf: &[u8]) -> Result<Option<(Preface, usize)>, WireError> {
    // Each byte of the header is judged when it is there, so that nonsense does not wait for the rest.
    let local = match buf.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Kind::ProxyPreface.into()),
    };
    let Some(&family) = buf.get(13) else {
        return Ok(None);
    };
    let addresses = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Kind::ProxyAddress.into()),
    };
    let Some(length) = buf.get(14..V2_HEADER) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length > PROXY_V2 {
        return Err(Kind::ProxyTooLong.into());
    }
    if !local && length < addresses {
        return Err(Kind::ProxyAddress.into());
    }
    let Some(payload) = buf.get(V2_HEADER..V2_HEADER + length) else {
        return Ok(None);
    };
    let total = V2_HEADER + length;
    if local {
        // The connection is the sender's own: addresses are to be ignored.
        return Ok(Some((Preface::default(), total)));
    }
    let (addresses, tlvs) = payload.split_at(addresses);
    if family != 0x00 {
        check_tlvs(tlvs)?;
    }
    let preface = match family {
        0x11 => v2_pair(addresses, |bytes: [u8; 4]| Ipv4Addr::from(bytes).into()),
        0x21 => v2_pair(addresses, |bytes: [u8; 16]| Ipv6Addr::from(bytes).into()),
        _ => Some(Preface::default()),
    };
    Ok(Some((preface.ok_or(Kind::ProxyAddress)?, total)))
}

/// Two addresses of `N` bytes each, then two ports.
fn v2_pair<const N: usize>(bytes: &[u8], address: impl Fn([u8; N]) -> IpAddr) -> Option<Preface> {
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let socket = |bytes: &[u8; N], port: &[u8; 2]| SocketAddr::new(address(*bytes), u16::from_be_bytes(*port));
    Some(Preface {
        source: Some(socket(source, source_port)),
        destination: Some(socket(destination, destination_port)),
    })
}

/// Type, length, value; the lengths must add up to what the header announced (PROXY protocol §2.2).
fn check_tlvs(mut tlvs: &[u8]) -> Result<(), WireError> {
    while let [_kind, high, low, rest @ ..] = tlvs {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        tlvs = rest.get(length..).ok_or(Kind::ProxyAddress)?;
    }
    if tlvs.is_empty() {
        Ok(())
    } else {
        Err(Kind::ProxyAddress.into())
    }
}
