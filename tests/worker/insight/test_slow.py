"""`SlowTurns`: reports of the sampler become entries of the log, not too many, and only while requests wait."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from swell.worker.insight.slow import BURST, ENTRY_SECONDS, SlowTurns


class Loop:
    """A heartbeat, a clock and a pipe, moved by hand."""

    def __init__(self) -> None:
        self.heartbeat = time.monotonic_ns()
        self.now = 0.0
        self.slow = SlowTurns("worker 7", lambda: self.heartbeat, clock=lambda: self.now)
        self.slow.since = 0

    def report(self, milliseconds: int, line: str = "GET /x", heartbeat: int | None = None) -> None:
        """A turn that began so long before the heartbeat that ends it."""
        begun = self.heartbeat
        message = struct.pack("<QQ", begun, begun if heartbeat is None else heartbeat) + line.encode()
        os.write(self.slow.writing, message)
        self.slow.begun()
        self.heartbeat = begun + milliseconds * 1_000_000
        assert self.slow.look() is None


@pytest.fixture
def loop() -> Iterator[Loop]:
    one = Loop()
    yield one
    os.close(one.slow.reading)
    os.close(one.slow.writing)


def test_a_turn_is_told_when_it_is_over(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    os.write(loop.slow.writing, struct.pack("<QQ", loop.heartbeat, loop.heartbeat) + b"GET /slow")
    loop.slow.begun()
    pause = loop.slow.look()
    assert pause is not None
    assert pause > 0
    assert not caplog.records
    loop.heartbeat += 153_000_000
    assert loop.slow.look() is None
    (record,) = caplog.records
    assert record.getMessage().startswith("worker 7: its event loop was blocked for 153 ms in GET /slow\n  File ")
    assert "test_a_turn_is_told_when_it_is_over" in record.getMessage()
    assert record.levelname == "WARNING"


def test_without_the_gil_there_is_no_stack(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.report(200, heartbeat=loop.heartbeat - 1)
    assert "no stack: native code kept the GIL" in caplog.text


def test_before_requests_are_accepted_nobody_waits(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.slow.since = None
    loop.report(200)
    loop.slow.since = loop.heartbeat + 1
    loop.report(200)
    assert not caplog.records


def test_the_log_does_not_say_the_same_for_ever(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(BURST + 5):
        loop.report(150)
    assert len(caplog.records) == BURST
    loop.now += ENTRY_SECONDS
    loop.report(150)
    assert len(caplog.records) == BURST + 1
    assert "(5 more turns were not logged)" in caplog.records[-1].getMessage()


def test_a_full_pipe_costs_a_report_and_no_time(loop: Loop) -> None:
    done = threading.Event()

    def fill() -> None:
        try:
            while True:
                os.write(loop.slow.writing, bytes(100))
        except BlockingIOError:
            done.set()

    threading.Thread(target=fill, daemon=True).start()
    assert done.wait(20)
