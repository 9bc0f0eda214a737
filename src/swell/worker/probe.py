"""A thread of a worker that tells the parent what the event loop is doing while the loop cannot say so itself.

It blocks on a socket of its own, and on a pipe for turns of the loop that take too long (`insight.slow`), and wakes up
for nothing else. To answer it needs the GIL: that it answers says as much
as what it answers. Nothing here is taken as a sign of life: that is the heartbeat, which only the loop's thread gives.

parent → probe   {"do": "probe", "id": n}
probe → parent   {"is": "probe", "id": n, "task", "request", "stack", "threads", "lifespan"}, each a text, maybe empty

Longer questions come with a file, into which the answer is written as JSON: it may be of any size, and nobody waits for
room in a socket.

parent → probe   {"do": "stacks", "tasks" or "profile", "id": n}, and the file's descriptor
probe → parent   {"is": "written", "id": n, "error"}, the error empty when all is well
parent → probe   {"do": "enough", "id": n}: nobody wants that profile any more
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import json
import linecache
import logging
import select
import sys
import threading
import tokenize
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

from swell.worker.channel import Channel, Message
from swell.worker.insight.profile import profile
from swell.worker.insight.scopes import request_line, scope_of
from swell.worker.insight.slow import SlowTurns
from swell.worker.insight.stacks import stacks, waiting_frames
from swell.worker.insight.tasks import tasks
from swell.worker.lifespan import TASK_NAME
from swell.worker.tracebacks import application_stack

__all__ = ["Probe"]

log = logging.getLogger("swell")

# The answer has to fit into the socket's buffer, as nobody waits for room in it.
TEXT_AT_MOST = 24_000
THREADS_AT_MOST = 16
# Source lines are read with these: imported now, because later the import lock may be what everybody waits for.
_NEEDED = (linecache, tokenize)


class Probe:
    """The thread. `loop` is set once there is one; `suspended` and `current` once there are requests, see `tasks`."""

    def __init__(self, channel: Channel) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.suspended: Callable[[], list[tuple[asyncio.Task[Any], int]]] | None = None
        self.current: Callable[[], Mapping[str, Any] | None] = lambda: None
        self.slow: SlowTurns | None = None
        self._enough: dict[int, threading.Event] = {}
        self._channel = channel
        self._thread = threading.Thread(target=self._run, name="swell probe", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        if self.slow is not None:
            poll.register(self.slow.reading, select.POLLIN)
        pause: float | None = None
        while True:
            ready = [file for file, _ in poll.poll(None if pause is None else pause * 1000)]
            if self.slow is not None:
                pause = self._watch(self.slow, ready)
            orders = self._channel.receive()
            if orders is None:
                return
            for order in orders:
                if order["do"] == "profile":
                    # It takes its time, and is looked at by a thread of its own.
                    self._enough[order["id"]] = threading.Event()
                    arguments = (order, self._channel.descriptors.popleft())
                    threading.Thread(target=self._write, args=arguments, name="swell profiler", daemon=True).start()
                elif order["do"] == "enough":
                    if (enough := self._enough.get(order["id"])) is not None:
                        enough.set()
                elif order["do"] != "probe":
                    self._write(order, self._channel.descriptors.popleft())
            # Whoever was kept waiting wants to know how things are now.
            for order in [order for order in orders if order["do"] == "probe"][-1:]:
                self._channel.send({"is": "probe", "id": order["id"], **self._look()})

    def _watch(self, slow: SlowTurns, ready: list[int]) -> float | None:
        """Returns how long to rest at most; None: until something comes."""
        try:
            slow.loop = self.loop
            if slow.reading in ready:
                slow.begun()
            return slow.look()
        except Exception:
            log.exception("a slow turn of the event loop could not be told; please report this")
            return None

    def _write(self, order: Message, file: int) -> None:
        """Answers a longer question."""
        error = ""
        try:
            with open(file, "w", encoding="utf-8", errors="backslashreplace") as answer:
                json.dump(self._answer(order), answer)
        except Exception as problem:
            error = repr(problem)
        self._channel.send({"is": "written", "id": order["id"], "error": error})

    def _answer(self, order: Message) -> dict[str, Any]:
        match order["do"]:
            case "stacks":
                return stacks(self.loop)
            case "tasks":
                if self.loop is None:
                    return {"answered": False, "tasks": [], "left_out": 0}
                return tasks(self.loop, self.suspended, self.current())
            case "profile":
                enough = self._enough[order["id"]]
                try:
                    return profile(self.loop, order["seconds"], order["hz"], enough, memory=order["memory"])
                finally:
                    del self._enough[order["id"]]
            case unknown:
                raise ValueError(f"this worker cannot answer {unknown}")

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
        scope = None if frame is None else scope_of(reversed([one for one, _ in traceback.walk_stack(frame)]))
        return "" if scope is None else request_line(scope)

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
        return "" if task is None else application_stack(reversed(list(waiting_frames(task.get_coro()))))
