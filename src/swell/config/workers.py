"""How many workers: a fixed number, a range, or as many as there are cores."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["WORKERS_AT_MOST", "WorkerRange", "read_workers", "show_workers"]

# Each worker takes a slot, two descriptors in every other worker, and memory: beyond this it is a typing mistake.
WORKERS_AT_MOST = 256
_RANGE = re.compile(r"(\d+)\s*(?:\.\.|-)\s*(\d+|auto)")


@dataclass(frozen=True, slots=True)
class WorkerRange:
    """`maximum` is None for as many as there are cores that this process may use."""

    minimum: int
    maximum: int | None

    @property
    def fixed(self) -> bool:
        return self.minimum == self.maximum

    def within(self, cores: int) -> WorkerRange:
        """The range with its maximum known."""
        return self if self.maximum is not None else WorkerRange(self.minimum, max(cores, self.minimum, 1))


def read_workers(value: object) -> WorkerRange:
    """From `4`, `"4"`, `"1..8"`, `"2..auto"`, `"auto"`, `(1, 8)`."""
    if isinstance(value, WorkerRange):
        return value
    if isinstance(value, tuple | list) and len(value) == 2:
        value = f"{value[0]}..{value[1]}"
    text = str(value).strip().lower() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if text == "auto":
        return WorkerRange(1, None)
    if re.fullmatch(r"\d{1,9}", text):
        return _checked(int(text), int(text), value)
    if found := _RANGE.fullmatch(text):
        return _checked(int(found[1]), None if found[2] == "auto" else int(found[2]), value)
    raise ValueError(f"must be a number, a range such as 1..8, or auto, not {value!r}")


def _checked(minimum: int, maximum: int | None, value: object) -> WorkerRange:
    if maximum == 0:
        raise ValueError("must allow at least one worker; write 0..4 for a service that may sleep")
    if maximum is not None and minimum > maximum:
        raise ValueError(f"has a range whose end is below its start: {value!r}")
    if max(minimum, maximum or 0) > WORKERS_AT_MOST:
        raise ValueError(f"must be at most {WORKERS_AT_MOST}, not {value!r}")
    return WorkerRange(minimum, maximum)


def show_workers(value: WorkerRange) -> str:
    """What `read_workers` takes."""
    if value.maximum is None:
        return "auto" if value.minimum == 1 else f"{value.minimum}..auto"
    return str(value.minimum) if value.fixed else f"{value.minimum}..{value.maximum}"
