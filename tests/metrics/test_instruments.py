"""Counter, gauge and histogram in one process; by themselves, and as the worker of a slot."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swell.metrics import Counter, Gauge, Histogram, values
from swell.metrics.instruments import MEMBERS_AT_MOST, OTHER
from swell.metrics.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """This process is the worker in slot 0 when `values.attach` is called; none again afterwards."""
    yield Store.create(str(tmp_path / "metrics"), 2)
    values._region = values._store = None


def entries(store: Store, region: int = 0) -> dict[tuple[str, tuple[str, ...]], list[float]]:
    found = {}
    for key, numbers in store.read(region).items():
        _, name, _, labels, _, _, _ = json.loads(key)
        found[name, tuple(value for _, value in labels)] = numbers
    return found


def test_numbers_from_before_the_worker_go_along(store: Store) -> None:
    counter = Counter("test_orders_total", "Orders.", ["kind"])
    gauge = Gauge("test_level", "Level.")
    histogram = Histogram("test_took", "Took.", buckets=[1, 5])
    counter.labels("web").inc()
    gauge.set(7)
    histogram.observe(3)
    values.attach(store, 0)
    counter.labels(kind="web").inc(2)
    counter.labels("app").inc(0.5)
    gauge.dec(3)
    for value in (1, 5, 5.1, -1):
        histogram.observe(value)
    found = entries(store)
    assert found["test_orders", ("web",)] == [3, 0][:1]
    assert found["test_orders", ("app",)] == [0.5]
    assert found["test_level", ()][0] == 4
    assert found["test_took", ()] == [2, 2, 1, pytest.approx(13.1)]


def test_a_member_that_is_being_made_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    values.attach(store, 0)
    counter = Counter("test_making", "Made.", ["a"])
    made, begun, go_on = Counter._make, threading.Event(), threading.Event()

    def slowly(self: Counter, labels: list[tuple[str, str]]) -> values.Value:
        begun.set()
        assert go_on.wait(20)
        return made(self, labels)

    monkeypatch.setattr(Counter, "_make", slowly)
    errors: list[Exception] = []

    def work() -> None:
        try:
            counter.labels("x").inc()
        except ValueError as error:
            errors.append(error)

    first, second = threading.Thread(target=work), threading.Thread(target=work)
    first.start()
    assert begun.wait(20)
    second.start()
    second.join(0.2)  # without the wait it is over at once
    go_on.set()
    first.join()
    second.join()
    assert errors == []
    assert entries(store)["test_making", ("x",)] == [2]


def test_threads_lose_nothing(store: Store) -> None:
    values.attach(store, 0)
    counter = Counter("test_threads", "Threads.", ["a"])

    def work() -> None:
        for _ in range(5000):
            counter.labels("x").inc()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entries(store)["test_threads", ("x",)] == [20_000]


def test_members_are_bounded() -> None:
    counter = Counter("test_bounded", "Bounded.", ["user"])
    for number in range(MEMBERS_AT_MOST):
        counter.labels(number).inc()
    assert counter.labels("one more") is counter.labels("another") is counter.labels(OTHER)
    assert counter.labels(3) is counter.labels("3")


def test_the_time_of_a_block_is_observed_however_it_ends(store: Store) -> None:
    values.attach(store, 0)
    histogram = Histogram("test_block", "Block.")
    with pytest.raises(KeyError), histogram.time():
        raise KeyError
    with histogram.time():
        pass
    assert sum(entries(store)["test_block", ()][:-1]) == 2


def test_without_room_a_metric_counts_for_itself(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    values.attach(store, 0)
    long = "x" * 300_000
    counters = [Counter(f"test_full_{number}", long) for number in range(5)]
    for counter in counters:
        counter.inc()
    assert len(entries(store)) == 3
    (record,) = caplog.records
    assert record.message.startswith("a metric of the application is not shared, and others will not be either: ")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Counter("with space", ""), "no name for a metric"),
        (lambda: Counter("x", "", ["le gal"]), "no name for a label"),
        (lambda: Counter("x", "", ["__x"]), "no name for a label"),
        (lambda: Counter("x", "", ["a", "a"]), "twice"),
        (lambda: Counter("x", "", "ab"), "sequence of names"),
        (lambda: Histogram("x", "", ["le"]), "no name for a label of a histogram"),
        (lambda: Gauge("x", "", ["slot"]), "no name for a label of a gauge"),
        (lambda: Gauge("x", "", mode="mean"), "mode is sum"),  # type: ignore[arg-type]
        (lambda: Histogram("x", "", buckets=[2, 1]), "ascending"),
        (lambda: Histogram("x", "", buckets=[]), "ascending"),
        (lambda: Histogram("x", "", buckets=[1, float("inf")]), "finite"),
        (lambda: Counter("x", "").inc(-1), "cannot be decreased"),
        (lambda: Counter("x", "", ["a"]).inc(), r"use labels\(a\) first"),
        (lambda: Counter("x", "").labels("a"), r"has the labels \(none\)"),
        (lambda: Counter("x", "", ["a"]).labels("a", "b"), "has the labels a"),
        (lambda: Counter("x", "", ["a"]).labels(b="b"), "has the labels a"),
    ],
)
def test_mistakes_are_told(make: Any, complaint: str) -> None:
    with pytest.raises((ValueError, TypeError), match=complaint):
        make()
