"""Single workers that are replaced under load, by command or by a signal from outside, without loss."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from support.kernel import wait_until
from support.steady import steady_load

from lifecycle.running import Instance, alive, instance


def by_command(running: Instance, worker: dict[str, Any]) -> None:
    running.command("restart", "--worker", str(worker["worker"]))


def by_sigterm(running: Instance, worker: dict[str, Any]) -> None:
    os.kill(worker["pid"], signal.SIGTERM)


@pytest.mark.parametrize("replace", [by_command, by_sigterm])
def test_one_after_the_other(replace: Callable[[Instance, dict[str, Any]], None]) -> None:
    with instance(workers=3) as running:
        with steady_load(running.address) as load:
            load.wait_answers(100)
            for worker in running.wait_workers(3):
                replace(running, worker)
                wait_until(lambda pid=worker["pid"]: not alive(pid), "it has ended")  # type: ignore[misc]
                running.wait_workers(3)
                load.wait_answers(50)
        load.report.check(fewest=250)
        assert len(load.report.workers()) == 6
        assert load.report.sessions_closed.keys() == {1012}


def test_a_single_worker_is_replaced_before_it_goes() -> None:
    with instance(workers=1) as running:
        with steady_load(running.address) as load:
            load.wait_answers(100)
            for _ in range(3):
                (worker,) = running.wait_workers(1)
                by_command(running, worker)
            load.wait_answers(100)
        load.report.check(fewest=200)
        assert load.report.longest_silence() < 3.0, load.report


def test_workers_finish_and_end_when_the_parent_is_gone() -> None:
    """Nobody listens any more, but what was accepted is answered, and no process stays behind."""
    with instance(workers=2) as running:
        with steady_load(running.address, patience=5.0) as load:
            load.wait_answers(200)
            pids = running.pids()
            os.kill(running.server.pid, signal.SIGKILL)
            wait_until(lambda: not any(map(alive, pids)), "the workers have ended", 20.0)
            load.stop()
        running.server.expected_code = -signal.SIGKILL
        for loss in load.report.lost:
            assert loss.unread or loss.how.name == "REFUSED", f"{loss}\n{load.report}"
        assert load.report.sessions_closed.keys() == {1012}
