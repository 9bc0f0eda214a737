//! A WebSocket stream from a client, against a second reader written the slow and obvious way on the complete bytes.
//!
//! The first byte of the input chooses whether compression is agreed, the second how the rest is cut. Holds when the
//! events are the same however the input is cut and, without compression, the same as the second reader's; and when a
//! sent message comes back whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use swell_wire::ws::{read_offer, valid_close_code, Connection, DeflateOptions, DeflateParams, Event, WsLimits};

const LIMITS: WsLimits = WsLimits { message: 4096, frames_per_message: 8, inflate_ratio: 0 };

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
    Failure(u16),
}

fn receive<'p>(deflate: Option<DeflateParams>, pieces: impl Iterator<Item = &'p [u8]>) -> Vec<Seen> {
    let mut connection = Connection::new(deflate, LIMITS);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut consumed = 0;
        while let Some(event) = connection.receive(piece, &mut consumed) {
            assert!(consumed <= piece.len());
            seen.push(match event {
                Event::Text(text) => Seen::Text(text.to_owned()),
                Event::Binary(bytes) => Seen::Binary(bytes.to_owned()),
                Event::Ping(bytes) => Seen::Ping(bytes.to_owned()),
                Event::Pong(bytes) => Seen::Pong(bytes.to_owned()),
                Event::Close { code, reason } => Seen::Close(code, reason.to_owned()),
                Event::Failure { code, .. } => Seen::Failure(code),
            });
        }
        assert_eq!(consumed, piece.len());
    }
    let messages = seen.iter().map(|event| match event {
        Seen::Text(text) => text.len(),
        Seen::Binary(bytes) => bytes.len(),
        Seen::Ping(bytes) | Seen::Pong(bytes) => bytes.len() + LIMITS.message - 125,
        _ => 0,
    });
    assert!(messages.max().unwrap_or(0) <= LIMITS.message);
    seen
}

/// RFC 6455 §5 without compression, one whole frame after the other. The last frame may be cut off: then its own fault
/// is not decided here, which `None` at the end of the answer says.
fn reference(mut rest: &[u8]) -> (Vec<Seen>, Option<Seen>) {
    let mut seen = Vec::new();
    let mut open: Option<(u8, Vec<u8>, usize)> = None;
    loop {
        if rest.len() < 2 {
            return (seen, None);
        }
        let (fin, reserved, opcode) = (rest[0] & 0x80 != 0, rest[0] & 0x70, rest[0] & 0x0F);
        let (masked, short) = (rest[1] & 0x80 != 0, usize::from(rest[1] & 0x7F));
        let control = opcode >= 8;
        let known = matches!(opcode, 0..=2 | 8..=10);
        if reserved != 0 || !known || !masked || control && (!fin || short > 125) {
            return (seen, Some(Seen::Failure(1002)));
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if rest.len() < 2 + extended {
            return (seen, None);
        }
        let long = rest[2..2 + extended].iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        let length = if extended == 0 { short as u64 } else { long };
        if extended == 2 && length < 126 || extended == 8 && (length < 65_536 || length >> 63 == 1) {
            return (seen, Some(Seen::Failure(1002)));
        }
        if rest.len() < 2 + extended + 4 {
            return (seen, None);
        }
        if !control {
            if (opcode == 0) != open.is_some() {
                return (seen, Some(Seen::Failure(1002)));
            }
            let (_, held, frames) = open.get_or_insert((opcode, Vec::new(), 0));
            *frames += 1;
            if *frames > LIMITS.frames_per_message || held.len() as u64 + length > LIMITS.message as u64 {
                return (seen, Some(Seen::Failure(1009)));
            }
        }
        let key = &rest[2 + extended..6 + extended];
        let body = &rest[6 + extended..];
        let here = body.len().min(length as usize);
        let payload: Vec<u8> = body[..here].iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let whole = here as u64 == length;
        rest = &body[here..];
        if control {
            if !whole {
                return (seen, None);
            }
            match opcode {
                9 => seen.push(Seen::Ping(payload)),
                10 => seen.push(Seen::Pong(payload)),
                _ => {
                    let end = match payload.as_slice() {
                        [] => Seen::Close(1005, String::new()),
                        [_] => Seen::Failure(1002),
                        [high, low, reason @ ..] => {
                            let code = u16::from(*high) << 8 | u16::from(*low);
                            match std::str::from_utf8(reason) {
                                _ if !valid_close_code(code) => Seen::Failure(1002),
                                Ok(reason) => Seen::Close(code, reason.to_owned()),
                                Err(_) => Seen::Failure(1007),
                            }
                        }
                    };
                    return (seen, Some(end));
                }
            }
            continue;
        }
        let Some((kind, held, _)) = &mut open else {
            continue;
        };
        held.extend(payload);
        if *kind == 1 {
            let end_wrong = whole && fin;
            if std::str::from_utf8(held).is_err_and(|error| error.error_len().is_some() || end_wrong) {
                return (seen, Some(Seen::Failure(1007)));
            }
        }
        if !whole {
            return (seen, None);
        }
        if fin {
            if let Some((kind, held, _)) = open.take() {
                seen.push(if kind == 1 { Seen::Text(String::from_utf8(held).unwrap()) } else { Seen::Binary(held) });
            }
        }
    }
}

fn params(choice: u8) -> Option<DeflateParams> {
    let options = DeflateOptions {
        client_no_context_takeover: choice & 2 != 0,
        server_no_context_takeover: choice & 4 != 0,
        server_max_window_bits: 8 + (choice >> 4 & 7),
        client_max_window_bits: 15,
        threshold: 1,
        ..DeflateOptions::default()
    };
    let fields: [(&[u8], &[u8]); 3] = [
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
    ];
    read_offer(fields.into_iter(), &options).unwrap().deflate
}

/// The payload of what the server sends, masked as if a client had sent it.
fn masked(sent: &[u8]) -> Vec<u8> {
    let head = match sent[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut out = sent[..head].to_vec();
    out[1] |= 0x80;
    out.extend([0; 4]);
    out.extend(&sent[head..]);
    out
}

fuzz_target!(|data: &[u8]| {
    let [choice, cut, stream @ ..] = data else {
        return;
    };
    let deflate = if choice & 1 != 0 { params(*choice) } else { None };
    let whole = receive(deflate, std::iter::once(stream));
    assert_eq!(receive(deflate, stream.chunks(1)), whole);
    assert_eq!(receive(deflate, stream.chunks(usize::from(*cut) + 2)), whole);
    let (first, second) = stream.split_at(usize::from(*cut).min(stream.len()));
    assert_eq!(receive(deflate, [first, second].into_iter()), whole);
    if deflate.is_none() {
        let (mut expected, end) = reference(stream);
        expected.extend(end);
        assert_eq!(whole, expected);
    }
    // The receiver must keep a history if the sender does.
    let agree = *choice & 4 != 0 || *choice & 2 == 0;
    if stream.len() <= LIMITS.message && deflate.is_some() && agree {
        let mut sender = Connection::new(deflate, LIMITS);
        let mut bytes = Vec::new();
        for _ in 0..2 {
            let mut out = Vec::new();
            sender.send_binary(stream, &mut out);
            bytes.extend(masked(&out));
        }
        assert_eq!(receive(deflate, bytes.chunks(7)), [Seen::Binary(stream.to_vec()), Seen::Binary(stream.to_vec())]);
    }
});
