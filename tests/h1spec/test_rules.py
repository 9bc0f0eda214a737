"""What h1spec demands of an HTTP/1.1 server, a case a rule. RFC 9112, RFC 9110.

The suite itself runs with `make h1spec H1SPEC=DIR`. It takes 0.5 s of silence for waiting; here waiting is seen: after
the beginning of a request the server answers another connection, has said nothing on the first, and then takes the
rest of the request.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.raw import connected
from support.server import ServerProcess, serving

ECHO = Path(__file__).parents[2] / "tools" / "h1spec"

REQUEST = b"GET /tea HTTP/1.1\r\nHost: kettle\r\n\r\n"

#: What the rule is about → where the request is cut.
BEGINNINGS = {
    "method": b"G",
    "before the target": b"GET ",
    "target": b"GET /tea",
    "after the target": b"GET /tea ",
    "version": b"GET /tea HTTP",
    "request line without its end": b"GET /tea HTTP/1.1",
    "request line with CR": b"GET /tea HTTP/1.1\r",
    "request line with CRLF": b"GET /tea HTTP/1.1\r\n",
    "field name": b"GET /tea HTTP/1.1\r\nHos",
    "before the field value": b"GET /tea HTTP/1.1\r\nHost:",
    "space before the field value": b"GET /tea HTTP/1.1\r\nHost: ",
    "field value without its end": b"GET /tea HTTP/1.1\r\nHost: kettle",
    "field line with CR": b"GET /tea HTTP/1.1\r\nHost: kettle\r",
    "field line with CRLF": b"GET /tea HTTP/1.1\r\nHost: kettle\r\n",
    "last CR": b"GET /tea HTTP/1.1\r\nHost: kettle\r\n\r",
}

#: The rule → a request that is answered 200, and the body that comes back.
GOOD = {
    "GET": (REQUEST, b""),
    "GET with an expectation, RFC 9110 §10.1.1": (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", b""),
    "odd case, a tab, a field without value, RFC 9112 §5.1": (b"GET / HTTP/1.1\r\nhOsT:\ta\r\nnothing:\r\n\r\n", b""),
    "a field of a space, RFC 9112 §5.1": (b"GET / HTTP/1.1\r\nHost: a\r\nX-Nothing: \r\n\r\n", b""),
    "POST with a length, RFC 9112 §6.2": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nteapot", b"teapot"),
    "POST in chunks, RFC 9112 §7.1": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nEarl Grey 2\r\n0\r\n\r\n",
        b"Earl Grey 2",
    ),
}

#: The rule → a request that is refused, and the status.
BAD = {
    "no version, RFC 9112 §3": (b"GET / \r\n\r\n", 400),
    "a name that is no token, RFC 9110 §5.1": (b"GET / HTTP/1.1\r\nHost: a\r\nX-Tea(s): green\r\n\r\n", 400),
    "no Host, RFC 9112 §3.2": (b"GET / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", 400),
    "two Hosts, RFC 9112 §3.2": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a length below any integer, RFC 9112 §6.3": (
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -98765432109876543210987654321\r\n\r\n",
        400,
    ),
    "a negative length, RFC 9112 §6.3": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -7\r\n\r\n", 400),
    "a length of letters, RFC 9112 §6.3": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: six\r\n\r\n", 400),
    "a control character in a value, RFC 9110 §5.5": (b"GET / HTTP/1.1\r\nHost: a\r\nX-Bell: ding\x07\r\n\r\n", 400),
    "a major version that does not exist, RFC 9110 §2.5": (b"GET / HTTP/7.3\r\nHost: a\r\n\r\n", 505),
    "words before the method, RFC 9112 §3": (b"One more GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CR without LF, RFC 9112 §2.2": (b"GET / HTTP/1.1\r\nHost: a\r\n\rX-Tea: green\r\n\r\n", 400),
    "a length and chunks, RFC 9112 §6.1": (
        b"POST / HTTP/1.1\r\nHost: a\r\nconTent-lengTh: 6\r\ntranSfer-Encoding: chunked\r\n\r\n3\r\ntea\r\n0\r\n\r\n",
        400,
    ),
}


@pytest.fixture(scope="module", params=("asyncio", "uvloop"))
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with serving("echo:app", directory=ECHO, loop=request.param) as started:
        yield started


def test_there_are_33_rules() -> None:
    assert len(BEGINNINGS) + len(GOOD) + len(BAD) == 33


@pytest.mark.parametrize("rule", BEGINNINGS)
def test_waits_for_the_rest(server: ServerProcess, rule: str) -> None:
    beginning = BEGINNINGS[rule]
    assert REQUEST.startswith(beginning)
    with connected(server.address) as slow, connected(server.address) as other:
        slow.send(beginning)
        other.send(REQUEST)
        assert other.response().status == 200
        slow.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.socket.recv(1, socket.MSG_PEEK)
        slow.socket.settimeout(other.socket.gettimeout())
        slow.send(REQUEST.removeprefix(beginning))
        assert slow.response().status == 200


@pytest.mark.parametrize("rule", GOOD)
def test_answers(server: ServerProcess, rule: str) -> None:
    request, body = GOOD[rule]
    with connected(server.address) as connection:
        connection.send(request)
        response = connection.response()
        assert (response.status, response.body) == (200, body)


@pytest.mark.parametrize("rule", BAD)
def test_refuses(server: ServerProcess, rule: str) -> None:
    request, status = BAD[rule]
    with connected(server.address) as connection:
        connection.send(request)
        response = connection.response()
        assert response.status == status
        assert response.closes
        connection.wait_closed()
