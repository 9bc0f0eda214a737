"""Each rule, each guard and each reason by itself, with samples made by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest

from scaling.feed import Feed, worker
from swell.scaling import Bounds, Decision, Forecast, HostSample, Policy, Tick, WorkerSample, decide, new_history

POLICY = Policy()


def settled(current: int = 2, bounds: Bounds | None = None, policy: Policy | None = None, **values: Any) -> Feed:
    """Two minutes of a load that changes nothing."""
    feed = Feed(current, bounds, policy)
    values = {"utilisation": 0.45 if current < 3 else 0.6, "cpu": 0.3, **values}
    decision = feed.run(120, **values)
    assert not decision.changed, decision.text
    return feed


# Rules that rise


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.5, 0.65, 0.75, 0.99])
def test_a_burst_from_idle_adds_a_worker_within_about_a_second(phase: float) -> None:
    """`phase` of the first sample has passed when the burst begins; two whole ones and what is left of it suffice."""
    feed = Feed(1)
    feed.run(30)
    began = feed.now + phase * POLICY.interval
    feed.tick(utilisation=0.05 * phase + 1 - phase, cpu=1 - phase)
    decision = feed.decide()
    while not decision.changed:
        feed.tick(utilisation=1.0, cpu=1.0)
        decision = feed.decide()
    assert feed.now - began <= 1.1
    assert decision.target == 2
    assert (decision.rule, decision.guard) == ("burst", None)
    assert re.fullmatch(r"1 → 2: loops \d+ % busy > 65 % for 0\.8 s, a burst", decision.text)


@pytest.mark.parametrize(
    "noise",
    [
        {"utilisation": 1.0, "cpu": 1.0},
        {"pool_size": 40, "pool_busy": 40, "pool_waiting": 5000},
        {"dispatch_p95": 9.0, "lag_p95": 9.0},
        {"in_flight": 10_000, "latency_p95": 30.0},
    ],
)
def test_one_noisy_sample_changes_nothing(noise: dict[str, Any]) -> None:
    feed = settled(2, policy=Policy(in_flight=20.0))
    feed.tick(**{"utilisation": 0.45, **noise})
    assert not feed.decide().changed
    assert not feed.run(60, utilisation=0.45).changed


def test_a_busy_service_with_a_busy_second_is_no_burst() -> None:
    feed = settled(1, utilisation=0.6, cpu=0.6)
    for _ in range(3):
        feed.tick(utilisation=0.95, cpu=0.6)
        assert not feed.decide().changed


def test_panic_in_a_queue_for_threads() -> None:
    feed = settled(2, bounds=Bounds(1, 16), pool_size=40, pool_busy=20, utilisation=0.1, cpu=0.1)
    decision = feed.run(6, utilisation=0.1, cpu=0.1, pool_size=40, pool_busy=40, pool_waiting=200, in_flight=240)
    assert decision.target > 4
    assert decision.rule in ("burst", "panic")
    assert "thread pool 600 % in use > 80 %" in decision.text


def test_loops_that_never_rest_are_a_panic() -> None:
    feed = settled(4, utilisation=0.6, cpu=0.3)
    decision = feed.run(20, utilisation=1.0, cpu=0.3)
    assert decision.text == "4 → 6: loops 97 % busy > 65 % for 6 s"
    assert decision.rule == "panic"


def test_never_down_while_panicking_and_for_a_stable_window_after() -> None:
    feed = Feed(1)
    feed.run(90)
    assert feed.run(2, utilisation=1.0).changed
    last_cause = feed.now
    decision = feed.run(300)
    assert decision.rule == "down"
    assert feed.now - last_cause >= 60


def test_the_stable_window_decides_what_is_not_urgent() -> None:
    feed = settled(4)
    decision = feed.run(120, utilisation=0.8, cpu=0.2)
    assert (decision.rule, decision.target) == ("stable", 5)
    assert decision.text.endswith("busy > 65 % for 60 s")


def test_within_the_tolerance_nothing_changes() -> None:
    feed = settled(4)
    decision = feed.run(300, utilisation=0.65 * 1.09, cpu=0.2)
    assert (decision.rule, decision.target) == ("steady", 4)
    assert decision.text == "stays 4: loops 71 % busy, which needs 4 workers"


def test_a_delay_adds_by_half_and_then_waits_for_the_effect() -> None:
    feed = settled(4, utilisation=0.5, cpu=0.2)
    decision = feed.run(20, utilisation=0.5, cpu=0.2, dispatch_p95=0.041)
    assert decision.text == "4 → 6: dispatch delay p95 41 ms > 10 ms for 6 s"
    assert (decision.rule, decision.guard) == ("delay", None)
    added = feed.now
    decision = feed.run(60, utilisation=0.5, cpu=0.2, dispatch_p95=0.041)
    assert decision.changed
    assert feed.now - added >= 6


def test_a_lagging_loop_counts_like_a_delay() -> None:
    feed = settled(2, utilisation=0.5, cpu=0.2)
    assert feed.run(20, utilisation=0.5, lag_p95=1.4).text == "2 → 3: loop lag p95 1.4 s > 10 ms for 6 s"


def test_a_delay_waits_while_workers_start() -> None:
    feed = settled(4, utilisation=0.5, cpu=0.2)
    for _ in range(40):
        feed.tick(starting=1, utilisation=0.5, cpu=0.2, dispatch_p95=0.041)
        assert not feed.decide().changed


def test_a_target_of_requests_in_flight() -> None:
    feed = settled(2, policy=Policy(in_flight=10.0), in_flight=5)
    decision = feed.run(120, utilisation=0.5, cpu=0.5, in_flight=15)
    assert decision.target == 3
    assert "requests in flight per worker > 10 for" in decision.text


def test_workers_that_start_count_as_coming() -> None:
    feed = settled(4, utilisation=0.5, cpu=0.2)
    feed.current = 6
    feed.history.memory = feed.decide().memory
    for _ in range(50):
        feed.tick(starting=2, utilisation=0.9, cpu=0.2)  # 3.6 loops' work, for which 6 workers are enough
        assert not feed.decide().changed


# Guards


BUSY: dict[str, Any] = {"utilisation": 1.0, "cpu": 1.0}


def blocked(feed: Feed, host: HostSample | None = None, **values: Any) -> Decision:
    decision = feed.run(30, host=host or feed.host(), **values)
    assert not decision.changed, decision.text
    return decision


def test_guard_host_cpu() -> None:
    decision = blocked(settled(2), Feed().host(cpu=0.96, cores=2.0), **BUSY)
    assert decision.guard == "host-cpu"
    assert decision.text.endswith(", which asks for 4, but host CPU 96 % ≥ 80 %: needs more machines")


def test_guard_host_cpu_lets_the_free_cores_be_used() -> None:
    feed = settled(3, cpu=0.6)
    decision = feed.run(30, host=feed.host(cpu=0.75, cores=4.0), **BUSY)
    assert (decision.target, decision.guard) == (4, "host-cpu")
    assert decision.text.endswith("which asks for 5, but only 1 cores are free and a worker takes 1")


def test_guard_throttled() -> None:
    decision = blocked(settled(2), Feed().host(throttled=0.4), **BUSY)
    assert decision.guard == "throttled"
    assert "throttled in 40 % of its CPU periods: needs a larger limit or more machines" in decision.text


def test_guard_memory() -> None:
    decision = blocked(settled(4), Feed().host(memory_limit=1 << 30), **BUSY, rss=210 << 20)
    assert decision.guard == "memory"
    assert decision.text.endswith("but 5 workers of 210 MiB would take more than 85 % of 1 GiB")


def test_guard_memory_allows_what_fits() -> None:
    feed = settled(2)
    decision = feed.run(30, host=feed.host(memory_limit=1 << 30), **BUSY, rss=280 << 20)
    assert (decision.target, decision.guard) == (3, "memory")


def test_guard_connections() -> None:
    policy = Policy(connections_per_worker=15, connection_budget=30)
    decision = blocked(settled(2, policy=policy), **BUSY)
    assert decision.guard == "connections"
    assert decision.text.endswith("which asks for 4, but 4 × 15 connections would exceed the budget of 30")


def test_guard_upstream() -> None:
    feed = settled(2, policy=Policy(in_flight=20.0), in_flight=10)
    decision = blocked(feed, in_flight=240, latency_p95=2.0)
    assert decision.guard == "upstream"
    assert decision.text.endswith(
        "240 requests in flight per worker while the loops are 5 % busy: "
        "they wait for an upstream, more workers would not help"
    )


def test_upstream_is_told_even_if_no_rule_asks() -> None:
    feed = settled(1, utilisation=0.05, cpu=0.05)
    decision = blocked(feed, in_flight=150, latency_p95=5.0)
    assert (decision.rule, decision.guard) == ("hold", "upstream")
    assert decision.text.startswith("stays 1: 150 requests in flight per worker while the loops are 5 % busy")


def test_a_latency_that_doubled_is_upstream_too() -> None:
    feed = settled(1, utilisation=0.05, cpu=0.05, latency_p95=0.2, in_flight=2)
    assert feed.run(8, in_flight=3, latency_p95=0.9).guard == "upstream"


def test_a_full_thread_pool_is_not_upstream() -> None:
    feed = settled(1, utilisation=0.05, cpu=0.05)
    decision = feed.run(30, utilisation=0.05, cpu=0.05, in_flight=150, pool_size=40, pool_busy=40, pool_waiting=110)
    assert decision.changed
    assert decision.guard is None


def test_guard_blocking() -> None:
    decision = blocked(settled(2, Bounds(2, 8), utilisation=0.1, cpu=0.05), utilisation=0.1, cpu=0.05, lag_p95=0.5)
    assert decision.guard == "blocking"
    assert decision.text == (
        "stays 2: loop lag p95 500 ms > 10 ms for 6 s, which asks for 3, but the loops are only 10 % busy: "
        "single calls block them, run those in threads"
    )


def test_guard_maximum() -> None:
    feed = settled(2, bounds=Bounds(1, 2))
    decision = blocked(feed, **BUSY)
    assert decision.guard == "maximum"
    assert decision.text.endswith("which asks for 4, but already at the maximum of 2")


# Rules that fall


def test_down_to_what_was_enough_by_half_at_most() -> None:
    feed = settled(8)
    assert feed.run(300, utilisation=0.05).text == (
        "8 → 4: 4 are enough for every moment of the last 60 s (loops 5 % busy)"
    )
    first = feed.now
    assert feed.run(300, utilisation=0.1).target == 2
    assert feed.now - first >= 60


def test_one_busy_moment_holds_for_the_down_window() -> None:
    feed = settled(4)
    feed.run(30, utilisation=0.1)
    feed.run(8, utilisation=0.6)
    decision = feed.run(50, utilisation=0.1)
    assert not decision.changed
    assert decision.text == "stays 4: loops 10 % busy, 1 would do, but 4 workers were needed within the last 60 s"


def test_after_a_restart_nothing_is_removed_for_lack_of_memory() -> None:
    feed = Feed(6)
    decision = feed.run(50)
    assert decision.text == ("stays 6: loops 5 % busy, 1 would do, but samples reach back 50 s, 60 s are needed")
    assert feed.run(60).target == 3


def test_the_window_doubles_when_the_count_rises_after_a_fall() -> None:
    feed = settled(1, utilisation=0.1)
    falls = []
    for _ in range(4):
        assert feed.run(5, utilisation=1.0).target == 2
        rose = feed.now
        assert feed.run(900, utilisation=0.1).target == 1
        falls.append(round(feed.now - rose))
    assert falls[0] < 70 < 115 < falls[1] < 140 < 230 < falls[2] < 260 < 470 < falls[3] < 500


def test_a_count_that_was_strained_is_not_returned_to() -> None:
    feed = settled(4, utilisation=0.5, cpu=0.2)
    assert feed.run(20, utilisation=0.5, cpu=0.2, dispatch_p95=0.02).target == 6
    decision = feed.run(600, utilisation=2.0 / 6, cpu=0.1)
    assert decision.target == 5
    decision = feed.run(600, utilisation=2.0 / 5, cpu=0.1)
    assert decision.text == (
        "stays 5: loops 40 % busy, 4 would do, but 4 workers had delays over 10 ms under this load"
    )
    assert feed.run(600, utilisation=1.0 / 5, cpu=0.1).target < 5


def test_a_delay_that_would_grow_too_long_is_foreseen() -> None:
    feed = settled(3, utilisation=0.6, cpu=0.2)
    decision = feed.run(300, utilisation=0.4, cpu=0.2, dispatch_p95=0.007)
    assert decision.text == "stays 3: loops 40 % busy, 2 would do, but with 2 the delay would grow to 16 ms"


def test_to_zero_after_the_idle_time_and_back() -> None:
    feed = Feed(1, Bounds(0, 4))
    quiet: dict[str, Any] = {"utilisation": 0.0, "in_flight": 0, "requests_per_s": 0.0, "cpu": 0.0}
    feed.run(10)
    began = feed.now
    decision = feed.run(400, **quiet)
    assert decision.text == "1 → 0: no requests and nothing in flight for 5 min"
    assert 300 <= feed.now - began <= 301
    feed.tick(ready=0)
    assert feed.decide().text == "stays 0: asleep until a connection comes"
    assert feed.decide(waiting=True).text == "0 → 1: a connection is waiting"


@pytest.mark.parametrize("busy", [{"websockets": 1}, {"in_flight": 1}, {"requests_per_s": None}, {"in_flight": None}])
def test_what_is_in_flight_or_not_known_keeps_the_last_worker(busy: dict[str, Any]) -> None:
    feed = Feed(1, Bounds(0, 4))
    quiet: dict[str, Any] = {"utilisation": 0.0, "in_flight": 0, "requests_per_s": 0.0, "cpu": 0.0, **busy}
    assert not feed.run(700, **quiet).changed


def test_with_a_minimum_of_one_nothing_sleeps() -> None:
    feed = Feed(1, Bounds(1, 4))
    decision = feed.run(700, utilisation=0.0, in_flight=0, requests_per_s=0.0, cpu=0.0)
    assert decision.text == "stays 1: loops 0 % busy; this is the minimum"


# Missing data, bounds, forecasts


def test_missing_data_counts_nothing_upward_and_everything_downward() -> None:
    feed = settled(4, utilisation=0.5, cpu=0.2)
    unknown: dict[str, Any] = {"utilisation": None, "cpu": None}
    for _ in range(400):
        feed.now += POLICY.interval
        workers = [worker(0, utilisation=1.0), *(worker(number, **unknown) for number in range(1, 4))]
        feed.history.add(Tick.of(feed.now, POLICY.interval, workers))
        assert not feed.decide().changed


def test_without_fresh_samples_nothing_changes() -> None:
    feed = settled(2)
    feed.now += 30
    decision = feed.decide()
    assert (decision.rule, decision.text) == ("no-data", "stays 2: no recent samples, so nothing is changed")
    assert decide(new_history(POLICY), POLICY, 5.0, 3, Bounds(1, 8)).rule == "no-data"


def test_without_a_ready_worker_nothing_is_removed() -> None:
    feed = settled(4)
    for _ in range(400):
        feed.tick(ready=0)
        assert not feed.decide().changed


def test_a_stuck_worker_says_nothing() -> None:
    feed = settled(2, utilisation=0.5, cpu=0.2)
    for _ in range(300):
        feed.now += POLICY.interval
        stuck = WorkerSample(9, "stuck", feed.now, 0.4, utilisation=1.0, cpu=1.0, lag_p95=60.0, pool_size=0)
        feed.history.add(Tick.of(feed.now, POLICY.interval, [worker(0, utilisation=0.5), stuck]))
        assert not feed.decide().changed


def test_bounds_win_at_once() -> None:
    assert Feed(1, Bounds(3, 8)).decide().text == "1 → 3: the minimum is 3"
    assert Feed(9, Bounds(1, 8)).decide().text == "9 → 8: the maximum is 8"
    policy = Policy(connections_per_worker=15, connection_budget=60)
    decision = Feed(6, Bounds(1, 8), policy).decide()
    assert (decision.text, decision.guard) == ("6 → 4: 6 × 15 connections would exceed the budget of 60", "connections")


def test_somebody_elses_change_is_respected_for_a_window() -> None:
    feed = settled(2, Bounds(2, 8), utilisation=0.1, cpu=0.1)
    feed.current = 6
    began = feed.now
    assert feed.run(300, utilisation=0.1).rule == "down"
    assert feed.now - began >= 60
    assert feed.history.memory.changes[-2].rule == "external"


def test_a_forecast_raises_the_floor_and_holds_it() -> None:
    feed = settled(2, Bounds(2, 8), utilisation=0.1, cpu=0.1)
    forecast = Forecast(0.0, 4, 3.4, 0.1, True, "this hour usually needs 3.4")
    feed.tick()
    assert feed.decide(forecast=forecast).text == "2 → 4: this hour usually needs 3.4"
    for _ in range(600):
        feed.tick()
        decision = feed.decide(forecast=forecast)
        assert not decision.changed
    assert decision.text == "stays 4: loops 5 % busy; this is the forecast floor"
    assert feed.run(200).rule == "down"


def test_a_forecast_is_guarded_and_only_talks_in_its_mode() -> None:
    feed = settled(2, Bounds(2, 8), utilisation=0.1, cpu=0.1)
    forecast = Forecast(0.0, 4, 3.4, 0.1, True, "this hour usually needs 3.4")
    feed.tick(host=feed.host(cpu=0.9))
    feed.tick(host=feed.host(cpu=0.9))
    assert feed.decide(forecast=forecast).guard == "host-cpu"
    silent = Forecast(0.0, 4, 3.4, 0.1, False, "this hour usually needs 3.4")
    feed.tick()
    assert not feed.decide(forecast=silent).changed
    assert silent.would(2) == "would raise 2 → 4: this hour usually needs 3.4"
    assert silent.would(4) is None


def test_a_decision_is_json_ready_with_its_inputs() -> None:
    import json

    feed = settled(4, utilisation=0.5, cpu=0.2)
    decision = feed.run(20, utilisation=0.5, cpu=0.2, dispatch_p95=0.041)
    shown = json.loads(json.dumps(decision.as_dict()))
    assert {key: shown[key] for key in ("before", "after", "rule", "guard")} == {
        "before": 4, "after": 6, "rule": "delay", "guard": None,
    }  # fmt: skip
    assert shown["text"] == decision.text
    assert shown["inputs"]["ready"] == 4
    assert shown["inputs"]["signals"]["utilisation"]["short"] == pytest.approx(0.5)
    assert shown["inputs"]["delays"]["dispatch_delay"] == pytest.approx(0.041)
    assert json.loads(json.dumps(Feed(1, Bounds(3, 8)).decide().as_dict()))["inputs"]["current"] == 1


def test_what_is_worth_a_line_of_the_log() -> None:
    feed = settled(2, Bounds(1, 2))
    told: list[Decision] = []

    def live(seconds: float, **values: Any) -> None:
        for _ in range(round(seconds / POLICY.interval)):
            feed.tick(host=feed.host(cpu=values.get("cpu", 0.2)), **values)
            decision = feed.decide()
            if decision.is_news(told[-1] if told else None):
                told.append(decision)

    live(30, utilisation=1.0, cpu=0.5)
    live(30, utilisation=1.0, cpu=0.9)
    live(200, utilisation=0.05, cpu=0.05)
    live(30, utilisation=1.0, cpu=0.5)
    assert [(decision.before, decision.target, decision.guard) for decision in told] == [
        (2, 2, "maximum"),
        (2, 1, None),
        (1, 2, None),
        (2, 2, "maximum"),
    ]
