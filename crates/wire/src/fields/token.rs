//! Character classes of fields as tables: RFC 9110 §5.1 (names), §5.5 (values), §5.6.2 (tokens).
//!
//! Deliberately unknown here: what any field means. Called by the head, chunk and target parsers, and by the sending
//! side to check what an application wants to send.

/// One flag for each of the 256 byte values.
pub(crate) type ByteTable = [bool; 256];

/// Builds a [`ByteTable`] out of alphanumerics (when wanted) and a list of further bytes.
pub(crate) const fn table(alphanumeric: bool, others: &[u8]) -> ByteTable {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = alphanumeric && (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
}

static TCHAR: ByteTable = table(true, b"!#$%&'*+-.^_`|~");

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
#[inline]
#[must_use]
pub fn is_tchar(byte: u8) -> bool {
    TCHAR[byte as usize]
}

/// Whether the bytes are a token: methods, field names, connection options (RFC 9110 §5.6.2).
#[inline]
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| TCHAR[byte as usize])
}

/// Whether the bytes are a field name (RFC 9110 §5.1).
#[inline]
#[must_use]
pub fn is_field_name(bytes: &[u8]) -> bool {
    is_token(bytes)
}

/// Whether a byte may stand in a field value: everything but the control characters, HTAB allowed (RFC 9110 §5.5).
#[inline]
#[must_use]
pub fn is_value_byte(byte: u8) -> bool {
    (byte >= 0x20 && byte != 0x7f) || byte == b'\t'
}

/// Whether the bytes may be a field value: no CR, LF, NUL or other control character but HTAB (RFC 9110 §5.5).
///
/// Leading and trailing whitespace is not part of a value but does no harm inside of one; it is not looked for.
#[inline]
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    // No early exit inside a block: the compiler turns each into vector comparisons.
    bytes.chunks(64).all(|block| block.iter().fold(true, |good, &byte| good & is_value_byte(byte)))
}

/// The bytes without leading and trailing optional whitespace, SP and HTAB (RFC 9110 §5.6.3).
#[inline]
#[must_use]
pub fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_5_6_2_token_characters() {
        let tchars: Vec<u8> = (0..=255).filter(|&byte| is_tchar(byte)).collect();
        assert_eq!(tchars.len(), 26 + 26 + 10 + 15);
        for delimiter in b"\"(),/:;<=>?@[\\]{} \t\r\n\0\x7f\x80\xff" {
            assert!(!is_tchar(*delimiter), "{delimiter:#x}");
        }
        assert!(!is_token(b""));
    }

    #[test]
    fn rfc9110_5_5_field_values() {
        for byte in 0..=255_u8 {
            let expected = byte == b'\t' || !(byte < 0x20 || byte == 0x7f);
            assert_eq!(is_field_value(&[b'a', byte, b'b']), expected, "{byte:#x}");
        }
        let mut long = vec![b'x'; 200];
        assert!(is_field_value(&long));
        long[150] = b'\n';
        assert!(!is_field_value(&long));
        assert!(is_field_value(b""));
    }

    #[test]
    fn rfc9110_5_6_3_optional_whitespace() {
        assert_eq!(trim_ows(b" \t a b\t "), b"a b");
        assert_eq!(trim_ows(b" \t "), b"");
        assert_eq!(trim_ows(b"\x0ba\x0c"), b"\x0ba\x0c");
    }
}
