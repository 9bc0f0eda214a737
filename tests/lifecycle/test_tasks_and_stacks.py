"""`swell tasks` and `swell dump` on a real instance: what waits, for whom, and where it hangs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.kernel import wait_until

from lifecycle.asking import Told, told


@pytest.fixture(scope="module")
def server() -> Iterator[Told]:
    with told("--request-id", "make") as running:
        yield running


@contextmanager
def asked(server: Told, path: str) -> Iterator[socket.socket]:
    """A request that is sent and not waited for."""
    with socket.create_connection(server.address, timeout=20) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client


def tree_of(document: dict[str, Any], path: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The task of a request and those below it."""
    request = next(task for task in document["tasks"] if task["request"] and task["request"]["path"] == path)
    return request, [task for task in document["tasks"] if request["id"] in task["awaited_by"]]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tasks_stand_below_who_waits_for_them(loop: str) -> None:
    wanted = {"/gather": 2, "/group": 2, "/wait_for": 1, "/shield": 1, "/anyio": 1, "/await": 1}
    with told("--request-id", "make", loop=loop) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(asked(server, path)) for path in wanted]
        found: dict[str, Any] = {}

        def waiting() -> bool:
            found.update(json.loads(server.command("tasks", "--json")))
            requests = [task["request"]["path"] for task in found["tasks"] if task["request"]]
            leaves = [task for task in found["tasks"] if task["stack"][-1]["file"].endswith("locks.py")]
            return sorted(requests) == sorted(wanted) and len(leaves) >= sum(wanted.values())

        wait_until(waiting, "all requests wait", 20)
        assert found["answered"]
        for path, count in wanted.items():
            request, below = tree_of(found, path)
            assert len(below) == count, path
            assert request["state"] == "waiting"
            assert request["request"]["method"] == "GET"
            assert len(request["request"]["id"]) == 36
            assert request["age"] > 0
            assert request["stack"][0]["function"] == "app"
            assert all("await released.wait()" in [frame["code"] for frame in task["stack"]] for task in below)
        text = server.command("tasks")
        assert text.count("released.wait()") == sum(wanted.values())
        assert "├─ first of the group waiting: leaf" in text
        server.get("/release")
        for client in clients:
            assert client.recv(15) == b"HTTP/1.1 200 OK"


def test_a_blocked_loop_is_seen_in_its_stack(server: Told) -> None:
    with asked(server, "/sleep/12") as client:
        server.wait_in("GET /sleep/12")
        document = json.loads(server.command("dump", "--json"))
        assert document["answered"]
        loop = document["threads"][0]
        assert loop["name"] == "event loop"
        assert loop["request"]["path"] == "/sleep/12"
        assert loop["stack"][-1]["code"].startswith("time.sleep(float(rest[0]))")
        assert loop["thread_id"] == document["pid"]
        assert document["native"][0]["thread_id"] == document["pid"]
        tasks = json.loads(server.command("tasks", "--json"))
        assert not tasks["answered"]
        request, _ = tree_of(tasks, "/sleep/12")
        assert (request["state"], request["stack"][-1]["function"]) == ("running", "app")
        assert request["age"] > 0
        assert "serves GET /sleep/12" in server.command("dump")
        client.recv(30)


def test_native_code_that_keeps_the_gil_is_seen_from_below(server: Told) -> None:
    with asked(server, "/native/30"):
        server.wait_in("GET /native/30")
        # The signal ends usleep(3), and so the block: one look only.
        document = json.loads(server.command("dump", "--json"))
        assert not document["answered"]
        assert 'told.py", line' in document["raw"]


def test_a_stopped_process_says_so(server: Told) -> None:
    worker = json.loads(server.command("status", "--json"))["workers"][0]
    os.kill(worker["pid"], signal.SIGSTOP)
    try:
        assert "does not answer" in server.command("tasks", code=1)
        text = server.command("dump", str(worker["id"]), code=1)
        assert "its process is stopped" in text
        assert "is stopped" in text.rpartition("as the kernel has them")[2]
    finally:
        os.kill(worker["pid"], signal.SIGCONT)


def test_a_worker_has_to_be_there(server: Told) -> None:
    assert "there is no worker 77: there are " in server.command("dump", "77", code=1)
    assert "a worker is a number" in server.command("tasks", "first", code=2)
