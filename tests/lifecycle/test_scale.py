"""More workers and fewer, under load and without loss."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from support.steady import steady_load

from lifecycle.running import Instance, instance


def by_command(running: Instance, before: int, after: int) -> None:
    running.command("scale", str(after))


def by_steps(running: Instance, before: int, after: int) -> None:
    """One signal is sent when the one before has been heard: the kernel makes one of two equal ones."""
    for step in range(abs(after - before)):
        count = before + (step + 1) * (1 if after > before else -1)
        running.signal(signal.SIGTTIN if after > before else signal.SIGTTOU)
        running.wait_workers(count)


@pytest.mark.parametrize("scale", [by_command, by_steps])
def test_from_one_to_four_to_one_loses_nothing(scale: Callable[[Instance, int, int], None]) -> None:
    with instance(workers=1) as running:
        with steady_load(running.address) as load:
            load.wait_answers(200)
            (first,) = running.pids("ready")
            assert load.report.workers().keys() == {first}
            scale(running, 1, 4)
            four = [slot["pid"] for slot in running.wait_workers(4)]
            load.wait(lambda report: all(report.workers()[pid] >= 20 for pid in four), "all four answer")
            scale(running, 4, 1)
            (last,) = [slot["pid"] for slot in running.wait_workers(1)]
            load.wait_answers(200)
        load.report.check(fewest=700)
        assert load.report.answers[-1].worker == last
        assert set(load.report.workers()) == {first, *four}


def test_up_and_down_again_and_again() -> None:
    with instance(workers=1) as running:
        with steady_load(running.address) as load:
            load.wait_answers(100)
            for count in (3, 1, 4, 2, 1):
                running.command("scale", str(count))
                running.wait_workers(count)
                load.wait_answers(50)
        load.report.check(fewest=300)
