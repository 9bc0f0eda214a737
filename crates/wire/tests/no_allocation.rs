//! The heap is left alone: not one allocation for a request once the spans have their size, none for what a peer claims.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use allocation_counter::measure;
use swell_wire::fields::forwarded::{resolve, Convention};
use swell_wire::fields::networks::Networks;
use swell_wire::h1::body::BodyDecoder;
use swell_wire::h1::facts::{judge, Framing};
use swell_wire::h1::head::{find_request_line, parse_head};
use swell_wire::h1::scan::HeadScan;
use swell_wire::limits::HeadLimits;

const HEAD: &[u8] =
    b"POST /items?x=1 HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
X-Forwarded-For: 1.1.1.1, 10.0.0.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nAccept: */*\r\n\r\n";
const BODY: &[u8] = b"5;a=\"b\"\r\nhello\r\nffffffffffff\r\nthe start of a large chunk";

#[test]
fn a_request_costs_no_allocation() {
    let limits = HeadLimits::default();
    let trusted = Networks::parse("10.0.0.0/8").unwrap();
    let mut spans = Vec::with_capacity(16);
    let counted = measure(|| {
        let head = parse_head(HEAD, &limits, &mut spans).unwrap().unwrap();
        let request = judge(&head.line, &head.facts, head.block).unwrap();
        assert_eq!(request.body, Framing::Chunked);
        assert_eq!(find_request_line(HEAD, &limits), Ok(Some(head.line_len)));
        let peer = Some([10, 0, 0, 2].into());
        let forwarded = resolve(Convention::XForwarded, peer, head.block, &spans, &trusted);
        assert!(forwarded.client.is_some());
        let mut decoder = BodyDecoder::new(request.body);
        let first = decoder.decode(BODY).unwrap();
        assert_eq!(decoder.decode(&BODY[first.consumed..]).unwrap().data.len(), 26);
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn a_refusal_and_a_slow_head_cost_no_allocation() {
    let limits = HeadLimits::default();
    let mut spans = Vec::with_capacity(16);
    let counted = measure(|| {
        let mut scan = HeadScan::default();
        for length in 1..HEAD.len() {
            assert_eq!(scan.advance(&HEAD[..length], &limits), Ok(false));
        }
        let error = parse_head(b"GET / HTTP/1.1\r\nHost : x\r\n", &limits, &mut spans).unwrap_err();
        assert_eq!(error.status(), 400);
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
