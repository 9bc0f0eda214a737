//! Request bodies, in the order of RFC 9112 §6 and §7: how the decoder hands out pieces. What bodies mean is in the
//! corpus.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use swell_wire::error::Kind;
use swell_wire::h1::body::{BodyDecoder, Piece};
use swell_wire::h1::facts::Framing;

fn piece(consumed: usize, data: std::ops::Range<usize>, done: bool) -> Result<Piece, swell_wire::error::WireError> {
    Ok(Piece { consumed, data, done })
}

#[test]
fn rfc9112_6_3_no_body_is_done_at_once() {
    for framing in [Framing::None, Framing::Length(0)] {
        let mut decoder = BodyDecoder::new(framing);
        assert!(decoder.is_done());
        assert_eq!(decoder.decode(b"next"), piece(0, 0..0, true));
    }
}

#[test]
fn rfc9112_6_2_length_takes_what_is_its_own() {
    let mut decoder = BodyDecoder::new(Framing::Length(5));
    assert_eq!(decoder.decode(b""), piece(0, 0..0, false));
    assert_eq!(decoder.decode(b"hel"), piece(3, 0..3, false));
    assert_eq!(decoder.decode(b"loGET"), piece(2, 0..2, true));
    assert_eq!(decoder.decode(b"GET"), piece(0, 0..0, true));
    let mut decoder = BodyDecoder::new(Framing::Length(u64::MAX));
    assert_eq!(decoder.decode(b"abc"), piece(3, 0..3, false));
}

#[test]
fn rfc9112_7_1_small_chunked_body_is_one_call() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert_eq!(decoder.decode(b"5\r\nhello\r\n0\r\n\r\nGET"), piece(15, 3..8, true));
    assert_eq!(decoder.decode(b"GET"), piece(0, 0..0, true));
}

#[test]
fn rfc9112_7_1_each_call_gives_one_run() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let input = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(decoder.decode(input), piece(11, 3..6, false));
    assert_eq!(decoder.decode(&input[11..]), piece(9, 0..2, true));
}

#[test]
fn rfc9112_7_1_data_before_a_fault_is_handed_out_first() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let input = b"3\r\nabcX\r\n0\r\n\r\n";
    assert_eq!(decoder.decode(input), piece(6, 3..6, false));
    let error = decoder.decode(&input[6..]).unwrap_err();
    assert_eq!(error.kind(), Kind::ChunkLineEnd);
    assert_eq!(decoder.decode(b"\r\n"), Err(error), "errors are final");
    assert!(!decoder.is_done());
}

#[test]
fn rfc9112_7_1_a_huge_size_claim_allocates_nothing_and_does_not_overflow() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert_eq!(decoder.decode(b"FFFFFFFFFFFFFFFF\r\nab"), piece(20, 18..20, false));
    assert_eq!(decoder.decode(&[0; 4096]), piece(4096, 0..4096, false));
}

#[test]
fn rfc9112_7_1_every_byte_in_a_size_line() {
    for byte in 0..=255_u8 {
        let line = [b'1', byte, b'\r', b'\n'];
        let good = byte.is_ascii_hexdigit();
        assert_eq!(BodyDecoder::new(Framing::Chunked).decode(&line).is_ok(), good, "{byte:#x}");
        // As the first byte: a digit starts a size, nothing else does.
        assert_eq!(BodyDecoder::new(Framing::Chunked).decode(&[byte]).is_ok(), good, "{byte:#x}");
        // Behind the data: only CR.
        let data = [b'1', b'\r', b'\n', b'x', byte, b'\n'];
        let consumed = BodyDecoder::new(Framing::Chunked).decode(&data).unwrap().consumed;
        assert_eq!(consumed, if byte == b'\r' { 6 } else { 4 }, "{byte:#x}");
    }
}

#[test]
fn rfc9112_7_1_2_trailers_do_not_grow_the_decoder() {
    assert!(size_of::<BodyDecoder>() <= 64, "{}", size_of::<BodyDecoder>());
}
