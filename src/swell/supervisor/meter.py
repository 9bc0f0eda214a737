"""What the parent counts, and the whole of what is measured at one moment.

`Meter` keeps what ends with a worker: its counters, and why it ended. `Meter.snapshot` puts that together with the
scoreboard and the state of the parent; `swell.telemetry.metrics` makes text of it. A scrape reads shared memory
only, so it costs the workers nothing and answers whatever state they are in.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from swell import __version__
from swell.metrics.store import Store
from swell.supervisor.backlog import Backlog
from swell.supervisor.memory import resident
from swell.supervisor.slots import Slots
from swell.supervisor.workers import State, Worker
from swell.telemetry.metrics import RESTS, SUMMED, Snapshot, Totals, WorkerReading, rest

if TYPE_CHECKING:
    from swell.supervisor.parent import Parent

__all__ = ["Meter", "cause_of"]

Cause = Literal[
    "memory", "age", "requests", "stuck", "command", "reload", "scaled down",
    "failed start", "crash", "late to end", "ending", "by itself",
]  # fmt: skip
# In the reasons that the parent gives for the end of a worker, and the word for it in the metrics.
_CAUSES: tuple[tuple[str, Cause], ...] = (
    ("--limit-max-rss", "memory"),
    ("--limit-max-age", "age"),
    ("limit_max_requests", "requests"),
    ("stood still", "stuck"),
    ("a restart was asked for", "command"),
    ("its code was replaced", "reload"),
    ("scaled down", "scaled down"),
)


def cause_of(worker: Worker, state: State, ending: bool) -> Cause:
    """Why a worker has ended, in a word of which there are few. `state` is the one that it was in."""
    if state is State.STARTING:
        return "ending" if ending else "failed start"
    found = (word for text, word in _CAUSES if text in worker.condemned or text in worker.cause)
    named: Cause | None = next(found, None)
    if worker.condemned:
        return named or "stuck"
    if state is State.READY:
        return "crash"
    if worker.killed:
        return "late to end"
    return named or ("ending" if ending else "by itself")


class Meter:
    """One per parent. `ended` is what workers have counted that are no more; `exits` are by cause."""

    def __init__(self, slots: Slots, backlog: Backlog) -> None:
        self.ended = Totals()
        self.starts = 0
        # From the beginning: a series that appears with its first crash has not risen in the eyes of Prometheus.
        self.exits: Counter[str] = Counter(dict.fromkeys(get_args(Cause), 0))
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.last = ("", "")
        self._started = time.time()
        self._cpu = 0.0  # of the parents before this one, in seconds
        self._rests: dict[str, int] = {}
        self._board = slots.board
        self._metrics = slots.metrics
        self._backlog = backlog

    def gone(self, worker: Worker, state: State, ending: bool) -> None:
        """A worker has ended. To be called once, before its slot is given to another."""
        slot = worker.seat.slot
        self.ended.add(self._board.read(slot), self._board.requests(slot))
        self.exits[cause_of(worker, state, ending)] += 1
        _bury(self._metrics, slot)

    def decided(self, rule: str, guard: str | None, before: int, after: int) -> None:
        """The number of workers is to be another one, or a guard has kept it."""
        direction = "up" if after > before else "down" if after < before else "hold"
        self.decisions[rule, direction] += 1
        self.last = rule, guard or ""

    def hand_on(self, path: Path, parent: Parent) -> None:
        """Writes down what has been counted, for the parent that takes over; what cannot be written starts anew."""
        metrics = self._metrics
        keys = {key for region in range(metrics.regions) for key in metrics.read(region)}
        said = {
            "totals": self.ended.plus(self._workers(parent.workers)).dump(),
            "starts": self.starts,
            "exits": self.exits,
            "rests": self._rests,
            "decisions": [[*of, number] for of, number in self.decisions.items()],
            "started": self._started,
            "cpu": self._cpu + time.process_time(),
            "application": [[key.decode(), metrics.total(key)] for key in sorted(keys)],
        }
        with contextlib.suppress(OSError):
            path.write_text(json.dumps(said), encoding="utf-8")

    def take_over(self, path: Path) -> None:
        """Goes on where the parent before this one has stopped, which may have been of another version."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            said = json.loads(path.read_text(encoding="utf-8"))
            path.unlink()
            before = Totals.load(said["totals"])
            self.ended.merge(before)
            self.starts += int(said["starts"])
            self._rests.update({str(name): int(number) for name, number in said.get("rests", {}).items()})
            self.exits.update({str(cause): int(number) for cause, number in said["exits"].items()})
            for rule, direction, number in said["decisions"]:
                self.decisions[str(rule), str(direction)] += int(number)
            self._started = float(said["started"])
            self._cpu = float(said["cpu"])
            for key, numbers in said["application"]:
                _add(self._metrics, key.encode(), [float(number) for number in numbers])

    def snapshot(self, parent: Parent) -> Snapshot:
        """Everything, as it is now."""
        workers = self._workers(parent.workers)
        for name in RESTS:
            self._rests[name] = max(self._rests.get(name, 0), rest(name, self.ended, workers))
        return Snapshot(
            version=__version__,
            started=self._started,
            state=parent.state,
            target=parent.target,
            minimum=parent.minimum,
            maximum=parent.maximum,
            generation=parent.generation.number,
            workers=workers,
            rests=self._rests,
            application={w.seat.slot: self._metrics.read(w.seat.slot) for w in parent.workers.values()},
            application_ended=self._metrics.read(self._metrics.ended),
            ended=self.ended,
            starts=self.starts,
            exits=self.exits,
            decisions=self.decisions,
            last=self.last,
            queues=self._backlog.read(),
            cpu=self._cpu + time.process_time(),
            rss=resident(os.getpid()) or 0,
        )

    def _workers(self, workers: Mapping[int, Worker]) -> list[WorkerReading]:
        now, found = time.monotonic(), []
        for worker in workers.values():
            slot = worker.seat.slot
            seen = self._board.read(slot)
            heartbeat = seen["heartbeat_ns"] / 1e9
            found.append(
                WorkerReading(
                    number=slot,
                    state="stuck" if seen["state"] == "stuck" else worker.state.value,
                    age=now - worker.started,
                    silence=max(0.0, now - heartbeat) if heartbeat else 0.0,
                    slot=seen,
                    requests=self._board.requests(slot),
                )
            )
        return found


def _bury(metrics: Store, slot: int) -> None:
    """Adds the application's counters to those of the workers that have ended."""
    for key, numbers in metrics.read(slot).items():
        _add(metrics, key, numbers)
    metrics.clear(slot)


def _add(metrics: Store, key: bytes, numbers: Sequence[float]) -> None:
    with contextlib.suppress(OSError, ValueError):  # no room, or no key of ours
        if json.loads(key)[0] in SUMMED:
            view, first = metrics.writer(metrics.ended).add(key, [0.0] * len(numbers))
            for at, number in enumerate(numbers):
                view[first + at] += number
