"""WebSocket over HTTP/2: RFC 8441. The application is the same as over HTTP/1.1."""

from __future__ import annotations

import json
from typing import cast

import pytest
from support.frames import CLOSE, TEXT, Frame, close, frame, read_frame
from support.http2 import ErrorCodes, Fields, Http2, http2
from support.kernel import wait_until
from support.raw import Connection, get
from support.server import ServerProcess

VERSION = [("sec-websocket-version", "13")]


class Tunnel:
    """One stream as the bytes of a WebSocket."""

    def __init__(self, connection: Http2, path: str = "/", fields: Fields = ()) -> None:
        self.connection = connection
        self.taken = 0
        pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path)]
        self.stream = connection.begin_with([*pseudo, (":authority", "test.example"), *VERSION, *fields], end=False)
        self.head = connection.wait_head(self.stream)

    def send(self, data: bytes) -> None:
        self.connection.send(self.stream, data)

    def take(self, count: int) -> bytes:
        self.connection.wait(lambda: len(self.head.body) >= self.taken + count, f"{count} bytes")
        self.taken += count
        return self.head.body[self.taken - count : self.taken]

    def frame(self) -> Frame:
        return read_frame(cast(Connection, self))


def count(server: ServerProcess, name: str) -> int:
    return int(json.loads(get(server.address, "/_counts").body).get(name, 0))


def test_the_extended_connect_is_offered(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        connection.settled()
        assert connection.settings[8] == 1  # SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441 §3


def test_a_conversation(server: ServerProcess) -> None:
    before = count(server, "websocket 1001")
    with http2(server.address) as connection:
        tunnel = Tunnel(connection, fields=[("sec-websocket-protocol", "chat, other")])
        assert tunnel.head.status == 200
        names = [name for name, _ in tunnel.head.fields]
        assert names == [":status", "sec-websocket-protocol", "x-version", "server", "date"]
        assert (tunnel.head.get("sec-websocket-protocol"), tunnel.head.get("x-version")) == ("chat", "2")
        for text in ("hello", "", "ä" * 70_000):
            tunnel.send(frame(TEXT, text.encode()))
            assert tunnel.frame().payload.decode() == text
        assert connection.get("/empty").status == 200
        tunnel.send(close(1001))
        assert tunnel.frame().code == 1001
        connection.wait(lambda: tunnel.head.ended, "the end of the stream")
        wait_until(lambda: count(server, "websocket 1001") > before, "the application's end")
        assert connection.get("/empty").status == 200


def test_the_server_closes(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        tunnel = Tunnel(connection)
        tunnel.send(frame(TEXT, b"bye"))
        found = tunnel.frame()
        assert (found.opcode, found.code, found.payload[2:]) == (CLOSE, 4000, b"as asked")
        tunnel.send(close(4000))
        connection.wait(lambda: tunnel.head.ended, "the end of the stream")


def test_several_on_one_connection(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        tunnels = [Tunnel(connection) for _ in range(5)]
        for n, tunnel in enumerate(tunnels):
            tunnel.send(frame(TEXT, str(n).encode()))
        for n, tunnel in reversed(list(enumerate(tunnels))):
            assert tunnel.frame().payload == str(n).encode()


def test_a_reset_is_an_abnormal_closure(server: ServerProcess) -> None:
    before = count(server, "websocket 1006")
    with http2(server.address) as connection:
        tunnel, other = Tunnel(connection), Tunnel(connection)
        tunnel.send(frame(TEXT, b"half of a message", fin=False))
        connection.reset(tunnel.stream)
        wait_until(lambda: count(server, "websocket 1006") == before + 1, "the application's end")
        other.send(frame(TEXT, b"still here"))
        assert other.frame().payload == b"still here"


def test_a_stream_that_ends_without_a_close_frame(server: ServerProcess) -> None:
    before = count(server, "websocket 1006")
    with http2(server.address) as connection:
        tunnel = Tunnel(connection)
        connection.send(tunnel.stream, b"", end=True)
        wait_until(lambda: count(server, "websocket 1006") == before + 1, "the application's end")
        # RFC 8441 §5: an end in order is answered by one.
        response = connection.response(tunnel.stream)
        assert (response.ended, response.body) == (True, b"")


def test_what_breaks_the_rules_of_websocket_costs_its_stream_only(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        tunnel = Tunnel(connection)
        tunnel.send(frame(TEXT, b"not masked", masked=False))
        assert tunnel.frame().code == 1002
        assert connection.response(tunnel.stream).over
        assert connection.get("/empty").status == 200


@pytest.mark.parametrize(("path", "status"), [("/deny", 418), ("/close", 403)])
def test_an_application_may_refuse(server: ServerProcess, path: str, status: int) -> None:
    with http2(server.address) as connection:
        response = connection.response(Tunnel(connection, path).stream)
        assert response.status == status
        assert status != 418 or (response.get("x-why"), response.body) == ("tea", b"short and stout")


def test_other_protocols_and_versions_are_refused(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        rest = [(":scheme", "http"), (":path", "/"), (":authority", "a")]
        stream = connection.begin_with([(":method", "CONNECT"), (":protocol", "tea"), *rest], end=False)
        assert connection.response(stream).status == 501
        stream = connection.begin_with([(":method", "CONNECT"), (":protocol", "websocket"), *rest], end=False)
        response = connection.response(stream)
        assert (response.status, response.get("sec-websocket-version")) == (426, "13")
        stream = connection.begin_with([(":method", "GET"), (":protocol", "websocket"), *rest, *VERSION])
        assert connection.response(stream).reset == ErrorCodes.PROTOCOL_ERROR


def test_messages_wait_when_nobody_takes_them(server: ServerProcess) -> None:
    """The client's window does not come back while the application's queue is full."""
    with http2(server.address) as connection:
        connection.settled()
        connection.take = False
        tunnel = Tunnel(connection)
        sent = 0
        message = frame(TEXT, b"m" * 16000)
        # The echo fills the client's own window, then the application's queue, then the window of the stream.
        while connection.room(tunnel.stream) > len(message) and sent < 4 << 20:
            connection.h2.send_data(tunnel.stream, message)
            sent += len(message)
            connection.flush()
            connection.settled()
        assert sent < 4 << 20
        connection.take = True
        connection.h2.increment_flow_control_window(1 << 20)
        connection.h2.increment_flow_control_window(1 << 20, tunnel.stream)
        connection.flush()
        for _ in range(sent // len(message)):
            assert len(tunnel.frame().payload) == 16000
