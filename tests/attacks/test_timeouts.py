"""Every time-out of docs/limits.md, set small: the answer, the close, the log line, and who is not hurt by it.

Where a test sleeps, the pause is the attack or the honest client's slowness itself; nothing is synchronised by it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from support.kernel import descriptors, memory, wait_until
from support.raw import Closed, Connection

from attacks.target import Target, exchange, target

HOST = b"Host: a.example\r\n"
MIB = 1 << 20
# How much longer than its time-out anything may take here.
SLACK = 5.0


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()


def post(path: str, size: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {size}\r\n\r\n".encode()


@pytest.fixture(scope="class")
def hostile(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server for a class, with its `OPTIONS`."""
    with target(*request.cls.OPTIONS) as found:
        yield found


def trickle(connection: Connection, data: bytes, pause: float) -> None:
    """Byte by byte, until all is sent or the server has had enough."""
    for at in range(len(data)):
        try:
            connection.send(data[at : at + 1])
        except OSError:
            return
        time.sleep(pause)


class TestHeader:
    OPTIONS = ("--timeout-header", "0.4", "--timeout-keep-alive", "30")

    def test_24_slowloris_head(self, hostile: Target) -> None:
        """Bytes that keep coming do not prolong it."""
        mark = hostile.server.mark()
        started = time.monotonic()
        with hostile.connect() as connection:
            trickle(connection, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20, 0.02)
            response = connection.response()
            assert (response.status, response.closes) == (408, True)
            connection.wait_closed()
        assert 0.35 < time.monotonic() - started < 0.4 + SLACK
        hostile.server.wait_for_log("408, .*timeout_header", since=mark)

    def test_24_connections_that_say_nothing(self, hostile: Target) -> None:
        """They are closed without a word, and their descriptors come back."""
        before = descriptors(hostile.worker)
        contexts = [hostile.connect() for _ in range(50)]
        connections = [context.__enter__() for context in contexts]
        for connection in connections:
            connection.wait_closed()
        wait_until(lambda: descriptors(hostile.worker) <= before, "all descriptors are back")
        for context in contexts:
            context.__exit__(None, None, None)

    def test_24_slowloris_head_of_the_second_request(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            assert exchange(connection, get("/ignore")).status == 200
            connection.send(b"GET / HT")
            response = connection.response()
            assert (response.status, response.closes) == (408, True)
            connection.wait_closed()

    def test_empty_lines_are_the_beginning_of_a_head(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            assert exchange(connection, get("/ignore")).status == 200
            connection.send(b"\r\n")
            assert connection.response().status == 408
            connection.wait_closed()

    def test_it_ends_with_the_head(self, hostile: Target) -> None:
        """Neither a request that takes longer nor an idle connection is cut."""
        with hostile.connect() as connection:
            connection.send(get("/hold/head-is-over"))
            time.sleep(0.8)
            hostile.release("head-is-over")
            assert connection.response().body == b"released"
            time.sleep(0.8)
            assert exchange(connection, get("/ignore")).status == 200

    def test_it_ends_with_an_unread_body(self, hostile: Target) -> None:
        """The rest of a body that nobody read comes late, but in time: afterwards the connection idles as any other."""
        with hostile.connect() as connection:
            response = exchange(connection, post("/ignore", 5))
            assert not response.closes
            connection.send(b"hello")
            time.sleep(1.0)
            assert exchange(connection, get("/ignore")).status == 200

    def test_an_unread_body_that_does_not_come(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            assert exchange(connection, post("/ignore", 5)).status == 200
            connection.wait_closed()


class TestKeepAlive:
    OPTIONS = ("--timeout-keep-alive", "1")

    def test_idle_connections_are_closed_without_a_word(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            assert exchange(connection, get("/ignore")).status == 200
            started = time.monotonic()
            connection.wait_closed()
            assert 0.9 < time.monotonic() - started < 1 + SLACK

    def test_each_request_starts_it_again(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            for _ in range(4):
                assert exchange(connection, get("/ignore")).status == 200
                time.sleep(0.4)

    def test_a_response_that_is_still_being_read_is_not_idle(self, hostile: Target) -> None:
        """The application is done, the client is slow: it gets all of it."""
        with hostile.connect(receive_buffer=65536) as connection:
            connection.send(get("/large/20000000"))
            time.sleep(1.7)
            assert len(connection.response().body) == 20_000_000
            # Idleness begins here, not when the application was done.
            time.sleep(0.5)
            assert exchange(connection, get("/ignore")).status == 200

    def test_zero_closes_after_each_response(self) -> None:
        with target("--timeout-keep-alive", "0") as hostile, hostile.connect() as connection:
            assert exchange(connection, get("/ignore")).status == 200
            connection.wait_closed()


class TestBodyRate:
    OPTIONS = ("--body-rate-min", "1000", "--body-rate-grace", "0.3", "--limit-body-size", "300KiB")

    def test_24_slow_body(self, hostile: Target) -> None:
        """R-U-Dead-Yet: a byte now and then keeps nothing alive. The application is told."""
        mark = hostile.server.mark()
        before = hostile.count("disconnected")
        with hostile.connect() as connection:
            connection.send(post("/echo", 100_000))
            trickle(connection, b"x" * 60, 0.02)
            response = connection.response()
            assert (response.status, response.closes) == (408, True)
            connection.wait_closed()
        hostile.server.wait_for_log("408, .*body_rate_min", since=mark)
        hostile.wait_for_count("disconnected", before + 1)

    def test_24_slow_chunks(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            connection.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
            trickle(connection, b"1;a=bbbbbbbbbb\r\nx\r\n" * 10, 0.01)
            assert connection.response().status == 408
            connection.wait_closed()

    def test_time_in_which_the_application_does_not_read_does_not_count(self, hostile: Target) -> None:
        """The body waits for the application, not the other way round."""
        size = 250_000
        with hostile.connect() as connection:
            connection.send(post("/slow-reader/rate-a", size) + b"x" * size)
            time.sleep(1.0)
            hostile.release("rate-a")
            assert connection.response().body == str(size).encode()

    def test_limit_body_size_counts_through_such_pauses(self, hostile: Target) -> None:
        """The measuring of the rate starts anew after a pause; the counting for the size limit does not."""
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with hostile.connect() as connection:
            connection.send(b"POST /slow-reader/rate-b HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
            connection.send(piece * 4)
            hostile.wait_for_count("reading", 1)
            time.sleep(0.8)
            hostile.release("rate-b")
            connection.send_pieces([piece])
            assert connection.response().status == 413

    def test_expectation_waits_for_the_application(self, hostile: Target) -> None:
        """Nothing was asked for, so nothing can be late."""
        with hostile.connect() as connection:
            connection.send(post("/forever/rate-c", 10).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
            time.sleep(0.8)
            hostile.release("rate-c")
            assert connection.response().body == b"at last"


class TestWrite:
    OPTIONS = ("--timeout-write", "0.5", "--timeout-keep-alive", "30")

    def test_24_client_that_does_not_read_a_stream(self, hostile: Target) -> None:
        """`send()` waits, then raises; the connection is reset; memory stays flat."""
        mark, before = hostile.server.mark(), memory(hostile.worker)
        refused = hostile.count("send refused")
        with hostile.connect(receive_buffer=8192) as connection:
            connection.send(get("/stream/100000"))
            hostile.wait_for_count("send refused", refused + 1)
            with pytest.raises(Closed) as closed:
                connection.response()
            assert closed.value.reset
        hostile.server.wait_for_log("closed, .*timeout_write", since=mark)
        assert memory(hostile.worker) - before < 8 * MIB

    def test_24_client_that_does_not_read_a_large_body(self, hostile: Target) -> None:
        mark = hostile.server.mark()
        with hostile.connect(receive_buffer=8192) as connection:
            connection.send(get("/large/20000000"))
            hostile.server.wait_for_log("closed, .*timeout_write", since=mark)
            with pytest.raises(Closed):
                connection.response()

    def test_slow_is_allowed(self, hostile: Target) -> None:
        """A client that takes something in each interval gets everything, however long it takes.

        The kernel's buffers hide it: the socket becomes writable again only after a good part of them was taken.
        """
        with hostile.connect(receive_buffer=65536) as connection:
            started = time.monotonic()
            connection.send(get("/large/12000000"))
            while time.monotonic() - started < 2.0:
                connection.input += connection.socket.recv(20_000)
                time.sleep(0.05)
            assert len(connection.response().body) == 12_000_000


class TestRequest:
    OPTIONS = ("--timeout-request", "0.4")

    def test_504_and_the_task_is_cancelled(self, hostile: Target) -> None:
        mark, before = hostile.server.mark(), hostile.count("cancelled")
        tasks = hostile.state()["tasks"]
        with hostile.connect() as connection:
            response = exchange(connection, get("/forever/never"))
            assert (response.status, response.closes) == (504, True)
            connection.wait_closed()
        hostile.wait_for_count("cancelled", before + 1)
        hostile.server.wait_for_log("504, .*timeout_request", since=mark)
        assert hostile.state()["tasks"] == tasks
        assert "Traceback" not in hostile.server.log, "the time-out is the news, not where the task stood"

    def test_after_the_response_has_begun_the_connection_is_cut(self, hostile: Target) -> None:
        before = hostile.count("cancelled")
        with hostile.connect() as connection:
            connection.send(get("/late-stall"))
            got = connection.rest()
            assert b"begun" in got
            assert not got.endswith(b"0\r\n\r\n"), "it must not look complete"
        hostile.wait_for_count("cancelled", before + 1)

    def test_it_counts_the_body_too(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            assert exchange(connection, post("/echo", 10)).status == 504

    def test_each_request_has_its_own(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            for _ in range(4):
                assert exchange(connection, get("/pause/1")).status == 200
                time.sleep(0.15)


def test_after_a_refusal_the_connection_is_read_on_for_a_while_only() -> None:
    """RFC 9112 §9.6: what is under way is read, so that the answer arrives; a flood is not read forever."""
    with target() as hostile, hostile.connect() as connection:
        assert exchange(connection, b"GET / HTTP/9.9\r\n\r\n").status == 505
        before = descriptors(hostile.worker)
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 2 + SLACK:
                connection.send(b"x" * 65536)
        assert time.monotonic() - started < 2 + SLACK, "the flood went on"
        wait_until(lambda: descriptors(hostile.worker) < before, "the descriptor is back")


def test_24_a_proxy_that_does_not_say_its_preface() -> None:
    """The header time-out runs from the start of the connection, the preface included."""
    with target("--timeout-header", "0.4", "--proxy-protocol-from", "10.0.0.1,127.0.0.1") as hostile:
        for beginning in (b"", b"PROXY TC", b"\r\n\r\n\0\r\nQUIT\n\x21"):
            with hostile.connect() as connection:
                if beginning:
                    connection.send(beginning)
                started = time.monotonic()
                assert b" 200 " not in connection.rest()
                assert time.monotonic() - started < 0.4 + SLACK
