"""The table of metrics in the documentation: `python -m swell.telemetry.metrics.docs docs`. A test compares."""

from __future__ import annotations

import sys
from pathlib import Path

from swell.telemetry.metrics.families import families
from swell.telemetry.metrics.readings import BUCKETS, COUNTERS, HISTOGRAMS, Queue, Snapshot, Totals, WorkerReading

__all__ = ["PAGE", "main", "with_table"]

PAGE = "metrics.md"
_BEGIN, _END = "<!-- metrics -->\n", "<!-- /metrics -->"


def table() -> str:
    """One row per family, from a snapshot in which everything occurs."""
    lines = ["| metric | type | labels | |", "|---|---|---|---|"]
    for family in families(_everything()):
        suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
        labels = dict.fromkeys(key for pairs, _ in family.samples for key, _ in pairs)
        shown = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{family.name}{suffix}` | {family.kind} | {shown} | {family.help} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{rest.partition(_END)[2]}"


def _everything() -> Snapshot:
    gauges = (
        "connections", "incoming", "in_flight", "websockets", "rss_bytes", "busy", "pool_size", "pool_busy",
        "pool_waiting", "h2_open", "h2_streams_open",
    )  # fmt: skip
    slot = {**dict.fromkeys((*COUNTERS, *gauges), 0), **{name: [0] * BUCKETS for name in HISTOGRAMS}}
    counts = [0] * 15
    requests = [(("GET", "http", "1.1", 500, "/"), counts, 0)]
    return Snapshot(
        version="",
        started=0.0,
        state="running",
        target=1,
        minimum=1,
        maximum=1,
        generation=1,
        workers=[WorkerReading(0, "ready", 0.0, 0.0, slot, requests)],
        ended=Totals(),
        exits={"crash": 0},
        decisions={("command", "up"): 0},
        queues=[Queue("", 0, 0)],
    )


def main(arguments: list[str]) -> int:
    """Writes the table into the page in the directory that is named."""
    path = Path(arguments[0] if arguments else "docs") / PAGE
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
