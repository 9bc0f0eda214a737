//! The body of a request: RFC 9112 §6.2 (content-length) and RFC 9112 §7.1 (chunked, extensions, trailers).
//!
//! Hands out runs of the input, copies nothing and keeps no bytes. Strict in what delimits a chunk: exact CRLFs,
//! digits and nothing else, no whitespace around extensions (RFC 9112 §7.1.1 calls it bad; no client sends it and
//! parsers disagree about it). Trailers are checked by the rules of head fields and dropped. Deliberately unknown
//! here: limits on the size of a whole body, and time. Called by the engine.

use std::ops::Range;

use super::facts::Framing;
use super::scan::{check_name_end, check_value_end};
use super::trailer::TrailerName;
use crate::error::{Kind, WireError};
use crate::fields::percent::hex_digit;
use crate::fields::token::{is_tchar, is_value_byte};
use crate::limits::{CHUNK_EXTENSION_LINE, CHUNK_EXTENSION_TOTAL, CHUNK_SIZE_DIGITS, TRAILERS};

/// One step of decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// How much of the input is used up. Less than all of it only when done, or when the next call has more to give.
    pub consumed: usize,
    /// One run of body bytes inside the input, possibly empty.
    pub data: Range<usize>,
    /// Whether the body is complete; `consumed` then ends exactly behind it.
    pub done: bool,
}

/// Decodes one body. Call [`decode`](Self::decode) in a loop: more input is needed when everything was consumed and the
/// body is not done.
#[derive(Debug, Clone)]
pub enum BodyDecoder {
    /// This many bytes are still to come.
    Length(u64),
    /// A chunked body somewhere before its end.
    Chunked(Chunked),
    /// Whatever comes belongs to the body; the stream that carries it knows its end.
    Stream,
    /// The body is complete; nothing more is consumed.
    Done,
    /// The body was malformed; every further call returns the same error.
    Failed(WireError),
}

/// Progress inside a chunked body.
#[derive(Debug, Clone)]
pub struct Chunked {
    place: Place,
    /// Bytes of the current chunk that are still to come; while its size is read, the size so far.
    remaining: u64,
    /// Bytes of extensions on the current chunk line.
    extension_line: u32,
    /// Bytes of extensions in the body so far.
    extension_total: u32,
    /// Bytes of the trailer section so far.
    trailers: u32,
    /// The start of the name of the current trailer field.
    name: TrailerName,
}

/// Which element of RFC 9112 §7.1 comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A chunk size with this many digits read.
    Size { digits: u8 },
    /// A chunk extension.
    Extension(Extension),
    /// The LF of a chunk line.
    SizeLf,
    /// Chunk data.
    Data,
    /// The CR behind chunk data.
    DataCr,
    /// The LF behind chunk data.
    DataLf,
    /// A trailer field or the final empty line.
    TrailerStart,
    /// Inside the name of a trailer field.
    TrailerName,
    /// Inside the value of a trailer field.
    TrailerValue,
    /// The LF of a trailer field.
    TrailerLf,
    /// The LF of the final empty line.
    FinalLf,
}

/// Where in `;name=value` the reader is; `Quoted` and `Escaped` are inside a quoted string (RFC 9112 §7.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    NameStart,
    Name,
    ValueStart,
    Token,
    Quoted,
    Escaped,
    QuotedEnd,
}

impl BodyDecoder {
    /// A decoder for a body delimited in this way; done at once when there is none.
    #[inline]
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Stream(_) => Self::Stream,
            Framing::Chunked => Self::Chunked(Chunked {
                place: Place::Size { digits: 0 },
                remaining: 0,
                extension_line: 0,
                extension_total: 0,
                trailers: 0,
                name: TrailerName::default(),
            }),
        }
    }

    /// Whether the body is complete.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Decodes up to one run of body bytes from the start of `input`.
    ///
    /// Body bytes in front of a fault are handed out before the fault is reported, so what the application sees does
    /// not depend on how the bytes were cut into segments.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<Piece, WireError> {
        match self {
            Self::Length(remaining) => {
                let run = clamp(*remaining, input.len());
                *remaining -= run as u64;
                let done = *remaining == 0;
                if done {
                    *self = Self::Done;
                }
                Ok(Piece { consumed: run, data: 0..run, done })
            }
            Self::Chunked(chunked) => match chunked.decode(input) {
                Ok(piece) => {
                    if piece.done {
                        *self = Self::Done;
                    }
                    Ok(piece)
                }
                Err((_, error)) => {
                    *self = Self::Failed(error);
                    Err(error)
                }
            },
            Self::Stream => Ok(Piece { consumed: input.len(), data: 0..input.len(), done: false }),
            Self::Done => Ok(Piece { consumed: 0, data: 0..0, done: true }),
            Self::Failed(error) => Err(*error),
        }
    }
}

/// The part of `remaining` that `available` bytes can cover.
#[inline]
fn clamp(remaining: u64, available: usize) -> usize {
    usize::try_from(remaining).map_or(available, |remaining| remaining.min(available))
}

impl Chunked {
    fn decode(&mut self, input: &[u8]) -> Result<Piece, (usize, WireError)> {
        let start = self.frame(input, 0)?;
        if start.done || self.place != Place::Data {
            return Ok(Piece { consumed: start.at, data: 0..0, done: start.done });
        }
        let run = clamp(self.remaining, input.len() - start.at);
        self.remaining -= run as u64;
        let data = start.at..start.at + run;
        if self.remaining > 0 {
            return Ok(Piece { consumed: data.end, data, done: false });
        }
        self.place = Place::DataCr;
        // What delimits this run is read along, so that a small body is one call. A fault in it waits for the next
        // call: the offending byte is left unconsumed and the place before it is kept.
        match self.frame(input, data.end) {
            Ok(end) => Ok(Piece { consumed: end.at, data, done: end.done }),
            Err((at, _)) => Ok(Piece { consumed: at, data, done: false }),
        }
    }

    /// Reads everything that is not data, from offset `at` on: up to the next data, the end of the body or of the
    /// input.
    fn frame(&mut self, input: &[u8], mut at: usize) -> Result<Framed, (usize, WireError)> {
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            match self.step(rest).map_err(|error| (at, error))? {
                Step::Read(count) => at += count,
                Step::Data => return Ok(Framed { at, done: false }),
                Step::Done => return Ok(Framed { at: at + 1, done: true }),
            }
        }
        Ok(Framed { at, done: false })
    }

    /// Reads one element from `rest`, which is not empty. Changes nothing when it fails.
    #[inline]
    fn step(&mut self, rest: &[u8]) -> Result<Step, WireError> {
        let byte = rest[0];
        match self.place {
            Place::Data => return Ok(Step::Data),
            Place::Size { digits } => self.size(byte, digits)?,
            Place::Extension(extension) => self.extension(byte, extension)?,
            Place::SizeLf => {
                expect(byte, b'\n', Kind::ChunkLineEnd)?;
                self.extension_line = 0;
                self.place = if self.remaining == 0 { Place::TrailerStart } else { Place::Data };
            }
            Place::DataCr => {
                expect(byte, b'\r', Kind::ChunkLineEnd)?;
                self.place = Place::DataLf;
            }
            Place::DataLf => {
                expect(byte, b'\n', Kind::ChunkLineEnd)?;
                self.place = Place::Size { digits: 0 };
            }
            Place::FinalLf => {
                expect(byte, b'\n', Kind::BareCr)?;
                return Ok(Step::Done);
            }
            Place::TrailerStart | Place::TrailerName | Place::TrailerValue | Place::TrailerLf => {
                return self.trailer(rest);
            }
        }
        Ok(Step::Read(1))
    }

    fn size(&mut self, byte: u8, digits: u8) -> Result<(), WireError> {
        self.place = match (hex_digit(byte), byte) {
            (Some(digit), _) if digits < CHUNK_SIZE_DIGITS => {
                self.remaining = if digits == 0 { 0 } else { self.remaining << 4 } | u64::from(digit);
                Place::Size { digits: digits + 1 }
            }
            (None, b'\r') if digits > 0 => Place::SizeLf,
            (None, b';') if digits > 0 => {
                self.count_extension()?;
                Place::Extension(Extension::NameStart)
            }
            _ => return Err(Kind::ChunkSizeBad.into()),
        };
        Ok(())
    }

    fn extension(&mut self, byte: u8, extension: Extension) -> Result<(), WireError> {
        let next = match (extension, byte) {
            (Extension::Name | Extension::Token | Extension::QuotedEnd, b'\r') => {
                self.place = Place::SizeLf;
                return Ok(());
            }
            (Extension::NameStart | Extension::Name, byte) if is_tchar(byte) => Extension::Name,
            (Extension::Name | Extension::Token | Extension::QuotedEnd, b';') => Extension::NameStart,
            (Extension::Name, b'=') => Extension::ValueStart,
            (Extension::ValueStart, b'"') | (Extension::Escaped, _) if byte == b'"' || is_value_byte(byte) => {
                Extension::Quoted
            }
            (Extension::ValueStart | Extension::Token, byte) if is_tchar(byte) => Extension::Token,
            (Extension::Quoted, b'"') => Extension::QuotedEnd,
            (Extension::Quoted, b'\\') => Extension::Escaped,
            (Extension::Quoted, byte) if is_value_byte(byte) => Extension::Quoted,
            _ => return Err(Kind::ChunkExtensionBad.into()),
        };
        self.count_extension()?;
        self.place = Place::Extension(next);
        Ok(())
    }

    fn count_extension(&mut self) -> Result<(), WireError> {
        if self.extension_line >= CHUNK_EXTENSION_LINE || self.extension_total >= CHUNK_EXTENSION_TOTAL {
            return Err(Kind::ChunkExtensionTooLong.into());
        }
        self.extension_line += 1;
        self.extension_total += 1;
        Ok(())
    }

    fn trailer(&mut self, rest: &[u8]) -> Result<Step, WireError> {
        let (place, count) = match self.place {
            Place::TrailerName => self.trailer_name(rest)?,
            Place::TrailerValue => trailer_value(rest)?,
            Place::TrailerLf => {
                expect(rest[0], b'\n', Kind::BareCr)?;
                (Place::TrailerStart, 1)
            }
            _ => match rest[0] {
                b'\r' => (Place::FinalLf, 1),
                b'\n' => return Err(Kind::BareLf.into()),
                b' ' | b'\t' => return Err(Kind::FieldFolded.into()),
                b':' => return Err(Kind::FieldNoName.into()),
                _ => {
                    self.name = TrailerName::default();
                    (Place::TrailerName, 0)
                }
            },
        };
        self.count_trailer(count)?;
        self.place = place;
        Ok(Step::Read(count))
    }

    fn trailer_name(&mut self, rest: &[u8]) -> Result<(Place, usize), WireError> {
        let end = rest.iter().position(|&byte| !is_tchar(byte));
        let name = &rest[..end.unwrap_or(rest.len())];
        if !name.is_empty() {
            // On its own step, so that a fault behind the name leaves nothing half done.
            self.name.extend(name);
            return Ok((Place::TrailerName, name.len()));
        }
        check_name_end(rest[0])?;
        if self.name.is_forbidden() {
            return Err(Kind::TrailerForbidden.into());
        }
        Ok((Place::TrailerValue, 1))
    }

    fn count_trailer(&mut self, count: usize) -> Result<(), WireError> {
        let total = u64::from(self.trailers) + count as u64;
        match u32::try_from(total) {
            Ok(total) if total <= TRAILERS => {
                self.trailers = total;
                Ok(())
            }
            _ => Err(Kind::TrailersTooLarge.into()),
        }
    }
}

fn trailer_value(rest: &[u8]) -> Result<(Place, usize), WireError> {
    match rest.iter().position(|&byte| !is_value_byte(byte)) {
        Some(0) => check_value_end(rest).map(|_| (Place::TrailerLf, 1)),
        Some(end) => Ok((Place::TrailerValue, end)),
        None => Ok((Place::TrailerValue, rest.len())),
    }
}

#[inline]
fn expect(byte: u8, wanted: u8, otherwise: Kind) -> Result<(), WireError> {
    if byte == wanted {
        Ok(())
    } else {
        Err(otherwise.into())
    }
}

/// How far reading the framing got.
struct Framed {
    at: usize,
    done: bool,
}

/// What one element of the framing was.
enum Step {
    /// This many bytes of framing.
    Read(usize),
    /// Chunk data comes next.
    Data,
    /// One byte, the last of the body.
    Done,
}
