//! Request ids: made here or taken from the client, put into the scope, the response and the logs.
//!
//! An id that is made is a version 7 UUID (RFC 9562 §5.7): milliseconds, then a counter of this engine, then bits drawn
//! once from the system. Ids of one engine sort in the order of their requests. They are labels, not secrets.
//!
//! `take` believes any client that sends one well-formed id: it is used as a label only, and whoever chooses `take`
//! has a proxy in front that sets it or does not mind foreign labels. Anything else than [`TAKEN_MAX`] safe characters
//! in one single field gets an id of ours instead.

use std::cell::Cell;
use std::io;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::core::Core;
use crate::io::clock;
use crate::py::headers::Memo;
use crate::settings::Settings;

/// The longest id that is taken from a client, in characters.
const TAKEN_MAX: usize = 128;
const DRAWN_BITS: u32 = 42;
/// The counter's 32 bits: 12 beside the version, 20 beside the variant.
const LOW_BITS: u32 = 20;

pub(crate) struct RequestIds {
    take: bool,
    /// The field that carries the id, in lower case.
    field: Vec<u8>,
    /// The id goes into the response.
    pub(crate) respond: bool,
    drawn: u64,
    made: Cell<u32>,
}

impl RequestIds {
    /// None when requests get no ids.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn new(settings: &Settings) -> io::Result<Option<Self>> {
        if settings.request_id == "off" {
            return Ok(None);
        }
        let mut random = [0; 8];
        // SAFETY: the buffer is valid for its length.
        if unsafe { libc::getentropy(random.as_mut_ptr().cast(), random.len()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Some(Self {
            take: settings.request_id == "take",
            field: settings.request_id_header.to_ascii_lowercase().into_bytes(),
            respond: settings.request_id_response,
            drawn: u64::from_ne_bytes(random) & ((1 << DRAWN_BITS) - 1),
            made: Cell::new(0),
        }))
    }

    /// The id of the request in `memo`.
    pub(crate) fn assign(&self, memo: &Memo) -> Box<str> {
        if self.take {
            let mut given = memo.spans.iter().filter(|span| span.name(&memo.block).eq_ignore_ascii_case(&self.field));
            if let (Some(span), None) = (given.next(), given.next()) {
                if let Some(id) = safe(span.value(&memo.block)) {
                    return id.into();
                }
            }
        }
        self.make()
    }

    fn make(&self) -> Box<str> {
        let count = self.made.get();
        self.made.set(count.wrapping_add(1));
        let (second, millisecond) = clock::unix_ms();
        let time = second * 1000 + u64::from(millisecond);
        let high = time << 16 | 0x7000 | u64::from(count >> LOW_BITS);
        let low = 0b10 << 62 | u64::from(count & ((1 << LOW_BITS) - 1)) << DRAWN_BITS | self.drawn;
        hexadecimal(u128::from(high) << 64 | u128::from(low))
    }

    /// Appends the id's field, unless the application has put one into `head`.
    pub(crate) fn append(&self, head: &mut Vec<u8>, id: &str) {
        if self.respond && !self.is_in(head) {
            self.append_field(head, id);
        }
    }

    /// Appends the id's field.
    fn append_field(&self, out: &mut Vec<u8>, id: &str) {
        out.extend_from_slice(&self.field);
        out.extend_from_slice(b": ");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn is_in(&self, head: &[u8]) -> bool {
        head.split(|byte| *byte == b'\n').any(|line| {
            line.get(..self.field.len()).is_some_and(|name| name.eq_ignore_ascii_case(&self.field))
                && line.get(self.field.len()) == Some(&b':')
        })
    }
}

/// Puts the id into `scope["state"]`, a copy of the lifespan's state or a state of its own.
pub(crate) fn into_scope(py: Python<'_>, core: &Core, scope: &Bound<'_, PyDict>, id: &str) -> PyResult<()> {
    let state = match &core.py.state {
        Some(state) => state.bind(py).copy()?,
        None => PyDict::new(py),
    };
    state.set_item(pyo3::intern!(py, "request_id"), PyString::new(py, id))?;
    scope.set_item(core.py.names.state.bind(py), state)
}

/// The value as an id, if it can go anywhere without being escaped.
fn safe(value: &[u8]) -> Option<&str> {
    let fits = (1..=TAKEN_MAX).contains(&value.len());
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:+/=@".contains(byte);
    if fits && value.iter().all(harmless) {
        std::str::from_utf8(value).ok()
    } else {
        None
    }
}

/// In groups of 8, 4, 4, 4 and 12 digits (RFC 9562 §4).
fn hexadecimal(value: u128) -> Box<str> {
    let mut text = String::with_capacity(36);
    for (at, byte) in value.to_be_bytes().into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> RequestIds {
        RequestIds { take: false, field: b"x-request-id".to_vec(), respond: true, drawn: 5, made: Cell::new(0) }
    }

    #[test]
    fn rfc9562_5_7_ids_are_version_7_and_sort() {
        let ids = ids();
        let made: Vec<_> = (0..2000).map(|_| ids.make()).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        for id in made {
            assert_eq!((id.len(), &id[14..15]), (36, "7"));
            assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
        }
    }

    #[test]
    fn only_short_ids_of_safe_characters_are_taken() {
        assert_eq!(safe(b"req-1:a/b=c@d"), Some("req-1:a/b=c@d"));
        for bad in [&b""[..], b"a b", b"a\"b", b"a,b", b"\xff", &[b'a'; 129]] {
            assert_eq!(safe(bad), None);
        }
    }

    #[test]
    fn the_applications_own_field_wins() {
        let mut head = b"HTTP/1.1 200 OK\r\nX-Request-ID: mine\r\n".to_vec();
        ids().append(&mut head, "other");
        assert_eq!(head, b"HTTP/1.1 200 OK\r\nX-Request-ID: mine\r\n");
        let mut head = b"HTTP/1.1 200 OK\r\nx-request-id-2: mine\r\n".to_vec();
        ids().append(&mut head, "other");
        assert!(head.ends_with(b"x-request-id: other\r\n"));
    }
}
