//! Request heads, in the order of RFC 9112: what the corpus cannot say because it needs limits or offsets of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use swell_wire::error::Kind;
use swell_wire::h1::facts::{judge, Framing, Host};
use swell_wire::h1::head::{find_request_line, parse_head, FieldSpan, Head};
use swell_wire::h1::line::{parse_request_line, Target, Version};
use swell_wire::h1::scan::HeadScan;
use swell_wire::limits::{HeadLimits, FIELDS_CAP};

fn head<'b>(input: &'b [u8], spans: &mut Vec<FieldSpan>) -> Head<'b> {
    parse_head(input, &HeadLimits::default(), spans).unwrap().unwrap()
}

fn refusal(input: &[u8], limits: &HeadLimits) -> Kind {
    parse_head(input, limits, &mut Vec::new()).unwrap_err().kind()
}

#[test]
fn rfc9112_2_1_spans_and_lengths_name_the_bytes_of_the_input() {
    let input = b"\r\nPUT /a HTTP/1.1\r\nHost: x\r\nEmpty:\r\nPadded: \t y z \t\r\n\r\nbody";
    let mut spans = vec![FieldSpan { name: (9, 9), value: (9, 9) }];
    let head = head(input, &mut spans);
    assert_eq!((head.skipped, head.line_len, head.len), (2, 17, input.len() - 4));
    assert_eq!(head.block, &input[19..input.len() - 4]);
    let fields: Vec<_> = spans.iter().map(|span| (span.name(head.block), span.value(head.block))).collect();
    assert_eq!(fields, [(&b"Host"[..], &b"x"[..]), (b"Empty", b""), (b"Padded", b"y z")]);
    assert_eq!(head.facts.host, Host::One(6, 7));
}

#[test]
fn rfc9112_2_1_equal_blocks_have_equal_spans_and_facts() {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let one = head(b"GET /one HTTP/1.1\r\nHost: x\r\nA: b\r\nConnection: close\r\n\r\n", &mut first);
    let two = head(b"\r\nPOST /other?q HTTP/1.0\r\nHost: x\r\nA: b\r\nConnection: close\r\n\r\nrest", &mut second);
    assert_eq!(one.block, two.block);
    assert_eq!((&first, one.facts), (&second, two.facts));
}

#[test]
fn rfc9112_2_1_a_span_of_another_block_is_empty_instead_of_a_panic() {
    let span = FieldSpan { name: (5, 9), value: (20, 10) };
    assert_eq!((span.name(b"abc"), span.value(b"abc")), (&b""[..], &b""[..]));
}

#[test]
fn rfc9112_2_2_find_request_line_stops_behind_its_line_end() {
    let limits = HeadLimits::default();
    assert_eq!(find_request_line(b"GET / HTTP/1.1\r\nHost: x\r\n", &limits), Ok(Some(16)));
    assert_eq!(find_request_line(b"GET / HTTP/1.1\r", &limits), Ok(None));
    assert_eq!(find_request_line(b"", &limits), Ok(None));
    assert_eq!(find_request_line(b"\r\nGET / HTTP/1.1\r\n", &limits), Ok(Some(2)), "an empty line is a line");
    let kind = |input: &[u8]| find_request_line(input, &limits).unwrap_err().kind();
    assert_eq!(kind(b"GET / HTTP/1.1\n"), Kind::BareLf);
    assert_eq!(kind(b"G(T"), Kind::BadMethod);
    assert_eq!(kind(&[b'A'; 8192]), Kind::RequestLineTooLong);
}

#[test]
fn rfc9112_3_request_line_parts() {
    let line = parse_request_line(b"GET /a?b HTTP/1.0").unwrap();
    assert_eq!((line.method, line.version), (&b"GET"[..], Version::Http10));
    assert_eq!(line.target, Target::Origin { path: b"/a", query: b"b" });
    let line = parse_request_line(b"CONNECT [::1]:80 HTTP/1.1").unwrap();
    assert_eq!(line.target, Target::Authority(b"[::1]:80"));
    let line = parse_request_line(b"GET HTTP://a.example:80?q HTTP/1.1").unwrap();
    assert_eq!(line.target, Target::Absolute { scheme: b"HTTP", authority: b"a.example:80", path: b"/", query: b"q" });
    assert_eq!(parse_request_line(b"OPTIONS * HTTP/1.1").unwrap().target, Target::Asterisk);
    for short in [&b""[..], b" ", b"G", b"GET", b"GET /", b" HTTP/1.1", b"  HTTP/1.1", b"G HTTP/1.1", b"G  HTTP/1.1"] {
        assert!(parse_request_line(short).is_err(), "{short:?}");
    }
}

#[test]
fn rfc9112_3_every_byte_in_every_place_of_the_line() {
    let line = b"GET /a HTTP/1.1";
    for place in 0..line.len() {
        for byte in 0..=255 {
            let mut changed = *line;
            changed[place] = byte;
            let good = match place {
                0..=2 => byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte),
                4 => byte == b'/',
                5 => (b'!'..=b'~').contains(&byte) && byte != b'#',
                14 => byte == b'0' || byte == b'1',
                _ => byte == line[place],
            };
            assert_eq!(parse_request_line(&changed).is_ok(), good, "{byte:#x} at {place}");
        }
    }
}

#[test]
fn rfc9112_5_every_byte_in_name_and_value() {
    for byte in 0..=255_u8 {
        let mut input = b"GET / HTTP/1.1\r\nHost: x\r\nab: cd\r\n\r\n".to_vec();
        input[26] = byte;
        let good = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte);
        assert_eq!(
            matches!(parse_head(&input, &HeadLimits::default(), &mut Vec::new()), Ok(Some(_))),
            good,
            "{byte:#x}"
        );
        let mut input = b"GET / HTTP/1.1\r\nHost: x\r\nab: cd\r\n\r\n".to_vec();
        input[30] = byte;
        let good = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
        assert_eq!(
            matches!(parse_head(&input, &HeadLimits::default(), &mut Vec::new()), Ok(Some(_))),
            good,
            "{byte:#x}"
        );
    }
}

#[test]
fn rfc9112_6_3_framing_out_of_fields() {
    let framing = |fields: &str| {
        let input = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let mut spans = Vec::new();
        let head = head(input.as_bytes(), &mut spans);
        judge(&head.line, &head.facts, head.block).unwrap().body
    };
    assert_eq!(framing(""), Framing::None);
    assert_eq!(framing("Content-Length: 0\r\n"), Framing::Length(0));
    assert_eq!(framing("content-LENGTH: 9999999999999999999\r\n"), Framing::Length(9_999_999_999_999_999_999));
    assert_eq!(framing("Transfer-Encoding: chunked\r\n"), Framing::Chunked);
}

#[test]
fn rfc6585_5_limits_are_exact_and_capped() {
    let limits = HeadLimits { request_line: 20, fields: 2, head: 60 };
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length - 14));
    assert!(parse_head(line(20).as_bytes(), &limits, &mut Vec::new()).unwrap().is_some());
    assert_eq!(refusal(line(21).as_bytes(), &limits), Kind::RequestLineTooLong);
    // Faults count from left to right: a byte within the limit, the limit, the LF without CR.
    for (length, kind) in [(20, Kind::BareLf), (21, Kind::RequestLineTooLong)] {
        let bare = line(length).replace("\r\n", "\n");
        assert_eq!(refusal(bare.as_bytes(), &limits), kind);
    }
    assert_eq!(refusal(&line(21).as_bytes()[..21], &limits), Kind::RequestLineTooLong);
    assert_eq!(refusal(b"GET /aaaaaaaaaaaaaa\0a HTTP/1.1\r\n", &limits), Kind::BadTargetByte);
    assert_eq!(refusal(b"GET /aaaaaaaaaaaaaaa\0 HTTP/1.1\r\n", &limits), Kind::RequestLineTooLong);
    assert_eq!(refusal(b"GET / HTTP/1.1\r\nHost: x\r\na: b\r\nc", &limits), Kind::TooManyFields);
    let sized = |length: usize| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(length - 26));
    assert!(parse_head(sized(60).as_bytes(), &limits, &mut Vec::new()).unwrap().is_some());
    assert_eq!(refusal(sized(61).as_bytes(), &limits), Kind::HeadTooLarge);
    assert_eq!(refusal(&sized(61).as_bytes()[..60], &limits), Kind::HeadTooLarge);

    let generous = HeadLimits { fields: usize::MAX, ..HeadLimits::default() };
    let many = |count: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a:\r\n".repeat(count - 1));
    assert!(parse_head(many(FIELDS_CAP).as_bytes(), &generous, &mut Vec::new()).unwrap().is_some());
    assert_eq!(refusal(many(FIELDS_CAP + 1).as_bytes(), &generous), Kind::TooManyFields);
}

#[test]
fn rfc6585_5_no_limit_can_make_the_parser_panic() {
    for limits in [
        HeadLimits { request_line: 0, fields: 0, head: 0 },
        HeadLimits { request_line: usize::MAX, fields: usize::MAX, head: usize::MAX },
        HeadLimits { request_line: usize::MAX, fields: 1, head: 1 },
    ] {
        for input in [&b""[..], b"\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
            let _ = parse_head(input, &limits, &mut Vec::new());
            let _ = find_request_line(input, &limits);
        }
    }
}

#[test]
fn slow_heads_are_read_once_the_scan_takes_up_where_it_stopped() {
    let input = b"GET / HTTP/1.1\r\nHost: x\r\nA: bcdef\r\n\r\n";
    let limits = HeadLimits::default();
    let mut scan = HeadScan::default();
    for length in 0..input.len() {
        assert_eq!(scan.advance(&input[..length], &limits), Ok(false), "{length}");
    }
    // What has been read is not looked at again: other bytes in its place change nothing.
    let mut other = vec![b'\0'; input.len()];
    other[input.len() - 4..].copy_from_slice(&input[input.len() - 4..]);
    assert_eq!(scan.advance(&other, &limits), Ok(true));
    assert_eq!(scan.head_len(), input.len());
    assert_eq!(scan.advance(&other, &limits), Ok(true), "the end is final");
}

#[test]
fn early_refusal_does_not_wait_for_the_end() {
    let limits = HeadLimits::default();
    for (input, kind) in [
        (&b"\x16"[..], Kind::BadMethod),
        (b"GET /\xff", Kind::BadTargetByte),
        (b"GET / HTTP/1.1\r\n ", Kind::FieldFolded),
        (b"GET / HTTP/1.1\r\nA ", Kind::FieldSpaceBeforeColon),
        (b"GET / HTTP/1.1\r\nA: \0", Kind::FieldBadValue),
        (b"GET / HTTP/1.1\r\nA: b\rc", Kind::BareCr),
        (b"GET / HTTP/3.1\r\n", Kind::UnsupportedVersion),
    ] {
        assert_eq!(refusal(input, &limits), kind, "{input:?}");
        let (_, before) = input.split_last().unwrap();
        assert_eq!(parse_head(before, &limits, &mut Vec::new()).map(|head| head.is_none()), Ok(true), "{before:?}");
    }
}
