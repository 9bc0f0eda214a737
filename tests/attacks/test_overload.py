"""More than the server can take: places, queue, buffers, descriptors. Everything is bounded and nobody is forgotten."""

from __future__ import annotations

import contextlib
import time

import pytest
from support.kernel import cpu_seconds, descriptors, memory, wait_until
from support.raw import Connection

from attacks.target import Target, exchange, target

HOST = b"Host: a.example\r\n"
MIB = 1 << 20


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()


def post(path: str, size: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {size}\r\n\r\n".encode()


class Crowd(contextlib.ExitStack):
    """Clients that each hold a connection."""

    def __init__(self, hostile: Target) -> None:
        super().__init__()
        self.hostile = hostile

    def join(self, data: bytes, **options: int) -> Connection:
        connection: Connection = self.enter_context(self.hostile.connect(**options))
        connection.send(data)
        return connection


def is_refused(connection: Connection) -> None:
    response = connection.response()
    assert (response.status, response.closes) == (503, True), response
    assert (response.get(b"retry-after") or b"").isdigit()
    connection.wait_closed()


PLACES = ("--limit-concurrency", "2", "--limit-queue", "2")


def holders(crowd: Crowd, name: str = "full", count: int = 2) -> list[Connection]:
    """Takes all places, and returns when they are taken: the log of the application's side tells."""
    mark = crowd.hostile.server.mark()
    found = [crowd.join(get(f"/announce/{name}")) for _ in range(count)]
    for at in range(count):
        crowd.hostile.server.wait_for_log(rf"^in place {name} {at}$", since=mark)
    return found


def test_concurrency_queue_and_refusal() -> None:
    """Two run, two wait, the fifth is refused at once; those that wait are served in their order."""
    with target(*PLACES) as hostile, Crowd(hostile) as crowd:
        idle = [crowd.join(b"") for _ in range(20)]
        running = holders(crowd)
        mark = hostile.server.mark()
        waiting = [crowd.join(get(f"/queued/{at}")) for at in range(2)]
        # Whichever of the three comes last is refused: connections may be accepted in any order.
        late = [crowd.join(get("/queued/late")) for _ in range(3)]
        for connection in late:
            is_refused(connection)
        hostile.server.wait_for_log("503, .*limit_concurrency", since=mark)
        running[0].close()
        assert waiting[0].response().status == 200
        assert waiting[1].response().status == 200
        assert exchange(idle[0], get("/ignore")).status == 200


def test_queue_of_none_refuses_at_once() -> None:
    with target("--limit-concurrency", "1", "--limit-queue", "0") as hostile, Crowd(hostile) as crowd:
        (running,) = holders(crowd, count=1)
        is_refused(crowd.join(get("/ignore")))
        running.close()
        wait_until(lambda: hostile.get("/ignore").status == 200, "the place is free again")


def test_queue_deadline() -> None:
    options = ("--limit-concurrency", "1", "--limit-queue", "10", "--timeout-queue", "0.3")
    with target(*options) as hostile, Crowd(hostile) as crowd:
        (running,) = holders(crowd, count=1)
        mark = hostile.server.mark()
        waiting = [crowd.join(get("/ignore")) for _ in range(3)]
        for connection in waiting:
            is_refused(connection)
        hostile.server.wait_for_log("503, .*timeout_queue", since=mark)
        running.close()
        wait_until(lambda: hostile.get("/ignore").status == 200, "the place is free again")


def test_those_who_leave_the_queue_give_their_place_up() -> None:
    with target(*PLACES, "--timeout-queue", "20") as hostile, Crowd(hostile) as crowd:
        running = holders(crowd)
        base = descriptors(hostile.worker)
        for _ in range(3):
            leaving = [crowd.join(get("/left")) for _ in range(2)]
            wait_until(lambda: descriptors(hostile.worker) == base + 2, "they are accepted")
            for connection in leaving:
                connection.reset()
            wait_until(lambda: descriptors(hostile.worker) == base, "they are gone")
        staying = crowd.join(get("/queued/staying"))
        running[0].close()
        assert staying.response().status == 200
        assert "/left" not in [record["path"] for record in hostile.seen()]


def test_those_who_were_refused_by_the_deadline_give_their_place_up() -> None:
    options = ("--limit-concurrency", "1", "--limit-queue", "2", "--timeout-queue", "0.3")
    with target(*options) as hostile, Crowd(hostile) as crowd:
        (running,) = holders(crowd, count=1)
        for _ in range(3):
            started = time.monotonic()
            for connection in [crowd.join(get("/late")) for _ in range(2)]:
                is_refused(connection)
            assert time.monotonic() - started > 0.2, "refused for want of a place in the queue, not by the deadline"
        running.close()


def test_a_queued_request_that_comes_to_nothing_does_not_strand_the_next() -> None:
    """The one whose turn it is gets 413; the place is free, so the one behind it must not wait for another event."""
    options = ("--limit-concurrency", "1", "--limit-queue", "5", "--limit-body-size", "10", "--timeout-queue", "8")
    with target(*options) as hostile, Crowd(hostile) as crowd:
        (running,) = holders(crowd, count=1)
        base = descriptors(hostile.worker)
        too_large = crowd.join(post("/x", 100))
        wait_until(lambda: descriptors(hostile.worker) == base + 1, "the first is in the queue")
        behind = crowd.join(get("/queued/behind"))
        wait_until(lambda: descriptors(hostile.worker) == base + 2, "the second is in the queue")
        running.close()
        started = time.monotonic()
        assert too_large.response().status == 413
        assert behind.response().status == 200
        assert time.monotonic() - started < 5, "it was served only when something else happened"


def test_27_huge_bodies_and_a_slow_application() -> None:
    """A hundred clients send as much as the server takes of a gigabyte each, to an application that does not read."""
    with target("--limit-concurrency", "off") as hostile, Crowd(hostile) as crowd:
        hostile.get("/ignore")
        before = memory(hostile.worker)
        clients = [crowd.join(post("/forever/slow", 1 << 30)) for _ in range(100)]
        piece = b"x" * 65536
        sent = 0
        for client in clients:
            client.socket.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                for _ in range(200):
                    sent += client.socket.send(piece)
        for client in clients:
            with contextlib.suppress(BlockingIOError):
                for _ in range(200):
                    sent += client.socket.send(piece)
        hostile.wait_for_count("forever", 100)
        # The engine's own bound: 64 KiB of body and one read of 128 KiB per connection; the rest is the kernel's.
        assert memory(hostile.worker) - before < 100 * (3 * 65536) + 8 * MIB, f"{sent} bytes were taken"
        started = time.monotonic()
        assert hostile.get("/ignore").status == 200
        assert time.monotonic() - started < 2


def test_27_chunks_of_one_byte_and_a_slow_application() -> None:
    """Six bytes of frame for one of content: what is kept is the content."""
    with target() as hostile, Crowd(hostile) as crowd:
        before = memory(hostile.worker)
        head = b"POST /forever/slow HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        for _ in range(20):
            client = crowd.join(head)
            client.socket.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                for _ in range(200):
                    client.socket.send(b"1\r\nx\r\n" * 10_000)
        hostile.wait_for_count("forever", 20)
        assert memory(hostile.worker) - before < 20 * (4 * 65536) + 8 * MIB


def test_27_pipelined_requests_whose_answers_nobody_reads() -> None:
    """Forty bytes ask for a hundred kilobytes: requests wait while earlier answers do."""
    with target() as hostile, Crowd(hostile) as crowd:
        before = memory(hostile.worker)
        clients = [crowd.join(get("/large/100000") * 1000, receive_buffer=8192) for _ in range(5)]
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
            client = crowd.join(get("/forever/slow"))
            client.socket.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                for _ in range(1000):
                    client.socket.send(get("/ignore") * 1000)
        hostile.wait_for_count("forever", 20)
        assert memory(hostile.worker) - before < 20 * (3 * 65536) + 8 * MIB


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_26_no_descriptors_left(loop: str) -> None:
    """`accept` fails with EMFILE: no spinning, one line in the log, and all is well when descriptors are free again."""
    with target(loop=loop, prefix=("prlimit", "--nofile=128:128")) as hostile, Crowd(hostile) as crowd:
        mark = hostile.server.mark()
        base = descriptors(hostile.worker)
        clients = [crowd.join(get("/ignore")) for _ in range(160)]
        hostile.server.wait_for_log("cannot accept connections: .*ulimit -n", since=mark)
        served = clients[0]
        assert served.response().status == 200
        before = cpu_seconds(hostile.worker)
        started = time.monotonic()
        while time.monotonic() - started < 1.0:
            assert exchange(served, get("/ignore")).status == 200, "those who have a connection are served"
            time.sleep(0.05)
        assert cpu_seconds(hostile.worker) - before < 0.4
        for client in clients:
            client.close()
        wait_until(lambda: descriptors(hostile.worker) < base + 10, "the descriptors are free")
        assert hostile.is_serving()
        complaints = [line for line in hostile.server.log_since(mark) if "cannot accept" in line]
        assert len(complaints) == 1, complaints


def test_one_who_floods_does_not_keep_the_others_waiting() -> None:
    """A client that always has a next request ready gets its share, not the server."""
    with target() as hostile, Crowd(hostile) as crowd:
        flood = crowd.join(b"")
        flood.socket.settimeout(0)
        honest = crowd.join(b"")
        slowest = 0.0
        for _ in range(20):
            with contextlib.suppress(BlockingIOError):
                for _ in range(10):
                    flood.socket.send(get("/odd/body-bytes") * 500)
            with contextlib.suppress(BlockingIOError):
                while flood.socket.recv(1 << 18):
                    pass
            started = time.monotonic()
            assert exchange(honest, get("/ignore")).status == 200
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < 2.0
