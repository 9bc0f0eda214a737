//! One WebSocket connection from the server's side: bytes in, events out; messages in, frames out. RFC 6455 §5–§7.
//!
//! Deliberately unknown here: sockets, time, ASGI. A ping and a close are reported, the caller answers them. Called by
//! the engine once the handshake is done.
//!
//! Receiving is three enums. `Reading` is the place inside a frame, `Assembly` the place inside a message,
//! `Sending` the other direction.

use super::buffer::{forget, grow};
use super::close::{self, Fault};
use super::codec::{Bounds, Codec};
pub use super::event::Event;
use super::event::{failure, inflate_fault, NOT_UTF8, TOO_BIG};
use super::extension::DeflateParams;
use super::frame::{self, Head, Opcode, CONTROL_MAX, HEAD_MAX};
use super::limits::WsLimits;
use super::utf8;

/// Bytes unmasked at a time on the way into the inflater.
const UNMASK_STEP: usize = 4096;

/// The place inside a frame.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// Between frames, or with the first `have` bytes of a head at hand.
    Head { bytes: [u8; HEAD_MAX], have: u8 },
    /// Inside a payload of which `taken` bytes have arrived.
    Payload { head: Head, taken: u64 },
    /// After a close or a failure: nothing is read any more (RFC 6455 §5.5.1, §7.1.7).
    Ended,
}

const BETWEEN_FRAMES: Reading = Reading::Head { bytes: [0; HEAD_MAX], have: 0 };

/// The place inside a message.
#[derive(Debug, Clone, Copy)]
enum Assembly {
    /// No message is open; the buffer is empty.
    None,
    /// A first frame without FIN has come, or is coming.
    Open(Open),
    /// The buffer holds a message that the caller is looking at.
    Delivered,
}

/// A message under way.
#[derive(Debug, Clone, Copy)]
struct Open {
    kind: Kind,
    encoding: Encoding,
    frames: usize,
    /// Bytes at the start of the buffer that are known to be UTF-8.
    checked: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// How the payload of a message is stored in its frames.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Plain,
    /// Deflate; so many compressed bytes have been read.
    Deflate(u64),
}

/// The sending half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// A close frame was written: nothing may follow it (RFC 6455 §5.5.1).
    Closed,
}

/// An event whose bytes lie in the buffers.
enum Ready {
    Message(Kind),
    Control(Opcode, u8),
}

/// The state of one connection. About 250 bytes; a message buffer of up to 4 KiB and the compression state are added
/// when they are first needed.
pub struct Connection {
    limits: WsLimits,
    codec: Option<Box<Codec>>,
    reading: Reading,
    assembly: Assembly,
    message: Vec<u8>,
    control: [u8; CONTROL_MAX],
    sending: Sending,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("reading", &self.reading)
            .field("assembly", &self.assembly)
            .field("buffered", &self.message.len())
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection right after the handshake. `deflate` is what [`read_offer`](super::read_offer) returned, if the
    /// response said so.
    #[must_use]
    pub fn new(deflate: Option<DeflateParams>, limits: WsLimits) -> Self {
        Self {
            limits,
            codec: deflate.map(|params| Box::new(Codec::new(params))),
            reading: BETWEEN_FRAMES,
            assembly: Assembly::None,
            message: Vec::new(),
            control: [0; CONTROL_MAX],
            sending: Sending::Open,
        }
    }

    /// Reads `input` from position `*consumed` on and moves `*consumed` behind what was read. Call until it returns
    /// `None`: then all of `input` has been taken in, and nothing of it has to be kept.
    ///
    /// After [`Event::Close`] or [`Event::Failure`] everything is read over and `None` comes back. Never panics.
    #[inline]
    pub fn receive<'c>(&'c mut self, input: &[u8], consumed: &mut usize) -> Option<Event<'c>> {
        if let Assembly::Delivered = self.assembly {
            forget(&mut self.message);
            self.assembly = Assembly::None;
        }
        match self.read(input, consumed) {
            Ok(None) => None,
            Ok(Some(Ready::Message(Kind::Binary))) => Some(Event::Binary(&self.message)),
            Ok(Some(Ready::Message(Kind::Text))) => match simdutf8::basic::from_utf8(&self.message) {
                Ok(text) => Some(Event::Text(text)),
                Err(_) => {
                    self.reading = Reading::Ended;
                    *consumed = input.len();
                    Some(failure(NOT_UTF8))
                }
            },
            Ok(Some(Ready::Control(opcode, len))) => Some(self.control_event(opcode, len, input, consumed)),
            Err(fault) => {
                self.reading = Reading::Ended;
                *consumed = input.len();
                self.message = Vec::new();
                self.codec = None;
                Some(failure(fault))
            }
        }
    }

    /// Appends a text message; `data` must be UTF-8. After a close frame nothing is appended, here and below.
    pub fn send_text(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.send_message(Opcode::Text, data, out);
    }

    /// Appends a binary message.
    pub fn send_binary(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.send_message(Opcode::Binary, data, out);
    }

    /// Appends a ping with at most 125 bytes of payload; more are cut off.
    pub fn send_ping(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.send_control(Opcode::Ping, payload, out);
    }

    /// Appends a pong with at most 125 bytes of payload; more are cut off.
    pub fn send_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.send_control(Opcode::Pong, payload, out);
    }

    /// Appends a close frame, the last frame of this direction. A code that must not go over the wire, such as 1005,
    /// makes it an empty one; the reason is cut at 123 bytes, between two characters.
    pub fn send_close(&mut self, code: u16, reason: &str, out: &mut Vec<u8>) {
        let mut storage = [0; CONTROL_MAX];
        self.send_control(Opcode::Close, close::payload(code, reason, &mut storage), out);
        self.sending = Sending::Closed;
    }

    /// Whether [`send_close`](Self::send_close) was called.
    #[must_use]
    pub fn close_sent(&self) -> bool {
        self.sending == Sending::Closed
    }

    // Receiving

    #[inline]
    fn read(&mut self, input: &[u8], consumed: &mut usize) -> Result<Option<Ready>, Fault> {
        loop {
            let rest = input.get(*consumed..).unwrap_or_default();
            match self.reading {
                Reading::Head { bytes, have } => {
                    let Some(head) = self.read_head(bytes, have, rest, consumed)? else {
                        return Ok(None);
                    };
                    self.start_frame(&head)?;
                    self.reading = Reading::Payload { head, taken: 0 };
                }
                Reading::Payload { head, taken } => {
                    let missing = head.length - taken;
                    let here = usize::try_from(missing).map_or(rest.len(), |missing| missing.min(rest.len()));
                    *consumed += here;
                    self.read_payload(&head, taken, &rest[..here])?;
                    if (here as u64) < missing {
                        self.reading = Reading::Payload { head, taken: taken + here as u64 };
                        return Ok(None);
                    }
                    self.reading = BETWEEN_FRAMES;
                    if let Some(ready) = self.end_frame(&head)? {
                        return Ok(Some(ready));
                    }
                }
                Reading::Ended => {
                    *consumed = input.len();
                    return Ok(None);
                }
            }
        }
    }

    /// A whole head, from `rest` alone in the common case.
    #[inline]
    fn read_head(
        &mut self,
        mut bytes: [u8; HEAD_MAX],
        have: u8,
        rest: &[u8],
        consumed: &mut usize,
    ) -> Result<Option<Head>, Fault> {
        let deflate = self.codec.is_some();
        if have == 0 {
            if let Some((head, len)) = frame::read_head(rest, deflate)? {
                *consumed += len;
                return Ok(Some(head));
            }
        }
        let have = usize::from(have);
        let copied = rest.len().min(HEAD_MAX - have);
        bytes[have..have + copied].copy_from_slice(&rest[..copied]);
        let known = have + copied;
        match frame::read_head(&bytes[..known], deflate)? {
            Some((head, len)) => {
                *consumed += len - have;
                Ok(Some(head))
            }
            None => {
                *consumed += copied;
                self.reading = Reading::Head { bytes, have: known as u8 };
                Ok(None)
            }
        }
    }

    /// Judges a frame by its head, before any of its payload is stored (RFC 6455 §5.4).
    #[inline]
    fn start_frame(&mut self, head: &Head) -> Result<(), Fault> {
        let kind = match head.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => return Ok(()),
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            Opcode::Continuation => None,
        };
        let open = match (kind, self.assembly) {
            (None, Assembly::Open(open)) => Open { frames: open.frames + 1, ..open },
            (None, _) => return Err(Fault::protocol("a continuation of nothing (RFC 6455 §5.4)")),
            (Some(_), Assembly::Open(_)) => {
                return Err(Fault::protocol("a new message inside a fragmented one (RFC 6455 §5.4)"))
            }
            (Some(kind), _) => {
                let encoding = if head.compressed { Encoding::Deflate(0) } else { Encoding::Plain };
                Open { kind, encoding, frames: 1, checked: 0 }
            }
        };
        if open.frames > self.limits.frames_per_message {
            return Err(Fault::too_big("more fragments than the limit (RFC 6455 §5.4)"));
        }
        let (held, most) = match open.encoding {
            Encoding::Plain => (self.message.len() as u64, self.limits.message as u64),
            // Data that does not compress grows by 5 bytes per stored block; compressors with little memory make
            // blocks of some 500 bytes.
            Encoding::Deflate(read) => {
                let most = self.limits.message as u64;
                (read, most.saturating_add(most / 64).saturating_add(64))
            }
        };
        if held.saturating_add(head.length) > most {
            return Err(TOO_BIG);
        }
        self.assembly = Assembly::Open(open);
        Ok(())
    }

    /// Takes in the next bytes of a payload.
    #[inline]
    fn read_payload(&mut self, head: &Head, taken: u64, piece: &[u8]) -> Result<(), Fault> {
        if head.opcode.is_control() {
            let start = taken as usize;
            let place = &mut self.control[start..start + piece.len()];
            place.copy_from_slice(piece);
            frame::unmask(place, head.key, taken);
            return Ok(());
        }
        let Assembly::Open(mut open) = self.assembly else {
            return Ok(());
        };
        // A last frame that is here as a whole is checked with its message, when that is handed out.
        let whole = head.fin && piece.len() as u64 == head.length;
        let result = match open.encoding {
            Encoding::Plain => {
                let start = self.message.len();
                let most = usize::try_from(head.length - taken).map_or(usize::MAX, |more| start.saturating_add(more));
                grow(&mut self.message, piece.len(), most);
                self.message.extend_from_slice(piece);
                frame::unmask(&mut self.message[start..], head.key, taken);
                Ok(())
            }
            Encoding::Deflate(ref mut read) => self.inflate(head, taken, piece, read),
        };
        if open.kind == Kind::Text && !(whole && result.is_ok()) {
            // Wrong bytes that came out before another fault were there first.
            open.checked = utf8::check(&self.message, open.checked).ok_or(NOT_UTF8)?;
        }
        self.assembly = Assembly::Open(open);
        result
    }

    fn inflate(&mut self, head: &Head, taken: u64, piece: &[u8], read: &mut u64) -> Result<(), Fault> {
        let Some(codec) = &mut self.codec else {
            return Ok(());
        };
        let bounds = Bounds { message: self.limits.message, ratio: self.limits.inflate_ratio };
        let mut offset = taken;
        for step in piece.chunks(UNMASK_STEP) {
            let mut storage = [0; UNMASK_STEP];
            let clear = &mut storage[..step.len()];
            clear.copy_from_slice(step);
            frame::unmask(clear, head.key, offset);
            offset += step.len() as u64;
            codec.inflate(clear, *read, bounds, &mut self.message).map_err(inflate_fault)?;
            *read += step.len() as u64;
        }
        Ok(())
    }

    /// What a frame that is all there means.
    #[inline]
    fn end_frame(&mut self, head: &Head) -> Result<Option<Ready>, Fault> {
        if head.opcode.is_control() {
            return Ok(Some(Ready::Control(head.opcode, head.length as u8)));
        }
        if !head.fin {
            return Ok(None);
        }
        let Assembly::Open(open) = self.assembly else {
            return Ok(None);
        };
        if let (Encoding::Deflate(read), Some(codec)) = (open.encoding, &mut self.codec) {
            let bounds = Bounds { message: self.limits.message, ratio: self.limits.inflate_ratio };
            let result = codec.inflate_end(read, bounds, &mut self.message).map_err(inflate_fault);
            if open.kind == Kind::Text && result.is_err() {
                utf8::check(&self.message, open.checked).ok_or(NOT_UTF8)?;
            }
            result?;
        }
        self.assembly = Assembly::Delivered;
        Ok(Some(Ready::Message(open.kind)))
    }

    /// The event for a control frame whose payload is in its buffer.
    fn control_event<'c>(&'c mut self, opcode: Opcode, len: u8, input: &[u8], consumed: &mut usize) -> Event<'c> {
        let payload = &self.control[..usize::from(len)];
        match opcode {
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong(payload),
            _ => {
                self.reading = Reading::Ended;
                *consumed = input.len();
                self.message = Vec::new();
                match close::read(payload) {
                    Ok((code, reason)) => Event::Close { code, reason },
                    Err(fault) => failure(fault),
                }
            }
        }
    }

    // Sending

    fn send_message(&mut self, opcode: Opcode, data: &[u8], out: &mut Vec<u8>) {
        if self.sending == Sending::Closed {
            return;
        }
        if let Some(codec) = &mut self.codec {
            if frame::write_with(opcode, data.len(), out, |out| codec.deflate(data, out)) {
                return;
            }
        }
        frame::write(opcode, data, out);
    }

    fn send_control(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        if self.sending == Sending::Open {
            frame::write(opcode, &payload[..payload.len().min(CONTROL_MAX)], out);
        }
    }
}
