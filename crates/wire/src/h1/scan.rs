//! A head that is incomplete or wrong, read line by line: RFC 9112 §2.2, RFC 9112 §5.
//!
//! The fast path in `h1::head` only says yes. Everything else comes here: which rule was broken, and whether a head
//! whose end has not arrived can still become a good one. One reader decides both, from left to right, so the answer
//! does not depend on how the bytes were cut into segments. The state lives outside of the buffer and every field
//! byte is looked at once, so that a client sending single bytes costs linear time.
//!
//! Deliberately unknown here: what the fields mean. Called by `h1::head` and, across segments, by the engine.

use memchr::memchr;

use super::line::{check_prefix, parse_request_line};
use crate::error::{Kind, WireError};
use crate::fields::token::{is_tchar, is_value_byte};
use crate::limits::HeadLimits;

/// Where the reader stands; offsets are kept beside it in [`HeadScan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the request line; the flag tells that the one empty line allowed there has been skipped.
    Start { skipped: bool },
    /// At the first byte of a field line or of the final empty line.
    FieldStart,
    /// Inside a field name.
    Name,
    /// Inside a field value, or at the CR behind it.
    Value,
    /// Behind the final empty line.
    End,
}

/// How far a head that arrives in pieces has been read.
///
/// Keep one while `parse_head` says that more bytes are needed, and call [`advance`](Self::advance) with the grown
/// buffer instead of parsing from the start again; parse the head when it returns true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadScan {
    place: Place,
    position: usize,
    fields: usize,
}

impl Default for HeadScan {
    fn default() -> Self {
        Self { place: Place::Start { skipped: false }, position: 0, fields: 0 }
    }
}

impl HeadScan {
    /// Reads on in `buf`, which starts with the same bytes as in the calls before, and tells whether the head is
    /// complete. Refuses as soon as nothing that follows could make the head acceptable.
    pub fn advance(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<bool, WireError> {
        let window = &buf[..buf.len().min(limits.head)];
        while self.place != Place::End {
            if !self.step(window, limits)? {
                // A head that fills the window without an end can only grow beyond it.
                return if buf.len() >= limits.head { Err(Kind::HeadTooLarge.into()) } else { Ok(false) };
            }
        }
        Ok(true)
    }

    /// How many bytes the complete head has; meaningful after [`advance`](Self::advance) returned true.
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.position
    }

    /// Reads one element. False means that more bytes are needed.
    fn step(&mut self, window: &[u8], limits: &HeadLimits) -> Result<bool, WireError> {
        let rest = window.get(self.position..).unwrap_or_default();
        match self.place {
            Place::Start { skipped } => self.request_line(rest, skipped, limits),
            Place::FieldStart => self.field_start(rest, limits),
            Place::Name => self.name(rest),
            Place::Value => self.value(rest),
            Place::End => Ok(true),
        }
    }

    fn request_line(&mut self, rest: &[u8], skipped: bool, limits: &HeadLimits) -> Result<bool, WireError> {
        if matches!(rest, [b'\r' | b'\n', ..]) {
            return match line_end(rest)? {
                false => Ok(false),
                true if skipped => Err(Kind::EmptyLines.into()),
                true => {
                    self.position += 2;
                    self.place = Place::Start { skipped: true };
                    Ok(true)
                }
            };
        }
        // The CR may be the last byte of a line of the full length; only the LF behind it decides.
        let reach = &rest[..rest.len().min(limits.request_line.saturating_add(2))];
        let lf = memchr(b'\n', reach);
        let Some((line, lf)) = lf.and_then(|lf| Some((reach[..lf].strip_suffix(b"\r")?, lf))) else {
            // Faults count from left to right: bytes within the limit, then the limit, then the LF without CR.
            let line = lf.map_or(reach.strip_suffix(b"\r").unwrap_or(reach), |lf| &reach[..lf]);
            check_prefix(&line[..line.len().min(limits.request_line)])?;
            return match lf {
                _ if line.len() > limits.request_line => Err(Kind::RequestLineTooLong.into()),
                Some(_) => Err(Kind::BareLf.into()),
                None => Ok(false),
            };
        };
        parse_request_line(line)?;
        self.position += lf + 1;
        self.place = Place::FieldStart;
        Ok(true)
    }

    fn field_start(&mut self, rest: &[u8], limits: &HeadLimits) -> Result<bool, WireError> {
        match rest {
            [] => Ok(false),
            [b'\r' | b'\n', ..] => {
                let complete = line_end(rest)?;
                if complete {
                    self.position += 2;
                    self.place = Place::End;
                }
                Ok(complete)
            }
            _ if self.fields >= limits.fields_capped() => Err(Kind::TooManyFields.into()),
            [b' ' | b'\t', ..] => Err(Kind::FieldFolded.into()),
            [b':', ..] => Err(Kind::FieldNoName.into()),
            [..] => {
                self.fields += 1;
                self.place = Place::Name;
                Ok(true)
            }
        }
    }

    fn name(&mut self, rest: &[u8]) -> Result<bool, WireError> {
        let Some(end) = rest.iter().position(|&byte| !is_tchar(byte)) else {
            self.position += rest.len();
            return Ok(false);
        };
        check_name_end(rest[end])?;
        self.position += end + 1;
        self.place = Place::Value;
        Ok(true)
    }

    fn value(&mut self, rest: &[u8]) -> Result<bool, WireError> {
        let Some(end) = rest.iter().position(|&byte| !is_value_byte(byte)) else {
            self.position += rest.len();
            return Ok(false);
        };
        self.position += end;
        let complete = check_value_end(&rest[end..])?;
        if complete {
            self.position += 2;
            self.place = Place::FieldStart;
        }
        Ok(complete)
    }
}

impl HeadLimits {
    /// The limit on field lines as it is enforced.
    #[inline]
    pub(crate) fn fields_capped(&self) -> usize {
        self.fields.min(crate::limits::FIELDS_CAP)
    }
}

/// Judges the first byte behind the token characters of a field name: only a colon is right.
pub(crate) fn check_name_end(byte: u8) -> Result<(), WireError> {
    match byte {
        b':' => Ok(()),
        b' ' | b'\t' => Err(Kind::FieldSpaceBeforeColon.into()),
        b'\r' | b'\n' => Err(Kind::FieldNoColon.into()),
        _ => Err(Kind::FieldBadName.into()),
    }
}

/// Judges the first control character in a field value: true for CRLF, false for a CR that is the last byte.
pub(crate) fn check_value_end(rest: &[u8]) -> Result<bool, WireError> {
    match rest {
        [b'\r' | b'\n', ..] => line_end(rest),
        _ => Err(Kind::FieldBadValue.into()),
    }
}

/// Judges a line end: true for CRLF, false for a CR that is the last byte. Called with a CR or an LF in front.
fn line_end(rest: &[u8]) -> Result<bool, WireError> {
    match rest {
        [b'\r', b'\n', ..] => Ok(true),
        [b'\r'] => Ok(false),
        [b'\r', ..] => Err(Kind::BareCr.into()),
        _ => Err(Kind::BareLf.into()),
    }
}
