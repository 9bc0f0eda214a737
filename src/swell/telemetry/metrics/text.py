"""Families of metrics as text: OpenMetrics 1.0 for who asks for it, else the Prometheus text format 0.0.4.

The two differ in little: where a counter's `_total` belongs, units, how the end is marked. Names, labels and values are
taken as they are; escaping is done here. Called by whoever serves `/metrics`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Literal

__all__ = ["OPENMETRICS", "PROMETHEUS", "Family", "Histogram", "Summary", "expose", "negotiate"]

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

Labels = Sequence[tuple[str, str]]
_SPECIAL = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_QUALITY = re.compile(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts` are those of each bucket alone, one more than `bounds`: the last one's has no end."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


@dataclass(frozen=True, slots=True)
class Summary:
    count: int
    sum: float


@dataclass(slots=True)
class Family:
    """Metrics of one name. A counter's name has no `_total`: that is the sample's. `unit` is the end of the name."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "summary", "info"]
    help: str
    unit: str = ""
    samples: list[tuple[Labels, float | Histogram | Summary]] = field(default_factory=list)

    def add(self, value: float | Histogram | Summary, labels: Labels | Mapping[str, str] = ()) -> Family:
        pairs = list(labels.items()) if isinstance(labels, Mapping) else labels
        self.samples.append((pairs, value))
        return self


def negotiate(accept: str) -> str:
    """The content type for an Accept field (RFC 9110 §12.5.1): OpenMetrics where it is asked for by name."""
    best, kind = 0.0, PROMETHEUS
    for part in accept.lower().split(","):
        media, *parameters = part.split(";")
        quality = next((float(m[1]) for p in parameters if (m := _QUALITY.fullmatch(p))), 1.0)
        media = media.strip()
        if media == "application/openmetrics-text" and quality > best:
            best, kind = quality, OPENMETRICS
        elif media in ("text/plain", "text/*") and quality > best:
            best, kind = quality, PROMETHEUS
    return kind


def expose(families: Iterable[Family], content_type: str = PROMETHEUS) -> bytes:
    """The whole text. A family without samples is left out."""
    open_metrics = content_type == OPENMETRICS
    lines: list[str] = []
    for family in families:
        if family.samples:
            _write(family, open_metrics, lines)
    if open_metrics:
        lines.append("# EOF")
    lines.append("")
    return "\n".join(lines).encode("utf-8", "replace")


def _write(family: Family, open_metrics: bool, lines: list[str]) -> None:
    name, kind, suffix = family.name, family.kind, ""
    shown: str = kind
    if kind == "counter":
        suffix = "_total"
    elif kind == "info":
        suffix, shown = "_info", "info" if open_metrics else "gauge"
    headed = name if open_metrics else name + suffix
    help_text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    if open_metrics:
        help_text = help_text.replace('"', '\\"')
    lines.append(f"# HELP {headed} {help_text}")
    lines.append(f"# TYPE {headed} {shown}")
    if open_metrics and family.unit:
        lines.append(f"# UNIT {name} {family.unit}")
    for labels, value in family.samples:
        pairs = ",".join([f'{key}="{text.translate(_SPECIAL)}"' for key, text in labels])
        if isinstance(value, Histogram):
            _write_histogram(name, pairs, value, lines)
        elif isinstance(value, Summary):
            braces = f"{{{pairs}}}" if pairs else ""
            lines.append(f"{name}_count{braces} {value.count}")
            lines.append(f"{name}_sum{braces} {_number(value.sum)}")
        else:
            lines.append(f"{name}{suffix}{{{pairs}}} {_number(value)}" if pairs else f"{name}{suffix} {_number(value)}")


def _write_histogram(name: str, pairs: str, value: Histogram, lines: list[str]) -> None:
    before = f"{name}_bucket{{{pairs}," if pairs else f"{name}_bucket{{"
    bounds = _limits(tuple(value.bounds))
    lines += [f'{before}le="{bound}"}} {count}' for bound, count in zip(bounds, accumulate(value.counts), strict=True)]
    count = sum(value.counts)
    braces = f"{{{pairs}}}" if pairs else ""
    lines.append(f"{name}_sum{braces} {_number(value.sum)}")
    lines.append(f"{name}_count{braces} {count}")


@lru_cache(256)
def _limits(bounds: tuple[float, ...]) -> list[str]:
    """As they are written, the endless one too. There are few kinds of histograms."""
    return [_number(bound) for bound in (*bounds, math.inf)]


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return repr(value)
