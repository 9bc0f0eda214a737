"""SIGINT and SIGTERM in every phase of a server's life, on both loops."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.server import ServerProcess

from worker.launching import launched, wait_listening

LOOPS = ("asyncio", "uvloop")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
FOREVER = "60"  # what the application hangs for, in seconds: an end that took less was not waited for

both_loops = pytest.mark.parametrize("loop", LOOPS)
both_signals = pytest.mark.parametrize("number", SIGNALS)


@contextmanager
def hanging(loop: str, at: str = "", grace: str = FOREVER) -> Iterator[ServerProcess]:
    options = ["--port", "0", "--loop", loop, "--timeout-graceful-shutdown", grace]
    with launched("hanging:app", *options, environment={"HANG_AT": at}) as server:
        yield server


@contextmanager
def requested(server: ServerProcess, path: str) -> Iterator[socket.socket]:
    """A request whose response has begun."""
    port = wait_listening(server)
    with socket.create_connection(("127.0.0.1", port), 15) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        read_until(client, b"begun")
        yield client


def read_until(client: socket.socket, expected: bytes) -> bytes:
    data = b""
    while expected not in data:
        piece = client.recv(65536)
        assert piece, data
        data += piece
    return data


def assert_ends(server: ServerProcess, *, within: float = 12.0) -> None:
    begun = time.monotonic()
    assert server.wait_for_end(within + 10) == 0, server.log
    assert time.monotonic() - begun < within, server.log
    assert "Traceback" not in server.log
    assert "never awaited" not in server.log
    assert "was destroyed" not in server.log


@both_loops
@both_signals
def test_first_signal_lets_requests_finish(loop: str, number: signal.Signals) -> None:
    with hanging(loop) as server, requested(server, "/short") as client:
        server.process.send_signal(number)
        read_until(client, b" and ended")
        assert_ends(server)
        assert number.name in server.log
        assert server.log.index("finishing the running requests") < server.log.index("shut down")


@both_loops
def test_a_connection_that_has_just_come_is_still_served(loop: str) -> None:
    with hanging(loop) as server:
        port = wait_listening(server)
        with requested(server, "/short") as first, socket.create_connection(("127.0.0.1", port), 15) as second:
            with socket.create_connection(("127.0.0.1", port), 15) as third:
                # An answer to the third says that the second, which came before it, is accepted.
                third.sendall(b"GET /none HTTP/1.1\r\nHost: test\r\n\r\n")
                read_until(third, b"\r\n0\r\n\r\n")
                server.process.send_signal(signal.SIGTERM)
                assert third.recv(100) == b"", "its end says that the drain has begun"
            second.sendall(b"GET /none HTTP/1.1\r\nHost: test\r\n\r\n")
            assert b"connection: close" in read_until(second, b" and ended").lower()
            read_until(first, b" and ended")
            assert_ends(server)


@both_loops
def test_connections_that_ask_nothing_hold_the_end_for_a_moment_only(loop: str) -> None:
    with hanging(loop) as server:
        port = wait_listening(server)
        with requested(server, "/short") as used, socket.create_connection(("127.0.0.1", port), 15):
            read_until(used, b"\r\n0\r\n\r\n")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_log("SIGTERM: finishing")
            assert used.recv(100) == b"", "an idle connection is closed"
            assert_ends(server, within=8)


@both_loops
def test_second_signal_ends_a_hanging_request(loop: str) -> None:
    with hanging(loop) as server, requested(server, "/wait"):
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("SIGINT: finishing")
        server.signal_again(signal.SIGINT)
        assert_ends(server)
        assert "SIGINT again" in server.log
        assert "did not end in time" not in server.log, "the user did not wait for the time to pass"
        assert "cancelled" in server.log
        assert "shut down" in server.log, "the application's shutdown runs even so"


@both_loops
def test_second_signal_ends_a_request_that_swallows_its_cancellation(loop: str) -> None:
    with hanging(loop) as server, requested(server, "/stubborn"):
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("SIGTERM: finishing")
        server.signal_again(signal.SIGTERM)
        assert_ends(server)
        assert "swallowed" in server.log


@both_loops
def test_the_end_is_bounded_without_a_second_signal(loop: str) -> None:
    with hanging(loop, grace="0.3") as server, requested(server, "/wait"):
        server.process.send_signal(signal.SIGTERM)
        assert_ends(server)
        assert "1 connection did not end in time" in server.log
        assert "cancelled" in server.log


@both_loops
def test_the_end_is_bounded_with_a_thread_that_hangs(loop: str) -> None:
    with hanging(loop, grace="0.3") as server, requested(server, "/thread"):
        server.process.send_signal(signal.SIGTERM)
        assert_ends(server)
        assert "ending without waiting any longer for threads" in server.log


@both_loops
def test_the_end_is_bounded_with_a_hanging_lifespan_shutdown(loop: str) -> None:
    with hanging(loop, "shutdown", grace="0.3") as server:
        wait_listening(server)
        server.process.send_signal(signal.SIGTERM)
        assert_ends(server)
        assert "lifespan shutdown did not end in time" in server.log


@both_loops
def test_second_signal_ends_a_hanging_lifespan_shutdown(loop: str) -> None:
    with hanging(loop, "shutdown") as server:
        wait_listening(server)
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("shutting down")
        server.signal_again(signal.SIGINT)
        assert_ends(server)
        assert "did not end in time" not in server.log, "its time was cut short"


@both_loops
@both_signals
def test_one_signal_cancels_lifespan_startup(loop: str, number: signal.Signals) -> None:
    with hanging(loop, "startup") as server:
        server.wait_for_log("^starting")
        server.process.send_signal(number)
        assert_ends(server)
        assert "startup cleaned up" in server.log
        assert "listening" not in server.log


@both_loops
def test_second_signal_ends_a_startup_that_swallows_its_cancellation(loop: str) -> None:
    with hanging(loop, "stubborn-startup") as server:
        server.wait_for_log("^starting")
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("swallowed")
        server.signal_again(signal.SIGINT)
        assert_ends(server)


@both_loops
@both_signals
def test_one_signal_interrupts_the_import(loop: str, number: signal.Signals) -> None:
    with hanging(loop, "import") as server:
        server.wait_for_log("^importing")
        server.process.send_signal(number)
        assert_ends(server)


@both_loops
def test_second_signal_interrupts_an_application_that_blocks_the_loop(loop: str) -> None:
    with hanging(loop) as server, requested_until_blocked(server):
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("SIGINT: finishing")
        server.signal_again(signal.SIGINT)
        assert server.wait_for_end() == 0, server.log
        assert "it did not end when it was told to" in server.log


@contextmanager
def requested_until_blocked(server: ServerProcess) -> Iterator[None]:
    port = wait_listening(server)
    with socket.create_connection(("127.0.0.1", port), 15) as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: test\r\n\r\n")
        server.wait_for_log("^blocking")
        yield
