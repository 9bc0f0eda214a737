//! Reads a connection's bytes the way the engine does and writes down what came out: the one helper by which the
//! tests, the oracle and the fuzz targets look at the receiving side.
//!
//! Bytes arrive in segments; a transcript must not depend on how they were cut.

use swell_wire::error::WireError;
use swell_wire::h1::body::BodyDecoder;
use swell_wire::h1::facts::{judge, Framing, Request};
use swell_wire::h1::head::{parse_head, FieldSpan, Head};
use swell_wire::h1::line::{Target, Version};
use swell_wire::h1::scan::HeadScan;
use swell_wire::limits::HeadLimits;

/// One request as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) path: Vec<u8>,
    pub(crate) query: Vec<u8>,
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) version: &'static str,
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    pub(crate) websocket: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) complete: bool,
}

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything was read and the connection waits for the next request.
    Idle,
    /// The input ends inside a message.
    Partial,
    /// The last request ends the connection.
    Close,
    /// The last request asks for WebSocket.
    Upgrade,
    /// The peer broke a rule.
    Error(WireError),
}

/// Everything that a connection's bytes meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) requests: Vec<Seen>,
    pub(crate) end: End,
}

enum State {
    Head(HeadScan),
    Body(BodyDecoder),
    Ended(End),
}

/// A connection that has received some segments.
pub(crate) struct Reader {
    limits: HeadLimits,
    buffer: Vec<u8>,
    spans: Vec<FieldSpan>,
    requests: Vec<Seen>,
    state: State,
}

impl Reader {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            buffer: Vec::new(),
            spans: Vec::new(),
            requests: Vec::new(),
            state: State::Head(HeadScan::default()),
        }
    }

    /// Takes in the next segment and reads as far as possible.
    pub(crate) fn receive(&mut self, segment: &[u8]) {
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        self.buffer.extend_from_slice(segment);
        while self.step() {}
    }

    /// What the segments meant when nothing follows.
    pub(crate) fn finish(self) -> Transcript {
        let end = match self.state {
            State::Ended(end) => end,
            State::Head(_) if self.buffer.is_empty() => End::Idle,
            State::Head(_) | State::Body(_) => End::Partial,
        };
        Transcript { requests: self.requests, end }
    }

    /// Reads one element; false when more bytes are needed or nothing more will be read.
    fn step(&mut self) -> bool {
        match &mut self.state {
            State::Ended(_) => false,
            State::Head(scan) => {
                if self.buffer.is_empty() {
                    return false;
                }
                // A fresh scan means that the fast path has not yet seen these bytes.
                let complete = *scan == HeadScan::default() || {
                    match scan.advance(&self.buffer, &self.limits) {
                        Ok(complete) => complete,
                        Err(error) => return self.end(End::Error(error)),
                    }
                };
                complete && self.head()
            }
            State::Body(_) => self.body(),
        }
    }

    fn head(&mut self) -> bool {
        let head = match parse_head(&self.buffer, &self.limits, &mut self.spans) {
            Ok(Some(head)) => head,
            Ok(None) => {
                let mut scan = HeadScan::default();
                let verdict = scan.advance(&self.buffer, &self.limits);
                assert_eq!(verdict, Ok(false), "the fast path and the scan disagree");
                self.state = State::Head(scan);
                return false;
            }
            Err(error) => return self.end(End::Error(error)),
        };
        assert_eq!(head.len, head.skipped + head.line_len + head.block.len());
        match judge(&head.line, &head.facts, head.block) {
            Ok(request) => {
                let line = &self.buffer[head.skipped..head.skipped + head.line_len];
                let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
                self.requests.push(seen(&head, target, &self.spans, &request));
                let len = head.len;
                self.buffer.drain(..len);
                self.state = State::Body(BodyDecoder::new(request.body));
                true
            }
            Err(error) => self.end(End::Error(error)),
        }
    }

    fn body(&mut self) -> bool {
        let (State::Body(decoder), Some(request)) = (&mut self.state, self.requests.last_mut()) else {
            return false;
        };
        let piece = match decoder.decode(&self.buffer) {
            Ok(piece) => piece,
            Err(error) => {
                assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(error), "an error must be final");
                return self.end(End::Error(error));
            }
        };
        assert_eq!(piece.done, decoder.is_done());
        assert!(piece.consumed <= self.buffer.len() && piece.data.end <= piece.consumed);
        request.body.extend_from_slice(&self.buffer[piece.data.clone()]);
        let used_up = piece.consumed == self.buffer.len();
        self.buffer.drain(..piece.consumed);
        if !piece.done {
            return !used_up;
        }
        request.complete = true;
        let (websocket, keep_alive) = (request.websocket, request.keep_alive);
        match (websocket, keep_alive) {
            (true, _) => self.end(End::Upgrade),
            (false, false) => self.end(End::Close),
            (false, true) => {
                self.state = State::Head(HeadScan::default());
                true
            }
        }
    }

    fn end(&mut self, end: End) -> bool {
        self.state = State::Ended(end);
        false
    }
}

fn seen(head: &Head<'_>, target: &[u8], spans: &[FieldSpan], request: &Request) -> Seen {
    let (path, query, authority): (&[u8], &[u8], _) = match head.line.target {
        Target::Origin { path, query } => (path, query, None),
        Target::Absolute { authority, path, query, .. } => (path, query, Some(authority.to_vec())),
        Target::Authority(authority) => (b"", b"", Some(authority.to_vec())),
        Target::Asterisk => (b"*", b"", None),
    };
    Seen {
        method: head.line.method.to_vec(),
        target: target.to_vec(),
        path: path.to_vec(),
        query: query.to_vec(),
        authority,
        version: match head.line.version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
            Version::Http2 => "2",
        },
        fields: spans.iter().map(|s| (s.name(head.block).to_vec(), s.value(head.block).to_vec())).collect(),
        framing: request.body,
        keep_alive: request.keep_alive,
        expect_continue: request.expect_continue,
        websocket: request.websocket,
        body: Vec::new(),
        complete: false,
    }
}

/// The transcript of these segments with the default limits.
pub(crate) fn read<'s>(segments: impl IntoIterator<Item = &'s [u8]>) -> Transcript {
    read_within(HeadLimits::default(), segments)
}

/// The transcript of these segments.
pub(crate) fn read_within<'s>(limits: HeadLimits, segments: impl IntoIterator<Item = &'s [u8]>) -> Transcript {
    let mut reader = Reader::new(limits);
    for segment in segments {
        reader.receive(segment);
    }
    reader.finish()
}
