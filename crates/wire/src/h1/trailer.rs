//! Which fields may not stand in a trailer section: RFC 9110 §6.5.1.
//!
//! Trailers are dropped, so a forbidden one could do no harm here; it is refused because whoever sends it wants another
//! recipient on the way to merge it into the head. Deliberately unknown here: field lines and their syntax. Called
//! by `h1::body`.

/// Room for the longest name in [`FORBIDDEN`].
const KEPT: usize = 20;

/// Framing, routing, request modifiers, authentication, content format and the fields of proxies, sorted.
const FORBIDDEN: &[&[u8]] = &[
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"keep-alive",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"range",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"www-authenticate",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
];

/// The first bytes of a field name that arrives in pieces, in lower case.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrailerName {
    bytes: [u8; KEPT],
    len: u8,
}

impl TrailerName {
    /// Adds the next bytes of the name; what does not fit cannot matter.
    pub(crate) fn extend(&mut self, part: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(usize::from(self.len)).zip(part) {
            *place = byte.to_ascii_lowercase();
            self.len += 1;
        }
    }

    /// Whether the name is one of those that may only stand in the head.
    pub(crate) fn is_forbidden(&self) -> bool {
        let name = &self.bytes[..usize::from(self.len)];
        FORBIDDEN.binary_search(&name).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_6_5_1_forbidden_names() {
        assert!(FORBIDDEN.windows(2).all(|pair| pair[0] < pair[1]), "the list must be sorted to be searched");
        assert!(FORBIDDEN.iter().all(|name| name.len() < KEPT), "a kept prefix must not equal a longer name");
        for name in FORBIDDEN {
            let mut found = TrailerName::default();
            for byte in name.to_ascii_uppercase() {
                found.extend(&[byte]);
            }
            assert!(found.is_forbidden(), "{name:?}");
            found.extend(b"x");
            assert!(!found.is_forbidden(), "{name:?}x");
        }
        assert!(!TrailerName::default().is_forbidden());
    }
}
