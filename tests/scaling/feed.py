"""Histories made by hand: samples of equal workers, fed tick by tick on a clock of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swell.scaling import (
    Bounds,
    Decision,
    Forecast,
    History,
    HostSample,
    Policy,
    Tick,
    WorkerSample,
    decide,
    new_history,
)

__all__ = ["HOST", "IDLE", "Feed", "worker"]

HOST = HostSample(cpu=0.2, cores=8.0, memory_limit=8 << 30, throttled=0.0)
IDLE: dict[str, Any] = {
    "utilisation": 0.05,
    "dispatch_p95": 0.0001,
    "lag_p95": 0.0001,
    "latency_p95": 0.01,
    "in_flight": 1,
    "websockets": 0,
    "connections": 4,
    "requests_per_s": 10.0,
    "cpu": 0.05,
    "rss": 100 << 20,
    "pool_size": 0,
    "pool_busy": 0,
    "pool_waiting": 0,
}


def worker(number: int = 0, state: str = "ready", **values: Any) -> WorkerSample:
    """A worker that idles, but for `values`."""
    return WorkerSample(worker=number, state=state, at=0.0, span=0.0, **{**IDLE, **values})


class Feed:
    """A history and its clock. `current` follows the decisions unless `obey` is false."""

    def __init__(self, current: int = 1, bounds: Bounds | None = None, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.bounds = bounds or Bounds(1, 8)
        self.history: History = new_history(self.policy)
        self.current = current
        self.now = 1000.0
        self.obey = True

    def tick(self, *, starting: int = 0, ready: int | None = None, host: HostSample = HOST, **values: Any) -> None:
        """One more sample of `ready` workers, all alike; all of the current ones if not said."""
        self.now += self.policy.interval
        count = self.current - starting if ready is None else ready
        workers = [worker(number, **values) for number in range(count)]
        workers += [WorkerSample(count + number, "starting", self.now, 0.0) for number in range(starting)]
        self.history.add(Tick.of(self.now, self.policy.interval, workers, host))

    def decide(self, *, waiting: bool = False, forecast: Forecast | None = None) -> Decision:
        decision = decide(
            self.history, self.policy, self.now, self.current, self.bounds, waiting=waiting, forecast=forecast
        )
        self.history.memory = decision.memory
        if self.obey:
            self.current = decision.target
        return decision

    def run(self, seconds: float, *, host: HostSample = HOST, **values: Any) -> Decision:
        """Ticks and decisions for a time; returns at the first change, else the last decision."""
        decision = None
        for _ in range(max(1, round(seconds / self.policy.interval))):
            self.tick(host=host, **values)
            decision = self.decide()
            if decision.changed:
                break
        assert decision is not None
        return decision

    def host(self, **values: Any) -> HostSample:
        return replace(HOST, **values)
