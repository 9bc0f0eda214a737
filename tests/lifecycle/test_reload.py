"""New code under load: every request is answered, by the old code or by the new."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.kernel import no_more_descriptors, wait_until
from support.raw import connected
from support.steady import MIX, steady_load
from support.steady_clients import Streams

from lifecycle.running import Instance, instance

REFUSES = """\
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


class LongStreams(Streams):
    """Streams of two seconds: longer than a reload takes."""

    kind = "long stream"
    per_connection = 1
    chunks = 60


def reload(running: Instance, how: str) -> None:
    """Reloads, and returns when the new workers serve."""
    if how == "command":
        running.command("reload")
    else:
        mark = running.server.mark()
        running.signal(signal.SIGHUP)
        running.server.wait_for_log("reloaded: generation", since=mark)


@pytest.mark.parametrize(("spawn", "how"), [("fork", "SIGHUP"), ("fresh", "command")])
def test_reloads_with_changed_code_lose_nothing(spawn: str, how: str) -> None:
    with instance("--spawn", spawn) as running:
        with steady_load(running.address, mix={**MIX, LongStreams: (3, 0.5)}) as load:
            load.wait_answers(200)
            for generation in (2, 3):
                running.write(generation)
                reload(running, how)
                returned = time.monotonic()
                load.wait_generation(generation)
                running.wait_workers(4, generation=generation)
                load.wait_answers(200)
        report = load.report
        report.check(fewest=800)
        assert set(report.generations()) == {1, 2, 3}
        assert len(report.workers()) >= 9
        # Who connects when the command is through meets the new code.
        late = [one for one in report.answers if one.kind == "new connection" and one.at - one.took > returned]
        assert late
        assert {one.generation for one in late} == {3}
        assert report.sessions_closed.keys() == {1012}


def test_reloads_in_a_row_without_a_pause_lose_nothing() -> None:
    with instance(workers=2) as running, steady_load(running.address) as load:
        load.wait_answers(100)
        for generation in range(2, 7):
            running.write(generation)
            running.command("reload")
        load.wait_generation(6)
        load.stop()
        load.report.check(fewest=300)
        running.wait_workers(2, generation=6)


def test_reloads_in_a_row_wait_for_room() -> None:
    """The slot of a worker is free a while after its end. With as many workers as there are slots for, the next reload
    comes too early for them, and goes on by itself when it can."""
    number = max(8, 2 * (os.cpu_count() or 1))
    with instance(workers=number) as running:
        for _ in range(3):
            running.command("reload")
        running.wait_workers(number, generation=4)
        assert "there is no room" not in running.server.log


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("app = (\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError"),
        (REFUSES, "no database"),
    ],
    ids=["syntax", "import", "lifespan"],
)
def test_code_that_does_not_start_changes_nothing(code: str, said: str) -> None:
    with instance(workers=2) as running:
        if said.endswith("Error"):
            running.server.expect_error(said)
        before = running.pids("ready")
        with steady_load(running.address) as load:
            load.wait_answers(100)
            running.write_text(code)
            assert running.command("reload", code=1)
            assert said in running.server.log
            assert "could not be started" not in running.server.log
            load.wait_answers(200)
            assert running.pids("ready") == before
            running.write(2)
            running.command("reload")
            load.wait_generation(2)
        load.report.check(fewest=400)
        assert set(load.report.generations()) == {1, 2}


def test_a_reload_for_which_there_is_no_room_is_not_the_last() -> None:
    """A parent that may open nothing more cannot start a process; the next reload finds it as it was."""
    with instance(workers=2) as running:
        before = running.pids("ready")
        with no_more_descriptors(running.server.pid):
            running.signal(signal.SIGHUP)
            running.server.wait_for_log("ERROR: .*Too many open files")
        assert running.pids("ready") == before
        running.command("reload")
        running.wait_workers(2, generation=3)


def test_the_end_is_not_forgotten_for_a_reload_that_waits() -> None:
    """An old worker that is held up holds up the switch, and with it the next reload; then the end is asked for."""
    with instance(workers=1) as running, connected(running.address) as blocking:
        blocking.send(b"GET /sleep/3 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        wait_until(lambda: any(slot["current"] for slot in running.workers()), "its loop is blocked")
        running.signal(signal.SIGHUP)
        running.server.wait_for_log("worker 2 .* is ready")
        mark = running.server.mark()
        running.signal(signal.SIGHUP)
        running.server.wait_for_log("SIGHUP: starting", since=mark)
        running.signal(signal.SIGTERM)
        assert running.server.wait_for_end() == 0, running.server.log
