"""What must hold at every end: of a connection, of a request, of the server. Nothing left, nothing hanging.

Derived from the life of a connection: whatever the client does and whenever it leaves, each exchange ends once, its
task ends, its descriptor and memory come back, and the server can stop within its grace time. Over TCP and TLS, and
over HTTP/2 where it is not about bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from typing import Any

from support.backends import HTTP2, TCP, TLS, over
from support.frames import TEXT, frame, handshake, open_websocket, read_frame
from support.inprocess import Backend
from support.kernel import descriptors, memory, wait_until
from support.raw import Closed, Connection, get_request

from attacks.target import Target, exchange, target

HOST = b"Host: a.example\r\n"
MIB = 1 << 20
SLACK = 5.0


def post(path: str, size: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {size}\r\n\r\n".encode()


#: What a client may have sent when it leaves.
BEGINNINGS = [
    b"",
    b"G",
    get_request("/x")[:-2],
    get_request("/x"),
    get_request("/x") * 5,
    get_request("/hold/never"),
    get_request("/hold/never") + get_request("/x") * 3,
    post("/echo", 1000) + b"x" * 10,
    post("/echo", 10).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
    b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    post("/ignore", 1000) + b"x" * 10,
    post("/stubborn", 1000) + b"x" * 10,
    b"POST /stubborn HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX",
    get_request("/stream/50"),
    get_request("/large/3000000"),
    get_request("/x").replace(b"Host", b"Host "),
    handshake(),
    handshake()[:-2],
    handshake() + frame(TEXT, b"hello") * 3,
    handshake() + frame(TEXT, b"hello")[:4],
    handshake("/ws/late") + b"\xff" * 20,
]


def leave(connection: Connection, rng: random.Random) -> None:
    """One of the ways to go."""
    match rng.randrange(4):
        case 0:
            connection.reset()
        case 1:
            connection.close()
        case 2:
            with contextlib.suppress(OSError):
                connection.end()
        case 3:
            connection.socket.settimeout(0.02)
            with contextlib.suppress(OSError):
                connection.socket.recv(100)
            connection.reset()


def abort_many(hostile: Target, rng: random.Random, count: int) -> None:
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection: Connection = stack.enter_context(hostile.connect(receive_buffer=8192))
            beginning = rng.choice(BEGINNINGS)
            connection.send_pieces(
                [beginning[: rng.randrange(len(beginning) + 1)] if rng.random() < 0.3 else beginning]
            )
            connections.append(connection)
            if rng.random() < 0.5:
                leave(connections.pop(rng.randrange(len(connections))), rng)
        for connection in connections:
            leave(connection, rng)


@over(*TCP, TLS)
def test_nothing_is_left_of_aborted_connections(backend: Backend) -> None:
    with target(backend=backend) as hostile:
        rng = random.Random(5)
        tasks = hostile.state()["tasks"]
        abort_many(hostile, rng, 150)
        wait_until(lambda: hostile.state()["tasks"] <= tasks, "the tasks of the first have ended")
        fds, rss = descriptors(hostile.worker), memory(hostile.worker)
        for _ in range(4):
            abort_many(hostile, rng, 150)
        wait_until(lambda: hostile.state()["tasks"] <= tasks, "all tasks have ended")
        wait_until(lambda: descriptors(hostile.worker) <= fds, "all descriptors are back")
        counts = hostile.state()["counts"]
        assert counts["holding"] == counts["held"], counts
        assert counts["ws open"] == counts["ws over"], counts
        assert memory(hostile.worker) - rss < 12 * MIB
        # What is known of the requests may have grown in the application's own lists, nowhere else.
        hostile.seen()
        assert hostile.is_serving()


@over(*TCP, TLS, HTTP2)
def test_each_exchange_ends_once(backend: Backend) -> None:
    """A hundred bodies that break off: each application hears of it exactly once, none hears of a whole body."""
    with target(backend=backend) as hostile:
        with contextlib.ExitStack() as stack:
            for at in range(100):
                connection: Any = stack.enter_context(hostile.connect())
                if backend.tls:  # where the server may find the client gone at the end of the handshake
                    connection.get("/_state")
                connection.begin(f"/echo/{at}", 100)
                connection.send_body(b"x" * (at % 100))
                if backend.http2:  # where a stream that is reset right behind its head is never started
                    connection.wait_accepted()
                (connection.leave if at % 2 else connection.close)()
        hostile.wait_for_count("disconnected", 100)
        seen = hostile.seen()
        assert sorted(record["path"] for record in seen) == sorted(f"/echo/{at}" for at in range(100))
        assert all(record.get("disconnected") and not record.get("complete") for record in seen)
        assert hostile.count("disconnected") == 100


@over(TCP[0], HTTP2)
def test_cancel_on_disconnect(backend: Backend) -> None:
    """With the option the task ends with its client; the log has nothing to say about it."""
    with target("--cancel-on-disconnect", backend=backend) as hostile:
        tasks = hostile.state()["tasks"]
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(hostile.connect()).request("/forever/never")
            hostile.wait_for_count("forever", 20)
        hostile.wait_for_count("cancelled", 20)
        wait_until(lambda: hostile.state()["tasks"] <= tasks, "the tasks have ended")


@over(*TCP, TLS)
def test_requests_that_run_at_sigterm_are_answered(backend: Backend) -> None:
    """Uploads in their middle go on to their end; the answer says that the connection closes; the exit code is 0."""
    with target("--timeout-graceful-shutdown", "20", backend=backend) as hostile, contextlib.ExitStack() as stack:
        idle: Connection = stack.enter_context(hostile.connect())
        assert exchange(idle, get_request("/ignore")).status == 200
        uploads: list[Connection] = []
        for _ in range(10):
            connection: Connection = stack.enter_context(hostile.connect())
            connection.send(post("/echo", 10) + b"hello")
            uploads.append(connection)
        wait_until(lambda: len(hostile.seen()) + len(uploads) >= 10, "the requests have arrived")
        held: Connection = stack.enter_context(hostile.connect())
        held.send(get_request("/hold/never"))
        hostile.wait_for_count("holding", 1)
        os.kill(hostile.server.pid, signal.SIGTERM)
        hostile.server.wait_for_log("SIGTERM")
        idle.wait_closed()
        for connection in uploads:
            connection.send(b"world" + get_request("/too-late"))
        for connection in uploads:
            response = connection.response()
            assert (response.status, response.closes) == (200, True)
            assert json.loads(response.body)["body"] == "helloworld"
            connection.wait_closed()
        held.close()
        started = time.monotonic()
        assert hostile.server.wait_for_end() == 0
        assert time.monotonic() - started < SLACK


@over(TCP[0], TLS, HTTP2)
def test_responses_that_are_still_being_read_at_sigterm_are_whole(backend: Backend) -> None:
    """The applications are done, the client is slow: slower than ended connections are waited for."""
    # More than the kernel takes, over HTTP/2 of streams that are over for the server.
    count, size = (90, 60_000) if backend.http2 else (1, 20_000_000)
    with (
        target("--timeout-graceful-shutdown", "20", backend=backend) as hostile,
        hostile.connect(receive_buffer=4096) as connection,
    ):
        for _ in range(count):
            connection.request(f"/large/{size}")
        hostile.wait_for_count("large", 1)
        os.kill(hostile.server.pid, signal.SIGTERM)
        hostile.server.wait_for_log("SIGTERM")
        time.sleep(3.0)
        for _ in range(count):
            assert len(connection.response().body) == size


@over(*TCP, TLS)
def test_a_request_that_crosses_the_end_of_its_connection_is_answered(backend: Backend) -> None:
    """Who has taken the last answer, as far as the server can tell by the acknowledgement, has asked nothing yet."""
    size = 60_000
    with (
        target("--timeout-graceful-shutdown", "20", backend=backend) as hostile,
        hostile.connect(receive_buffer=4096) as connection,
        hostile.connect() as idle,
    ):
        connection.request(f"/large/{size}")
        hostile.wait_for_count("large", 1)
        assert idle.get("/x").status == 200
        os.kill(hostile.server.pid, signal.SIGTERM)
        idle.wait_closed()
        connection.send_pieces([get_request("/crossing")])
        assert len(connection.response().body) == size
        answer = connection.response()
        assert answer.status == 200
        assert answer.closes
        connection.wait_closed()


@over(*TCP, TLS, HTTP2)
def test_shutdown_is_bounded_whoever_is_there(backend: Backend) -> None:
    """Half-open, slow, stuck and upgraded connections together: the grace time, two seconds to clean up, the end."""
    with target("--timeout-graceful-shutdown", "1", backend=backend) as hostile, contextlib.ExitStack() as stack:

        def join() -> Any:
            return stack.enter_context(hostile.connect(receive_buffer=8192))

        for _ in range(5):
            join()
            upload = join()
            upload.begin("/echo", 100)
            upload.send_body(b"x")
            for path in ("/forever/never", "/hold/never", "/stream/100000", "/large/20000000", "/late-stall"):
                join().request(path)
            if not backend.http2:
                for beginning in (b"GET / HT", get_request("/x").replace(b"Host", b"Host "), handshake()[:-2]):
                    join().send(beginning)
                open_websocket(join())
                open_websocket(join(), "/ws/deaf")
        hostile.wait_for_count("forever", 5)
        hostile.wait_for_count("holding", 5)
        hostile.wait_for_count("ws open", 0 if backend.http2 else 10)
        started = time.monotonic()
        os.kill(hostile.server.pid, signal.SIGTERM)
        assert hostile.server.wait_for_end() == 0
        assert time.monotonic() - started < 1 + 2 + SLACK


@over(*TCP, TLS, HTTP2)
def test_idle_connections_do_not_hold_the_shutdown(backend: Backend) -> None:
    """Clients with connection pools do not look at their idle connections: nobody waits for them to."""
    with target("--timeout-graceful-shutdown", "30", backend=backend) as hostile, contextlib.ExitStack() as stack:
        for _ in range(20):
            assert stack.enter_context(hostile.connect()).get("/ignore").status == 200
        started = time.monotonic()
        os.kill(hostile.server.pid, signal.SIGTERM)
        assert hostile.server.wait_for_end() == 0
        assert time.monotonic() - started < 4.0


def test_websockets_are_closed_with_1012_at_shutdown() -> None:
    with target("--timeout-graceful-shutdown", "20") as hostile, contextlib.ExitStack() as stack:
        connections: list[Connection] = []
        for _ in range(10):
            connections.append(stack.enter_context(hostile.connect()))
            open_websocket(connections[-1])
        os.kill(hostile.server.pid, signal.SIGTERM)
        for connection in connections:
            assert read_frame(connection).code == 1012
            connection.send(frame(8, (1012).to_bytes(2, "big")))
            connection.wait_closed()
        assert hostile.server.wait_for_end() == 0


@over(*TCP, HTTP2)
def test_sigterm_while_connections_pour_in(backend: Backend) -> None:
    """Each one gets a whole answer or none; nothing half; the process ends with 0."""
    with target("--timeout-graceful-shutdown", "5", backend=backend) as hostile, contextlib.ExitStack() as stack:
        connections: list[Any] = []
        for at in range(300):
            if at == 150:
                os.kill(hostile.server.pid, signal.SIGTERM)
            try:
                connection = stack.enter_context(hostile.connect())
                connection.request("/pause/2")
            except OSError:
                break
            connections.append(connection)
        answered = 0
        for connection in connections:
            outcome = connection.outcome()
            if isinstance(outcome, Closed):
                assert outcome.rest == b""
            else:
                assert outcome.status == 200
                answered += 1
        assert answered > 0
        assert hostile.server.wait_for_end() == 0


@over(*TCP)
def test_an_application_that_ignores_cancellation_does_not_hold_the_shutdown(backend: Backend) -> None:
    with target("--timeout-graceful-shutdown", "0.5", backend=backend) as hostile, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(hostile.connect()).request("/immortal")
        hostile.wait_for_count("immortal", 3)
        started = time.monotonic()
        os.kill(hostile.server.pid, signal.SIGTERM)
        hostile.server.wait_for_end()
        assert time.monotonic() - started < 0.5 + 2 + SLACK


@over(HTTP2)
def test_a_request_time_out_does_not_depend_on_the_application(backend: Backend) -> None:
    """504 is sent whether or not the task lets itself be cancelled."""
    with target("--timeout-request", "0.3", backend=backend) as hostile, hostile.connect() as connection:
        connection.request("/immortal")
        assert connection.refusal().status == 504
        assert hostile.is_serving()
