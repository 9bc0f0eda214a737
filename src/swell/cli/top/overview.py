"""`Overview`: an instance as numbers, from two status documents that follow each other. Pure: no terminal, no socket.

Rates, shares and percentiles are those of the time between the two; None is not known, because there is nothing to
compare with or nothing happened.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swell.cli.figures import percentile

__all__ = ["COLUMNS", "Overview", "Row", "arranged"]

# What rows can be sorted by, and whether the largest comes first by nature.
COLUMNS: Mapping[str, bool] = {
    "id": False, "state": False, "age": True, "cpu": True, "rss": True, "loop": True, "rate": True, "in_flight": True,
    "p95": True, "serving_for": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One worker. `cpu` and `loop` are shares of one core, `serves` is the request that has been running longest."""

    id: int
    pid: int
    state: str
    age: float
    cpu: float | None
    rss: int
    loop: float | None
    rate: float | None
    in_flight: int
    connections: int
    p95: float | None
    serves: str
    serving_for: float | None
    waiting: int
    cause: str

    @classmethod
    def of(cls, worker: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float, now: int) -> Row:
        """`now` is time.monotonic_ns() of this machine, like the times in the document."""
        running = [*([worker["current"]] if worker.get("current") else []), *(worker.get("waiting") or ())]
        oldest = min(running, key=lambda request: int(request["since_ns"]), default=None)
        passed = _passed(worker, before)
        return cls(
            id=worker["id"],
            pid=worker["pid"],
            state=worker["state"],
            age=worker["age"],
            cpu=None if before is None else _rate(worker, before, "cpu_ns", seconds * 1e9),
            rss=worker["rss_bytes"],
            loop=None if before is None else _share(worker, before),
            rate=None if before is None else _rate(worker, before, "requests", seconds),
            in_flight=worker["in_flight"],
            connections=worker["connections"],
            p95=percentile(passed, 0.95) if passed else None,
            serves="" if oldest is None else oldest["line"],
            serving_for=None if oldest is None else max(0.0, (now - oldest["since_ns"]) / 1e9),
            waiting=len(worker.get("waiting") or ()),
            cause=worker["cause"],
        )


@dataclass(frozen=True, slots=True)
class Overview:
    """`errors` are answers of 5xx and exceptions of the application per second; latencies are seconds."""

    name: str
    app: str
    addresses: tuple[str, ...]
    state: str
    uptime: float
    low: int
    high: int
    target: int
    why: str
    rate: float | None
    errors: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    in_flight: int
    connections: int
    rows: tuple[Row, ...]
    decisions: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(
        cls,
        status: Mapping[str, Any],
        before: Mapping[str, Any] | None,
        seconds: float,
        explanation: Mapping[str, Any],
    ) -> Overview:
        instance, workers = status["instance"], status["workers"]
        earlier = {worker["id"]: worker for worker in before["workers"]} if before else {}
        now = time.monotonic_ns()
        rows = tuple(Row.of(worker, earlier.get(worker["id"]), seconds, now) for worker in workers)
        # A worker that is new was not there before: all that it has counted is new.
        pairs = [(worker, earlier.get(worker["id"])) for worker in workers] if before else []
        passed = [_passed(worker, old if old is not None else _nothing(worker)) for worker, old in pairs]
        total = [sum(column) for column in zip(*passed, strict=True)] if passed else []
        known = before is not None and seconds > 0
        failed = sum(_counted(worker, old, "responses_5xx") for worker, old in pairs)
        return cls(
            name=instance["name"],
            app=instance["app"],
            addresses=tuple(instance["addresses"]),
            state=instance["state"],
            uptime=max(0.0, time.time() - instance["started"]),
            low=instance["min"],
            high=instance["max"],
            target=instance["target"],
            why=explanation["now"],
            rate=sum(_counted(worker, old, "requests") for worker, old in pairs) / seconds if known else None,
            errors=failed / seconds if known else None,
            p50=percentile(total, 0.5),
            p95=percentile(total, 0.95),
            p99=percentile(total, 0.99),
            in_flight=sum(worker["in_flight"] for worker in workers),
            connections=sum(worker["connections"] for worker in workers),
            rows=rows,
            decisions=tuple(explanation["decisions"]),
        )

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def arranged(rows: Sequence[Row], column: str, reverse: bool, words: str) -> list[Row]:
    """Sorted by a column, the largest first where that is its nature, and what is not known last; only those that have
    all the words in their number, state, request or cause."""
    wanted = words.lower().split()
    kept = [
        row
        for row in rows
        if all(word in f"{row.id} {row.pid} {row.state} {row.serves} {row.cause}".lower() for word in wanted)
    ]
    unknown = [row for row in kept if getattr(row, column) is None]
    known = [row for row in kept if getattr(row, column) is not None]
    known.sort(key=lambda row: (getattr(row, column), row.id), reverse=COLUMNS[column] != reverse)
    return known + unknown


def _passed(worker: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[int]:
    """The requests in between, by duration."""
    if before is None:
        return []
    return [max(0, now - then) for now, then in zip(worker["latency"], before["latency"], strict=True)]


def _nothing(worker: Mapping[str, Any]) -> dict[str, Any]:
    return {"latency": [0] * len(worker["latency"])}


def _counted(worker: Mapping[str, Any], before: Mapping[str, Any] | None, name: str) -> int:
    return max(0, int(worker.get(name, 0)) - (0 if before is None else int(before.get(name, 0))))


def _rate(worker: Mapping[str, Any], before: Mapping[str, Any], name: str, span: float) -> float | None:
    return _counted(worker, before, name) / span if span > 0 else None


def _share(worker: Mapping[str, Any], before: Mapping[str, Any]) -> float | None:
    samples = worker["samples"] - before["samples"]
    return (worker["busy_samples"] - before["busy_samples"]) / samples if samples > 0 else None
