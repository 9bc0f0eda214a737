"""Single workers that are replaced under load, by command or by a signal from outside, without loss."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest
from supervisor.upgrading import tree
from support.kernel import descriptors, no_more_descriptors, wait_until
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


def test_a_worker_for_which_there_is_no_room_is_started_when_there_is() -> None:
    with instance(workers=2) as running:
        first, _ = running.wait_workers(2)
        with no_more_descriptors(running.server.pid):
            os.kill(first["pid"], signal.SIGKILL)
            running.server.wait_for_log("no worker can be started: Too many open files")
        running.wait_workers(2)


@pytest.mark.parametrize("spawn", ["fork", "fresh"])
def test_workers_are_started_although_the_files_are_gone(spawn: str) -> None:
    """Whoever cleans up temporary directories does not ask us, nor does a session that ends."""
    with instance("--spawn", spawn, workers=2) as running:
        first, _ = running.wait_workers(2)
        shutil.rmtree(running.path)
        os.kill(first["pid"], signal.SIGKILL)
        running.server.wait_for_log("worker 3 .* is ready")
        running.write(2)
        running.signal(signal.SIGHUP)
        running.server.wait_for_log("reloaded: generation 2")
        running.wait_workers(2, generation=2)


def test_a_template_that_does_not_answer_is_replaced() -> None:
    """What the application does before a fork may hang."""
    with instance("--timeout-worker-start", "2s", workers=1) as running:
        (first,) = running.wait_workers(1)
        mark, before = running.server.mark(), descriptors(running.server.pid)
        (template,) = set(tree(running.server.pid)) - {first["pid"]}
        os.kill(template, signal.SIGSTOP)
        os.kill(first["pid"], signal.SIGKILL)
        running.server.wait_for_log(r"worker \d+ .* is ready", 30.0, since=mark)
        assert not alive(template)
        wait_until(lambda: descriptors(running.server.pid) <= before, "the parent has nothing open of it")
