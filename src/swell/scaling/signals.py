"""What is known of workers and the machine at one moment, as typed samples.

`worker_sample` makes a sample from two successive snapshots of a worker's scoreboard slot (plain dictionaries, the
keys of `swell._core.Scoreboard.read`). Every value may be `None`, which means: not known. Counters may wrap at 64 bits
or begin anew with another worker in the slot; neither makes a wrong number. Knows neither targets nor the scoreboard's
file. Called by the parent, which owns the clock, and by `simulate`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["HostSample", "WorkerSample", "histogram_difference", "percentile", "worker_sample"]

_WRAP = 1 << 64
# The sampler looks 20 times a second at a busy loop and 4 times at an idle one. A share of fewer looks than this is
# mostly chance, so CPU time, which a loop that computes spends, fills up the rest.
FEW_LOOKS = 5
# An idle loop beats once a second; a beat that is later than this is lag that no histogram holds yet.
IDLE_BEAT = 1.0
_IDENTITY = ("worker", "generation", "pid", "started_ns")


@dataclass(frozen=True, slots=True)
class WorkerSample:
    """One worker over the last `span` seconds, until `at`. Shares are 0..1 of one core or of the time, times seconds.

    `state` is the slot's: "starting", "ready", "draining", "stopping", "stuck", "empty".
    """

    worker: int
    state: str
    at: float
    span: float
    age: float | None = None
    utilisation: float | None = None
    dispatch_p95: float | None = None
    lag_p95: float | None = None
    latency_p95: float | None = None
    in_flight: int | None = None
    websockets: int | None = None
    connections: int | None = None
    requests_per_s: float | None = None
    cpu: float | None = None
    rss: int | None = None
    pool_size: int | None = None
    pool_busy: int | None = None
    pool_waiting: int | None = None

    @property
    def pool(self) -> float | None:
        """Busy threads and waiting calls as a share of the pool. 0 while the application uses none."""
        if self.pool_size is None or self.pool_busy is None or self.pool_waiting is None:
            return None
        return (self.pool_busy + self.pool_waiting) / self.pool_size if self.pool_size > 0 else 0.0

    @property
    def idle(self) -> bool:
        """Nothing was asked of it. What is not known counts as work; open connections that are silent do not."""
        return self.requests_per_s == 0 and self.in_flight == 0 and not self.websockets


@dataclass(frozen=True, slots=True)
class HostSample:
    """The machine or the container, whichever is tighter: `cpu` is 0..1 of the `cores` that may be used.

    `throttled` is the share of the container's CPU periods in which it was made to wait. Sizes are bytes.
    """

    cpu: float | None = None
    cores: float | None = None
    memory_limit: int | None = None
    memory_used: int | None = None
    throttled: float | None = None


def worker_sample(
    before: Mapping[str, object] | None, after: Mapping[str, object], *, span: float, now: float
) -> WorkerSample:
    """The sample between two snapshots that lie `span` seconds apart; `now` is CLOCK_MONOTONIC in seconds.

    Without a usable `before` (a new worker) rates are `None` and what is open now is known all the same.
    """
    if not (math.isfinite(span) and span > 0):
        before, span = None, 0.0
    if before is not None and any(before.get(key) != after.get(key) for key in _IDENTITY):
        before = None
    passed = _Difference(before, after)
    requests, cpu_ns = passed.of("requests"), passed.of("cpu_ns")
    cpu = cpu_ns / 1e9 / span if cpu_ns is not None and span > 0 else None
    started = _natural(after.get("started_ns"))
    worker, state = after.get("worker"), after.get("state")
    return WorkerSample(
        worker=worker if isinstance(worker, int) else -1,
        state=state if isinstance(state, str) else "empty",
        at=now,
        span=span,
        age=max(0.0, now - started / 1e9) if started else None,
        utilisation=_utilisation(passed.of("busy_samples"), passed.of("samples"), cpu),
        dispatch_p95=percentile(passed.histogram("dispatch_delay"), 0.95),
        lag_p95=_lag(percentile(passed.histogram("loop_lag"), 0.95), _natural(after.get("heartbeat_ns")), now),
        latency_p95=percentile(passed.histogram("latency"), 0.95),
        in_flight=_natural(after.get("in_flight")),
        websockets=_natural(after.get("websockets")),
        connections=_natural(after.get("connections")),
        requests_per_s=requests / span if requests is not None and span > 0 else None,
        cpu=cpu,
        rss=_natural(after.get("rss_bytes")) or None,
        pool_size=_natural(after.get("pool_size")),
        pool_busy=_natural(after.get("pool_busy")),
        pool_waiting=_natural(after.get("pool_waiting")),
    )


class _Difference:
    """What counters grew by between two snapshots; `None` where that cannot be said."""

    def __init__(self, before: Mapping[str, object] | None, after: Mapping[str, object]) -> None:
        self._before = before
        self._after = after

    def of(self, key: str) -> int | None:
        if self._before is None:
            return None
        return _grown(self._before.get(key), self._after.get(key))

    def histogram(self, key: str) -> list[int] | None:
        if self._before is None:
            return None
        return histogram_difference(self._before.get(key), self._after.get(key))


def _natural(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _WRAP else None


def _grown(before: object, after: object) -> int | None:
    old, new = _natural(before), _natural(after)
    if old is None or new is None:
        return None
    # A counter that wrapped grew a little; one that began anew seems to have grown by nearly 2**64.
    grown = (new - old) % _WRAP
    return grown if grown < _WRAP // 2 else None


def histogram_difference(before: object, after: object) -> list[int] | None:
    """What was added to each bucket; `None` if the two do not belong together."""
    if not isinstance(before, Sequence) or not isinstance(after, Sequence) or len(before) != len(after):
        return None
    if set(map(type, before)) | set(map(type, after)) <= {int} and len(after):
        # Nearly always nothing wraps: three such lists a worker and sample, without a call per bucket.
        quick = list(map(operator.sub, after, before))
        if min(before) >= 0 and min(quick) >= 0 and max(after) < _WRAP and max(quick) < _WRAP // 2:
            return quick
    added = [_grown(old, new) for old, new in zip(before, after, strict=True)]
    known = [count for count in added if count is not None]
    return known if len(known) == len(added) else None


def percentile(buckets: Sequence[int] | None, share: float) -> float | None:
    """Seconds below which `share` of the values lie. An empty histogram gives 0: nothing waited.

    Bucket 0 holds values below 1 µs, bucket i those from 2**(i-1) to 2**i µs. Within a bucket they count as spread
    evenly.
    """
    if buckets is None:
        return None
    if not any(buckets):
        return 0.0
    wanted, highest = share * sum(buckets), 0.0
    for index, count in enumerate(buckets):
        if count > 0:
            low, high = float(1 << index) / 2 if index else 0.0, float(1 << index)
            if wanted <= count:
                return (low + (high - low) * max(0.0, wanted) / count) / 1e6
            highest = high
        wanted -= count
    return highest / 1e6


def _utilisation(busy: int | None, looks: int | None, cpu: float | None) -> float | None:
    if busy is None or looks is None or busy > looks:
        return None
    if looks >= FEW_LOOKS:
        return busy / looks
    if cpu is None:
        return None
    return (busy + min(1.0, cpu) * (FEW_LOOKS - looks)) / FEW_LOOKS


def _lag(measured: float | None, heartbeat_ns: int | None, now: float) -> float | None:
    overdue = max(0.0, now - heartbeat_ns / 1e9 - IDLE_BEAT) if heartbeat_ns else None
    if measured is None or overdue is None:
        return overdue or measured
    return max(measured, overdue)
