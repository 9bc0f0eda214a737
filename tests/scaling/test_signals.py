"""Samples from scoreboard snapshots: differences, resets, wraps, what is missing."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell import _core
from swell.scaling import worker_sample
from swell.scaling.signals import histogram_difference, percentile

WRAP = 1 << 64


def snapshot(**values: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "worker": 3, "generation": 1, "pid": 77, "state": "ready", "started_ns": 10_000_000_000,
        "heartbeat_ns": 99_900_000_000, "requests": 0, "busy_samples": 0, "samples": 0, "cpu_ns": 0,
        "rss_bytes": 50 << 20, "in_flight": 0, "websockets": 0, "connections": 0,
        "pool_size": 0, "pool_busy": 0, "pool_waiting": 0,
        "latency": [0] * 32, "dispatch_delay": [0] * 32, "loop_lag": [0] * 32,
    }  # fmt: skip
    return {**base, **values}


def test_rates_are_differences_over_the_span() -> None:
    sample = worker_sample(
        snapshot(requests=100, busy_samples=10, samples=40, cpu_ns=1_000_000_000),
        snapshot(requests=150, busy_samples=25, samples=60, cpu_ns=1_250_000_000, in_flight=7),
        span=0.5,
        now=100.0,
    )
    assert sample.requests_per_s == 100
    assert sample.utilisation == 0.75
    assert sample.cpu == 0.5
    assert sample.in_flight == 7
    assert sample.age == 90
    assert (sample.worker, sample.state, sample.rss) == (3, "ready", 50 << 20)


def test_few_looks_of_the_sampler_are_filled_up_with_cpu_time() -> None:
    one_look = worker_sample(snapshot(), snapshot(busy_samples=1, samples=1, cpu_ns=5_000_000), span=0.5, now=100.0)
    assert one_look.utilisation == pytest.approx((1 + 0.01 * 4) / 5)
    no_look = worker_sample(snapshot(), snapshot(cpu_ns=5_000_000), span=0.5, now=100.0)
    assert no_look.utilisation == pytest.approx(0.01)


def test_a_counter_that_wraps_grows() -> None:
    sample = worker_sample(snapshot(requests=WRAP - 10), snapshot(requests=40), span=1.0, now=100.0)
    assert sample.requests_per_s == 50


def test_a_counter_that_began_anew_is_not_known() -> None:
    sample = worker_sample(snapshot(requests=5000, samples=9), snapshot(requests=40), span=1.0, now=100.0)
    assert sample.requests_per_s is None
    assert sample.utilisation is None


@pytest.mark.parametrize("key", ["worker", "generation", "pid", "started_ns"])
def test_another_worker_in_the_slot_makes_no_rates(key: str) -> None:
    sample = worker_sample(snapshot(**{key: 999}), snapshot(requests=40, in_flight=2), span=1.0, now=100.0)
    assert sample.requests_per_s is None
    assert sample.dispatch_p95 is None
    assert sample.in_flight == 2


def test_the_first_snapshot_makes_no_rates() -> None:
    sample = worker_sample(None, snapshot(requests=40, in_flight=2), span=1.0, now=100.0)
    assert (sample.requests_per_s, sample.cpu, sample.in_flight) == (None, None, 2)
    assert not sample.idle


def test_percentiles_come_from_the_difference_of_histograms() -> None:
    before, after = [0] * 32, [0] * 32
    before[20] = after[20] = 1000  # half a second each, long ago
    after[4] = 100  # 8 to 16 µs, now
    sample = worker_sample(snapshot(dispatch_delay=before), snapshot(dispatch_delay=after), span=1.0, now=100.0)
    assert sample.dispatch_p95 == pytest.approx(15.6e-6)


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ([0] * 32, 0.0),
        ([10, *[0] * 31], 0.95e-6),
        ([0, 0, 0, 10], 7.8e-6),
        ([90, 0, 0, 0, 10], 12e-6),
        ([1, *[0] * 30, 1], (2**30 + 2**30 * 0.9) / 1e6),
    ],
)
def test_percentile(buckets: list[int], expected: float) -> None:
    assert percentile(buckets, 0.95) == pytest.approx(expected)


def test_a_beat_that_does_not_come_is_lag() -> None:
    blocked = worker_sample(snapshot(), snapshot(heartbeat_ns=96_000_000_000), span=1.0, now=100.0)
    assert blocked.lag_p95 == pytest.approx(3.0)
    fine = worker_sample(snapshot(), snapshot(heartbeat_ns=99_500_000_000), span=1.0, now=100.0)
    assert fine.lag_p95 == 0.0


def test_pool_counts_waiting_calls() -> None:
    sample = worker_sample(None, snapshot(pool_size=40, pool_busy=40, pool_waiting=60), span=1.0, now=100.0)
    assert sample.pool == 2.5
    assert worker_sample(None, snapshot(), span=1.0, now=100.0).pool == 0.0
    assert worker_sample(None, {}, span=1.0, now=100.0).pool is None


def test_idle_is_what_is_known_to_be_idle() -> None:
    assert worker_sample(snapshot(), snapshot(connections=9), span=1.0, now=100.0).idle
    assert not worker_sample(snapshot(), snapshot(websockets=1), span=1.0, now=100.0).idle
    assert not worker_sample(snapshot(), snapshot(requests=1), span=1.0, now=100.0).idle
    assert not worker_sample({}, {}, span=1.0, now=100.0).idle


def test_a_real_scoreboard_has_the_keys(tmp_path: Any) -> None:
    board = _core.Scoreboard.create(str(tmp_path / "board"), 2)
    board.reset(0, 5, 1)
    board.set_state(0, "ready")
    before = board.read(0)
    board.note(0, pool_size=40, pool_busy=3)
    sample = worker_sample(before, board.read(0), span=1.0, now=100.0)
    assert (sample.worker, sample.state, sample.pool) == (5, "ready", 3 / 40)
    assert None not in (sample.requests_per_s, sample.cpu, sample.utilisation, sample.dispatch_p95, sample.lag_p95)
    assert None not in (sample.in_flight, sample.websockets, sample.connections, sample.latency_p95)


anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "ready", "1"])
    | st.lists(st.integers())
)
snapshots = st.dictionaries(st.sampled_from(sorted(snapshot())), anything)


@given(st.none() | snapshots, snapshots, st.floats(), st.floats(allow_nan=False, allow_infinity=False))
def test_no_snapshot_raises(
    before: dict[str, object] | None, after: dict[str, object], span: float, now: float
) -> None:
    sample = worker_sample(before, after, span=span, now=now)
    assert sample.utilisation is None or 0 <= sample.utilisation <= 1
    assert sample.requests_per_s is None or sample.requests_per_s >= 0


counts = st.lists(st.integers(0, WRAP - 1), min_size=32, max_size=32)


@given(counts, st.lists(st.integers(0, 10**9), min_size=32, max_size=32))
def test_histograms_differ_by_what_was_added_whatever_wraps(before: list[int], added: list[int]) -> None:
    after = [(old + new) % WRAP for old, new in zip(before, added, strict=True)]
    assert histogram_difference(before, after) == added


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=32), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_rise_with_the_share(buckets: list[int], one: float, other: float) -> None:
    low, high = percentile(buckets, min(one, other)), percentile(buckets, max(one, other))
    assert low is not None
    assert high is not None
    assert low <= high <= 2 ** (len(buckets) - 1) / 1e6
    assert not math.isnan(high)
