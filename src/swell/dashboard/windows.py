"""Differences of counters that only grow, and percentiles of histograms. Pure. Called by `recorder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["between", "percentile", "powers", "rate"]


def between(before: Sequence[int] | None, after: Sequence[int]) -> list[int]:
    """What a histogram has counted since. Without a `before`, or after a counter has begun anew, everything."""
    if before is None or any(new < old for old, new in zip(before, after, strict=True)):
        return list(after)
    return [new - old for old, new in zip(before, after, strict=True)]


def rate(before: Mapping[str, int] | None, after: Mapping[str, int], name: str, seconds: float) -> float:
    """Of a counter, per second; 0 where nothing is known."""
    if before is None or seconds <= 0:
        return 0.0
    return max(0, after[name] - before[name]) / seconds


def powers(count: int) -> list[float]:
    """The upper bounds of the scoreboard's histograms, in seconds: bucket n ends at 2^n µs."""
    return [2.0**power / 1e6 for power in range(count)]


def percentile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value that `share` of what was counted does not pass; linear within a bucket, the last bound where a value is
    beyond all. None when nothing was counted."""
    total = sum(counts)
    if not total:
        return None
    wanted, seen, low = share * total, 0, 0.0
    for count, high in zip(counts, bounds, strict=False):
        if count and seen + count >= wanted:
            return low + (high - low) * max(0.0, wanted - seen) / count
        seen += count
        low = high
    return bounds[-1]
