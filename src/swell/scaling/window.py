"""What the autoscaler remembers: a window of ticks, and what one decision leaves to the next.

A `Tick` is all workers and the host at one moment, already added up, so that a decision over 60 s costs the same with 8
workers as with 80. `History` keeps as many ticks as the longest window needs, and the `Memory` of the last decision:
panics, past needs, changes. It has no clock; times are those of the samples. Called by the parent and `simulate`;
`decide` only reads it.
"""

from __future__ import annotations

import bisect
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swell.scaling.signals import HostSample, WorkerSample

__all__ = ["DELAYS", "LINEAR", "Change", "History", "Means", "Memory", "Tick"]

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
_SLICE = 256
# Larger numbers than this are nonsense, and would cost the sums their precision.
_LARGEST = 1e6
# A tick without a span has next to no weight.
_NO_SPAN = 1e-6


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


@dataclass(frozen=True, slots=True)
class Means:
    """Means over some ticks, weighted by their spans. `covered` is the sum of those. Delays: `None` if never known."""

    covered: float
    ready: float
    known: tuple[float, ...]
    missing: tuple[float, ...]
    delays: tuple[float | None, ...]
    latency: float | None

    def per_worker(self, signal: int) -> float:
        return self.known[signal] / max(1.0, self.ready)


class History:
    """The ticks of the last `keep` seconds and the memory of the last decision. One writer, the owner.

    With each tick the sums over all ticks before it are kept, so that the means of any window cost one subtraction.
    """

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._ticks: list[Tick] = []
        self._times: list[float] = []
        self._sums: list[tuple[float, ...]] = []
        self._sum: tuple[float, ...] = (0.0,) * _WIDTH
        self.began: float | None = None
        self.memory = Memory()

    def __len__(self) -> int:
        return len(self._ticks)

    def add(self, tick: Tick) -> None:
        """Takes the newest tick. One that is not newer than the last is dropped: time does not go back."""
        if not math.isfinite(tick.at) or (self._times and tick.at <= self._times[-1]):
            return
        if self.began is None:
            self.began = tick.at
        self._ticks.append(tick)
        self._times.append(tick.at)
        self._sums.append(self._sum)
        self._sum = tuple(map(operator.add, self._sum, _weighted(tick)))
        # In slices, because a list gives up its head only by moving the rest.
        old = self.first_since(tick.at - self._keep)
        if old >= _SLICE or len(self._ticks) > _MOST_TICKS:
            old = max(old, len(self._ticks) - _MOST_TICKS)
            del self._ticks[:old], self._times[:old], self._sums[:old]

    @property
    def last(self) -> Tick | None:
        return self._ticks[-1] if self._ticks else None

    def first_since(self, begin: float) -> int:
        """The index of the first tick that is later than `begin`."""
        return bisect.bisect_right(self._times, begin)

    def since(self, index: int) -> list[Tick]:
        """The ticks from an index on, the newest first."""
        return self._ticks[index:][::-1]

    def means(self, begin: int, end: int | None = None) -> Means | None:
        """The means over the ticks `begin` to `end`, that one not included; `None` if there are none."""
        end = len(self._ticks) if end is None else end
        if not 0 <= begin < end <= len(self._ticks):
            return None
        after = self._sum if end == len(self._ticks) else self._sums[end]
        # Sums of millions of samples are rounded; nothing in them is negative.
        total = [max(0.0, value) for value in map(operator.sub, after, self._sums[begin])]
        covered = total[0] or _NO_SPAN
        delays = zip(total[_DELAYS_AT:_LATENCY_AT:2], total[_DELAYS_AT + 1 : _LATENCY_AT : 2], strict=True)
        return Means(
            covered=covered,
            ready=total[1] / covered,
            known=tuple(value / covered for value in total[2:_MISSING_AT]),
            missing=tuple(value / covered for value in total[_MISSING_AT:_DELAYS_AT]),
            delays=tuple(value / weight if weight else None for value, weight in delays),
            latency=total[_LATENCY_AT] / total[_LATENCY_AT + 1] if total[_LATENCY_AT + 1] else None,
        )


# The places in the sums: span; ready; known, then missing of each linear signal; value and span of delays and latency.
_MISSING_AT = 2 + len(LINEAR)
_DELAYS_AT = _MISSING_AT + len(LINEAR)
_LATENCY_AT = _DELAYS_AT + 2 * len(DELAYS)
_WIDTH = _LATENCY_AT + 2


def _weighted(tick: Tick) -> list[float]:
    span = tick.span or _NO_SPAN
    row = [span, tick.ready * span]
    row += [value * span for value in tick.known]
    row += [count * span for count in tick.missing]
    for value in (*tick.delays, tick.latency):
        row += (0.0, 0.0) if value is None else (value * span, span)
    return row
