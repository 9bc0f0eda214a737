"""The numbers that a decision stands on: means over three windows, made once from the history.

Burst, panic and stable window, after Knative's two; what each signal asks for in them, in workers; the delays; the
host. Decides nothing. Called by `decide`, `rules` and `guards`.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swell.scaling.policy import Policy
from swell.scaling.window import CPU, DELAYS, IN_FLIGHT, LINEAR, POOL, UTILISATION, History, Tick

__all__ = ["Delay", "Means", "Reading", "View", "look"]

_ALMOST = 1e-9
# A delay counts as over its target when it was for this share of the window: one good sample is no relief.
HELD = 0.75


@dataclass(frozen=True, slots=True)
class Means:
    """Means over a window, weighted by the samples' spans. `covered` is the sum of those."""

    covered: float
    ready: float
    known: tuple[float, ...]
    missing: tuple[float, ...]

    @classmethod
    def of(cls, ticks: Sequence[Tick]) -> Means | None:
        if not ticks:
            return None
        spans = [tick.span or _ALMOST for tick in ticks]
        weight = math.fsum(spans)

        def mean(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
            return tuple(sum(map(operator.mul, column, spans)) / weight for column in zip(*rows, strict=True))

        return cls(
            covered=weight,
            ready=mean([(tick.ready,) for tick in ticks])[0],
            known=mean([tick.known for tick in ticks]),
            missing=mean([tick.missing for tick in ticks]),
        )

    def per_worker(self, signal: int) -> float:
        return self.known[signal] / max(1.0, self.ready)


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
        """The loops wait most of the time, and neither threads nor CPU nor delays say otherwise."""
        return (
            self.short.per_worker(UTILISATION) < policy.idle_utilisation
            and self.short.per_worker(CPU) < policy.cpu
            and self.short.per_worker(POOL) < policy.pool
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
    stable = history.since(now - policy.stable_window)
    short = [tick for tick in stable if tick.at > now - policy.panic_window] or [last]
    # Whole samples only, so that the load before the burst is not in it; two at least, one may be noise.
    within = [tick for tick in short if tick.at - tick.span >= now - policy.burst_window - _ALMOST]
    burst = within if len(within) >= 2 else short[:2]
    before = [tick for tick in stable if tick.at < burst[-1].at]
    means = (Means.of(burst), Means.of(short), Means.of(stable or [last]), Means.of(before))
    if means[1] is None or means[2] is None:
        return None
    latencies = [tick.latency for tick in short if tick.latency]
    usual = [tick.latency for tick in stable[len(short) :] if tick.latency]
    return View(
        now=now,
        last=last,
        covered=means[2].covered,
        history_age=now - history.began,
        burst=means[0] if len(burst) >= 2 else None,
        short=means[1],
        stable=means[2],
        readings=tuple(_reading(signal, policy, means, short[:2]) for signal in _signals(policy)),
        delays=tuple(_delay(index, policy, short, stable) for index in range(len(DELAYS))),
        host_cpu=_most([tick.host.cpu for tick in burst], [tick.host.cpu for tick in short]),
        throttled=_most([tick.host.throttled for tick in short]),
        latency=statistics.fmean(latencies) if latencies else None,
        latency_usual=statistics.fmean(usual) if usual else None,
    )


def _signals(policy: Policy) -> list[tuple[int, float, float]]:
    """(signal, target, what missing data counts downward): 100 % of the time, or the target where there is no 100 %."""
    signals = [(UTILISATION, policy.utilisation, 1.0), (CPU, policy.cpu, 1.0), (POOL, policy.pool, 1.0)]
    if policy.in_flight is not None:
        signals.append((IN_FLIGHT, policy.in_flight, policy.in_flight))
    return signals


def _reading(
    row: tuple[int, float, float],
    policy: Policy,
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


def _delay(index: int, policy: Policy, short: Sequence[Tick], stable: Sequence[Tick]) -> Delay:
    values = [value for tick in short if (value := tick.delays[index]) is not None]
    usual = [value for tick in stable if (value := tick.delays[index]) is not None]
    line = policy.delay * (1 + policy.tolerance)
    over = sum(value > line for value in values)
    newest = short[0].delays[index]
    return Delay(
        name=DELAYS[index][0],
        value=statistics.median(values) if values else None,
        stable=statistics.fmean(usual) if usual else None,
        held=len(values) >= 2 and newest is not None and newest > line and over >= HELD * len(short),
    )


def _most(*windows: Sequence[float | None]) -> float | None:
    """The largest of the windows' means, of what is known."""
    means = []
    for window in windows:
        known = [value for value in window if value is not None and math.isfinite(value)]
        if known:
            means.append(statistics.fmean(known))
    return max(means, default=None)
