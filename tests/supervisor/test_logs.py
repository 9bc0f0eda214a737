"""Who follows the logs, and what happens to lines while others come and go. The workers are the test's own."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from socket import socket
from types import SimpleNamespace
from typing import Any, cast

from swell.supervisor.control.protocol import Wanted
from swell.supervisor.logs import Logs
from swell.supervisor.workers import State

SECONDS = 20.0


class Worker:
    """Does with a tap what a worker does: another one takes its place. `id` is 1."""

    id, pid, state = 1, 1, State.READY

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.ends: list[socket] = []
        self.channel = SimpleNamespace(send=self.obey)

    def obey(self, order: dict[str, Any], descriptors: Sequence[int] = ()) -> bool:
        self.orders.append(order)
        for end in self.ends:
            end.close()
        self.ends = [socket(fileno=os.dup(descriptor)) for descriptor in descriptors]
        return True

    def say(self, line: str) -> None:
        self.ends[0].sendall(line.encode() + b"\n")


async def begin(logs: Logs, wanted: Wanted) -> AsyncIterator[bytes]:
    following = logs.follow(wanted)
    assert await anext(following) == b"\n"
    return following


async def lines(following: AsyncIterator[bytes], number: int) -> list[str]:
    """The next ones."""
    found: list[str] = []
    async with asyncio.timeout(SECONDS):
        while len(found) < number:
            if text := (await anext(following)).strip():
                found += json.loads(text)["lines"]
    return found


def following(worker: Worker) -> Logs:
    return Logs(cast(Any, SimpleNamespace(workers={1: worker})))


def test_lines_on_their_way_arrive_although_another_one_comes_or_goes() -> None:
    async def scenario() -> None:
        worker = Worker()
        logs = following(worker)
        first = await begin(logs, Wanted(statuses=1 << 5, level=None))
        worker.say("before")
        second = await begin(logs, Wanted(level=None))
        worker.say("between")
        await cast(Any, second).aclose()
        worker.say("after")
        assert [order["statuses"] for order in worker.orders] == [1 << 5, 255, 1 << 5]
        assert sorted(await lines(first, 3)) == ["after", "before", "between"]
        await cast(Any, first).aclose()
        assert worker.orders[-1] == {"do": "untap"}
        assert not worker.ends

    asyncio.run(scenario())
