"""What holds whatever the samples say."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.feed import Feed, worker
from swell.scaling import Bounds, Forecast, HostSample, Policy, Tick, WorkerSample, decide, new_history
from swell.scaling.simulate import Load, Machine, simulate, steps

POLICY = Policy()
WILD = st.none() | st.floats() | st.integers(-(10**30), 10**30)
STATES = st.sampled_from(["ready", "ready", "ready", "starting", "draining", "stopping", "stuck", "empty", "nonsense"])


@st.composite
def wild_workers(draw: st.DrawFn) -> WorkerSample:
    names = ("utilisation", "dispatch_p95", "lag_p95", "latency_p95", "in_flight", "websockets", "connections",
             "requests_per_s", "cpu", "rss", "pool_size", "pool_busy", "pool_waiting")  # fmt: skip
    values: dict[str, Any] = draw(st.dictionaries(st.sampled_from(names), WILD))
    return WorkerSample(worker=draw(st.integers()), state=draw(STATES), at=0.0, span=0.0, **values)


wild_hosts = st.builds(HostSample, cpu=WILD, cores=WILD, memory_limit=WILD, memory_used=WILD, throttled=WILD)
wild_ticks = st.tuples(
    st.floats(), st.none() | st.floats(-10, 100), st.lists(wild_workers(), max_size=4), st.none() | wild_hosts
)
counts = st.integers(-5, 40)
policies = st.builds(
    Policy,
    in_flight=st.none() | st.floats(1, 100),
    utilisation=st.floats(0.4, 0.9),
    tolerance=st.floats(0, 0.5),
    down_share=st.floats(0.01, 1),
    down_window=st.floats(1, 200),
    delay_step=st.floats(1.01, 4),
    connection_budget=st.just(100.0),
    connections_per_worker=st.integers(1, 100),
)


@settings(max_examples=150)
@given(policies, st.lists(wild_ticks, max_size=12), counts, counts, counts, st.booleans(), st.none() | counts)
def test_nothing_raises_and_nothing_leaves_the_bounds(
    policy: Policy, ticks: list[Any], current: int, low: int, high: int, waiting: bool, floor: int | None
) -> None:
    history, now = new_history(policy), 0.0
    forecast = Forecast(0.0, floor, 1.0, 0.1, True, "usual")
    for jump, span, workers, host in ticks:
        now += jump
        history.add(Tick.of(now, math.nan if span is None else span, workers, host))
        decision = decide(history, policy, now, current, Bounds(low, high), waiting=waiting, forecast=forecast)
        history.memory = decision.memory
        assert max(0, low) <= decision.target <= max(0, low, high)
        assert decision.text
        assert decision.as_dict()["after"] == decision.target
        assert math.isfinite(decision.demand)
        current = decision.target
        now = now if math.isfinite(now) else 0.0


levels = st.fixed_dictionaries(
    {
        "utilisation": st.floats(0, 1),
        "dispatch_p95": st.floats(0, 0.1),
        "lag_p95": st.floats(0, 0.1),
        "in_flight": st.integers(0, 100),
        "pool_busy": st.integers(0, 40),
        "pool_waiting": st.integers(0, 200),
    }
)


@settings(max_examples=150)
@given(levels, levels, st.integers(1, 8), st.integers(1, 12), st.floats(0, 1), st.floats(0.01, 1))
def test_more_load_never_means_fewer_workers(
    usual: dict[str, Any], extra: dict[str, Any], current: int, samples: int, share: float, cpu: float
) -> None:
    """The same past, then the same samples with more of everything but the CPU, which bounds what may be added."""
    less = {name: value * share for name, value in usual.items()}
    more = {name: less[name] + extra[name] * (1 - share) for name in less}
    more["utilisation"] = min(1.0, more["utilisation"])
    more["pool_busy"] = min(40, more["pool_busy"])
    targets = []
    for now in (less, more):
        feed = Feed(current, Bounds(1, 16), Policy(in_flight=20.0))
        feed.obey = False
        feed.run(70, pool_size=40, cpu=cpu, **less)
        for _ in range(samples):
            feed.tick(pool_size=40, cpu=cpu, **now)
        targets.append(feed.decide().target)
    assert targets[0] <= targets[1]


loads = st.builds(
    Load,
    rate=st.floats(0, 1000),
    loop=st.floats(0.0005, 0.05),
    cpu=st.floats(0, 1),
    thread=st.just(0.0) | st.floats(0.001, 1),
    wait=st.just(0.0) | st.floats(0.001, 5),
)


@settings(max_examples=20)
@given(loads, st.integers(1, 12), st.integers(1, 32), st.floats(0.05, 3))
def test_a_constant_load_settles_once(load: Load, start: int, cores: int, start_time: float) -> None:
    """Up, perhaps down, then rest: after five minutes nothing changes any more, and never up after a fall."""
    result = simulate(
        steps((0, load)), POLICY, Bounds(1, 12), seconds=900, start=start,
        machine=Machine(cores=cores, start_time=start_time),
    )  # fmt: skip
    told = "\n".join(result.lines())
    assert all(change.at < 600 for change in result.changes), told
    rises = [change.target > change.before for change in result.changes]
    turns = sum(later and not earlier for earlier, later in pairwise(rises))
    assert turns <= 1, told


@settings(max_examples=20)
@given(st.floats(0.05, 0.55), st.integers(2, 8), st.floats(0, 0.35), st.integers(0, 10**6))
def test_noise_around_a_constant_load_changes_nothing(level: float, count: int, width: float, seed: int) -> None:
    result = simulate(
        steps((0, Load(rate=1000 * level * count, loop=0.001))), POLICY, Bounds(count, 16), seconds=300, start=count,
        noise=lambda tick, number: 1 + width * math.sin(tick * 12.9898 + number * 78.233 + seed),
    )  # fmt: skip
    assert result.counts == (count,)


bursts = st.fixed_dictionaries(
    {
        "utilisation": st.floats(0, 1),
        "cpu": st.floats(0, 1),
        "dispatch_p95": st.floats(0, 30),
        "lag_p95": st.floats(0, 30),
        "latency_p95": st.floats(0, 30),
        "in_flight": st.integers(0, 10**5),
        "pool_busy": st.integers(0, 40),
        "pool_waiting": st.integers(0, 10**5),
    }
)


@given(st.floats(0.36, 0.58), st.integers(1, 8), bursts)
def test_one_noisy_sample_never_changes_the_count(level: float, current: int, noise: dict[str, Any]) -> None:
    feed = Feed(current, Bounds(current, 16), Policy(in_flight=20.0))
    usual: dict[str, Any] = {"utilisation": level, "cpu": level, "pool_size": 40, "pool_busy": 10}
    assert not feed.run(70, **usual).changed
    feed.tick(pool_size=40, **noise)
    assert not feed.decide().changed
    assert not feed.run(20, **usual).changed


@given(bursts, st.integers(1, 6), st.floats(0.8, 1.0))
def test_no_worker_is_added_on_a_busy_host(load: dict[str, Any], current: int, busy: float) -> None:
    feed = Feed(current, Bounds(1, 16))
    decision = feed.run(40, host=feed.host(cpu=busy), pool_size=40, **load)
    assert decision.target <= current


@given(bursts, st.integers(1, 6), st.integers(1 << 20, 4 << 30), st.integers(64 << 20, 8 << 30))
def test_memory_is_never_passed(load: dict[str, Any], current: int, rss: int, limit: int) -> None:
    feed = Feed(current, Bounds(1, 16))
    decision = feed.run(40, host=feed.host(memory_limit=limit), pool_size=40, rss=rss, **load)
    assert decision.target <= max(current, 0.85 * limit / rss)


@given(bursts, st.integers(1, 6), st.integers(1, 50), st.integers(50, 400))
def test_the_connection_budget_is_never_passed(load: dict[str, Any], current: int, each: int, budget: int) -> None:
    feed = Feed(current, Bounds(0, 16), Policy(connections_per_worker=each, connection_budget=budget))
    decision = feed.run(40, pool_size=40, **load)
    assert decision.target * each <= budget


@given(bursts, st.integers(1, 8), st.integers(1, 8))
def test_missing_data_moves_the_count_neither_way(load: dict[str, Any], current: int, silent: int) -> None:
    """If the silent workers decided it, they would have to be at 0 % for a fall and at 100 % for a rise."""
    silent = min(silent, current)

    def target(**quiet: Any) -> int:
        feed = Feed(current, Bounds(1, 16))
        feed.obey = False
        quiet_worker = replace(worker(9), **{"pool_size": 40, **quiet})
        for _ in range(200):
            feed.now += POLICY.interval
            workers = [worker(number, pool_size=40, **load) for number in range(current - silent)]
            feed.history.add(Tick.of(feed.now, POLICY.interval, workers + [quiet_worker] * silent))
            decision = feed.decide()
        return decision.target

    unknown: dict[str, Any] = {"utilisation": None, "cpu": None, "pool_busy": None}
    found = target(**unknown)
    if found > current:
        assert target(utilisation=0.0, cpu=0.0, pool_busy=0) > current
    if found < current:
        assert target(utilisation=1.0, cpu=1.0, pool_busy=40, dispatch_p95=0.0, lag_p95=0.0) < current


@given(st.integers(2, 16), st.floats(0.01, 1.0), st.floats(0, 0.6))
def test_falls_are_bounded_by_their_share(current: int, share: float, level: float) -> None:
    feed = Feed(current, Bounds(1, 16), Policy(down_share=share))
    decision = feed.run(90, utilisation=level, cpu=0.05)
    assert current - decision.target <= max(1, int(current * share))
