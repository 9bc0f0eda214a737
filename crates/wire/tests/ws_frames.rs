//! Framing and messages: RFC 6455 §5. Every case is run whole, byte by byte and split at every offset.

mod ws_support;

use swell_wire::ws::{encode_binary, encode_text};
use ws_support::*;

fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn rfc6455_5_1_a_client_must_mask() {
    // The unmasked "Hello" of §5.7.
    assert_eq!(fails(plain, &[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f], 0), 1002);
    assert_eq!(fails(plain, &[0x89, 0x00], 0), 1002);
    assert_eq!(fails_after(&mut plain(), &[0x81, 0x05, 0x48]), 2);
}

#[test]
fn rfc6455_5_2_reserved_bits_without_an_extension() {
    for bits in 1..8_u8 {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            let first = FIN | bits << 4 | opcode;
            assert_eq!(fails(plain, &frame(first, b""), 0), 1002, "{first:#x}");
            assert_eq!(fails_after(&mut plain(), &frame(first, b"x")), 2, "{first:#x}");
        }
        let after = joined(&[frame(TEXT, b"a"), frame(FIN | bits << 4 | CONTINUATION, b"b")]);
        assert_eq!(fails(plain, &after, 0), 1002);
    }
}

#[test]
fn rfc6455_5_2_undefined_opcodes() {
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        assert_eq!(fails(plain, &frame(FIN | opcode, b""), 0), 1002, "{opcode:#x}");
        assert_eq!(fails(plain, &frame(opcode, b"payload"), 0), 1002, "{opcode:#x}");
        let after = joined(&[frame(FIN | TEXT, b"good"), frame(FIN | opcode, b"")]);
        assert_eq!(fails(plain, &after, 1), 1002, "{opcode:#x}");
    }
}

#[test]
fn rfc6455_5_2_every_form_of_length() {
    for length in [0, 1, 7, 8, 9, 125, 126, 127, 128, 1000] {
        let payload: Vec<u8> = (0..length).map(|index| (index * 7) as u8).collect();
        let bytes = joined(&[frame(FIN | BINARY, &payload), frame(FIN | PING, b"!")]);
        let expected = [Seen::Binary(payload), Seen::Ping(b"!".to_vec())];
        assert_eq!(every_split(plain, &bytes), expected, "{length}");
    }
    for length in [65_535, 65_536, 65_537, 1_000_000] {
        let payload: Vec<u8> = (0..length).map(|index| ((index * 31) >> 3) as u8).collect();
        assert_eq!(feed(&mut plain(), &frame(FIN | BINARY, &payload)), [Seen::Binary(payload)], "{length}");
    }
}

#[test]
fn rfc6455_5_2_a_length_has_its_shortest_form() {
    for (form, lengths) in [(126_u8, &[0_u64, 1, 125][..]), (127, &[0, 125, 126, 65_535])] {
        for length in lengths {
            let mut bytes = vec![FIN | BINARY, 0x80 | form];
            match form {
                126 => bytes.extend((*length as u16).to_be_bytes()),
                _ => bytes.extend(length.to_be_bytes()),
            }
            // Refused at the last byte of the length, before the key.
            assert_eq!(fails_after(&mut plain(), &bytes), bytes.len());
            assert_eq!(fails(plain, &bytes, 0), 1002, "{length} as {form}");
        }
    }
}

#[test]
fn rfc6455_5_2_the_highest_bit_of_a_length_is_zero() {
    for top in [1_u64 << 63, u64::MAX] {
        let mut bytes = vec![FIN | BINARY, 0x80 | 127];
        bytes.extend(top.to_be_bytes());
        assert_eq!(fails(plain, &bytes, 0), 1002);
    }
}

#[test]
fn rfc6455_5_3_unmasking_with_any_key_at_any_place() {
    let payload: Vec<u8> = (0..100).collect();
    for key in [[0, 0, 0, 0], [1, 2, 3, 4], [0xFF, 0, 0xFF, 0x80]] {
        let mut bytes = vec![FIN | BINARY, 0x80 | 100];
        bytes.extend(key);
        bytes.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
        assert_eq!(every_split(plain, &bytes), [Seen::Binary(payload.clone())]);
        // Three pieces, so that a piece starts and ends at every remainder of 4 and 8.
        for first in 6..24 {
            for second in first..40 {
                let mut connection = plain();
                let mut seen = feed(&mut connection, &bytes[..first]);
                seen.extend(feed(&mut connection, &bytes[first..second]));
                seen.extend(feed(&mut connection, &bytes[second..]));
                assert_eq!(seen, [Seen::Binary(payload.clone())]);
            }
        }
    }
}

#[test]
fn rfc6455_5_4_fragments_make_one_message() {
    let bytes = joined(&[frame(TEXT, b"Hel"), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, b"lo")]);
    assert_eq!(every_split(plain, &bytes), [text("Hello")]);
    let bytes = joined(&[frame(BINARY, b""), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, b"")]);
    assert_eq!(every_split(plain, &bytes), [Seen::Binary(vec![])]);
    let bytes = joined(&[
        frame(BINARY, &[1; 200]),
        frame(FIN | CONTINUATION, &[2; 3]),
        frame(TEXT, b"next"),
        frame(FIN | CONTINUATION, b""),
    ]);
    assert_eq!(every_split(plain, &bytes), [Seen::Binary([&[1; 200][..], &[2; 3]].concat()), text("next")]);
}

#[test]
fn rfc6455_5_4_control_frames_between_fragments() {
    let bytes = joined(&[
        frame(TEXT, b"a"),
        frame(FIN | PING, b"ping"),
        frame(CONTINUATION, b"b"),
        frame(FIN | PONG, b""),
        frame(FIN | CONTINUATION, b"c"),
        frame(FIN | PING, &[9; 125]),
    ]);
    let expected = [Seen::Ping(b"ping".to_vec()), Seen::Pong(vec![]), text("abc"), Seen::Ping(vec![9; 125])];
    assert_eq!(every_split(plain, &bytes), expected);
}

#[test]
fn rfc6455_5_4_a_continuation_needs_a_start() {
    for first in [CONTINUATION, FIN | CONTINUATION] {
        assert_eq!(fails(plain, &frame(first, b"x"), 0), 1002);
        assert_eq!(fails(plain, &joined(&[frame(FIN | TEXT, b"done"), frame(first, b"x")]), 1), 1002);
        let ended = joined(&[frame(TEXT, b"a"), frame(FIN | CONTINUATION, b"b"), frame(first, b"x")]);
        assert_eq!(fails(plain, &ended, 1), 1002);
        assert_eq!(fails(plain, &joined(&[frame(FIN | PING, b""), frame(first, b"")]), 1), 1002);
    }
}

#[test]
fn rfc6455_5_4_messages_do_not_interleave() {
    for first in [TEXT, FIN | TEXT, BINARY, FIN | BINARY] {
        for start in [TEXT, BINARY] {
            assert_eq!(fails(plain, &joined(&[frame(start, b"a"), frame(first, b"b")]), 0), 1002);
            let later = joined(&[frame(start, b"a"), frame(CONTINUATION, b"b"), frame(first, b"c")]);
            assert_eq!(fails(plain, &later, 0), 1002);
        }
    }
}

#[test]
fn rfc6455_5_5_control_frames_are_whole_and_short() {
    for opcode in [CLOSE, PING, PONG] {
        assert_eq!(fails(plain, &frame(opcode, b""), 0), 1002, "fragmented");
        for length in [126, 127, 65_536] {
            let bytes = head(FIN | opcode, length);
            assert_eq!(fails(plain, &bytes, 0), 1002, "{length}");
            assert_eq!(fails_after(&mut plain(), &bytes), 2, "{length}");
        }
    }
}

#[test]
fn rfc6455_5_5_2_pings_and_pongs_carry_their_payload() {
    for length in [0, 1, 8, 124, 125] {
        let payload = vec![0xFE; length];
        let bytes = joined(&[frame(FIN | PING, &payload), frame(FIN | PONG, &payload)]);
        assert_eq!(every_split(plain, &bytes), [Seen::Ping(payload.clone()), Seen::Pong(payload)]);
    }
}

#[test]
fn rfc6455_5_6_text_and_binary() {
    let bytes = joined(&[
        frame(FIN | TEXT, "Grüße, 世界 🌊".as_bytes()),
        frame(FIN | BINARY, &[0xFF, 0xFE, 0]),
        frame(FIN | TEXT, b""),
        frame(FIN | BINARY, b""),
    ]);
    let expected = [text("Grüße, 世界 🌊"), Seen::Binary(vec![0xFF, 0xFE, 0]), text(""), Seen::Binary(vec![])];
    assert_eq!(every_split(plain, &bytes), expected);
}

#[test]
fn rfc6455_5_7_the_masked_hello() {
    let bytes = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(every_split(plain, &bytes), [text("Hello")]);
}

#[test]
fn rfc6455_5_7_frames_that_are_sent() {
    let mut connection = plain();
    let mut out = b"kept".to_vec();
    connection.send_text(b"Hello", &mut out);
    assert_eq!(out, b"kept\x81\x05Hello");
    out.clear();
    connection.send_ping(b"Hello", &mut out);
    connection.send_pong(b"Hello", &mut out);
    assert_eq!(out, b"\x89\x05Hello\x8a\x05Hello");
    for (length, head) in [
        (0, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (256, &[0x82, 126, 1, 0]),
        (65_535, &[0x82, 126, 0xFF, 0xFF]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        out.clear();
        connection.send_binary(&vec![7; length], &mut out);
        assert_eq!(&out[..head.len()], head);
        assert_eq!(out[head.len()..], vec![7; length]);
    }
}

#[test]
fn rfc6455_5_5_control_payloads_are_cut_when_sent() {
    let mut out = Vec::new();
    plain().send_ping(&[1; 126], &mut out);
    plain().send_pong(&[2; 1000], &mut out);
    assert_eq!(sent_frames(&out), [(0x89, vec![1; 125]), (0x8A, vec![2; 125])]);
}

#[test]
fn a_broadcast_is_encoded_once() {
    for length in [0, 5, 125, 126, 70_000] {
        let data = vec![b'x'; length];
        let (mut single, mut shared) = (Vec::new(), Vec::new());
        plain().send_text(&data, &mut single);
        plain().send_binary(&data, &mut single);
        encode_text(&data, &mut shared);
        encode_binary(&data, &mut shared);
        assert_eq!(single, shared);
    }
}

#[test]
fn a_position_behind_the_input_is_harmless() {
    let mut consumed = 10;
    assert_eq!(plain().receive(b"abc", &mut consumed), None);
}
