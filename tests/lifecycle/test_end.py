"""The end of a server under load: what it has accepted it answers. RFC 9112 §9.6."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import time
from collections.abc import Iterator

import pytest
from support.link import How
from support.server import ServerProcess, serving
from support.steady import steady_load

from lifecycle.running import SERVED

GRACE = 10.0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        yield sock


def on(listener: socket.socket) -> dict[str, object]:
    number = listener.fileno()
    return {"directory": SERVED, "listen": ("--fd", str(number)), "pass_fds": [number]}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_server_follows_another_on_the_same_socket(listener: socket.socket, loop: str) -> None:
    """Whoever ends stops accepting and answers what it has; the queue of the socket is the other's."""
    options = ("--timeout-graceful-shutdown", f"{GRACE}")
    first_one = serving("subject:app", *options, loop=loop, **on(listener))  # type: ignore[arg-type]
    second_one = serving("subject:app", *options, loop=loop, **on(listener))  # type: ignore[arg-type]
    with first_one as first, steady_load(listener.getsockname()[:2]) as load:
        load.wait_answers(200)
        (one,) = load.report.workers()
        with second_one:
            load.wait(lambda report: sum(report.workers().values()) - report.workers()[one] >= 20, "the second answers")
            end(first)
            load.wait_answers(200)
            load.stop()
    load.report.check(fewest=500)
    assert len(load.report.workers()) == 2
    assert load.report.sessions_closed.keys() == {1012}


def end(server: ServerProcess) -> None:
    server.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    assert server.wait_for_end() == 0, server.log
    assert time.monotonic() - started < GRACE


def test_who_is_refused_was_not_accepted() -> None:
    """Without a successor new connections are refused, or reset in the queue unread; nothing that was read is lost."""
    with serving("subject:app", directory=SERVED) as server, steady_load(server.address) as load:
        load.wait_answers(200)
        end(server)
        load.stop()
    assert load.report.lost, "the load went on behind the end"
    for loss in load.report.lost:
        refused = loss.how is How.REFUSED
        assert refused or (loss.how is How.RESET and loss.worker is None), f"{loss}\n{load.report}"


def test_an_endless_response_ends_when_the_application_is_told() -> None:
    """Long before its deadline, and with its last words."""
    with serving("feed:app", "--timeout-graceful-shutdown", "60s", directory=SERVED) as server:
        connection = http.client.HTTPConnection(*server.address, timeout=GRACE)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            response = connection.getresponse()
            assert response.read(6) == b"begun "
            server.process.send_signal(signal.SIGTERM)
            assert response.read() == b"ended"
        started = time.monotonic()
        assert server.wait_for_end() == 0, server.log
        assert time.monotonic() - started < GRACE
