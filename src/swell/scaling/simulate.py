"""A simulated service under a trace of load, scaled by the very `decide()` that scales a live one.

A fake clock; a day takes seconds. The service is a queue in front of equal workers, each a loop and a thread pool, on
a machine with a number of cores: enough to see what a policy does, no forecast of latencies. Requests cost time in the
loop, CPU, time in a thread and time waiting for an upstream. Workers start in `start_time`; they can be killed, and the
parent be restarted. Used by tests and by who wants to try a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from swell.scaling.decide import Bounds, Decision, decide, new_history
from swell.scaling.forecast import Forecast
from swell.scaling.policy import Policy
from swell.scaling.signals import HostSample, WorkerSample
from swell.scaling.window import Tick

__all__ = ["Load", "Machine", "Result", "Step", "simulate", "steps"]

_ALMOST = 1e-9
# Clients give up: no more than this many seconds' worth of requests waits.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """`rate` requests a second; each takes `loop` seconds of a loop, of which `cpu` (0..1) is computing and the rest
    blocks, `thread` seconds of a thread, and `wait` seconds for an upstream. `websockets` are open and silent."""

    rate: float = 0.0
    loop: float = 0.005
    cpu: float = 1.0
    thread: float = 0.0
    wait: float = 0.0
    websockets: int = 0


@dataclass(frozen=True, slots=True)
class Machine:
    """`busy` cores are taken by others. `rss` is a new worker's memory, which grows by `leak` bytes a second."""

    cores: float = 8.0
    busy: float = 0.0
    memory_limit: int | None = None
    rss: int = 100 << 20
    leak: float = 0.0
    pool_size: int = 40
    start_time: float = 0.2
    throttled: float | None = None


Trace = Callable[[float], Load]
Noise = Callable[[int, int], float]


def steps(*parts: tuple[float, Load]) -> Trace:
    """A trace of levels: each from its time on."""

    def trace(at: float) -> Load:
        found = Load()
        for begin, load in parts:
            if at >= begin:
                found = load
        return found

    return trace


@dataclass(frozen=True, slots=True)
class Step:
    """One sample and the decision after it. `backlog` counts requests that wait because no worker has time."""

    at: float
    ready: int
    backlog: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class Result:
    steps: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Decision, ...]:
        """The decisions that changed the count."""
        return tuple(step.decision for step in self.steps if step.decision.changed)

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts in their order, each once per change: `(1, 2, 4)`."""
        first = (self.steps[0].decision.before,) if self.steps else ()
        return first + tuple(change.target for change in self.changes)

    @property
    def worker_seconds(self) -> float:
        """What it cost: ready workers by time."""
        spans = zip(self.steps, self.steps[1:], strict=False)
        return sum(step.ready * (after.at - step.at) for step, after in spans)

    def at(self, time: float) -> Step:
        """The last step at or before a time; the first one if there is none."""
        return next((step for step in reversed(self.steps) if step.at <= time + _ALMOST), self.steps[0])

    def lines(self) -> Iterator[str]:
        """One line per change, for people."""
        for change in self.changes:
            yield f"{change.at:8.1f} s  {change.text}"


class _Service:
    """The queue and the workers."""

    def __init__(self, machine: Machine, count: int, noise: Noise | None) -> None:
        self._machine = machine
        self._noise = noise
        self._ticks = 0
        self._born: list[tuple[int, float]] = [(number, -machine.start_time) for number in range(count)]
        self._next = count
        self.backlog = 0.0

    def ready(self, at: float) -> list[tuple[int, float]]:
        return [worker for worker in self._born if worker[1] + self._machine.start_time <= at + _ALMOST]

    def resize(self, count: int, at: float) -> None:
        while len(self._born) < count:
            self._born.append((self._next, at))
            self._next += 1
        del self._born[count:]

    def kill(self, at: float) -> None:
        """The oldest worker dies and is replaced, as the parent does."""
        if self._born:
            del self._born[0]
            self._born.append((self._next, at))
            self._next += 1

    def run(self, at: float, span: float, load: Load) -> Tick:
        """Serves for the `span` seconds before `at`."""
        machine, ready = self._machine, self.ready(at - span)
        self._ticks += 1
        count = len(ready)
        offered = load.rate * span + self.backlog
        computing = load.loop * load.cpu
        limits = {
            "loop": count / load.loop if load.loop > 0 else float("inf"),
            "pool": count * machine.pool_size / load.thread if load.thread > 0 else float("inf"),
            "cpu": max(0.01, machine.cores - machine.busy) / computing if computing > 0 else float("inf"),
        }
        limiter = min(limits, key=lambda name: limits[name])
        served = min(offered, limits[limiter] * span) if count else 0.0
        self.backlog = min(max(0.0, offered - served), PATIENCE * load.rate)
        rate, behind = served / span, self.backlog > _ALMOST
        cpu_used = rate * computing
        host = HostSample(
            cpu=min(1.0, (cpu_used + machine.busy) / machine.cores),
            cores=machine.cores,
            memory_limit=machine.memory_limit,
            throttled=machine.throttled,
        )
        return Tick.of(at, span, list(self._samples(at, span, load, ready, rate, limiter if behind else "")), host)

    def _samples(
        self, at: float, span: float, load: Load, ready: Sequence[tuple[int, float]], rate: float, limiter: str
    ) -> Iterator[WorkerSample]:
        machine, each = self._machine, rate / max(1, len(ready))
        queued = self.backlog / max(1, len(ready))
        late = queued / each if each > 0 and limiter in ("loop", "cpu") else 0.0
        busy = 1.0 if limiter in ("loop", "cpu") and load.loop > 0 else min(1.0, each * load.loop)
        wait = 1.5 * load.loop * min(50.0, busy / max(0.02, 1 - busy)) + late
        alone = load.loop + load.thread + load.wait
        for number, born in self._born:
            if (number, born) not in ready:
                yield WorkerSample(number, "starting", at, span)
                continue
            factor = self._noise(self._ticks, number) if self._noise else 1.0
            yield WorkerSample(
                worker=number,
                state="ready",
                at=at,
                span=span,
                age=at - born - machine.start_time,
                utilisation=max(0.0, min(1.0, busy * factor)),
                dispatch_p95=max(0.0, wait * factor) if each else 0.0,
                lag_p95=busy * load.loop,
                latency_p95=1.5 * alone + queued / each if each else 0.0,
                in_flight=round(each * alone + queued),
                websockets=load.websockets,
                requests_per_s=each,
                cpu=max(0.0, each * load.loop * load.cpu * factor),
                rss=round(machine.rss + machine.leak * (at - born)),
                pool_size=machine.pool_size if load.thread else 0,
                pool_busy=min(machine.pool_size, round(each * load.thread)),
                pool_waiting=round(queued) if limiter == "pool" else 0,
            )


def simulate(
    trace: Trace,
    policy: Policy,
    bounds: Bounds,
    *,
    seconds: float,
    start: int = 1,
    machine: Machine | None = None,
    kills: Collection[float] = (),
    restarts: Collection[float] = (),
    noise: Noise | None = None,
    forecast: Callable[[float], Forecast | None] | None = None,
) -> Result:
    """Runs the trace for `seconds`, from `start` ready workers. `noise` (tick, worker) multiplies busyness."""
    service = _Service(machine or Machine(), start, noise)
    history, current = new_history(policy), start
    dying, ending = sorted(kills), sorted(restarts)
    made = []
    for number in range(1, int(seconds / policy.interval + _ALMOST) + 1):
        at = number * policy.interval
        if dying and at >= dying[0]:
            dying.pop(0)
            service.kill(at)
        if ending and at >= ending[0]:
            ending.pop(0)
            history = new_history(policy)
        history.add(service.run(at, policy.interval, trace(at - policy.interval)))
        waiting = service.backlog > 0 and current == 0
        decision = decide(
            history, policy, at, current, bounds, forecast=forecast(at) if forecast else None, waiting=waiting
        )
        history.memory = decision.memory
        made.append(Step(at, len(service.ready(at)), service.backlog, decision))
        if decision.changed:
            current = decision.target
            service.resize(current, at)
    return Result(tuple(made))
