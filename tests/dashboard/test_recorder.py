"""What the page shows, from readings that are made up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.instance import worker
from support.readings import GET, reading, snapshot

from swell.dashboard import COLUMNS, Recorder
from swell.dashboard.recorder import KEPT_POINTS, KEPT_SECONDS
from swell.telemetry.metrics import Totals

FAILED = ("POST", "http", "1.1", 500, "/orders")


def latency(**counts: int) -> list[int]:
    """By bucket: `b10=96` are 96 requests between 512 µs and 1024 µs."""
    histogram = [0] * 32
    for name, number in counts.items():
        histogram[int(name[1:])] = number
    return histogram


def status(*workers: dict[str, Any]) -> dict[str, Any]:
    return {"instance": {"name": "main"}, "workers": list(workers)}


def named(row: list[Any]) -> dict[str, Any]:
    return dict(zip(COLUMNS, row, strict=True))


def test_the_first_look_has_no_point_because_no_time_has_passed() -> None:
    recorder = Recorder()
    document = recorder.observe(1000.0, 5.0, status(worker(1)), snapshot(reading(requests=7)), None)
    assert document["point"] is None
    assert list(recorder.points) == []
    assert document["totals"]["requests"] == 7


def test_a_point_is_of_the_time_since_the_last_look() -> None:
    recorder = Recorder()
    before = worker(1, latency=latency(b10=100), cpu_ns=0, requests=100)
    after = worker(1, latency=latency(b10=100, b20=50), cpu_ns=500_000_000, requests=150, busy=250)
    recorder.observe(1000.0, 5.0, status(before), snapshot(reading(requests=100, responses_5xx=1)), None)
    document = recorder.observe(1002.0, 7.0, status(after), snapshot(reading(requests=150, responses_5xx=5)), None)
    point = named(document["point"])
    assert (point["at"], point["span"], point["requests"], point["errors5"]) == (1002.0, 2.0, 25.0, 2.0)
    assert 0.524 < point["p50"] < point["p99"] <= 1.049  # the 100 fast ones were before
    assert (point["cpu"], point["busy"], point["ready"]) == (0.25, 0.25, 1)
    assert document["workers"][0]["rate"] == 25.0
    assert list(recorder.points) == [document["point"]]


def test_what_ended_workers_have_counted_stays_in_the_totals() -> None:
    recorder = Recorder()
    recorder.observe(1000.0, 5.0, status(worker(1)), snapshot(reading(requests=100)), None)
    ended = Totals()
    ended.add(reading(requests=110).slot)
    document = recorder.observe(1001.0, 6.0, status(), snapshot(ended=ended), None)
    assert document["totals"]["requests"] == 110
    assert named(document["point"])["requests"] == 10.0
    assert (named(document["point"])["p50"], named(document["point"])["ready"]) == (None, 0)


def test_a_new_worker_in_an_old_slot_is_not_compared_with_the_old_one() -> None:
    recorder = Recorder()
    recorder.observe(1000.0, 5.0, status(worker(1, requests=900)), snapshot(), None)
    fresh = worker(2, slot=1, requests=3, latency=latency(b10=3))
    document = recorder.observe(1001.0, 6.0, status(fresh), snapshot(), None)
    assert document["workers"][0]["rate"] == 0
    assert named(document["point"])["p50"] is not None


def test_the_ring_is_bounded_by_number_and_by_time() -> None:
    recorder = Recorder()
    for second in range(KEPT_POINTS + 50):
        recorder.observe(1000.0 + second, float(second), status(), snapshot(), None)
    assert len(recorder.points) <= KEPT_POINTS
    recorder.observe(9000.0, 9000.0, status(), snapshot(), None)
    assert [point[0] for point in recorder.points] == [9000.0]
    assert recorder.points[0][0] is not None
    assert recorder.points[-1][0] == pytest.approx(9000.0, abs=KEPT_SECONDS)


def test_the_longest_running_requests_of_all_workers_come_first() -> None:
    def request(line: str, seconds: float) -> dict[str, Any]:
        return {"line": line, "since_ns": int((100.0 - seconds) * 1e9)}

    one = worker(1, waiting=[request("GET /b", 3.0), request("GET /c", 1.0)])
    two = worker(2, current=request("GET /a", 9.0))
    document = Recorder().observe(1000.0, 100.0, status(one, two), snapshot(), None)
    shown = [(entry["line"], entry["worker"], entry["seconds"], entry["blocks"]) for entry in document["running"]]
    assert shown == [("GET /a", 2, 9.0, True), ("GET /b", 1, 3.0, False), ("GET /c", 1, 1.0, False)]
    rows = document["workers"]
    assert (rows[0]["serves"]["line"], rows[0]["blocks"]) == ("GET /b", False)
    assert (rows[1]["serves"]["line"], rows[1]["blocks"]) == ("GET /a", True)


def test_routes_are_those_of_the_last_minute_and_what_fails_comes_first() -> None:
    def counted(fine: int, failed: int) -> Any:
        kinds: Any = [(GET, [fine, *[0] * 14], fine * 1_000_000), (FAILED, [failed, *[0] * 14], failed * 9_000_000)]
        return snapshot(reading(kinds=kinds))

    recorder = Recorder()
    recorder.observe(1000.0, 0.0, status(), counted(10, 5), None)
    document = recorder.observe(1010.0, 10.0, status(), counted(30, 6), None)
    failed, fine = document["routes"]
    assert (failed["route"], failed["errors5"], failed["count"], failed["mean"]) == ("/orders", 1, 1, 0.009)
    assert (fine["route"], fine["errors5"], fine["rate"]) == ("/items/{id}", 0, 2.0)
    for second in range(20, 120, 10):
        document = recorder.observe(1000.0 + second, float(second), status(), counted(30, 6), None)
    assert document["routes"] == []


def test_protocols_by_scheme_and_version() -> None:
    recorder = Recorder()
    recorder.observe(1000.0, 0.0, status(), snapshot(reading(kinds=[(GET, [4, *[0] * 14], 0)])), None)
    now = snapshot(reading(kinds=[(GET, [14, *[0] * 14], 0)]))
    document = recorder.observe(1002.0, 2.0, status(), now, None)
    assert document["protocols"] == [{"scheme": "http", "version": "1.1", "rate": 5.0}]


def test_the_load_stands_beside_its_forecast() -> None:
    recorder = Recorder()
    scaling = {"need": 2.5, "forecast": {"load": 3.0}}
    recorder.observe(1000.0, 0.0, status(), snapshot(), scaling)
    point = named(recorder.observe(1001.0, 1.0, status(), snapshot(), scaling)["point"])
    assert (point["need"], point["forecast"]) == (2.5, 3.0)
    point = named(recorder.observe(1002.0, 2.0, status(), snapshot(), {**scaling, "forecast": None})["point"])
    assert (point["need"], point["forecast"]) == (2.5, None)


def test_another_recorder_goes_on_where_one_has_stopped() -> None:
    old = Recorder()
    for second in range(3):
        old.observe(1000.0 + second, float(second), status(), snapshot(reading(requests=100 * second)), None)
    said = json.loads(json.dumps(old.dump()))
    new = Recorder()
    for second in range(2):  # it has looked at its own workers already, beside the old one
        new.observe(1001.5 + second, 50.0 + second, status(), snapshot(), None)
    new.load(said)
    assert list(new.points) == list(old.points)
    # What the old one has counted is in the totals from now on: that is no traffic of this moment.
    document = new.observe(1003.0, 52.0, status(), snapshot(reading(requests=200)), None)
    assert (document["point"], document["totals"]["requests"]) == (None, 200)
    document = new.observe(1004.0, 53.0, status(), snapshot(reading(requests=207)), None)
    assert named(document["point"])["requests"] == 7.0
    assert [point[0] for point in new.points] == [1001.0, 1002.0, 1004.0]


def test_columns_of_another_version_find_their_places() -> None:
    recorder = Recorder()
    recorder.load({"columns": ["weather", "requests", "at"], "points": [["fine", 3.5, 1000.0], ["fine", 1.0, None]]})
    assert [named(point) for point in recorder.points] == [{**dict.fromkeys(COLUMNS), "at": 1000.0, "requests": 3.5}]
    for wrong in ({}, {"columns": ["at"], "points": [["soon"]]}, {"columns": ["at"], "points": [3]}):
        with pytest.raises((KeyError, ValueError, TypeError)):
            recorder.load(wrong)


def test_what_was_recorded_before_stands_before_what_was_seen() -> None:
    recorder = Recorder()
    for second in range(2):
        recorder.observe(1000.0 + second, float(second), status(), snapshot(), None)
    recorder.remember([(880, {"need": 1.5, "ready": 2}), (940, {"need": 1.0, "ready": 2}), (1060, {"need": 9.0})])
    assert [point[0] for point in recorder.points] == [880, 940, 1001.0]
    first = named(recorder.points[0])
    assert (first["span"], first["need"], first["ready"], first["requests"]) == (60.0, 1.5, 2, None)


def test_connections_by_protocol() -> None:
    one = worker(1, connections=10, h2_open=3, h2_streams_open=40, websockets=2)
    document = Recorder().observe(1000.0, 5.0, status(one, one), snapshot(), None)
    assert document["open"] == {"connections": 20, "h2_open": 6, "h2_streams_open": 80, "websockets": 4}
