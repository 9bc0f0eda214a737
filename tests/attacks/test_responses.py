"""The response side: splitting, lies of the application, log injection, leaks. RFC 9112 §11.1, §6.3, RFC 9110 §15.

Over TCP, TLS and HTTP/2.
"""

from __future__ import annotations

import json
import re

import pytest
from support.backends import HTTP2, TLS
from support.raw import Closed, get_request

from attacks.served.hostile import LIES, WRONG
from attacks.target import Target, target

ALSO = (TLS, HTTP2)
MESSAGE_ERROR = "MessageError"


@pytest.mark.parametrize("name", WRONG)
def test_20_response_splitting(hostile: Target, name: str) -> None:
    """The server refuses to send it: the application gets the error, the client a plain 500."""
    hostile.server.expect_error(MESSAGE_ERROR)
    mark = hostile.server.mark()
    with hostile.connect() as connection:
        connection.request(f"/wrong/{name}")
        response = connection.refusal()
        assert response.status == 500
        assert b"evil" not in response.body
        assert not any(b"evil" in part.lower() for pair in response.fields for part in pair)
    hostile.server.wait_for_log(MESSAGE_ERROR, since=mark)


@pytest.mark.parametrize("name", LIES)
def test_21_lies_about_the_body(hostile: Target, name: str) -> None:
    """What is on the wire stays framed: either whole and honest, or visibly cut off."""
    hostile.server.expect_error(MESSAGE_ERROR)
    with hostile.connect() as connection:
        connection.request(f"/lies/{name}")
        connection.request("/next")
        outcome = connection.outcome()
        if isinstance(outcome, Closed):
            assert b"evil" not in outcome.rest
            assert b"HTTP/1.1" not in outcome.rest, "a second response inside of the first"
        else:
            assert b"evil" not in outcome.body
            # What goes beyond the length is dropped: the client has the whole it was promised.
            assert outcome.status == 500 or (name, outcome.body) == ("too-long-late", b"12345"), outcome


def test_21_a_cut_response_is_no_whole_one(hostile: Target) -> None:
    """A body shorter than announced cannot be taken for whole, nor can the next response fill it up."""
    hostile.server.expect_error(MESSAGE_ERROR)
    with hostile.connect() as connection:
        connection.request("/lies/never-ends")
        assert b"begun" in connection.cut()


@pytest.mark.parametrize("name", ["204-body", "304-body"])
def test_21_statuses_without_a_body(hostile: Target, name: str) -> None:
    with hostile.connect() as connection:
        connection.request(f"/odd/{name}")
        connection.request("/odd/body-bytes")
        assert connection.response().status == int(name[:3])
        assert connection.response().body == b"12345"


@pytest.mark.parametrize("path", ["/odd/body-bytes", "/large/100000", "/stream/3", "/odd/te-from-app"])
def test_21_head_has_no_body(hostile: Target, path: str) -> None:
    with hostile.connect() as connection:
        connection.request(path, "HEAD")
        connection.request("/odd/body-bytes")
        assert connection.response(head_only=True).status == 200
        assert connection.response().body == b"12345"


def test_21_transfer_encoding_from_the_application(hostile: Target) -> None:
    """Framing is the server's: the application's field never makes a second framing."""
    with hostile.connect() as connection:
        response = connection.get("/odd/te-from-app")
        assert (response.status, response.body) == (200, b"hello")
        assert connection.get("/odd/body-bytes").body == b"12345"


@pytest.mark.http1("connection options")
def test_21_connection_close_from_the_application_is_kept(hostile: Target) -> None:
    with hostile.connect() as connection:
        connection.send(get_request("/odd/connection-close") + get_request("/next"))
        response = connection.response()
        assert (response.body, response.closes) == (b"hello", True)
        connection.wait_closed()


HOSTILE_TEXTS = ["%0a", "%0d%0aINFO:%20forged", "%1b[31m", "%00", "%ff%fe", "%22", "%5c", "%e2%80%a8", "'", "\\\\"[:1]]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_22_log_injection(log_format: str) -> None:
    """Each request and each refusal is one line, without control characters, whatever the client wrote."""
    with target("--log-format", log_format) as hostile:
        mark = hostile.server.mark()
        for piece in HOSTILE_TEXTS:
            path = f"/log{piece}x" if piece != "\\" else "/log%5Cx"
            assert hostile.get(path, f"User-Agent: {piece}", "Referer: \xff\xfe\x80").status == 200
        for bad in (
            b"GET /\x1b[31m\n HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: \x1b[31m\x00\r\n\r\n",
            b"\r\x0b\x85\xff",
        ):
            with hostile.connect() as connection:
                connection.send(bad)
                connection.rest()
        assert hostile.get("/last").status == 200
        hostile.server.wait_for_log("/last", since=mark)
        lines = hostile.server.log_since(mark)
    for line in lines:
        assert re.fullmatch(r"[\x20-\x7e\xa0-\uffff]*\n", line), line
        assert not line.startswith("INFO: forged"), line
        if log_format == "json":
            assert isinstance(json.loads(line), dict)
    assert sum("/log" in line for line in lines) == len(HOSTILE_TEXTS)


def test_23_the_500_tells_nothing(hostile: Target) -> None:
    hostile.server.expect_error("LookupError")
    hostile.server.expect_error(MESSAGE_ERROR)  # of the tests above
    mark = hostile.server.mark()
    with hostile.connect() as connection:
        response = connection.get("/crash")
    assert response.status == 500
    everything = response.body + b"".join(b"".join(pair) for pair in response.fields)
    for secret in (b"secret", b"LookupError", b"Traceback", b"hostile", b".py", b"/"):
        assert secret not in everything.replace(b"text/plain", b""), response
    hostile.server.wait_for_log("secret-in-the-exception", since=mark)


def test_23_no_version_in_the_server_field(hostile: Target) -> None:
    response = hostile.get("/odd/body-bytes")
    assert not re.search(rb"\d|python|rust", (response.get(b"server") or b"").lower())


def test_23_the_server_field_can_be_turned_off() -> None:
    with target("--no-server-header", "--no-date-header") as hostile:
        response = hostile.get("/odd/body-bytes")
        assert (response.get(b"server"), response.get(b"date")) == (None, None)
