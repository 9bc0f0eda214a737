"""The parent's part of `swell logs`: gathers the log lines of all workers and its own for those who follow.

Nothing happens before somebody follows: then every worker gets a tap (`swell.worker.insight.taps`) with what the
followers want, all of them together; each of them sorts out the rest. The parent does not look into lines. Who does not
read loses lines, which are counted, and slows nobody down.

A batch is `{"worker": 3, "lost": 0, "lines": [...]}`, worker 0 is the parent. Used by the control socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from swell.supervisor.control.protocol import Wanted
from swell.supervisor.parent import Parent
from swell.supervisor.workers import State, Worker
from swell.telemetry.follow import Sending

__all__ = ["Logs"]

# Bytes that may wait for one follower; and how long one may hear nothing, so that its end is noticed, in seconds.
WAITING_MAX = 1 << 20
SILENCE_SECONDS = 2.0
# How often it is looked for workers that are new.
LOOK_SECONDS = 0.25
READ = 64 * 1024
# Taps that are read to their end after others have taken their place; a worker that hangs does not end its own.
LEAVING_MAX = 256


@dataclass(eq=False)
class Follower:
    """`batches` wait for it."""

    wanted: Wanted
    batches: deque[bytes] = field(default_factory=deque)
    size: int = 0
    lost: int = 0
    ended: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, worker: int, lines: list[str]) -> None:
        batch = json.dumps({"worker": worker, "lost": self.lost, "lines": lines}).encode() + b"\n"
        if self.size + len(batch) > WAITING_MAX:
            self.lost += len(lines)
            return
        self.lost = 0
        self.size += len(batch)
        self.batches.append(batch)
        self.news.set()


class Logs:
    """Of one instance."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._followers: list[Follower] = []
        self._taps: dict[int, _Tap] = {}
        self._leaving: list[_Tap] = []
        self._wanted: Wanted | None = None
        self._own: Sending | None = None
        self._looking: asyncio.Task[None] | None = None

    async def follow(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Batches from now on, until the instance ends or the caller stops. An empty line when there is nothing."""
        follower = Follower(wanted)
        self._followers.append(follower)
        self._changed()
        try:
            yield b"\n"
            while not follower.ended:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SILENCE_SECONDS):
                        await follower.news.wait()
                follower.news.clear()
                if not follower.batches:
                    yield b"\n"
                while follower.batches:
                    batch = follower.batches.popleft()
                    follower.size -= len(batch)
                    yield batch
        finally:
            self._followers.remove(follower)
            self._changed()

    def close(self) -> None:
        """Those who follow hear no more."""
        for follower in self._followers:
            follower.ended = True
            follower.news.set()

    def _changed(self) -> None:
        wanted: Wanted | None = None
        for follower in self._followers:
            wanted = follower.wanted if wanted is None else wanted | follower.wanted
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if self._own is not None:
            self._own.detach()
            self._own = None
        if wanted is None:
            for tap in self._taps.values():
                tap.end()
        # The order for the next tap ends this one; what is in it already is still to come.
        before = [tap for tap in (*self._leaving, *self._taps.values()) if tap.is_open]
        self._taps.clear()
        self._leaving = [] if wanted is None else before[-LEAVING_MAX:]
        for tap in before[: len(before) - len(self._leaving)]:
            tap.close()
        if wanted is None:
            if self._looking is not None:
                self._looking.cancel()
                self._looking = None
            return
        if wanted.level is not None:
            self._own = Sending(wanted.level, False, self._say)
            self._own.attach()
        self._tap_new()
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._tap_new()

    def _tap_new(self) -> None:
        self._taps = {of: tap for of, tap in self._taps.items() if tap.is_open or not tap.has_ended}
        for worker in self._parent.workers.values():
            if worker.pid is not None and worker.state is not State.ENDED and worker.id not in self._taps:
                assert self._wanted is not None
                self._taps[worker.id] = _Tap(self, worker, self._wanted)

    def spread(self, worker: int, data: bytes) -> None:
        lines = data.decode("utf-8", "replace").splitlines()
        for follower in self._followers:
            follower.put(worker, lines)

    def _say(self, data: bytes) -> int:
        """The parent's own lines."""
        if self._looking is not None and threading.current_thread() is threading.main_thread():
            self.spread(0, data)
        return len(data)


class _Tap:
    """One worker's lines: two streams of them, of which each may end in the middle of a line."""

    def __init__(self, logs: Logs, worker: Worker, wanted: Wanted) -> None:
        self._logs = logs
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._ends: dict[socket.socket, bytes] = {}
        theirs = []
        for _ in range(2):
            ours, end = socket.socketpair()
            ours.setblocking(False)
            self._ends[ours] = b""
            theirs.append(end)
            self._loop.add_reader(ours, self._read, ours)
        order: dict[str, Any] = {
            "do": "tap", "statuses": wanted.statuses, "slower": wanted.slower, "contains": wanted.contains,
            "level": wanted.level,
        }  # fmt: skip
        worker.channel.send(order, [end.fileno() for end in theirs])
        for end in theirs:
            end.close()

    def _read(self, end: socket.socket) -> None:
        try:
            data = end.recv(READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(end)
            return
        whole, newline, rest = (self._ends[end] + data).rpartition(b"\n")
        self._ends[end] = rest
        if newline:
            self._logs.spread(self._worker.id, whole)

    def _drop(self, end: socket.socket) -> None:
        self._loop.remove_reader(end)
        end.close()
        del self._ends[end]

    @property
    def is_open(self) -> bool:
        return bool(self._ends)

    @property
    def has_ended(self) -> bool:
        """Its worker has."""
        return self._worker.state is State.ENDED

    def end(self) -> None:
        """Has the worker close its ends; one that hangs notices with its next line."""
        if not self.has_ended:
            self._worker.channel.send({"do": "untap"})

    def close(self) -> None:
        """Nobody listens any more."""
        for end in list(self._ends):
            self._drop(end)
