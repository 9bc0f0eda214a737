"""Who is sent away when. The loop's clock is its own: a wait takes no time and moves the clock on."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from dataclasses import dataclass, field
from typing import Any

import pytest

from swell.worker.drain import MARGIN, TICK, Leaving, part, spread


class Clock(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is not None:
            self.now += timeout
        return found


class OwnTime(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


@dataclass
class FakeEngine:
    """Clients that go when they are asked, streams that stay until they are ended."""

    clients: int = 0
    streams: int = 0
    arriving: dict[float, int] = field(default_factory=dict)
    dismissed: list[tuple[float, int]] = field(default_factory=list)
    ended: list[tuple[float, int]] = field(default_factory=list)

    def dismiss(self, count: int | None = None, code: int = 1012) -> int:
        now = asyncio.get_running_loop().time()
        for when in [when for when in self.arriving if when <= now]:
            self.clients += self.arriving.pop(when)
        going = self.clients if count is None else min(self.clients, count)
        self.clients -= going
        self.dismissed += [(now, going)] if going else []
        return self.clients

    def end_streams(self, count: int | None = None) -> int:
        going = self.streams if count is None else min(self.streams, count)
        self.streams -= going
        self.ended += [(asyncio.get_running_loop().time(), going)] if going else []
        return self.streams


def drained(allowed: float | None, seconds: float, **what: Any) -> FakeEngine:
    """What `part` has done after so many seconds."""

    async def run() -> FakeEngine:
        engine = FakeEngine(**what)
        parting: Leaving = engine
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await part(parting, allowed)
        return engine

    with asyncio.Runner(loop_factory=OwnTime) as runner:
        return runner.run(run())


@pytest.mark.parametrize(
    ("clients", "allowed", "seconds"),
    [
        (3, 30, 0.03),
        (100, 30, 1),
        (5000, 30, 10),
        (5000, 3, 1),
        (5000, None, 10),
        (100, None, 1),
        (5000, 600, 10),
        (9, 0, 0),
    ],
)
def test_spread(clients: int, allowed: float | None, seconds: float) -> None:
    """10 ms for each, at most a third of the time and at most 10 s."""
    assert spread(clients, allowed) == pytest.approx(seconds)


def test_few_are_sent_away_at_once() -> None:
    assert drained(30, 1, clients=5).dismissed == [(0, 5)]


@pytest.mark.parametrize(("clients", "allowed"), [(100, 30), (7777, 30), (1000, 3), (1000, None)])
def test_many_are_sent_away_evenly(clients: int, allowed: float | None) -> None:
    over = spread(clients, allowed)
    groups = drained(allowed, over + 1, clients=clients).dismissed
    assert sum(count for _, count in groups) == clients
    assert len(groups) == pytest.approx(over / TICK, abs=1)
    fair = clients * TICK / over
    assert all(fair - 1 <= count <= fair + 1 for _, count in groups[:-1])
    assert groups[-1][1] <= 2 * fair + 1
    assert groups[-1][0] <= over


def test_without_time_all_at_once() -> None:
    engine = drained(0, 1, clients=1000, streams=1000)
    assert (engine.dismissed, engine.ended) == ([(0, 1000)], [(0, 1000)])


def test_who_comes_later_is_sent_away_too() -> None:
    """Connections that waited in the listener's queue, handshakes under way."""
    engine = drained(30, 20, clients=100, arriving={0.5: 10, 12.0: 1})
    assert sum(count for _, count in engine.dismissed) == 111
    when, count = engine.dismissed[-1]
    assert count == 1
    assert 12 <= when <= 12 + 2 * TICK


def test_one_stream_is_given_nearly_all_the_time() -> None:
    ((when, count),) = drained(30, 30, streams=1).ended
    assert count == 1
    assert 30 - MARGIN - 2 * TICK <= when <= 30 - MARGIN


@pytest.mark.parametrize(("streams", "allowed"), [(20, 30), (5000, 30), (5000, 2)])
def test_many_streams_end_evenly_in_the_last_third(streams: int, allowed: float) -> None:
    ended = drained(allowed, allowed, streams=streams).ended
    assert sum(count for _, count in ended) == streams
    assert len(ended) >= 8
    times = [when for when, _ in ended]
    assert times[0] >= allowed * 0.56  # two thirds, less what is left over for the clients
    assert times[-1] <= allowed - min(MARGIN, allowed / 10)
    counts = [count for _, count in ended[:-1]]
    assert max(counts) <= 1.2 * min(counts) + 1


def test_without_a_deadline_streams_go_on() -> None:
    assert drained(None, 100, streams=3).ended == []
