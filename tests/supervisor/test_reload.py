"""`--reload` with real files, real processes and real signals."""

import http.client
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.server import ServerProcess
from worker.launching import launched, wait_listening

SOURCE = """
import os, sys, time
VERSION = "{version}"
if VERSION == "slow":
    print("importing slowly", flush=True)
    time.sleep(60)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        print("shut down", flush=True)
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    if scope["path"] == "/crash":
        os.kill(os.getpid(), 9)
    if scope["path"] == "/wait":
        import asyncio
        print("waiting", flush=True)
        await asyncio.sleep(60)
    if scope["path"] == "/block":
        print("blocking", flush=True)
        time.sleep(60)
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": f"{{VERSION}} {{os.getpid()}} {{sys.argv[1]}}".encode()}})
"""


class Project:
    """A directory with an application, served with `--reload`."""

    def __init__(self, directory: Path, server: ServerProcess, listener: socket.socket) -> None:
        self.directory = directory
        self.server = server
        self.address = listener.getsockname()

    def save(self, version: str) -> None:
        (self.directory / "main.py").write_text(SOURCE.format(version=version))

    def ask(self, path: str = "/") -> tuple[str, int]:
        """The version that answers, and its pid."""
        connection = http.client.HTTPConnection(self.address[0], self.address[1], timeout=20)
        try:
            connection.request("GET", path)
            version, pid, argument = connection.getresponse().read().decode().split()
            assert argument == "main:app", "the application sees the command line of its parent"
            return version, int(pid)
        finally:
            connection.close()

    @contextmanager
    def asking(self, path: str, said: str) -> Iterator[None]:
        """A request that the application holds."""
        with socket.create_connection(self.address, 20) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            self.server.wait_for_log(said)
            yield

    def children(self) -> list[int]:
        pid = self.server.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def assert_all_ended(self, *children: int) -> None:
        assert self.server.wait_for_end() == 0, self.server.log
        for child in children:
            assert not Path(f"/proc/{child}").exists(), "a child outlived its parent"


@contextmanager
def project(directory: Path, *options: str, grace: str = "30", version: str = "one") -> Iterator[Project]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (directory / "main.py").write_text(SOURCE.format(version=version))
        number = str(listener.fileno())
        arguments = ["main:app", "--reload", "--fd", number, "--timeout-graceful-shutdown", grace, *options]
        with launched(
            *arguments,
            directory=directory,
            pass_fds=[listener.fileno()],
            new_group=True,
        ) as server:
            yield Project(directory, server, listener)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path) as running:
        wait_listening(running.server)
        yield running
        if running.server.process.poll() is None:
            children = running.children()
            running.server.process.send_signal(signal.SIGTERM)
            running.assert_all_ended(*children)
        assert "ResourceWarning" not in running.server.log


def next_start(running: Project, mark: int) -> None:
    running.server.wait_for_log("INFO: reloaded", since=mark)


def test_a_save_brings_the_new_code_without_a_refused_connection(running: Project) -> None:
    answers: list[tuple[str, int]] = []
    done = threading.Event()

    def ask_on() -> None:
        # a connection that is refused or dropped raises, and `answers` then lacks the last version
        while not done.is_set():
            answers.append(running.ask())
            if answers[-1][0] == "three":
                done.set()

    client = threading.Thread(target=ask_on)
    client.start()
    try:
        for version in ("two", "three"):
            mark = running.server.mark()
            running.save(version)
            next_start(running, mark)
        assert done.wait(20), answers[-1:]
    finally:
        done.set()
        client.join(30)
    order = list(dict.fromkeys(version for version, _ in answers))
    assert order == ["one", "two", "three"]
    assert [answer[0] for answer in answers] == sorted((a[0] for a in answers), key=order.index), "never back"
    assert running.server.log.count("main.py changed: starting again") == 2


def test_the_log_says_why_and_the_old_worker_ends_last(running: Project) -> None:
    mark = running.server.mark()
    running.save("two")
    next_start(running, mark)
    running.server.wait_for_log("worker 1 .* has ended", since=mark)
    said = "".join(running.server.log_since(mark))
    order = [said.index(text) for text in ("main.py changed: starting again", ": new code", "shut down", "has ended")]
    assert order == sorted(order), said


def test_a_syntax_error_waits_for_the_next_save(running: Project) -> None:
    mark = running.server.mark()
    (running.directory / "main.py").write_text("app = (\n")
    running.server.wait_for_log("SyntaxError: '\\(' was never closed", since=mark)
    running.server.wait_for_log("could not be loaded; waiting for a file to change", since=mark)
    assert running.ask()[0] == "one", "the old code serves on"
    running.save("mended")
    next_start(running, mark)
    running.server.wait_for_log("worker 1 .* has ended", since=mark)
    assert running.ask()[0] == "mended"


def test_the_first_start_may_fail_too(tmp_path: Path) -> None:
    with project(tmp_path, version='" + undefined + "') as running:
        running.server.wait_for_log("NameError: name 'undefined' is not defined")
        running.server.wait_for_log("waiting for a file to change")
        running.save("mended")
        assert running.ask()[0] == "mended"


def test_a_crash_brings_another_worker(running: Project) -> None:
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        running.ask("/crash")
    running.server.wait_for_log(r"worker 1 \(pid \d+\) died: SIGKILL \(killed from outside\); 1 request lost")
    assert running.ask()[0] == "one"


def test_a_storm_of_changes_is_one_reload(tmp_path: Path) -> None:
    with project(tmp_path, "--reload-delay", "1") as running:
        wait_listening(running.server)
        mark = running.server.mark()
        for number in range(50):
            (tmp_path / f"module_{number}.py").write_text(f"N = {number}\n")
        running.save("last")
        next_start(running, mark)
        assert running.ask()[0] == "last"
        # Another reload comes after all that the storm may have left, and it is the second.
        mark = running.server.mark()
        running.save("done")
        next_start(running, mark)
        assert running.ask()[0] == "done"
        assert running.server.log.count("starting again") == 2, running.server.log


def test_only_what_is_included_and_not_excluded(tmp_path: Path) -> None:
    with project(tmp_path, "--reload-include", "*.html", "--reload-exclude", "made_*.py") as running:
        wait_listening(running.server)
        mark = running.server.mark()
        (tmp_path / "notes.txt").write_text("no")
        (tmp_path / "made_here.py").write_text("no")
        (tmp_path / "page.html").write_text("yes")
        found = running.server.wait_for_log("INFO: (.*) changed: starting again", since=mark)
        assert found[1] == "page.html"


def test_two_saves_of_one_size_in_one_second_are_told_apart(running: Project) -> None:
    """Python's bytecode cache knows a source by its size and the second of its last change."""
    second = 1_700_000_000
    for version in ("aaa", "bbb", "ccc"):
        mark = running.server.mark()
        temporary = running.directory / "main.new"
        temporary.write_text(SOURCE.format(version=version))
        os.utime(temporary, (second, second))
        temporary.replace(running.directory / "main.py")
        next_start(running, mark)
        assert running.ask()[0] == version


@pytest.mark.parametrize("path", ["wait", "block"])
def test_a_request_that_hangs_does_not_hold_the_reload(tmp_path: Path, path: str) -> None:
    with project(tmp_path, grace="0.2") as running:
        wait_listening(running.server)
        with running.asking(f"/{path}", {"wait": "^waiting", "block": "^blocking"}[path]):
            mark = running.server.mark()
            running.save("two")
            next_start(running, mark)
            assert running.ask()[0] == "two"


def test_a_save_during_a_slow_import_interrupts_it(running: Project) -> None:
    running.save("slow")
    running.server.wait_for_log("^importing slowly")
    mark = running.server.mark()
    running.save("fast")
    next_start(running, mark)
    assert running.ask()[0] == "fast"


def test_a_retired_worker_is_followed_by_another(tmp_path: Path) -> None:
    with project(tmp_path, "--limit-max-requests", "2") as running:
        wait_listening(running.server)
        seen: set[int] = set()
        deadline = time.monotonic() + 20
        while len(seen) < 3:
            assert time.monotonic() < deadline, running.server.log
            seen.add(running.ask()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("everybody", [True, False], ids=["the whole group", "the parent"])
def test_one_signal_ends_both_gracefully(running: Project, number: signal.Signals, everybody: bool) -> None:
    worker = running.ask()[1]
    if everybody:
        os.killpg(running.server.pid, number)  # what a terminal does at Ctrl-C
    else:
        running.server.process.send_signal(number)
    running.assert_all_ended(worker)
    assert "shut down" in running.server.log
    assert "again: ending now" not in running.server.log
    assert "Traceback" not in running.server.log


@pytest.mark.parametrize("everybody", [True, False], ids=["the whole group", "the parent"])
def test_two_signals_end_both_now(running: Project, everybody: bool) -> None:
    worker = running.ask()[1]
    with running.asking("/wait", "^waiting"):
        kill = os.killpg if everybody else os.kill
        kill(running.server.pid, signal.SIGINT)
        running.server.wait_for_log("finishing the running requests")
        running.server.signal_again(signal.SIGINT, kill)
        running.assert_all_ended(worker)
        assert "Traceback" not in running.server.log


def test_a_signal_while_waiting_for_a_save_ends_the_parent(running: Project) -> None:
    mark = running.server.mark()
    (running.directory / "main.py").write_text("1 / 0\n")
    running.server.wait_for_log("waiting for a file to change", since=mark)
    running.server.process.send_signal(signal.SIGINT)
    assert running.server.wait_for_end() == 0


def test_a_signal_during_the_import_ends_both(tmp_path: Path) -> None:
    with project(tmp_path, version="slow") as running:
        running.server.wait_for_log("^importing slowly")
        children = running.children()
        running.server.process.send_signal(signal.SIGINT)
        running.assert_all_ended(*children)


def test_the_worker_does_not_outlive_a_killed_parent(running: Project) -> None:
    worker = running.ask()[1]
    handle = os.pidfd_open(worker)
    try:
        running.server.process.kill()
        running.server.process.wait(15)
        ended, _, _ = select.select([handle], [], [], 15)
        assert ended, "the worker serves on without a parent"
    finally:
        os.close(handle)


def test_an_address_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        (tmp_path / "main.py").write_text(SOURCE.format(version="one"))
        arguments = ["main:app", "--reload", "--port", port]
        with launched(*arguments, directory=tmp_path) as server:
            assert server.wait_for_end() == 1
            assert server.log.count("\n") == 1
            assert "it is in use" in server.log
