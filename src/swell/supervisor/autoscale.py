"""The autoscaler, live: it samples the scoreboard and the machine, asks `scaling.decide`, and has it done and told.

Only while the range is elastic, MIN < MAX: `swell scale N` makes it a single number and so switches this off,
`swell scale MIN..MAX` switches it on. Whoever moves the number within the range moves what is decided upon next. All
judgement is in `scaling`; this knows the clock, the parent, and where the load is recorded. Runs on the parent's loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swell.errors import StartupError
from swell.scaling import (
    Bounds,
    Decision,
    Forecast,
    Mode,
    Policy,
    Tick,
    decide,
    foresee,
    new_history,
    outlook,
    worker_sample,
)
from swell.supervisor.commands import DECISIONS_KEPT, Commands
from swell.supervisor.history import DAY_MINUTES, LoadHistory, Minute
from swell.supervisor.host import Host
from swell.supervisor.parent import Parent

__all__ = ["Autoscaler"]

log = logging.getLogger("swell")

FORECAST_SECONDS = 60.0
# Minutes of a day that are shown as one.
SHOWN_MINUTES = 10
# Until a worker has been ready: a fork takes 50 ms, the application's lifespan may take more.
START_SECONDS = 1.0


class Autoscaler:
    """One per instance, from `start` to `stop`."""

    def __init__(self, parent: Parent, commands: Commands, policy: Policy, state_directory: Callable[[], Path]) -> None:
        """`state_directory` makes the place for the record of the load, or raises `StartupError`."""
        self._parent = parent
        self._commands = commands
        self._policy = policy
        self._state_directory = state_directory
        self._mode = parent.config.forecast
        self._load: LoadHistory | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._start_time = START_SECONDS
        self._rest()
        self.on_load: Callable[[list[Minute]], None] = lambda minutes: None
        """Gets the last day once, as soon as its record is open."""
        parent.on_waiting = self._wake
        commands.why = self.why
        commands.outlook = self.outlook

    def start(self) -> None:
        """On the running loop."""
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._schedule()

    def stop(self) -> None:
        """Writes what is in hand."""
        if self._timer is not None:
            self._timer.cancel()
        if self._load is not None:
            self._load.close()

    def why(self) -> str | None:
        """Why the number of workers is what it is; None when that is not for us to say."""
        if self._last is None or not self._elastic:
            return None
        forecast = self._forecast
        if forecast is None:
            return self._last.reason
        if forecast.floor is None:
            return f"{self._last.reason}; no forecast: {forecast.text}"
        would = forecast.would(self._parent.target)
        return self._last.reason + (f"; the forecast {would}" if would else "")

    def look(self) -> dict[str, Any] | None:
        """What the latest decision was made of, for who wants to see it; None where the number is not ours to say.
        `need` and `load` are worker-equivalents, `at` Unix time, durations seconds."""
        if self._last is None or not self._elastic:
            return None
        forecast = self._forecast
        return {
            **self._last.inputs.as_dict(),
            "need": round(self._last.demand, 3),
            "rule": self._last.rule,
            "guard": self._last.guard,
            "reason": self._last.reason,
            "delay_target": self._policy.delay,
            "mode": self._mode,
            "forecast": None
            if forecast is None
            else {
                "at": forecast.at,
                "floor": forecast.floor,
                "load": forecast.load,
                "error": forecast.error,
                "acts": forecast.acts,
                "text": forecast.text,
            },
        }

    def outlook(self) -> dict[str, Any] | None:
        """The last day and the hours ahead: what was, and what is foretold, also where the forecast is off. None where
        the number is not ours to say. `at` is Unix time, of the beginning of a span."""
        if self._load is None or not self._elastic:
            return None
        now, hours = time.time(), self._load.hours()
        mode: Mode = "forecast-only" if self._mode == "off" else self._mode
        seen = foresee(hours, self._policy, now, start_time=self._start_time, mode=mode)
        assert seen is not None
        return {
            "at": now,
            "mode": self._mode,
            "text": seen.text,
            "load": seen.load,
            "floor": seen.floor,
            "error": seen.error,
            "span": SHOWN_MINUTES * 60,
            "actual": _actual(self._load.day(), now),
            "forecast": [{"at": hour * 3600, "load": load} for hour, load in outlook(hours, self._policy, now)],
        }

    # One tick

    @property
    def _elastic(self) -> bool:
        return self._parent.minimum < self._parent.maximum

    def _rest(self) -> None:
        """Forgets everything: what is remembered from before a pause is of another load."""
        self._history = new_history(self._policy)
        self._host: Host | None = None
        self._seen: dict[int, dict[str, Any]] = {}
        self._at: float | None = None
        self._last: Decision | None = None
        self._told: Decision | None = None
        self._forecast: Forecast | None = None
        self._forecast_at = 0.0
        self._would: str | None = None

    def _schedule(self) -> None:
        # A late tick is not made up for.
        self._due = max(self._due + self._policy.interval, self._loop.time())
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._schedule()
        parent = self._parent
        if not self._elastic or parent.ending or parent.on_trial or parent.state == "starting":
            if self._at is not None:
                self._rest()
            return
        now = time.monotonic()
        tick = self._sample(now)
        if tick is None:
            return
        ready, requests = tick
        decision = self._decide(now, waiting=False)
        unix = time.time()
        if self._load is not None:
            self._load.add(unix, decision.demand, ready, requests=requests, target=parent.target)
        if self._mode != "off" and now >= self._forecast_at:
            self._forecast_at = now + FORECAST_SECONDS
            self._foresee(unix)

    def _sample(self, now: float) -> tuple[int, float] | None:
        """Adds what there was since the last look. Returns how many workers are ready, and the requests per second;
        None when this is the first."""
        seen, samples = {}, []
        span = 0.0 if self._at is None else now - self._at
        read = self._parent.slots.board.read
        for worker in self._parent.workers.values():
            slot = read(worker.seat.slot)
            if slot["state"] != "stuck":
                slot["state"] = worker.state.value  # ours is the newer one
            samples.append(worker_sample(self._seen.get(worker.id), slot, span=span, now=now))
            seen[worker.id] = slot
            if worker.ready_after is not None:
                self._start_time = worker.ready_after
        self._seen, self._at = seen, now
        if self._host is None:
            self._host = Host()
            self._load = self._load or self._open()
            return None
        tick = Tick.of(now, span, samples, self._host.sample(span))
        self._history.add(tick)
        return tick.ready, sum(sample.requests_per_s or 0.0 for sample in samples)

    def _decide(self, now: float, *, waiting: bool) -> Decision:
        parent = self._parent
        bounds = Bounds(parent.minimum, parent.maximum)
        decision = decide(
            self._history, self._policy, now, parent.target, bounds, forecast=self._forecast, waiting=waiting
        )
        self._history.memory = decision.memory
        self._last = decision
        if decision.is_news(self._told):
            self._told = decision
            self._tell(decision)
        return decision

    def _tell(self, decision: Decision) -> None:
        inputs = decision.inputs.as_dict()
        guard = f", guard {decision.guard}" if decision.guard else ""
        details = f"rule {decision.rule}{guard}; {_figures(inputs)}"
        self._commands.decided(decision.target, decision.rule, decision.reason, decision.guard, inputs, details)

    def _wake(self) -> None:
        """A connection waits and there is no worker."""
        self._decide(time.monotonic(), waiting=True)

    def _foresee(self, unix: float) -> None:
        """In mode "forecast-only", says what the forecast would have done, once for each answer."""
        assert self._load is not None
        self._forecast = foresee(self._load.hours(), self._policy, unix, start_time=self._start_time, mode=self._mode)
        would = None if self._forecast is None else self._forecast.would(self._parent.target)
        if would is not None and would != self._would:
            log.info("the forecast %s", would)
        self._would = would

    def _open(self) -> LoadHistory:
        """The record of the load; in memory, where it cannot be kept: nobody's service ends for that."""
        try:
            load = LoadHistory(self._state_directory() / "load.sqlite")
        except StartupError as error:
            log.warning("the load is not recorded for the next start: %s", error)
            load = LoadHistory(None)
        self._commands.remember(load.decisions(DECISIONS_KEPT))
        self._commands.on_decision = load.record
        self.on_load(load.day())
        return load


def _actual(minutes: list[Minute], now: float) -> list[dict[str, Any]]:
    """Means of some minutes each."""
    slots: dict[int, list[Minute]] = {}
    for minute in minutes:
        if minute.number > now / 60 - DAY_MINUTES:
            slots.setdefault(minute.number // SHOWN_MINUTES, []).append(minute)
    return [
        {
            "at": slot * SHOWN_MINUTES * 60,
            "load": _mean([minute.load for minute in found]),
            "ready": _mean([minute.workers for minute in found]),
            "target": _mean([minute.target for minute in found]),
            "requests": _mean([minute.requests for minute in found]),
        }
        for slot, found in sorted(slots.items())
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 3) if known else None


def _figures(inputs: Mapping[str, Any]) -> str:
    """What a decision was made of, for its line in the log: means over the last seconds, per ready worker."""
    if "ready" not in inputs:
        return "no samples"
    starting = f" and {inputs['starting']} starting" if inputs["starting"] else ""
    shown = [f"{inputs['ready']} ready{starting}"]
    names = {"utilisation": "loops {:.0%}", "cpu": "CPU {:.0%}", "pool": "threads {:.0%}"}
    for name, text in names.items():
        if (value := inputs["signals"][name]["short"]) is not None:
            shown.append(text.format(value))
    shown.append(f"{inputs['in_flight']:.1f} in flight")
    for name, value in inputs["delays"].items():
        if value is not None:
            shown.append(f"{name.replace('_', ' ')} {value * 1000:.1f} ms")
    if inputs["host_cpu"] is not None:
        shown.append(f"host CPU {inputs['host_cpu']:.0%} of {inputs['cores']:g}")
    return ", ".join(shown)
