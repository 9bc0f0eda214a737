"""Where access lines go, and that none is lost on the way: files, pipes nobody reads, terminals, the end."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.kernel import wait_until
from support.raw import Closed, connected
from support.server import serving

from telemetry.support import APP, SERVED, access_entries, ask, logged, pipelined, stdout_to

JSON = ("--log-format", "json")
LOST = re.compile(rb'"lines_lost":(\d+)')


def test_no_line_is_lost_when_the_server_ends_under_load(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    answered: list[list[str]] = []

    def load(address: tuple[str, int], name: int, seen: list[str]) -> None:
        """Until the server ends the connection: what was answered must be in the log."""
        with connected(address) as connection:
            try:
                for number in range(1_000_000):
                    target = f"/{name}/{number}"
                    connection.send(f"GET {target} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
                    assert connection.response().status == 200
                    seen.append(target)
            except (Closed, ConnectionError):
                pass

    with logged(log, *JSON, loop=loop) as server:
        threads = []
        for name in range(4):
            answered.append([])
            threads.append(threading.Thread(target=load, args=(server.address, name, answered[-1])))
        for thread in threads:
            thread.start()
        # They are all at work before the end begins.
        with connected(server.address) as connection:
            while min(map(len, answered)) < 50:
                ask(connection, "/other")
        server.stop()
        for thread in threads:
            thread.join(15)
    written = [entry["path"] for entry in access_entries(log)]
    assert len(written) == len(set(written)) + written.count("/other") - 1
    missing = {target for seen in answered for target in seen} - set(written)
    assert not missing


def test_requests_that_the_end_cuts_have_a_line_too(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    options = ("--timeout-graceful-shutdown", "0.2")
    with logged(log, *JSON, *options, loop=loop) as server, connected(server.address) as connection:
        connection.send(b"GET /until-disconnect HTTP/1.1\r\nhost: a\r\n\r\n")
        with connected(server.address) as other:
            ask(other, "/")
        server.stop()
    entries = {entry["path"]: entry for entry in access_entries(log)}
    assert entries["/until-disconnect"]["aborted"] is True


def drain(descriptor: int, into: bytearray) -> None:
    while data := os.read(descriptor, 1 << 16):
        into += data


@pytest.fixture
def pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return reading, writing


def test_a_pipe_that_nobody_reads_makes_no_request_wait(loop: str, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    targets = [f"/{number}" for number in range(5000)]
    read = bytearray()
    with serving(APP, *JSON, directory=SERVED, loop=loop, prefix=stdout_to(writing), pass_fds=[writing]) as server:
        os.close(writing)
        pipelined(server, targets)
        # Every request was answered; now somebody reads, and every line is there.
        reader = threading.Thread(target=drain, args=(reading, read))
        reader.start()
    reader.join(15)
    os.close(reading)
    assert [json.loads(line)["path"] for line in read.splitlines()] == targets


def test_lines_beyond_the_bound_are_counted(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    targets = [f"/{number}/{'x' * 7000}" for number in range(5000)]  # 35 MB of lines, 16 MiB may wait
    read = bytearray()
    with serving(APP, *JSON, directory=SERVED, prefix=stdout_to(writing), pass_fds=[writing]) as server:
        os.close(writing)
        pipelined(server, targets, batch=4)
        server.wait_for_log(r"access log: \d+ lines were lost: its reader is too slow")
        reader = threading.Thread(target=drain, args=(reading, read))
        reader.start()
    reader.join(15)
    os.close(reading)
    lines = bytes(read).splitlines()
    lost = sum(int(match[1]) for line in lines if (match := LOST.search(line)))
    kept = [json.loads(line)["path"] for line in lines if not LOST.search(line)]
    assert lost > 0
    assert len(kept) + lost == len(targets)
    assert kept == [target for target in targets if target in set(kept)]


def test_the_end_does_not_wait_for_ever_for_a_reader(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    with serving(APP, *JSON, directory=SERVED, prefix=stdout_to(writing), pass_fds=[writing]) as server:
        os.close(writing)
        pipelined(server, [f"/{number}" for number in range(200)])
        server.stop()
        told = re.search(
            r"access log: (\d+) lines were lost: its reader did not take the last lines in time", server.log
        )
    assert told
    assert 0 < int(told[1]) <= 200
    os.close(reading)


def test_a_reader_that_has_gone_is_reported_and_costs_nothing_else(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    with serving(APP, directory=SERVED, prefix=stdout_to(writing), pass_fds=[writing]) as server:
        os.close(writing)
        os.close(reading)
        # The writer finds out by itself, and the next request after that tells.
        while not re.search(r"WARNING: access log: \d+ lines were lost: Broken pipe", server.log):
            pipelined(server, ["/"] * 10)


def status_of(server_options: tuple[str, ...], environment: dict[str, str]) -> bytes:
    """What a terminal as standard output gets for one request."""
    master, slave = pty.openpty()
    read = bytearray()
    with serving(
        APP,
        *server_options,
        directory=SERVED,
        prefix=stdout_to(slave),
        pass_fds=[slave],
        environment={"NO_COLOR": "", "TERM": "xterm", **environment},
    ) as server:
        os.close(slave)
        with connected(server.address) as connection:
            ask(connection, "/")
            ask(connection, "/status/404")
        while read.count(b"\n") < 2:
            read += os.read(master, 4096)
    os.close(master)
    return bytes(read)


def test_colours_on_a_terminal_only(tmp_path: Path) -> None:
    shown = status_of((), {})
    assert b" \x1b[32m200\x1b[0m " in shown
    assert b" \x1b[33m404\x1b[0m " in shown
    assert b"\x1b" not in status_of((), {"NO_COLOR": "1"})
    assert b"\x1b" not in status_of((), {"TERM": "dumb"})
    assert b"\x1b" not in status_of(("--no-use-colors",), {})
    for options, colored in (((), False), (("--use-colors",), True)):
        log = tmp_path / f"{colored}.log"
        with logged(log, *options) as server, connected(server.address) as connection:
            ask(connection, "/")
        assert (b"\x1b[32m200\x1b[0m" in log.read_bytes()) is colored


def test_without_a_standard_output_there_is_no_access_log(tmp_path: Path) -> None:
    """Its number may belong to a connection by then."""
    close = "import os, sys; os.close(1); os.execv(sys.argv[1], sys.argv[1:])"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = f"import swell; swell.run({APP!r}, app_dir={str(SERVED)!r}, fd={listener.fileno()})"
        command = [sys.executable, "-c", close, sys.executable, "-c", served]
        with subprocess.Popen(command, stderr=subprocess.PIPE, pass_fds=[listener.fileno()], text=True) as process:
            try:
                with connected(listener.getsockname()) as connection:
                    for _ in range(10):
                        assert ask(connection, "/").body == b"Hello, world!"
                    process.send_signal(signal.SIGTERM)
                    assert connection.rest() == b""
                _, log = process.communicate(timeout=15)
                assert process.returncode == 0, log
            finally:
                process.kill()
    assert "lost" not in log
    assert "Traceback" not in log


def switches(pid: int) -> int:
    """How often the writer's thread has gone to sleep. Linux cuts the names of threads to 15 bytes."""
    (writer,) = (task for task in Path(f"/proc/{pid}/task").iterdir() if "swell access" in (task / "comm").read_text())
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (writer / "status").read_text(), re.M)
    assert found is not None
    return int(found[1])


def test_the_writer_sleeps_when_there_is_nothing_to_write(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log) as server:
        pipelined(server, ["/"] * 10)
        wait_until(lambda: log.read_text().count("\n") == 10, "the writer has written")
        with connected(server.address) as connection:
            connection.socket.settimeout(1)
            quiet = [switches(server.worker)]
            while len(quiet) < 10 and quiet[-2:] != [quiet[-1]] * 2:
                with pytest.raises(TimeoutError):
                    connection.socket.recv(1)
                quiet.append(switches(server.worker))
    assert quiet[-1] == quiet[-2], quiet
