"""Every size limit of docs/limits.md: at the limit it passes, beyond it is refused, and memory stays flat.

Over TCP, a Unix socket, TLS and HTTP/2. Sizes are small by option, so that the tests are quick; what is sent beyond
them is large, so that keeping it would show. RFC 9112 §3, RFC 6585 §5, RFC 9110 §15.5.14.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import raw
from support.backends import HTTP2, HTTP2_TLS, TLS, UNIX
from support.kernel import memory
from support.raw import Closed, Connection

from attacks.target import Target, target

OPTIONS = (
    "--limit-request-line", "100", "--limit-head-fields", "10", "--limit-head-size", "2000",
    "--limit-body-size", "1000", "--limit-requests-per-connection", "5",
)  # fmt: skip
ALSO = (UNIX, TLS, HTTP2, HTTP2_TLS)
HOST = b"Host: a.example\r\n"
MIB = 1 << 20

#: RFC 9113 §8.2: a header section is whole or it is none.
in_pieces = pytest.mark.http1("heads in pieces")


def refused(hostile: Target, ask: Callable[[Any], None], status: int, reason: str) -> None:
    """One answer, one log line with the reason, the end; what was sent beyond is not kept."""
    mark = hostile.server.mark()
    before = memory(hostile.worker)
    with hostile.connect() as connection:
        ask(connection)
        outcome = connection.outcome()
        if isinstance(outcome, Closed):
            # A client that keeps sending may lose the answer to the reset; the log has the verdict.
            assert outcome.reset, outcome
            assert not hostile.backend.http2, outcome
        else:
            assert (outcome.status, outcome.closes) == (status, not hostile.backend.http2), outcome
        if hostile.backend.http2:
            connection.wait_accepted()
    if reason:
        hostile.server.wait_for_log(rf": {status}, .*{reason}", since=mark)
    assert memory(hostile.worker) - before < 4 * MIB


def octets(hostile: Target, data: bytes | list[bytes], status: int, reason: str) -> None:
    """The same for what only HTTP/1.1 can say."""
    pieces = [data] if isinstance(data, bytes) else data
    refused(hostile, lambda connection: connection.send_pieces(pieces), status, reason)


def path(connection: Any, length: int) -> str:
    """Makes a request line of so many bytes."""
    return "/" + "a" * (length - len(f"GET / {connection.version}"))


def test_request_line(hostile: Target) -> None:
    with hostile.connect() as connection:
        assert connection.get(path(connection, 100)).status == 200
    refused(hostile, lambda connection: connection.request(path(connection, 101)), 414, "RFC 9112 §3")
    refused(hostile, lambda connection: connection.request("/", "A" * 200), 414, "RFC 9112 §3")


@in_pieces
def test_request_line_without_end(hostile: Target) -> None:
    """It is refused when it is too long, not when it is over."""
    octets(hostile, b"GET /" + b"a" * 200, 414, "RFC 9112 §3")
    octets(hostile, [b"GET /" + b"a" * MIB] * 16, 414, "RFC 9112 §3")


@in_pieces
def test_method_of_64_kib(hostile: Target) -> None:
    octets(hostile, b"A" * 65536 + b" / HTTP/1.1\r\n" + HOST + b"\r\n", 414, "RFC 9112 §3")


def head(fields: int) -> list[tuple[str, str]]:
    """So many fields, with the one that names the host."""
    return [(f"X{at}", "y") for at in range(fields - 1)]


def test_head_fields(hostile: Target) -> None:
    with hostile.connect() as connection:
        assert connection.get(fields=head(10)).status == 200
    refused(hostile, lambda connection: connection.request(fields=head(11)), 431, "RFC 6585 §5")


def test_ten_thousand_head_fields(hostile: Target) -> None:
    """Over HTTP/2 that is far beyond the size of a head, too: the connection ends before anybody has read them."""
    if not hostile.backend.http2:
        return refused(hostile, lambda connection: connection.request(fields=head(10_000)), 431, "RFC 6585 §5")
    mark = hostile.server.mark()
    with hostile.connect() as connection:
        connection.request(fields=head(10_000))
        connection.http2.wait_closed()
    hostile.server.wait_for_log("HTTP/2 connection closed", since=mark)
    return None


@in_pieces
def test_head_fields_without_end(hostile: Target) -> None:
    fields = b"".join(b"X%d: y\r\n" % at for at in range(49))
    octets(hostile, b"GET / HTTP/1.1\r\n" + HOST + fields, 431, "RFC 6585 §5")


def large_field(connection: Any, size: int, path: str = "/") -> list[tuple[str, str]]:
    """Makes a head of so many bytes, over HTTP/2 counted as if it was one of HTTP/1.1."""
    host = "a.example" if isinstance(connection, Connection) else "test.example"
    return [("X", "y" * (size - len(f"GET {path} {connection.version}\r\nHost: {host}\r\nX: \r\n\r\n")))]


def sized_head(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\n" + HOST + b"X: "
    return start + b"y" * (size - len(start) - 4) + b"\r\n\r\n"


def test_head_size(hostile: Target) -> None:
    with hostile.connect() as connection:
        assert connection.get(fields=large_field(connection, 2000)).status == 200
    refused(hostile, lambda connection: connection.request(fields=large_field(connection, 2001)), 431, "RFC 6585 §5")


@pytest.mark.parametrize("size", [4000, 6000])
def test_head_that_is_much_too_large(hostile: Target, size: int) -> None:
    """Over HTTP/2 the `h2` crate answers by itself then, without a line in the log."""
    reason = "" if hostile.backend.http2 else "RFC 6585 §5"
    refused(hostile, lambda connection: connection.request(fields=large_field(connection, size)), 431, reason)


def test_full_head_of_small_fields(hostile: Target) -> None:
    """RFC 9113 §6.5.2 counts 32 bytes more for each field; the limit does not."""
    fields = head(9)
    with hostile.connect() as connection:
        used = sum(len(f"{name}: {value}\r\n") for name, value in fields)
        assert connection.get(fields=[*fields, *large_field(connection, 2000 - used)]).status == 200


@in_pieces
def test_head_size_without_end(hostile: Target) -> None:
    octets(hostile, sized_head(MIB), 431, "RFC 6585 §5")
    octets(hostile, sized_head(3000)[:-4], 431, "RFC 6585 §5")
    octets(hostile, [b"GET / HTTP/1.1\r\nX: ", *[b"y" * MIB] * 16], 431, "RFC 6585 §5")


@in_pieces
def test_head_in_single_bytes_meets_the_same_limits(hostile: Target) -> None:
    octets(hostile, [bytes([byte]) for byte in sized_head(2500)], 431, "RFC 6585 §5")


def test_repeated_head_meets_the_same_limits(hostile: Target) -> None:
    """Heads equal to the one before take a short cut: a longer request line must not slip through it."""
    with hostile.connect() as connection:
        fields = large_field(connection, 1990)
        assert connection.get("/", fields=fields).status == 200
        assert connection.get("/x", fields=fields).status == 200
        connection.request("/" + "a" * 60, fields=fields)
        assert connection.refusal().status == 431


def test_body_size(hostile: Target) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        assert connection.get("/x", "POST", body=b"x" * 1000).status == 200
    refused(hostile, lambda connection: connection.begin("/x", 1001), 413, "RFC 9110 §15.5.14")
    refused(hostile, lambda connection: connection.begin("/x", 10**18), 413, "RFC 9110 §15.5.14")
    assert len(hostile.seen()) == 1, "a body that announces too much does not reach the application"


def test_body_size_is_known_before_the_body_is_asked_for(hostile: Target) -> None:
    with hostile.connect() as connection:
        connection.begin("/x", 5000, [("Expect", "100-continue")])
        response = connection.response()
        assert (response.status, response.interim) == (413, [])


def test_body_size_that_was_not_told(hostile: Target) -> None:
    def pieces(connection: Any, *sizes: int) -> None:
        connection.begin("/x")
        for size in sizes:
            connection.send_body(b"x" * size)

    with hostile.connect() as connection:
        pieces(connection, 500, 500)
        connection.end_body()
        assert connection.response().status == 200
    refused(hostile, lambda connection: pieces(connection, 500, 501), 413, "RFC 9110 §15.5.14")
    refused(hostile, lambda connection: pieces(connection, *[1] * 1001), 413, "RFC 9110 §15.5.14")
    refused(hostile, lambda connection: pieces(connection, *[MIB] * 16), 413, "RFC 9110 §15.5.14")


def test_requests_per_connection(hostile: Target) -> None:
    with hostile.connect() as connection:
        responses = [connection.get("/ignore") for _ in range(5)]
        assert [response.status for response in responses] == [200] * 5
        # Over HTTP/2 a GOAWAY says so.
        assert [response.closes for response in responses] == [False] * 4 + [not hostile.backend.http2]
        connection.wait_closed()


@pytest.mark.http1("pipelining")
def test_requests_per_connection_at_once(hostile: Target) -> None:
    with hostile.connect() as connection:
        connection.send((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 10)
        responses = [connection.response() for _ in range(5)]
        assert [response.closes for response in responses] == [False] * 4 + [True]
        connection.wait_closed()


@in_pieces
def test_25_header_bombs_leave_memory_flat(hostile: Target) -> None:
    """A hundred connections that each send a megabyte of head, all at once."""
    before = memory(hostile.worker)
    connections = []
    for _ in range(100):
        context = hostile.connect()
        connections.append(context)
        context.__enter__().send_pieces([b"GET / HTTP/1.1\r\n", *[b"X: " + b"y" * 500 + b"\r\n"] * 2000])
    assert memory(hostile.worker) - before < 8 * MIB
    for context in connections:
        context.__exit__(None, None, None)
    assert hostile.is_serving()


@pytest.fixture(scope="module")
def preface() -> Iterator[Target]:
    with target("--proxy-protocol-from", "127.0.0.1") as found:
        # Every connection of this server starts with a preface.
        get = functools.partial(raw.get, found.address, preface=b"PROXY UNKNOWN\r\n")
        found.get = lambda path, *fields: get(path, fields)  # type: ignore[method-assign]  # of this one only
        yield found


V2 = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2" + b" " * 100,
        b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n",
        b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY " + b"x" * 108,
        V2 + b"\x21\x11\xff\xff" + b"\0" * 65535,
        V2 + b"\x21\x11\x00\x04" + b"\0" * 4,
        V2 + b"\x31\x11\x00\x0c" + b"\0" * 12,
        V2[:-1] + b"X\x21\x11\x00\x0c" + b"\0" * 12,
    ],
)
def test_35_proxy_protocol_missing_or_malformed(preface: Target, data: bytes) -> None:
    preface.seen()
    mark = preface.server.mark()
    with preface.connect() as connection:
        connection.send_pieces([data + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"])
        assert not connection.rest().startswith(b"HTTP/1.1 200")
    preface.server.wait_for_log(r"PROXY protocol", since=mark)
    assert preface.seen() == []


def test_35_proxy_protocol(preface: Target) -> None:
    """The preface gives the client's address, in pieces too; the protocol's LOCAL and UNKNOWN leave it alone."""
    preface.seen()
    v2_body = bytes([1, 2, 3, 4, 5, 6, 7, 8]) + (1234).to_bytes(2, "big") + (80).to_bytes(2, "big")
    prefaces = [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r\n",
        V2 + b"\x21\x11\x00\x0c" + v2_body,
        V2 + b"\x20\x00\x00\x00",
    ]
    request = b"GET /x HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    for data in prefaces:
        with preface.connect() as connection:
            connection.send_pieces([bytes([byte]) for byte in data + request])
            assert connection.response().status == 200
    clients = [record["client"] for record in preface.seen()]
    assert clients[:2] == [["1.2.3.4", 1234]] * 2
    assert clients[2][0] == "127.0.0.1"
