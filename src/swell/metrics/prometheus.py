"""The library prometheus_client, with its numbers in shared memory: no PROMETHEUS_MULTIPROC_DIR, no files to clean up.

Swell calls `hook` before it imports the application. When that imports prometheus_client, the class of its values is
replaced (`prometheus_client.values.ValueClass`, the place that the library itself replaces in its multiprocess mode),
and nothing else. The library's rules for several processes hold: gauges have a `multiprocess_mode`, Info and Enum are
each process's own. `/metrics` of the admin interface has the sums, and so has the application's own endpoint for
counters, histograms and summaries, of those labels that its worker has seen. https://prometheus.github.io/client_python/
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from swell.metrics.values import LOCK, Value, key_of, shared

__all__ = ["SharedValue", "hook"]

_MODULE = "prometheus_client.values"
_ADDED_UP = ("counter", "histogram", "summary")


class SharedValue:
    """What prometheus_client asks of a value."""

    _multiprocess = True

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> None:
        labels = list(zip(labelnames, labelvalues, strict=True))
        self._kind = typ
        # Its number, and when it was set.
        key = key_of(typ, metric_name, name.removeprefix(metric_name), labels, help_text, multiprocess_mode)
        self._value = Value(key, [0.0, 0.0])

    def inc(self, amount: float) -> None:
        self._value.add(0, amount)

    def set(self, value: float, timestamp: float | None = None) -> None:
        with LOCK:
            view, at = self._value.cells
            view[at], view[at + 1] = value, timestamp or time.time()

    def get(self) -> float:
        store = shared() if self._kind in _ADDED_UP else None
        total = None if store is None else store.total(self._value.key)
        return (total or self._value.numbers(1))[0]

    def set_exemplar(self, exemplar: object) -> None:
        """Not kept, as in the library's own multiprocess mode."""

    def get_exemplar(self) -> None:
        return None


def hook() -> None:
    """Shares the values of prometheus_client, as soon as it is imported. Whoever has set up the library's own
    multiprocess mode gets that."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR") or os.environ.get("prometheus_multiproc_dir"):  # noqa: SIM112 - the library's
        return
    module = sys.modules.get(_MODULE)
    if module is not None:
        _replace(module)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _replace(module: ModuleType) -> None:
    module.ValueClass = SharedValue  # type: ignore[attr-defined]  # of any module


class _Finder(importlib.abc.MetaPathFinder):
    """Sees one module being imported, and lets the others find it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """The module's own loader, and then the replacement."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _replace(module)
