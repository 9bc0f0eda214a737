//! Closing: RFC 6455 §5.5.1, §7.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod ws_support;

use swell_wire::ws::valid_close_code;
use ws_support::*;

fn closed(code: u16, reason: &str) -> Vec<Seen> {
    vec![Seen::Close(code, reason.to_owned())]
}

/// What a peer sees of `send_close`: the payload of the one frame.
fn sent(code: u16, reason: &str) -> Vec<u8> {
    let mut out = Vec::new();
    plain().send_close(code, reason, &mut out);
    match sent_frames(&out).as_slice() {
        [(0x88, payload)] => payload.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rfc6455_5_5_1_code_and_reason() {
    assert_eq!(every_split(plain, &frame(FIN | CLOSE, b"")), closed(1005, ""));
    assert_eq!(every_split(plain, &close_frame(1000, b"")), closed(1000, ""));
    assert_eq!(every_split(plain, &close_frame(1001, "bis später".as_bytes())), closed(1001, "bis später"));
    let longest = "r".repeat(123);
    assert_eq!(every_split(plain, &close_frame(4999, longest.as_bytes())), closed(4999, &longest));
}

#[test]
fn rfc6455_5_5_1_half_a_code() {
    assert_eq!(fails(plain, &frame(FIN | CLOSE, &[3]), 0), 1002);
}

#[test]
fn rfc6455_5_5_1_a_reason_is_utf8() {
    for bad in [&b"\xFF"[..], b"ok\xC3", b"\xED\xA0\x80", b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80"] {
        assert_eq!(fails(plain, &close_frame(1000, bad), 0), 1007, "{bad:?}");
    }
}

#[test]
fn rfc6455_5_5_1_nothing_is_read_after_a_close() {
    let bytes = [close_frame(1000, b""), frame(FIN | TEXT, b"late"), vec![0xFF; 40], close_frame(1001, b"")].concat();
    assert_eq!(every_split(plain, &bytes), closed(1000, ""));
    let bytes = [frame(TEXT, b"half a mess"), frame(FIN | CLOSE, b""), frame(FIN | CONTINUATION, b"age")].concat();
    assert_eq!(every_split(plain, &bytes), closed(1005, ""));
}

#[test]
fn rfc6455_5_5_1_nothing_is_sent_after_a_close() {
    let mut connection = plain();
    let mut out = Vec::new();
    assert!(!connection.close_sent());
    connection.send_close(1000, "", &mut out);
    assert!(connection.close_sent());
    let len = out.len();
    connection.send_text(b"late", &mut out);
    connection.send_binary(b"late", &mut out);
    connection.send_ping(b"", &mut out);
    connection.send_pong(b"", &mut out);
    connection.send_close(1001, "again", &mut out);
    assert_eq!(out.len(), len);
    // The other direction goes on until the peer closes too (§7.1.2).
    let bytes = [frame(FIN | TEXT, b"on its way"), close_frame(1000, b"")].concat();
    assert_eq!(feed(&mut connection, &bytes), [text("on its way"), Seen::Close(1000, String::new())]);
}

#[test]
fn rfc6455_7_1_7_nothing_is_read_after_a_failure() {
    let mut connection = plain();
    assert!(matches!(feed(&mut connection, &[0xFF, 0xFF])[..], [Seen::Failure(1002, _)]));
    for _ in 0..3 {
        assert_eq!(feed(&mut connection, &frame(FIN | TEXT, b"late")), []);
    }
    // The answer can still be sent.
    let mut out = Vec::new();
    connection.send_close(1002, "why", &mut out);
    assert_eq!(out, b"\x88\x05\x03\xEAwhy");
}

#[test]
fn rfc6455_7_4_codes_on_the_wire() {
    let valid = |code: u16| match code {
        0..=999 => false,
        1000..=1003 => true,
        // 1004 has no meaning yet; 1005 and 1006 are for reports only.
        1004..=1006 => false,
        // 1012 to 1014 were registered with IANA after the RFC. 1015 is for reports only.
        1007..=1014 => true,
        1015..=2999 => false,
        3000..=4999 => true,
        5000.. => false,
    };
    for code in 0..=u16::MAX {
        assert_eq!(valid_close_code(code), valid(code), "{code}");
        let seen = feed(&mut plain(), &close_frame(code, b"r"));
        match seen.as_slice() {
            [Seen::Close(seen, reason)] => {
                assert!(valid(code) && *seen == code && reason == "r", "{code}")
            }
            [Seen::Failure(1002, _)] => assert!(!valid(code), "{code}"),
            other => panic!("{code}: {other:?}"),
        }
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(fails(plain, &close_frame(code, b""), 0), 1002);
    }
}

#[test]
fn rfc6455_7_4_1_reports_never_go_over_the_wire() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
        assert_eq!(sent(code, "reason"), b"", "{code}");
    }
    assert_eq!(sent(1000, ""), 1000_u16.to_be_bytes());
    assert_eq!(sent(1012, "restart"), b"\x03\xF4restart");
}

#[test]
fn rfc6455_5_5_a_long_reason_is_cut_between_characters() {
    assert_eq!(sent(1000, &"x".repeat(123)).len(), 125);
    assert_eq!(sent(1000, &"x".repeat(124)).len(), 125);
    for (lead, character) in
        [(0, "é"), (1, "é"), (0, "世"), (1, "世"), (2, "世"), (0, "🌊"), (1, "🌊"), (2, "🌊"), (3, "🌊")]
    {
        let reason = "a".repeat(lead) + &character.repeat(100);
        let payload = sent(1000, &reason);
        let cut = std::str::from_utf8(&payload[2..]).unwrap();
        assert!(reason.starts_with(cut) && cut.len() <= 123 && cut.len() + character.len() > 123, "{cut:?}");
    }
}
