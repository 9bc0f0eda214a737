"""Long-lived connections over four workers: the busiest has at most a quarter more than the idlest."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.kernel import wait_until
from support.server import ServerProcess, serving

from lifecycle.running import SERVED
from swell._core import Scoreboard

pytestmark = pytest.mark.alone  # a worker that gets no CPU is a slow one, and rightly gets fewer connections

WORKERS = 4
RATIO = 1.25

Connect = Callable[[], socket.socket]


@pytest.fixture(params=["tcp", "unix"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ServerProcess, Connect]]:
    """A server of four workers, and how to connect to it."""
    path = str(tmp_path / "s.sock")
    listen = ("--port", "0") if request.param == "tcp" else ("--uds", path)
    name = f"balance-{request.param}"
    with serving("subject:app", "--workers", str(WORKERS), "--name", name, directory=SERVED, listen=listen) as server:
        board = Scoreboard(str(Path(os.environ["SWELL_RUNTIME_DIR"], name, "scoreboard")))
        wait_until(
            lambda: sum(board.read(slot)["state"] == "ready" for slot in range(board.slots)) == WORKERS,
            "all workers take connections",
        )

        def connect() -> socket.socket:
            if request.param == "tcp":
                return socket.create_connection(server.address, 20)
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(20)
            client.connect(path)
            return client

        yield server, connect


def connections(name: str) -> list[int]:
    """Open connections by worker, as `swell status` tells them."""
    command = [sys.executable, "-m", "swell", "status", "--json", "--name", name]
    document = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=20).stdout)
    return [worker["connections"] for worker in document["workers"] if worker["state"] == "ready"]


def ask(client: socket.socket) -> None:
    client.sendall(b"GET /answer/1 HTTP/1.1\r\nHost: test\r\n\r\n")
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        assert piece, data
        data += piece


def assert_balanced(name: str, total: int) -> None:
    wait_until(lambda: sum(connections(name)) == total, f"all of {total} connections are counted")
    found = connections(name)
    assert len(found) == WORKERS
    assert max(found) <= RATIO * min(found), found


def test_one_by_one(served: tuple[ServerProcess, Connect], request: pytest.FixtureRequest) -> None:
    _, connect = served
    with ExitStack() as stack:
        for _ in range(64):
            ask(stack.enter_context(connect()))
        assert_balanced(f"balance-{request.node.callspec.params['served']}", 64)


def test_a_thousand_at_once(served: tuple[ServerProcess, Connect], request: pytest.FixtureRequest) -> None:
    _, connect = served
    with ExitStack() as stack:
        clients = [stack.enter_context(connect()) for _ in range(1000)]
        for client in clients:
            client.sendall(b"GET /answer/1 HTTP/1.1\r\nHost: test\r\n\r\n")
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 ")
        assert_balanced(f"balance-{request.node.callspec.params['served']}", 1000)
