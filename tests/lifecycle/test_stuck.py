"""Workers that get stuck, crash or grow, each in its own way: told apart in one entry of the log, put right within the
configured time, while the others serve. Real processes."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.server import ServerProcess, serving
from worker.launching import outcome

from lifecycle.running import SERVED

# Silence is noticed after 2.5 s at most; from then on the others answer everybody.
LIMIT = 4.0
# From the end of the limit to the new worker: the probe and the stacks take a second each at most.
BEYOND = 6.0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are looked at through /proc")


class Others:
    """Requests on new connections, one after the other, for as long as the block runs; each has to be answered."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._ended, self._enough = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered = 0
        self.slowest = 0.0
        self.failures: list[str] = []

    def __enter__(self) -> Others:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._enough.wait(20)
        self._ended.set()
        self._thread.join(30)
        if kind is not None:
            return
        assert not self.failures
        assert self._enough.is_set()
        # Connections that wait in a socket of the stuck worker are taken over when it is noticed.
        assert self.slowest < LIMIT + BEYOND

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            begun = time.monotonic()
            try:
                get(self._address, "/answer")
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append(repr(error))
            else:
                self.answered += 1
                if self.answered >= 20:
                    self._enough.set()
            self.slowest = max(self.slowest, time.monotonic() - begun)


def get(address: tuple[str, int], path: str) -> int:
    """The process that has answered."""
    connection = http.client.HTTPConnection(*address, timeout=15)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return int(connection.getresponse().read())


@contextmanager
def running(*options: str, **more: str) -> Iterator[ServerProcess]:
    options = ("--workers", "2", "--timeout-worker-stuck", f"{LIMIT:g}s", "--no-access-log", *options)
    with serving("stuck:app", *options, directory=SERVED, environment=more) as server:
        server.wait_for_log("worker 2 .* is ready")
        yield server


@contextmanager
def provoked(server: ServerProcess, path: str) -> Iterator[socket.socket]:
    """A request that is sent and not waited for."""
    with socket.create_connection(server.address, timeout=15) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client


def entry(server: ServerProcess, pattern: str, seconds: float = LIMIT + BEYOND) -> str:
    """The one entry of the log that matches, with the lines below it."""
    server.wait_for_log(pattern, seconds)
    server.wait_for_log("worker 3 .* is ready")  # everything before it is complete
    entries = [
        text for text in re.split(r"(?m)^(?=\d{4}-\d\d-\d\d)", server.log) if re.search(f"ERROR.*{pattern}", text)
    ]
    assert len(entries) == 1, server.log
    return entries[0]


@pytest.mark.parametrize(
    ("path", "what", "where"),
    [
        ("/spin", "its event loop is blocked by code that computes without a pause", "while True:"),
        ("/sleep", "its event loop is blocked by a call that waits and is not asynchronous", "time.sleep(60)"),
        ("/compute", "native code that computes holds the GIL and lets no Python code run", "stuck.py"),
        ("/stop", "its process is stopped, by a signal such as SIGSTOP or by a debugger", "not known"),
    ],
)
def test_a_stuck_worker_is_replaced(path: str, what: str, where: str) -> None:
    with running() as server, provoked(server, path) as client, Others(server.address):
        begun = time.monotonic()
        text = entry(server, "is stuck: ")
        assert time.monotonic() - begun < LIMIT + BEYOND
        assert what in text
        assert f"  in the request GET {path}" in text
        assert f"  it serves 1 request (GET {path})" in text
        assert re.search(r'File ".*stuck\.py", line \d+,? in app', text) or path == "/stop"
        assert where in text
        server.wait_for_log(rf"was ended by force: {what}; 1 request lost \(GET {path}\)")
        assert client.recv(1) == b""
        assert len({get(server.address, "/answer") for _ in range(50)}) == 2


def test_a_call_that_a_signal_interrupts_loses_nothing() -> None:
    """Asking for the stacks ends sleep(3). The worker is replaced all the same, but its request is answered."""
    with running() as server, provoked(server, "/native") as client, Others(server.address):
        text = entry(server, "is stuck: ")
        assert "native code that waits holds the GIL" in text
        assert "stuck.py" in text
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        server.wait_for_log(r"has ended: its event loop stood still")
        assert "lost" not in server.log


def test_a_busy_worker_is_left_alone() -> None:
    with running() as server, Others(server.address) as others:
        with provoked(server, f"/wait/{LIMIT * 2}") as client:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert others.answered
    assert "stuck" not in server.log.replace("stuck:app", "")


def test_a_crash_names_the_request_and_the_line() -> None:
    with running() as server, provoked(server, "/segfault") as client, Others(server.address):
        text = entry(server, "died: SIGSEGV")
        assert "(a crash in native code) in the request GET /segfault; 1 request lost (GET /segfault)" in text
        assert re.search(r'File ".*stuck\.py", line \d+ in app', text)
        assert client.recv(1) == b""


def test_a_worker_that_grows_is_replaced() -> None:
    with running("--limit-max-rss", "100MiB") as server, Others(server.address):
        eater = get(server.address, "/eat/80")
        server.wait_for_log(
            rf"\(pid {eater}\) is to be replaced: resident memory \d+ MiB > 100 MiB \(--limit-max-rss\)"
        )
        server.wait_for_log(rf"\(pid {eater}\) has ended: resident memory")
        assert "lost" not in server.log


def test_a_worker_that_grows_too_fast_is_replaced_by_force() -> None:
    with running("--limit-max-rss", "100MiB") as server, Others(server.address):
        eater = get(server.address, "/eat/300")
        why = r"resident memory \d+ MiB > 1\.5 × 100 MiB \(--limit-max-rss\)"
        server.wait_for_log(rf"\(pid {eater}\) is to be replaced by force: {why}")
        server.wait_for_log(rf"\(pid {eater}\) was ended by force: {why}")


def test_workers_are_replaced_at_their_age_one_after_the_other() -> None:
    with running("--limit-max-age", "2s") as server, Others(server.address):
        for worker in (1, 2):
            server.wait_for_log(rf"worker {worker} .* has ended: it is 2 s old \(--limit-max-age\)")
        assert "lost" not in server.log


MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group (v1) that may use 300 MiB, where this process may make one."""
    group = MEMORY_GROUPS / f"swell-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    try:
        try:
            (group / "memory.limit_in_bytes").write_text(str(300 << 20))
            with contextlib.suppress(OSError):
                (group / "memory.memsw.limit_in_bytes").write_text(str(300 << 20))
        except OSError as error:
            pytest.skip(f"memory cannot be limited here: {error}")
        yield group
    finally:
        wait_removed(group)


def wait_removed(group: Path) -> None:
    """The kernel lets go of a group a moment after its last process."""
    deadline = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.05)
        else:
            return


def test_the_kernel_is_named_when_it_kills_for_want_of_memory(small_group: Path) -> None:
    def enter() -> None:
        (small_group / "cgroup.procs").write_text(str(os.getpid()))

    options = ("--workers", "2", "--no-access-log")
    with serving("stuck:app", *options, directory=SERVED, before_start=enter) as server:
        server.wait_for_log("worker 2 .* is ready")
        with provoked(server, "/eat/600"):
            text = entry(server, "died: SIGKILL")
            assert "SIGKILL (killed by the kernel: out of memory); 1 request lost (GET /eat/600)" in text


@pytest.mark.parametrize("spawn", ["fork", "fresh"])
@pytest.mark.parametrize(
    ("where", "code", "phase", "hint"),
    [
        ("import", 3, "the import of the application did not end within 2 s", r"stuck\.py.*in deadlock"),
        ("waiting", 3, "lifespan startup did not end within 2 s", r"await asyncio\.Event\(\)\.wait\(\)"),
        ("blocking", 3, "lifespan startup did not end within 2 s", r"stuck\.py.*in deadlock"),
        ("exit", 5, "exit code 5 during lifespan startup", r"sys\.exit\(5\)"),
    ],
)
def test_a_start_that_fails_says_where(spawn: str, where: str, code: int, phase: str, hint: str) -> None:
    options = ("--app-dir", str(SERVED), "--port", "0", "--spawn", spawn, "--timeout-worker-start", "2s")
    ended, log = outcome("stuck:app", *options, directory=SERVED, environment={"STUCK_AT": where})
    assert ended == code, log
    assert log.count(phase) == 1, log
    assert re.search(hint, log), log
