"""Several requests on one connection: order, leftovers of bodies, expectations. RFC 9112 §9.3, RFC 9110 §10.1.1."""

from __future__ import annotations

import pytest

from attacks.target import Target, exchange

HOST = b"Host: a.example\r\n"


def get(path: bytes, fields: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n"


def post(path: bytes, fields: bytes, body: bytes) -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body


def test_15_responses_keep_the_order_of_the_requests(hostile: Target) -> None:
    """The slow one first: its answer is still the first, and the others are not mixed up with it."""
    hostile.seen()
    delays = [50, 0, 20, 1, 0, 5]
    with hostile.connect() as connection:
        connection.send(b"".join(get(b"/pause/%d/%d" % (delay, at)) for at, delay in enumerate(delays)))
        bodies = [connection.response().body for _ in delays]
    assert bodies == [b"/pause/%d/%d" % (delay, at) for at, delay in enumerate(delays)]
    assert [record["path"].encode() for record in hostile.seen()] == bodies


def test_15_connections_do_not_see_each_others_answers(hostile: Target) -> None:
    with hostile.connect() as one, hostile.connect() as other:
        for turn in range(20):
            one.send(get(b"/pause/3/one%d" % turn))
            other.send(get(b"/pause/1/other%d" % turn))
        for turn in range(20):
            assert one.response().body == b"/pause/3/one%d" % turn
            assert other.response().body == b"/pause/1/other%d" % turn


@pytest.mark.parametrize("size", [5, 60_000])
@pytest.mark.parametrize("coding", [b"length", b"chunked"])
def test_16_unread_body_is_not_taken_for_a_request(hostile: Target, size: int, coding: bytes) -> None:
    """The application answers without reading: the next request starts behind the body, or not at all."""
    content = get(b"/smuggled") * (size // 30 + 1)
    content = content[:size]
    if coding == b"length":
        data = post(b"/ignore", b"Content-Length: %d\r\n" % size, content)
    else:
        data = post(b"/ignore", b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (size, content))
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(data + get(b"/next"))
        response = connection.response()
        assert (response.status, response.body) == (200, b"ignored")
        if response.closes:
            connection.wait_closed()
        else:
            assert connection.response().status == 200
    paths = [record["path"] for record in hostile.seen()]
    assert paths == ["/ignore"] if response.closes else ["/ignore", "/next"]


def test_16_the_body_may_come_after_the_answer(hostile: Target) -> None:
    """ "0.CL" and pauses: the answer is out before the body's first byte, which is still body."""
    hostile.seen()
    body = get(b"/smuggled")
    with hostile.connect() as connection:
        response = exchange(connection, post(b"/ignore", b"Content-Length: %d\r\n" % len(body), b""))
        assert response.body == b"ignored"
        connection.send_pieces([body[:10], body[10:], get(b"/next")])
        if response.closes:
            connection.wait_closed()
        else:
            assert connection.response().status == 200
    assert "/smuggled" not in [record["path"] for record in hostile.seen()]


def test_16_a_large_unread_body_ends_the_connection(hostile: Target) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        response = exchange(connection, post(b"/ignore", b"Content-Length: 100000000\r\n", b"x" * 1000))
        assert response.body == b"ignored"
        connection.send_pieces([get(b"/smuggled") * 100] * 50)
        connection.wait_closed()
    assert [record["path"] for record in hostile.seen()] == ["/ignore"]


def test_16_expect_continue_is_answered_when_the_body_is_asked_for(hostile: Target) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(post(b"/read", b"Expect: 100-continue\r\nContent-Length: 5\r\n", b""))
        assert connection.take_line() == b"HTTP/1.1 100 Continue"
        assert connection.take_line() == b""
        connection.send(b"hello" + get(b"/next"))
        assert (connection.response().status, connection.response().status) == (200, 200)
    assert [record["body"] for record in hostile.seen()] == ["hello", ""]


def test_16_expect_continue_unread_ends_the_connection(hostile: Target) -> None:
    """Nobody knows whether the body will follow: what comes next must not be read as a request."""
    hostile.seen()
    with hostile.connect() as connection:
        request = post(b"/ignore", b"Expect: 100-continue\r\nContent-Length: 44\r\n", b"")
        response = exchange(connection, request)
        assert (response.interim, response.body, response.closes) == ([], b"ignored", True)
        connection.send_pieces([get(b"/smuggled")])
        connection.wait_closed()
    assert [record["path"] for record in hostile.seen()] == ["/ignore"]


@pytest.mark.parametrize(
    "value", [b"100-continue, x", b"x", b"100-contin", b"100-continue;q=1", b"100-continue\r\nExpect: x", b" 200-ok"]
)
def test_16_expect_obfuscated(hostile: Target, value: bytes) -> None:
    """Never read as an expectation by half: refused, or the length counts."""
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(
            post(b"/read", b"Expect: " + value + b"\r\nContent-Length: 5\r\n", b"hello" + get(b"/smuggled"))
        )
        response = connection.response()
        assert response.status in (400, 417), response
        connection.wait_closed()
    assert hostile.seen() == []


def test_16_half_closed_clients_are_not_spun_on(hostile: Target) -> None:
    """A thousand half-open or half-closed connections must not cost time while nothing happens."""
    from support.kernel import cpu_seconds, descriptors, wait_until

    before = descriptors(hostile.worker)
    connections = []
    for _ in range(200):
        context = hostile.connect()
        connection = context.__enter__()
        connections.append((context, connection))
        connection.send(get(b"/attack")[:-2])
    spent = cpu_seconds(hostile.worker)
    for _ in range(20):
        hostile.state()
    for _, connection in connections:
        connection.end()
    wait_until(lambda: descriptors(hostile.worker) <= before, "the server lets go of half-closed connections")
    assert cpu_seconds(hostile.worker) - spent < 2.0
    for context, _ in connections:
        context.__exit__(None, None, None)


def test_16_a_half_closed_client_gets_its_whole_answer(hostile: Target) -> None:
    """It has nothing more to say and still listens: what the application has answered completely arrives."""
    with hostile.connect(receive_buffer=65536) as connection:
        connection.send(get(b"/large/20000000") + get(b"/large/10"))
        connection.end()
        assert len(connection.response().body) == 20_000_000


REPEATED = [
    # (first request line, the fields of both, second request line): the second is not allowed what the first was.
    (b"GET / HTTP/1.0", b"Connection: keep-alive\r\n", b"GET / HTTP/1.1"),
    (b"GET / HTTP/1.1", b"Host: a.example\r\n", b"GET http://b.example/ HTTP/1.1"),
    (b"GET http://a.example/ HTTP/1.1", b"Host: a.example\r\n", b"GET http://a.example:81/ HTTP/1.1"),
    (b"GET / HTTP/1.1", b"Host: a.example\r\n", b"GET * HTTP/1.1"),
    (b"OPTIONS * HTTP/1.1", b"Host: a.example\r\n", b"POST * HTTP/1.1"),
    (b"GET / HTTP/1.1", b"Host: a.example\r\n", b"GET /\x00 HTTP/1.1"),
    (b"GET / HTTP/1.1", b"Host: a.example\r\n", b"GET / HTTP/1.1\r"),
    (b"GET / HTTP/1.1", b"Host: a.example\r\n", b"GET / HTTP/1.2"),
    (b"GET / HTTP/1.1", b"Host: a.example\r\n", b"G@T / HTTP/1.1"),
]


@pytest.mark.parametrize(("first", "fields", "second"), REPEATED)
def test_repeated_fields_are_judged_anew(hostile: Target, first: bytes, fields: bytes, second: bytes) -> None:
    """Fields equal to those of the request before take a short cut, which must not skip what the line changes."""
    with hostile.connect() as connection:
        assert exchange(connection, first + b"\r\n" + fields + b"\r\n").status == 200
        response = exchange(connection, second + b"\r\n" + fields + b"\r\n")
        assert response.status in (400, 505), response
        connection.wait_closed()


def test_repeated_fields_of_a_body_on_http_1_0(hostile: Target) -> None:
    fields = b"Host: a.example\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    with hostile.connect() as connection:
        assert exchange(connection, b"POST / HTTP/1.1\r\n" + fields + b"0\r\n\r\n").status == 200
        assert exchange(connection, b"POST / HTTP/1.0\r\n" + fields + b"0\r\n\r\n").status == 400
        connection.wait_closed()


def test_fields_that_begin_like_those_before_are_other_fields(hostile: Target) -> None:
    """The short cut compares the whole block, its end included."""
    hostile.seen()
    with hostile.connect() as connection:
        assert exchange(connection, get(b"/one")).status == 200
        assert exchange(connection, get(b"/two", b"X: y\r\n")).status == 200
        assert exchange(connection, get(b"/three")).status == 200
        assert exchange(connection, get(b"/four").replace(b"a.example", b"b.example")).status == 200
    headers = [record["headers"] for record in hostile.seen()]
    host = ["host", "a.example"]
    assert headers == [[host], [host, ["x", "y"]], [host], [["host", "b.example"]]]
