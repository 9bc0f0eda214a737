"""A real worker's scoreboard, sampled and decided upon as the parent does it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.test_board_processes import Worker, load, running

from swell._core import Scoreboard
from swell.scaling import Bounds, Decision, Policy, Tick, decide, new_history, worker_sample

POLICY = Policy()
LIMIT = 20.0  # seconds, for any wait


class Watch:
    """Samples a worker every interval and decides; `now` is CLOCK_MONOTONIC, as in the scoreboard."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._history = new_history(POLICY)
        self._before, self._at = worker.read(), time.monotonic()
        self._pause = threading.Event()

    def step(self) -> Decision:
        self._pause.wait(max(0.0, self._at + POLICY.interval - time.monotonic()))
        after, now = self._worker.read(), time.monotonic()
        sample = worker_sample(self._before, after | {"state": "ready"}, span=now - self._at, now=now)
        self._history.add(Tick.of(now, now - self._at, [sample]))
        self._before, self._at = after, now
        decision = decide(self._history, POLICY, now, 1, Bounds(1, 4))
        self._history.memory = decision.memory
        return decision


@contextmanager
def loaded(worker: Worker, *targets: str) -> Iterator[None]:
    until = threading.Event()
    threads = [threading.Thread(target=load, args=(worker, [target], until, [])) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        until.set()
        for thread in threads:
            thread.join(LIMIT)


def test_a_burst_on_an_idle_worker_is_answered_in_time(tmp_path: Path) -> None:
    board = Scoreboard.create(tmp_path / "board", 2)
    board.reset(1, 1, 1)
    with running(board, tmp_path) as worker:
        watch = Watch(worker)
        for _ in range(8):
            assert not watch.step().changed
        began = time.monotonic()
        with loaded(worker, "/spin/0.02", "/spin/0.02", "/sleep/0.02"):
            decision = watch.step()
            while not decision.changed and time.monotonic() < began + LIMIT:
                decision = watch.step()
        # Two seconds are what users are promised, starting the worker included, on a machine that does nothing else.
        assert decision.at - began < 2.5
        assert (decision.target, decision.rule) == (2, "burst")
        assert decision.text.endswith("for 0.8 s, a burst")


def test_waiting_for_an_upstream_adds_nobody(tmp_path: Path) -> None:
    board = Scoreboard.create(tmp_path / "board", 2)
    board.reset(1, 1, 1)
    with running(board, tmp_path) as worker:
        watch = Watch(worker)
        with loaded(worker, *["/await/0.5"] * 20):
            for _ in range(10):
                decision = watch.step()
                assert not decision.changed, decision.text
        assert decision.guard == "upstream"
        assert "they wait for an upstream, more workers would not help" in decision.text
