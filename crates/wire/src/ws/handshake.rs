//! The opening handshake as the server reads it: version, key, subprotocols, extensions, and the accept key. RFC 6455 §4.2.
//!
//! Deliberately unknown here: the request line, `Host`, `Connection` and `Upgrade` (`h1::facts` has judged them),
//! `Origin` (the application's decision) and the response, which the engine writes. Called by the engine for a request
//! that asks for an upgrade to `websocket`.

use crate::error::{Kind, WireError};
use crate::fields::list::members;
use crate::fields::token::{is_token, trim_ows};

use super::extension;
pub use super::extension::{DeflateOptions, DeflateParams};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'b> {
    /// `Sec-WebSocket-Key`, for [`accept_key`]; empty over HTTP/2.
    pub key: &'b [u8],
    /// The subprotocols in the client's order of preference.
    pub subprotocols: Vec<&'b str>,
    /// What to use for compression; `None` when the client did not offer it in a form that can be met, or when it is
    /// switched off.
    pub deflate: Option<DeflateParams>,
}

/// Reads the WebSocket fields of a request; names may come in any case (RFC 6455 §4.2.1).
///
/// # Errors
///
/// 426 when the version is not 13: the answer must carry `Sec-WebSocket-Version: 13` (RFC 6455 §4.4). 400 for a
/// missing, repeated or malformed key, for subprotocols that are not distinct tokens, and for extensions that break
/// the grammar.
pub fn read_offer<'b>(
    fields: impl Iterator<Item = (&'b [u8], &'b [u8])>,
    options: &DeflateOptions,
) -> Result<Offer<'b>, WireError> {
    let (key, offer) = read(fields, options)?;
    match key {
        Some(key) if is_key(key) => Ok(Offer { key, ..offer }),
        _ => Err(Kind::WebSocketKey.into()),
    }
}

/// The same over HTTP/2, where there is no key: the stream is proof enough that both speak of the same thing
/// (RFC 8441 §5).
///
/// # Errors
///
/// Those of [`read_offer`], but for the key's.
pub fn read_offer_of_stream<'b>(
    fields: impl Iterator<Item = (&'b [u8], &'b [u8])>,
    options: &DeflateOptions,
) -> Result<Offer<'b>, WireError> {
    read(fields, options).map(|(_, offer)| offer)
}

/// The key, and the offer without it.
fn read<'b>(
    fields: impl Iterator<Item = (&'b [u8], &'b [u8])>,
    options: &DeflateOptions,
) -> Result<(Option<&'b [u8]>, Offer<'b>), WireError> {
    let mut version = None;
    let mut key = None;
    let mut subprotocols: Vec<&'b str> = Vec::new();
    let mut deflate = None;
    for (name, value) in fields {
        let Some((prefix, rest)) = name.split_at_checked(PREFIX.len()) else {
            continue;
        };
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            continue;
        }
        let value = trim_ows(value);
        if rest.eq_ignore_ascii_case(b"version") {
            if version.replace(value).is_some() {
                return Err(Kind::WebSocketVersion.into());
            }
        } else if rest.eq_ignore_ascii_case(b"key") {
            if key.replace(value).is_some() {
                return Err(Kind::WebSocketKey.into());
            }
        } else if rest.eq_ignore_ascii_case(b"protocol") {
            read_subprotocols(value, &mut subprotocols)?;
        } else if rest.eq_ignore_ascii_case(b"extensions") {
            extension::negotiate(value, options, &mut deflate)?;
        }
    }
    if version != Some(b"13") {
        return Err(Kind::WebSocketVersion.into());
    }
    Ok((key, Offer { key: b"", subprotocols, deflate }))
}

const PREFIX: &[u8] = b"sec-websocket-";

/// Adds the members of one field; the field may be repeated (RFC 6455 §11.3.4).
fn read_subprotocols<'b>(value: &'b [u8], into: &mut Vec<&'b str>) -> Result<(), WireError> {
    for member in members(value).filter(|member| !member.is_empty()) {
        let token = match std::str::from_utf8(member) {
            Ok(token) if is_token(member) && !into.contains(&token) => token,
            _ => return Err(Kind::WebSocketProtocol.into()),
        };
        into.push(token);
    }
    Ok(())
}

/// Whether the value is the base64 of 16 bytes: 22 digits and two signs of padding.
fn is_key(value: &[u8]) -> bool {
    match value.strip_suffix(b"==") {
        Some(digits) => {
            digits.len() == 22 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        }
        None => false,
    }
}

/// The value of `Sec-WebSocket-Accept`: base64 of the SHA-1 of the key and a fixed text (RFC 6455 §4.2.2).
#[must_use]
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(hash.digest().bytes())
}

/// Base64 of 20 bytes (RFC 4648 §4): six full groups of three bytes and one of two.
fn base64(bytes: [u8; 20]) -> [u8; 28] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [b'='; 28];
    for (group, digits) in bytes.chunks(3).zip(text.chunks_exact_mut(4)) {
        let word = group.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for (index, digit) in digits.iter_mut().enumerate().take(group.len() + 1) {
            *digit = DIGITS[(word >> (18 - 6 * index) & 63) as usize];
        }
    }
    text
}
