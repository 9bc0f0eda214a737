//! What proxies say: RFC 7239, `X-Forwarded-*` and the PROXY protocol. The class "forwarded spoofing".

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::net::{IpAddr, SocketAddr};

use swell_wire::error::Kind;
use swell_wire::fields::forwarded::{resolve, Convention, Forwarded, Scheme};
use swell_wire::fields::networks::Networks;
use swell_wire::h1::head::parse_head;
use swell_wire::limits::HeadLimits;
use swell_wire::proxy::{parse, Preface};

const TRUSTED: &str = "10.0.0.0/8, fd00::/8, unix";

/// What the fields mean when the peer is `peer`, as text: client, scheme, host.
fn seen_from(peer: Option<&str>, convention: Convention, trusted: &str, fields: &[&str]) -> String {
    let input = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", fields.join("\r\n"));
    let mut spans = Vec::new();
    let head = parse_head(input.as_bytes(), &HeadLimits::default(), &mut spans).unwrap().unwrap();
    let peer: Option<IpAddr> = peer.map(|peer| peer.parse().unwrap());
    let Forwarded { client, scheme, host } =
        resolve(convention, peer, head.block, &spans, &Networks::parse(trusted).unwrap());
    let client = client.map_or("-".to_owned(), |client| client.to_string());
    let scheme = scheme.map_or("-", |scheme| if scheme == Scheme::Http { "http" } else { "https" });
    format!("{client} {scheme} {}", host.map_or("-", |host| std::str::from_utf8(host).unwrap()))
}

fn x_forwarded(fields: &[&str]) -> String {
    seen_from(Some("10.0.0.1"), Convention::XForwarded, TRUSTED, fields)
}

fn forwarded(fields: &[&str]) -> String {
    seen_from(Some("10.0.0.1"), Convention::Forwarded, TRUSTED, fields)
}

#[test]
fn forwarded_spoofing_nothing_is_believed_from_strangers() {
    let fields =
        ["X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: h", "Forwarded: for=1.1.1.1"];
    for convention in [Convention::XForwarded, Convention::Forwarded] {
        assert_eq!(seen_from(Some("9.9.9.9"), convention, TRUSTED, &fields), "- - -");
        assert_eq!(seen_from(None, convention, "10.0.0.0/8", &fields), "- - -");
        assert_eq!(seen_from(Some("10.0.0.1"), convention, "", &fields), "- - -");
    }
    assert_eq!(seen_from(None, Convention::XForwarded, TRUSTED, &fields), "1.1.1.1:0 https h");
}

#[test]
fn forwarded_spoofing_only_the_configured_convention_is_read() {
    let fields = ["X-Forwarded-For: 1.1.1.1", "Forwarded: for=2.2.2.2;proto=https;host=h"];
    assert_eq!(x_forwarded(&fields), "1.1.1.1:0 - -");
    assert_eq!(forwarded(&fields), "2.2.2.2:0 https h");
}

#[test]
fn forwarded_spoofing_right_to_left_over_trusted_proxies() {
    assert_eq!(x_forwarded(&["X-Forwarded-For: 6.6.6.6, 1.1.1.1"]), "1.1.1.1:0 - -");
    assert_eq!(x_forwarded(&["X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.2 ,10.0.0.3"]), "1.1.1.1:0 - -");
    assert_eq!(x_forwarded(&["X-Forwarded-For: 10.0.0.9, 10.0.0.8"]), "10.0.0.9:0 - -", "all trusted: the leftmost");
    assert_eq!(
        seen_from(Some("9.9.9.9"), Convention::XForwarded, "*", &["X-Forwarded-For: 1.1.1.1, 2.2.2.2"]),
        "1.1.1.1:0 - -"
    );
}

#[test]
fn forwarded_spoofing_lines_are_one_list() {
    assert_eq!(
        x_forwarded(&["X-Forwarded-For: 6.6.6.6", "X: y", "x-forwarded-for: 1.1.1.1, 10.0.0.2"]),
        "1.1.1.1:0 - -"
    );
    assert_eq!(x_forwarded(&["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 10.0.0.2"]), "1.1.1.1:0 - -");
}

#[test]
fn forwarded_spoofing_a_bad_entry_ends_the_walk() {
    for bad in [
        "unknown",
        "_hidden",
        "",
        "1.1.1",
        "1.1.1.1:x",
        "1.1.1.1:70000",
        "[::1",
        "[::1]x",
        "a b",
        "1.1.1.1:+5",
        "\"1.1.1.1\"",
    ] {
        assert_eq!(x_forwarded(&[&format!("X-Forwarded-For: 6.6.6.6, {bad}")]), "- - -", "{bad}");
        assert_eq!(x_forwarded(&[&format!("X-Forwarded-For: 6.6.6.6, {bad}, 10.0.0.2")]), "10.0.0.2:0 - -", "{bad}");
    }
}

#[test]
fn forwarded_spoofing_forms_of_addresses() {
    for (entry, client) in [
        ("1.1.1.1:5678", "1.1.1.1:5678"),
        ("2001:db8::1", "[2001:db8::1]:0"),
        ("[2001:db8::1]", "[2001:db8::1]:0"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443"),
    ] {
        assert_eq!(x_forwarded(&[&format!("X-Forwarded-For: {entry}, [fd00::1]:9")]), format!("{client} - -"));
    }
}

#[test]
fn forwarded_spoofing_scheme_and_host_of_the_hop_that_saw_the_client() {
    let for_ = "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.2";
    assert_eq!(x_forwarded(&[for_, "X-Forwarded-Proto: http, https, http"]), "1.1.1.1:0 https -");
    assert_eq!(x_forwarded(&[for_, "X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: h:8"]), "1.1.1.1:0 https h:8");
    assert_eq!(x_forwarded(&[for_, "X-Forwarded-Proto: https, http"]), "1.1.1.1:0 http -", "else the nearest proxy's");
    for bad in ["gopher", "", "https http"] {
        assert_eq!(x_forwarded(&[for_, &format!("X-Forwarded-Proto: {bad}")]), "1.1.1.1:0 - -");
    }
    for bad in ["user@h", "h/p", "", "h:99999"] {
        assert_eq!(x_forwarded(&[for_, &format!("X-Forwarded-Host: {bad}")]), "1.1.1.1:0 - -");
    }
    assert_eq!(x_forwarded(&["X-Forwarded-Proto: wss"]), "- https -");
}

#[test]
fn rfc7239_4_elements_and_parameters() {
    assert_eq!(
        forwarded(&["Forwarded: for=1.1.1.1;proto=https;host=a.example;by=10.0.0.1"]),
        "1.1.1.1:0 https a.example"
    );
    assert_eq!(
        forwarded(&["Forwarded: For=\"[2001:db8:cafe::17]:4711\" ; PROTO=http"]),
        "[2001:db8:cafe::17]:4711 http -"
    );
    assert_eq!(forwarded(&["Forwarded: for=\"1.1.1.1:80\";host=\"h:8\";ext=\"a,b;c\""]), "1.1.1.1:80 - h:8");
    assert_eq!(forwarded(&["Forwarded: for=\"1.1.1.1:_port\";;proto=http;"]), "1.1.1.1:0 http -");
}

#[test]
fn rfc7239_7_4_walk_over_trusted_proxies() {
    let chain = "Forwarded: for=6.6.6.6;proto=http, for=1.1.1.1;proto=https;host=a, for=10.0.0.2;proto=http;host=b";
    assert_eq!(forwarded(&[chain]), "1.1.1.1:0 https a");
    assert_eq!(
        forwarded(&["Forwarded: for=6.6.6.6", "Forwarded: for=1.1.1.1", "Forwarded: for=10.0.0.2;proto=https"]),
        "1.1.1.1:0 https -"
    );
}

#[test]
fn rfc7239_6_names_that_are_not_addresses_end_the_walk() {
    for node in ["unknown", "_gazonk", "\"_a:_b\""] {
        assert_eq!(forwarded(&[&format!("Forwarded: for=6.6.6.6, for={node};proto=https")]), "- https -", "{node}");
    }
    assert_eq!(forwarded(&["Forwarded: for=6.6.6.6, proto=https"]), "- https -");
}

#[test]
fn rfc7239_4_malformed_elements_end_the_walk() {
    for bad in [
        "for=\"1.1.1.1",
        "for=1.1.1.1;for=2.2.2.2",
        "for",
        "for=1.1.1.1\\",
        "for=\"1.1.1.1\\\"\"",
        "for=1\"1",
        "for=1.1.1.1\"",
    ] {
        assert_eq!(forwarded(&[&format!("Forwarded: for=6.6.6.6, {bad}")]), "- - -", "{bad}");
        assert_eq!(
            forwarded(&[&format!("Forwarded: for=6.6.6.6, {bad}"), "Forwarded: for=10.0.0.2"]),
            "10.0.0.2:0 - -",
            "{bad}"
        );
    }
}

/// Parses at every length, so that no prefix of a good preface is refused and none is taken for complete.
fn preface(bytes: &[u8]) -> (Option<SocketAddr>, Option<SocketAddr>) {
    for length in 0..bytes.len() {
        assert_eq!(parse(&bytes[..length]), Ok(None), "{length}");
    }
    let mut more = bytes.to_vec();
    more.extend_from_slice(b"GET / HTTP/1.1\r\n");
    assert_eq!(parse(bytes), parse(&more));
    let (Preface { source, destination }, length) = parse(bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    (source, destination)
}

fn addresses(source: &str, destination: &str) -> (Option<SocketAddr>, Option<SocketAddr>) {
    (Some(source.parse().unwrap()), Some(destination.parse().unwrap()))
}

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

const V4: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 0x1f, 0x90, 0, 80];

#[test]
fn proxy_protocol_2_1_text() {
    assert_eq!(preface(b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r\n"), addresses("1.2.3.4:1234", "5.6.7.8:80"));
    assert_eq!(preface(b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"), addresses("[2001:db8::1]:0", "[::1]:65535"));
    assert_eq!(preface(b"PROXY UNKNOWN\r\n"), (None, None));
    assert_eq!(preface(b"PROXY UNKNOWN ffff::1 any thing 1 2\r\n"), (None, None));
}

#[test]
fn proxy_protocol_2_1_text_is_strict_and_bounded() {
    for bad in [
        "PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1234\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1234 80 \r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1234 80 x\r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1234 80\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 80\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 80\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 80\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 80\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 80\r\n",
        "PROXY unknown\r\n",
        "PROXY \r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rX\n",
    ] {
        assert_eq!(parse(bad.as_bytes()).unwrap_err().kind(), Kind::ProxyAddress, "{bad}");
    }
    let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 96]].concat();
    assert_eq!(parse(&endless).unwrap_err().kind(), Kind::ProxyTooLong);
    assert_eq!(parse(&endless[..106]), Ok(None));
    for stranger in [&b"GET / HTTP/1.1\r\n"[..], b"PROXX", b"proxy TCP4", b"\r\n\r\n\0\r\nQUIX", b"\x16\x03", b"\n"] {
        assert_eq!(parse(stranger).unwrap_err().kind(), Kind::ProxyPreface, "{stranger:?}");
    }
}

#[test]
fn proxy_protocol_2_2_binary() {
    assert_eq!(preface(&v2(0x21, 0x11, V4)), addresses("1.2.3.4:8080", "5.6.7.8:80"));
    let mut v6 = [0; 36];
    v6[15] = 1;
    v6[31] = 2;
    v6[33] = 7;
    assert_eq!(preface(&v2(0x21, 0x21, &v6)), addresses("[::1]:7", "[::2]:0"));
    let with_tlvs = [V4, &[0x04, 0, 0, 0x02, 0, 3, b'a', b'b', b'c']].concat();
    assert_eq!(preface(&v2(0x21, 0x11, &with_tlvs)), addresses("1.2.3.4:8080", "5.6.7.8:80"));
    for (command, family, payload) in [
        (0x20, 0x00, &b""[..]),
        (0x20, 0x11, V4),
        (0x20, 0x11, b"xy"),
        (0x21, 0x00, b"any"),
        (0x21, 0x31, &[0; 216]),
        (0x21, 0x12, V4),
    ] {
        assert_eq!(preface(&v2(command, family, payload)), (None, None), "{command:#x} {family:#x}");
    }
}

#[test]
fn proxy_protocol_2_2_lengths_cannot_overflow() {
    let kind = |bytes: &[u8]| parse(bytes).unwrap_err().kind();
    assert_eq!(kind(&v2(0x21, 0x11, &V4[..11])), Kind::ProxyAddress);
    assert_eq!(kind(&v2(0x21, 0x21, &[0; 35])), Kind::ProxyAddress);
    assert_eq!(kind(&v2(0x21, 0x11, &[V4, &[4, 0xff, 0xff]].concat())), Kind::ProxyAddress);
    assert_eq!(kind(&v2(0x21, 0x11, &[V4, &[4, 0]].concat())), Kind::ProxyAddress);
    assert_eq!(kind(&v2(0x21, 0x11, &[0; 4097])), Kind::ProxyTooLong);
    assert!(parse(&v2(0x20, 0x00, &[0; 4096])).unwrap().is_some());
    let mut claim = v2(0x21, 0x11, b"");
    claim[14..16].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(kind(&claim), Kind::ProxyTooLong, "refused by the claim, not after waiting for 64 KiB");
    for command in [0x00, 0x11, 0x22, 0x2f, 0x31] {
        assert_eq!(kind(&v2(command, 0x11, V4)), Kind::ProxyPreface, "{command:#x}");
    }
    for family in [0x01, 0x10, 0x13, 0x41, 0xff] {
        assert_eq!(kind(&v2(0x21, family, V4)), Kind::ProxyAddress, "{family:#x}");
    }
}
