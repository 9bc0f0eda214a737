"""A metric's numbers in this process, and the moment at which they become shared.

The application makes its metrics while it is imported, which may be in the template, before there is a worker. Until
`attach` the numbers are this process's own; it moves them into the worker's region, with what they were. Numbers for
which there is no room stay where they are, and one line of the log says so.
"""

from __future__ import annotations

import json
import logging
import threading
import weakref
from array import array
from collections.abc import Sequence

from swell.metrics.store import Cells, Region, Store

__all__ = ["LOCK", "Value", "attach", "key_of", "shared"]

log = logging.getLogger("swell")

# One for all values: the interpreter's own lock is one, too.
LOCK = threading.Lock()
_values: weakref.WeakSet[Value] = weakref.WeakSet()
_region: Region | None = None
_store: Store | None = None
_full = False


def key_of(
    kind: str,
    name: str,
    sample: str,
    labels: Sequence[tuple[str, str]],
    text: str,
    mode: str = "",
    bounds: Sequence[float] = (),
) -> bytes:
    """What the readers know of a metric, in an order that makes equal ones equal."""
    return json.dumps([kind, name, sample, list(labels), text, mode, list(bounds)], separators=(",", ":")).encode()


class Value:
    """`cells` are where the numbers are; take `LOCK` to change more than one, or one by what it was."""

    __slots__ = ("__weakref__", "cells", "key")

    def __init__(self, key: bytes, initial: Sequence[float]) -> None:
        self.key = key
        self.cells: Cells = memoryview(array("d", initial)).cast("B").cast("d"), 0
        with LOCK:
            _values.add(self)
            _move(self, len(initial))

    def add(self, at: int, amount: float) -> None:
        with LOCK:
            view, first = self.cells
            view[first + at] += amount

    def numbers(self, count: int) -> list[float]:
        """This process's own."""
        view, first = self.cells
        return list(view[first : first + count])


def attach(store: Store, slot: int) -> None:
    """This process is the worker in `slot` from now on."""
    global _region, _store, _full
    with LOCK:
        _store, _region, _full = store, store.writer(slot), False
        for value in list(_values):
            _move(value, len(value.cells[0]))


def shared() -> Store | None:
    """The numbers of all workers; None in a process that is none."""
    return _store


def _move(value: Value, count: int) -> None:
    global _full
    if _region is None:
        return
    try:
        value.cells = _region.add(value.key, value.numbers(count))
    except OSError as error:
        if not _full:
            _full = True
            log.warning("a metric of the application is not shared, and others will not be either: %s", error)
