"""The forecast: off without history, trusted only while it was right, and never lower than what it knows."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.scaling import Bounds, Hour, Policy, foresee, outlook
from swell.scaling.simulate import Load, Machine, simulate

POLICY = Policy()
HOUR = 3600
MONDAY = 1_799_971_200 // HOUR  # 00:00 UTC of a day, in whole hours


def office(hour: int) -> float:
    """Three workers' worth from 9 to 17, next to nothing else."""
    return 3.0 if 9 <= hour % 24 < 17 else 0.1


def recorded(days: int, load: Callable[[int], float] = office) -> list[Hour]:
    return [Hour(MONDAY + hour, load(hour)) for hour in range(days * 24)]


def at(day: int, hour: float) -> float:
    return (MONDAY + day * 24 + hour) * HOUR


def test_off_is_nothing() -> None:
    assert foresee(recorded(14), POLICY, at(14, 9), start_time=1.0, mode="off") is None


@pytest.mark.parametrize(("hours", "text"), [(0, "no history yet"), (20, "20 h of history, 24 h are needed")])
def test_silent_without_a_day_of_history(hours: int, text: str) -> None:
    found = foresee(recorded(1)[:hours], POLICY, at(0, max(hours, 1)), start_time=1.0)
    assert found is not None
    assert (found.floor, found.text) == (None, text)


def test_a_day_alone_cannot_be_judged() -> None:
    found = foresee(recorded(1), POLICY, at(1, 0.5), start_time=1.0)
    assert found is not None
    assert (found.floor, found.text) == (None, "too few hours to judge the forecast by")


def test_it_looks_ahead_by_the_start_time_and_the_margin() -> None:
    hours = recorded(14)
    before = foresee(hours, POLICY, at(14, 9) - 60, start_time=2.0)
    shortly = foresee(hours, POLICY, at(14, 9) - 31, start_time=2.0)
    slow = foresee(hours, POLICY, at(14, 9) - 60, start_time=31.0)
    assert before is not None
    assert shortly is not None
    assert slow is not None
    assert (before.floor, shortly.floor, slow.floor) == (1, 3, 3)
    assert shortly.text == "this hour usually needs 3 (forecasts of the last day wrong by 0 %)"
    assert shortly.acts


def test_the_day_of_the_week_counts_once_a_week_is_known() -> None:
    def weekdays(hour: int) -> float:
        return office(hour) if hour // 24 % 7 < 5 else 0.1

    saturday = foresee(recorded(19, weekdays), POLICY, at(19, 12), start_time=1.0)
    assert saturday is not None
    assert saturday.floor == 1
    friday = foresee(recorded(18, weekdays), POLICY, at(18, 12), start_time=1.0)
    assert friday is not None
    assert friday.floor == 3


def test_the_last_week_weighs_most() -> None:
    def growing(hour: int) -> float:
        return 1.0 + hour // (24 * 7)

    found = foresee(recorded(28, growing), POLICY, at(28, 12), start_time=1.0)
    assert found is not None
    assert found.load == pytest.approx((4 + 3 / 2 + 2 / 4 + 1 / 8) / (1 + 1 / 2 + 1 / 4 + 1 / 8))


def test_a_forecast_that_was_wrong_is_not_trusted() -> None:
    def broken(hour: int) -> float:
        return office(hour) if hour < 13 * 24 else 2.0

    found = foresee(recorded(14, broken), POLICY, at(14, 10), start_time=1.0)
    assert found is not None
    assert found.floor is None
    assert found.error is not None
    assert found.error > 0.3
    assert found.text.startswith("not trusted: the last day's forecasts were wrong by")


def test_forecast_only_says_and_does_nothing() -> None:
    found = foresee(recorded(14), POLICY, at(14, 10), start_time=1.0, mode="forecast-only")
    assert found is not None
    assert not found.acts
    assert found.would(1) == "would raise 1 → 3: this hour usually needs 3 (forecasts of the last day wrong by 0 %)"
    assert found.would(3) is None


def test_it_raises_the_count_before_the_load_comes() -> None:
    hours = recorded(14)
    begin = at(14, 8.9)

    def load(second: float) -> Load:
        return Load(rate=195 if begin + second >= at(14, 9) else 10, loop=0.01, cpu=0.1)

    def run(*, foreseen: bool) -> float:
        result = simulate(
            load, POLICY, Bounds(1, 8), seconds=500, machine=Machine(start_time=5.0),
            forecast=lambda now: foresee(hours, POLICY, begin + now, start_time=5.0) if foreseen else None,
        )  # fmt: skip
        return max(step.backlog for step in result.steps)

    assert run(foreseen=True) == 0
    assert run(foreseen=False) > 100


@given(
    st.lists(st.builds(Hour, st.integers(MONDAY - 900, MONDAY + 10), st.floats()), max_size=60),
    st.floats(), st.floats(), st.none() | st.floats(),
)  # fmt: skip
def test_nothing_raises(hours: list[Hour], now: float, start_time: float, began: float | None) -> None:
    for moment in (now, MONDAY * HOUR):
        found = foresee(hours, POLICY, moment, start_time=start_time, began=began)
        if found is not None and found.floor is not None:
            assert found.floor >= 0
            assert found.load is not None
            assert math.isfinite(found.load)


def test_the_outlook_is_what_was_foretold_and_what_is() -> None:
    hours = recorded(9)
    now = at(9, 8.5)
    seen = outlook(hours, POLICY, now)
    first = MONDAY + 8 * 24 + 8
    assert [hour for hour, _ in seen] == list(range(first, first + 24 + 12 + 1))
    assert [load for _, load in seen] == [pytest.approx(office(hour)) for hour in range(8, 8 + 37)]
    # Of the hour that it is about, it says what the forecast does.
    found = foresee(hours, POLICY, at(9, 9) - 31, start_time=2.0)
    assert found is not None
    assert found.load == dict(seen)[MONDAY + 9 * 24 + 9]


def test_without_a_day_of_history_the_outlook_says_nothing() -> None:
    assert {load for _, load in outlook(recorded(1)[:6], POLICY, at(0, 6))} == {None}
    assert outlook([], POLICY, math.nan) == []
    # Six hours are known from yesterday on.
    seen = [load for _, load in outlook(recorded(1)[:6], POLICY, at(0, 20))]
    assert seen[:28] == [None] * 28
    assert None not in seen[28:34]
