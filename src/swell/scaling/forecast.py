"""The forecast: a floor under the count from the same hour of earlier weeks, before the load comes.

A seasonal profile, hour of the week; while there is less than a week of history, hour of the day. It is trusted only
while it would have been right for the last day, off until a day of history exists, and may only raise the count: going
down stays with `decide`. Times are Unix seconds, hours those of UTC. Knows no storage; called by the parent once a
minute with what `supervisor.history` has recorded, and by `simulate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from swell.scaling import words
from swell.scaling.policy import Policy

__all__ = ["Forecast", "Hour", "Mode", "foresee", "outlook"]

Mode = Literal["off", "forecast-only", "on"]

_HOUR = 3600
_DAY, _WEEK = 24, 168
_MOST_WEEKS = 5
# How far `outlook` goes: the day that is judged, and half of one to come.
_BEHIND, _AHEAD = 24, 12
# The last day's forecasts are judged; fewer judged hours than this prove nothing.
_JUDGED, _LEAST_JUDGED = 24, 6
# Loads below a tenth of a worker count as this, so that an idle night does not make every error look large.
_SMALL = 0.1
_LARGEST = 1e6  # no recorded load is larger; it would be nonsense that spoils every mean
_ALMOST = 1e-9


@dataclass(frozen=True, slots=True)
class Hour:
    """The mean load of one hour in worker-equivalents. `number` is Unix time in whole hours."""

    number: int
    load: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """`floor` workers are expected to be needed at `at`; `None` when nothing can be said. `acts` only in mode "on".

    `error` is the mean error of the last day's forecasts as a share of the load. `text` gives the reason either way.
    """

    at: float
    floor: int | None
    load: float | None
    error: float | None
    acts: bool
    text: str

    def would(self, current: int) -> str | None:
        """What it would have done, in mode "forecast-only"; `None` if nothing."""
        if self.acts or self.floor is None or self.floor <= current:
            return None
        return f"would raise {current} → {self.floor}: {self.text}"


def foresee(
    hours: Sequence[Hour],
    policy: Policy,
    now: float,
    *,
    start_time: float,
    mode: Mode = "on",
    began: float | None = None,
) -> Forecast | None:
    """The forecast for `now` + `start_time` (of a worker, measured) + margin. `None` in mode "off".

    `hours` are the recorded ones in any order; `began` is when recording did, else the first hour counts.
    """
    if mode == "off" or not math.isfinite(now):
        return None
    ahead = max(0.0, start_time) if math.isfinite(start_time) else 0.0
    at = now + ahead + policy.forecast_margin
    this_hour = math.floor(now / _HOUR)
    known = _known(hours, policy, this_hour)
    acts = mode == "on"
    if not known:
        return Forecast(at, None, None, None, acts, "no history yet")
    age = now - (began if began is not None and math.isfinite(began) else min(known) * _HOUR)
    if age < policy.forecast_history:
        text = f"{words.duration(max(0.0, age))} of history, {words.duration(policy.forecast_history)} are needed"
        return Forecast(at, None, None, None, acts, text)
    load = _profile(known, math.floor(at / _HOUR))
    error = _recent_error(known, this_hour)
    if load is None:
        return Forecast(at, None, None, error, acts, "this hour has not been recorded yet")
    if error is None:
        return Forecast(at, None, load, None, acts, "too few hours to judge the forecast by")
    if error > policy.forecast_error:
        text = (
            f"not trusted: the last day's forecasts were wrong by {words.percent(error)}, "
            f"more than {words.percent(policy.forecast_error)}"
        )
        return Forecast(at, None, load, error, acts, text)
    floor = max(0, math.ceil(load - _ALMOST))
    text = f"this hour usually needs {words.number(load)} (forecasts of the last day wrong by {words.percent(error)})"
    return Forecast(at, floor, load, error, acts, text)


def outlook(hours: Sequence[Hour], policy: Policy, now: float) -> list[tuple[int, float | None]]:
    """What the profile says of each hour of the last day and of the next ones, by their numbers: of those that are
    over, what it would have foretold a day before. None where an hour has nothing to go by."""
    if not math.isfinite(now):
        return []
    this_hour = math.floor(now / _HOUR)
    known = _known(hours, policy, this_hour)
    return [(hour, _profile(known, hour)) for hour in range(this_hour - _BEHIND, this_hour + _AHEAD + 1)]


def _known(hours: Sequence[Hour], policy: Policy, this_hour: int) -> dict[int, float]:
    oldest = this_hour - round(policy.forecast_weeks) * _WEEK
    # The running hour is not over: its mean is of other minutes than the profile's.
    return {
        hour.number: hour.load for hour in hours if oldest <= hour.number < this_hour and 0 <= hour.load <= _LARGEST
    }


def _profile(known: Mapping[int, float], hour: int) -> float | None:
    """The load of `hour` by hours before it: the same of earlier weeks, else of earlier days. The last weighs most."""
    for period, weight in ((_WEEK, 0.5), (_DAY, 0.7)):
        total = weights = 0.0
        for back in range(1, _MOST_WEEKS * _WEEK // period + 1):
            if (load := known.get(hour - back * period)) is not None:
                total += load * weight**back
                weights += weight**back
        if weights:
            return total / weights
    return None


def _recent_error(known: Mapping[int, float], this_hour: int) -> float | None:
    """How wrong the profile would have been in each hour of the last day, as a share of the load in them."""
    wrong = loads = 0.0
    judged = 0
    for hour in range(this_hour - _JUDGED, this_hour):
        # The profile of an hour is made of hours before it only, so this is what would have been foretold.
        expected = _profile(known, hour)
        if hour in known and expected is not None:
            wrong += abs(expected - known[hour])
            loads += max(_SMALL, known[hour])
            judged += 1
    return wrong / loads if judged >= _LEAST_JUDGED else None
