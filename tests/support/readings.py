"""Readings of workers that nobody has served with: every counter and gauge of a slot, all zero but what is said."""

from __future__ import annotations

from typing import Any

from swell.telemetry.metrics import Snapshot, Totals, WorkerReading
from swell.telemetry.metrics.readings import BUCKETS, COUNTERS, HISTOGRAMS, Kind

__all__ = ["GET", "reading", "slot", "snapshot"]

GAUGES = (
    "connections",
    "incoming",
    "in_flight",
    "websockets",
    "rss_bytes",
    "busy",
    "pool_size",
    "pool_busy",
    "pool_waiting",
    "h2_open",
    "h2_streams_open",
)
GET: Kind = ("GET", "http", "1.1", 200, "/items/{id}")


def slot(**values: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys((*COUNTERS, *GAUGES), 0),
        **{name: [0] * BUCKETS for name in (*HISTOGRAMS, "latency")},
        "heartbeat_ns": 0,
        **values,
    }


def reading(
    number: int = 0,
    state: str = "ready",
    *,
    silence: float = 0.1,
    kinds: list[tuple[Kind, list[int], int]] | None = None,
    **values: Any,
) -> WorkerReading:
    return WorkerReading(number, state, 12.0, silence, slot(**values), kinds or [])


def snapshot(*workers: WorkerReading, **values: Any) -> Snapshot:
    given: dict[str, Any] = {
        "version": "1.2.3",
        "started": 1000.0,
        "state": "running",
        "target": 2,
        "minimum": 1,
        "maximum": 4,
        "generation": 1,
        "ended": Totals(),
        **values,
    }
    return Snapshot(workers=workers, **given)
