//! The opening handshake: RFC 6455 §4.2, §9.1; negotiation of compression: RFC 7692 §5, §7.1.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use swell_wire::error::{Kind, WireError};
use swell_wire::ws::{accept_key, read_offer, DeflateOptions, Offer};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn offer<'b>(fields: &'b [(&'b str, &'b str)], options: &DeflateOptions) -> Result<Offer<'b>, WireError> {
    read_offer(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), options)
}

/// The offer of a request with these fields added to a correct version and key.
fn with<'b>(extra: &[(&'b str, &'b str)]) -> Result<Offer<'b>, WireError> {
    let mut fields = vec![("host", "example"), ("sec-websocket-version", "13"), ("sec-websocket-key", KEY)];
    fields.extend(extra);
    read_offer(fields.into_iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), &DeflateOptions::default())
}

/// The response value for one extensions field, `None` when compression is declined.
fn answer(value: &str, options: &DeflateOptions) -> Option<String> {
    let fields = [("sec-websocket-version", "13"), ("sec-websocket-key", KEY), ("sec-websocket-extensions", value)];
    let offer = offer(&fields, options).unwrap();
    offer.deflate.map(|params| {
        let mut out = Vec::new();
        params.write_response_value(&mut out);
        String::from_utf8(out).unwrap()
    })
}

/// Options that ask for nothing on their own.
fn open_options() -> DeflateOptions {
    DeflateOptions {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
        ..DeflateOptions::default()
    }
}

#[test]
fn rfc6455_1_3_accept_key_of_the_example() {
    assert_eq!(&accept_key(KEY.as_bytes()), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn rfc6455_4_1_accept_key_of_other_keys() {
    // Computed with Python's hashlib and base64.
    assert_eq!(&accept_key(b"x3JJHMbDL1EzLkh9GBhXDw=="), b"HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
    assert_eq!(&accept_key(b"AQIDBAUGBwgJCgsMDQ4PEC=="), b"OfS0wDaT5NoxF2gqm7Zj2YtetzM=");
}

#[test]
fn rfc6455_4_2_1_names_come_in_any_case_and_values_with_whitespace() {
    let fields = [("SEC-WEBSOCKET-VERSION", " 13\t"), ("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Protocol", "chat ")];
    let offer = offer(&fields, &DeflateOptions::default()).unwrap();
    assert_eq!((offer.key, offer.subprotocols, offer.deflate), (KEY.as_bytes(), vec!["chat"], None));
}

#[test]
fn rfc6455_4_2_1_key_is_16_bytes_in_base64_given_once() {
    for bad in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZWE=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZQA==",
        "dGhlIHNhbXBsZSBub25jZQAA==",
        "dGhlIHNhbXBsZSBub25j==",
        "dGhlIHNhbXBsZSBub25jZ-==",
        "dGhlIHNhbXBsZS Bub25jZ==",
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
    ] {
        let fields = [("sec-websocket-version", "13"), ("sec-websocket-key", bad)];
        let error = offer(&fields, &DeflateOptions::default()).unwrap_err();
        assert_eq!((error.kind(), error.status()), (Kind::WebSocketKey, 400), "{bad:?}");
    }
    let missing = offer(&[("sec-websocket-version", "13")], &DeflateOptions::default());
    assert_eq!(missing.unwrap_err().kind(), Kind::WebSocketKey);
    assert_eq!(with(&[("sec-websocket-key", KEY)]).unwrap_err().kind(), Kind::WebSocketKey);
}

#[test]
fn rfc6455_4_4_any_version_but_13_is_426() {
    for bad in ["", "8", "0", "14", "013", "13, 8", "13,13", "1 3"] {
        let fields = [("sec-websocket-version", bad), ("sec-websocket-key", KEY)];
        let error = offer(&fields, &DeflateOptions::default()).unwrap_err();
        assert_eq!((error.kind(), error.status()), (Kind::WebSocketVersion, 426), "{bad:?}");
    }
    let missing = offer(&[("sec-websocket-key", KEY)], &DeflateOptions::default());
    assert_eq!(missing.unwrap_err().kind(), Kind::WebSocketVersion);
    assert_eq!(with(&[("sec-websocket-version", "13")]).unwrap_err().kind(), Kind::WebSocketVersion);
}

#[test]
fn rfc6455_11_3_4_subprotocols_keep_order_across_fields() {
    let offer = with(&[
        ("sec-websocket-protocol", "graphql-transport-ws, v2.chat"),
        ("sec-websocket-protocol", ",, v1.chat ,"),
    ]);
    assert_eq!(offer.unwrap().subprotocols, ["graphql-transport-ws", "v2.chat", "v1.chat"]);
    assert_eq!(with(&[("sec-websocket-protocol", "")]).unwrap().subprotocols, [""; 0]);
}

#[test]
fn rfc6455_4_1_subprotocols_are_distinct_tokens() {
    for bad in ["a b", "a,a", "a;b", "\"a\"", "a, b, a", "caf\u{e9}", "a/b", "a\u{b}b", "a=b"] {
        let error = with(&[("sec-websocket-protocol", bad)]).unwrap_err();
        assert_eq!((error.kind(), error.status()), (Kind::WebSocketProtocol, 400), "{bad:?}");
    }
    let twice = with(&[("sec-websocket-protocol", "a"), ("sec-websocket-protocol", "a")]);
    assert_eq!(twice.unwrap_err().kind(), Kind::WebSocketProtocol);
}

#[test]
fn rfc6455_9_1_broken_extension_grammar_is_400() {
    for bad in [
        ";",
        "a b",
        "permessage-deflate;",
        "permessage-deflate; ;",
        "permessage-deflate; =1",
        "permessage-deflate; a=",
        "permessage-deflate; a=\"",
        "permessage-deflate; a=\"\"",
        "permessage-deflate; a=\"1",
        "permessage-deflate; a=\"1 2\"",
        "permessage-deflate; a=\"1\\\"",
        "permessage-deflate; a=\"1\" 2",
        "permessage-deflate; a=1 2",
        "permessage-deflate; a==1",
        "permessage-deflate/x",
        "a; b, =",
    ] {
        let error = with(&[("sec-websocket-extensions", bad)]).unwrap_err();
        assert_eq!((error.kind(), error.status()), (Kind::WebSocketExtensions, 400), "{bad:?}");
    }
}

#[test]
fn rfc6455_9_1_other_extensions_are_read_over() {
    for fine in ["", ",", " , ,", "x-webkit-deflate-frame", "foo; bar=1; baz=\"q\\r\", , mux ;a", "permessage-bzip2"] {
        assert_eq!(answer(fine, &open_options()), None, "{fine:?}");
    }
    assert_eq!(answer("foo; bar, permessage-deflate", &open_options()).unwrap(), "permessage-deflate");
    assert_eq!(answer("Permessage-Deflate", &open_options()).unwrap(), "permessage-deflate");
}

#[test]
fn rfc7692_5_1_the_first_offer_that_can_be_met_wins() {
    let value = "permessage-deflate; server_max_window_bits=7, \
                 permessage-deflate; server_max_window_bits=10, permessage-deflate";
    assert_eq!(answer(value, &open_options()).unwrap(), "permessage-deflate; server_max_window_bits=10");
    // The same over two fields.
    let fields = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-extensions", "permessage-deflate; unknown"),
        ("sec-websocket-extensions", "permessage-deflate; server_no_context_takeover"),
    ];
    let params = offer(&fields, &open_options()).unwrap().deflate.unwrap();
    let mut out = b"x: ".to_vec();
    params.write_response_value(&mut out);
    assert_eq!(out, b"x: permessage-deflate; server_no_context_takeover");
}

#[test]
fn rfc7692_7_1_offers_that_are_declined() {
    for declined in [
        "unknown",
        "unknown=1",
        "Server_no_context_takeover",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=08",
        "server_max_window_bits=+9",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_max_window_bits=\"1\\0\"",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=100",
        "client_max_window_bits; client_max_window_bits=10",
    ] {
        assert_eq!(answer(&format!("permessage-deflate; {declined}"), &open_options()), None, "{declined}");
    }
}

#[test]
fn rfc7692_7_1_offers_and_their_answers() {
    for (asked, answered) in [
        ("", ""),
        ("; server_no_context_takeover", "; server_no_context_takeover"),
        ("; client_no_context_takeover", "; client_no_context_takeover"),
        ("; client_max_window_bits", ""),
        ("; client_max_window_bits=15", ""),
        ("; client_max_window_bits=9", "; client_max_window_bits=9"),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        ("; server_max_window_bits=\"9\"", "; server_max_window_bits=9"),
        ("; server_max_window_bits=8", "; server_max_window_bits=8"),
        (
            ";client_max_window_bits =\t10 ;server_max_window_bits= 11; client_no_context_takeover",
            "; client_no_context_takeover; server_max_window_bits=11; client_max_window_bits=10",
        ),
    ] {
        let answer = answer(&format!("permessage-deflate{asked}"), &open_options());
        assert_eq!(answer.unwrap(), format!("permessage-deflate{answered}"), "{asked}");
    }
}

#[test]
fn rfc7692_7_1_the_servers_own_wishes() {
    let all = DeflateOptions {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: 11,
        client_max_window_bits: 10,
        ..DeflateOptions::default()
    };
    let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11";
    // A client that does not mention its window is not asked to shrink it (§7.1.2.2).
    assert_eq!(answer("permessage-deflate", &all).unwrap(), both);
    let asked = "permessage-deflate; client_max_window_bits";
    assert_eq!(answer(asked, &all).unwrap(), format!("{both}; client_max_window_bits=10"));
    // The smaller of both wishes holds.
    let asked = "permessage-deflate; server_max_window_bits=9; client_max_window_bits=12";
    assert!(answer(asked, &all).unwrap().ends_with("server_max_window_bits=9; client_max_window_bits=10"));
    let asked = "permessage-deflate; server_max_window_bits=13; client_max_window_bits=9";
    assert!(answer(asked, &all).unwrap().ends_with("server_max_window_bits=11; client_max_window_bits=9"));
}

#[test]
fn options_out_of_range_count_as_the_nearest_value() {
    let low = DeflateOptions { server_max_window_bits: 0, client_max_window_bits: 3, ..open_options() };
    let answered = answer("permessage-deflate; client_max_window_bits", &low).unwrap();
    assert_eq!(answered, "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8");
    let high = DeflateOptions { server_max_window_bits: 200, client_max_window_bits: 16, ..open_options() };
    assert_eq!(answer("permessage-deflate; client_max_window_bits", &high).unwrap(), "permessage-deflate");
}

#[test]
fn compression_that_is_switched_off_is_declined_but_still_read() {
    let off = DeflateOptions { enabled: false, ..open_options() };
    assert_eq!(answer("permessage-deflate", &off), None);
    let fields = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-extensions", "permessage-deflate;"),
    ];
    assert_eq!(offer(&fields, &off).unwrap_err().kind(), Kind::WebSocketExtensions);
}
