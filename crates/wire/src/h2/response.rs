//! A response head that `h1::response` has encoded, read back as the fields of a HEADERS frame: RFC 9113 §8.2.2, §8.3.2.
//!
//! One encoder for both protocols checks what the application gives; what concerns an HTTP/1.1 connection has no place
//! here and is left out. Called by the engine for each head that leaves on a stream.

use memchr::memmem;

/// The fields of one head, in order.
#[derive(Debug, Clone)]
pub struct Fields<'h> {
    rest: &'h [u8],
}

/// Fields of the HTTP/1.1 connection (RFC 9113 §8.2.2), and the answer to a key that HTTP/2 does not send (RFC 8441 §5).
const HOP_BY_HOP: [&[u8]; 6] =
    [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"sec-websocket-accept"];

/// Splits an encoded response into status, fields and what follows the head. A switch of protocols is plain success here
/// (RFC 8441 §5). None for bytes that `h1::response` does not make.
#[must_use]
pub fn read_back(encoded: &[u8]) -> Option<(u16, Fields<'_>, &[u8])> {
    let digits = encoded.get(9..12)?;
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit.wrapping_sub(b'0')));
    let end = memmem::find(encoded, b"\r\n\r\n")?;
    let line = memmem::find(encoded, b"\r\n")?;
    let rest = encoded.get(line + 2..end + 2)?;
    Some((if status == 101 { 200 } else { status }, Fields { rest }, &encoded[end + 4..]))
}

impl<'h> Fields<'h> {
    /// The fields of encoded lines, such as trailers.
    #[must_use]
    pub fn of(lines: &'h [u8]) -> Self {
        Self { rest: lines }
    }
}

impl<'h> Iterator for Fields<'h> {
    type Item = (&'h [u8], &'h [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let end = memmem::find(self.rest, b"\r\n")?;
            let (line, rest) = (&self.rest[..end], &self.rest[end + 2..]);
            self.rest = rest;
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = (&line[..colon], line.get(colon + 2..).unwrap_or_default());
            let known = matches!(name.len(), 7 | 10 | 16 | 17 | 20);
            if !known || !HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
                return Some((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::cycle::HeadFraming;
    use crate::h1::response;

    #[test]
    fn what_is_encoded_is_read_back_without_what_concerns_a_connection() {
        let mut head = Vec::new();
        response::status_line(&mut head, 404);
        for (name, value) in [("Content-Type", "text/plain"), ("x-empty", ""), ("Upgrade", "h2c"), ("x", "a: b")] {
            response::field(&mut head, name.as_bytes(), value.as_bytes()).unwrap();
        }
        response::end_head(&mut head, HeadFraming::AddChunked, true, true);
        head.extend_from_slice(b"body\r\n\r\n");
        let (status, fields, body) = read_back(&head).unwrap();
        let fields: Vec<_> = fields.collect();
        assert_eq!(fields, [(&b"Content-Type"[..], &b"text/plain"[..]), (b"x-empty", b""), (b"x", b"a: b")]);
        assert_eq!((status, body), (404, &b"body\r\n\r\n"[..]));
    }

    #[test]
    fn every_hop_by_hop_field_is_left_out() {
        for name in HOP_BY_HOP {
            let line = [name, b": v\r\n"].concat();
            assert_eq!(Fields::of(&line).count(), 0);
        }
    }

    #[test]
    fn interim_responses_and_switches_are_read() {
        assert_eq!(read_back(response::CONTINUE).unwrap().0, 100);
        let mut head = Vec::new();
        response::status_line(&mut head, 101);
        head.extend_from_slice(b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\nd: e\r\n\r\n");
        let (status, fields, rest) = read_back(&head).unwrap();
        assert_eq!((status, fields.collect::<Vec<_>>(), rest), (200, vec![(&b"d"[..], &b"e"[..])], &b""[..]));
        assert!(read_back(b"HTTP/1.1").is_none());
    }
}
