//! UTF-8 in text messages, whole and in pieces: RFC 6455 §8.1, RFC 3629 §4.

mod ws_support;

use ws_support::*;

/// Byte strings that no continuation can make valid, and the number of bytes after which that is certain.
const BAD: &[(&[u8], usize)] = &[
    (b"\x80", 1),
    (b"\xBF", 1),
    (b"a\x80", 2),
    (b"\xC0\x80", 1),
    (b"\xC1\xBF", 1),
    (b"\xC3a", 2),
    (b"\xC3\xC3", 2),
    (b"\xE0\x80\x80", 2),
    (b"\xE0\x9F\xBF", 2),
    (b"\xE1\x80a", 3),
    (b"\xED\xA0\x80", 2),
    (b"\xED\xBF\xBF", 2),
    (b"\xED\xA0\x80\xED\xB0\x80", 2),
    (b"\xEF\xBFa", 3),
    (b"\xF0\x80\x80\x80", 2),
    (b"\xF0\x8F\xBF\xBF", 2),
    (b"\xF0\x90\x80a", 4),
    (b"\xF4\x90\x80\x80", 2),
    (b"\xF5\x80\x80\x80", 1),
    (b"\xF8\x88\x80\x80\x80", 1),
    (b"\xFC\x84\x80\x80\x80\x80", 1),
    (b"\xFE", 1),
    (b"\xFF", 1),
    (b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xF4\x90\x80\x80edited", 13),
];

/// Starts of characters: fine in the middle of a message, wrong at its end.
const CUT: &[&[u8]] =
    &[b"\xC2", b"\xDF", b"\xE0\xA0", b"\xE1", b"\xE1\x80", b"\xED\x9F", b"\xF0", b"\xF0\x90\x80", b"\xF4\x8F\xBF"];

/// The first and last character of every length, around the surrogates and the end of the range.
const GOOD: &str = "\0\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFD}\u{FFFE}\u{FFFF}\u{10000}\u{10FFFF} κόσμε";

#[test]
fn rfc6455_8_1_valid_text_in_every_cut() {
    assert_eq!(every_split(plain, &frame(FIN | TEXT, GOOD.as_bytes())), [text(GOOD)]);
    // Two fragments, cut at every byte; a ping in between must not disturb the check.
    for cut in 0..=GOOD.len() {
        let (first, second) = GOOD.as_bytes().split_at(cut);
        let bytes = [frame(TEXT, first), frame(FIN | PING, b"\xFF"), frame(FIN | CONTINUATION, second)].concat();
        assert_eq!(feed(&mut plain(), &bytes), [Seen::Ping(vec![0xFF]), text(GOOD)], "{cut}");
    }
    // A fragment for each byte.
    let mut bytes = frame(TEXT, b"");
    for byte in GOOD.bytes() {
        bytes.extend(frame(CONTINUATION, &[byte]));
    }
    bytes.extend(frame(FIN | CONTINUATION, b""));
    assert_eq!(every_split(plain, &bytes), [text(GOOD)]);
}

#[test]
fn rfc6455_8_1_invalid_text_is_refused() {
    for (bad, _) in BAD {
        assert_eq!(fails(plain, &frame(FIN | TEXT, bad), 0), 1007, "{bad:x?}");
        let long = [GOOD.repeat(20).as_bytes(), bad, GOOD.repeat(20).as_bytes()].concat();
        assert_eq!(fails(plain, &frame(FIN | TEXT, &long), 0), 1007, "{bad:x?}");
        for cut in 0..=bad.len() {
            let bytes = [frame(TEXT, &bad[..cut]), frame(FIN | CONTINUATION, &bad[cut..])].concat();
            assert_eq!(fails(plain, &bytes, 0), 1007, "{bad:x?} cut at {cut}");
        }
    }
}

#[test]
fn rfc6455_8_1_refused_at_the_first_byte_that_cannot_be_right() {
    for (bad, certain) in BAD {
        let mut payload = bad.to_vec();
        payload.resize(120, b'.');
        let bytes = frame(FIN | TEXT, &payload);
        assert_eq!(fails_after(&mut plain(), &bytes), 6 + certain, "{bad:x?} inside a frame");
        let bytes = frame(TEXT, &payload);
        assert_eq!(fails_after(&mut plain(), &bytes), 6 + certain, "{bad:x?} inside a first fragment");
        // One byte per fragment; 6 bytes of head each.
        let mut connection = plain();
        assert_eq!(feed(&mut connection, &frame(TEXT, b"")), []);
        for (index, byte) in payload.iter().enumerate() {
            let seen = feed(&mut connection, &frame(CONTINUATION, &[*byte]));
            if index + 1 == *certain {
                assert!(matches!(seen[..], [Seen::Failure(1007, _)]), "{bad:x?}: {seen:?}");
                break;
            }
            assert_eq!(seen, [], "{bad:x?} at {index}");
        }
    }
}

#[test]
fn rfc6455_8_1_a_message_ends_with_a_whole_character() {
    for cut in CUT {
        assert_eq!(fails(plain, &frame(FIN | TEXT, cut), 0), 1007, "{cut:x?}");
        let bytes = [frame(TEXT, cut), frame(FIN | CONTINUATION, b"")].concat();
        assert_eq!(fails(plain, &bytes, 0), 1007, "{cut:x?}");
        // Until FIN it is fine.
        assert_eq!(feed(&mut plain(), &[frame(TEXT, cut), frame(CONTINUATION, b"")].concat()), []);
    }
}

#[test]
fn rfc3629_4_every_two_byte_string_agrees_with_the_standard_library() {
    for first in 0..=255_u8 {
        for second in 0..=255_u8 {
            let payload = [first, second];
            let bytes = [frame(TEXT, &payload[..1]), frame(FIN | CONTINUATION, &payload[1..])].concat();
            let seen = feed(&mut plain(), &bytes);
            match std::str::from_utf8(&payload) {
                Ok(good) => assert_eq!(seen, [text(good)]),
                Err(_) => assert!(matches!(seen[..], [Seen::Failure(1007, _)]), "{payload:x?}: {seen:?}"),
            }
        }
    }
}

#[test]
fn rfc6455_8_1_binary_is_not_looked_at() {
    for (bad, _) in BAD {
        assert_eq!(every_split(plain, &frame(FIN | BINARY, bad)), [Seen::Binary(bad.to_vec())]);
    }
}
