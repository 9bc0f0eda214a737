"""An `Overview` as lines of text: the header and the rows that `swell top` shows, on its screen and with --once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from swell.cli.figures import short_age, short_number, short_seconds, short_size
from swell.cli.top.overview import Overview, Row

__all__ = ["HEADS", "cells", "decision_line", "header", "plain", "printable"]

# Name of the column, its head, its width; text is flushed left, numbers right.
HEADS: Sequence[tuple[str, str, int]] = (
    ("id", "ID", 4), ("state", "STATE", -8), ("age", "AGE", 6), ("cpu", "CPU", 5), ("rss", "RSS", 5),
    ("loop", "LOOP", 5), ("rate", "REQ/S", 6), ("in_flight", "RUN", 5), ("p95", "P95", 6), ("serving_for", "FOR", 6),
)  # fmt: skip


def header(overview: Overview, width: int | None) -> list[str]:
    """Three lines: who, how it goes, why so many workers."""
    bounds = f"{overview.low}" if overview.low == overview.high else f"{overview.low}..{overview.high}"
    ready = sum(row.state == "ready" for row in overview.rows)
    lines = [
        f"{overview.name} {overview.state}: {overview.app} on {', '.join(overview.addresses)},"
        f" up {short_age(overview.uptime)}",
        f"{_number(overview.rate)} req/s  {_number(overview.errors)} errors/s"
        f"  p50 {_seconds(overview.p50)}  p95 {_seconds(overview.p95)}  p99 {_seconds(overview.p99)}"
        f"  {overview.in_flight} running  {overview.connections} conns",
        f"{ready} of {overview.target} workers ready ({bounds}); target {overview.why}",
    ]
    return [printable(line)[:width] for line in lines]


def cells(row: Row) -> list[str]:
    """In the order of `HEADS`, and what it serves as the last."""
    return [
        str(row.id),
        row.state,
        short_age(row.age),
        "-" if row.cpu is None else f"{row.cpu:.0%}",
        short_size(row.rss),
        "-" if row.loop is None else f"{row.loop:.0%}",
        _number(row.rate),
        str(row.in_flight),
        _seconds(row.p95),
        _seconds(row.serving_for),
        printable(row.serves),
    ]


def plain(overview: Overview, width: int | None) -> list[str]:
    """Everything; None: lines as long as they are."""
    lines = [*header(overview, width), "", _line([head for _, head, _ in HEADS], "SERVES", width)]
    for row in overview.rows:
        *fixed, serves = cells(row)
        lines.append(_line(fixed, serves, width))
    if overview.decisions:
        lines += ["", *(decision_line(one, width) for one in overview.decisions[-5:])]
    return lines


def decision_line(decision: Mapping[str, Any], width: int | None) -> str:
    """`12:00:01  2 -> 4  dispatch delay …`"""
    clock = time.strftime("%H:%M:%S", time.localtime(decision["at"]))
    text = f"{clock}  {decision['before']} -> {decision['after']}  {decision['text'] or decision['rule']}"
    return printable(text)[:width]


def printable(text: str) -> str:
    """Targets are others' choice: nothing in them moves the cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _line(fixed: Sequence[str], last: str, width: int | None) -> str:
    parts = [
        cell.ljust(-size) if size < 0 else cell.rjust(size) for cell, (_, _, size) in zip(fixed, HEADS, strict=True)
    ]
    return f"{' '.join(parts)}  {last}"[:width].rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else short_number(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else short_seconds(value)
