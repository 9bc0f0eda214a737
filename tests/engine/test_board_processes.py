"""The scoreboard between processes: a worker is busy, blocked or killed, and its slot still tells.

The worker is a process of its own: `Server` on stock asyncio, its engine on slot 1 of the board. What its requests do
is in their targets.
"""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.kernel import cpu_seconds, memory, wait_until
from support.raw import Closed, connected

from swell._core import Scoreboard

WORKER = """
import asyncio, ctypes, os, socket, sys, time
from swell import Config, Server
from swell._core import Engine, Scoreboard
from swell.worker import server as worker

board = Scoreboard(sys.argv[1])
worker.Engine = lambda *given, **more: Engine(*given, board=board, slot=1, **more)

async def app(scope, receive, send):
    what, _, seconds = scope["path"][1:].partition("/")
    if what == "sleep":
        time.sleep(float(seconds))
    elif what == "spin":
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            pass
    elif what == "hold":
        ctypes.PyDLL(None).sleep(int(seconds))  # a C call that keeps the GIL
    elif what == "await":
        await asyncio.sleep(float(seconds))
    elif what == "fork":
        await asyncio.sleep(0)
        child = os.fork()
        if child == 0:
            server.engine.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

listener = socket.socket(fileno=int(sys.argv[2]))
server = Server(Config.make(app, lifespan="off", access_log=False))
asyncio.run(server.serve([listener], handle_signals=True))
"""
LIMIT = 20.0  # seconds, for any wait


class Worker:
    """One worker process on slot 1 of the board."""

    def __init__(self, board: Scoreboard, process: subprocess.Popen[bytes], address: tuple[str, int]) -> None:
        self.board = board
        self.process = process
        self.address = address

    def read(self) -> dict[str, Any]:
        return self.board.read(1)

    def begin(self, target: str) -> socket.socket:
        """Sends a request and does not wait for its answer."""
        connection = socket.create_connection(self.address, timeout=LIMIT)
        connection.sendall(f"GET {target} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
        return connection

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)


@contextmanager
def running(board: Scoreboard, directory: Path) -> Iterator[Worker]:
    script = directory / "worker.py"
    script.write_text(WORKER)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        command = [sys.executable, str(script), board.path, str(listener.fileno())]
        with subprocess.Popen(command, pass_fds=[listener.fileno()]) as process:
            worker = Worker(board, process, listener.getsockname())
            try:
                wait_until(lambda: worker.read()["pid"] == process.pid, "the engine is on the board", LIMIT)
                yield worker
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(LIMIT) == 0
            finally:
                process.kill()


@pytest.fixture
def board(tmp_path: Path) -> Scoreboard:
    board = Scoreboard.create(tmp_path / "board", 2)
    board.reset(1, 7, 1)
    return board


@pytest.fixture
def worker(board: Scoreboard, tmp_path: Path) -> Iterator[Worker]:
    with running(board, tmp_path) as worker:
        yield worker


def test_a_blocked_loop_is_seen_and_its_request_named(worker: Worker) -> None:
    with worker.begin("/sleep/1.5") as client:
        wait_until(lambda: worker.read()["current"] is not None, "the request runs")
        first = worker.read()
        assert first["current"]["line"] == "GET /sleep/1.5"
        wait_until(lambda: time.monotonic_ns() - first["heartbeat_ns"] > 1.2e9, "the heartbeat is older than any beat")
        said = worker.read()
        assert said["heartbeat_ns"] == first["heartbeat_ns"]
        assert said["turns"] == first["turns"]
        assert said["current"] == first["current"]
        assert said["in_flight"] == 1
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    wait_until(lambda: worker.read()["heartbeat_ns"] > first["heartbeat_ns"], "the loop is free again")
    assert worker.read()["current"] is None


def share(worker: Worker, looks: int) -> float:
    """How many of the next so many looks, or some more, found the loop busy."""
    before = worker.read()
    wait_until(lambda: worker.read()["samples"] >= before["samples"] + looks, f"{looks} more samples", LIMIT)
    after = worker.read()
    return float(after["busy_samples"] - before["busy_samples"]) / float(after["samples"] - before["samples"])


@pytest.mark.parametrize("target", ["/sleep/30", "/spin/30", "/hold/30"])
def test_a_loop_that_cannot_run_others_is_busy(worker: Worker, target: str) -> None:
    with worker.begin(target):
        wait_until(lambda: worker.read()["current"] is not None, "the request runs")
        # Found by one look of an idle second, then at 20 a second.
        wait_until(lambda: worker.read()["busy_samples"] >= 2, "it is seen")
        begin = time.monotonic()
        assert share(worker, 10) == 1.0
        assert time.monotonic() - begin < 10
        worker.kill()


def test_processor_time_and_memory_are_the_processs(worker: Worker) -> None:
    with worker.begin("/spin/30"):
        wait_until(lambda: worker.read()["cpu_ns"] >= 1.5e9, "it has worked", LIMIT)
        said = worker.read()
        assert said["cpu_ns"] / 1e9 <= cpu_seconds(worker.process.pid) + 0.05
        assert said["rss_bytes"] == pytest.approx(memory(worker.process.pid), rel=0.1)
        worker.kill()


def test_an_idle_loop_and_one_that_awaits_are_not_busy(worker: Worker) -> None:
    with worker.begin("/await/30"):
        wait_until(lambda: worker.read()["waiting"] != [], "the request waits")
        assert [entry["line"] for entry in worker.read()["waiting"]] == ["GET /await/30"]
        wait_until(lambda: worker.read()["samples"] >= 1, "a first look")
        assert share(worker, 3) < 0.5
        worker.kill()


def load(worker: Worker, targets: list[str], until: threading.Event, answers: list[int]) -> None:
    """Requests on one connection until told to end, or the worker is gone."""
    try:
        with connected(worker.address) as client:
            at = 0
            while not until.is_set():
                client.send(f"GET {targets[at % len(targets)]} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
                assert client.response().status == 200
                answers.append(1)
                at += 1
    except (Closed, OSError):
        if not until.is_set():
            raise


@contextmanager
def loaded(worker: Worker, targets: list[str], clients: int = 3) -> Iterator[list[int]]:
    until, answers = threading.Event(), list[int]()
    threads = [threading.Thread(target=load, args=(worker, targets, until, answers)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        until.set()
        for thread in threads:
            thread.join(LIMIT)


# Lines of one letter each, so that half of one and half of another is seen.
LETTERS = ["/" + letter * length for letter, length in zip("abcdefgh", (1, 7, 30, 90, 150, 200, 219, 227), strict=True)]


def whole(line: str) -> bool:
    return line.startswith("GET /") and line[4:] in LETTERS


def test_another_process_reads_while_the_worker_writes(worker: Worker) -> None:
    named, requests, reads = set[str](), 0, 0

    def look() -> bool:
        nonlocal requests, reads
        said = worker.read()
        if said["current"] is not None:
            assert whole(said["current"]["line"]), said["current"]
            named.add(said["current"]["line"])
        assert all(whole(entry["line"]) for entry in said["waiting"])
        assert requests <= said["requests"]
        assert said["in_flight"] <= 3
        requests = said["requests"]
        reads += 1
        return reads >= 20_000 and len(named) == len(LETTERS)

    with loaded(worker, LETTERS) as answers:
        end = time.monotonic() + 45
        while not look():
            assert time.monotonic() < end, (reads, named)
    wait_until(lambda: worker.read()["connections"] == 0, "all clients have left")
    said = worker.read()
    assert (
        said["requests"] == said["responses_2xx"] == sum(said["latency"]) == sum(said["dispatch_delay"]) == len(answers)
    )


def test_a_worker_killed_in_the_middle_leaves_a_readable_slot(board: Scoreboard, tmp_path: Path) -> None:
    for attempt in range(5):
        board.reset(1, attempt, 1)
        with running(board, tmp_path) as worker:
            board.set_state(1, "ready")
            until, answers = threading.Event(), list[int]()
            threads = [threading.Thread(target=load, args=(worker, LETTERS, until, answers)) for _ in range(3)]
            for thread in threads:
                thread.start()
            wait_until(lambda: worker.read()["requests"] > 500, "it works")
            until.set()
            worker.kill()
            for thread in threads:
                thread.join(LIMIT)
            begin = time.monotonic()
            said = Scoreboard(board.path).read(1)
            assert time.monotonic() - begin < 1
            assert (said["worker"], said["state"], said["pid"]) == (attempt, "ready", worker.process.pid)
            assert said["current"] is None or whole(said["current"]["line"])
            assert said["waiting"] == []
            # Each request that was begun was answered, but for the one that each client may have had open.
            assert len(answers) - 3 <= said["requests"] <= len(answers) + 3
            assert said["in_flight"] <= 1
            assert said == board.read(1)
    board.reset(1, 99, 2)
    said = board.read(1)
    assert (said["worker"], said["generation"], said["state"], said["requests"]) == (99, 2, "empty", 0)
    assert (said["current"], said["waiting"], sum(said["latency"])) == (None, [], 0)


def test_a_fork_that_closes_the_engine_leaves_its_parents_slot_alone(worker: Worker) -> None:
    with worker.begin("/await/30"):
        wait_until(lambda: worker.read()["waiting"] != [], "the request waits")
        with worker.begin("/fork") as client:
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            wait_until(lambda: worker.read()["in_flight"] == 1, "the forking request is over")
            said = worker.read()
        assert (said["connections"], said["requests"]) == (2, 2)
        assert said["pid"] == worker.process.pid
        assert [entry["line"] for entry in said["waiting"]] == ["GET /await/30"]
        # The parent's sampler goes on.
        share(worker, 2)
        worker.kill()
