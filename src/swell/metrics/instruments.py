"""Counter, gauge and histogram for applications. Names and labels are checked as Prometheus asks.

A metric with labels is a family: `labels` gives the member for some values, which may be kept. The number of members is
bounded; what comes beyond is counted together under `_OTHER`, so that a label made of user input costs memory once.
"""

from __future__ import annotations

import re
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal, Self

from swell.metrics.values import LOCK, Value, key_of

__all__ = ["Counter", "Gauge", "Histogram"]

MEMBERS_AT_MOST = 1000
OTHER = "_OTHER"
# OpenTelemetry's advice for durations in seconds.
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

# One member is made at a time; before `LOCK`, never within it.
_MAKING = threading.Lock()

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class _Metric:
    kind: ClassVar[str]
    _reserved: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a metric: use letters, digits, '_' and ':'")
        if isinstance(labels, str):
            raise TypeError("labels is a sequence of names")
        for label in labels:
            if not _LABEL.fullmatch(label) or label in self._reserved:
                raise ValueError(f"{label!r} is no name for a label of a {self.kind}")
        if len(set(labels)) != len(labels):
            raise ValueError("a label stands there twice")
        self.name = name
        self.help = help
        self.label_names = tuple(labels)
        self._members: dict[tuple[str, ...], Self] = {}
        self._value: Value | None = None
        if not labels:
            self._value = self._make([])

    def labels(self, *values: object, **named: object) -> Self:
        """The member of the family with these values, by position or by name."""
        if named:
            if values or set(named) != set(self.label_names):
                raise ValueError(f"{self.name} has the labels {', '.join(self.label_names) or '(none)'}")
            values = tuple(named[name] for name in self.label_names)
        if len(values) != len(self.label_names) or not values:
            raise ValueError(f"{self.name} has the labels {', '.join(self.label_names) or '(none)'}")
        texts = tuple(map(str, values))
        member = self._members.get(texts)
        return self._member(texts) if member is None else member

    def _member(self, texts: tuple[str, ...]) -> Self:
        if len(self._members) >= MEMBERS_AT_MOST:
            texts = (OTHER,) * len(texts)
        with _MAKING:
            member = self._members.get(texts)
            if member is None:
                member = object.__new__(type(self))
                member.__dict__.update(self.__dict__, label_names=(), _members={})
                member._value = member._make(list(zip(self.label_names, texts, strict=True)))
                # Others take it from there without asking.
                self._members[texts] = member
        return member

    def _make(self, labels: list[tuple[str, str]]) -> Value:
        raise NotImplementedError

    @property
    def _numbers(self) -> Value:
        if self._value is None:
            raise ValueError(f"{self.name} has labels: use labels({', '.join(self.label_names)}) first")
        return self._value


class Counter(_Metric):
    """Only grows; over all workers it is the sum, and it outlives them."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name.removesuffix("_total"), help, labels)

    def inc(self, amount: float = 1) -> None:
        if amount < 0:
            raise ValueError(f"{self.name} is a counter and cannot be decreased")
        self._numbers.add(0, amount)

    def _make(self, labels: list[tuple[str, str]]) -> Value:
        return Value(key_of(self.kind, self.name, "", labels, self.help), [0.0])


class Gauge(_Metric):
    """Goes up and down. `mode` says what it is over all workers that live: their `sum`, `max` or `min`, the value that
    was set last (`latest`), or `each` with its slot as a label."""

    kind = "gauge"
    _reserved = frozenset({"slot"})

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        *,
        mode: Literal["sum", "max", "min", "latest", "each"] = "sum",
    ) -> None:
        if mode not in ("sum", "max", "min", "latest", "each"):
            raise ValueError(f"mode is sum, max, min, latest or each, not {mode!r}")
        self.mode = mode
        super().__init__(name, help, labels)

    def set(self, value: float) -> None:
        numbers = self._numbers
        with LOCK:
            view, at = numbers.cells
            view[at], view[at + 1] = value, time.time()

    def inc(self, amount: float = 1) -> None:
        numbers = self._numbers
        with LOCK:
            view, at = numbers.cells
            view[at] += amount
            view[at + 1] = time.time()

    def dec(self, amount: float = 1) -> None:
        self.inc(-amount)

    def _make(self, labels: list[tuple[str, str]]) -> Value:
        return Value(key_of(self.kind, self.name, "", labels, self.help, self.mode), [0.0, 0.0])


class Histogram(_Metric):
    """Counts by size. `buckets` are upper bounds, ascending, and the same in all workers."""

    kind = "histogram"
    _reserved = frozenset({"le"})

    def __init__(
        self, name: str, help: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = DURATIONS
    ) -> None:
        bounds = tuple(map(float, buckets))
        if not bounds or list(bounds) != sorted(set(bounds)) or bounds[-1] == float("inf"):
            raise ValueError("buckets are finite numbers in ascending order")
        self.bounds = bounds
        super().__init__(name, help, labels)

    def observe(self, value: float) -> None:
        bounds, numbers = self.bounds, self._numbers
        with LOCK:
            view, at = numbers.cells
            view[at + bisect_left(bounds, value)] += 1
            view[at + len(bounds) + 1] += value

    @contextmanager
    def time(self) -> Iterator[None]:
        """Observes how long the block takes, in seconds, however it ends."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - begun)

    def _make(self, labels: list[tuple[str, str]]) -> Value:
        key = key_of(self.kind, self.name, "", labels, self.help, "", self.bounds)
        return Value(key, [0.0] * (len(self.bounds) + 2))
