"""Every size limit of docs/limits.md: at the limit it passes, beyond it is refused, and memory stays flat.

Sizes are small by option, so that the tests are quick; what is sent beyond them is large, so that keeping it would
show. RFC 9112 §3, RFC 6585 §5, RFC 9110 §15.5.14.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.kernel import memory
from support.raw import Closed

from attacks.target import Target, exchange, target

OPTIONS = (
    "--limit-request-line", "100", "--limit-head-fields", "10", "--limit-head-size", "2000",
    "--limit-body-size", "1000", "--limit-requests-per-connection", "5",
)  # fmt: skip
HOST = b"Host: a.example\r\n"
MIB = 1 << 20


def refused(hostile: Target, data: bytes | list[bytes], status: int, reason: str) -> None:
    """One answer, one log line with the reason, the end; what was sent beyond is not kept."""
    mark = hostile.server.mark()
    before = memory(hostile.worker)
    with hostile.connect() as connection:
        connection.send_pieces([data] if isinstance(data, bytes) else data)
        outcome = connection.outcome()
        if isinstance(outcome, Closed):
            # A client that keeps sending may lose the answer to the reset; the log has the verdict.
            assert outcome.reset, outcome
        else:
            assert (outcome.status, outcome.closes) == (status, True), outcome
    hostile.server.wait_for_log(rf": {status}, .*{reason}", since=mark)
    assert memory(hostile.worker) - before < 4 * MIB


def line(length: int) -> bytes:
    """A head whose request line is `length` bytes long."""
    return b"GET /" + b"a" * (length - len(b"GET / HTTP/1.1")) + b" HTTP/1.1\r\n" + HOST + b"\r\n"


def test_request_line(hostile: Target) -> None:
    with hostile.connect() as connection:
        assert exchange(connection, line(100)).status == 200
    refused(hostile, line(101), 414, "RFC 9112 §3")


def test_request_line_without_end(hostile: Target) -> None:
    """It is refused when it is too long, not when it is over."""
    refused(hostile, b"GET /" + b"a" * 200, 414, "RFC 9112 §3")
    refused(hostile, [b"GET /" + b"a" * MIB] * 16, 414, "RFC 9112 §3")


def test_method_of_64_kib(hostile: Target) -> None:
    refused(hostile, b"A" * 65536 + b" / HTTP/1.1\r\n" + HOST + b"\r\n", 414, "RFC 9112 §3")


def head(fields: int) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X%d: y\r\n" % at for at in range(fields - 1)) + b"\r\n"


def test_head_fields(hostile: Target) -> None:
    with hostile.connect() as connection:
        assert exchange(connection, head(10)).status == 200
    refused(hostile, head(11), 431, "RFC 6585 §5")
    refused(hostile, head(10_000), 431, "RFC 6585 §5")


def test_head_fields_without_end(hostile: Target) -> None:
    refused(hostile, head(50)[:-2], 431, "RFC 6585 §5")


def sized_head(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\n" + HOST + b"X: "
    return start + b"y" * (size - len(start) - 4) + b"\r\n\r\n"


def test_head_size(hostile: Target) -> None:
    with hostile.connect() as connection:
        assert exchange(connection, sized_head(2000)).status == 200
    refused(hostile, sized_head(2001), 431, "RFC 6585 §5")
    refused(hostile, sized_head(MIB), 431, "RFC 6585 §5")


def test_head_size_without_end(hostile: Target) -> None:
    refused(hostile, sized_head(3000)[:-4], 431, "RFC 6585 §5")
    refused(hostile, [b"GET / HTTP/1.1\r\nX: ", *[b"y" * MIB] * 16], 431, "RFC 6585 §5")


def test_head_in_single_bytes_meets_the_same_limits(hostile: Target) -> None:
    refused(hostile, [bytes([byte]) for byte in sized_head(2500)], 431, "RFC 6585 §5")


def test_repeated_head_meets_the_same_limits(hostile: Target) -> None:
    """Heads equal to the one before take a short cut: a longer request line must not slip through it."""
    block = sized_head(1990).partition(b"\r\n")[2]
    with hostile.connect() as connection:
        assert exchange(connection, b"GET / HTTP/1.1\r\n" + block).status == 200
        assert exchange(connection, b"GET /x HTTP/1.1\r\n" + block).status == 200
        assert exchange(connection, b"GET /" + b"a" * 60 + b" HTTP/1.1\r\n" + block).status == 431
        connection.wait_closed()


def post(size: int) -> bytes:
    return b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size


def test_body_size(hostile: Target) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        assert exchange(connection, post(1000) + b"x" * 1000).status == 200
    refused(hostile, post(1001), 413, "RFC 9110 §15.5.14")
    refused(hostile, post(10**18), 413, "RFC 9110 §15.5.14")
    assert len(hostile.seen()) == 1, "a body that announces too much does not reach the application"


def test_body_size_is_known_before_the_body_is_asked_for(hostile: Target) -> None:
    request = post(5000).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    with hostile.connect() as connection:
        response = exchange(connection, request)
        assert (response.status, response.interim) == (413, [])


def chunked(*pieces: int) -> list[bytes]:
    start = b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    return [start, *(b"%x\r\n" % size + b"x" * size + b"\r\n" for size in pieces)]


def test_body_size_chunked(hostile: Target) -> None:
    with hostile.connect() as connection:
        connection.send_pieces([*chunked(500, 500), b"0\r\n\r\n"])
        assert connection.response().status == 200
    refused(hostile, chunked(500, 501), 413, "RFC 9110 §15.5.14")
    refused(hostile, chunked(*[1] * 1001), 413, "RFC 9110 §15.5.14")
    refused(hostile, chunked(*[MIB] * 16), 413, "RFC 9110 §15.5.14")


def test_requests_per_connection(hostile: Target) -> None:
    with hostile.connect() as connection:
        get = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
        connection.send(get * 10)
        responses = [connection.response() for _ in range(5)]
        assert [response.closes for response in responses] == [False] * 4 + [True]
        connection.wait_closed()


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
        found.get = lambda path, *fields: _get_behind_preface(found, path, fields)  # type: ignore[method-assign]
        yield found


def _get_behind_preface(found: Target, path: str, fields: tuple[str, ...]):  # type: ignore[no-untyped-def]
    with found.connect() as connection:
        lines = [f"GET {path} HTTP/1.1", "Host: a.example", "Connection: close", *fields]
        request = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return exchange(connection, b"PROXY UNKNOWN\r\n" + request)


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
