//! The subject of a certificate as text: RFC 4514, as the ASGI TLS extension wants `client_cert_name`.

use super::der::{dotted, Reader, OBJECT, SEQUENCE, SET};

/// The attribute types that RFC 4514 §3 names, and the usual one for mail addresses by its number alone.
const SHORT: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
];
/// String types whose bytes are (a subset of) UTF-8, and those of two bytes per character.
const UTF8: [u8; 4] = [0x0c, 0x13, 0x16, 0x12];
const LATIN1: u8 = 0x14;
const UTF16: u8 = 0x1e;
/// The tag of an explicit version number.
const VERSION: u8 = 0xa0;

/// None for what is no certificate.
pub(super) fn subject(certificate: &[u8]) -> Option<String> {
    let mut body = Reader(certificate).enter(SEQUENCE)?.enter(SEQUENCE)?;
    let _ = body.expect(VERSION);
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        body.next()?;
    }
    let mut sets = body.enter(SEQUENCE)?;
    let mut parts = Vec::new();
    while !sets.is_empty() {
        let mut set = sets.enter(SET)?;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let mut attribute = set.enter(SEQUENCE)?;
            let object = attribute.expect(OBJECT)?;
            let whole = attribute.0;
            let (tag, value) = attribute.next()?;
            attributes.push(text(object, tag, value, whole));
        }
        parts.push(attributes.join("+"));
    }
    // RFC 4514 §2.1: the last one first.
    parts.reverse();
    Some(parts.join(","))
}

fn text(object: &[u8], tag: u8, value: &[u8], whole: &[u8]) -> String {
    let readable = match tag {
        _ if UTF8.contains(&tag) => std::str::from_utf8(value).ok().map(str::to_owned),
        LATIN1 => Some(value.iter().copied().map(char::from).collect()),
        UTF16 if value.len() % 2 == 0 => {
            let units: Vec<u16> = value.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    };
    match (SHORT.iter().find(|(known, _)| *known == object), readable) {
        (Some((_, short)), Some(readable)) => format!("{short}={}", escaped(&readable)),
        // RFC 4514 §2.4: a type without a name of its own has its value's encoding in hexadecimal.
        (short, _) => {
            let hex: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}=#{hex}", short.map_or_else(|| dotted(object), |(_, short)| (*short).to_owned()))
        }
    }
}

/// RFC 4514 §2.4.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        match char {
            '\0' => out.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', char]),
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            _ => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escaped("# a,b+c\\ "), "\\# a\\,b\\+c\\\\\\ ");
        assert_eq!(escaped(" x"), "\\ x");
        assert_eq!(escaped("a # b"), "a # b");
    }

    #[test]
    fn values_of_unknown_types_are_hexadecimal() {
        let object = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
        assert_eq!(text(&object, 0x16, b"a@b", &[0x16, 3, 0x61, 0x40, 0x62]), "1.2.840.113549.1.9.1=#1603614062");
        assert_eq!(text(&[0x55, 4, 3], 0x1e, &[0, 0x41, 0, 0x42], &[]), "CN=AB");
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        assert_eq!(subject(b""), None);
        assert_eq!(subject(&[SEQUENCE, 2, SEQUENCE, 0]), None);
    }
}
