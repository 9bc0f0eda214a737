//! Percent-decoding of paths, RFC 3986 §2.1.
//!
//! Deliberately unknown here: UTF-8 (the engine decides what becomes of other bytes), `+` (a matter of forms), dot
//! segments and double slashes (the application sees the path that was asked for). Called by the engine for
//! `scope["path"]` when a path contains a percent sign.

use memchr::memchr;

/// Appends the decoded path to `out`.
///
/// A percent sign that is not followed by two hexadecimal digits stays as it is, as in Python's
/// `urllib.parse.unquote`; decoding is done once, so `%2541` becomes `%41`.
pub fn decode_path(path: &[u8], out: &mut Vec<u8>) {
    let mut rest = path;
    while let Some(percent) = memchr(b'%', rest) {
        out.extend_from_slice(&rest[..percent]);
        let decoded = match rest[percent..] {
            [_, high, low, ..] => hex_digit(high).zip(hex_digit(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match decoded {
            Some(byte) => {
                out.push(byte);
                rest = &rest[percent + 3..];
            }
            None => {
                out.push(b'%');
                rest = &rest[percent + 1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

/// The value of a hexadecimal digit of either case.
#[inline]
#[must_use]
pub fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decode_path(path, &mut out);
        out
    }

    #[test]
    fn rfc3986_2_1_decodes_once() {
        assert_eq!(decoded(b"/a%20b%2Fc%2fd"), b"/a b/c/d");
        assert_eq!(decoded(b"/%2541"), b"/%41");
        assert_eq!(decoded(b"/%00%ff"), b"/\0\xff");
        assert_eq!(decoded(b"/plain+plus"), b"/plain+plus");
    }

    #[test]
    fn rfc3986_2_1_malformed_triplets_stay() {
        for path in [&b"/%"[..], b"/%4", b"/%zz", b"/%4g/x", b"%%%"] {
            assert_eq!(decoded(path), path);
        }
        assert_eq!(decoded(b"/%%41"), b"/%A");
    }

    #[test]
    fn appends_to_what_is_there() {
        let mut out = b"x".to_vec();
        decode_path(b"%41", &mut out);
        assert_eq!(out, b"xA");
    }
}
