//! A client's side for the WebSocket tests: masked frames, owned events, and one helper that runs a case whole, byte by
//! byte and split in two at every offset.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part of this module")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

pub mod inflate;

use swell_wire::ws::{Connection, Event, WsLimits};

pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// An event that owns its bytes. Of a failure only the code counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
    Failure(u16, &'static str),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_owned()),
            Event::Ping(bytes) => Self::Ping(bytes.to_owned()),
            Event::Pong(bytes) => Self::Pong(bytes.to_owned()),
            Event::Close { code, reason } => Self::Close(code, reason.to_owned()),
            Event::Failure { code, reason } => Self::Failure(code, reason),
        }
    }
}

pub fn text(value: &str) -> Seen {
    Seen::Text(value.to_owned())
}

pub fn plain() -> Connection {
    Connection::new(None, WsLimits::default())
}

/// A masked frame with the shortest form of its length.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = head(first, payload.len() as u64);
    let key = [out[out.len() - 4], out[out.len() - 3], out[out.len() - 2], out[out.len() - 1]];
    out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
    out
}

/// The head of a masked frame.
pub fn head(first: u8, length: u64) -> Vec<u8> {
    let mut out = vec![first];
    match length {
        0..=125 => out.push(0x80 | length as u8),
        126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend([0x37, 0xfa, 0x21, 0x3d]);
    out
}

/// A close frame with a code and raw bytes as reason.
pub fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason);
    frame(FIN | CLOSE, &payload)
}

/// Feeds one piece and collects its events; everything must be taken in.
pub fn feed(connection: &mut Connection, piece: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut consumed = 0;
    while let Some(event) = connection.receive(piece, &mut consumed) {
        seen.push(event.into());
    }
    assert_eq!(consumed, piece.len(), "None means that all of the input has been taken in");
    seen
}

/// Runs a case whole, byte by byte, and split in two at every offset; all must show the same events.
pub fn every_split(make: impl Fn() -> Connection, bytes: &[u8]) -> Vec<Seen> {
    let whole = feed(&mut make(), bytes);
    let mut connection = make();
    let single: Vec<Seen> = bytes.iter().flat_map(|byte| feed(&mut connection, &[*byte])).collect();
    assert_eq!(single, whole, "byte by byte");
    for offset in 0..=bytes.len() {
        let mut connection = make();
        let mut seen = feed(&mut connection, &bytes[..offset]);
        seen.extend(feed(&mut connection, &bytes[offset..]));
        assert_eq!(seen, whole, "split at {offset}");
    }
    whole
}

/// The one failure code that a case ends in, after `before` other events.
pub fn fails(make: impl Fn() -> Connection, bytes: &[u8], before: usize) -> u16 {
    let mut bytes = bytes.to_vec();
    // What follows a failure is never looked at.
    bytes.extend(frame(FIN | TEXT, b"after"));
    let seen = every_split(make, &bytes);
    match seen.as_slice() {
        [.., Seen::Failure(code, reason)] if seen.len() == before + 1 => {
            assert!(reason.contains("(RFC ") && reason.len() <= 123, "{reason}");
            *code
        }
        other => panic!("expected a failure after {before} events, saw {other:?}"),
    }
}

/// How many bytes of a case are read before it fails.
pub fn fails_after(connection: &mut Connection, bytes: &[u8]) -> usize {
    for (index, byte) in bytes.iter().enumerate() {
        if let Some(Seen::Failure(..)) = feed(connection, &[*byte]).first() {
            return index + 1;
        }
    }
    panic!("no failure in {bytes:?}");
}

/// An unmasked frame from the server, as (first byte, payload); panics when the bytes are not whole frames.
pub fn sent_frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[1] & 0x80, 0, "a server does not mask");
        let (length, head) = match bytes[1] {
            126 => (u64::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (u64::from_be_bytes(bytes[2..10].try_into().unwrap()), 10),
            short => (u64::from(short), 2),
        };
        let end = head + length as usize;
        frames.push((bytes[0], bytes[head..end].to_vec()));
        bytes = &bytes[end..];
    }
    frames
}
