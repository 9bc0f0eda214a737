"""What the autoscaler aims at: every parameter with its unit, default, range, reason and precedent, in one table.

`Policy` is the table: each field carries its row. Reading a file (`--scale-policy FILE`, TOML), the checks and the
table in docs/scaling.md are made from the rows; nothing else lists the parameters. Knows neither workers nor
decisions. Called by `decide`, `forecast`, `docs` and whoever starts the parent.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swell.config.nearest import unknown
from swell.config.units import show_duration
from swell.errors import ConfigError
from swell.scaling.parameter import COUNT, DURATION, FACTOR, SHARE, Parameter, ask, row

__all__ = ["PARAMETERS", "Policy", "read_policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All parameters. Durations are seconds, shares lie between 0 and 1. Raises `ConfigError` naming every mistake."""

    interval: float = row(
        DURATION, 0.4, 0.1, 10.0, "Time between two samples of all workers.",
        "Judoscale reacts within 10 s, the HPA looks every 15 s. Ours: two whole samples must fit into the first "
        "second of a burst, for one alone may be noise.",
    )  # fmt: skip
    utilisation: float = row(
        SHARE, 0.65, 0.05, 0.95, "Target: share of the time in which a worker's event loop is not waiting.",
        "Knative aims at 70 % of a container's concurrency; Node's event-loop utilisation is scaled on likewise.",
    )  # fmt: skip
    delay: float = row(
        DURATION, 0.010, 0.001, 10.0,
        "Target: p95 of the dispatch delay (request parsed → first step of the application) and of the loop's lag.",
        "FrankenPHP adds a thread when a request has stalled for 5 ms; Judoscale scales on the p95 of the queue time.",
    )  # fmt: skip
    cpu: float = row(
        SHARE, 0.8, 0.05, 1.0, "Target: CPU time of a worker's process as a share of one core.",
        "PaaSTA's default set point is 0.8.",
    )  # fmt: skip
    pool: float = row(
        SHARE, 0.8, 0.05, 1.0, "Target: busy threads and waiting calls as a share of the thread pool's size.",
        "PaaSTA scales uwsgi and gunicorn on busy workers at 0.8; Passenger starts a process when all are busy.",
    )  # fmt: skip
    in_flight: float | None = row(
        FACTOR, None, 1.0, 1e6,
        "Target: requests in flight per worker. Off: only the application's author can know the number.",
        "Knative's concurrency target.", off=True,
    )  # fmt: skip
    tolerance: float = row(
        SHARE, 0.1, 0.0, 0.5, "No change while the need differs from the count by no more than this.",
        "The HPA's 10 %.",
    )  # fmt: skip
    stable_window: float = row(
        DURATION, 60.0, 2.0, 3600.0, "Ordinary decisions look at the mean of this time.", "Knative: 60 s.",
    )  # fmt: skip
    panic_window: float = row(
        DURATION, 6.0, 0.5, 600.0, "Quick decisions look at the mean of this time.",
        "Knative: a tenth of the stable window.",
    )  # fmt: skip
    panic_threshold: float = row(
        FACTOR, 2.0, 1.1, 10.0,
        "Panic begins when the quick mean asks for this many times the ready workers, and ends after a whole stable "
        "window without cause. In a panic the count never falls.", "Knative: 200 %.",
    )  # fmt: skip
    burst_window: float = row(
        DURATION, 1.0, 0.2, 60.0,
        "A load that is `panic-threshold` times the usual one for this long, in two samples or more, is a burst.",
        "Ours: a worker starts in well under a second, so a panic window of 6 s would be most of the wait.",
    )  # fmt: skip
    delay_step: float = row(
        FACTOR, 1.5, 1.01, 4.0,
        "A delay over its target multiplies the count by no more than this, then waits for the effect.",
        "Ours: a queue's length says that capacity lacks, not how much. The HPA doubles at most every 15 s.",
    )  # fmt: skip
    down_window: float = row(
        DURATION, 60.0, 1.0, 3600.0,
        "The count falls to what was enough at every moment of this time, once per window.",
        "The HPA's stabilisation is 300 s, where a pod takes long to start; Knative's stable window is 60 s.",
    )  # fmt: skip
    down_share: float = row(
        SHARE, 0.5, 0.01, 1.0, "At most this share of the workers goes at a time.",
        "Knative's max-scale-down-rate is 2.",
    )  # fmt: skip
    damping_window: float = row(
        DURATION, 3600.0, 0.0, 86400.0,
        "Each time within this time that the count rose again after it had fallen doubles the down window, up to "
        "8 times.",
        "Ours: a load that comes and goes is kept up with once, then held.",
    )  # fmt: skip
    strain_memory: float = row(
        DURATION, 86400.0, 0.0, 30 * 86400.0,
        "A count at which the delay passed its target is not returned to under that load for this time.",
        "Ours: delays are no linear function of the load, so only trying tells.",
    )  # fmt: skip
    host_cpu: float | None = row(
        SHARE, 0.8, 0.1, 1.0,
        "Guard: no worker is added while the machine's or the container's CPU is this busy. Off: for a machine whose "
        "other jobs give way.",
        "FrankenPHP does not add threads above 80 % CPU.", off=True,
    )  # fmt: skip
    throttled: float = row(
        SHARE, 0.25, 0.01, 1.0,
        "Guard: no worker is added while the container is throttled in this share of its periods.",
        "Ours: cpu.stat says it where the mean does not show it.",
    )  # fmt: skip
    memory: float = row(
        SHARE, 0.85, 0.1, 1.0, "Guard: the workers' memory and one more may take this share of the limit.",
        "Passenger's rule: at most 0.75 · RAM / RSS processes.",
    )  # fmt: skip
    connections_per_worker: float | None = row(
        COUNT, None, 1, 1e6, "Guard: database connections that one worker may open (pool size and overflow).",
        "None. Workers times pool size over the server's limit is a well-known outage.", off=True,
    )  # fmt: skip
    connection_budget: float | None = row(
        COUNT, None, 1, 1e9, "Guard: connections that all workers together may open.", "As above.", off=True,
    )  # fmt: skip
    idle_utilisation: float = row(
        SHARE, 0.33, 0.01, 0.9,
        "Guard: below it loops count as idle. Delays then come from single blocking calls and latency from upstream; "
        "neither asks for workers.", "Ours: half of the target.",
    )  # fmt: skip
    upstream_in_flight: float = row(
        FACTOR, 10.0, 1.0, 1e6, "Guard: idle loops with this many requests in flight per worker wait for an upstream.",
        "Ours: only the reason that is printed depends on it, unless `in-flight` is set.",
    )  # fmt: skip
    idle_after: float = row(
        DURATION, 300.0, 1.0, 86400.0,
        "With a minimum of 0: the last worker goes after this time without requests, WebSockets or anything in flight.",
        "KEDA's cooldownPeriod is 300 s.",
    )  # fmt: skip
    forecast_history: float = row(
        DURATION, 86400.0, 3600.0, 30 * 86400.0, "Forecast: off until this much history exists.",
        "AWS predictive scaling needs 24 h.",
    )  # fmt: skip
    forecast_weeks: float = row(
        COUNT, 4, 1, 5, "Forecast: weeks of history that count; each week weighs half of the one after it.",
        "AWS predictive scaling uses 14 days.",
    )  # fmt: skip
    forecast_error: float = row(
        SHARE, 0.3, 0.01, 1.0, "Forecast: trusted while the last day's forecasts were wrong by less than this.",
        "Studies of hybrid scalers: trust a forecast only while its recent error is small.",
    )  # fmt: skip
    forecast_margin: float = row(
        DURATION, 30.0, 0.0, 3600.0, "Forecast: looks ahead by the measured start time of a worker and this.",
        "AWS predictive scaling can launch instances ahead of the hour.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        problems = []
        for parameter in PARAMETERS.values():
            try:
                parameter.read(getattr(self, parameter.name))
            except ValueError as error:
                problems.append(f"{parameter.key} {error}")
        if problems := problems or list(self._contradictions()):
            raise ConfigError(problems)

    def _contradictions(self) -> list[str]:
        wrong = []

        def ordered(less: str, more: str) -> None:
            smaller, larger = PARAMETERS[less], PARAMETERS[more]
            a, b = getattr(self, less), getattr(self, more)
            if a > b:
                wrong.append(
                    f"{smaller.key} {smaller.show(a)} contradicts {larger.key} {larger.show(b)}: "
                    f"{smaller.key} must not be the larger one"
                )

        ordered("panic_window", "stable_window")
        ordered("burst_window", "panic_window")
        ordered("idle_utilisation", "utilisation")
        if 2 * self.interval > self.burst_window:
            wrong.append(
                f"interval {show_duration(self.interval)} contradicts burst-window "
                f"{show_duration(self.burst_window)}: two samples must fit into it"
            )
        if (self.connections_per_worker is None) != (self.connection_budget is None):
            wrong.append("connections-per-worker and connection-budget need each other: set both or neither")
        elif self.connection_budget is not None and self.connections_per_worker is not None:
            ordered("connections_per_worker", "connection_budget")
        return wrong

    @classmethod
    def of(cls, values: Mapping[str, object], label: str = "policy") -> Policy:
        """From the table of a file. Keys with `-` or `_`. Raises `ConfigError`, each problem led by `label`."""
        problems: list[str] = []
        read: dict[str, Any] = {}
        for key, value in values.items():
            name = key.replace("-", "_")
            if name not in PARAMETERS:
                guess = unknown("parameter", key, (row.key for row in PARAMETERS.values()))
                problems.append(f"{label}: {guess}")
            elif name in read:
                problems.append(f"{label} sets {PARAMETERS[name].key} twice")
            else:
                try:
                    read[name] = PARAMETERS[name].read(value)
                except ValueError as error:
                    problems.append(f"{label}: {key} {error}")
        if not problems:
            try:
                return cls(**read)
            except ConfigError as error:
                problems.extend(f"{label}: {problem}" for problem in error.problems)
        raise ConfigError(problems)


PARAMETERS: Mapping[str, Parameter] = {entry.name: ask(entry) for entry in dataclasses.fields(Policy)}


def read_policy(file: str | None) -> Policy:
    """The policy of a TOML file, or the defaults. Raises `ConfigError`."""
    if file is None:
        return Policy()
    try:
        values = tomllib.loads(Path(file).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    return Policy.of(values, file)
