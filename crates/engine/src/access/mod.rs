//! The access log: one line per request, per WebSocket, per refused request.
//!
//! 1. A head has been parsed: [`AccessLog::arrived`] takes the time.
//! 2. The request is set up: [`AccessLog::begin`] renders what it says into a [`Record`], which the exchange keeps.
//! 3. On the way: [`Record::stepped`], [`Record::head_sent`], `status`, `bytes_out`.
//! 4. It is over: [`AccessLog::write`] appends the line to a buffer.
//! 5. The turn is over: [`AccessLog::hand_over`] gives the buffer to the writer's thread, or the entries to Python.
//!
//! Who follows the log gets its lines through a [`Tap`]; where there is no log, there is one as long as somebody follows.
//!
//! The times are measured from the parsed head: `dispatch` to the application's first step, `first byte` to the
//! response's head being ready to send, the duration to the response's last byte being ready to send. Bytes are those
//! of bodies, without framing; of a WebSocket, those of frames. Not known here: who decides what a request's end was.

mod entry;
mod escape;
mod line;
mod stamp;
mod tap;
mod writer;

use std::io;
use std::os::fd::BorrowedFd;

use pyo3::prelude::*;

pub(crate) use self::entry::deliver;
use self::entry::Entry;
use self::stamp::Stamp;
pub(crate) use self::tap::{Filter, Tap};
use self::writer::Writer;
use crate::io::clock;
use crate::io::socket::Address;
use crate::py::headers::Memo;
use crate::settings::Settings;

/// Records whose buffers are kept for the next request.
const SPARE_RECORDS: usize = 256;
/// A record's buffer that grew beyond this is not kept.
const KEEP: usize = 1024;
/// This much of what a refused client sent is shown.
const SHOWN: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text { colors: bool },
    Json,
}

/// One request on its way. Times are the precise clock's nanoseconds, 0 for "not yet".
#[derive(Default)]
pub(crate) struct Record {
    /// What the request says, rendered; text continues at `tail` behind the numbers.
    asked: Vec<u8>,
    tail: usize,
    started: u64,
    first_step: u64,
    first_byte: u64,
    pub(crate) status: u16,
    pub(crate) bytes_out: u64,
    /// The same for Python's logging, instead of `asked`.
    entry: Option<Box<Entry>>,
}

impl Record {
    /// The application makes its first step, or has made it.
    #[inline]
    pub(crate) fn stepped(&mut self) {
        if self.first_step == 0 {
            self.first_step = clock::precise_ns();
        }
    }

    /// The response's head is ready to send.
    #[inline]
    pub(crate) fn head_sent(&mut self) {
        if self.first_byte == 0 {
            self.first_byte = clock::precise_ns();
        }
    }

    fn elapsed(&self, now: u64) -> u64 {
        now.saturating_sub(self.started)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    /// The client left before the response was complete.
    Disconnected,
    /// The server cut the response: the application failed, or time was up.
    Aborted,
    /// With this close code (RFC 6455 §7.4).
    WebSocket(u16),
}

/// Why the server answered instead of the application.
#[derive(Clone, Copy)]
pub(crate) struct Refusal<'a> {
    pub(crate) reason: &'a str,
    /// `RFC 9112 §3.2`, or empty.
    pub(crate) section: &'a str,
}

/// What a request says.
pub(crate) struct Asked<'a> {
    peer: &'a Address,
    /// The client that a trusted proxy names.
    forwarded: Option<&'a str>,
    /// The request line without its end.
    line: &'a [u8],
    agent: &'a [u8],
    traceparent: &'a [u8],
}

impl<'a> Asked<'a> {
    fn of(memo: &'a Memo, peer: &'a Address) -> Self {
        let (mut agent, mut traceparent) = (&b""[..], &b""[..]);
        for span in &memo.spans {
            match span.name.1 - span.name.0 {
                10 if span.name(&memo.block).eq_ignore_ascii_case(b"user-agent") => agent = span.value(&memo.block),
                11 if span.name(&memo.block).eq_ignore_ascii_case(b"traceparent") => {
                    traceparent = span.value(&memo.block);
                }
                _ => {}
            }
        }
        let line = memo.line.strip_suffix(b"\r\n").unwrap_or(&memo.line);
        Self { peer, forwarded: None, line, agent, traceparent }
    }

    /// Method, target and version of a line that has the form of a request line.
    fn split(&self) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        let first = memchr::memchr(b' ', self.line)?;
        let last = memchr::memrchr(b' ', self.line)?;
        let version = self.line[last + 1..].strip_prefix(b"HTTP/")?;
        (first < last).then(|| (&self.line[..first], &self.line[first + 1..last], version))
    }
}

/// What came of it.
pub(crate) struct Over<'a> {
    now: u64,
    /// 0: no response was begun.
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    end: End,
    refusal: Option<Refusal<'a>>,
}

pub(crate) struct AccessLog {
    sink: Sink,
    tap: Option<Tap>,
    format: Format,
    buffer: Vec<u8>,
    lines: u64,
    stamp: Stamp,
    arrived: u64,
    #[expect(clippy::vec_box, reason = "the boxes are what is kept: exchanges hold them")]
    spare: Vec<Box<Record>>,
}

enum Sink {
    Descriptor(Writer),
    /// Called with a list of entries.
    Python {
        callable: Py<PyAny>,
        entries: Vec<Entry>,
    },
    /// The log is off: lines are for the tap alone.
    Tap,
}

impl AccessLog {
    /// None when the access log is off.
    ///
    /// # Errors
    /// When the descriptor is closed or the writer cannot be started.
    pub(crate) fn new(py: Python<'_>, settings: &Settings) -> io::Result<Option<Self>> {
        if !settings.access_log {
            return Ok(None);
        }
        let format = if settings.access_json { Format::Json } else { Format::Text { colors: settings.access_colors } };
        let sink = match &settings.access_sink {
            Some(callable) => Sink::Python { callable: callable.clone_ref(py), entries: Vec::new() },
            None => {
                // SAFETY: the descriptor is the caller's and is only duplicated here; a closed one is an error.
                let descriptor = unsafe { BorrowedFd::borrow_raw(settings.access_fd) }.try_clone_to_owned()?;
                Sink::Descriptor(Writer::start(descriptor, format)?)
            }
        };
        Ok(Some(Self::of(sink, format)))
    }

    /// One that is written nowhere, for a tap.
    pub(crate) fn for_tap() -> Self {
        Self::of(Sink::Tap, Format::Json)
    }

    fn of(sink: Sink, format: Format) -> Self {
        Self {
            sink,
            tap: None,
            format,
            buffer: Vec::new(),
            lines: 0,
            stamp: Stamp::default(),
            arrived: 0,
            spare: Vec::new(),
        }
    }

    /// From now on somebody follows, or nobody any more.
    pub(crate) fn set_tap(&mut self, tap: Option<Tap>) {
        if let Some(before) = &mut self.tap {
            // Lines since the last turn. Whether anybody still takes them makes no difference now.
            let _ = before.send(self.format);
        }
        self.tap = tap;
    }

    /// Nobody reads what is written here.
    pub(crate) fn is_unread(&self) -> bool {
        self.tap.is_none() && matches!(self.sink, Sink::Tap)
    }

    /// A head is complete; the request may start. `before`: when it was complete, if it had to wait.
    #[inline]
    pub(crate) fn arrived(&mut self, before: Option<u64>) {
        self.arrived = before.unwrap_or_else(clock::precise_ns);
    }

    /// The record of the request that has just arrived.
    #[inline]
    pub(crate) fn begin(&mut self, memo: &Memo, peer: &Address) -> Box<Record> {
        self.describe(&Asked::of(memo, peer))
    }

    /// The same for a client that a trusted proxy names.
    pub(crate) fn begin_forwarded(&mut self, memo: &Memo, peer: &Address, client: &str) -> Box<Record> {
        self.describe(&Asked { forwarded: Some(client), ..Asked::of(memo, peer) })
    }

    fn describe(&mut self, asked: &Asked<'_>) -> Box<Record> {
        let mut record = self.spare.pop().unwrap_or_default();
        // A log that has begun since then does not know when the request arrived.
        record.started = if self.arrived == 0 { clock::precise_ns() } else { self.arrived };
        match self.sink {
            Sink::Descriptor(_) | Sink::Tap => record.tail = line::asked(&mut record.asked, asked, self.format),
            Sink::Python { .. } => record.entry = Some(Box::new(Entry::new(asked))),
        }
        record
    }

    /// Adds the request's id.
    pub(crate) fn identify(&self, record: &mut Record, id: &str) {
        match &mut record.entry {
            Some(entry) => entry.identify(id),
            None => line::identified(&mut record.asked, id, self.format),
        }
    }

    /// The request is over.
    #[inline]
    pub(crate) fn write(&mut self, record: Box<Record>, bytes_in: u64, end: End) {
        let over = Over {
            now: clock::precise_ns(),
            status: record.status,
            bytes_in,
            bytes_out: record.bytes_out,
            end,
            refusal: None,
        };
        self.finish(record, &over);
    }

    /// The server has answered the request itself.
    pub(crate) fn write_refused(&mut self, record: Box<Record>, status: u16, bytes: (u64, u64), refusal: Refusal<'_>) {
        let refusal = (!refusal.reason.is_empty()).then_some(refusal);
        let (bytes_in, bytes_out) = bytes;
        let over = Over { now: clock::precise_ns(), status, bytes_in, bytes_out, end: End::Complete, refusal };
        self.finish(record, &over);
    }

    /// The server has refused what was no request yet. `head`: the bytes as far as they are known.
    pub(crate) fn refused(&mut self, head: &[u8], peer: &Address, status: u16, bytes_out: u64, refusal: Refusal<'_>) {
        let end = memchr::memchr2(b'\r', b'\n', head).unwrap_or(head.len()).min(SHOWN);
        self.arrived(None);
        let record = self.describe(&Asked { peer, forwarded: None, line: &head[..end], agent: b"", traceparent: b"" });
        self.write_refused(record, status, (0, bytes_out), refusal);
    }

    #[inline]
    fn finish(&mut self, mut record: Box<Record>, over: &Over<'_>) {
        match &mut self.sink {
            Sink::Descriptor(_) => {
                let begin = self.buffer.len();
                line::over(&mut self.buffer, &mut self.stamp, &record, over, self.format);
                self.lines += 1;
                if let Some(tap) = &mut self.tap {
                    tap.take(&self.buffer[begin..], over, record.elapsed(over.now));
                }
            }
            Sink::Tap => {
                if let Some(tap) = &mut self.tap {
                    line::over(&mut self.buffer, &mut self.stamp, &record, over, self.format);
                    tap.take(&self.buffer, over, record.elapsed(over.now));
                    self.buffer.clear();
                }
            }
            Sink::Python { entries, .. } => entries.extend(record.entry.take().map(|mut entry| {
                entry.finish(&record, over);
                *entry
            })),
        }
        if self.spare.len() < SPARE_RECORDS && record.asked.capacity() <= KEEP {
            let mut asked = std::mem::take(&mut record.asked);
            asked.clear();
            *record = Record { asked, ..Record::default() };
            self.spare.push(record);
        }
    }

    /// Lines wait for [`Self::hand_over`].
    pub(crate) fn is_waiting(&self) -> bool {
        self.lines > 0 || matches!(&self.sink, Sink::Python { entries, .. } if !entries.is_empty())
    }

    /// Gives the lines away. Returns what the server's log should say, if anything.
    #[inline]
    pub(crate) fn hand_over(&mut self) -> Option<String> {
        self.stamp.outdate();
        if self.tap.as_mut().is_some_and(|tap| !tap.send(self.format)) {
            self.tap = None;
        }
        match &self.sink {
            Sink::Descriptor(writer) if self.lines > 0 => {
                writer.hand_over(&mut self.buffer, std::mem::take(&mut self.lines))
            }
            _ => None,
        }
    }

    /// Writes what is left. Waits, for a bounded time. Returns what the server's log should say, if anything.
    pub(crate) fn close(&mut self) -> Option<String> {
        let trouble = self.hand_over();
        let last = match &mut self.sink {
            Sink::Descriptor(writer) => writer.close(),
            Sink::Python { .. } | Sink::Tap => None,
        };
        last.or(trouble)
    }
}
