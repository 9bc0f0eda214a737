//! permessage-deflate on the wire: RFC 7692 §6–§8. The peer's compressor is `miniz_oxide`, so that no implementation is
//! tested against itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod ws_support;

use miniz_oxide::deflate::core::{create_comp_flags_from_zip_params, CompressorOxide};
use miniz_oxide::inflate::decompress_to_vec;
use miniz_oxide::MZFlush;
use swell_wire::ws::{read_offer, Connection, DeflateOptions, DeflateParams, WsLimits};
use ws_support::inflate::inflate;
use ws_support::*;

const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// Options that ask for nothing and compress everything.
fn open_options() -> DeflateOptions {
    DeflateOptions {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
        threshold: 0,
        ..DeflateOptions::default()
    }
}

fn params(offer: &str, options: &DeflateOptions) -> DeflateParams {
    let fields = [
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Extensions", offer),
    ];
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    read_offer(fields, options).unwrap().deflate.unwrap()
}

fn connection(options: &DeflateOptions) -> Connection {
    Connection::new(Some(params("permessage-deflate; client_max_window_bits", options)), WsLimits::default())
}

fn deflated() -> Connection {
    connection(&open_options())
}

fn limited(limits: WsLimits) -> Connection {
    Connection::new(Some(params("permessage-deflate", &open_options())), limits)
}

/// A client's compressor, with its history.
struct Client(CompressorOxide);

impl Client {
    fn new(level: u8) -> Self {
        Self(CompressorOxide::new(create_comp_flags_from_zip_params(level.into(), 0, 0)))
    }

    fn compress(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0; data.len() * 2 + 1000];
        let result = miniz_oxide::deflate::stream::deflate(&mut self.0, data, &mut out, MZFlush::Sync);
        assert_eq!(result.bytes_consumed, data.len());
        out.truncate(result.bytes_written);
        assert!(out.ends_with(TAIL));
        out.truncate(out.len() - 4);
        out
    }
}

/// One message, compressed on its own.
fn compress(data: &[u8]) -> Vec<u8> {
    Client::new(6).compress(data)
}

/// What a client with no history makes of the compressed payload of one message.
fn inflated(payload: &[u8]) -> Vec<u8> {
    // An empty final block tells a one-shot inflater where the end is.
    decompress_to_vec(&[payload, TAIL, &[0x03, 0x00]].concat()).unwrap()
}

/// Text that compresses about as well as text does.
fn prose(len: usize) -> String {
    let mut state = 12345_u32;
    let mut out = String::new();
    while out.len() < len {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let word = ["wave ", "swell ", "tide ", "größe ", "harbour ", "moon ", "世界 "][(state >> 16) as usize % 7];
        out.push_str(word);
        out.push_str(&(state >> 20).to_string());
    }
    while out.len() > len {
        out.pop();
    }
    while out.len() < len {
        out.push('.');
    }
    out
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

#[test]
fn rfc7692_6_rsv1_only_on_the_first_frame_of_a_message() {
    for opcode in [CLOSE, PING, PONG, CONTINUATION] {
        assert_eq!(fails(deflated, &frame(FIN | RSV1 | opcode, b""), 0), 1002, "{opcode:#x}");
    }
    for first in [BINARY, RSV1 | BINARY] {
        let bytes = [frame(first, HELLO), frame(FIN | RSV1 | CONTINUATION, b"")].concat();
        assert_eq!(fails(deflated, &bytes, 0), 1002);
    }
    for bits in [0x10, 0x20, 0x30, 0x50, 0x60, 0x70] {
        assert_eq!(fails(deflated, &frame(FIN | bits | TEXT, b""), 0), 1002, "{bits:#x}");
    }
}

#[test]
fn rfc7692_6_plain_and_compressed_messages_mix() {
    let bytes = [
        frame(FIN | RSV1 | TEXT, HELLO),
        frame(FIN | TEXT, b"plain"),
        frame(RSV1 | BINARY, &HELLO[..2]),
        frame(FIN | PING, b"!"),
        frame(FIN | CONTINUATION, &HELLO[2..]),
        frame(BINARY, &[1]),
        frame(FIN | CONTINUATION, &[2]),
    ]
    .concat();
    let expected = [
        text("Hello"),
        text("plain"),
        Seen::Ping(b"!".to_vec()),
        Seen::Binary(b"Hello".to_vec()),
        Seen::Binary(vec![1, 2]),
    ];
    assert_eq!(every_split(deflated, &bytes), expected);
}

#[test]
fn rfc7692_7_2_3_1_a_compressed_hello() {
    assert_eq!(every_split(deflated, &frame(FIN | RSV1 | TEXT, HELLO)), [text("Hello")]);
    let bytes = [frame(RSV1 | TEXT, &HELLO[..3]), frame(FIN | CONTINUATION, &HELLO[3..])].concat();
    assert_eq!(every_split(deflated, &bytes), [text("Hello")]);
    for cut in 0..=HELLO.len() {
        let bytes = [frame(RSV1 | TEXT, &HELLO[..cut]), frame(FIN | CONTINUATION, &HELLO[cut..])].concat();
        assert_eq!(every_split(deflated, &bytes), [text("Hello")], "{cut}");
    }
}

#[test]
fn rfc7692_7_2_3_2_a_shared_window() {
    let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let bytes = [frame(FIN | RSV1 | TEXT, HELLO), frame(FIN | RSV1 | TEXT, &second)].concat();
    assert_eq!(every_split(deflated, &bytes), [text("Hello"), text("Hello")]);
    // The reference points before the start when nothing is shared.
    let alone = || connection(&DeflateOptions { client_no_context_takeover: true, ..open_options() });
    assert_eq!(fails(alone, &bytes, 1), 1007);
}

#[test]
fn rfc7692_7_2_3_3_a_block_without_compression() {
    let payload = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(every_split(deflated, &frame(FIN | RSV1 | TEXT, &payload)), [text("Hello")]);
}

#[test]
fn rfc7692_7_2_3_4_a_final_block() {
    let payload = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let bytes = [frame(FIN | RSV1 | TEXT, &payload), frame(FIN | RSV1 | TEXT, HELLO)].concat();
    assert_eq!(every_split(deflated, &bytes), [text("Hello"), text("Hello")]);
}

#[test]
fn rfc7692_7_2_3_5_two_blocks() {
    let payload = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(every_split(deflated, &frame(FIN | RSV1 | TEXT, &payload)), [text("Hello")]);
}

#[test]
fn rfc7692_7_2_3_6_an_empty_message() {
    assert_eq!(every_split(deflated, &frame(FIN | RSV1 | TEXT, &[0x00])), [text("")]);
    assert_eq!(every_split(deflated, &frame(FIN | RSV1 | BINARY, &[0x02, 0x00])), [Seen::Binary(vec![])]);
}

#[test]
fn rfc7692_7_2_2_messages_of_an_independent_compressor() {
    for level in [0, 1, 6, 9] {
        let mut client = Client::new(level);
        let mut connection = deflated();
        for size in [1, 10, 300, 5000, 4096, 70_000, 300_000, 7] {
            let message = prose(size);
            let bytes = frame(FIN | RSV1 | TEXT, &client.compress(message.as_bytes()));
            let seen: Vec<Seen> = bytes.chunks(1460).flat_map(|piece| feed(&mut connection, piece)).collect();
            assert!(seen == [text(&message)], "level {level}, {size} bytes");
            let message = noise(size);
            let bytes = frame(FIN | RSV1 | BINARY, &client.compress(&message));
            assert!(feed(&mut connection, &bytes) == [Seen::Binary(message)], "level {level}, {size} bytes");
        }
    }
}

#[test]
fn rfc7692_7_2_2_every_split_of_a_longer_message() {
    let message = prose(900);
    let payload = compress(message.as_bytes());
    let (first, second) = payload.split_at(payload.len() / 3);
    let bytes = [frame(RSV1 | TEXT, first), frame(FIN | PING, b""), frame(FIN | CONTINUATION, second)].concat();
    assert_eq!(every_split(deflated, &bytes), [Seen::Ping(vec![]), text(&message)]);
}

#[test]
fn rfc7692_7_2_2_what_is_not_deflate() {
    // Block type 3; a stored block whose lengths disagree; a distance before the start.
    for bad in [&[0xff][..], &[0x06], &[0x00, 0x05, 0x00, 0x05, 0x00, 0x48], &[0xf2, 0x00, 0x11, 0x00, 0x00]] {
        assert_eq!(fails(deflated, &frame(FIN | RSV1 | BINARY, bad), 0), 1007, "{bad:x?}");
        assert_eq!(fails(deflated, &frame(RSV1 | BINARY, bad), 0), 1007, "{bad:x?} in a first fragment");
    }
    let after = [frame(FIN | RSV1 | TEXT, HELLO), frame(FIN | RSV1 | TEXT, &[0xff; 9])].concat();
    assert_eq!(fails(deflated, &after, 1), 1007);
}

#[test]
fn rfc6455_8_1_inflated_text_is_utf8() {
    for bad in [&b"\xFF"[..], b"ok \xC3", b"\xED\xA0\x80", b"long enough \xF4\x90\x80\x80 to compress"] {
        assert_eq!(fails(deflated, &frame(FIN | RSV1 | TEXT, &compress(bad)), 0), 1007, "{bad:x?}");
        let binary = frame(FIN | RSV1 | BINARY, &compress(bad));
        assert_eq!(every_split(deflated, &binary), [Seen::Binary(bad.to_vec())]);
    }
    // Wrong bytes are noticed before a later fault, however the bytes arrive.
    let limits = WsLimits { message: 1000, ..WsLimits::default() };
    let bad = [b"\xFF".as_slice(), &[b'a'; 5000]].concat();
    assert_eq!(fails(|| limited(limits), &frame(FIN | RSV1 | TEXT, &compress(&bad)), 0), 1007);
    // Also before a fault that shows at the very end: here a block that is cut off behind a wrong byte.
    let payload = [0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00, 0x05];
    assert_eq!(fails(deflated, &frame(FIN | RSV1 | TEXT, &payload), 0), 1007);
    // A character may be cut by the end of a fragment.
    let payload = compress("größe".as_bytes());
    for cut in 0..payload.len() {
        let bytes = [frame(RSV1 | TEXT, &payload[..cut]), frame(FIN | CONTINUATION, &payload[cut..])].concat();
        assert_eq!(feed(&mut deflated(), &bytes), [text("größe")]);
    }
}

#[test]
fn cve_2018_1000518_the_bound_holds_while_inflating() {
    let limits = WsLimits { message: 1000, inflate_ratio: 0, ..WsLimits::default() };
    assert_eq!(
        every_split(|| limited(limits), &frame(FIN | RSV1 | TEXT, &compress(&[b'a'; 1000]))),
        [text(&"a".repeat(1000))]
    );
    for size in [1001, 5000, 100_000] {
        let payload = compress(&vec![b'a'; size]);
        assert_eq!(fails(|| limited(limits), &frame(FIN | RSV1 | TEXT, &payload), 0), 1009, "{size}");
        // Over any number of fragments, and before the last of them.
        let mut bytes = frame(RSV1 | TEXT, b"");
        for byte in &payload {
            bytes.extend(frame(CONTINUATION, &[*byte]));
        }
        assert_eq!(fails(|| limited(limits), &bytes, 0), 1009, "{size}");
    }
}

#[test]
fn rfc7692_8_an_expansion_out_of_proportion() {
    let zeros = vec![0; 4 * 1024 * 1024];
    let payload = compress(&zeros);
    assert!(zeros.len() / payload.len() > 500);
    let bytes = frame(FIN | RSV1 | BINARY, &payload);
    assert!(matches!(feed(&mut limited(WsLimits::default()), &bytes)[..], [Seen::Failure(1009, _)]));
    let mut connection = limited(WsLimits::default());
    assert!(fails_after(&mut connection, &bytes) < bytes.len() / 2);
    // Off, or below a megabyte, or within the ratio: fine.
    let off = WsLimits { inflate_ratio: 0, ..WsLimits::default() };
    assert!(feed(&mut limited(off), &bytes) == [Seen::Binary(zeros)]);
    let high = WsLimits { inflate_ratio: 1100, ..WsLimits::default() };
    let zeros = vec![0; 2 * 1024 * 1024];
    let bytes = frame(FIN | RSV1 | BINARY, &compress(&zeros));
    assert!(feed(&mut limited(high), &bytes) == [Seen::Binary(zeros)]);
    let small = vec![0; 1024 * 1024];
    let bytes = frame(FIN | RSV1 | BINARY, &compress(&small));
    assert!(feed(&mut limited(WsLimits::default()), &bytes) == [Seen::Binary(small)]);
    let message = prose(3_000_000);
    let bytes = frame(FIN | RSV1 | TEXT, &compress(message.as_bytes()));
    assert!(feed(&mut limited(WsLimits::default()), &bytes) == [text(&message)]);
}

#[test]
fn rfc7692_7_2_1_what_is_sent_can_be_inflated() {
    for server_no_context_takeover in [false, true] {
        for bits in 8..=15 {
            for level in [0, 1, 6, 9] {
                let options = DeflateOptions {
                    server_no_context_takeover,
                    server_max_window_bits: bits,
                    level,
                    ..open_options()
                };
                let mut connection = connection(&options);
                let mut out = Vec::new();
                let messages = [prose(20), prose(400), prose(400), prose(126), prose(9000), prose(100_000)];
                for message in &messages {
                    connection.send_text(message.as_bytes(), &mut out);
                }
                let mut stream = Vec::new();
                for ((first, payload), message) in sent_frames(&out).into_iter().zip(&messages) {
                    match first {
                        0x81 => assert_eq!(payload, message.as_bytes()),
                        0xC1 if server_no_context_takeover => {
                            assert!(payload.len() < message.len());
                            assert_eq!(inflated(&payload), message.as_bytes());
                        }
                        0xC1 => {
                            stream.extend(&payload);
                            stream.extend(TAIL);
                        }
                        other => panic!("{other:#x}"),
                    }
                }
                if !server_no_context_takeover {
                    stream.extend([0x03, 0x00]);
                    assert_eq!(decompress_to_vec(&stream).unwrap(), messages.concat().as_bytes());
                }
            }
        }
    }
}

#[test]
fn rfc7692_7_1_2_1_no_distance_beyond_the_window() {
    let text = prose(20_000);
    let sent_twice = |options: &DeflateOptions| {
        let mut connection = connection(options);
        let mut out = Vec::new();
        connection.send_binary(text.as_bytes(), &mut out);
        connection.send_binary(text.as_bytes(), &mut out);
        sent_frames(&out)
    };
    for level in [1, 2, 3, 6, 9] {
        for bits in (8..=15).rev() {
            let window = 1 << bits;
            let options = DeflateOptions { server_max_window_bits: bits, level, ..open_options() };
            let kept = sent_twice(&options);
            let (clear, furthest) = inflate(&[&kept[0].1, TAIL, &kept[1].1, TAIL].concat());
            assert!(clear == text.repeat(2).as_bytes());
            assert!(furthest <= window, "{bits} bits, level {level}: {furthest}");
            // The window is used, or this test sees nothing.
            assert!(furthest > window / 3 || bits == 8, "{bits} bits, level {level}: {furthest}");
            // A compressor that another connection left behind must not bring its larger window along.
            let options = DeflateOptions { server_no_context_takeover: true, ..options };
            for (first, payload) in sent_twice(&options) {
                assert_eq!(first, 0xC2);
                let (clear, furthest) = inflate(&[&payload, TAIL].concat());
                assert!(clear == text.as_bytes());
                assert!(furthest <= window, "{bits} bits, level {level}: {furthest}");
            }
        }
    }
}

#[test]
fn rfc7692_7_2_1_history_makes_repeats_small() {
    let mut kept = connection(&open_options());
    let message = prose(400);
    let mut first = Vec::new();
    kept.send_text(message.as_bytes(), &mut first);
    let mut second = Vec::new();
    kept.send_text(message.as_bytes(), &mut second);
    assert!(second.len() < 20 && first.len() > 100, "{} then {}", first.len(), second.len());
    let mut alone = connection(&DeflateOptions { server_no_context_takeover: true, ..open_options() });
    for _ in 0..3 {
        let mut out = Vec::new();
        alone.send_text(message.as_bytes(), &mut out);
        assert_eq!(out.len(), first.len());
    }
}

#[test]
fn connections_that_share_a_compressor_do_not_share_history() {
    let options =
        DeflateOptions { server_no_context_takeover: true, client_no_context_takeover: true, ..open_options() };
    let other = DeflateOptions { level: 1, ..options };
    let mut connections = [connection(&options), connection(&options), connection(&other)];
    let message = prose(2000);
    let compressed = compress(message.as_bytes());
    for _ in 0..3 {
        for connection in &mut connections {
            let mut out = Vec::new();
            connection.send_text(message.as_bytes(), &mut out);
            assert_eq!(inflated(&sent_frames(&out)[0].1), message.as_bytes());
            assert_eq!(feed(connection, &frame(FIN | RSV1 | TEXT, &compressed)), [text(&message)]);
        }
    }
}

#[test]
fn small_messages_and_noise_are_sent_plain() {
    let mut connection = connection(&DeflateOptions { threshold: 100, ..DeflateOptions::default() });
    let mut out = Vec::new();
    connection.send_text(&[b'a'; 99], &mut out);
    connection.send_text(&[b'a'; 100], &mut out);
    connection.send_binary(&noise(5000), &mut out);
    connection.send_text(b"", &mut out);
    connection.send_ping(&[b'a'; 100], &mut out);
    let frames = sent_frames(&out);
    assert_eq!((frames[0].0, frames[1].0), (0x81, 0xC1));
    assert_eq!(frames[2], (0x82, noise(5000)));
    assert_eq!((&frames[3], frames[4].0), (&(0x81, vec![]), 0x89));
    // An empty message is sent plain even when every size is compressed.
    let mut out = Vec::new();
    deflated().send_text(b"", &mut out);
    deflated().send_text(b"aaaaaaaaaaaaaaaaaaaaaaaa", &mut out);
    let frames = sent_frames(&out);
    assert_eq!((frames[0].0, frames[1].0), (0x81, 0xC1));
}

#[test]
fn a_compressed_frame_gets_the_head_of_its_own_length() {
    // Compressed lengths on both sides of each change of the head's form, with every form expected beforehand.
    for (size, data) in [(124, noise(124)), (130, noise(130)), (65_530, noise(65_530)), (65_600, noise(65_600))] {
        let mut connection = deflated();
        let mut out = b"before".to_vec();
        connection.send_binary(&data, &mut out);
        let frames = sent_frames(&out[6..]);
        assert_eq!((out.starts_with(b"before"), frames.len(), frames[0].0), (true, 1, 0xC2), "{size}");
        assert!(inflated(&frames[0].1) == data, "{size}");
    }
    for size in [126, 70_000] {
        let data = vec![b'z'; size];
        let mut out = Vec::new();
        deflated().send_binary(&data, &mut out);
        let frames = sent_frames(&out);
        assert!(frames[0].1.len() < 126.max(size / 100));
        assert!(inflated(&frames[0].1) == data);
    }
}
