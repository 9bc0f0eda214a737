"""Durations and sizes as people write them: `30`, `1m30s`, `500ms`, `64k`, `16MiB`, and `off`.

Reading and showing are inverse: what `show_*` prints, `read_*` takes. Knows nothing of options; `kinds` builds on it.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta

__all__ = ["OFF_WORDS", "read_duration", "read_size", "show_duration", "show_size"]

OFF_WORDS = frozenset({"off", "none", "unlimited"})

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_BYTES = {
    "": 1, "b": 1,
    "k": 1 << 10, "kib": 1 << 10, "kb": 1000,
    "m": 1 << 20, "mib": 1 << 20, "mb": 1000**2,
    "g": 1 << 30, "gib": 1 << 30, "gb": 1000**3,
}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)

MAX_SECONDS = 366 * 86400.0  # a timer further away than a year is a typing mistake
MAX_BYTES = 1 << 50


def read_duration(value: object) -> float:
    """Seconds, from a number, a `timedelta` or text such as `30`, `2.5s`, `1m30s`, `500ms`."""
    seconds = _seconds(value)
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"must lie between 0 and 366 days, not {value!r}")
    return seconds


def _seconds(value: object) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not -MAX_SECONDS <= value <= MAX_SECONDS:  # also what float() could not hold, and NaN
            raise ValueError(f"must lie between 0 and 366 days, not {value!r}")
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return float(text)
        parts = _DURATION_PART.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text.replace(" ", ""):
            # fsum and one rounding: 0.1s and 100ms are the same number
            return round(math.fsum(float(number) * _SECONDS[unit.lower()] for number, unit in parts), 9)
    raise ValueError(f"is not a duration: {value!r} (write seconds, or 30s, 1m30s, 500ms)")


def show_duration(seconds: float) -> str:
    """The shortest exact form: `1m30s`, `75s`, `500ms`."""
    if seconds < 1 and seconds != 0:
        return f"{seconds * 1000:.10g}ms"
    if seconds < 120 or seconds != int(seconds):
        return f"{seconds:.10g}s"
    rest, text = int(seconds), ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        text += f"{count}{unit}" if count else ""
    return text


def read_size(value: object) -> int:
    """Bytes, from a number or text. `k m g` and `KiB MiB GiB` are powers of 1024, `kB MB GB` powers of 1000."""
    size: float
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())) and match[2].lower() in _BYTES:
        size = float(match[1]) * _BYTES[match[2].lower()]
    else:
        raise ValueError(f"is not a size: {value!r} (write bytes, or 64k, 64KiB, 16MiB)")
    if not 0 <= size <= MAX_BYTES or size != int(size):
        raise ValueError(f"must be a whole number of bytes between 0 and 1 PiB, not {value!r}")
    return int(size)


def show_size(size: int) -> str:
    """The largest unit that is exact: `64KiB`, `16MiB`, `8190`."""
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size and size % length == 0:
            return f"{size // length}{unit}"
    return str(size)
