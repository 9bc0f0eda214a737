"""Durations and sizes: the spellings, what is refused, and that reading and showing are inverse."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from swell.config.units import read_duration, read_size, show_duration, show_size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30", 30.0), ("30s", 30.0), ("1m30s", 90.0), ("1m 30s", 90.0), ("500ms", 0.5), ("2.5s", 2.5), ("2h", 7200.0),
        ("1d", 86400.0), ("1H", 3600.0), (" 75 ", 75.0), ("0", 0.0), (75, 75.0), (0.25, 0.25),
        (timedelta(minutes=1), 60.0),
    ],
)  # fmt: skip
def test_duration_is_read(written: object, seconds: float) -> None:
    assert read_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "s", "30x", "1m30", "-1", "-5s", "1e3", "inf", "nan", "30 s s", "367d", True, None, [], float("nan"), -1,
     float("inf"), "٣٠s\n1"],
)  # fmt: skip
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|must lie"):
        read_duration(written)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(90.0, "90s"), (75.0, "75s"), (120.0, "2m"), (150.0, "2m30s"), (0.5, "500ms"), (0.0, "0s"), (86400.0, "1d")],
)
def test_duration_is_shown(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


def test_reading_a_shown_duration_gives_it_back() -> None:
    source = random.Random(7)
    for _ in range(2000):
        seconds = round(source.choice([1, 100, 10_000, 1_000_000]) * source.random(), source.choice([0, 3]))
        assert read_duration(show_duration(seconds)) == pytest.approx(seconds, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("65536", 65536), ("64k", 65536), ("64K", 65536), ("64KiB", 65536), ("64 kib", 65536), ("16MiB", 16 << 20),
        ("1.5k", 1536), ("1G", 1 << 30), ("16MB", 16_000_000), ("8kB", 8000), ("10B", 10), ("0", 0), (1024, 1024),
    ],
)  # fmt: skip
def test_size_is_read(written: object, size: int) -> None:
    assert read_size(written) == size


@pytest.mark.parametrize("written", ["", "k", "64q", "-1", "1.5", "1.0001k", 1.5, True, None, "9999999G", -1])
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"is not a size|must be a whole number"):
        read_size(written)


def test_reading_a_shown_size_gives_it_back() -> None:
    source = random.Random(7)
    for _ in range(2000):
        size = source.randrange(1 << 12) << source.randrange(0, 31)
        assert read_size(show_size(size)) == size
