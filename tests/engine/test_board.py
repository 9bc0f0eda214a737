"""The scoreboard: what an engine writes into its slot, and what others read there.

All in one process; `test_board_processes` has what needs several, `test_board_file` the file itself.
"""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.apps import answer, body, read_body, start
from support.inprocess import App, Backend, InProcess, Receive, Scope, Send, serving, wait_until

from swell._core import Engine, Scoreboard
from swell.worker import server as worker

HEAD = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"
UPGRADE = [
    (b"connection", b"upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
]
BACKEND = Backend("asyncio")


@pytest.fixture
def board(tmp_path: Path) -> Scoreboard:
    return Scoreboard.create(tmp_path / "board", 4)


@pytest.fixture
def serve(board: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`serving`, with the engine on slot 2 of the board."""

    def run(app: App, scenario: Callable[[InProcess], Coroutine[Any, Any, Any]], **options: Any) -> Any:
        monkeypatch.setattr(worker, "Engine", lambda *given, **more: Engine(*given, board=board, slot=2, **more))
        return serving(options.pop("backend", BACKEND), app, scenario, **options)

    return run


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send)


def test_the_engine_counts_in_its_slot(board: Scoreboard, serve: Callable[..., Any]) -> None:
    board.reset(2, 5, 1)
    board.note(2, pool_size=8)
    before = time.monotonic_ns()

    async def scenario(server: InProcess) -> None:
        said = board.read(2)
        assert said["pid"] == os.getpid()
        assert before <= said["started_ns"] <= time.monotonic_ns()
        async with server.connect() as first, server.connect() as second:
            for _ in range(3):
                await first.get("/")
            await second.get("/")
            await wait_until(lambda: board.read(2)["bytes_sent"] == server.engine.stats()["bytes_sent"])
            said = board.read(2)
            assert (said["accepted"], said["connections"], said["requests"], said["in_flight"]) == (2, 2, 4, 0)
            assert said["bytes_received"] == server.engine.stats()["bytes_received"] > 0
            assert said["turns"] > 0
            assert said["started_ns"] < said["heartbeat_ns"] <= time.monotonic_ns()
        await wait_until(lambda: board.read(2)["connections"] == 0)

    serve(plain, scenario)
    said = board.read(2)
    assert (said["worker"], said["generation"], said["pool_size"], said["requests"]) == (5, 1, 8, 4)
    assert board.read(1)["requests"] == board.read(3)["requests"] == 0


def test_an_engine_begins_from_zero(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def scenario(server: InProcess) -> None:
        assert board.read(2)["requests"] == 0
        async with server.connect() as client:
            await client.get("/")
        assert board.read(2)["requests"] == 1

    for _ in range(2):
        serve(plain, scenario)


def test_an_engine_needs_a_slot_that_exists(board: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(server: InProcess) -> None:
        raise AssertionError("it must not start")

    monkeypatch.setattr(worker, "Engine", lambda *given, **more: Engine(*given, board=board, slot=4, **more))
    with pytest.raises(IndexError, match="4 slots, there is no slot 4"):
        serving(BACKEND, plain, scenario)


def classes(said: dict[str, Any]) -> list[int]:
    return [said[f"responses_{digit}xx"] for digit in range(1, 6)]


def test_responses_are_counted_by_class(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/hint":
                await send({"type": "http.response.early_hint", "links": [b"</style.css>"]})
                await answer(send)
            case "/body":
                await answer(send, await read_body(receive))
            case "/raise":
                await send(start(200))
                raise ValueError("replaced by a 500")
            case "/stream":
                await send(start(200))
                await send(body(b"a", more=True))
                await asyncio.sleep(0)
                await send(body(b"b"))
            case path:
                await answer(send, status=int(path[1:]))

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "ValueError|exception in the ASGI application")
        server.log.expect(30, "400")
        async with server.connect() as client:
            # Of two that come together the second is dispatched when the first has been.
            await client.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: test\r\n\r\n" % status for status in (200, 201)))
            assert [(await client.response()).status for _ in range(2)] == [200, 201]
            for target in ("/304", "/404", "/503", "/600", "/hint", "/stream"):
                await client.get(target)
            await client.request("/body", "POST", [(b"expect", b"100-continue"), (b"content-length", b"2")])
            assert (await client.head()).status == 100
            await client.send(b"ok")
            assert (await client.response()).body == b"ok"
            assert (await client.get("/raise")).status == 500
        async with server.connect() as client:
            await client.send(b"nonsense\r\n\r\n")
            assert (await client.response()).status == 400
        await wait_until(lambda: board.read(2)["refused"] == 1)
        said = board.read(2)
        assert classes(said) == [2, 5, 1, 2, 2]
        assert (said["requests"], said["application_errors"], said["timed_out"]) == (10, 1, 0)
        # A refused head is no request; one with a status that has no class is.
        assert sum(said["latency"]) == sum(said["dispatch_delay"]) == 10
        assert said["latency_ns"] > said["dispatch_delay_ns"] > 0

    serve(app, scenario)


def test_a_time_out_is_counted(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "504")
        async with server.connect() as client:
            assert (await client.get("/slow")).status == 504
        await wait_until(lambda: board.read(2)["timed_out"] == 1)
        await wait_until(lambda: board.read(2)["waiting"] == [])

    serve(app, scenario, timeout_request=0.1)


def at_least(histogram: list[int], seconds: float) -> int:
    """How many took that long, by the buckets that begin there or later."""
    return sum(count for at, count in enumerate(histogram) if at and 2 ** (at - 1) >= seconds * 1e6)


def test_latency_is_that_of_the_whole_response(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await asyncio.sleep(0.15)
        await send(body())

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.get("/")
        latency = board.read(2)["latency"]
        assert (sum(latency), at_least(latency, 0.131)) == (1, 1)

    serve(app, scenario)


@pytest.mark.parametrize("backend", [BACKEND, Backend("uvloop", loop="uvloop")], ids=lambda backend: backend.name)
@pytest.mark.parametrize("fresh", [True, False], ids=["in the accept queue", "on a connection"])
def test_what_a_blocked_loop_made_wait_was_dispatched_late(
    board: Scoreboard, serve: Callable[..., Any], fresh: bool, backend: Backend
) -> None:
    ready, go, sent = threading.Event(), threading.Event(), threading.Event()

    def client(address: tuple[str, int]) -> None:
        with contextlib.ExitStack() as stack:
            if not fresh:
                connection = stack.enter_context(socket.create_connection(address))
                connection.sendall(HEAD)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            ready.set()
            assert go.wait(10)
            if fresh:
                connection = stack.enter_context(socket.create_connection(address))
            connection.sendall(HEAD)
            sent.set()
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")

    async def scenario(server: InProcess) -> None:
        thread = asyncio.create_task(asyncio.to_thread(client, server.address))
        await wait_until(ready.is_set)
        before = board.read(2)["dispatch_delay"]
        assert at_least(before, 0.131) == 0
        # From here on the loop does nothing; the thread connects and sends meanwhile.
        go.set()
        assert sent.wait(10)
        time.sleep(0.3)  # noqa: ASYNC251
        await thread
        after = board.read(2)["dispatch_delay"]
        assert (at_least(after, 0.131), sum(after)) == (1, sum(before) + 1)

    serve(plain, scenario, backend=backend)


def test_a_late_beat_is_the_loops_lag(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.get("/")
            await wait_until(lambda: sum(board.read(2)["loop_lag"]) >= 1)
            calm = at_least(board.read(2)["loop_lag"], 0.262)
            time.sleep(1.5)  # noqa: ASYNC251 - longer than between two beats: the next one is late
            await wait_until(lambda: at_least(board.read(2)["loop_lag"], 0.262) == calm + 1)

    serve(plain, scenario)


def test_the_heart_beats_while_nothing_happens(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def scenario(server: InProcess) -> None:
        seen: set[int] = set()

        def look() -> bool:
            said = board.read(2)
            seen.add(said["heartbeat_ns"])
            assert time.monotonic_ns() - said["heartbeat_ns"] < 10e9
            return len(seen) >= 4

        await wait_until(look)

    serve(plain, scenario)


class Blocking:
    """Blocks the loop for the request until a look at the board is taken from another thread."""

    def __init__(self, board: Scoreboard, look: Callable[[], Any]) -> None:
        self.board = board
        self.look = look
        self.seen: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        thread = threading.Thread(target=self._look)
        thread.start()
        thread.join()
        await answer(send)

    def _look(self) -> None:
        self.seen = self.look()


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("/blocks?why=not", "GET /blocks?why=not"),
        ("/" + "x" * 227, "GET /" + "x" * 227),
        ("/" + "x" * 228, "GET /" + "x" * 227 + "…"),
    ],
    ids=["short", "fits", "cut"],
)
def test_the_request_whose_first_step_runs_is_named(
    board: Scoreboard, serve: Callable[..., Any], target: str, line: str
) -> None:
    app = Blocking(board, lambda: Scoreboard(board.path).read(2))

    async def scenario(server: InProcess) -> None:
        begin = time.monotonic_ns()
        async with server.connect() as client:
            await client.get(target)
        said = app.seen
        assert said["current"].keys() == {"line", "since_ns"}
        assert said["current"]["line"] == line
        assert begin <= said["current"]["since_ns"] <= time.monotonic_ns()
        assert (said["in_flight"], said["requests"], said["waiting"]) == (1, 1, [])
        # The loop has not come round since this turn began, before the first step.
        assert begin <= said["heartbeat_ns"] <= said["current"]["since_ns"]
        assert board.read(2)["current"] is None
        assert board.read(2)["in_flight"] == 0

    serve(app, scenario)


def test_suspended_requests_are_named_the_oldest_first(board: Scoreboard, serve: Callable[..., Any]) -> None:
    gates: dict[str, asyncio.Event] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            return
        await gates.setdefault(scope["path"], asyncio.Event()).wait()
        await answer(send)

    def lines() -> list[str]:
        return [entry["line"] for entry in board.read(2)["waiting"]]

    async def scenario(server: InProcess) -> None:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(server.connect()) for _ in range(42)]
            peer = clients.pop()
            await peer.request("/ws", fields=UPGRADE)
            assert (await peer.head()).status == 101
            for at, client in enumerate(clients):
                await client.request(f"/{at}")
                await wait_until(lambda at=at: f"/{at}" in gates)  # type: ignore[misc]
            assert lines() == [f"GET /{at}" for at in range(32)]
            said = board.read(2)
            assert (said["in_flight"], said["websockets"], said["current"]) == (41, 1, None)
            times = [entry["since_ns"] for entry in said["waiting"]]
            assert times == sorted(times)
            # A place that becomes free is the oldest request's that has none.
            for at in (3, 20, 40):
                gates[f"/{at}"].set()
                await clients[at].response()
            await wait_until(lambda: len(lines()) == 32)
            assert lines() == [f"GET /{at}" for at in range(34) if at not in (3, 20)]
            for gate in gates.values():
                gate.set()
            await wait_until(lambda: lines() == [])
        await wait_until(lambda: board.read(2)["websockets"] == 0)
        assert (board.read(2)["in_flight"], board.read(2)["requests"]) == (0, 42)
        assert classes(board.read(2)) == [1, 41, 0, 0, 0]

    serve(app, scenario)


def test_waiting_for_a_place_is_dispatch_delay(board: Scoreboard, serve: Callable[..., Any]) -> None:
    first = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/first":
            await first.wait()
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as one, server.connect() as two:
            await one.request("/first")
            await wait_until(lambda: board.read(2)["in_flight"] == 1)
            await two.request("/second")
            await wait_until(lambda: server.engine.stats()["queued"] == 1)
            await asyncio.sleep(0.15)
            first.set()
            await one.response()
            await two.response()
        said = board.read(2)
        assert (at_least(said["dispatch_delay"], 0.131), at_least(said["latency"], 0.131)) == (1, 2)

    serve(app, scenario, limit_concurrency=1, limit_queue=1)


def test_without_eager_steps_the_dispatch_is_what_is_seen_of_the_application(
    board: Scoreboard, serve: Callable[..., Any]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/reads":
            await read_body(receive)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        assert server.engine.task_start == "scheduled"
        async with server.connect() as client:
            await client.get("/reads", "POST", body=b"x")
            await client.get("/")
        said = board.read(2)
        assert sum(said["dispatch_delay"]) == sum(said["latency"]) == said["requests"] == 2
        assert (said["waiting"], said["current"]) == ([], None)

    serve(app, scenario, eager_start=False)


def samplers() -> list[str]:
    tasks = Path("/proc/self/task")
    return [task.name for task in tasks.iterdir() if (task / "comm").read_text() == "swell sampler\n"]


def descriptors(thread: str) -> list[str]:
    held = Path(f"/proc/self/task/{thread}/fd").iterdir()
    return sorted(os.readlink(entry).rpartition("/")[2] for entry in held)


def blocked_signals(thread: str) -> int:
    lines = Path(f"/proc/self/task/{thread}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk:"))


def test_the_sampler_lives_as_long_as_the_engine_and_holds_no_descriptors(
    board: Scoreboard, serve: Callable[..., Any]
) -> None:
    async def scenario(server: InProcess) -> None:
        await wait_until(lambda: len(samplers()) == 1)  # it gives itself its name
        [thread] = samplers()
        await wait_until(lambda: descriptors(thread) == ["statm", "syscall"])
        assert blocked_signals(thread) >> (signal.SIGTERM - 1) & 1
        await wait_until(lambda: board.read(2)["rss_bytes"] > 1 << 20)
        assert board.read(2)["cpu_ns"] > 0

    assert samplers() == []
    serve(plain, scenario)
    assert samplers() == []


def test_a_closed_engine_has_nothing_open(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.request("/")
            await wait_until(lambda: board.read(2)["in_flight"] == 1)
            server.engine.abort_all()
            server.engine.cancel_all()

    serve(app, scenario)
    said = board.read(2)
    assert [said[name] for name in ("connections", "in_flight", "websockets", "current", "waiting")] == [
        0,
        0,
        0,
        None,
        [],
    ]
    assert (said["requests"], said["accepted"]) == (1, 1)
