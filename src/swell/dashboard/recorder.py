"""What the page shows: readings in, a document for this moment out, and the points of its charts in a bounded ring.

Rates and percentiles are those of the time since the last look, which is a second while somebody watches. A worker is
known by its id, which no other ever has; what one has counted between the last look and its end is missing in
percentiles and in its own row, not in the totals, which are those of `/metrics`. What was seen before this parent is
taken over: from the parent that it replaces all of it, from the record of the load a point a minute. Knows no clock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swell._core import DURATION_BOUNDS
from swell.dashboard.windows import between, percentile, powers, rate
from swell.telemetry.metrics import Snapshot, Totals
from swell.telemetry.metrics.readings import COUNTERS, Kind

__all__ = ["COLUMNS", "KEPT_SECONDS", "Recorder"]

# One point of the charts. Rates are per second, durations seconds, busy and cpu cores; None is "nobody knows".
COLUMNS = (
    "at", "span", "requests", "errors4", "errors5", "p50", "p95", "p99", "dispatch", "lag", "in_flight", "connections",
    "websockets", "busy", "cpu", "ready", "workers", "target", "need", "forecast",
)  # fmt: skip
KEPT_SECONDS, KEPT_POINTS = 900.0, 900
RUNNING_AT_MOST, ROUTES_AT_MOST = 12, 12
# Routes are judged by their last minute, which begins at one of these looks.
ROUTE_SECONDS, ROUTE_LOOK_SECONDS = 60.0, 10.0
_OPEN = ("connections", "h2_open", "h2_streams_open", "websockets")
_HISTOGRAM = powers(32)
_HANDSHAKES_FAILED = {name for name in COUNTERS if name.startswith("handshakes_")} - {"handshakes_resumed"}
_FINISHED = frozenset({"stopping", "empty"})

Row = list[float | int | None]
Document = dict[str, Any]
Scaling = Mapping[str, Any]


class Recorder:
    """One per instance. `observe` is called with a growing `at`, Unix time, and the monotonic `now`, in seconds."""

    def __init__(self) -> None:
        self.points: deque[Row] = deque(maxlen=KEPT_POINTS)
        self._now: float | None = None
        self._workers: dict[int, Mapping[str, Any]] = {}
        self._totals: Totals | None = None
        self._looks: deque[tuple[float, dict[Kind, tuple[list[int], int]]]] = deque()

    def dump(self) -> Document:
        """The points, as JSON knows them."""
        return {"columns": COLUMNS, "points": list(self.points)}

    def load(self, said: Mapping[str, Any]) -> None:
        """Goes on where another recorder, perhaps of another version, has stopped. What this one has seen so far was
        beside that one and goes; what is counted from now on is compared with nothing before."""
        places = {name: place for place, name in enumerate(said["columns"])}
        rows = [[_number(row, places.get(name)) for name in COLUMNS] for row in said["points"][-KEPT_POINTS:]]
        self.points = deque((row for row in rows if row[0] is not None), KEPT_POINTS)
        self._now = self._totals = None
        self._workers = {}
        self._looks.clear()

    def remember(self, minutes: Iterable[tuple[float, Mapping[str, float | None]]]) -> None:
        """Points from before the first one, as far as they are known: when a minute began, and some of its columns."""
        first = self.points[0][0] if self.points else None
        earlier: list[Row] = []
        for at, known in minutes:
            if first is None or at < first:
                earlier.append([at, 60.0, *(known.get(name) for name in COLUMNS[2:])])
        self.points.extendleft(reversed(earlier[-(KEPT_POINTS - len(self.points)) :]))

    def observe(
        self, at: float, now: float, status: Mapping[str, Any], snapshot: Snapshot, scaling: Scaling | None
    ) -> Document:
        """The document of this moment. Its point, if this is not the first look, is in the ring and in `point`."""
        span = 0.0 if self._now is None else max(0.0, now - self._now)
        totals = snapshot.ended.plus(snapshot.workers)
        workers = [self._worker(worker, now, span) for worker in status["workers"]]
        point = self._point(at, span, status["workers"], workers, snapshot, totals, scaling)
        if span > 0:
            self._keep(at, point)
        self._look(now, totals.requests)
        document: Document = {
            "at": round(at, 3),
            "instance": status["instance"],
            "totals": _totals(totals),
            "workers": workers,
            "point": point if span > 0 else None,
            "running": _running(status["workers"], now),
            "routes": self._routes(now, totals.requests),
            "protocols": self._protocols(span, totals, status["workers"]),
            "open": {name: sum(worker[name] for worker in status["workers"]) for name in _OPEN},
            "queues": [[queue.address, queue.length, queue.limit] for queue in snapshot.queues],
            "exits": dict(snapshot.exits),
            "scaling": scaling,
            "parent": {"cpu": round(snapshot.cpu, 3), "rss": snapshot.rss},
        }
        self._now, self._totals = now, totals
        self._workers = {worker["id"]: worker for worker in status["workers"]}
        return document

    def _keep(self, at: float, point: Row) -> None:
        self.points.append(point)
        while self.points and (oldest := self.points[0][0]) is not None and oldest < at - KEPT_SECONDS:
            self.points.popleft()

    def _worker(self, worker: Mapping[str, Any], now: float, span: float) -> Document:
        before = self._workers.get(worker["id"])
        latency = between(None if before is None else before["latency"], worker["latency"])
        current = worker.get("current")
        oldest = current or next(iter(worker.get("waiting") or ()), None)
        return {
            "id": worker["id"],
            "slot": worker["slot"],
            "pid": worker["pid"],
            "generation": worker["generation"],
            "state": worker["state"],
            "age": round(worker["age"], 1),
            "cause": worker["cause"],
            "busy": worker["busy"] / 1000,
            "cpu": round(rate(before, worker, "cpu_ns", span) / 1e9, 4),
            "rss": worker["rss_bytes"],
            "in_flight": worker["in_flight"],
            "connections": worker["connections"],
            "websockets": worker["websockets"],
            "requests": worker["requests"],
            "rate": round(rate(before, worker, "requests", span), 2),
            "errors": worker["responses_5xx"],
            "p95": _rounded(percentile(_HISTOGRAM, latency, 0.95)) if span > 0 else None,
            "threads": [worker["pool_busy"], worker["pool_size"], worker["pool_waiting"]],
            "silence": round(max(0.0, now - worker["heartbeat_ns"] / 1e9), 2) if worker["heartbeat_ns"] else 0.0,
            "serves": None if oldest is None else _request(oldest, now),
            # What runs at this moment blocks the loop; what waits does not.
            "blocks": current is not None,
            "waiting": [_request(one, now) for one in (worker.get("waiting") or ())[:RUNNING_AT_MOST]],
        }

    def _point(
        self,
        at: float,
        span: float,
        readings: list[Mapping[str, Any]],
        workers: list[Document],
        snapshot: Snapshot,
        totals: Totals,
        scaling: Scaling | None,
    ) -> Row:
        before = None if self._totals is None else self._totals.counters
        count = totals.counters

        def spread(name: str, share: float) -> float | None:
            added = [0] * len(_HISTOGRAM)
            for reading in readings:
                old = self._workers.get(reading["id"])
                since = between(None if old is None else old[name], reading[name])
                added = list(map(int.__add__, added, since))
            return _rounded(percentile(_HISTOGRAM, added, share))

        def total(name: str) -> int:
            return sum(worker[name] for worker in workers)

        living = [worker for worker in workers if worker["state"] not in _FINISHED]
        return [
            round(at, 2),
            round(span, 3),
            round(rate(before, count, "requests", span), 2),
            round(rate(before, count, "responses_4xx", span), 2),
            round(rate(before, count, "responses_5xx", span), 2),
            spread("latency", 0.5),
            spread("latency", 0.95),
            spread("latency", 0.99),
            spread("dispatch_delay", 0.95),
            spread("loop_lag", 0.95),
            total("in_flight"),
            total("connections"),
            total("websockets"),
            round(sum(worker["busy"] for worker in living), 3),
            round(sum(worker["cpu"] for worker in workers), 3),
            sum(worker["state"] == "ready" for worker in workers),
            len(living),
            snapshot.target,
            None if scaling is None else scaling["need"],
            None if scaling is None else (scaling["forecast"] or {}).get("load"),
        ]

    def _look(self, now: float, kinds: dict[Kind, tuple[list[int], int]]) -> None:
        looks = self._looks
        if not looks or now - looks[-1][0] >= ROUTE_LOOK_SECONDS:
            looks.append((now, kinds))
        while len(looks) > 1 and looks[1][0] <= now - ROUTE_SECONDS:
            looks.popleft()

    def _routes(self, now: float, kinds: dict[Kind, tuple[list[int], int]]) -> list[Document]:
        """The routes of the last minute: those that fail first, then the slowest."""
        begin, before = self._looks[0]
        seconds = now - begin
        found: dict[tuple[str, str], Document] = {}
        sums: dict[tuple[str, str], list[int]] = {}
        for kind, (counts, nanoseconds) in kinds.items():
            old = before.get(kind)
            since = between(None if old is None else old[0], counts)
            number = sum(since)
            if not number or not seconds:
                continue
            method, _, _, status, route = kind
            row = found.setdefault(
                (method, route),
                {"method": method, "route": route, "count": 0, "seconds": 0.0, "errors4": 0, "errors5": 0},
            )
            row["count"] += number
            row["seconds"] += (nanoseconds - (0 if old is None else old[1])) / 1e9
            row["errors4"] += number if 400 <= status < 500 else 0
            row["errors5"] += number if status >= 500 else 0
            added = sums.setdefault((method, route), [0] * len(since))
            added[:] = map(int.__add__, added, since)
        for key, row in found.items():
            row["rate"] = round(row["count"] / seconds, 2)
            row["mean"] = _rounded(row.pop("seconds") / row["count"])
            row["p95"] = _rounded(percentile(DURATION_BOUNDS, sums[key], 0.95))
        order = sorted(found.values(), key=lambda row: (-row["errors5"], -row["mean"]))
        return order[:ROUTES_AT_MOST]

    def _protocols(self, span: float, totals: Totals, workers: list[Mapping[str, Any]]) -> list[Document]:
        """Requests per second by scheme and version."""
        before = self._totals.requests if self._totals is not None else {}
        rates: Counter[tuple[str, str]] = Counter()
        for kind, (counts, _) in totals.requests.items():
            old = before.get(kind)
            added = sum(counts) - (0 if old is None else sum(old[0]))
            rates[kind[1], kind[2]] += max(0, added)
        return [
            {"scheme": scheme, "version": version, "rate": round(count / span, 2) if span > 0 else 0.0}
            for (scheme, version), count in sorted(rates.items())
        ]


def _totals(totals: Totals) -> Document:
    count = totals.counters
    names = (
        "requests", "responses_2xx", "responses_3xx", "responses_4xx", "responses_5xx", "refused", "overloaded",
        "timed_out", "application_errors", "engine_faults", "accepted", "handed_over", "websockets_opened",
        "bytes_received", "bytes_sent", "handshakes", "handshakes_resumed",
    )  # fmt: skip
    failed = sum(number for name, number in count.items() if name in _HANDSHAKES_FAILED)
    http2 = {name: number for name, number in count.items() if name.startswith("h2_")}
    return {**{name: count[name] for name in names}, "handshakes_failed": failed, **http2}


def _running(workers: Iterable[Mapping[str, Any]], now: float) -> list[Document]:
    """The requests that have been running for longest, of all workers."""
    found = []
    for worker in workers:
        current = worker.get("current")
        if current is not None:
            found.append({**_request(current, now), "worker": worker["id"], "blocks": True})
        for one in worker.get("waiting") or ():
            found.append({**_request(one, now), "worker": worker["id"], "blocks": False})
    return sorted(found, key=lambda one: -one["seconds"])[:RUNNING_AT_MOST]


def _request(seen: Mapping[str, Any], now: float) -> Document:
    return {"line": seen["line"], "seconds": round(max(0.0, now - seen["since_ns"] / 1e9), 3)}


def _number(row: Sequence[Any], place: int | None) -> float | int | None:
    value = row[place] if place is not None else None
    if value is not None and not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
