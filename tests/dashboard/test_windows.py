"""Differences and percentiles of counters."""

from __future__ import annotations

import pytest

from swell.dashboard.windows import between, percentile, powers, rate


def test_a_difference_is_what_came_since() -> None:
    assert between([1, 2, 3], [1, 5, 3]) == [0, 3, 0]
    assert between(None, [1, 5, 3]) == [1, 5, 3]


def test_a_counter_that_begins_anew_is_counted_from_zero() -> None:
    assert between([4, 9], [1, 0]) == [1, 0]
    assert rate({"requests": 9}, {"requests": 4}, "requests", 1.0) == 0


def test_a_rate_of_no_time_is_none() -> None:
    assert rate({"requests": 1}, {"requests": 4}, "requests", 0.0) == 0
    assert rate(None, {"requests": 4}, "requests", 1.0) == 0
    assert rate({"requests": 1}, {"requests": 4}, "requests", 2.0) == 1.5


@pytest.mark.parametrize(("share", "value"), [(0.25, 0.5), (0.5, 1.0), (0.75, 1.5), (1.0, 2.0)])
def test_percentiles_are_linear_within_a_bucket(share: float, value: float) -> None:
    assert percentile([1.0, 2.0, 4.0], [5, 5, 0, 0], share) == pytest.approx(value)


def test_percentiles_of_nothing_and_of_what_is_beyond_all_bounds() -> None:
    assert percentile([1.0, 2.0], [0, 0, 0], 0.5) is None
    assert percentile([1.0, 2.0], [0, 0, 7], 0.5) == 2.0


def test_the_scoreboards_buckets_are_powers_of_two_of_microseconds() -> None:
    assert powers(32)[:3] == [1e-6, 2e-6, 4e-6]
    assert percentile(powers(32), [0] * 20 + [1] + [0] * 11, 1.0) == pytest.approx(1.048576)
