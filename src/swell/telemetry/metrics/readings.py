"""What has been measured: the workers that live, the sum of those that ended, and the instance around them.

Counters belong to workers and end with them. So that they never go backwards, what a worker has counted is added to
`Totals` when it has ended, and every total is the sum of both. `Totals` is bounded: what differs in too many ways is
counted together. A reading is what `swell._core.Scoreboard.read` returns.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "BUCKETS", "COUNTERS", "HISTOGRAMS", "OTHER", "RESTS", "Kind", "Queue", "Snapshot", "Totals", "WorkerReading",
    "rest",
]  # fmt: skip

# Method, scheme, version, status, route.
Kind = tuple[str, str, str, int, str]
Requests = Iterable[tuple[Kind, Sequence[int], int]]

COUNTERS = (
    "accepted", "handed_over", "taken_over", "requests",
    "responses_1xx", "responses_2xx", "responses_3xx", "responses_4xx", "responses_5xx",
    "refused", "overloaded", "timed_out", "application_errors", "engine_faults", "websockets_opened",
    "bytes_received", "bytes_sent", "samples", "busy_samples", "cpu_ns", "gc_pauses", "gc_pause_ns",
    "dispatch_delay_ns", "loop_lag_ns", "handshakes", "handshakes_resumed",
    *(f"handshakes_{reason}" for reason in (
        "without_tls", "incompatible", "client_certificate", "refused_by_client", "timed_out", "aborted", "malformed",
        "internal",
    )),
    "h2_connections", "h2_streams", "h2_resets_received_cancel", "h2_resets_received_other",
    *(f"h2_resets_sent_{reason}" for reason in ("refused", "stalled", "cancelled", "failed")),
    *(f"h2_closed_{reason}" for reason in ("resets", "pieces", "overhead", "streams", "protocol")),
)  # fmt: skip
# Counters that are the difference of two. A worker counts each of the two at a moment of its own, so that the
# difference of what is read in between may be too small: it is to be kept from falling, which to Prometheus is a
# restart from zero.
RESTS = {
    "waiting_samples": ("samples", "busy_samples"),
    "refused_requests": ("refused", "overloaded"),
    "handshakes_in_full": ("handshakes", "handshakes_resumed"),
}
HISTOGRAMS = ("dispatch_delay", "loop_lag")
BUCKETS = 32
# The scoreboard's own label for what there are too many of.
OTHER = "_OTHER"
# A worker tells 128 kinds apart; new code brings new ones.
KINDS_AT_MOST = 1024


@dataclass(slots=True)
class Totals:
    """Counters of any number of workers."""

    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    histograms: dict[str, list[int]] = field(default_factory=lambda: {name: [0] * BUCKETS for name in HISTOGRAMS})
    requests: dict[Kind, tuple[list[int], int]] = field(default_factory=dict)

    def add(self, reading: Mapping[str, Any], requests: Requests = ()) -> None:
        """What one worker has counted."""
        counters = self.counters
        for name in COUNTERS:
            counters[name] += reading[name]
        for name, counts in self.histograms.items():
            counts[:] = map(operator.add, counts, reading[name])
        self._add_requests(requests)

    def merge(self, other: Totals) -> None:
        """Adds those of another sum."""
        for name, number in other.counters.items():
            self.counters[name] += number
        for name, counts in other.histograms.items():
            self.histograms[name] = list(map(operator.add, self.histograms[name], counts))
        self._add_requests([(kind, counts, nanoseconds) for kind, (counts, nanoseconds) in other.requests.items()])

    def plus(self, others: Iterable[WorkerReading]) -> Totals:
        """The sum with living workers."""
        counters = dict(self.counters)
        histograms = {name: list(counts) for name, counts in self.histograms.items()}
        all_of_them = Totals(counters, histograms, {kind: (list(c), s) for kind, (c, s) in self.requests.items()})
        for other in others:
            all_of_them.add(other.slot, other.requests)
        return all_of_them

    def _add_requests(self, requests: Requests) -> None:
        known = self.requests
        for kind, counts, nanoseconds in requests:
            if kind not in known and len(known) >= KINDS_AT_MOST:
                kind = (OTHER, kind[1], kind[2], 0, OTHER)
            before = known.get(kind)
            if before is None:
                known[kind] = (list(counts), nanoseconds)
            else:
                known[kind] = (list(map(operator.add, before[0], counts)), before[1] + nanoseconds)

    def dump(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {
            "counters": self.counters,
            "histograms": self.histograms,
            "requests": [[*kind, counts, nanoseconds] for kind, (counts, nanoseconds) in self.requests.items()],
        }

    @classmethod
    def load(cls, said: Mapping[str, Any]) -> Totals:
        """What `dump` has written, perhaps that of another version: counters that only one of them knows are 0."""
        totals = cls()
        for name in COUNTERS:
            totals.counters[name] = int(said["counters"].get(name, 0))
        for name in HISTOGRAMS:
            counts = [int(count) for count in said["histograms"].get(name, ())]
            if len(counts) == BUCKETS:
                totals.histograms[name] = counts
        for method, scheme, version, status, route, counts, nanoseconds in said["requests"]:
            kind = (str(method), str(scheme), str(version), int(status), str(route))
            totals.requests[kind] = ([int(count) for count in counts], int(nanoseconds))
        return totals


@dataclass(frozen=True, slots=True)
class WorkerReading:
    """A living worker: its slot of the scoreboard, the requests that it has counted, `age` in seconds, and how long ago
    its loop last came round."""

    number: int
    state: str
    age: float
    silence: float
    slot: Mapping[str, Any]
    requests: Sequence[tuple[Kind, Sequence[int], int]] = ()


def rest(name: str, ended: Totals, workers: Iterable[WorkerReading]) -> int:
    """The difference, as far as it is known."""
    whole, part = RESTS[name]
    living: int = sum(worker.slot[whole] - worker.slot[part] for worker in workers)
    return max(0, ended.counters[whole] - ended.counters[part] + living)


@dataclass(frozen=True, slots=True)
class Queue:
    """Connections that wait to be accepted on one address, and how many may."""

    address: str
    length: int
    limit: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment. `started` is Unix time; `exits` are counted by cause, `decisions` by (rule, direction), `last` is the
    rule and the guard of the latest one; `rests` are the differences at their highest so far, those of this moment
    where they are not given; `cpu` in seconds and `rss` in bytes are the parent's own;
    `application` are its own metrics, by slot."""

    version: str
    started: float
    state: str
    target: int
    minimum: int
    maximum: int
    generation: int
    workers: Sequence[WorkerReading]
    ended: Totals
    starts: int = 0
    exits: Mapping[str, int] = field(default_factory=dict)
    decisions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    last: tuple[str, str] = ("", "")
    queues: Sequence[Queue] = ()
    rests: Mapping[str, int] = field(default_factory=dict)
    cpu: float = 0.0
    rss: int = 0
    application: Mapping[int, Mapping[bytes, Sequence[float]]] = field(default_factory=dict)
    application_ended: Mapping[bytes, Sequence[float]] = field(default_factory=dict)
