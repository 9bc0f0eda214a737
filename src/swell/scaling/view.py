"""The numbers that a decision stands on: means over three windows, made once from the history.

Burst, panic and stable window, after Knative's two; what each signal asks for in them, in workers; the delays; the
host. Decides nothing. Called by `decide`, `rules` and `guards`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swell.scaling.policy import Policy
from swell.scaling.window import CPU, DELAYS, IN_FLIGHT, LINEAR, POOL, UTILISATION, History, Means, Tick

__all__ = ["Delay", "Reading", "View", "look"]

_ALMOST = 1e-9
# A delay counts as over its target when it was for this share of the window: one good sample is no relief.
HELD = 0.75


@dataclass(frozen=True, slots=True)
class Reading:
    """A linear signal. Values are per ready worker, `needs` are workers; missing data counts 0 upward, `full` downward.

    `sustained` is the smaller of what the two newest samples ask for on their own.
    """

    name: str
    signal: int
    target: float
    burst: float | None
    short: float | None
    stable: float | None
    needs_burst: float
    needs_short: float
    needs_stable: float
    needs_before: float
    down_short: float
    down_stable: float
    sustained: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "burst": self.burst,
            "short": self.short,
            "stable": self.stable,
            "needs": round(self.needs_short, 3),
        }


@dataclass(frozen=True, slots=True)
class Delay:
    """A delay: the median over the panic window, the mean over the stable one, seconds. `held`: over its target."""

    name: str
    value: float | None
    stable: float | None
    held: bool


@dataclass(frozen=True, slots=True)
class View:
    """Everything in one place. `covered` is the time that samples exist for within the stable window."""

    now: float
    last: Tick
    covered: float
    history_age: float
    burst: Means | None
    short: Means
    stable: Means
    readings: tuple[Reading, ...]
    delays: tuple[Delay, ...]
    host_cpu: float | None
    throttled: float | None
    latency: float | None
    latency_usual: float | None

    @property
    def need(self) -> float:
        """The load of the panic window in worker-equivalents."""
        return max(reading.needs_short for reading in self.readings)

    @property
    def in_flight(self) -> float:
        return self.short.per_worker(IN_FLIGHT)

    def is_idling(self, policy: Policy) -> bool:
        """The loops wait most of the time, and neither threads nor CPU nor delays say otherwise.

        The newest samples count as much as the panic window: when an upstream stalls, loops are idle from then on.
        """
        recent = self.burst or self.short

        def lowest(signal: int) -> float:
            return min(self.short.per_worker(signal), recent.per_worker(signal))

        return (
            lowest(UTILISATION) < policy.idle_utilisation
            and lowest(CPU) < policy.cpu
            and lowest(POOL) < policy.pool
            and not any(delay.held for delay in self.delays)
        )

    def is_upstream_bound(self, policy: Policy) -> bool:
        """Idle loops, and yet many requests in flight or a latency that has doubled: the time passes elsewhere."""
        if not self.is_idling(policy) or self.short.per_worker(POOL) >= policy.idle_utilisation:
            return False
        slower = (
            self.latency is not None
            and self.latency_usual is not None
            and self.latency >= 0.1
            and self.latency >= 2 * self.latency_usual
        )
        return self.in_flight >= policy.upstream_in_flight or (slower and self.in_flight >= 1)


def look(history: History, policy: Policy, now: float) -> View | None:
    """The view at `now`; `None` if the last sample is missing or too old to say anything."""
    last = history.last
    if last is None or history.began is None or not -1.0 <= now - last.at <= max(3 * policy.interval, 3.0):
        return None
    newest = len(history) - 1
    stable_at = min(newest, history.first_since(now - policy.stable_window))
    short_at = min(newest, max(stable_at, history.first_since(now - policy.panic_window)))
    ticks = history.since(short_at)
    # Whole samples only, so that the load before the burst is not in it; two at least, one may be noise.
    whole = sum(tick.at - tick.span >= now - policy.burst_window - _ALMOST for tick in ticks)
    burst_count = min(len(ticks), max(2, whole))
    burst_at = newest + 1 - burst_count
    burst = history.means(burst_at) if burst_count >= 2 else None
    short, stable, before = history.means(short_at), history.means(stable_at), history.means(stable_at, burst_at)
    if short is None or stable is None:
        return None
    usual = history.means(stable_at, short_at)
    hosts = [tick.host for tick in ticks]
    return View(
        now=now,
        last=last,
        covered=stable.covered,
        history_age=now - history.began,
        burst=burst,
        short=short,
        stable=stable,
        readings=tuple(_reading(signal, (burst, short, stable, before), ticks[:2]) for signal in _signals(policy)),
        delays=tuple(_delay(index, policy, ticks, stable) for index in range(len(DELAYS))),
        host_cpu=_most([host.cpu for host in hosts[:burst_count]], [host.cpu for host in hosts]),
        throttled=_most([host.throttled for host in hosts[:burst_count]], [host.throttled for host in hosts]),
        latency=short.latency,
        latency_usual=usual.latency if usual is not None else None,
    )


def _signals(policy: Policy) -> list[tuple[int, float, float]]:
    """(signal, target, what missing data counts downward): 100 % of the time, or the target where there is no 100 %."""
    signals = [(UTILISATION, policy.utilisation, 1.0), (CPU, policy.cpu, 1.0), (POOL, policy.pool, 1.0)]
    if policy.in_flight is not None:
        signals.append((IN_FLIGHT, policy.in_flight, policy.in_flight))
    return signals


def _reading(
    row: tuple[int, float, float],
    means: tuple[Means | None, Means | None, Means | None, Means | None],
    newest: Sequence[Tick],
) -> Reading:
    signal, target, full = row
    burst, short, stable, before = means

    def up(mean: Means | None) -> float:
        return mean.known[signal] / target if mean else 0.0

    def down(mean: Means | None) -> float:
        return (mean.known[signal] + mean.missing[signal] * full) / target if mean else 0.0

    return Reading(
        name=LINEAR[signal][0],
        signal=signal,
        target=target,
        burst=burst.per_worker(signal) if burst else None,
        short=short.per_worker(signal) if short else None,
        stable=stable.per_worker(signal) if stable else None,
        needs_burst=up(burst),
        needs_short=up(short),
        needs_stable=up(stable),
        needs_before=up(before),
        down_short=down(short),
        down_stable=down(stable),
        sustained=min(tick.known[signal] / target for tick in newest) if len(newest) >= 2 else 0.0,
    )


def _delay(index: int, policy: Policy, ticks: Sequence[Tick], stable: Means) -> Delay:
    values = [value for tick in ticks if (value := tick.delays[index]) is not None]
    line = policy.delay * (1 + policy.tolerance)
    over = sum(value > line for value in values)
    newest = ticks[0].delays[index]
    return Delay(
        name=DELAYS[index][0],
        value=statistics.median(values) if values else None,
        stable=stable.delays[index],
        held=len(values) >= 2 and newest is not None and newest > line and over >= HELD * len(ticks),
    )


def _most(*windows: Sequence[float | None]) -> float | None:
    """The largest of the windows' means, of what is known."""
    means = []
    for window in windows:
        known = [value for value in window if value is not None and math.isfinite(value)]
        if known:
            means.append(statistics.fmean(known))
    return max(means, default=None)
