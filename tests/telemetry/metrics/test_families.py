"""From readings to metrics: sums over the living and the dead, and every name in the words of Prometheus."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.readings import GET, reading, slot, snapshot

from swell._core import DURATION_BOUNDS
from swell.telemetry.metrics import Queue, Snapshot, Totals, expose, families
from swell.telemetry.metrics.docs import PAGE, with_table
from swell.telemetry.metrics.readings import COUNTERS, KINDS_AT_MOST, OTHER, Kind

# OpenTelemetry, semantic conventions for HTTP metrics: http.server.request.duration.
ADVISED = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


def values(taken: Snapshot) -> dict[str, float]:
    """By name and labels, as they stand in the text."""
    found = {}
    for family in text_string_to_metric_families(expose(families(taken)).decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def counts(bucket: int, number: int = 1) -> list[int]:
    return [number if at == bucket else 0 for at in range(len(DURATION_BOUNDS) + 1)]


def test_the_buckets_are_the_advised_ones() -> None:
    assert DURATION_BOUNDS == ADVISED


def test_durations_are_added_up_by_what_the_requests_were() -> None:
    ended = Totals()
    ended.add(slot(), [(GET, counts(0, 5), 10_000_000)])
    other = ("POST", "https", "2", 503, "")
    found = values(
        snapshot(
            reading(0, kinds=[(GET, counts(0, 2), 4_000_000), (other, counts(14), 20_000_000_000)]),
            reading(1, kinds=[(GET, counts(2), 20_000_000)]),
            ended=ended,
        )
    )
    get = "http_request_method=GET,http_response_status_code=200,http_route=/items/{id}"
    rest = "network_protocol_version=1.1,url_scheme=http"
    name = "http_server_request_duration_seconds"
    assert found[f"{name}_bucket{{{get},le=0.005,{rest}}}"] == 7
    assert found[f"{name}_bucket{{{get},le=0.01,{rest}}}"] == 7
    assert found[f"{name}_bucket{{{get},le=0.025,{rest}}}"] == 8
    assert found[f"{name}_count{{{get},{rest}}}"] == 8
    assert found[f"{name}_sum{{{get},{rest}}}"] == pytest.approx(0.034)
    failed = "error_type=503,http_request_method=POST,http_response_status_code=503,"
    failed += "network_protocol_version=2,url_scheme=https"
    assert found[f"{name}_count{{{failed}}}"] == 1


def test_counters_and_gauges() -> None:
    ended = Totals()
    ended.add(slot(requests=10, refused=3, overloaded=1, bytes_sent=100, cpu_ns=2_500_000_000))
    found = values(
        snapshot(
            reading(3, requests=5, refused=2, overloaded=2, in_flight=4, connections=9, busy=250, rss_bytes=1 << 20),
            reading(1, "draining", connections=2, silence=1.5),
            ended=ended,
            starts=7,
            exits={"crash": 2, "reload": 3},
            decisions={("utilisation", "up"): 4},
            last=("utilisation", "memory"),
            queues=[Queue("http://127.0.0.1:8000", 3, 128)],
            cpu=1.25,
        )
    )
    expected = {
        "swell_requests_total": 15,
        "swell_requests_refused_total{reason=overload}": 3,
        "swell_requests_refused_total{reason=request}": 2,
        "http_server_active_requests": 4,
        "swell_connections": 11,
        "swell_sent_bytes_total": 100,
        "swell_cpu_seconds_total": 2.5,
        "swell_workers{state=ready}": 1,
        "swell_workers{state=draining}": 1,
        "swell_workers{state=stuck}": 0,
        "swell_workers_target": 2,
        "swell_worker_starts_total": 7,
        "swell_worker_exits_total{cause=crash}": 2,
        "swell_scaling_decisions_total{direction=up,rule=utilisation}": 4,
        "swell_scaling_reason_info{guard=memory,rule=utilisation}": 1,
        "swell_accept_queue_length{address=http://127.0.0.1:8000}": 3,
        "swell_accept_queue_limit{address=http://127.0.0.1:8000}": 128,
        "swell_worker_connections{slot=3}": 9,
        "swell_worker_loop_utilization_ratio{slot=3}": 0.25,
        "swell_worker_silence_seconds{slot=1}": 1.5,
        "swell_build_info{version=1.2.3}": 1,
        "swell_up": 1,
        "swell_parent_cpu_seconds_total": 1.25,
    }
    assert {name: found[name] for name in expected} == expected


def test_powers_of_two_are_cumulated() -> None:
    delays = [0] * 32
    delays[0], delays[4], delays[11], delays[31] = 1, 2, 3, 4  # < 1 µs, 8 to 16 µs, 1 to 2 ms, endless
    found = values(snapshot(reading(dispatch_delay=delays, dispatch_delay_ns=5_000_000)))
    buckets = {name: value for name, value in found.items() if name.startswith("swell_dispatch_delay_seconds_bucket")}
    assert buckets["swell_dispatch_delay_seconds_bucket{le=1.6e-05}"] == 3
    assert buckets["swell_dispatch_delay_seconds_bucket{le=0.001024}"] == 3
    assert buckets["swell_dispatch_delay_seconds_bucket{le=0.002048}"] == 6
    assert buckets["swell_dispatch_delay_seconds_bucket{le=16.777216}"] == 6
    assert buckets["swell_dispatch_delay_seconds_bucket{le=+Inf}"] == 10
    assert found["swell_dispatch_delay_seconds_sum"] == 0.005


def test_nothing_goes_backwards_when_a_worker_ends() -> None:
    counted: dict[str, Any] = {**dict.fromkeys(COUNTERS, 9), "loop_lag": [2] * 32}
    worker = reading(kinds=[(GET, counts(3, 4), 7_000_000)], **counted)
    before = snapshot(worker)
    ended = Totals()
    ended.add(worker.slot, worker.requests)
    after = replace(before, workers=[], ended=ended)
    grown, shrunk = values(before), values(after)
    names = {name for name in grown if "_total" in name or "_bucket" in name or "_sum" in name or "_count" in name}
    assert len(names) > 60
    assert {name: grown[name] for name in names} == {name: shrunk[name] for name in names}


def test_the_total_of_kinds_is_bounded() -> None:
    ended = Totals()
    for number in range(KINDS_AT_MOST + 50):
        kind: Kind = ("GET", "http", "1.1", 200, f"/{number}")
        ended.add(slot(), [(kind, counts(0), 1)])
    assert len(ended.requests) == KINDS_AT_MOST + 1
    assert ended.requests[(OTHER, "http", "1.1", 0, OTHER)] == (counts(0, 50), 50)


def test_totals_survive_as_json() -> None:
    ended = Totals()
    ended.add(slot(requests=3, loop_lag=[1] * 32), [(GET, counts(0, 5), 10)])
    assert Totals.load(json.loads(json.dumps(ended.dump()))) == ended
    twice = Totals.load(ended.dump())
    twice.merge(ended)
    assert (twice.counters["requests"], twice.requests[GET]) == (6, (counts(0, 10), 20))
    assert twice.histograms["loop_lag"] == [2] * 32
    assert Totals.load({"counters": {"of old": 1}, "histograms": {"loop_lag": [1]}, "requests": []}) == Totals()


def test_promtool_has_nothing_to_say() -> None:
    assert shutil.which("promtool"), "tests/install-system-packages installs it"
    delays = list(range(32))
    taken = snapshot(
        reading(kinds=[(GET, counts(0, 5), 10)], dispatch_delay=delays, loop_lag=delays),
        exits={"crash": 1},
        decisions={("command", "up"): 1},
        queues=[Queue("unix:/run/x.sock", 1, 2)],
    )
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=expose(families(taken)), capture_output=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_documentation_lists_every_metric() -> None:
    page = (Path(__file__).parents[3] / "docs" / PAGE).read_text(encoding="utf-8")
    assert with_table(page) == page
