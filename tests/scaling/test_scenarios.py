"""Named loads and what must become of the count: the simulator, the live `decide()`, a fake clock."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

import pytest

from swell.scaling import Bounds, Policy
from swell.scaling.simulate import Load, Machine, Noise, Result, Trace, simulate, steps

IDLE = Load(rate=10)
BOUNDS, MACHINE, POLICY = Bounds(1, 8), Machine(), Policy()


@dataclass(frozen=True)
class Scenario:
    """`counts` is the expected course of the count, `texts` patterns of the changes' reasons in their order.

    `guard` and `last` are the guard and a pattern of the last decision's text.
    """

    trace: Trace
    counts: tuple[int, ...]
    texts: tuple[str, ...] = ()
    guard: str | None = None
    last: str = ""
    seconds: float = 300.0
    bounds: Bounds = BOUNDS
    start: int = 1
    machine: Machine = MACHINE
    policy: Policy = POLICY
    kills: Collection[float] = ()
    restarts: Collection[float] = ()
    noise: Noise | None = None


def ramp(at: float) -> Load:
    """From 20 to 800 requests a second (0.1 to 4 busy loops) in ten minutes."""
    return Load(rate=20 + 780 * min(1.0, at / 600))


def sawtooth(at: float) -> Load:
    """A minute of three loops' work, two of nothing much."""
    return Load(rate=300 if at % 180 < 60 else 10)


def diurnal(at: float) -> Load:
    """A day from midnight: 0.05 busy loops in the night, 3 at noon."""
    return Load(rate=310 - 300 * math.cos(at / 86400 * 2 * math.pi))


BURST = r"loops \d+ % busy > 65 % for 0\.8 s, a burst"
SLOW_CLOCK = Policy(interval=10, burst_window=20, panic_window=60, stable_window=600, down_window=600)

SCENARIOS = {
    "step up and down": Scenario(
        steps((0, IDLE), (60, Load(rate=400)), (240, IDLE)),
        (1, 2, 4, 6, 4, 2, 1),
        (
            rf"1 → 2: {BURST}",
            rf"2 → 4: {BURST}",
            rf"4 → 6: {BURST}",
            r"6 → 4: 4 are enough for every moment of the last 60 s \(loops 33 % busy\)",
            r"4 → 2: 2 are enough .*",
            r"2 → 1: 1 is enough .*",
        ),
        seconds=500,
    ),
    "ramp": Scenario(
        ramp,
        (1, 2, 3, 4, 5, 6, 7),
        (r"\d → \d: dispatch delay p95 1\d ms > 10 ms for 6 s",) * 6,
        seconds=900,
    ),
    "spike": Scenario(
        steps((0, IDLE), (60, Load(rate=300)), (65, IDLE)),
        (1, 2, 4, 2, 1),
        (rf"1 → 2: {BURST}", rf"2 → 4: {BURST}"),
        last=r"stays 1: loops 5 % busy; this is the minimum",
    ),
    "sawtooth": Scenario(
        sawtooth,
        (1, 2, 4, 3, 2, 3, 2, 3),
        last=r"stays 3: .*, 1 would do, but (3 workers were needed within the last|the count changed within).*",
        seconds=3600,
    ),
    "diurnal": Scenario(
        diurnal,
        (1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1),
        seconds=86400,
        policy=SLOW_CLOCK,
    ),
    "slow upstream": Scenario(
        steps((0, Load(rate=40, loop=0.002, wait=0.05)), (60, Load(rate=40, loop=0.002, wait=5.0))),
        (1,),
        guard="upstream",
        last=r"stays 1: 200 requests in flight per worker while the loops are 8 % busy: they wait for an upstream, "
        r"more workers would not help",
    ),
    "slow upstream with a target in flight": Scenario(
        steps((0, Load(rate=40, loop=0.002, wait=0.05)), (60, Load(rate=40, loop=0.002, wait=5.0))),
        (1,),
        guard="upstream",
        last=r"stays 1: 200 requests in flight per worker > 20 .*, which asks for 10, but 200 requests .*",
        policy=Policy(in_flight=20.0),
    ),
    "blocking handlers in threads": Scenario(
        steps((0, Load(rate=2, loop=0.0005, thread=0.5)), (60, Load(rate=240, loop=0.0005, thread=0.5))),
        (1, 5, 8, 4),
        (
            r"1 → 5: thread pool 340 % in use > 80 % for 0\.8 s, a burst",
            r"5 → 8: .*",
            r"8 → 4: 4 are enough for every moment of the last 60 s \(thread pool 37 % in use\)",
        ),
        machine=Machine(cores=2),
    ),
    "blocking handlers in the loop, beyond the cores": Scenario(
        steps((0, Load(rate=2, loop=0.01, cpu=0.05)), (60, Load(rate=250, loop=0.01, cpu=0.05))),
        (1, 2, 4, 7),
        (rf"1 → 2: {BURST}",),
        machine=Machine(cores=2),
        seconds=900,
    ),
    "computing handlers up to the cores": Scenario(
        steps((0, IDLE), (60, Load(rate=2000))),
        (1, 2),
        (rf"1 → 2: {BURST}",),
        guard="host-cpu",
        last=r"stays 2: .*, which asks for 4, but host CPU 100 % ≥ 80 %: needs more machines",
        machine=Machine(cores=2),
    ),
    "CPU-saturated host": Scenario(
        steps((0, IDLE), (60, Load(rate=400))),
        (2,),
        guard="host-cpu",
        last=r"stays 2: .*, which asks for \d, but host CPU 100 % ≥ 80 %: needs more machines",
        start=2,
        bounds=Bounds(2, 8),
        machine=Machine(cores=4, busy=3.6),
    ),
    "memory leak": Scenario(
        steps((0, Load(rate=50)), (600, Load(rate=2000))),
        (1, 2, 3),
        guard="memory",
        last=r"stays 3: .*, but 4 workers of \d+ MiB would take more than 85 % of 1 GiB",
        seconds=900,
        machine=Machine(memory_limit=1 << 30, leak=300e3),
    ),
    "throttled container": Scenario(
        steps((0, IDLE), (60, Load(rate=400))),
        (1,),
        guard="throttled",
        last=r"stays 1: .*, but the container is throttled in 50 % of its CPU periods: .*",
        machine=Machine(throttled=0.5),
    ),
    "connection budget": Scenario(
        steps((0, IDLE), (60, Load(rate=2000))),
        (1, 2, 3),
        guard="connections",
        last=r"stays 3: .*, but 5 × 15 connections would exceed the budget of 50",
        policy=Policy(connections_per_worker=15, connection_budget=50),
    ),
    "dead worker": Scenario(
        steps((0, Load(rate=300))),
        (4,),
        last=r"stays 4: .*",
        start=4,
        bounds=Bounds(4, 8),
        kills=(60, 61, 62, 120),
        machine=Machine(start_time=0.4),
    ),
    "parent restart in the middle of the load": Scenario(
        steps((0, Load(rate=400))),
        (4,),
        start=4,
        restarts=(100, 130),
    ),
    "parent restart when idle": Scenario(
        steps((0, IDLE)),
        (4, 2, 1),
        (r"4 → 2: 2 are enough for every moment of the last 60 s \(loops 1 % busy\)", r"2 → 1: .*"),
        start=4,
        restarts=(50, 80),
    ),
    "idle to zero and back": Scenario(
        steps((0, IDLE), (60, Load()), (600, IDLE)),
        (1, 0, 1),
        (r"1 → 0: no requests and nothing in flight for 5 min", r"0 → 1: a connection is waiting"),
        bounds=Bounds(0, 4),
        seconds=700,
    ),
    "silent WebSockets keep the last worker": Scenario(
        steps((0, Load(rate=0, websockets=3))),
        (1,),
        bounds=Bounds(0, 4),
        seconds=700,
    ),
    "noise around half the target": Scenario(
        steps((0, Load(rate=1300, loop=0.001))),
        (2,),
        start=2,
        bounds=Bounds(2, 8),
        noise=lambda tick, number: 1 + 0.5 * math.sin(tick * 12.9898 + number * 78.233),
        seconds=1800,
    ),
}


def run(scenario: Scenario) -> Result:
    return simulate(
        scenario.trace,
        scenario.policy,
        scenario.bounds,
        seconds=scenario.seconds,
        start=scenario.start,
        machine=scenario.machine,
        kills=scenario.kills,
        restarts=scenario.restarts,
        noise=scenario.noise,
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    scenario = SCENARIOS[name]
    result = run(scenario)
    told = "\n".join(result.lines())
    assert result.counts == scenario.counts, told
    for change, pattern in zip(result.changes, scenario.texts, strict=False):
        assert re.fullmatch(pattern, change.text), f"{change.text!r} is not {pattern!r}"
    last = result.steps[-1].decision
    assert last.guard == scenario.guard, last.text
    if scenario.last:
        assert re.fullmatch(scenario.last, last.text), last.text


def test_a_burst_has_its_first_extra_worker_within_two_seconds() -> None:
    result = simulate(
        steps((0, IDLE), (60, Load(rate=400))), Policy(), Bounds(1, 8), seconds=70, machine=Machine(start_time=0.5)
    )
    ready = next(step.at for step in result.steps if step.ready > 1)
    assert 60 < ready <= 62


def test_what_the_scenario_costs_is_known() -> None:
    result = run(SCENARIOS["spike"])
    assert 300 < result.worker_seconds < 700
    assert result.at(64.0).ready == 4
    assert max(step.backlog for step in result.steps) > 0
    assert result.steps[-1].backlog == 0
