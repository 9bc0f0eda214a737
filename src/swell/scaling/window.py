"""What the autoscaler remembers: a window of ticks, and what one decision leaves to the next.

A `Tick` is all workers and the host at one moment, already added up, so that a decision over 60 s costs the same with 8
workers as with 80. `History` keeps as many ticks as the longest window needs, and the `Memory` of the last decision:
panics, past needs, changes. It has no clock; times are those of the samples. Called by the parent and `simulate`;
`decide` only reads it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swell.scaling.signals import HostSample, WorkerSample

__all__ = ["DELAYS", "LINEAR", "Change", "History", "Memory", "Tick", "demand_in"]

# Signals that grow with the load: twice the load needs twice the workers. (name, value of a worker)
LINEAR: tuple[tuple[str, Callable[[WorkerSample], float | None]], ...] = (
    ("utilisation", lambda worker: worker.utilisation),
    ("in_flight", lambda worker: worker.in_flight),
    ("cpu", lambda worker: worker.cpu),
    ("pool", lambda worker: worker.pool),
)
# Signals that only say that capacity lacks: a queue's wait is no linear function of the load.
DELAYS: tuple[tuple[str, Callable[[WorkerSample], float | None]], ...] = (
    ("dispatch_delay", lambda worker: worker.dispatch_p95),
    ("loop_lag", lambda worker: worker.lag_p95),
)
UTILISATION, IN_FLIGHT, CPU, POOL = range(4)
_CAPACITY = frozenset({"ready", "stuck"})
_MOST_TICKS = 8192
_LARGEST = 1e12


@dataclass(frozen=True, slots=True)
class Tick:
    """All workers at the time `at`, over the `span` seconds before.

    `known` and `missing` belong to `LINEAR`: the sum over ready workers, and how many of them said nothing. `delays`
    belong to `DELAYS`: the mean over ready workers, `None` if no one knows. `ready` counts workers that take requests,
    a stuck one included: it says nothing that can be used and is about to be replaced.
    """

    at: float
    span: float
    ready: int
    starting: int
    known: tuple[float, ...]
    missing: tuple[int, ...]
    delays: tuple[float | None, ...]
    latency: float | None
    rss_sum: int
    rss_most: int
    idle: bool
    host: HostSample

    @classmethod
    def of(cls, at: float, span: float, workers: Sequence[WorkerSample], host: HostSample | None = None) -> Tick:
        """Adds up the samples of one moment. Workers that drain are leaving: neither load nor capacity."""
        capacity = [worker for worker in workers if worker.state in _CAPACITY]
        # The numbers of a stuck worker are those of its one endless request.
        telling = [worker for worker in capacity if worker.state == "ready"]
        known, missing = [], []
        for _, value_of in LINEAR:
            values = [value for worker in telling if (value := _sane(value_of(worker))) is not None]
            known.append(math.fsum(values))
            missing.append(len(capacity) - len(values))
        delays = tuple(_mean([_sane(value_of(worker)) for worker in telling]) for _, value_of in DELAYS)
        rss = [worker.rss for worker in telling if worker.rss is not None and worker.rss > 0]
        return cls(
            at=at,
            span=span if math.isfinite(span) and span > 0 else 0.0,
            ready=len(capacity),
            starting=sum(worker.state == "starting" for worker in workers),
            known=tuple(known),
            missing=tuple(missing),
            delays=delays,
            latency=_mean([_sane(worker.latency_p95) for worker in telling]),
            rss_sum=sum(rss) + max(rss, default=0) * (len(capacity) - len(rss)),
            rss_most=max(rss, default=0),
            idle=all(worker.idle for worker in workers if worker.state not in ("starting", "empty")),
            host=host if host is not None else HostSample(),
        )


def _sane(value: float | None) -> float | None:
    """A number that sums cannot be spoilt by; anything else counts as not known."""
    if value is None or not math.isfinite(value) or value < 0:
        return None
    return min(float(value), _LARGEST)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def demand_in(tick: Tick, signal: int, target: float, full: float, *, upward: bool) -> float:
    """Workers that one linear signal of one tick asks for. Missing data counts 0 upward and `full` downward."""
    total = tick.known[signal] + (0.0 if upward else tick.missing[signal] * full)
    return total / target


@dataclass(frozen=True, slots=True)
class Change:
    """The count changed; `rule` says why, "external" when somebody else did it."""

    at: float
    before: int
    after: int
    rule: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decision leaves to the next one. Frozen: a decision is a pure function of history and memory.

    `needs` is a falling staircase of (time, workers needed then): entries that a later, larger one hides are gone.
    `strains` are (time, count, load) at which a delay passed its target. `unsettled_at` is the last time at which the
    ready workers were not the wanted ones.
    """

    target: int | None = None
    panic_until: float = -math.inf
    busy_at: float = -math.inf
    unsettled_at: float = -math.inf
    needs: tuple[tuple[float, int], ...] = ()
    strains: tuple[tuple[float, int, float], ...] = ()
    changes: tuple[Change, ...] = ()


class History:
    """The ticks of the last `keep` seconds and the memory of the last decision. One writer, the owner."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._ticks: deque[Tick] = deque(maxlen=_MOST_TICKS)
        self.began: float | None = None
        self.memory = Memory()

    def add(self, tick: Tick) -> None:
        """Takes the newest tick. One that is not newer than the last is dropped: time does not go back."""
        if not math.isfinite(tick.at) or (self._ticks and tick.at <= self._ticks[-1].at):
            return
        if self.began is None:
            self.began = tick.at
        self._ticks.append(tick)
        while self._ticks[0].at < tick.at - self._keep:
            self._ticks.popleft()

    @property
    def last(self) -> Tick | None:
        return self._ticks[-1] if self._ticks else None

    def newest(self, count: int) -> list[Tick]:
        """The last `count` ticks, the newest first."""
        return [self._ticks[-1 - index] for index in range(min(count, len(self._ticks)))]

    def since(self, begin: float) -> list[Tick]:
        """The ticks later than `begin`, the newest first."""
        found = []
        for tick in reversed(self._ticks):
            if tick.at <= begin:
                break
            found.append(tick)
        return found
