"""New code takes over in one step: who has been answered by it is never answered by the old code again."""

from __future__ import annotations

import os
import signal

import pytest
from support.kernel import wait_until
from support.raw import connected, get
from support.steady import steady_load
from support.steady_clients import Client, Fresh
from support.steady_report import Report

from lifecycle.running import Instance, alive, instance

CONNECTING: dict[type[Client], tuple[int, float]] = {Fresh: (12, 0.01)}

# The first worker of this code is ready at once; the others wait until there is a file `gate`.
GATED = """
import pathlib

started = lifespan


async def lifespan(receive, send):
    here = pathlib.Path(__file__).parent
    try:
        os.close(os.open(here / "first", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        while not (here / "gate").exists():
            await asyncio.sleep(0.01)
    await started(receive, send)
"""

# One worker of this code, the second, fails to start.
FAILS_ONCE = """
import pathlib

started = lifespan


async def lifespan(receive, send):
    for name in ("first", "second"):
        try:
            os.close(os.open(pathlib.Path(__file__).with_name(name), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        if name == "second":
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "the second is one too many"})
            return
        break
    await started(receive, send)
"""


def write(running: Instance, generation: int, more: str) -> None:
    source = (running.directory / "subject.py").read_text()
    running.write_text(source.replace("GENERATION = 1\n", f"GENERATION = {generation}\n") + more)


def assert_never_back(report: Report) -> None:
    """No connection that was begun after an answer of new code is answered by older code, whoever began it."""
    newest, since = 0, 0.0
    for answer in report.answers:
        if answer.kind == Fresh.kind:
            assert answer.generation >= newest or answer.at - answer.took < since, f"back at {answer}\n{report}"
            if answer.generation > newest:
                newest, since = answer.generation, answer.at


@pytest.mark.parametrize(("workers", "unix"), [(1, False), (4, False), (3, True)], ids=["one", "four", "one socket"])
def test_nobody_goes_back(workers: int, unix: bool) -> None:
    with instance(workers=workers, unix=unix) as running:
        with steady_load(running.endpoint, mix=CONNECTING) as load:
            load.wait_answers(100)
            for generation in (2, 3, 4):
                running.write(generation)
                mark = running.server.mark()
                running.signal(signal.SIGHUP)
                running.server.wait_for_log("reloaded: generation", since=mark)
                load.wait_answers(100)
        load.report.check(fewest=400)
        assert load.report.generations().keys() == {1, 2, 3, 4}
        assert_never_back(load.report)


def test_new_workers_wait_for_each_other() -> None:
    with instance(workers=3) as running:
        with steady_load(running.address) as load:
            load.wait_answers(100)
            write(running, 2, GATED)
            mark = running.server.mark()
            running.signal(signal.SIGHUP)
            running.server.wait_for_log("worker 4 .* is ready", since=mark)
            load.wait_answers(200)
            assert load.report.generations().keys() == {1}
            assert len(running.workers("ready")) == 3, "those with the old code"
            (running.directory / "gate").touch()
            load.wait_generation(2)
            running.wait_workers(3, generation=2)
        load.report.check(fewest=300)
        assert_never_back(load.report)


def test_new_code_that_has_not_taken_over_leaves_nothing_behind() -> None:
    with instance(workers=2) as running:
        before = running.pids()
        with steady_load(running.address) as load:
            write(running, 2, GATED)
            mark = running.server.mark()
            running.signal(signal.SIGHUP)
            running.server.wait_for_log("worker 3 .* is ready", since=mark)
            running.command("reload", code=1)  # one at a time
            assert running.pids("ready") == before
            load.wait_answers(100)
            assert load.report.generations().keys() == {1}
        load.report.check(fewest=100)


def test_workers_that_do_not_all_start_take_over_one_by_one() -> None:
    with instance(workers=2) as running:
        with steady_load(running.address) as load:
            load.wait_answers(100)
            write(running, 2, FAILS_ONCE)
            running.command("reload")
            load.wait_generation(2)
            running.wait_workers(2, generation=2)
        load.report.check(fewest=100)
        assert "take over one by one" in running.server.log
        assert "the second is one too many" in running.server.log


def test_an_old_worker_that_is_held_up_is_not_waited_for_long() -> None:
    with instance(workers=2) as running, connected(running.address) as blocking:
        blocking.send(b"GET /sleep/60 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        wait_until(lambda: any(slot["current"] for slot in running.workers()), "a loop is blocked")
        (held_up,) = [slot["pid"] for slot in running.workers() if slot["current"]]
        running.write(2)
        running.signal(signal.SIGHUP)
        wait_until(lambda: get(running.address, "/answer/a").body.endswith(b" 2"), "the new code answers", 30.0)
        for _ in range(20):
            assert get(running.address, "/answer/a").body.endswith(b" 2")
        assert alive(held_up)
        os.kill(held_up, signal.SIGKILL)
        running.wait_workers(2, generation=2)
