"""The numbers of `swell top`, from documents that were made by hand."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from support.instance import worker

from swell.cli.top.overview import COLUMNS, Overview, arranged
from swell.cli.top.plain import plain

INSTANCE = {
    "name": "main-8000", "app": "main:app", "addresses": ["http://127.0.0.1:8000"], "state": "running",
    "started": time.time() - 90, "min": 1, "max": 8, "target": 2,
}  # fmt: skip
NOW = {"now": "2 of 1..8: loops 32 % busy", "decisions": []}


def histogram(**counts: int) -> list[int]:
    return [counts.get(f"b{place}", 0) for place in range(32)]


def overview(before: list[dict[str, Any]] | None, after: list[dict[str, Any]], seconds: float = 2.0) -> Overview:
    earlier = None if before is None else {"instance": INSTANCE, "workers": before}
    return Overview.of({"instance": INSTANCE, "workers": after}, earlier, seconds, NOW)


def test_rates_and_latencies_are_of_the_time_between() -> None:
    before = [worker(1, requests=100, cpu_ns=0, latency=histogram(b20=1000), responses_5xx=7)]
    after = [
        worker(1, requests=300, cpu_ns=10**9, latency=histogram(b20=1000, b10=200), responses_5xx=11),
        worker(2, requests=100, cpu_ns=5, latency=histogram(b11=100), responses_5xx=0),
    ]
    seen = overview(before, after)
    assert seen.rate == (200 + 100) / 2
    assert seen.errors == 2.0
    assert seen.p50 is not None
    assert seen.p99 is not None
    assert 0.0005 < seen.p50 < 0.001024 < seen.p99 < 0.002048
    one, two = seen.rows
    assert (one.rate, one.cpu) == (100.0, 0.5)
    assert (two.rate, two.cpu, two.p95) == (None, None, None)


def test_the_first_look_knows_no_rates() -> None:
    seen = overview(None, [worker(1)])
    assert (seen.rate, seen.errors, seen.p95, seen.rows[0].loop) == (None, None, None, None)
    json.dumps(seen.document())


def test_what_runs_longest_is_what_it_serves() -> None:
    now = time.monotonic_ns()
    waiting = [{"line": "GET /old", "since_ns": now - 3 * 10**9}, {"line": "GET /new", "since_ns": now - 10**9}]
    (row,) = overview(None, [worker(1, waiting=waiting, current={"line": "GET /now", "since_ns": now})]).rows
    assert row.serves == "GET /old"
    assert row.serving_for is not None
    assert row.serving_for >= 3


@pytest.mark.parametrize("column", list(COLUMNS))
def test_rows_can_be_sorted_by_every_column(column: str) -> None:
    rows = overview([worker(2)], [worker(number, cpu_ns=number, state="ready") for number in (3, 1, 2)]).rows
    forth, back = (arranged(rows, column, reverse, "") for reverse in (False, True))
    assert {row.id for row in forth} == {row.id for row in back} == {1, 2, 3}
    known = [getattr(row, column) for row in forth if getattr(row, column) is not None]
    assert known == sorted(known, reverse=COLUMNS[column])
    assert all(getattr(row, column) is None for row in [*forth[len(known) :], *back[len(known) :]])


def test_a_filter_takes_all_its_words() -> None:
    request = {"line": "GET /report/7", "since_ns": time.monotonic_ns()}
    rows = overview(None, [worker(1), worker(2, current=request), worker(3, state="stuck", current=request)]).rows
    assert [row.id for row in arranged(rows, "id", False, "REPORT")] == [2, 3]
    assert [row.id for row in arranged(rows, "id", False, "report stuck")] == [3]
    assert [row.id for row in arranged(rows, "id", True, "")] == [3, 2, 1]


@pytest.mark.parametrize("width", [80, 140])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    request = {"line": "GET /" + "x" * 200 + "\x1b[2J", "since_ns": time.monotonic_ns()}
    decision = {"at": time.time(), "before": 1, "after": 2, "text": "y" * 300, "rule": "", "guard": None}
    document = {"instance": INSTANCE, "workers": [worker(number, current=request) for number in range(16)]}
    lines = plain(Overview.of(document, document, 1.0, {"now": "z" * 300, "decisions": [decision]}), width)
    assert max(map(len, lines)) <= width
    assert len(lines) == 3 + 2 + 16 + 2
    assert not any("\x1b" in line for line in lines)
