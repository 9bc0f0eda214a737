"""Numbers for people: short, never wrong by more than they say."""

from __future__ import annotations

import pytest

from swell.cli.figures import Figures, percentile, short_age, short_number, short_seconds, short_size


def buckets(**counts: int) -> list[int]:
    """`b3=7`: seven values from 4 to 8 µs."""
    found = [0] * 32
    for name, count in counts.items():
        found[int(name[1:])] = count
    return found


@pytest.mark.parametrize(
    ("counts", "share", "microseconds"),
    [
        ({"b0": 10}, 0.5, 0.5),
        ({"b1": 10}, 0.5, 1.5),
        ({"b11": 100}, 1.0, 2048),
        ({"b11": 100}, 0.25, 1280),
        ({"b3": 95, "b11": 5}, 0.95, 8),
        ({"b3": 90, "b11": 10}, 0.95, 1536),
        ({"b31": 1}, 1.0, 2**31),
    ],
)
def test_percentiles_lie_in_their_bucket(counts: dict[str, int], share: float, microseconds: float) -> None:
    assert percentile(buckets(**counts), share) == pytest.approx(microseconds / 1e6)


def test_nothing_has_no_percentile() -> None:
    assert percentile(buckets(), 0.95) is None


def test_rates_need_two_looks_at_the_same_worker() -> None:
    before = {"requests": 100, "samples": 10, "busy_samples": 5, "latency": buckets(b1=100)}
    now = {"requests": 140, "samples": 20, "busy_samples": 12, "latency": buckets(b1=100, b11=40)}
    alone = Figures.of(now, None, 0)
    assert (alone.rate, alone.busy) == (None, None)
    assert alone.p95 == pytest.approx(0.00185, abs=0.0001)
    both = Figures.of(now, before, 0.5)
    assert (both.rate, both.busy) == (80, 0.7)
    assert both.p95 == pytest.approx((1024 + 1024 * 0.95) / 1e6)
    few = Figures.of({**now, "latency": buckets(b1=100, b11=19), "samples": 10}, before, 0.5)
    assert few.busy is None
    assert few.p95 == pytest.approx(percentile(buckets(b1=100, b11=19), 0.95))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.4, "0.4"), (9, "9"), (9.96, "10.0"), (10.4, "10"), (99_999, "99999"), (99_999.4, "99999"),
        (99_999.6, "100k"), (123_456, "123k"), (999_499, "999k"), (999_600, "1.0M"), (4_512_345, "4.5M"), (12e9, "12G"),
        (3e15, "3e+15"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert short_number(value) == text
    assert len(text) <= 5


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0us"), (85e-6, "85us"), (999.6e-6, "1.0ms"), (1.24e-3, "1.2ms"), (9.96e-3, "10ms"), (0.9996, "1.0s"),
     (3.14, "3.1s"), (120, "120s")],
)  # fmt: skip
def test_seconds(value: float, text: str) -> None:
    assert short_seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (200, "3m20s"),
        (3600 * 4 + 300, "4h05m"),
        (86400 * 12 + 11000, "12d3h"),
    ],
)
def test_ages(value: float, text: str) -> None:
    assert short_age(value) == text


def test_sizes() -> None:
    assert [short_size(size) for size in (0, 41 << 20, 9 << 30, 12 << 30)] == ["0M", "41M", "9216M", "12.0G"]
