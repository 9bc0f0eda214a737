"""More than the server can take: places, queue, buffers, descriptors. Everything is bounded and nobody is forgotten.

What is decided above the transport runs over HTTP/2 too, and some of it over TLS and a Unix socket.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import Any

import pytest
from support.backends import HTTP2, TCP, TLS, UNIX, over
from support.exchanges import Exchanges
from support.inprocess import Backend
from support.kernel import cpu_seconds, descriptors, memory, wait_until
from support.raw import get_request

from attacks.target import Target, target

HOST = b"Host: a.example\r\n"
MIB = 1 << 20
#: The default of --h2-stream-window.
WINDOW = 256 << 10


class Crowd(contextlib.ExitStack):
    """Clients that each hold a connection, or over HTTP/2 a stream of one connection."""

    def __init__(self, hostile: Target) -> None:
        super().__init__()
        self.hostile = hostile
        self.shared: Exchanges | None = None
        self.before = 0

    def join(self, path: str | None = None) -> Any:
        """Somebody new, who asks for `path`."""
        if not self.hostile.backend.http2:
            client: Any = self.enter_context(self.hostile.connect())
        else:
            if self.shared is None:
                self.shared = self.enter_context(self.hostile.connect())
            client = Exchanges(self.shared.http2)
        if path is not None:
            client.request(path)
        return client

    def mark(self) -> None:
        """From now on `wait_accepted` counts who joins and who leaves."""
        self.before = descriptors(self.hostile.worker)

    def wait_accepted(self, count: int) -> None:
        """So many more than at the mark are known to the server."""
        if self.shared is not None:
            self.shared.wait_accepted()
        else:
            wanted = self.before + count
            wait_until(lambda: descriptors(self.hostile.worker) == wanted, f"{count} are accepted")


def is_refused(connection: Any) -> None:
    response = connection.refusal()
    assert response.status == 503, response
    assert (response.get(b"retry-after") or b"").isdigit()


PLACES = ("--limit-concurrency", "2", "--limit-queue", "2")


def holders(crowd: Crowd, name: str = "full", count: int = 2) -> list[Any]:
    """Takes all places, and returns when they are taken: the log of the application's side tells."""
    mark = crowd.hostile.server.mark()
    found = [crowd.join(f"/announce/{name}") for _ in range(count)]
    for at in range(count):
        crowd.hostile.server.wait_for_log(rf"^in place {name} {at}$", since=mark)
    return found


@over(TCP[0], UNIX, TLS, HTTP2)
def test_concurrency_queue_and_refusal(backend: Backend) -> None:
    """Two run, two wait, the fifth is refused at once; those that wait are served in their order."""
    with target(*PLACES, backend=backend) as hostile, Crowd(hostile) as crowd:
        idle = [crowd.join() for _ in range(20)]
        running = holders(crowd)
        mark = hostile.server.mark()
        waiting = [crowd.join(f"/queued/{at}") for at in range(2)]
        # Whichever of the three comes last is refused: connections may be accepted in any order.
        late = [crowd.join("/queued/late") for _ in range(3)]
        for connection in late:
            is_refused(connection)
        hostile.server.wait_for_log("503, .*limit_concurrency", since=mark)
        running[0].leave()
        assert waiting[0].response().status == 200
        assert waiting[1].response().status == 200
        assert idle[0].get("/ignore").status == 200


@over(TCP[0], HTTP2)
def test_queue_of_none_refuses_at_once(backend: Backend) -> None:
    options = ("--limit-concurrency", "1", "--limit-queue", "0")
    with target(*options, backend=backend) as hostile, Crowd(hostile) as crowd:
        (running,) = holders(crowd, count=1)
        is_refused(crowd.join("/ignore"))
        running.leave()
        wait_until(lambda: hostile.get("/ignore").status == 200, "the place is free again")


@over(TCP[0], TLS, HTTP2)
def test_queue_deadline(backend: Backend) -> None:
    options = ("--limit-concurrency", "1", "--limit-queue", "10", "--timeout-queue", "0.3")
    with target(*options, backend=backend) as hostile, Crowd(hostile) as crowd:
        (running,) = holders(crowd, count=1)
        mark = hostile.server.mark()
        waiting = [crowd.join("/ignore") for _ in range(3)]
        for connection in waiting:
            is_refused(connection)
        hostile.server.wait_for_log("503, .*timeout_queue", since=mark)
        running.leave()
        wait_until(lambda: hostile.get("/ignore").status == 200, "the place is free again")


@over(TCP[0], HTTP2)
def test_those_who_leave_the_queue_give_their_place_up(backend: Backend) -> None:
    with target(*PLACES, "--timeout-queue", "20", backend=backend) as hostile, Crowd(hostile) as crowd:
        running = holders(crowd)
        crowd.mark()
        for _ in range(3):
            leaving = [crowd.join("/left") for _ in range(2)]
            crowd.wait_accepted(2)
            for connection in leaving:
                connection.leave()
            crowd.wait_accepted(0)
        staying = crowd.join("/queued/staying")
        running[0].leave()
        assert staying.response().status == 200
        assert "/left" not in [record["path"] for record in hostile.seen()]


@over(TCP[0], HTTP2)
def test_those_who_were_refused_by_the_deadline_give_their_place_up(backend: Backend) -> None:
    options = ("--limit-concurrency", "1", "--limit-queue", "2", "--timeout-queue", "0.3")
    with target(*options, backend=backend) as hostile, Crowd(hostile) as crowd:
        (running,) = holders(crowd, count=1)
        for _ in range(3):
            started = time.monotonic()
            for connection in [crowd.join("/late") for _ in range(2)]:
                is_refused(connection)
            assert time.monotonic() - started > 0.2, "refused for want of a place in the queue, not by the deadline"
        running.leave()


@over(TCP[0], HTTP2)
def test_a_queued_request_that_comes_to_nothing_does_not_strand_the_next(backend: Backend) -> None:
    """The one whose turn it is gets 413; the place is free, so the one behind it must not wait for another event."""
    options = ("--limit-concurrency", "1", "--limit-queue", "5", "--limit-body-size", "10", "--timeout-queue", "8")
    with target(*options, backend=backend) as hostile, Crowd(hostile) as crowd:
        (running,) = holders(crowd, count=1)
        crowd.mark()
        too_large = crowd.join()
        too_large.begin("/x", 100)
        crowd.wait_accepted(1)
        behind = crowd.join("/queued/behind")
        crowd.wait_accepted(2)
        running.leave()
        started = time.monotonic()
        assert too_large.response().status == 413
        assert behind.response().status == 200
        assert time.monotonic() - started < 5, "it was served only when something else happened"


@over(TCP[0], TLS, HTTP2)
def test_27_huge_bodies_and_a_slow_application(backend: Backend) -> None:
    """Many clients send as much as the server takes of a gigabyte each, to an application that does not read."""
    count = 30 if backend.http2 else 100
    with (
        target("--limit-concurrency", "off", backend=backend) as hostile,
        contextlib.ExitStack() as stack,
    ):
        hostile.get("/ignore")
        before = memory(hostile.worker)
        clients = [stack.enter_context(hostile.connect()) for _ in range(count)]
        for client in clients:
            client.begin("/forever/slow", 1 << 30)
        piece = b"x" * 65536
        sent = sum(client.stuff(piece, 200) for _ in range(2) for client in clients)
        hostile.wait_for_count("forever", count)
        # The engine's own bound: 64 KiB of body and one read of 128 KiB per connection, over HTTP/2 the window of a
        # stream; the rest is the kernel's.
        each = WINDOW + 128 * 1024 if backend.http2 else 3 * 65536
        assert memory(hostile.worker) - before < count * each + 8 * MIB, f"{sent} bytes were taken"
        started = time.monotonic()
        assert hostile.get("/ignore").status == 200
        assert time.monotonic() - started < 2


def test_27_chunks_of_one_byte_and_a_slow_application() -> None:
    """Six bytes of frame for one of content: what is kept is the content."""
    with target() as hostile, Crowd(hostile) as crowd:
        before = memory(hostile.worker)
        head = b"POST /forever/slow HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        for _ in range(20):
            client = crowd.join()
            client.send(head)
            client.stuff(b"1\r\nx\r\n" * 10_000, 200)
        hostile.wait_for_count("forever", 20)
        assert memory(hostile.worker) - before < 20 * (4 * 65536) + 8 * MIB


def test_27_pipelined_requests_whose_answers_nobody_reads() -> None:
    """Forty bytes ask for a hundred kilobytes: requests wait while earlier answers do."""
    with target() as hostile, contextlib.ExitStack() as stack:
        before = memory(hostile.worker)
        clients = [stack.enter_context(hostile.connect(receive_buffer=8192)) for _ in range(5)]
        for client in clients:
            client.send(get_request("/large/100000") * 1000)
        # Each may have what the kernel takes, and one answer on top.
        wait_until(lambda: hostile.get("/ignore").status == 200, "others are served")
        assert memory(hostile.worker) - before < 16 * MIB
        for _ in range(1000):
            assert len(clients[0].response().body) == 100_000


def test_27_pipelined_requests_behind_a_slow_one() -> None:
    """What waits behind a request that runs is bounded, the rest stays at the sender."""
    with target() as hostile, Crowd(hostile) as crowd:
        before = memory(hostile.worker)
        for _ in range(20):
            client = crowd.join("/forever/slow")
            client.stuff(get_request("/ignore") * 1000, 1000)
        hostile.wait_for_count("forever", 20)
        assert memory(hostile.worker) - before < 20 * (3 * 65536) + 8 * MIB


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_26_no_descriptors_left(loop: str) -> None:
    """`accept` fails with EMFILE: no spinning, one line in the log, and all is well when descriptors are free again."""
    with target(loop=loop, prefix=("prlimit", "--nofile=128:128")) as hostile, Crowd(hostile) as crowd:
        mark = hostile.server.mark()
        base = descriptors(hostile.worker)
        clients = [crowd.join("/ignore") for _ in range(160)]
        hostile.server.wait_for_log("cannot accept connections: .*ulimit -n", since=mark)
        served = clients[0]
        assert served.response().status == 200
        before = cpu_seconds(hostile.worker)
        started = time.monotonic()
        while time.monotonic() - started < 1.0:
            assert served.get("/ignore").status == 200, "those who have a connection are served"
            time.sleep(0.05)
        assert cpu_seconds(hostile.worker) - before < 0.4
        for client in clients:
            client.close()
        wait_until(lambda: descriptors(hostile.worker) < base + 10, "the descriptors are free")
        assert hostile.is_serving()
        complaints = [line for line in hostile.server.log_since(mark) if "cannot accept" in line]
        assert len(complaints) == 1, complaints


@over(TCP[0], TLS)
def test_one_who_floods_does_not_keep_the_others_waiting(backend: Backend) -> None:
    """A client that always has a next request ready gets its share, not the server."""
    with target(backend=backend) as hostile, Crowd(hostile) as crowd:
        flood, honest = crowd.join(), crowd.join()
        slowest = 0.0
        for _ in range(20):
            flood.stuff(get_request("/odd/body-bytes") * 500, 10)
            flood.socket.settimeout(0)
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                while flood.socket.recv(1 << 18):
                    pass
            started = time.monotonic()
            assert honest.get("/ignore").status == 200
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < 2.0
