"""Every time-out of docs/limits.md, set small: the answer, the close, the log line, and who is not hurt by it.

Over TCP, TLS and HTTP/2, and a Unix socket where the kernel's buffers matter. Where a test sleeps, the pause is the
attack or the honest client's slowness itself; nothing is synchronised by it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from support.backends import HTTP2, HTTP2_TLS, TCP, TLS, UNIX, over
from support.inprocess import Backend
from support.kernel import descriptors, memory, wait_until
from support.raw import Connection

from attacks.target import Target, exchange, target

HOST = b"Host: a.example\r\n"
MIB = 1 << 20
# How much longer than its time-out anything may take here.
SLACK = 5.0

BACKENDS = (TCP[0], TLS, HTTP2)
SCOPE = "class"

in_pieces = pytest.mark.http1("heads in pieces")


@pytest.fixture(scope="class")
def hostile(request: pytest.FixtureRequest, backend: Backend) -> Iterator[Target]:
    """A server for a class, with its `OPTIONS`."""
    with target(*request.cls.OPTIONS, backend=backend) as found:
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
    BACKENDS = (TCP[0], TLS, HTTP2_TLS)
    OPTIONS = ("--timeout-header", "0.4", "--timeout-keep-alive", "30")

    @in_pieces
    def test_24_slowloris_head(self, hostile: Target) -> None:
        """Bytes that keep coming do not prolong it."""
        mark = hostile.server.mark()
        started = time.monotonic()
        with hostile.connect() as connection:
            trickle(connection, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20, 0.02)
            assert connection.refusal().status == 408
        assert 0.35 < time.monotonic() - started < 0.4 + SLACK
        hostile.server.wait_for_log("408, .*timeout_header", since=mark)

    def test_24_connections_that_say_nothing(self, hostile: Target) -> None:
        """They are closed without a word, and their descriptors come back."""
        before = descriptors(hostile.worker)
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(hostile.connect_raw()) for _ in range(50)]
            for connection in connections:
                # Over HTTP/2 the server tells its settings, which is no answer.
                assert b"HTTP" not in connection.rest()
            wait_until(lambda: descriptors(hostile.worker) <= before, "all descriptors are back")

    def test_24_connections_that_ask_for_nothing(self, hostile: Target) -> None:
        """Over HTTP/2 the preface and the settings are no request either."""
        with hostile.connect() as connection:
            connection.wait_closed()

    @in_pieces
    def test_24_slowloris_head_of_the_second_request(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            assert connection.get("/ignore").status == 200
            connection.send(b"GET / HT")
            assert connection.refusal().status == 408

    @in_pieces
    def test_empty_lines_are_the_beginning_of_a_head(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            assert connection.get("/ignore").status == 200
            connection.send(b"\r\n")
            assert connection.refusal().status == 408

    def test_it_ends_with_the_head(self, hostile: Target) -> None:
        """Neither a request that takes longer nor an idle connection is cut."""
        with hostile.connect() as connection:
            connection.request("/hold/head-is-over")
            time.sleep(0.8)
            hostile.release("head-is-over")
            assert connection.response().body == b"released"
            time.sleep(0.8)
            assert connection.get("/ignore").status == 200

    @pytest.mark.http1("connection options")
    def test_it_ends_with_an_unread_body(self, hostile: Target) -> None:
        """The rest of a body that nobody read comes late, but in time: afterwards the connection idles as any other."""
        with hostile.connect() as connection:
            connection.begin("/ignore", 5)
            assert not connection.response().closes
            connection.send_body(b"hello")
            time.sleep(1.0)
            assert connection.get("/ignore").status == 200

    @pytest.mark.http1("connection options")
    def test_an_unread_body_that_does_not_come(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            connection.begin("/ignore", 5)
            assert connection.response().status == 200
            connection.wait_closed()


class TestKeepAlive:
    OPTIONS = ("--timeout-keep-alive", "1")

    def test_idle_connections_are_closed_without_a_word(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            assert connection.get("/ignore").status == 200
            started = time.monotonic()
            connection.wait_closed()
            assert 0.9 < time.monotonic() - started < 1 + SLACK

    def test_each_request_starts_it_again(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            for _ in range(4):
                assert connection.get("/ignore").status == 200
                time.sleep(0.4)

    def test_a_response_that_is_still_being_read_is_not_idle(self, hostile: Target) -> None:
        """The application is done, the client is slow: it gets all of it."""
        # More than the kernel takes.
        size = 6_000_000 if hostile.backend.http2 else 20_000_000
        with hostile.connect(receive_buffer=65536) as connection:
            connection.request(f"/large/{size}")
            time.sleep(1.7)
            assert len(connection.response().body) == size
            if not hostile.backend.http2:  # whose client takes long to read what the kernel has
                # Idleness begins here, not when the application was done.
                time.sleep(0.5)
                assert connection.get("/ignore").status == 200

    def test_many_responses_that_are_still_being_read_are_not_idle(self, hostile: Target) -> None:
        """All are out of the applications' hands, none is more than the server keeps of a response."""
        count, size = 90, 60_000
        with hostile.connect(receive_buffer=4096) as connection:
            for _ in range(count):
                connection.request(f"/large/{size}")
            time.sleep(1.7)
            for _ in range(count):
                assert len(connection.response().body) == size

    def test_zero_closes_after_each_response(self, backend: Backend) -> None:
        with target("--timeout-keep-alive", "0", backend=backend) as hostile, hostile.connect() as connection:
            assert connection.get("/ignore").status == 200
            connection.wait_closed()


class TestBodyRate:
    OPTIONS = ("--body-rate-min", "1000", "--body-rate-grace", "0.3", "--limit-body-size", "300KiB")

    def test_24_slow_body(self, hostile: Target) -> None:
        """R-U-Dead-Yet: a byte now and then keeps nothing alive. The application is told."""
        mark = hostile.server.mark()
        before = hostile.count("disconnected")
        with hostile.connect() as connection:
            connection.begin("/echo", 100_000)
            for _ in range(60):
                connection.send_body(b"x")
                time.sleep(0.02)
            assert connection.refusal().status == 408
        hostile.server.wait_for_log("408, .*body_rate_min", since=mark)
        hostile.wait_for_count("disconnected", before + 1)

    @pytest.mark.http1("chunks")
    def test_24_slow_chunks(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            connection.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
            trickle(connection, b"1;a=bbbbbbbbbb\r\nx\r\n" * 10, 0.01)
            assert connection.refusal().status == 408

    def test_time_in_which_the_application_does_not_read_does_not_count(self, hostile: Target) -> None:
        """The body waits for the application, not the other way round."""
        size, name = 250_000, f"rate-a-{hostile.backend.name}"
        with hostile.connect() as connection:
            connection.request(f"/slow-reader/{name}", "POST", body=b"x" * size)
            time.sleep(1.0)
            hostile.release(name)
            assert connection.response().body == str(size).encode()

    def test_limit_body_size_counts_through_such_pauses(self, hostile: Target) -> None:
        """The measuring of the rate starts anew after a pause; the counting for the size limit does not."""
        before = hostile.count("reading")
        with hostile.connect() as connection:
            connection.begin("/slow-reader/rate-b")
            connection.stuff_body(b"x" * 65536, 4)
            hostile.wait_for_count("reading", before + 1)
            time.sleep(0.8)
            hostile.release("rate-b")
            connection.send_body(b"x" * 65536)
            assert connection.response().status == 413

    def test_expectation_waits_for_the_application(self, hostile: Target) -> None:
        """Nothing was asked for, so nothing can be late."""
        with hostile.connect() as connection:
            connection.begin("/forever/rate-c", 10, [("Expect", "100-continue")])
            time.sleep(0.8)
            hostile.release("rate-c")
            assert connection.response().body == b"at last"


class TestWrite:
    OPTIONS = ("--timeout-write", "0.5", "--timeout-keep-alive", "30")
    ALSO = (UNIX, HTTP2_TLS)

    def test_24_client_that_does_not_read_a_stream(self, hostile: Target) -> None:
        """`send()` waits, then raises; the connection is reset; memory stays flat."""
        mark, before = hostile.server.mark(), memory(hostile.worker)
        refused = hostile.count("send refused")
        with hostile.connect(receive_buffer=8192) as connection:
            connection.request("/stream/100000")
            hostile.wait_for_count("send refused", refused + 1)
            assert connection.was_lost()
        hostile.server.wait_for_log("closed, .*timeout_write", since=mark)
        assert memory(hostile.worker) - before < 8 * MIB

    def test_24_client_that_does_not_read_a_large_body(self, hostile: Target) -> None:
        mark = hostile.server.mark()
        with hostile.connect(receive_buffer=8192) as connection:
            connection.request("/large/20000000")
            hostile.server.wait_for_log("closed, .*timeout_write", since=mark)
            assert connection.was_lost()

    def test_slow_is_allowed(self, hostile: Target) -> None:
        """A client that takes something in each interval gets everything, however long it takes.

        The kernel's buffers hide it: the socket becomes writable again only after a good part of them was taken.
        """
        with hostile.connect(receive_buffer=65536) as connection:
            started = time.monotonic()
            connection.request("/large/12000000")
            while time.monotonic() - started < 2.0:
                connection.take_some(20_000)
                time.sleep(0.05)
            assert len(connection.response().body) == 12_000_000


class TestRequest:
    OPTIONS = ("--timeout-request", "0.4")

    def test_504_and_the_task_is_cancelled(self, hostile: Target) -> None:
        mark, before = hostile.server.mark(), hostile.count("cancelled")
        tasks = hostile.state()["tasks"]
        with hostile.connect() as connection:
            connection.request("/forever/never")
            assert connection.refusal().status == 504
        hostile.wait_for_count("cancelled", before + 1)
        hostile.server.wait_for_log("504, .*timeout_request", since=mark)
        assert hostile.state()["tasks"] == tasks
        assert "Traceback" not in hostile.server.log, "the time-out is the news, not where the task stood"

    def test_after_the_response_has_begun_it_is_cut(self, hostile: Target) -> None:
        """It must not look complete."""
        before = hostile.count("cancelled")
        with hostile.connect() as connection:
            connection.request("/late-stall")
            assert b"begun" in connection.cut()
        hostile.wait_for_count("cancelled", before + 1)

    def test_it_counts_the_body_too(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            connection.begin("/echo", 10)
            assert connection.response().status == 504

    def test_each_request_has_its_own(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            for _ in range(4):
                assert connection.get("/pause/1").status == 200
                time.sleep(0.15)


@over(TCP[0], TLS)
def test_after_a_refusal_the_connection_is_read_on_for_a_while_only(backend: Backend) -> None:
    """RFC 9112 §9.6: what is under way is read, so that the answer arrives; a flood is not read forever."""
    with target(backend=backend) as hostile, hostile.connect() as connection:
        assert exchange(connection, b"GET / HTTP/9.9\r\n\r\n").status == 505
        before = descriptors(hostile.worker)
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 2 + SLACK:
                connection.send(b"x" * 65536)
        assert time.monotonic() - started < 2 + SLACK, "the flood went on"
        wait_until(lambda: descriptors(hostile.worker) < before, "the descriptor is back")


@over(TCP[0], TLS)
def test_24_a_proxy_that_does_not_say_its_preface(backend: Backend) -> None:
    """The header time-out runs from the start of the connection, the preface included."""
    options = ("--timeout-header", "0.4", "--timeout-handshake", "0.4", "--proxy-protocol-from", "10.0.0.1,127.0.0.1")
    with target(*options, backend=backend) as hostile:
        for beginning in (b"", b"PROXY TC", b"\r\n\r\n\0\r\nQUIT\n\x21"):
            # Over TLS, too, the preface comes first, in clear text.
            with hostile.connect_raw(tls=False) as connection:
                if beginning:
                    connection.send(beginning)
                started = time.monotonic()
                assert b" 200 " not in connection.rest()
                assert time.monotonic() - started < 0.4 + SLACK
