"""Windows in both directions: RFC 9113 §5.2, §6.9. Nobody holds more than was agreed, nobody waits for others."""

from __future__ import annotations

import json
from collections.abc import Callable

from support.http2 import Http2, http2
from support.kernel import wait_until
from support.raw import get
from support.server import ServerProcess

WINDOW = 128 << 10
OPTIONS = ("--h2-stream-window", str(WINDOW), "--h2-connection-window", str(4 * WINDOW))


def count(server: ServerProcess, name: str) -> int:
    return int(json.loads(get(server.address, "/_counts").body).get(name, 0))


def rises(server: ServerProcess, name: str) -> Callable[[], bool]:
    before = count(server, name)
    return lambda: count(server, name) > before


def fill(connection: Http2, stream: int) -> int:
    """Sends until the window is used up."""
    sent = 0
    while (room := connection.room(stream)) > 0:
        connection.h2.send_data(stream, b"f" * room)
        sent += room
    connection.flush()
    return sent


def test_the_window_comes_back_when_the_application_takes_the_body(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        connection.settled()
        stream = connection.begin("/read-later?window", "POST", end=False)
        assert fill(connection, stream) == WINDOW
        # Everything has arrived and was looked at; nobody has taken it.
        for _ in range(3):
            connection.settled()
        assert connection.room(stream) == 0
        assert get(server.address, "/go?window").status == 200
        connection.wait(lambda: connection.room(stream) > 0, "window")
        connection.send(stream, b"f" * WINDOW, end=True)
        assert connection.response(stream).body == str(2 * WINDOW).encode()


def test_a_body_that_nobody_takes_stops_itself_only(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        connection.settled()
        stalled = connection.begin("/read-later?others", "POST", end=False)
        fill(connection, stalled)
        for size in (1, WINDOW, 3 * WINDOW):
            stream = connection.begin("/echo", "POST", end=False)
            connection.send(stream, b"o" * size, end=True)
            assert connection.response(stream).body == b"o" * size
        assert get(server.address, "/go?others").status == 200
        connection.send(stalled, b"", end=True)
        assert connection.response(stalled).body == str(WINDOW).encode()


def test_what_is_not_taken_makes_send_wait(server: ServerProcess) -> None:
    """A client that gives no window holds 64 KiB in each of two places, not the response."""
    over = rises(server, "pieces over")
    before = count(server, "pieces")
    with http2(server.address, window=0) as connection:
        connection.take = False
        stream = connection.begin("/pieces?1000")
        connection.wait_head(stream)
        wait_until(lambda: count(server, "pieces") > before, "a first piece")
        for _ in range(20):  # rounds of the event loop in which more could be taken
            connection.settled()
        assert count(server, "pieces") - before <= 6
        assert connection.streams[stream].body == b""
        # Given window step by step, it comes step by step.
        connection.h2.increment_flow_control_window(100_000, stream)
        connection.flush()
        connection.wait(lambda: len(connection.streams[stream].body) == 65_535, "the connection's window")
        connection.h2.increment_flow_control_window(1_000_000)
        connection.flush()
        connection.wait(lambda: len(connection.streams[stream].body) == 100_000, "the stream's window")
        connection.reset(stream)
        wait_until(over, "the application's end")


def test_a_stalled_response_does_not_stall_others(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        connection.settled()
        connection.take = False
        stalled = [connection.begin("/large?1000000") for _ in range(3)]
        # The connection's window is used up by the three.
        connection.wait(lambda: sum(len(connection.streams[s].body) for s in stalled) == 65_535, "a full window")
        assert connection.get("/empty").status == 200
        connection.take = True
        connection.h2.increment_flow_control_window(65_535)
        for stream in stalled:
            connection.h2.increment_flow_control_window(65_535, stream)
        connection.flush()
        for stream in stalled:
            assert connection.response(stream).body == b"l" * 1_000_000


def test_a_client_that_says_nothing_more_gets_everything(server: ServerProcess) -> None:
    """More than the server writes at a time, and nothing from the client that would make it look again."""
    with http2(server.address, window=1 << 24) as connection:
        connection.h2.increment_flow_control_window(1 << 24)
        connection.settled()
        connection.take = False
        streams = [connection.begin("/large?300000") for _ in range(10)]
        for stream in streams:
            assert connection.response(stream).body == b"l" * 300_000


def test_a_client_that_reads_slowly_gets_everything(server: ServerProcess) -> None:
    with http2(server.address, receive_buffer=4096) as connection:
        streams = [connection.begin("/large?300000") for _ in range(8)]
        files = [connection.begin("/file"), connection.begin("/file?part")]
        for stream in streams:
            assert connection.response(stream).body == b"l" * 300_000
        assert [len(connection.response(stream).body) for stream in files] == [40 << 16, 1_000_000]


def test_many_streams_at_once(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        connection.settled()
        streams = [connection.begin("/echo", "POST", end=False) for _ in range(100)]
        for n, stream in enumerate(streams):
            connection.send(stream, str(n).encode() * 300)
        for stream in reversed(streams):
            connection.send(stream, b".", end=True)
        for n, stream in enumerate(streams):
            assert connection.response(stream).body == str(n).encode() * 300 + b"."
