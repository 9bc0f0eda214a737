"""Turns of the event loop that took too long: one entry in the log each, with the stack and the request that blocked.

The sampler (`crates/engine/src/board/slow.rs`), a native thread, notices them while they last and writes to a pipe; the
probe's thread wakes up for it, takes the stack of the loop's thread, and logs when the turn is over and its length is
known. Where native code keeps the GIL until then, there is no stack to take and the entry says so.

Nothing of this runs on the event loop. Called by `swell.worker.probe`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from swell.worker.insight.scopes import described, scope_of
from swell.worker.lifespan import TASK_NAME
from swell.worker.tracebacks import application_stack

__all__ = ["SlowTurns"]

log = logging.getLogger("swell")

_HEAD = struct.Struct("<QQ")
# The next report is read by itself: what is in the pipe is no stream.
_MESSAGE_AT_MOST = 512
# How often it is looked whether a slow turn is over. The heartbeat says when it was, if the loop has not come round
# again meanwhile: a twentieth of the turn at most is added to it.
SHARE, LOOK_SECONDS = 20, (0.005, 0.05)
# So many entries at once, and one more for each of these seconds: a log that says the same for ever helps nobody.
BURST, ENTRY_SECONDS = 10, 6.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One that lasts, or has lasted. Times are time.monotonic_ns()."""

    begun: int
    heartbeat: int
    request: str
    task: str
    stack: str


class SlowTurns:
    """`writing` goes to the engine. The probe watches `reading` and calls `begun`, and `look` after a pause."""

    def __init__(self, name: str, heartbeat: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        """`name` is the worker's in the log, `heartbeat` the one on the scoreboard."""
        # Packets, as one report is one message; a write that finds no room is lost rather than waited for.
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_DIRECT", 0))
        self.loop: asyncio.AbstractEventLoop | None = None
        self.since: int | None = None
        """From when on turns count, time.monotonic_ns(): nobody waits before requests are accepted."""
        self._name = name
        self._heartbeat = heartbeat
        self._clock = clock
        self._turn: Turn | None = None
        self._allowed, self._counted = float(BURST), clock()
        self._unlogged = 0

    def begun(self) -> None:
        """The pipe has something to read: a turn has lasted too long already."""
        try:
            message = os.read(self.reading, _MESSAGE_AT_MOST)
        except BlockingIOError:
            return
        begun, heartbeat = _HEAD.unpack_from(message)
        self.look()
        line = message[_HEAD.size :].decode("utf-8", "replace")
        if self.since is None or begun < self.since:
            return
        # With the GIL in hand: whatever the loop's thread does, it does not get on meanwhile.
        if self._heartbeat() != heartbeat:
            self._turn = Turn(begun, heartbeat, line, "", "")
        else:
            self._turn = self._seen(begun, heartbeat, line)
        self.look()

    def look(self) -> float | None:
        """Logs the turn if it is over. Returns when to look again, in seconds; None: there is nothing to look for."""
        turn = self._turn
        if turn is None:
            return None
        if (now := self._heartbeat()) == turn.heartbeat:
            return min(max((time.monotonic_ns() - turn.begun) / 1e9 / SHARE, LOOK_SECONDS[0]), LOOK_SECONDS[1])
        self._turn = None
        if turn.task != TASK_NAME:  # its shutdown: there are no requests any more
            self._tell(turn, (now - turn.begun) / 1e9)
        return None

    def _seen(self, begun: int, heartbeat: int, line: str) -> Turn:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        task = None if self.loop is None else asyncio.current_task(self.loop)
        if frame is None:
            return Turn(begun, heartbeat, line, "", "")
        stack = list(traceback.walk_stack(frame))
        scope = scope_of(reversed([one for one, _ in stack]))
        if scope is not None:
            request = described(scope)
            name = f" id {request['id']}" if request["id"] else ""
            line = (line or f"{request['method']} {request['path']}") + name
        return Turn(begun, heartbeat, line, "" if task is None else task.get_name(), application_stack(stack))

    def _tell(self, turn: Turn, seconds: float) -> None:
        now = self._clock()
        self._allowed = min(float(BURST), self._allowed + (now - self._counted) / ENTRY_SECONDS)
        self._counted = now
        if self._allowed < 1:
            self._unlogged += 1
            return
        self._allowed -= 1
        what = f" in {turn.request}" if turn.request else ""
        what += f", task {turn.task!r}" if turn.task else ""
        what += f" ({self._unlogged} more turns were not logged)" if self._unlogged else ""
        self._unlogged = 0
        stack = turn.stack.rstrip() or "  no stack: native code kept the GIL until it was over"
        log.warning("%s: its event loop was blocked for %.0f ms%s\n%s", self._name, seconds * 1000, what, stack)
