"""A thread of a worker that tells the parent what the event loop is doing while the loop cannot say so itself.

It blocks on a socket of its own and wakes up for nothing else. To answer it needs the GIL: that it answers says as much
as what it answers. Nothing here is taken as a sign of life: that is the heartbeat, which only the loop's thread gives.

parent → probe   {"do": "probe", "id": n}
probe → parent   {"is": "probe", "id": n, "task", "request", "stack", "threads", "lifespan"}, each a text, maybe empty
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import linecache
import select
import sys
import threading
import tokenize
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from swell.worker.channel import Channel, Message
from swell.worker.lifespan import TASK_NAME
from swell.worker.tracebacks import application_stack

__all__ = ["Probe", "request_of"]

# The answer has to fit into the socket's buffer, as nobody waits for room in it.
TEXT_AT_MOST = 24_000
THREADS_AT_MOST = 16
# Source lines are read with these: imported now, because later the import lock may be what everybody waits for.
_NEEDED = (linecache, tokenize)


class Probe:
    """The thread. `loop` is set once there is one."""

    def __init__(self, channel: Channel) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._channel = channel
        self._thread = threading.Thread(target=self._run, name="swell probe", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while True:
            poll.poll()
            orders = self._channel.receive()
            if orders is None:
                return
            # Whoever was kept waiting wants to know how things are now.
            for order in orders[-1:]:
                self._channel.send({"is": "probe", "id": order["id"], **self._look()})

    def _look(self) -> Message:
        """Other threads run on meanwhile, so anything may be half gone."""
        said: Message = dict.fromkeys(("task", "request", "stack", "threads", "lifespan"), "")
        parts = {"task": self._task, "request": self._request, "stack": self._stack, "lifespan": self._lifespan}
        for name, part in {**parts, "threads": self._threads}.items():
            try:
                said[name] = part()[-TEXT_AT_MOST:]
            except Exception as error:
                said[name] = f"(not known: {error!r})"
        return said

    def _task(self) -> str:
        task = None if self.loop is None else asyncio.current_task(self.loop)
        return "" if task is None else task.get_name()

    def _request(self) -> str:
        frame = self._frame()
        return "" if frame is None else request_of(reversed([one for one, _ in traceback.walk_stack(frame)]))

    def _stack(self) -> str:
        frame = self._frame()
        return "" if frame is None else application_stack(traceback.walk_stack(frame))

    def _frame(self) -> FrameType | None:
        main = threading.main_thread().ident
        return None if main is None else sys._current_frames().get(main)

    def _threads(self) -> str:
        """The other threads, without those that have nothing to do."""
        ours = {self._thread.ident, threading.main_thread().ident}
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        found = []
        for ident, frame in sys._current_frames().items():
            if ident not in ours and frame.f_code.co_filename != concurrent.futures.thread.__file__:
                stack = application_stack(traceback.walk_stack(frame))
                found.append(f"thread {names.get(ident, ident)}:\n{stack}")
        return "".join(found[:THREADS_AT_MOST])

    def _lifespan(self) -> str:
        """Where the application's lifespan waits. The loop may be idle then: its thread's stack says nothing."""
        tasks: Iterable[asyncio.Task[Any]] = () if self.loop is None else asyncio.all_tasks(self.loop)
        task = next((task for task in tasks if task.get_name() == TASK_NAME), None)
        return "" if task is None else application_stack(reversed(list(_awaited(task.get_coro()))))


def request_of(frames: Iterable[FrameType]) -> str:
    """The request that a stack belongs to: the first argument, from the outside, that is an ASGI scope."""
    for frame in frames:
        code = frame.f_code
        values = frame.f_locals
        for name in code.co_varnames[: code.co_argcount]:
            scope = values.get(name)
            if isinstance(scope, dict) and "path" in scope and scope.get("type") in ("http", "websocket"):
                return f"{scope.get('method', 'WebSocket')} {scope['path']}"
    return ""


def _awaited(waiting: Any) -> Iterator[tuple[FrameType, int]]:
    """The frames of a suspended coroutine, the outermost first."""
    while waiting is not None:
        for frame_name, next_name in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
            if hasattr(waiting, frame_name):
                frame = getattr(waiting, frame_name)
                if frame is not None:
                    yield frame, frame.f_lineno
                waiting = getattr(waiting, next_name)
                break
        else:
            return
