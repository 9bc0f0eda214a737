"""The application's own metrics: entries of `swell.metrics.store` → families.

Counters, histograms and summaries are added up, the ended workers' included. Gauges are those of the living, by their
mode: ours, or the `multiprocess_mode` of prometheus_client (docs of client_python, "Multiprocess Mode"), of which `all`
and `liveall` are one series per worker. A metric that two places define differently is shown as the first has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swell.telemetry.metrics.text import Family, Histogram, Summary

__all__ = ["SUMMED", "application_families"]

Entries = Mapping[bytes, Sequence[float]]
Labels = tuple[tuple[str, str], ...]
# Kinds that outlive their worker.
SUMMED = frozenset({"counter", "histogram", "summary"})


class _Gathered:
    """One metric, of all workers. `points`: by labels and sample, one list of cells per worker."""

    def __init__(self, kind: str, name: str, text: str, mode: str, bounds: Sequence[float]) -> None:
        self.kind, self.name, self.text, self.mode, self.bounds = kind, name, text, mode, bounds
        self.points: dict[tuple[Labels, str], list[tuple[int, Sequence[float]]]] = {}


def application_families(living: Mapping[int, Entries], ended: Entries, taken: set[str]) -> Iterator[Family]:
    """`living` by slot. Names in `taken` are the server's own."""
    metrics: dict[str, _Gathered] = {}
    for slot, entries in (*living.items(), (-1, ended)):
        for key, cells in entries.items():
            try:
                kind, name, sample, labels, text, mode, bounds = json.loads(key)
            except ValueError:
                continue
            if slot < 0 and kind not in SUMMED:
                continue
            metric = metrics.get(name)
            if metric is None:
                metric = metrics[name] = _Gathered(kind, name, text, mode, bounds)
            if (metric.kind, list(metric.bounds)) == (kind, bounds):
                point = tuple((str(label), str(value)) for label, value in labels), str(sample)
                metric.points.setdefault(point, []).append((slot, cells))
    for name in sorted(metrics):
        if name not in taken:
            yield _family(metrics[name])


def _family(metric: _Gathered) -> Family:
    kind: Any = metric.kind
    family = Family(metric.name, kind, metric.text)
    if metric.kind == "gauge":
        for (labels, _), workers in sorted(metric.points.items()):
            _add_gauge(family, labels, workers, metric.mode.removeprefix("live"))
    elif metric.kind == "histogram" and metric.bounds:
        for (labels, _), workers in sorted(metric.points.items()):
            *counts, total = _sum(workers)
            family.add(Histogram(metric.bounds, [int(count) for count in counts], total), labels)
    elif metric.kind in ("histogram", "summary"):
        _add_by_sample(family, metric)
    else:
        for (labels, _), workers in sorted(metric.points.items()):
            family.add(_sum(workers)[0], labels)
    return family


def _add_gauge(family: Family, labels: Labels, workers: list[tuple[int, Sequence[float]]], mode: str) -> None:
    values = [cells[0] for _, cells in workers]
    if mode in ("all", "each"):
        for slot, cells in workers:
            family.add(cells[0], [*labels, ("slot", str(slot))])
    elif mode in ("latest", "mostrecent"):
        family.add(max((cells for _, cells in workers), key=lambda cells: cells[1])[0], labels)
    else:
        family.add({"max": max, "min": min}.get(mode, sum)(values), labels)


def _add_by_sample(family: Family, metric: _Gathered) -> None:
    """prometheus_client keeps a number for each bucket, the sum and the count."""
    parts: dict[Labels, dict[str, float]] = {}
    buckets: dict[Labels, dict[float, int]] = {}
    for (labels, sample), workers in metric.points.items():
        value = _sum(workers)[0]
        if sample == "_bucket":
            *others, (_, bound) = labels
            buckets.setdefault(tuple(others), {})[float(bound)] = int(value)
        else:
            parts.setdefault(labels, {})[sample] = value
    for labels, numbers in sorted(parts.items()):
        if metric.kind == "summary":
            family.add(Summary(int(numbers.get("_count", 0)), numbers.get("_sum", 0.0)), labels)
        else:
            bounds = sorted(buckets.get(labels, {}))
            counts = [buckets[labels][bound] for bound in bounds]
            if bounds and bounds[-1] == float("inf"):
                family.add(Histogram(bounds[:-1], counts, numbers.get("_sum", 0.0)), labels)


def _sum(workers: Sequence[tuple[int, Sequence[float]]]) -> list[float]:
    return [sum(cells) for cells in zip(*(cells for _, cells in workers), strict=True)]
