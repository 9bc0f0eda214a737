"""Heads that lie: Host, request target, names, versions, upgrades. RFC 9112 §2.3, §3, §9.6, RFC 9110 §7.2, §7.8."""

from __future__ import annotations

import pytest

from attacks.target import Target, exchange
from attacks.test_framing import refused

GET = b"GET /attack HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "data",
    [
        GET + b"\r\n",
        GET + b"Host: a.example\r\nHost: a.example\r\n\r\n",
        GET + b"Host: a.example\r\nhost: b.example\r\n\r\n",
        *(
            GET + b"Host: " + host + b"\r\n\r\n"
            for host in (
                b"user@a.example", b"a.example/path", b"a.example, b.example", b"a.example?x", b"a.example#x", b"a b",
                b"a.example:port", b"a.example:65536", b"a.example:-1", b"[::1", b"::1", b"[::1]x", b"[g::1]",
                b"a\\b", b"a\x80b",
                b"http://a.example",
            )
        ),
        b"GET http://b.example/attack HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET http://a.example:81/attack HTTP/1.1\r\nHost: a.example:82\r\n\r\n",
        b"GET http://user@a.example/attack HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET http:///attack HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ],
)  # fmt: skip
def test_12_host_missing_twice_or_malformed(hostile: Target, data: bytes) -> None:
    refused(hostile, data)


@pytest.mark.parametrize("host", [b"a.example", b"a.example:8000", b"127.0.0.1:1", b"[::1]:80", b"[::1]", b"A-b.c_d"])
def test_12_honest_hosts_reach_the_application_unchanged(hostile: Target, host: bytes) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        assert exchange(connection, GET + b"Host: " + host + b"\r\n\r\n").status == 200
    (record,) = hostile.seen()
    assert record["headers"] == [["host", host.decode()]]


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        (b"GET a.example:80 HTTP/1.1", (400,)),
        (b"GET * HTTP/1.1", (400,)),
        (b"POST * HTTP/1.1", (400,)),
        (b"GET /attack#fragment HTTP/1.1", (400,)),
        (b"GET /\xc3\xa4 HTTP/1.1", (400,)),
        (b"GET /\x00 HTTP/1.1", (400,)),
        (b"GET /\x7f HTTP/1.1", (400,)),
        (b"GET /a b HTTP/1.1", (400,)),
        (b"GET  /attack HTTP/1.1", (400,)),
        (b"GET /attack  HTTP/1.1", (400,)),
        (b"GET\t/attack HTTP/1.1", (400,)),
        (b"GET /attack\tHTTP/1.1", (400,)),
        (b" GET /attack HTTP/1.1", (400,)),
        (b"GET attack HTTP/1.1", (400,)),
        (b"GET ../attack HTTP/1.1", (400,)),
        (b"GET \\attack HTTP/1.1", (400,)),
        (b"GET", (400,)),
        (b"GET /attack", (400, 505)),
        (b"CONNECT a.example:443 HTTP/1.1", (400, 501)),
        (b"CONNECT /attack HTTP/1.1", (400, 501)),
        (b"G\xcbT /attack HTTP/1.1", (400,)),
        (b"G(T /attack HTTP/1.1", (400,)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS", (400,)),
        (b"PRI * HTTP/2.0", (400, 505)),
    ],
)
def test_13_request_target_and_method(hostile: Target, line: bytes, statuses: tuple[int, ...]) -> None:
    refused(hostile, line + b"\r\nHost: a.example\r\n\r\n", *statuses)


def test_13_options_asterisk_is_a_request(hostile: Target) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        assert exchange(connection, b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n").status == 200
    (record,) = hostile.seen()
    assert (record["method"], record["raw_path"]) == ("OPTIONS", "*")


def test_13_encoded_separators_are_not_decoded_in_the_raw_path(hostile: Target) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        request = b"GET /a%2f..%2Fb/%00/%/%zz/%C3%A4?%2f HTTP/1.1\r\nHost: a.example\r\n\r\n"
        assert exchange(connection, request).status == 200
    (record,) = hostile.seen()
    assert record["raw_path"] == "/a%2f..%2Fb/%00/%/%zz/%C3%A4"
    assert record["path"] == "/a/../b/\0/%/%zz/ä"
    assert record["query"] == "%2f"


def test_17_underscores_and_hyphens_stay_distinct(hostile: Target) -> None:
    """A front server strips X-Forwarded-For, not X_Forwarded_For: they must never become one."""
    hostile.seen()
    with hostile.connect() as connection:
        fields = b"X_Forwarded_For: 9.9.9.9\r\nX_Forwarded_Proto: https\r\nX-Real_IP: 9.9.9.9\r\nContent_Length: 5\r\n"
        assert exchange(connection, GET + b"Host: a.example\r\n" + fields + b"\r\n").status == 200
    (record,) = hostile.seen()
    assert (record["client"][0], record["scheme"]) == ("127.0.0.1", "http")
    names = [name for name, _ in record["headers"]]
    assert names == ["host", "x_forwarded_for", "x_forwarded_proto", "x-real_ip", "content_length"]


@pytest.mark.parametrize(
    "version",
    [
        b"HTTP/1.32", b"HTTP/4294967295.255", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"HTTP/3", b"HTTP/1",
        b"HTTP/1.", b"HTTP/.1",
        b"HTTP/01.1", b"HTTP/1.10", b"http/1.1", b"HTTP /1.1", b"HTTP/1.1 ", b"HTTP/ 1.1",
        b"HTTPS/1.1", b"ICAP/1.0", b"HTTP/1,1",
        b"HTTP/\xd9\xa1.1",
    ],
)  # fmt: skip
def test_18_versions(hostile: Target, version: bytes) -> None:
    refused(hostile, b"GET /attack " + version + b"\r\nHost: a.example\r\n\r\n", 400, 505)


def test_18_http_0_9(hostile: Target) -> None:
    refused(hostile, b"GET /attack\r\n", 400, 505)


def test_18_http_1_0_closes_unless_asked(hostile: Target) -> None:
    with hostile.connect() as connection:
        response = exchange(connection, b"GET /attack HTTP/1.0\r\n\r\n")
        assert response.status == 200
        connection.wait_closed()
    with hostile.connect() as connection:
        for _ in range(2):
            response = exchange(connection, b"GET /attack HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (response.get(b"connection") or b"").lower() == b"keep-alive"


def test_18_http_1_0_gets_no_interim_and_no_chunks(hostile: Target) -> None:
    with hostile.connect() as connection:
        fields = b"Expect: 100-continue\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"
        connection.send(b"POST /attack HTTP/1.0\r\n" + fields + b"hello")
        response = connection.response()
        assert (response.status, response.interim) == (200, [])
    with hostile.connect() as connection:
        response = exchange(connection, b"GET /stream/2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (len(response.body), response.all(b"transfer-encoding")) == (131072, [])
        connection.wait_closed()


def test_19_h2c_upgrade_is_ignored(hostile: Target) -> None:
    """No tunnel: what follows is read as HTTP/1.1 and nothing else."""
    hostile.seen()
    fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    with hostile.connect() as connection:
        response = exchange(connection, GET + b"Host: a.example\r\n" + fields + b"\r\n")
        assert (response.status, response.get(b"upgrade")) == (200, None)
        response = exchange(connection, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert response.status in (400, 505)
        connection.wait_closed()
    assert len(hostile.seen()) == 1


WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize(
    ("request_line", "fields", "body"),
    [
        (b"GET /attack HTTP/1.1", b"Content-Length: 5\r\n", b"hello"),
        (b"GET /attack HTTP/1.1", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"POST /attack HTTP/1.1", b"Content-Length: 5\r\n", b"hello"),
        (b"GET /attack HTTP/1.0", b"", b""),
    ],
)
def test_19_websocket_upgrade_with_a_body_or_on_1_0_is_no_upgrade(
    hostile: Target, request_line: bytes, fields: bytes, body: bytes
) -> None:
    """It is an ordinary request whose body ends where it says, or it is refused; there is no tunnel."""
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(request_line + b"\r\nHost: a.example\r\n" + WEBSOCKET + fields + b"\r\n" + body)
        response = connection.response()
        assert response.status in (200, 400, 426), response
    for record in hostile.seen():
        assert record["body"] == ("hello" if body else "")


@pytest.mark.parametrize(
    "fields",
    [
        WEBSOCKET.replace(b"13", b"8"),
        WEBSOCKET.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
        WEBSOCKET.replace(b"Sec-WebSocket-Key", b"X-Key"),
        WEBSOCKET + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ],
)
def test_19_no_tunnel_after_a_failed_handshake(hostile: Target, fields: bytes) -> None:
    """What is sent behind it is not taken for frames and not for requests either."""
    hostile.seen()
    with hostile.connect() as connection:
        behind = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
        connection.send(b"GET /ws HTTP/1.1\r\nHost: a.example\r\n" + fields + b"\r\n" + behind)
        response = connection.response()
        assert response.status in (400, 426), response
        connection.wait_closed()
    assert hostile.seen() == []
