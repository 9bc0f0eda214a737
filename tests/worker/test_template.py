"""How workers come to be: forks of a process that has imported the application, or fresh interpreters. Real processes.

The application notes where it is imported. What an import does that forks could not share is found, and the log names
the choice and its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.server import ServerProcess, serving

WORKERS = 2
FORKED = r"INFO: workers are forked from a process that has imported the application"
FRESH = r"INFO: .*each worker gets a fresh interpreter"

SOURCE = """\
import os

with open(os.path.join(os.path.dirname(__file__), "imports"), "a") as file:
    file.write(f"{os.getpid()}\\n")


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


"""
THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
SOCKET = "import socket\nHELD = socket.socketpair()\n"


class Started:
    """A server whose workers are all ready."""

    def __init__(self, server: ServerProcess, directory: Path) -> None:
        self.log = server.log
        self.imports = [int(line) for line in (directory / "imports").read_text().split()]
        self.workers = [int(pid) for pid in re.findall(r"worker \d+ \(pid (\d+)\) is ready", self.log)]
        assert len(self.workers) == WORKERS


@contextmanager
def started(directory: Path, doing: str, *options: str) -> Iterator[Started]:
    (directory / "main.py").write_text(SOURCE + doing)
    with serving("main:app", "--workers", str(WORKERS), *options, directory=directory) as server:
        server.wait_for_log(rf"worker {WORKERS} \(pid \d+\) is ready", 30.0)
        yield Started(server, directory)


def test_workers_are_forks_of_one_import(tmp_path: Path) -> None:
    with started(tmp_path, "") as found:
        assert len(found.imports) == 1
        assert found.imports[0] not in found.workers
        assert re.search(FORKED + r" in \d\.\d+ s: it started no threads and opened no connections$", found.log, re.M)
        assert not re.search(FRESH, found.log)


@pytest.mark.parametrize(
    ("doing", "why"),
    [
        (THREAD, "started 1 thread"),
        (SOCKET, "opened a socket"),
        ("import select\nHELD = select.epoll()\n", "opened an event loop or its like"),
        ("import signal\nsignal.signal(signal.SIGCHLD, lambda *_: None)\n", "handles SIGCHLD"),
    ],
    ids=["threads", "sockets", "epoll", "SIGCHLD"],
)
def test_an_import_that_forks_could_not_share_means_fresh_interpreters(tmp_path: Path, doing: str, why: str) -> None:
    with started(tmp_path, doing) as found:
        assert set(found.workers) < set(found.imports)
        assert len(found.imports) == WORKERS + 1, "and the one in which it was found out"
        assert re.search(rf"INFO: the import of the application {why}: each worker gets a fresh interpreter", found.log)
        assert not re.search(FORKED, found.log)


def test_whoever_asks_for_forks_gets_them(tmp_path: Path) -> None:
    with started(tmp_path, SOCKET, "--spawn", "fork") as found:
        assert len(found.imports) == 1
        assert re.search(FORKED + r" in \d\.\d+ s: --spawn fork$", found.log, re.M)


def test_whoever_asks_for_fresh_interpreters_gets_them(tmp_path: Path) -> None:
    with started(tmp_path, "", "--spawn", "fresh") as found:
        assert sorted(found.imports) == sorted(found.workers)
        assert re.search(FRESH + r": --spawn fresh$", found.log, re.M)
