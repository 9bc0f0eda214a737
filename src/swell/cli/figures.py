"""`Figures`: one instance's status as numbers for people, from one document or from two that follow each other.

Rates and shares need two. Pure: knows neither terminals nor sockets. Called by `status`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Figures", "percentile", "short_age", "short_number", "short_seconds", "short_size"]

# With fewer requests between the two documents, the percentile is that of the worker's whole life.
ENOUGH_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one worker. `None` is not known, because there is nothing to compare with."""

    rate: float | None
    busy: float | None
    p95: float | None

    @classmethod
    def of(cls, worker: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float) -> Figures:
        """`before` is the same worker `seconds` earlier."""
        buckets = worker["latency"]
        if before is None or seconds <= 0:
            return cls(None, None, percentile(buckets, 0.95))
        passed = [now - then for now, then in zip(buckets, before["latency"], strict=True)]
        samples = worker["samples"] - before["samples"]
        return cls(
            rate=(worker["requests"] - before["requests"]) / seconds,
            busy=(worker["busy_samples"] - before["busy_samples"]) / samples if samples > 0 else None,
            p95=percentile(passed if sum(passed) >= ENOUGH_REQUESTS else buckets, 0.95),
        )


def percentile(buckets: Sequence[int], share: float) -> float | None:
    """Seconds within which this share of the values lies; `None` without values.

    Bucket 0 counts what took less than 1 µs, bucket n from 2^(n-1) to 2^n µs. Within a bucket values count as evenly
    spread.
    """
    wanted = share * sum(buckets)
    for index, count in enumerate(buckets):
        if count and count >= wanted:
            low = 2.0 ** (index - 1) if index else 0.0
            return (low + (2.0**index - low) * wanted / count) / 1e6
        wanted -= count
    return None


def short_number(value: float) -> str:
    """At most five characters: `7`, `0.4`, `99999`, `123k`, `4.5M`."""
    if value < 10 and value != int(value):
        return f"{value:.1f}"
    if value < 99_999.5:
        return f"{value:.0f}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if value < 999.5 * size:
            return f"{value / size:.1f}{unit}" if value < 9.95 * size else f"{value / size:.0f}{unit}"
    return f"{value:.0e}"


def short_seconds(seconds: float) -> str:
    """At most five characters: `85us`, `1.2ms`, `45ms`, `3.1s`, `120s`."""
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            value = seconds / size
            return f"{value:.1f}{unit}" if unit == "ms" and value < 9.95 else f"{value:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"


def short_age(seconds: float) -> str:
    """The two largest units: `12s`, `3m20s`, `4h05m`, `12d3h`."""
    rest = int(seconds)
    if rest < 60:
        return f"{rest}s"
    if rest < 3600:
        return f"{rest // 60}m{rest % 60:02}s"
    if rest < 86400:
        return f"{rest // 3600}h{rest % 3600 // 60:02}m"
    return f"{rest // 86400}d{rest % 86400 // 3600}h"


def short_size(size: int) -> str:
    """MiB, or GiB from ten of them on."""
    return f"{size / (1 << 20):.0f}M" if size < 10 << 30 else f"{size / (1 << 30):.1f}G"
