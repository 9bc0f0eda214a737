"""How numbers stand in the reasons that are printed: `41 ms`, `65 %`, `210 MiB`, `5 min`."""

from __future__ import annotations

__all__ = ["delay", "duration", "number", "percent", "size", "workers"]


def percent(share: float) -> str:
    """`0.654` → `65 %`. Small shares keep a digit, so that no load reads as 0 %."""
    value = share * 100
    return f"{value:.0f} %" if value >= 1 or value == 0 else f"{value:.1g} %"


def delay(seconds: float) -> str:
    """`0.041` → `41 ms`; from a second on, seconds."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 or seconds == 0 else f"{seconds * 1000:.1g} ms"


def duration(seconds: float) -> str:
    """Lengths of windows: `6 s`, `60 s`, `5 min`, `2.5 h`."""
    if seconds >= 7200:
        return f"{seconds / 3600:.3g} h"
    if seconds > 120:
        return f"{seconds / 60:.3g} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def number(value: float) -> str:
    """Counts and means: `3`, `2.4`, `120`."""
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def size(count: float) -> str:
    """Bytes in the largest fitting unit: `210 MiB`, `1.5 GiB`."""
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= length:
            return f"{count / length:.3g} {unit}" if count < 1000 * length else f"{count / length:.0f} {unit}"
    return f"{count:.0f} B"


def workers(count: int) -> str:
    """`1 worker`, `4 workers`."""
    return f"{count} worker" if count == 1 else f"{count} workers"
