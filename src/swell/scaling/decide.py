"""`decide()`: how many workers there shall be, and why. A pure function, the same live and in the simulator.

The order: bounds, zero, missing samples, rules that rise, guards against those, rules that fall. What it decided is in
the `Decision`, with its reason as people read it and its inputs; `Decision.memory` goes back into the history before
the next call. Never raises, whatever the samples say. Called by the parent and `simulate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from swell.scaling import words
from swell.scaling.forecast import Forecast
from swell.scaling.guards import Guard, budgeted, guards, upstream
from swell.scaling.policy import Policy
from swell.scaling.rules import MOST_DOUBLINGS, Wish, down_window, falling, is_panic, load, need, rising
from swell.scaling.view import View, look
from swell.scaling.window import UTILISATION, Change, History, Memory

__all__ = ["Bounds", "Decision", "Inputs", "decide", "new_history"]

_MOST_CHANGES = 32
NEWS_SECONDS = 60.0
_MOST_STRAINS = 32


@dataclass(frozen=True, slots=True)
class Bounds:
    """`--workers MIN..MAX`. A minimum of 0 allows to sleep."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the decision was made of. `view` is `None` when there were no samples."""

    current: int
    minimum: int
    maximum: int
    waiting: bool
    panicking: bool
    forecast: int | None
    view: View | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready. Times are seconds, shares 0..1, sizes bytes."""
        shown: dict[str, Any] = {
            "current": self.current,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "panicking": self.panicking,
            "forecast": self.forecast,
        }
        if (view := self.view) is not None:
            last = view.last
            shown |= {
                "ready": last.ready,
                "starting": last.starting,
                "covered": round(view.covered, 3),
                "signals": {reading.name: reading.as_dict() for reading in view.readings},
                "delays": {delay.name: delay.value for delay in view.delays},
                "in_flight": view.in_flight,
                "latency_p95": view.latency,
                "host_cpu": view.host_cpu,
                "host_throttled": view.throttled,
                "cores": last.host.cores,
                "memory_limit": last.host.memory_limit,
                "rss": last.rss_sum,
            }
        return shown


@dataclass(frozen=True, slots=True)
class Decision:
    """`target` workers instead of `before`. `guard` names what stood against more; `text` is the whole sentence.

    `demand` is the load in worker-equivalents, for the recorded history.
    """

    at: float
    before: int
    target: int
    rule: str
    guard: str | None
    reason: str
    inputs: Inputs
    memory: Memory
    demand: float = 0.0

    @property
    def changed(self) -> bool:
        return self.target != self.before

    @property
    def text(self) -> str:
        head = f"{self.before} → {self.target}" if self.changed else f"stays {self.target}"
        return f"{head}: {self.reason}"

    def is_news(self, told: Decision | None) -> bool:
        """Whether it is worth a line of the log after `told`, the last one that was: a change, or a guard that was not
        in the way then. A guard that comes and goes is told once a minute at most."""
        if self.changed:
            return True
        if self.guard is None:
            return False
        return told is None or (told.guard != self.guard and self.at - told.at >= NEWS_SECONDS) or told.changed

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, for the control socket and the stored history. `at` is the clock of the samples."""
        return {
            "at": self.at,
            "before": self.before,
            "after": self.target,
            "rule": self.rule,
            "guard": self.guard,
            "inputs": self.inputs.as_dict(),
            "text": self.text,
        }


def new_history(policy: Policy) -> History:
    """An empty history that keeps what `decide` needs under this policy."""
    return History(max(policy.stable_window, policy.panic_window, policy.burst_window) + 2 * policy.interval)


def decide(
    history: History,
    policy: Policy,
    now: float,
    current: int,
    bounds: Bounds,
    *,
    forecast: Forecast | None = None,
    waiting: bool = False,
) -> Decision:
    """The decision at `now`, on the clock of the samples.

    `current` is the count that the parent is working towards: ready workers and those that start, without those that
    leave. `waiting` says that a connection waits and nobody is there to take it.
    """
    low = max(0, bounds.minimum)
    high = max(low, bounds.maximum)
    current = max(0, current)
    view = look(history, policy, now)
    floor = forecast.floor if forecast is not None and forecast.acts else None
    before = _remembered(history.memory, policy, now, current, view, waiting)
    panicking = view is not None and before.panic_until > now
    inputs = Inputs(current, low, high, waiting, panicking, floor, view)
    return _Deciding(policy, now, current, low, high, view, before, inputs, forecast, waiting).run()


def _remembered(memory: Memory, policy: Policy, now: float, current: int, view: View | None, waiting: bool) -> Memory:
    """The memory with what is new at this moment, before anything is decided."""
    if not math.isfinite(now):
        return memory
    changes = memory.changes
    if memory.target is not None and memory.target != current:
        changes = (*changes, Change(now, memory.target, current, "external"))[-_MOST_CHANGES:]
    fresh = memory.target is None
    if view is None:
        return replace(memory, target=current, changes=changes, unsettled_at=now, busy_at=now)
    panic_until = now + policy.stable_window if is_panic(view, policy, current) else memory.panic_until
    settled = view.last.ready == current and not view.last.starting and not (changes and changes[-1].at == now)
    needed = need(view)
    kept = [entry for entry in memory.needs if entry[1] > needed and entry[0] > now - _longest(policy)]
    return replace(
        memory,
        target=current,
        panic_until=panic_until,
        busy_at=now if fresh or waiting or view.last.starting or not view.last.idle else memory.busy_at,
        unsettled_at=memory.unsettled_at if settled else now,
        needs=(*kept, (now, needed)),
        strains=tuple(entry for entry in memory.strains if entry[0] > now - policy.strain_memory),
        changes=changes,
    )


def _longest(policy: Policy) -> float:
    return float(policy.down_window * 2**MOST_DOUBLINGS)


@dataclass(frozen=True, slots=True)
class _Deciding:
    policy: Policy
    now: float
    current: int
    low: int
    high: int
    view: View | None
    memory: Memory
    inputs: Inputs
    forecast: Forecast | None
    waiting: bool

    def run(self) -> Decision:
        budget = budgeted(self.policy, self.current)
        most = self.high if budget is None else max(self.low, min(self.high, budget.most))
        if self.current < self.low:
            return self._to(self.low, "minimum", f"the minimum is {self.low}")
        if self.current > most:
            if most < self.high and budget is not None:
                return self._to(most, "maximum", budget.text, "connections")
            return self._to(most, "maximum", f"the maximum is {most}")
        if self.current == 0:
            return self._asleep(most)
        if self.view is None:
            return self._to(self.current, "no-data", "no recent samples, so nothing is changed")
        wish = self._wish(self.view)
        if wish is not None:
            return self._up(self.view, wish)
        return self._down(self.view)

    def _asleep(self, most: int) -> Decision:
        if self.waiting and most:
            return self._to(1, "wake", "a connection is waiting")
        floor = min(most, self.inputs.forecast or 0)
        if floor and self.forecast is not None:
            return self._to(floor, "forecast", self.forecast.text)
        return self._to(0, "asleep", "asleep until a connection comes")

    def _wish(self, view: View) -> Wish | None:
        wish = rising(view, self.policy, self.memory, self.current, panicking=self.inputs.panicking)
        floor = self.inputs.forecast or 0
        if self.forecast is not None and floor > self.current and (wish is None or floor > wish.target):
            return Wish(floor, "forecast", "forecast", self.forecast.text)
        return wish

    def _up(self, view: View, wish: Wish) -> Decision:
        against = guards(view, self.policy, wish, self.current)
        wanted = min(wish.target, self.high)
        budget = budgeted(self.policy, wanted)
        if budget is not None and budget.most < wanted:
            against.append(replace(budget, most=max(self.current, budget.most)))
        if wish.target > self.high:
            at_most = "already at the maximum of" if self.current >= self.high else "the maximum is"
            against.append(Guard("maximum", self.high, f"{at_most} {self.high}"))
        tightest = min(against, key=lambda guard: guard.most, default=None)
        if tightest is None:
            return self._to(wish.target, wish.rule, wish.text)
        target = max(self.current, min(wish.target, tightest.most))
        reason = f"{wish.text}, which asks for {wish.target}, but {tightest.text}"
        return self._to(target, wish.rule, reason, tightest.name)

    def _down(self, view: View) -> Decision:
        if self._may_sleep(view):
            idle = words.duration(self.now - self.memory.busy_at)
            return self._to(0, "idle", f"no requests and nothing in flight for {idle}")
        enough, floor = falling(view, self.policy, self.memory, self.current, panicking=self.inputs.panicking)
        lowest = max(self.low, 1, self.inputs.forecast or 0)
        busy = load(view)
        target = min(self.current, max(floor.count, lowest))
        if target < self.current:
            window = words.duration(down_window(self.policy, self.memory, self.now))
            text = f"{target} {'is' if target == 1 else 'are'} enough for every moment of the last {window} ({busy})"
            return self._to(target, "down", text)
        if view.is_upstream_bound(self.policy):
            return self._to(self.current, "hold", upstream(view), "upstream")
        if enough < self.current and floor.count >= self.current > lowest:
            return self._to(self.current, "hold", f"{busy}, {enough} would do, but {floor.text}")
        if self.current == lowest and enough <= lowest:
            which = "forecast floor" if lowest == (self.inputs.forecast or 0) > self.low else "minimum"
            return self._to(self.current, "steady", f"{busy}; this is the {which}")
        return self._to(self.current, "steady", f"{busy}, which needs {words.workers(self.current)}")

    def _may_sleep(self, view: View) -> bool:
        """Zero: only from one worker, only when all are known to have been idle for the whole time."""
        since = self.now - self.policy.idle_after
        return (
            self.low == 0
            and self.current == 1
            and not self.inputs.forecast
            and view.last.ready > 0
            and view.history_age >= self.policy.idle_after
            and self.memory.busy_at <= since
        )

    def _to(self, target: int, rule: str, reason: str, guard: str | None = None) -> Decision:
        memory = self.memory
        if target != self.current and math.isfinite(self.now):
            change = Change(self.now, self.current, target, rule)
            memory = replace(memory, changes=(*memory.changes, change)[-_MOST_CHANGES:], unsettled_at=self.now)
            if rule == "delay" and self.view is not None:
                strain = (self.now, self.current, self.view.short.known[UTILISATION])
                memory = replace(memory, strains=(*memory.strains, strain)[-_MOST_STRAINS:])
        memory = replace(memory, target=target)
        demand = self.view.need if self.view is not None else 0.0
        return Decision(self.now, self.current, target, rule, guard, reason, self.inputs, memory, demand)
