//! An incremental reader of HTTP/1.1 responses (RFC 9112 §4, §6, §7.1) that checks each against what is expected.
//!
//! It knows content-length and chunked bodies, and bodies ended by the connection's end; it skips 1xx answers. It does
//! not keep headers or bodies: bytes are compared as they pass. Called by `http`; knows no sockets.

use crate::fault::Fault;

/// A head may not be longer than this many bytes.
const MAX_HEAD: usize = 16 * 1024;
/// A chunk-size line, or one trailer line, may not be longer than this many bytes.
const MAX_LINE: usize = 1024;

/// What a correct response carries.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// The status of every response.
    pub(crate) status: u16,
    /// The body's length in bytes.
    pub(crate) length: usize,
    /// The body's bytes; `None` checks the length only.
    pub(crate) body: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length { left: usize },
    UntilClose,
    ChunkSize,
    ChunkData { left: usize },
    ChunkEnd,
    Trailers,
}

/// One complete, verified response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Complete {
    /// The peer said that it closes the connection after this response.
    pub(crate) close: bool,
}

/// The bytes used of the new data and, when the piece began in earlier data, the whole piece.
type Piece = (usize, Option<Vec<u8>>);

/// The reader of one connection's responses.
pub(crate) struct Reader {
    state: State,
    /// The beginning of a head or line whose end has not arrived.
    partial: Vec<u8>,
    /// Body bytes of the current response seen so far.
    position: usize,
    close: bool,
}

impl Reader {
    /// A reader that expects the first byte of a response next.
    pub(crate) fn new() -> Self {
        Self { state: State::Head, partial: Vec::new(), position: 0, close: false }
    }

    /// Reads from the front of `data`. Gives the number of bytes used and, when a response ended there, its summary.
    /// Without a summary all of `data` was used.
    pub(crate) fn feed(&mut self, data: &[u8], expected: &Expected) -> Result<(usize, Option<Complete>), Fault> {
        let mut used = 0;
        while used < data.len() {
            let rest = &data[used..];
            match self.state {
                State::Head => match self.take_until(rest, b"\r\n\r\n", MAX_HEAD)? {
                    None => return Ok((data.len(), None)),
                    Some((count, head)) => {
                        used += count;
                        let state = self.read_head(head.as_deref().unwrap_or(&rest[..count]), expected)?;
                        self.state = state;
                        if state == (State::Length { left: 0 }) {
                            return self.finish(expected).map(|done| (used, Some(done)));
                        }
                    }
                },
                State::Length { left } => {
                    let count = left.min(rest.len());
                    self.check(&rest[..count], expected)?;
                    used += count;
                    self.state = State::Length { left: left - count };
                    if left == count {
                        return self.finish(expected).map(|done| (used, Some(done)));
                    }
                }
                State::UntilClose => {
                    self.check(rest, expected)?;
                    used = data.len();
                }
                State::ChunkSize => match self.take_until(rest, b"\r\n", MAX_LINE)? {
                    None => return Ok((data.len(), None)),
                    Some((count, line)) => {
                        used += count;
                        let left = chunk_size(line.as_deref().unwrap_or(&rest[..count]))?;
                        self.state = if left == 0 { State::Trailers } else { State::ChunkData { left } };
                    }
                },
                State::ChunkData { left } => {
                    let count = left.min(rest.len());
                    self.check(&rest[..count], expected)?;
                    used += count;
                    self.state = if left == count { State::ChunkEnd } else { State::ChunkData { left: left - count } };
                }
                State::ChunkEnd => match self.take_until(rest, b"\r\n", MAX_LINE)? {
                    None => return Ok((data.len(), None)),
                    Some((count, line)) => {
                        if line.as_deref().unwrap_or(&rest[..count]) != b"\r\n" {
                            return Err(Fault::Malformed);
                        }
                        used += count;
                        self.state = State::ChunkSize;
                    }
                },
                State::Trailers => match self.take_until(rest, b"\r\n", MAX_LINE)? {
                    None => return Ok((data.len(), None)),
                    Some((count, line)) => {
                        used += count;
                        if line.as_deref().unwrap_or(&rest[..count]) == b"\r\n" {
                            return self.finish(expected).map(|done| (used, Some(done)));
                        }
                    }
                },
            }
        }
        Ok((used, None))
    }

    /// The connection ended. A body that runs until the close is complete now; anything else is cut off.
    pub(crate) fn end(&mut self, expected: &Expected) -> Result<Complete, Fault> {
        match self.state {
            State::UntilClose => self.finish(expected),
            _ => Err(Fault::Closed),
        }
    }

    /// Finds the piece that ends with `mark`; `None` keeps the data until more arrives.
    fn take_until(&mut self, data: &[u8], mark: &[u8], limit: usize) -> Result<Option<Piece>, Fault> {
        if self.partial.is_empty() {
            if let Some(at) = memchr::memmem::find(data, mark) {
                return Ok(Some((at + mark.len(), None)));
            }
            self.partial.extend_from_slice(data);
        } else {
            let before = self.partial.len();
            let from = before.saturating_sub(mark.len() - 1);
            self.partial.extend_from_slice(data);
            if let Some(at) = memchr::memmem::find(&self.partial[from..], mark) {
                let end = from + at + mark.len();
                let mut piece = std::mem::take(&mut self.partial);
                piece.truncate(end);
                return Ok(Some((end - before, Some(piece))));
            }
        }
        if self.partial.len() > limit {
            return Err(Fault::Malformed);
        }
        Ok(None)
    }

    fn read_head(&mut self, head: &[u8], expected: &Expected) -> Result<State, Fault> {
        let status = status_of(head)?;
        if (100..200).contains(&status) {
            return Ok(State::Head);
        }
        if status != expected.status {
            return Err(Fault::Status);
        }
        let mut length = None;
        let mut chunked = false;
        self.close = false;
        self.position = 0;
        let mut rest = head;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let line = rest[..at].strip_suffix(b"\r").ok_or(Fault::Malformed)?;
            rest = &rest[at + 1..];
            if let Some(value) = value_of(line, b"content-length") {
                length = Some(decimal(value)?);
            } else if let Some(value) = value_of(line, b"transfer-encoding") {
                chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if let Some(value) = value_of(line, b"connection") {
                self.close = value.eq_ignore_ascii_case(b"close");
            }
        }
        match (length, chunked) {
            (Some(_), true) => Err(Fault::Malformed),
            (Some(left), false) if left == expected.length => Ok(State::Length { left }),
            (Some(_), false) => Err(Fault::Body),
            (None, true) => Ok(State::ChunkSize),
            (None, false) => {
                self.close = true;
                Ok(State::UntilClose)
            }
        }
    }

    fn check(&mut self, piece: &[u8], expected: &Expected) -> Result<(), Fault> {
        let end = self.position + piece.len();
        if end > expected.length {
            return Err(Fault::Body);
        }
        if let Some(body) = &expected.body {
            if body.get(self.position..end) != Some(piece) {
                return Err(Fault::Body);
            }
        }
        self.position = end;
        Ok(())
    }

    fn finish(&mut self, expected: &Expected) -> Result<Complete, Fault> {
        self.state = State::Head;
        if self.position != expected.length {
            return Err(Fault::Body);
        }
        Ok(Complete { close: self.close })
    }
}

/// The status code of a response head.
pub(crate) fn status_of(head: &[u8]) -> Result<u16, Fault> {
    if head.len() < 13 || !head.starts_with(b"HTTP/1.") || head[8] != b' ' || !matches!(head[12], b' ' | b'\r') {
        return Err(Fault::Malformed);
    }
    let digits = &head[9..12];
    u16::try_from(decimal(digits)?).map_err(|_| Fault::Malformed)
}

/// The value of a header line when its name is `name` (given in lower case).
pub(crate) fn value_of<'line>(line: &'line [u8], name: &[u8]) -> Option<&'line [u8]> {
    if line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name) {
        Some(line[name.len() + 1..].trim_ascii())
    } else {
        None
    }
}

fn decimal(digits: &[u8]) -> Result<usize, Fault> {
    if digits.is_empty() || digits.len() > 15 {
        return Err(Fault::Malformed);
    }
    digits.iter().try_fold(0, |sum: usize, digit| match digit {
        b'0'..=b'9' => Ok(sum * 10 + usize::from(digit - b'0')),
        _ => Err(Fault::Malformed),
    })
}

fn chunk_size(line: &[u8]) -> Result<usize, Fault> {
    let line = line.trim_ascii_end();
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(line);
    if digits.is_empty() || digits.len() > 12 {
        return Err(Fault::Malformed);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Fault::Malformed)?;
    usize::from_str_radix(text, 16).map_err(|_| Fault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(body: &str) -> Expected {
        Expected { status: 200, length: body.len(), body: Some(body.as_bytes().to_vec()) }
    }

    /// Reads `data` cut into two at `cut`; gives the number of complete responses.
    fn read(data: &[u8], cut: usize, expected: &Expected) -> Result<usize, Fault> {
        let mut reader = Reader::new();
        let mut complete = 0;
        for piece in [&data[..cut], &data[cut..]] {
            let mut rest = piece;
            while !rest.is_empty() {
                let (used, done) = reader.feed(rest, expected)?;
                rest = &rest[used..];
                complete += usize::from(done.is_some());
            }
        }
        Ok(complete)
    }

    #[test]
    fn reads_two_responses_cut_at_every_offset() {
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".as_slice();
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n";
        let both = [b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n", length, chunked.as_slice()].concat();
        for cut in 0..=both.len() {
            assert_eq!(read(&both, cut, &expected("hello")), Ok(2), "cut at {cut}");
        }
    }

    #[test]
    fn refuses_what_is_not_the_expected_response() {
        let cases: [(&[u8], Fault); 6] = [
            (b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nhello", Fault::Status),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", Fault::Body),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellO", Fault::Body),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n0\r\n\r\n", Fault::Body),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n", Fault::Malformed),
            (b"SSH-2.0-x\r\n\r\n", Fault::Malformed),
        ];
        for (data, fault) in cases {
            for cut in 0..=data.len() {
                assert_eq!(read(data, cut, &expected("hello")), Err(fault), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_body_until_close_is_complete_at_the_end_only() {
        let mut reader = Reader::new();
        let wanted = expected("hello");
        assert_eq!(reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhello", &wanted), Ok((24, None)));
        assert_eq!(reader.end(&wanted), Ok(Complete { close: true }));
        let mut reader = Reader::new();
        assert_eq!(reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", &wanted), Ok((41, None)));
        assert_eq!(reader.end(&wanted), Err(Fault::Closed));
    }
}
