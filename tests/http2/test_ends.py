"""How streams and connections end: RFC 9113 §5.4, §6.4, §6.8."""

from __future__ import annotations

import json
import signal
import socket
import time

import pytest
from support.http2 import ErrorCodes, Http2, http2
from support.kernel import wait_until
from support.raw import connected, get
from support.server import ServerProcess, serving

from http2.conftest import SERVED


def count(server: ServerProcess, name: str) -> int:
    return int(json.loads(get(server.address, "/_counts").body).get(name, 0))


def waiting(server: ServerProcess, connection: Http2, name: str) -> int:
    """A stream whose application waits for `/go?name`."""
    before = count(server, "waiting")
    stream = connection.begin(f"/wait?{name}")
    wait_until(lambda: count(server, "waiting") > before, "the application")
    return stream


def test_a_reset_is_the_disconnect_of_that_stream_only(server: ServerProcess) -> None:
    left = count(server, "left http.disconnect")
    with http2(server.address) as connection:
        first, second = waiting(server, connection, "one"), waiting(server, connection, "two")
        connection.reset(first)
        wait_until(lambda: count(server, "left http.disconnect") == left + 1, "a disconnect")
        assert get(server.address, "/go?two").status == 200
        assert connection.response(second).body == b"gone on"
    assert count(server, "left http.disconnect") == left + 1


def test_a_reset_in_the_middle_of_a_body(server: ServerProcess) -> None:
    before = count(server, "disconnected while reading")
    with http2(server.address) as connection:
        stream = connection.begin("/echo", "POST", end=False)
        connection.send(stream, b"some of it")
        connection.settled()
        connection.reset(stream)
        wait_until(lambda: count(server, "disconnected while reading") > before, "a disconnect")
        assert connection.get("/empty").status == 200


def test_a_reset_in_the_middle_of_a_response(server: ServerProcess) -> None:
    before = count(server, "pieces over")
    with http2(server.address) as connection:
        stream = connection.begin("/pieces?100000")
        connection.wait_head(stream)
        connection.reset(stream)
        wait_until(lambda: count(server, "pieces over") > before, "the application's end")
        assert connection.get("/empty").status == 200


def test_the_end_of_the_connection_is_the_disconnect_of_all_streams(server: ServerProcess) -> None:
    left = count(server, "left http.disconnect")
    with http2(server.address) as connection:
        for n in range(5):
            waiting(server, connection, f"never{n}")
    wait_until(lambda: count(server, "left http.disconnect") == left + 5, "five disconnects")


def test_who_says_nothing_more_still_gets_what_needs_no_waiting(server: ServerProcess) -> None:
    """As over HTTP/1.1; what waits hears of a disconnect."""
    left = count(server, "left http.disconnect")
    with http2(server.address) as connection:
        connection.settled()
        stream = connection.begin("/large?1000")
        waiting = connection.begin("/wait?half")
        connection.sock.shutdown(socket.SHUT_WR)
        assert connection.response(stream).body == b"l" * 1000
        connection.wait_closed()
        assert not connection.streams[waiting].fields
    wait_until(lambda: count(server, "left http.disconnect") == left + 1, "a disconnect")


def test_a_response_before_the_end_of_the_request(server: ServerProcess) -> None:
    """RFC 9113 §8.1: the client is asked to stop, without an error, and has the response."""
    with http2(server.address) as connection:
        stream = connection.begin("/empty", "POST", end=False)
        connection.send(stream, b"not wanted")
        response = connection.response(stream)
        assert response.status == 200
        connection.wait(lambda: response.reset is not None, "RST_STREAM")
        assert response.reset == ErrorCodes.NO_ERROR
        assert connection.get("/empty").status == 200


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_draining_server_finishes_what_is_under_way(loop: str) -> None:
    """GOAWAY for new requests; streams that are open get their whole response; then the connection ends."""
    with serving("streams:app", directory=SERVED, loop=loop) as server, http2(server.address) as connection:
        uploads = [connection.begin(path, "POST", end=False) for path in ("/echo", "/stream-echo")]
        connection.settled()
        with http2(server.address) as other, http2(server.address) as idle:
            assert other.get("/empty").status == 200
            idle.settled()
            server.process.send_signal(signal.SIGTERM)
            assert idle.wait_closed() == ErrorCodes.NO_ERROR
            assert other.wait_closed() == ErrorCodes.NO_ERROR
        connection.wait(lambda: connection.last_stream == uploads[-1], "the final GOAWAY")
        late = connection.begin("/empty")
        for stream in uploads:
            connection.send(stream, b"to the end", end=True)
            assert connection.response(stream).body == b"to the end"
        assert connection.wait_closed() == ErrorCodes.NO_ERROR
        assert not connection.streams[late].fields
        assert server.wait_for_end() == 0


def test_a_connection_ends_after_so_many_requests() -> None:
    options = ("--limit-requests-per-connection", "3")
    with serving("streams:app", *options, directory=SERVED) as server, http2(server.address) as connection:
        for _ in range(3):
            assert connection.get("/empty").status == 200
        assert connection.wait_closed() == ErrorCodes.NO_ERROR


def test_an_idle_connection_is_ended_with_goaway() -> None:
    options = ("--timeout-keep-alive", "0.3")
    with serving("streams:app", *options, directory=SERVED) as server, http2(server.address) as connection:
        assert connection.get("/empty").status == 200
        assert connection.wait_closed() == ErrorCodes.NO_ERROR


def test_pings_do_not_keep_an_idle_connection() -> None:
    options = ("--timeout-keep-alive", "0.5")
    with serving("streams:app", *options, directory=SERVED) as server, http2(server.address) as connection:
        end = time.monotonic() + 20
        while not connection.closed and time.monotonic() < end:
            connection.h2.ping(b"are you?")
            connection.flush()
            connection.read(0.05)
        assert connection.closed


def test_an_application_that_outlives_its_client_is_left_alone(server: ServerProcess) -> None:
    over = count(server, "waited")
    with http2(server.address) as connection:
        stream = waiting(server, connection, "nobody")
        connection.h2.reset_stream(stream)
        connection.flush()
        connection.settled()
        assert connection.get("/empty").status == 200
    wait_until(lambda: count(server, "waited") > over, "the application's end")


def test_only_http_1() -> None:
    options = ("--http-version", "1.1")
    with serving("streams:app", *options, directory=SERVED) as server:
        assert get(server.address, "/empty").status == 200
        with connected(server.address) as plain:
            plain.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert plain.response().status == 505


def test_only_http_2() -> None:
    options = ("--http-version", "2")
    with serving("streams:app", *options, directory=SERVED) as server:
        with http2(server.address) as connection:
            assert connection.get("/empty").status == 200
        assert get(server.address, "/empty").status == 505
        with socket.create_connection(server.address, 20) as plain:
            plain.sendall(b"\x16\x03\x01\x02\x00")
            assert plain.recv(100) == b""
