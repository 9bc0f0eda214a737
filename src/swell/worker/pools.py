"""The figures of a worker's thread pools and of its garbage collector, onto the scoreboard.

Requests may wait in threads while the event loop is idle: blocking handlers of FastAPI and Starlette (anyio's
limiter), of Django (asgiref), of WSGI (our bridge), `asyncio.to_thread` (the loop's executor). The scoreboard tells of
the fullest of these pools: that is where requests wait, and a sum with empty ones would hide it. Pools that an
application makes for itself are not counted: a job that runs all day in a thread of its own is no load.

A look costs 2 µs while the application has used no threads. Made by `Attachment`; the autoscaler reads the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures import thread as futures
from typing import Any, NamedTuple

__all__ = ["Pool", "Pools"]

# Between two looks, in seconds. The autoscaler samples every 0.4 s; while threads are at work each sample is to see
# another look, because it takes what two of them agree on for a fact.
IDLE_SECONDS, BUSY_SECONDS = 1.0, 0.25


class Pool(NamedTuple):
    """Threads it may have, those that work, and calls that wait for one."""

    size: int
    busy: int
    waiting: int

    @property
    def share(self) -> float:
        return (self.busy + self.waiting) / self.size if self.size else 0.0


class Pools:
    """Looks at the pools of the process, on the event loop's own thread."""

    def __init__(self, note: Callable[..., None]) -> None:
        """`note` takes pool_size, pool_busy, pool_waiting, gc_pauses and gc_pause_ns."""
        self._note = note
        self._executors: list[ThreadPoolExecutor] = []
        self._limiter: Any = None
        self._finding: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._noted: tuple[int, ...] = (0, 0, 0, 0, 0)
        self._collecting_since = self._pauses = self._pause_ns = 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before the application is loaded, which may bring an executor of its own."""
        self._loop = loop
        if not hasattr(loop, "_default_executor"):
            # uvloop does not show it. This is the one that it would make itself; it has no threads until it is used.
            executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
            self._executors.append(executor)
            loop.set_default_executor(executor)
        gc.callbacks.append(self._collecting)
        self._timer = loop.call_later(IDLE_SECONDS, self._look)

    def add(self, executor: ThreadPoolExecutor) -> None:
        """A pool whose threads handle requests."""
        self._executors.append(executor)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._finding is not None:
            self._finding.cancel()
        if self._collecting in gc.callbacks:
            gc.callbacks.remove(self._collecting)

    def _look(self) -> None:
        pool = max(self._all(), key=lambda pool: (pool.share, pool.size), default=Pool(0, 0, 0))
        figures = (*pool, self._pauses, self._pause_ns)
        if figures != self._noted:
            self._noted = figures
            names = ("pool_size", "pool_busy", "pool_waiting", "gc_pauses", "gc_pause_ns")
            self._note(**dict(zip(names, figures, strict=True)))
        pause = BUSY_SECONDS if pool.busy or pool.waiting else IDLE_SECONDS
        self._timer = self._loop.call_later(pause, self._look)

    def _all(self) -> Iterator[Pool]:
        """Those that have been used."""
        executors: list[Executor | None] = [*self._executors, getattr(self._loop, "_default_executor", None)]
        if (asgiref := sys.modules.get("asgiref.sync")) is not None:
            # Where Django's thread-sensitive calls share one thread; in its contexts every request has its own.
            executors.append(getattr(asgiref.SyncToAsync, "single_thread_executor", None))
        used = [one for one in executors if isinstance(one, ThreadPoolExecutor) and one._threads]
        if used:
            frames = sys._current_frames()
            for executor in dict.fromkeys(used):
                yield _executor(executor, frames)
        if self._limiter is not None:
            with contextlib.suppress(Exception):  # a limiter of the application's own making
                seen = self._limiter.statistics()
                if math.isfinite(seen.total_tokens):
                    yield Pool(int(seen.total_tokens), seen.borrowed_tokens, seen.tasks_waiting)
        elif self._finding is None and (anyio := sys.modules.get("anyio.to_thread")) is not None:
            self._finding = self._loop.create_task(self._find_limiter(anyio), name="swell finds anyio's limiter")

    async def _find_limiter(self, anyio: Any) -> None:
        """It belongs to the event loop and is shown to tasks only."""
        with contextlib.suppress(Exception):  # an anyio that we do not know
            self._limiter = anyio.current_default_thread_limiter()

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        """gc.callbacks: the interpreter stands still in between."""
        now = time.perf_counter_ns()
        if phase == "start":
            self._collecting_since = now
        elif self._collecting_since:
            self._pauses += 1
            self._pause_ns += now - self._collecting_since


def _executor(executor: ThreadPoolExecutor, frames: dict[int, Any]) -> Pool:
    """A thread without work is in `_worker` itself, waiting for some. The executor's own count of idle threads does not
    know: up to Python 3.12 it counts a thread as idle that goes on with the next call in the queue."""
    idle = futures._worker.__code__
    threads = [frames.get(thread.ident) for thread in tuple(executor._threads) if thread.ident is not None]
    busy = sum(frame is not None and frame.f_code is not idle for frame in threads)
    return Pool(executor._max_workers, busy, executor._work_queue.qsize())
