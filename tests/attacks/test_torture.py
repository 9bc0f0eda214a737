"""The n-th failure: system calls that fail now and then, injected by strace. No crash, nothing leaked, it still serves.

For each call and error the server answers a mixed load while every third call fails; clients may lose what they were
at. Afterwards all descriptors and tasks are back, the log has no traceback, and the next requests are served.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest
from support.frames import TEXT, frame, open_websocket, read_frame
from support.kernel import descriptors, wait_until
from support.raw import Closed, Connection, connected

from attacks.target import Target, target

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

#: (system call, error): what the kernel may really answer there. EAGAIN is not among them: with it goes a promise to
#: report the socket again, which an injected one breaks. Nor is `mmap`: whoever is refused memory in native code ends,
#: and another worker takes its place.
FAILURES = [
    ("accept4", "ECONNABORTED"),
    ("accept4", "EMFILE"),
    ("accept4", "ENFILE"),
    ("accept4", "ENOBUFS"),
    ("accept4", "EPROTO"),
    ("accept4", "EINTR"),
    ("recvfrom", "ECONNRESET"),
    ("recvfrom", "ETIMEDOUT"),
    ("recvfrom", "ENOMEM"),
    ("recvfrom", "EINTR"),
    ("sendto", "EPIPE"),
    ("sendto", "ECONNRESET"),
    ("sendto", "ENOBUFS"),
    ("sendto", "EINTR"),
    ("sendmsg", "ECONNRESET"),
    ("sendmsg", "ENOMEM"),
    ("sendmsg", "EINTR"),
    ("epoll_ctl", "ENOMEM"),
    ("epoll_ctl", "ENOSPC"),
    ("shutdown", "ENOTCONN"),
    ("setsockopt", "EINVAL"),
    ("getsockname", "ENOBUFS"),
    ("ioctl", "ENOTTY"),
    ("openat", "EMFILE"),
    ("openat", "EACCES"),
    ("sendfile", "EIO"),
    ("sendfile", "ENOMEM"),
    ("sendfile", "EINTR"),
]


@contextlib.contextmanager
def failing(hostile: Target, call: str, error: str, when: str) -> Iterator[None]:
    """Lets the server's calls fail until the block ends."""
    command = ["strace", "-f", "-p", str(hostile.worker), "-o", "/dev/null", "-e", f"trace={call}"]
    command += ["-e", f"inject={call}:error={error}:when={when}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        try:
            line = tracer.stderr.readline()
            if "Operation not permitted" in line:
                pytest.skip("tracing is not permitted here")
            assert "attached" in line, line
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=15)


def http(connection: Connection, data: bytes) -> None:
    connection.send(data)
    connection.response()
    connection.send(data)
    connection.response()


def websocket(connection: Connection) -> None:
    open_websocket(connection)
    for _ in range(3):
        connection.send(frame(TEXT, b"hello"))
        read_frame(connection)


def attempt(hostile: Target, turn: int) -> bool:
    """One client. False when it has lost its connection; a hang is a failure."""
    host = b" HTTP/1.1\r\nHost: a.example\r\n"
    try:
        with connected(hostile.address) as connection:
            match turn % 6:
                case 0:
                    http(connection, b"GET /odd/body-bytes" + host + b"\r\n")
                case 1:
                    http(connection, b"GET /large/500000" + host + b"\r\n")
                case 2:
                    http(connection, b"POST /echo" + host + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000)
                case 3:
                    http(connection, b"GET /stream/10" + host + b"\r\n")
                case 4:
                    websocket(connection)
                case 5:
                    http(connection, b"GET /file" + host + b"\r\n")
    except (Closed, ConnectionError):
        return False
    return True


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def hostile(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target("--timeout-keep-alive", "3", "--timeout-write", "3", loop=request.param) as found:
        yield found


@pytest.mark.parametrize(("call", "error"), FAILURES)
def test_nth_failure(hostile: Target, call: str, error: str) -> None:
    assert hostile.is_serving()
    fds, tasks = descriptors(hostile.worker), hostile.state()["tasks"]
    with failing(hostile, call, error, "2+3"):
        outcomes = [attempt(hostile, turn) for turn in range(18)]
    if error == "EINTR":
        assert all(outcomes), "an interrupted call is made again"
    wait_until(lambda: descriptors(hostile.worker) <= fds, "the descriptors are back")
    wait_until(lambda: hostile.state()["tasks"] <= tasks, "the tasks have ended")
    assert all(attempt(hostile, turn) for turn in range(6))
    hostile.seen()


def test_every_nth_failure_of_one_request(hostile: Target) -> None:
    """The first, the second, … call of a request on a new connection fails: whichever it is, it costs that one only."""
    fds = descriptors(hostile.worker)
    for call, error in (
        ("recvfrom", "ECONNRESET"),
        ("sendto", "EPIPE"),
        ("epoll_ctl", "ENOMEM"),
        ("accept4", "EMFILE"),
    ):
        for nth in range(1, 5):
            with failing(hostile, call, error, str(nth)):
                outcomes = [attempt(hostile, turn) for turn in range(4)]
            assert outcomes.count(False) <= 1, (call, nth, outcomes)
    wait_until(lambda: descriptors(hostile.worker) <= fds, "the descriptors are back")
    assert hostile.is_serving()
