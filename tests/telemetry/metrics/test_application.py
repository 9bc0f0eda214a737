"""The application's metrics of several workers become one: by kind, by mode, and whatever the entries are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from support.metrics import parsed

from swell.metrics.values import key_of
from swell.telemetry.metrics import expose
from swell.telemetry.metrics.application import application_families

A = [("a", "x")]
Entries = Mapping[bytes, Sequence[float]]


def shown(living: Mapping[int, Entries], ended: Entries | None = None) -> dict[str, float]:
    return parsed(expose(application_families(living, ended or {}, {"taken"})).decode())


def test_counters_and_histograms_are_added_up() -> None:
    counter = key_of("counter", "c", "", A, "C")
    histogram = key_of("histogram", "h", "", [], "H", "", [1.0, 5.0])
    found = shown(
        {0: {counter: [1.5], histogram: [1, 0, 2, 20.0]}, 1: {counter: [2]}},
        {counter: [10], histogram: [0, 3, 0, 9.0]},
    )
    assert found == {
        "c_total{a=x}": 13.5,
        "h_bucket{le=1.0}": 1,
        "h_bucket{le=5.0}": 4,
        "h_bucket{le=+Inf}": 6,
        "h_sum": 29,
        "h_count": 6,
    }


def test_gauges_are_those_of_the_living_by_their_mode() -> None:
    modes = ("sum", "max", "min", "latest", "each", "livesum", "livemax", "all", "mostrecent")
    keys = {mode: key_of("gauge", f"g_{mode}", "", [], "G", mode) for mode in modes}
    first = {key: [3.0, 200.0] for key in keys.values()}
    second = {key: [5.0, 100.0] for key in keys.values()}
    dead = {key: [100.0, 900.0] for key in keys.values()}
    assert shown({2: first, 4: second}, dead) == {
        "g_sum": 8,
        "g_max": 5,
        "g_min": 3,
        "g_latest": 3,
        "g_each{slot=2}": 3,
        "g_each{slot=4}": 5,
        "g_livesum": 8,
        "g_livemax": 5,
        "g_all{slot=2}": 3,
        "g_all{slot=4}": 5,
        "g_mostrecent": 3,
    }


def test_samples_of_prometheus_client_are_put_together() -> None:
    def bucket(bound: str) -> bytes:
        return key_of("histogram", "h", "_bucket", [*A, ("le", bound)], "H")

    total = key_of("histogram", "h", "_sum", A, "H")
    entries: Entries = {bucket("+Inf"): [1, 0], bucket("0.5"): [2, 0], bucket("10.0"): [4, 0], total: [30.0, 0]}
    summary: Entries = {
        key_of("summary", "s", "_count", [], "S"): [3, 0],
        key_of("summary", "s", "_sum", [], "S"): [1.5, 0],
    }
    assert shown({0: {**entries, **summary}, 1: entries}) == {
        "h_bucket{a=x,le=0.5}": 4,
        "h_bucket{a=x,le=10.0}": 12,
        "h_bucket{a=x,le=+Inf}": 14,
        "h_sum{a=x}": 60,
        "h_count{a=x}": 14,
        "s_count": 3,
        "s_sum": 1.5,
    }


def test_what_makes_no_sense_is_left_out() -> None:
    counter = key_of("counter", "x", "", [], "X")
    gauge = key_of("gauge", "x", "", [], "X")
    broken = key_of("histogram", "h", "_bucket", [("le", "1.0")], "no sum and no end")
    assert shown(
        {0: {counter: [1], b"no key": [2], key_of("counter", "taken", "", [], ""): [1]}, 1: {gauge: [7, 0]}}
    ) == {"x_total": 1}
    assert shown({0: {broken: [1, 0]}}) == {}
