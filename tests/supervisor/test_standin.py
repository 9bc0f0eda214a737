"""The process that waits in the place of others: whom it passes signals on to, and when and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swell.supervisor.standin import Line

# Ends with a code when it gets a signal: SIGTERM 3, SIGINT 4.
WAITING = """
import signal, sys
for number, code in ((signal.SIGTERM, 3), (signal.SIGINT, 4)):
    signal.signal(number, lambda *_, code=code: sys.exit(code))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
print("here", flush=True)
signal.pause()
"""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        yield process
        process.kill()


def test_the_code_is_that_of_the_last(pair: tuple[socket.socket, socket.socket]) -> None:
    me = os.getpid()
    line = Line(pair[0].fileno(), [me])
    assert (line.current, line.over) == (me, False)
    pair[1].send(b"parent 20")  # a line may come in two
    line.hear()
    assert line.current == me
    pair[1].send(b"\nparent 30\n")
    line.hear()
    assert line.current == 30
    line.ended(me, 7 << 8)
    line.ended(99, 5 << 8)  # an orphan
    assert (line.code, line.over) == (0, False)
    line.ended(30, 4 << 8)
    assert (line.code, line.over) == (4, False)
    pair[1].send(b"ended 20 1024\n")
    line.hear()
    assert (line.code, line.over) == (4, True)


def test_a_successor_that_was_reported_last_counts(pair: tuple[socket.socket, socket.socket]) -> None:
    line = Line(pair[0].fileno(), [10])
    pair[1].send(b"parent 20\n")
    line.ended(10, 0)
    assert (line.current, line.over) == (20, False)
    pair[1].send(b"ended 20 9\n")
    line.hear()
    assert (line.over, line.code) == (True, 128 + signal.SIGKILL)


def test_who_is_gone_without_a_word_has_failed(pair: tuple[socket.socket, socket.socket]) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(30)
    line = Line(pair[0].fileno(), [gone.pid])
    line.reap()
    assert (line.over, line.code) == (True, 1)


def test_only_the_end_is_for_everybody(
    pair: tuple[socket.socket, socket.socket], process: subprocess.Popen[str]
) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as second:
        assert second.stdout is not None
        second.stdout.readline()
        line = Line(pair[0].fileno(), [process.pid, second.pid])
        line.forward(signal.SIGHUP)
        assert second.wait(30) == -signal.SIGHUP
        assert process.poll() is None
        line.forward(signal.SIGTERM)
        assert process.wait(30) == 3


def test_the_bare_process(pair: tuple[socket.socket, socket.socket]) -> None:
    """As the first parent becomes it: by exec, so that its children stay its children."""
    file = Path(sys.modules[Line.__module__].__file__ or "")
    program = f"""
import os, signal, subprocess, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGINT}})  # as `become` does
child = subprocess.Popen([sys.executable, "-c", {WAITING!r}])
os.execv(sys.executable, [sys.executable, "-I", "-S", {str(file)!r}, {str(pair[0].fileno())!r}, str(child.pid)])
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], pass_fds=[pair[0].fileno()], stdout=subprocess.PIPE, text=True
    ) as bare:
        assert bare.stdout is not None
        assert bare.stdout.readline() == "here\n"
        bare.send_signal(signal.SIGINT)
        assert bare.wait(30) == 4
